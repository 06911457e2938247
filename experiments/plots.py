"""Draw what the ablations found.

    python experiments/plots.py studies/ablations/result.json docs/ablations

Writes axes.svg (accuracy along every option), positives.svg (gain over what the candidates are like), map.svg (over
agreement and distance together) and cost.svg (over what the generator costs).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

SCORES = {"linear": ("linear probe", "#1f5fa8"), "knn": ("kNN", "#c2571a")}
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


def along_axes(found: dict[str, Any], path: Path) -> None:
    """One panel an option: mean and 95 % interval of every value, ``base`` among them; dashed: the method alone."""
    settings = found["settings"]
    base = settings[0]
    axes = [axis for axis in found["plan"]["axes"] if any(row["axis"] == axis for row in settings)]
    columns = min(3, len(axes))
    rows = -(-len(axes) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.5 * rows), squeeze=False, sharey=True)
    for panel in panels.flat[len(axes) :]:
        panel.set_visible(False)
    for axis, panel in zip(axes, panels.flat):
        points = [row for row in settings if row["axis"] == axis]
        points += [{**base, "value": found["recipe"][axis]}] if axis in found["recipe"] else []
        points.sort(key=lambda row: sort_key(row["value"]))
        _panel(panel, points, found["recipe"].get(axis))
        for score, (_, colour) in SCORES.items():
            alone = base[score]["mean"] - base["versus_baseline"][score]["mean"]
            panel.axhline(alone, color=colour, lw=0.8, ls="--")
        panel.set_title(LABELS.get(axis, axis), fontsize=9)
    panels[0][0].legend(fontsize=7, frameon=False)
    figure.supylabel("validation accuracy, %", fontsize=9)
    _save(figure, path)


def spread_of(value: dict[str, float | None]) -> tuple[float, float]:
    """The lengths of an error bar, below and above the mean; 0 where a single seed has no interval."""
    mean, low, high = value["mean"], value["low"], value["high"]
    assert mean is not None
    return (0.0 if low is None else mean - low), (0.0 if high is None else high - mean)


def sort_key(value: Any) -> tuple[bool, Any]:
    """Numbers by size, words by name."""
    return isinstance(value, str), value


def _panel(panel: Axes, points: list[dict[str, Any]], own: Any) -> None:
    names = [f"{point['value']}{'*' if point['value'] == own else ''}" for point in points]
    for score, (label, colour) in SCORES.items():
        means = [point[score]["mean"] for point in points]
        spread = list(zip(*(spread_of(point[score]) for point in points)))
        panel.errorbar(
            range(len(points)), means, yerr=spread, fmt="o-", ms=4, lw=1, capsize=2, color=colour, label=label
        )
    panel.set_xticks(range(len(points)), names)
    panel.tick_params(labelsize=8)
    panel.grid(axis="y", color="#dddddd", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def over_measures(found: dict[str, Any], path: Path) -> None:
    """One panel a measure of the candidates: a point is a bank and what the encoders that it taught gained."""
    drawn = [row for row in found["settings"] if not row["axis"].startswith("pretrain.")]
    figure, panels = plt.subplots(2, 2, figsize=(9.6, 6.8), sharey=True)
    for (name, label), panel in zip(MEASURES.items(), panels.flat):
        known = [row for row in drawn if name in row["measures"]]  # one candidate has no diversity
        places = [row["measures"][name] for row in known]
        for score, (word, colour) in SCORES.items():
            gaps = [row["versus_baseline"][score] for row in known]
            means, spread = [gap["mean"] for gap in gaps], list(zip(*map(spread_of, gaps)))
            panel.errorbar(places, means, yerr=spread, fmt="o", ms=4, lw=0.8, color=colour, label=word)
        named = [row for row in known if row["axis"] != "together"]
        _name_apart(panel, [row["measures"][name] for row in named], [words(row["options"]) for row in named])
        panel.set_xlabel(label, fontsize=9)
        panel.axhline(0.0, color="#999999", lw=0.8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(fontsize=7, frameon=False, loc="lower right")
    figure.supylabel("gain over the method alone, points", fontsize=9)
    _save(figure, path)


def over_both(found: dict[str, Any], path: Path) -> None:
    """Agreement and distance of every bank, with the gain in colour, one panel a score."""
    drawn = [row for row in found["settings"] if not row["axis"].startswith("pretrain.")]
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.8), sharey=True)
    for (score, (label, _)), panel in zip(SCORES.items(), panels):
        places = [tuple(row["measures"][name] for name in MAP) for row in drawn]
        gains = [row["versus_baseline"][score]["mean"] for row in drawn]
        dots = panel.scatter(*zip(*places), c=gains, cmap="viridis", s=46)
        figure.colorbar(dots, ax=panel).ax.tick_params(labelsize=7)
        panel.set_title(f"gain in {label}, points", fontsize=9)
        panel.set_xlabel(MEASURES[MAP[0]], fontsize=9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(MEASURES[MAP[1]], fontsize=9)
    _save(figure, path)


def _name_apart(panel: Axes, places: list[float], names: list[str]) -> None:
    """Write names along the top, the first ones first; those that would cover one another are left out."""
    named: list[float] = []
    apart = 0.06 * (max(places) - min(places))
    for place, name in zip(places, names):
        if all(abs(place - other) >= apart for other in named):
            named.append(place)
            panel.annotate(name, (place, 1.0), xycoords=("data", "axes fraction"), fontsize=6, rotation=30, va="bottom")


def over_cost(found: dict[str, Any], path: Path) -> None:
    """The gain over the baseline against the generator's FLOPs, in units of the pretraining that it improves."""
    rows = [row for row in found["settings"] if row["axis"] in ("base", *COSTLY) or row["axis"] == "together"]
    rows.sort(key=lambda row: row["cost"]["generator_flops"])
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.4))
    for (score, (name, colour)), panel in zip(SCORES.items(), panels):
        places = [row["cost"]["generator_flops"] / row["cost"]["pretraining_flops"] for row in rows]
        gaps = [row["versus_baseline"][score] for row in rows]
        means, spread = [gap["mean"] for gap in gaps], list(zip(*map(spread_of, gaps)))
        panel.errorbar(places, means, yerr=spread, fmt="o", ms=4, lw=0.8, color=colour)
        panel.set_xscale("log")
        panel.set_xlim(0.9, 40)
        for number, (place, mean) in enumerate(zip(places, means), 1):
            panel.annotate(str(number), (place, mean), xytext=(5, 3), textcoords="offset points", fontsize=7)
        panel.axhline(0.0, color="#999999", lw=0.8)
        panel.axvline(1.0, color="#999999", lw=0.8, ls=":")
        panel.set_xlabel("FLOPs of the generator over those of a pretraining", fontsize=9)
        panel.set_title(f"gain in {name}, points", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    key = "\n".join(f"{number}: {words(row['options'])}" for number, row in enumerate(rows, 1))
    figure.text(0.02, 0.01, key, fontsize=7, va="bottom")
    _save(figure, path, bottom=0.04 + 0.028 * len(rows))


def words(options: dict[str, Any]) -> str:
    """What a setting changes, in short."""
    return ", ".join(f"{LABELS.get(name, name.partition('.')[2])} {value}" for name, value in options.items()) or "base"


def _save(figure: Any, path: Path, *, bottom: float = 0.0) -> None:
    """Write the figure; ``bottom`` is the share of its height that is kept for its key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 1.0))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    found, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    plt.rcParams.update({"svg.hashsalt": "clsp", "font.family": "sans-serif"})
    along_axes(found, folder / "axes.svg")
    over_measures(found, folder / "positives.svg")
    over_both(found, folder / "map.svg")
    over_cost(found, folder / "cost.svg")


if __name__ == "__main__":
    main()
