"""Draw what the ablations found.

    python experiments/plots.py studies/ablations/result.json docs/ablations

Writes axes.svg (accuracy along every option), positives.svg (gain over what the candidates are like), map.svg (over
agreement and distance together) and cost.svg (over what the generator costs).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from figure import Mark, Panel, estimates_over, sheet

from clsp import files
from clsp.report.charts import Estimate
from clsp.report.numbers import signed

SCORES = {"linear": ("linear probe", "arm-1"), "knn": ("kNN", "arm-0")}
MEASURES = {
    "classifier_agreement": "agreement with the anchor's label",
    "encoder_distance": "distance to real images",
    "row_diversity": "diversity within a row",
    "pixel_distance": "pixel distance to the anchor",
}
COSTLY = ("diffusion.steps", "synthesize.steps", "synthesize.candidates")
"""Axes along which the generator's cost changes."""
MAP = ("classifier_agreement", "encoder_distance")
LABELS = {
    "synthesize.interpolation_weight": "w",
    "synthesize.guidance_scale": "guidance",
    "synthesize.eta": "eta",
    "synthesize.strength": "strength",
    "synthesize.steps": "sampler steps",
    "synthesize.candidates": "k",
    "synthesize.clip_sample": "clamped",
    "synthesize.anchor_noise": "anchor's noise",
    "synthesize.sampler": "sampler",
    "pretrain.positive.third.weight": "lambda",
    "diffusion.steps": "diffusion training steps",
    "diffusion.prediction_type": "predicts",
    "diffusion.min_snr_gamma": "min-SNR gamma",
}
LARGE = 440.0, 260.0
"""Width and height of a panel in which many settings are named."""
Found = dict[str, Any]


def estimate(row: Found, score: str, name: str) -> Estimate:
    """A mean with its interval, in the colour of its score."""
    return Estimate(name, SCORES[score][1], row["mean"], row["low"], row["high"])


def ends(values: list[float | None], room: float = 0.06) -> tuple[float, float]:
    """The ends of an axis that holds the values, with some room."""
    known = [value for value in values if value is not None]
    pad = room * (max(known) - min(known)) or 0.5
    return min(known) - pad, max(known) + pad


def limits(rows: list[Found], zero: bool = False) -> tuple[float, float]:
    """The ends of an axis that holds means and intervals."""
    values = [row[end] for row in rows for end in ("mean", "low", "high")]
    return ends(values + ([0.0] if zero else []))


def along_axes(found: Found) -> str:
    """One panel an option: mean and 95 % interval of every value, ``base`` among them; dashed: the method alone."""
    settings, own = found["settings"], found["recipe"]
    base, panels = settings[0], []
    high = limits([row[score] for row in settings for score in SCORES])
    alone = {score: base[score]["mean"] - base["versus_baseline"][score]["mean"] for score in SCORES}
    for axis in (axis for axis in found["plan"]["axes"] if any(row["axis"] == axis for row in settings)):
        points = [row for row in settings if row["axis"] == axis]
        points += [{**base, "value": own[axis]}] if axis in own else []
        points.sort(key=lambda row: sort_key(row["value"]))
        names = [f"{point['value']}{'*' if point['value'] == own.get(axis) else ''}" for point in points]
        marks = [
            Mark(place + 0.05 * shift, estimate(point[score], score, f"{SCORES[score][0]}, {name}"))
            for shift, score in zip((-1, 1), SCORES)
            for place, (point, name) in enumerate(zip(points, names))
        ]
        title = LABELS.get(axis, axis)
        chart = estimates_over(
            marks,
            (-0.5, len(points) - 0.5),
            high,
            label=f"validation accuracy by {title}",
            x_ticks=list(enumerate(names)),
            levels=[(alone[score], colour) for score, (_, colour) in SCORES.items()],
            joined=True,
        )
        panels.append(Panel(title, chart))
    legend = [(f"{name}, %", colour) for name, colour in SCORES.values()]
    label = "validation accuracy along every option"
    return sheet(panels, label=label, columns=min(3, len(panels)), legend=legend)


def sort_key(value: Any) -> tuple[bool, Any]:
    """Numbers by size, words by name."""
    return isinstance(value, str), value


