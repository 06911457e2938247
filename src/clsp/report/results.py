"""The results of a study: the table, the charts of its measures, their price, and every single run."""

from __future__ import annotations

from collections.abc import Sequence

from clsp.report.charts import Estimate, interval_chart
from clsp.report.costs import WIDTH, Dot, cost_chart, flops, short_time
from clsp.report.folder import mapping
from clsp.report.html import Content, Html, details, element, join, panel, paragraph, table
from clsp.report.numbers import MISSING, duration, fixed, interval, is_number, signed, words
from clsp.report.study import BASE, WITH, WITHOUT, Measured, Study, swatch


def results(study: Study) -> Html:
    """The table: one row per arm; nothing where nothing was measured."""
    if not study.measures:
        return Html()
    best = {name: _best(study, one) for name, one in study.measures.items()}
    compared = {name for name in study.measures if study.estimates(name, gaps=True)}
    rows: list[list[Content]] = []
    for arm, row in study.rows.items():
        note = element("small", "sees the labels") if study.sees_labels(arm) else ""
        cells: list[Content] = [join([swatch(study, arm), note]), str(row.get("seeds", MISSING))]
        for name in study.measures:
            cells.append(_mean(study.score(arm, name), best[name]))
            cells += [_gap(study, arm, name)] if name in compared else []
        rows.append([*cells, *_costs(study, arm)])
    head = ["Arm", "Seeds"]
    for name, one in study.measures.items():
        head += [one.head, "minus baseline"] if name in compared else [one.head]
    head += ["Pretraining", "Generator", "FLOP, both"]
    return join([table(head, rows, caption=_caption(study), class_="comparison"), _legend(study)])


def _best(study: Study, one: Measured) -> float:
    """The best mean of the arms that do not see the labels; NaN where there is none to tell."""
    means = [drawn.value for drawn in study.estimates(one.name) if not study.sees_labels(drawn.name)]
    return one.sign * max(one.sign * mean for mean in means) if len(set(means)) > 1 else float("nan")


def _mean(value: dict[str, float], best: float) -> Html:
    mean = value.get("mean")
    return join([element("strong" if mean == best else "span", fixed(mean)), element("small", interval(value))])


def _gap(study: Study, arm: str, name: str, other: str | None = None) -> Html:
    """The difference to the baseline or another arm, grey where its interval does not exclude 0."""
    gap = study.gap(arm, name, other)
    mean = gap.get("mean")
    if not is_number(mean):
        return element("span", "baseline" if arm == study.baseline and other is None else MISSING, class_="unsure")
    shown = element("span", signed(mean), class_=None if clear(gap) else "unsure")
    limits = f"{signed(gap['low'])} to {signed(gap['high'])}" if is_number(gap.get("low")) else ""
    return join([shown, element("small", limits)])


def clear(gap: dict[str, float]) -> bool:
    """Whether the interval of a difference excludes 0."""
    low, high = gap.get("low"), gap.get("high")
    return is_number(low) and is_number(high) and not low <= 0 <= high


def _costs(study: Study, arm: str) -> list[Content]:
    """Time and FLOPs of both parts, and the FLOPs of both together."""
    cells: list[Content] = []
    total = 0.0
    for part in ("pretraining", "generator"):
        seconds, used = study.cost(arm, part, "seconds"), study.cost(arm, part, "flops")
        total += used
        time = duration(seconds) if seconds > 0 else MISSING
        cells.append(join([time, element("small", flops(used)) if used > 0 else ""]))
    return [*cells, flops(total) if total > 0 else MISSING]


