"""The head of the report: one sentence, one table and the chart of the arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsp.report.charts import Estimate, interval_chart
from clsp.report.folder import Folder, mapping
from clsp.report.html import Content, Html, element, join, panel, table
from clsp.report.numbers import MISSING, against, duration, fixed, interval, is_number, text

PROBES = {"linear": "Linear", "knn": "kNN"}
COLUMNS = (
    ("Linear top‑1", "linear", "top1"),
    ("Linear top‑5", "linear", "top5"),
    ("kNN top‑1", "knn", "top1"),
    ("Retrieval mAP", "retrieval", "map"),
)
"""Title, probe and key of each column of results; those without any value are left out."""
FEW = {"probe": "probe", "fine_tuned": "fine‑tuned"}
"""What is done with few labels: key and title."""
PAIRED = (
    "Linear top-1, paired over the test images; an interval clear of 0 is a difference, "
    "even where those of the arms overlap."
)


def arm_results(folder: Folder) -> dict[str, dict[str, Any]]:
    """The results of every arm that was measured, the run's own arm last."""
    evaluation = folder.evaluation
    measured = {name: mapping(value) for name, value in mapping(evaluation.get("controls")).items()}
    measured[folder.arm] = evaluation
    return {arm: measured[arm] for arm in folder.arms if mapping(measured.get(arm)).keys() & PROBES.keys()}


def probe(result: dict[str, Any], name: str) -> dict[str, Any]:
    """The result of one probe (``linear`` or ``knn``) of an arm."""
    return mapping(result.get(name))