def gains(rows: list[tuple[int, Found]], places: dict[int, float], score: str, **how: Any) -> Panel:
    """A panel of what encoders gain over the method alone, with the number of each setting; dashed: nothing."""
    marks = [
        Mark(places[number], estimate(row["versus_baseline"][score], score, words(row["options"])), str(number))
        for number, row in rows
        if number in places
    ]
    title = f"gain in {SCORES[score][0]}, points"
    high = limits([row["versus_baseline"][score] for _, row in rows], zero=True)
    x = how.pop("x", None) or ends(list(places.values()))
    return Panel(title, estimates_over(marks, x, high, label=title, levels=[(0.0, "base")], size=LARGE, **how))


def over_measures(found: Found) -> str:
    """One row of panels a measure of the candidates: a point is a bank and what the encoders that it taught gained."""
    drawn, panels = numbered(found), []
    for name, label in MEASURES.items():
        # One candidate has no diversity.
        places = {number: row["measures"][name] for number, row in drawn if name in row["measures"]}
        panels += [gains(drawn, places, score, x_label=label) for score in SCORES]
    label = "gain over the method alone by what the candidates are like"
    return sheet(panels, label=label, columns=2, key=key(drawn), size=LARGE)


def over_both(found: Found) -> str:
    """Agreement and distance of every bank; the gain stands beside each dot, which is the darker the larger it is."""
    drawn, panels = numbered(found), []
    places = {number: [row["measures"][name] for name in MAP] for number, row in drawn}
    x, y = (ends([place[side] for place in places.values()], 0.1) for side in (0, 1))
    for score, (name, colour) in SCORES.items():
        means = {number: row["versus_baseline"][score]["mean"] for number, row in drawn}
        low, high = min(means.values()), max(means.values())
        marks = []
        for number, row in drawn:
            at, mean = places[number], means[number]
            told = f"{words(row['options'])}: gain {signed(mean)}, distance"
            strength = 0.15 + 0.85 * (mean - low) / ((high - low) or 1.0)
            marks.append(Mark(at[0], Estimate(told, colour, at[1], None, None), signed(mean, 1), strength))
        title = f"{MEASURES[MAP[1]]}, with the gain in {name}"
        panels.append(Panel(title, estimates_over(marks, x, y, label=title, x_label=MEASURES[MAP[0]], size=LARGE)))
    return sheet(panels, label="gain over agreement and distance together", columns=2, size=LARGE)


def over_cost(found: Found) -> str:
    """The gain over the baseline against the generator's FLOPs, in units of the pretraining that it improves."""
    rows = [(n, row) for n, row in numbered(found) if row["axis"] in ("base", "together", *COSTLY)]
    places = {n: row["cost"]["generator_flops"] / row["cost"]["pretraining_flops"] for n, row in rows}
    x = min(0.9, *places.values()), max(40.0, *places.values())
    label = "FLOPs of the generator over those of a pretraining"
    panels = [gains(rows, places, score, x=x, x_label=label, log=True, upright=1.0) for score in SCORES]
    return sheet(panels, label="gain over what the generator costs", columns=2, key=key(rows), size=LARGE)


def numbered(found: Found) -> list[tuple[int, Found]]:
    """The settings that have a bank of their own, with the numbers by which all figures call them."""
    rows = [row for row in found["settings"] if not row["axis"].startswith("pretrain.")]
    return list(enumerate(rows, 1))


def key(rows: list[tuple[int, Found]]) -> list[str]:
    """What the numbers mean."""
    return [f"{number}: {words(row['options'])}" for number, row in rows]


def words(options: dict[str, Any]) -> str:
    """What a setting changes, in short."""
    return ", ".join(f"{LABELS.get(name, name.partition('.')[2])} {value}" for name, value in options.items()) or "base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="result.json of the ablations")
    parser.add_argument("folder", type=Path, help="where the figures go")
    options = parser.parse_args()
    found, folder = files.read_json(options.result), options.folder
    drawn = {"axes": along_axes, "positives": over_measures, "map": over_both, "cost": over_cost}
    for name, draw in drawn.items():
        files.write_text(folder / f"{name}.svg", draw(found))


if __name__ == "__main__":
    main()