def _caption(study: Study) -> str:
    evaluated = mapping(study.folder.recipe.get("evaluate"))
    images = "test images" if evaluated.get("validation_images") is None else "validation images"
    told = [f"On the {images}" + (", the mean over the seeds" if study.seeds > 1 else "")]
    limits = study.limits(*study.measures)
    told += [f"Small print: {limits}"] if limits else []
    if study.others:
        paired = "by seed" if study.seeds > 1 else f"over the {images}"
        known = any(one.low is not None for name in study.measures for one in study.estimates(name, gaps=True))
        grey = f"Differences are paired {paired}, and grey where the interval includes 0"
        told.append(grey if known else "One seed has no interval, so all differences are grey")
        told.append(f"The best {'that sees no labels ' if any(map(study.sees_labels, study.rows)) else ''}in bold")
    if study.seeds == 1:
        told.append("One run's interval does not contain the luck of its initial weights")
    if len(study.others) > 2:
        told.append("The best of several arms was chosen by these numbers, which flatters it")
    told.append("Pretraining: time and FLOP of one seed")
    if any(study.generated(arm) for arm in study.rows):
        told.append("Generator: those of diffusion model and bank, made once for all seeds and arms")
    told.append("M, G, T, P and E: 10⁶, 10⁹, 10¹², 10¹⁵ and 10¹⁸")
    return ". ".join(told) + "."


def _legend(study: Study) -> Html:
    """What colours mean where they do not name an arm."""
    if not study.many:
        return Html()
    told = {BASE: "the baseline", WITHOUT: "without a generator", WITH: "with a generator"}
    used = {colour: meaning for colour, meaning in told.items() if colour in study.colours.values()}
    items = [element("span", [element("span", class_=f"swatch {colour}"), meaning]) for colour, meaning in used.items()]
    return element("p", items, class_="legend")


def measured(study: Study) -> Html:
    """Dots and intervals: every measure, and its differences to the baseline."""
    panels = []
    for name, one in study.measures.items():
        drawn, gaps = study.estimates(name), study.estimates(name, gaps=True)
        if len(drawn) > 1:
            limits = study.limits(name)
            told = f"Dot: {'mean' if study.seeds > 1 else 'value'}; line: {limits}." if limits else ""
            chart = interval_chart(drawn, label=f"{one.told} of each arm", width=WIDTH)
            panels.append(panel(one.head, chart, told))
        if gaps:
            # The baseline's row says nothing new; with it the rows stand level with those of the chart beside.
            level = Estimate(study.baseline, BASE, 0.0, None, None)
            rows = {estimate.name: estimate for estimate in [level, *gaps]}
            label = f"{one.told} of each arm minus that of {study.baseline}"
            chart = interval_chart(
                [rows[arm] for arm in study.rows if arm in rows], label=label, zero=True, width=WIDTH
            )
            unit = "points" if one.unit == "%" else one.unit
            panels.append(
                panel(f"{one.told} minus {study.baseline}, {unit}".rstrip(", "), chart, _counted(study, gaps))
            )
    return element("div", panels, class_="grid broad") if panels else Html()


def _counted(study: Study, gaps: Sequence[Estimate]) -> str:
    """How many differences are clear of 0."""
    if not any(one.low is not None for one in gaps):
        return "One seed: no intervals. A difference of one run may be the luck of its initial weights."
    above = sum(one.low is not None and one.low > 0 for one in gaps)
    below = sum(one.high is not None and one.high < 0 for one in gaps)
    paired = "by seed" if study.seeds > 1 else "over the test images"
    told = f"Paired {paired}; an interval clear of 0 is a difference, even where those of the arms overlap."
    if len(gaps) > 1:
        told += f" Clear of 0: {above} above and {below} below, of {len(gaps)}."
    return told + (" Chance alone puts one in twenty there." if len(gaps) > 5 else "")


def against_cost(study: Study) -> Html:
    """The first measure over FLOPs and over time, where there are arms to compare."""
    one, panels = next(iter(study.measures.values()), None), []
    if one is None or len(study.rows) < 2:
        return Html()
    for unit, title, written in (("flops", "FLOP", flops), ("seconds", "time", short_time)):
        dots = _dots(study, one, unit)
        if dots:
            label = f"{one.told} of each arm against {title}"
            chart = cost_chart(dots, label=label, written=written, times=unit == "seconds")
            panels.append(panel(f"{one.head}, against {title}", chart, _reading(one, dots, title)))
    return join([_legend(study), element("div", panels, class_="grid broad")]) if panels else Html()


def _dots(study: Study, one: Measured, unit: str) -> list[Dot]:
    dots = []
    for estimate in study.estimates(one.name):
        without = study.cost(estimate.name, "pretraining", unit)
        if without > 0:
            dots.append(Dot(estimate, without + study.cost(estimate.name, "generator", unit), without))
    return dots


