"""The learning curves of a study: of all arms in one chart each, or of many arms one small chart per arm."""

from __future__ import annotations

from clsp.report.curves import Curve, curve, curve_chart, extent
from clsp.report.html import Html, details, element, join, panel, paragraph
from clsp.report.numbers import fixed, signed, words
from clsp.report.study import Study, swatch

CURVES = {
    "knn": ("Online kNN accuracy, %", "Of the encoder while it trains; it decides nothing"),
    "effective_rank": ("Effective rank", "Dimensions that the embeddings fill; a fall towards 1 is collapse"),
    "loss": ("Pretraining loss", "What the training minimises; arms with other terms have another scale"),
    "alignment": ("Alignment", "Mean of 2 - 2 cos between the two views of an image; 0 when they agree"),
    "feature_std": ("Feature std", "Spread of the normalised embeddings; 0 is collapse"),
    "uniformity": (
        "Uniformity",
        "log of mean exp(-2 d^2) over pairs of images; 0 is collapse, -4 an even sphere",
    ),
    "center_norm": ("Length of the centre", "Of the mean embedding; 1 when all images get the same"),
    "sample_norm": ("Length of a sample's mean", "Over its augmentations; 1 when views agree"),
    "residual_norm": ("Length of the residual", "Of a sample's mean beside the centre"),
    "residual_ratio": ("Own part of a sample", "Residual over sample's mean, squared; 0 when all images get the same"),
    "teacher_lag": ("Teacher's lag", "Distance of the teacher's weights from the student's; it must not stay 0"),
    "teacher_std": ("Spread of the teacher's outputs", "1 on a full sphere; 0 where all images get the same"),
    "memory_filled": ("Memory filled", "Fraction of the memory's rows that hold an image"),
    "center_length": ("Length of DINO's centre", "Of the mean output that DINO subtracts"),
    "candidates_alike": ("Candidates alike", "Fraction of the anchors whose candidates are one image"),
    "candidates_copied": ("Candidates copied", "Fraction of the anchors with a candidate that is the anchor itself"),
    "neighbour_is_itself": ("Neighbour is itself", "Fraction of the neighbours that are the anchor's own embedding"),
    "neighbour_same_class": ("Neighbour of the same class", "Fraction of the neighbours with the anchor's label"),
}
"""Curves that are explained, in order; every other number in the metrics is shown as a term of the loss."""
NO_TERMS = set("gradient_norm step epoch lr learning_rate seconds time images images_per_second rate".split())  # noqa: SIM905


def learning(study: Study) -> Html:
    """The curves of all arms."""
    keys = dict.fromkeys(key for runs in study.records.values() for lines in runs for line in lines for key in line)
    terms = {key: (words(key), "A term of the loss") for key in keys if key not in NO_TERMS and key not in CURVES}
    drawn: dict[str, dict[str, Curve]] = {}
    for key in CURVES if study.many else {**CURVES, **terms}:
        curves = {arm: curve(arm, study.colours[arm], runs) for arm, runs in study.curves(key).items()}
        curves = {arm: one for arm, one in curves.items() if one.levels}
        if curves:
            drawn[key] = curves
    if study.many:
        return join(_multiples(study, key, curves) for key, curves in drawn.items())
    panels = []
    for key, curves in drawn.items():
        title, meaning = (CURVES | terms)[key]
        chart = curve_chart(list(curves.values()), label=f"{title} over training steps, one curve per arm")
        panels.append(panel(title, chart, f"{meaning}. {_banded(study)}".strip()))
    legend = element("p", [element("span", swatch(study, arm)) for arm in study.rows], class_="legend")
    return join([legend, element("div", panels, class_="grid")]) if panels else Html()


def _banded(study: Study) -> str:
    kinds = {0: "", 1: "", 2: "Line: mean of two seeds; band: between them."}
    return kinds.get(study.seeds, "Line: mean over the seeds; band: its 95 % interval.")


def _multiples(study: Study, key: str, curves: dict[str, Curve]) -> Html:
    """One small chart per arm, with the baseline in grey behind it; all have the same scales."""
    base, (title, meaning), scales = curves.get(study.baseline), CURVES[key], extent(list(curves.values()))
    figures = []
    for arm, one in curves.items():
        if arm != study.baseline:
            label = f"{title} of {arm} and of {study.baseline} over training steps"
            chart = curve_chart([*([base] if base else []), one], label=label, scales=scales, height=150)
            figures.append(element("figure", [paragraph([swatch(study, arm), _end(one, base)], "title"), chart]))
    told = paragraph(f"{meaning}. Grey: {study.baseline}. {_banded(study)}", "caption")
    content = join([told, element("div", figures, class_="grid")])
    first = key == next(iter(CURVES))
    return join([element("h3", title), content]) if first else details(f"{title} of each arm", content)


def _end(one: Curve, base: Curve | None) -> Html:
    """The last mean, with its difference to the baseline's."""
    last = one.levels[-1].mean
    gap = f" ({signed(last - base.levels[-1].mean)})" if base else ""
    return element("small", f"{fixed(last)}{gap} at the end")
