"""Tables of the study of colour: the ways to draw, and what encoders learn of them."""

from __future__ import annotations

from typing import Any

from studies import result, rows

WAYS = {
    "{}": "from another image, half of the steps, guidance 2",
    "{'synthesize.start': 'anchor'}": "from the anchor, half of the steps, guidance 2",
    "{'synthesize.guidance_scale': 4.0}": "from another image, half of the steps, guidance 4",
    "{'synthesize.strength': 1.0}": "from noise, guidance 2",
    "{'synthesize.start': 'anchor', 'synthesize.strength': 0.7}": "from the anchor, seven tenths of them, guidance 2",
}
"""The settings of the plans in words."""
SCORES = ("linear", "linear_balanced", "knn")


def ways(part: str) -> str:
    """A row for each way to draw: what the gate says of its bank, and what encoders learn."""
    found = result("colour", part)
    lines = [(f"`{name}`", "", "", "", *_scores(one)) for name, one in found["beside"].items()]
    for one in found["settings"]:
        measures = one["measures"]
        told = (measures["follows"], measures["classifier_agreement"], measures["pixel_distance"])
        name = WAYS[str(one["options"])]
        lines.append((f"`simclr+bank`, {name}", *(f"{value:.2f}" for value in told), *_scores(one)))
    return rows(("arm", "follows", "agreement", "pixel distance", "linear", "balanced", "kNN"), lines)


def unjittered(part: str) -> str:
    """The arms whose views keep their colours."""
    lines = [
        (f"`{one['arm']}`", *(_seeds(one["runs"][score].values()) for score in SCORES))
        for one in result("colour", part)["arms"]
    ]
    return rows(("arm", "linear", "balanced", "kNN"), lines)


def _scores(one: dict[str, Any]) -> tuple[str, ...]:
    """The mean of every score."""
    return tuple(f"{one[score]['mean']:.2f}" for score in SCORES)


def _seeds(values: Any) -> str:
    """The mean over the seeds."""
    found = list(values)
    return f"{sum(found) / len(found):.2f}"
