"""Which sampler makes which candidates: all samplers on the anchors of one trained model, beside the paper's.

    python benchmarks/samplers.py --diffusion MODEL --json studies/benchmarks/result.json

Each row is one setting: the passes of the U-Net that a candidate takes (the anchor's, shared by its candidates, not
counted), and the measures of `quality.py` with their smallest and largest value over parts of the anchors. No
test image is looked at, and no encoder is trained: this says what candidates are like, not what they teach.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from generation import draw, pipeline_of, reference
from harness import arguments, machine, put
from quality import Quality
from torch import Tensor

from clsp.diffusion.folder import load_diffusion
from clsp.diffusion.interpolation import steps_taken
from clsp.positives.config import SynthesizeConfig
from clsp.recipes.recipe import load_recipe

PARTS = 3
STRENGTH = 0.7
"""Of the rows that name no other."""
SETTINGS: tuple[dict[str, Any], ...] = (
    {"sampler": "ddim", "eta": 0.1},
    {"sampler": "ddim", "eta": 1.0},
    {"sampler": "dpmsolver++"},
    {"sampler": "sde-dpmsolver++"},
    {"sampler": "unipc"},
    {"sampler": "deis"},
    {"sampler": "sde-dpmsolver++", "strength": 0.5},
    {"sampler": "sde-dpmsolver++", "strength": 0.9},
    {"sampler": "sde-dpmsolver++", "strength": 1.0},
    {"sampler": "sde-dpmsolver++", "steps": 5},
    {"sampler": "sde-dpmsolver++", "steps": 20},
    {"sampler": "sde-dpmsolver++", "interpolation_weight": 0.0},
    {"sampler": "sde-dpmsolver++", "interpolation_weight": 0.3},
    {"sampler": "sde-dpmsolver++", "interpolation_weight": 1.0},
    {"sampler": "sde-dpmsolver++", "clip_sample": False},
    {"sampler": "ddim", "eta": 1.0, "strength": 1.0, "steps": 20},
)


def row(name: str, passes: int, quality: Quality, sampler: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Rate one sampler."""
    rated = quality.rate_parts(sampler, PARTS)
    measures = {
        measure: {
            "mean": round(sum(part[measure] for part in rated) / PARTS, 4),
            "low": min(part[measure] for part in rated),
            "high": max(part[measure] for part in rated),
        }
        for measure in rated[0]
    }
    found = {"sampler": name, "passes": passes, **measures}
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    options = arguments(__doc__ or "", recipe="experiments/fashion-mnist.yaml", diffusion="", anchors=150)
    unet, settings = load_diffusion(options.diffusion)
    own = replace(load_recipe(options.recipe).synthesize, candidates=2, strength=STRENGTH)
    quality = Quality(options.anchors)

    def ours(config: SynthesizeConfig) -> Callable[[Tensor], Tensor]:
        pipeline = pipeline_of(config, unet, settings)
        return lambda anchors: draw(pipeline, config, anchors)

    def papers(eta: float) -> Callable[[Tensor], Tensor]:
        return lambda anchors: quality.pair(lambda seed: reference(unet, anchors, eta=eta, seed=seed))

    rows = []
    for setting in SETTINGS:
        config = replace(own, **setting)
        rest = ", ".join(f"{name} {value}" for name, value in setting.items() if name != "sampler")
        name = config.sampler + (f", {rest}" if rest else "")
        rows.append(row(name, steps_taken(config.steps, config.strength), quality, ours(config)))
    for eta in (0.1, 1.0):
        rows.append(row(f"the paper's: ddim, steps 100, eta {eta}", 100, quality, papers(eta)))
    if options.json:
        record = {"recipe": options.recipe, "anchors": options.anchors, "parts": PARTS, "machine": machine()}
        put(options.json, {**record, "rows": rows})


if __name__ == "__main__":
    main()
