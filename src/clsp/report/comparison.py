"""The page of a comparison: which arm is best, by how much, at what cost, and how it got there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clsp import files
from clsp.errors import UserError
from clsp.report import sections
from clsp.report.charts import Estimate, interval_chart
from clsp.report.costs import WIDTH, Dot, cost_chart, flops, short_time
from clsp.report.folder import Folder
from clsp.report.grid import BASE, SCORES, WITH, WITHOUT, Comparison, headline, swatch
from clsp.report.html import Content, Html, details, element, join, panel, paragraph, table
from clsp.report.learning import learning
from clsp.report.numbers import MISSING, duration, fixed, interval, is_number, signed
from clsp.report.page import byline, page

MEANS = "Dot: mean over the seeds; line: its 95 % interval."


def build_comparison(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a comparison.

    Args:
        folder: what ``clsp compare --out`` wrote; curves that are missing in it are left out.
        out: the HTML file to write; default ``folder/report.html``.

    Returns:
        The file.

    Raises:
        UserError: there is no comparison in the folder, or one of its files is damaged.
    """
    folder = Path(folder)
    comparison = Comparison(Folder(folder))
    if not comparison.rows:
        raise UserError(f"there is no comparison at '{folder}'; give the folder that 'clsp compare --out' wrote")
    out = folder / "report.html" if out is None else Path(out)
    arms = f"{len(comparison.rows)} {'arm' if len(comparison.rows) == 1 else 'arms'}"
    files.write_text(out, page(f"{arms} on {_data(comparison)}", _article(comparison, arms)))
    return out


def _data(comparison: Comparison) -> str:
    source = str(comparison.result.get("data") or comparison.folder.title)
    return Path(source).name if source.startswith(("/", ".", "~")) else source


def _article(comparison: Comparison, arms: str) -> Html:
    body, links = [], []
    for name, (title, write) in SECTIONS.items():
        content = write(comparison)
        if content:
            links.append(element("a", title, href=f"#{name}"))
            body.append(element("section", [element("h2", title), content], id=name))
    written = (comparison.folder.path / "comparison.json").stat().st_mtime
    head = [
        paragraph(byline(comparison.folder, "Comparison", written), "byline"),
        element("h1", [arms, element("span", [" on ", _data(comparison)])]),
        paragraph(headline(comparison), "lead"),
        _results(comparison),
        element("nav", links, aria_label="Sections"),
    ]
    return element("article", [element("header", head), *body])


def _results(comparison: Comparison) -> Html:
    """The table: one row per arm."""
    best = {name: _best(comparison, name) for name in SCORES}
    rows: list[list[Content]] = []
    for arm, row in comparison.rows.items():
        note = element("small", "sees the labels") if comparison.sees_labels(arm) else ""
        cells: list[Content] = [join([swatch(comparison, arm), note]), str(row.get("seeds", MISSING))]
        for name in SCORES:
            cells += [_mean(comparison.score(arm, name), best[name]), _gap(comparison, arm, name)]
        rows.append([*cells, *_costs(comparison, arm)])
    head = ["Arm", "Seeds"]
    for title in SCORES.values():
        head += [f"{title} top‑1", "minus baseline"]
    head += ["Pretraining", "Generator", "FLOP, both"]
    return join([table(head, rows, caption=_caption(comparison), class_="comparison"), _legend(comparison)])


def _best(comparison: Comparison, name: str) -> float:
    """The highest mean of the arms that do not see the labels; NaN where there is none to tell."""
    means = [one.value for one in comparison.estimates(name) if not comparison.sees_labels(one.name)]
    return max(means) if len(set(means)) > 1 else float("nan")


def _mean(value: dict[str, float], best: float) -> Html:
    mean = value.get("mean")
    shown = element("strong" if mean == best else "span", fixed(mean, 2))
    return join([shown, element("small", interval(value, between="–", decimals=2))])