def few_labels(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an arm reaches with few labels: mean, low and high of the draws by the title of their column."""
    found: dict[str, dict[str, Any]] = {}
    for entry in _shares(result):
        found |= {f"{text(entry.get('labels'))} labels, {title}": probe(entry, key) for key, title in FEW.items()}
    return found


def _shares(result: dict[str, Any]) -> list[dict[str, Any]]:
    shares = result.get("few_labels")
    return [mapping(entry) for entry in shares] if isinstance(shares, list) else []


def differences(folder: Folder, name: str = "linear") -> dict[str, dict[str, Any]]:
    """The run's arm minus each control, in points, for the probe ``name``."""
    by_arm = mapping(folder.evaluation.get("differences"))
    found = {arm: probe(mapping(value), name) for arm, value in by_arm.items()}
    return {arm: found[arm] for arm in folder.arms if is_number(found.get(arm, {}).get("mean"))}


def sentence(folder: Folder) -> str:
    """The main result in plain words."""
    evaluation = folder.evaluation
    if not evaluation:
        return "Evaluation: not run."
    name, word = ("linear", "linear accuracy") if probe(evaluation, "linear") else ("knn", "kNN accuracy")
    top1 = probe(evaluation, name).get("top1")
    if not is_number(top1):
        return f"The encoder was not measured: {str(evaluation.get('skipped') or 'no result').rstrip('.')}."
    parts = [f"{folder.arm} reaches {fixed(top1)} % {word}"]
    parts += [against(arm, gap) for arm, gap in differences(folder, name).items()]
    return (", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 2 else ", ".join(parts)) + "."


def swatch(folder: Folder, arm: str) -> Html:
    """The name of an arm with a dot in its colour."""
    return join([element("span", class_=f"swatch {folder.colours.get(arm, 'arm-0')}"), arm])


def pretraining_time(folder: Folder, arm: str) -> str:
    """How long the encoder of an arm was trained."""
    return duration(folder.stages.get(folder.arms.get(arm, ""), {}).get("seconds"))


def results_table(folder: Folder) -> Html:
    """One row per arm; the best of each column in bold; the protocols in the caption."""
    measured = arm_results(folder)
    head, rows = _cells(measured, COLUMNS)
    times = [pretraining_time(folder, arm) for arm in measured]
    lines: list[list[Content]] = [[swatch(folder, arm), *row, t] for arm, row, t in zip(measured, rows, times)]
    return table(["Arm", *head, "Pretraining"], lines, caption=_protocols(folder), class_="results")


def few_labels_table(folder: Folder) -> Html:
    """What the arms reach with few labels, one row per arm; nothing where that was not asked for."""
    measured = {arm: few_labels(result) for arm, result in arm_results(folder).items()}
    titles = dict.fromkeys(title for result in measured.values() for title in result)
    head, rows = _cells(measured, [(title, title, "mean") for title in titles])
    if not head:
        return Html()
    lines: list[list[Content]] = [[swatch(folder, arm), *row] for arm, row in zip(measured, rows)]
    parts = ["Few labels: top-1 on the test images in percent, the mean of the draws with the lowest and the highest."]
    parts += [f"{protocol}." for entry in _shares(folder.evaluation) if (protocol := str(entry.get("protocol") or ""))]
    return table(["Arm", *head], lines, caption=" ".join(parts), class_="results")


def _cells(
    measured: dict[str, dict[str, Any]], columns: Sequence[tuple[str, str, str]]
) -> tuple[list[str], list[list[Html]]]:
    """Titles of the columns that have a value, and their cells for each arm."""
    best: dict[tuple[str, str, str], float] = {}
    for column in columns:
        values = [probe(result, column[1]).get(column[2]) for result in measured.values()]
        scores = [value for value in values if is_number(value)]
        if scores:
            # Where all are equal, or there is one arm, none is the best.
            best[column] = max(scores) if len(set(scores)) > 1 else float("nan")
    rows = [[_score(probe(result, n), key, top) for (_, n, key), top in best.items()] for result in measured.values()]
    return [title for title, _, _ in best], rows


def _score(result: dict[str, Any], key: str, best: float) -> Html:
    """A percentage, bold if it is the best, with its interval (of few labels: its range) in small print."""
    value = result.get(key)
    shown = element("strong" if value == best else "span", fixed(value))
    limits = interval(result, between="–") if key != "top5" else ""
    return join([shown, element("small", limits) if limits else ""])


def _protocols(folder: Folder) -> str:
    bold = "; the best in bold" if len(arm_results(folder)) > 1 else ""
    parts = [f"Accuracy on the test images in percent, with its 95 % interval{bold}."]
    for name, title in (PROBES | {"retrieval": "Retrieval"}).items():
        protocol = str(probe(folder.evaluation, name).get("protocol") or "").rstrip(".")
        parts += [f"{title}: {protocol}."] if protocol else []
    return " ".join([*parts, "Pretraining: time spent on training the encoder."])


def results_charts(folder: Folder) -> Html:
    """Dots and intervals: the accuracy of the arms, and the paired differences between them."""
    panels = []
    for name, title in PROBES.items():
        drawn = _estimates(folder, {arm: probe(r, name) for arm, r in arm_results(folder).items()}, "top1")
        if len(drawn) > 1:
            chart = interval_chart(drawn, label=f"{title} accuracy of each arm with its interval")
            panels.append(panel(f"{title} top-1, %", chart, "Dot: accuracy; line: 95 % interval."))
    gaps = _estimates(folder, differences(folder), "mean")
    if gaps:
        label = f"Linear accuracy of {folder.arm} minus that of each control"
        chart = interval_chart(gaps, label=label, zero=True)
        panels.append(panel("Gain over each control, points", chart, PAIRED))
    return element("div", panels, class_="grid") if panels else Html()


def _estimates(folder: Folder, results: dict[str, dict[str, Any]], key: str) -> Sequence[Estimate]:
    drawn = []
    for arm, result in results.items():
        value = result.get(key)
        if is_number(value):
            low, high = (end if is_number(end := result.get(side)) else value for side in ("low", "high"))
            drawn.append(Estimate(arm, folder.colours.get(arm, "arm-0"), value, low, high))
    return drawn


def results(folder: Folder) -> Html:
    """The table and the charts; nothing without results, since ``sentence`` says why there are none."""
    if not arm_results(folder):
        return Html()
    return Html(results_table(folder) + few_labels_table(folder) + results_charts(folder))


def overview(folders: Sequence[Folder], anchors: Sequence[str]) -> Html:
    """One row per run: what it was and what it reached."""
    rows: list[list[Content]] = []
    for folder, anchor in zip(folders, anchors, strict=True):
        link = element("a", folder.path.name, href=f"#{anchor}")
        scores = [fixed(probe(folder.evaluation, name).get("top1")) for name in PROBES]
        recipe = str(folder.recipe.get("recipe") or MISSING)
        rows.append([link, folder.title, recipe, folder.arm, *scores, pretraining_time(folder, folder.arm)])
    head = ["Run", "Data", "Recipe", "Arm", "Linear top-1", "kNN top-1", "Pretraining"]
    return table(head, rows, caption="Accuracy on the test images in percent.", class_="overview")