def _reading(one: Measured, dots: Sequence[Dot], title: str) -> str:
    costly, side = any(dot.without < dot.cost for dot in dots), "up" if one.sign > 0 else "down"
    told = f"{title} of one pretraining{' and of the generator' if costly else ''}, logarithmic"
    told += f"; left and {side} is better."
    told += " Hollow: the same arm if its generator cost nothing." if costly else ""
    return f"{told[0].upper()}{told[1:]} Dots that would cover each other are moved apart sideways."


def runs(study: Study) -> Html:
    """What is behind the table, folded away: every run, the differences of all pairs, and what else was found."""
    blocks = []
    for name, one in study.measures.items():
        found = {arm: study.runs(arm, name) for arm in study.rows}
        seeds = sorted({seed for known in found.values() for seed in known}, key=lambda seed: (len(seed), seed))
        if len(seeds) > 1:
            rows = [[swatch(study, arm), *(fixed(known.get(seed)) for seed in seeds)] for arm, known in found.items()]
            listed = table(["Arm", *(f"seed {seed}" for seed in seeds)], rows, class_="comparison")
            blocks.append(details(f"{one.head}, of every run", listed))
        if len(study.others) > 1 and study.estimates(name, gaps=True):
            cells = [
                [swatch(study, arm), *(_gap(study, arm, name, other) for other in study.rows)] for arm in study.rows
            ]
            listed = table(["", *(f"minus {arm}" for arm in study.rows)], cells, class_="comparison")
            blocks.append(details(f"{one.told}, each row minus each column", listed))
    return join([*blocks, _further(study)])


def _further(study: Study) -> Html:
    """Further numbers beside the measures, such as top-5, of the first run of each arm."""
    records = {**mapping(study.folder.evaluation.get("controls")), study.main: study.folder.evaluation}
    found: dict[str, dict[str, float]] = {}
    for arm in study.rows:
        for name, one in study.measures.items():
            known = mapping(mapping(records.get(arm)).get(name))
            more = {key: value for key, value in known.items() if key not in ("low", "high", one.metric)}
            for key, value in more.items():
                if is_number(value):
                    found.setdefault(f"{one.title}, {words(key).lower()}", {})[arm] = value
    if len(study.rows) > 1:  # what is the same for all, such as a number of draws, stands in the protocols
        found = {head: column for head, column in found.items() if len(set(column.values())) > 1}
    rows = [[swatch(study, arm), *(fixed(column.get(arm)) for column in found.values())] for arm in study.rows]
    return (
        details("Further numbers of the first run", table(["Arm", *found], rows, class_="comparison"))
        if found
        else Html()
    )


def protocols(study: Study) -> Html:
    """What was done to measure, folded away, by measure."""
    told = {one.title: study.protocol(name) for name, one in study.measures.items()}
    parts = [details(title, paragraph(text.rstrip(".") + ".", "names")) for title, text in told.items() if text]
    if parts and study.others:
        chosen = f"Told by the first run of {study.baseline}: what is chosen here, every run chooses for itself."
        parts.append(paragraph(chosen, "names"))
    return join(parts)


def overview(studies: Sequence[Study], anchors: Sequence[str]) -> Html:
    """One row per study: what it was and what its main arm reached."""
    measures = {name: one for study in studies for name, one in list(study.measures.items())[:2]}
    rows: list[list[Content]] = []
    for study, anchor in zip(studies, anchors, strict=True):
        link = element("a", study.folder.path.resolve().name, href=f"#{anchor}")
        known = study.rows.get(study.main, {})
        scores = [fixed(mapping(known.get(name)).get("mean")) for name in measures]
        time = duration(mapping(known.get("cost")).get("pretraining_seconds"))
        recipe = str(study.folder.recipe.get("recipe") or MISSING)
        rows.append([link, study.folder.title, recipe, study.main or MISSING, *scores, time])
    head = ["Run", "Data", "Recipe", "Arm", *(one.head for one in measures.values()), "Pretraining"]
    return table(head, rows, caption="On the test images.", class_="overview")