def _gap(comparison: Comparison, arm: str, name: str) -> Html:
    """The difference to the baseline, grey where its interval does not exclude 0."""
    gap = comparison.gap(arm, name)
    mean = gap.get("mean")
    if not is_number(mean):
        return element("span", "baseline" if arm == comparison.baseline else MISSING, class_="unsure")
    shown = element("span", signed(mean, 2), class_=None if clear(gap) else "unsure")
    limits = f"{signed(gap['low'], 2)} to {signed(gap['high'], 2)}" if is_number(gap.get("low")) else ""
    return join([shown, element("small", limits)])


def clear(gap: dict[str, float]) -> bool:
    """Whether the interval of a difference excludes 0."""
    low, high = gap.get("low"), gap.get("high")
    return is_number(low) and is_number(high) and not low <= 0 <= high


def _costs(comparison: Comparison, arm: str) -> list[Content]:
    """Time and FLOPs of both parts, and the FLOPs of both together."""
    cells: list[Content] = []
    total = 0.0
    for part in ("pretraining", "generator"):
        seconds, used = comparison.cost(arm, part, "seconds"), comparison.cost(arm, part, "flops")
        total += used
        time = duration(seconds) if seconds > 0 else MISSING
        cells.append(join([time, element("small", flops(used)) if used > 0 else ""]))
    return [*cells, flops(total) if total > 0 else MISSING]


def _caption(comparison: Comparison) -> str:
    told = ["Accuracy on the test images in percent"]
    if comparison.seeds > 1:
        told[0] += ", mean over the seeds with its 95 % interval (Student's t)"
        told.append("Differences are paired by seed, and grey where the interval includes 0")
    elif comparison.others:
        told.append("One seed has no interval, so all differences are grey")
    if comparison.others:
        labelled = any(map(comparison.sees_labels, comparison.rows))
        told.append(f"The best {'that sees no labels ' if labelled else ''}in bold")
    if len(comparison.others) > 2:
        told.append("The best of several arms was chosen by these numbers, which flatters it")
    told.append("Pretraining: time and FLOP of one seed")
    if any(comparison.generated(arm) for arm in comparison.rows):
        told.append("Generator: those of diffusion model and bank, made once for all seeds and arms")
    told.append("M, G, T, P and E: 10⁶, 10⁹, 10¹², 10¹⁵ and 10¹⁸")
    return ". ".join(told) + "."


def _legend(comparison: Comparison) -> Html:
    """What colours mean where they do not name an arm."""
    if not comparison.many:
        return Html()
    told = {BASE: "the baseline", WITHOUT: "without a generator", WITH: "with a generator"}
    used = set(comparison.colours.values())
    items = [
        element("span", [element("span", class_=f"swatch {colour}"), meaning])
        for colour, meaning in told.items()
        if colour in used
    ]
    return element("p", items, class_="legend")


def _accuracy(comparison: Comparison) -> Html:
    """Dots and intervals: the accuracies, and their differences to the baseline."""
    panels = []
    for name, title in SCORES.items():
        drawn = comparison.estimates(name)
        if drawn:
            label = f"{title} accuracy of each arm"
            panels.append(panel(f"{title} top‑1, %", _intervals(drawn, label), MEANS if _known(drawn) else ""))
        gaps = comparison.estimates(name, gaps=True)
        if gaps:
            label = f"{title} accuracy of each arm minus that of {comparison.baseline}"
            # The baseline's row says nothing new; with it the rows stand level with those of the chart beside.
            level = Estimate(comparison.baseline, BASE, 0.0, None, None)
            known = {one.name: one for one in [level, *gaps]}
            chart = _intervals([known[arm] for arm in comparison.rows if arm in known], label, zero=True)
            panels.append(panel(f"{title} top‑1 minus {comparison.baseline}, points", chart, _counted(gaps)))
    return element("div", panels, class_="grid broad") if panels else Html()


def _intervals(estimates: Sequence[Estimate], label: str, *, zero: bool = False) -> Html:
    return interval_chart(estimates, label=label, zero=zero, width=WIDTH, decimals=2)


