"""The learning curves of a comparison."""

from __future__ import annotations

from clsp.report.bands import Band, band, band_chart, extent
from clsp.report.charts import Axis
from clsp.report.costs import WIDTH
from clsp.report.grid import CURVES, Comparison, swatch
from clsp.report.html import Html, details, element, join, panel, paragraph
from clsp.report.numbers import fixed, signed

MEANINGS = {
    "knn": "Of the encoder while it trains; it decides nothing.",
    "effective_rank": "Dimensions that the embeddings fill; a fall towards 1 is collapse.",
}


def learning(comparison: Comparison) -> Html:
    """The curves of all arms in one chart each, or of many arms one chart per arm."""
    found = {}
    for name in CURVES:
        bands = {arm: band(arm, comparison.colours[arm], curves) for arm, curves in comparison.curves[name].items()}
        bands = {arm: one for arm, one in bands.items() if one.levels}
        scales = extent(list(bands.values()))
        if scales:
            found[name] = (bands, scales)
    if not found:
        return Html()
    if comparison.many:
        return join(_multiples(comparison, name, *drawn) for name, drawn in found.items())
    panels = []
    for name, (bands, scales) in found.items():
        label = f"{CURVES[name]} over training steps, one curve per arm"
        chart = band_chart(list(bands.values()), scales, label=label, width=WIDTH, height=230)
        panels.append(panel(CURVES[name], chart, f"{MEANINGS[name]} {_banded(comparison)}"))
    legend = element("p", [element("span", swatch(comparison, arm)) for arm in comparison.rows], class_="legend")
    return join([legend, element("div", panels, class_="grid broad")])


def _banded(comparison: Comparison) -> str:
    kinds = {1: "One seed.", 2: "Line: mean of two seeds; band: between them."}
    return kinds.get(comparison.seeds, "Line: mean over the seeds; band: its 95 % interval.")


def _multiples(comparison: Comparison, name: str, bands: dict[str, Band], scales: tuple[Axis, Axis]) -> Html:
    """One small chart per arm, with the baseline in grey behind it; all have the same scales."""
    base = bands.get(comparison.baseline)
    figures = []
    for arm, one in bands.items():
        if arm != comparison.baseline:
            label = f"{CURVES[name]} of {arm} and of {comparison.baseline} over training steps"
            chart = band_chart([*([base] if base else []), one], scales, label=label, width=320, height=150)
            title = paragraph([swatch(comparison, arm), _end(one, base)], "title")
            figures.append(element("figure", [title, chart]))
    told = paragraph(f"{MEANINGS[name]} Grey: {comparison.baseline}. {_banded(comparison)}", "caption")
    content = join([told, element("div", figures, class_="grid")])
    if name == "knn":
        return join([element("h3", CURVES[name]), content])
    return details(f"{CURVES[name]} of each arm", content)


def _end(one: Band, base: Band | None) -> Html:
    """The last mean, with its difference to the baseline's."""
    last = one.levels[-1].mean
    gap = f" ({signed(last - base.levels[-1].mean)})" if base else ""
    return element("small", f"{fixed(last)}{gap} at the end")