def _known(estimates: Sequence[Estimate]) -> bool:
    return any(one.low is not None for one in estimates)


def _counted(gaps: Sequence[Estimate]) -> str:
    """How many differences are clear of 0."""
    if not _known(gaps):
        return "One seed: no intervals. A difference of one run may be the luck of its initial weights."
    above = sum(one.low is not None and one.low > 0 for one in gaps)
    below = sum(one.high is not None and one.high < 0 for one in gaps)
    told = "Paired by seed; an interval clear of 0 is a difference, even where those of the arms overlap."
    if len(gaps) > 1:
        told += f" Clear of 0: {above} above and {below} below, of {len(gaps)}."
    return told + (" Chance alone puts one in twenty there." if len(gaps) > 5 else "")


def _against_cost(comparison: Comparison) -> Html:
    """Linear accuracy over FLOPs and over time."""
    panels = []
    for unit, title, written in (("flops", "FLOP", flops), ("seconds", "time", short_time)):
        dots = _dots(comparison, unit)
        if dots:
            label = f"Linear accuracy of each arm against {title}"
            chart = cost_chart(dots, label=label, written=written, times=unit == "seconds")
            panels.append(panel(f"Linear top‑1, %, against {title}", chart, _reading(dots, title)))
    return join([_legend(comparison), element("div", panels, class_="grid broad")]) if panels else Html()


def _dots(comparison: Comparison, unit: str) -> list[Dot]:
    dots = []
    for estimate in comparison.estimates("linear"):
        without = comparison.cost(estimate.name, "pretraining", unit)
        if without > 0:
            dots.append(Dot(estimate, without + comparison.cost(estimate.name, "generator", unit), without))
    return dots


def _reading(dots: Sequence[Dot], title: str) -> str:
    costly = any(one.without < one.cost for one in dots)
    told = f"{title} of one pretraining{' and of the generator' if costly else ''}, logarithmic; left and up is better."
    told += " Hollow: the same arm if its generator cost nothing." if costly else ""
    return f"{told[0].upper()}{told[1:]} Dots that would cover each other are moved apart sideways."


def _runs(comparison: Comparison) -> Html:
    """The accuracies of the single runs, folded away."""
    blocks = []
    for name, title in SCORES.items():
        runs = {arm: comparison.runs(arm, name) for arm in comparison.rows}
        seeds = sorted({seed for found in runs.values() for seed in found}, key=lambda seed: (len(seed), seed))
        rows = [
            [swatch(comparison, arm), *(fixed(found.get(seed), 2) for seed in seeds)] for arm, found in runs.items()
        ]
        if seeds:
            listed = table(["Arm", *(f"seed {seed}" for seed in seeds)], rows, class_="comparison")
            blocks.append(details(f"{title} top‑1 of every run", listed))
    return join(blocks)


def _settings(comparison: Comparison) -> Html:
    """The protocol, and everything that is needed to repeat the comparison."""
    told = {title: comparison.protocol(name) for name, title in SCORES.items()}
    parts = [
        paragraph([element("b", f"{title}: "), text.rstrip(".") + "."], "names") for title, text in told.items() if text
    ]
    if parts:
        chosen = f"Told by the first run of {comparison.baseline}: what is chosen here, every run chooses for itself."
        parts.append(paragraph(chosen, "names"))
    folder = comparison.folder
    return join([*parts, sections.command(folder, "comparison"), sections.provenance(folder)])


SECTIONS: dict[str, tuple[str, Callable[[Comparison], Html]]] = {
    "accuracy": ("Accuracy", _accuracy),
    "cost": ("Accuracy against cost", _against_cost),
    "curves": ("Learning curves", learning),
    "runs": ("Single runs", _runs),
    "data": ("The data", lambda comparison: sections.data(comparison.folder)),
    "positives": ("Anchors and candidates", lambda comparison: sections.positives(comparison.folder)),
    "settings": ("Protocol and settings", _settings),
}
"""What follows the table, in order: the anchor, the title and the function that writes it."""
