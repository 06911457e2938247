r"""Judge banks good and bad: what the gate's measures say of generators that were trained for shorter and longer.

    python experiments/noise_banks.py --work WORK --out studies/gate/result.json

Each set's generator is trained on from its own weights (``diffusion.weights``), and draws a small bank in three ways at
every stop. What is finished in WORK is kept. The lines of `clsp.positives.gate` were chosen on half of the sets and
checked on the other half, see ``SETS``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from clsp import files
from clsp.engine.record import require_record
from clsp.images.imageset import Images
from clsp.positives import gate
from clsp.positives.bank import PositiveBank
from clsp.recipes.prepare import Prepared, prepare, prepare_with
from clsp.settings.values import nested
from clsp.study.stages import bank_stage, diffusion_stage

ANCHORS = 128
"""Of each bank; two candidates each."""

SHORT = {
    "images.size": 16, "images.limit": 1500, "diffusion.batch_size": 32, "diffusion.lr": 0.001,
    "diffusion.warmup_steps": 50, "diffusion.schedule": "constant", "diffusion.stratified_levels": True,
    "diffusion.sample_every": 0, "diffusion.max_strength": 1.0,
}  # fmt: skip
"""Of the colour sets: 1,500 images of 16 pixels, small steps."""

WAYS: dict[str, dict[str, Any]] = {
    "from noise": {"strength": 1.0, "start": "anchor", "guidance_scale": 1.0},
    "from another image": {"strength": 0.5, "start": "other", "guidance_scale": 2.0},
    "from the anchor": {"strength": 0.5, "start": "anchor", "guidance_scale": 1.0},
}
"""How the banks are drawn, all by ten steps of SDE-DPM-Solver++."""


@dataclass(frozen=True)
class Set:
    """A data set and its generators."""

    recipe: str
    stops: tuple[int, ...]
    """Steps of the generator at which it draws."""
    chose: bool
    """Whether the lines were chosen on it; else they are checked on it."""
    settings: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    """A generator that exists, of so many steps."""
    from_scratch: bool = False
    """Whether every stop is a training of its own, as a run's is."""


SETS = {
    "digits": Set("digits", (35, 700), chose=True, settings={"diffusion.sample_every": 0}, from_scratch=True),
    "openclipart": Set("folder", (100, 300, 1500, 4000), chose=True, settings=SHORT),
    "blue-marble": Set("folder", (100, 300, 1500, 4000), chose=False, settings=SHORT),
    "fashion-mnist": Set(
        "fashion-mnist", (3000,), chose=False, settings={"images.size": 20, "images.limit": 3000},
        model="studies/generators/20-pixels/diffusion",
    ),
}  # fmt: skip


def generators(name: str, work: Path) -> dict[int, Path]:
    """Train the generators of a set, or find them: their folders by the steps that they had."""
    about, found, before, done = SETS[name], dict[int, Path](), None, 0
    for stop in about.stops:
        if about.model:
            found[stop] = Path(about.model)
            continue
        more: dict[str, Any] = {"diffusion.steps": stop if about.from_scratch else stop - done}
        more |= {"diffusion.weights": str(before)} if before and not about.from_scratch else {}
        before, done = diffusion_stage(_prepared(name, more), work / name / str(stop) / "diffusion"), stop
        found[stop] = before
    return found


@cache
def _images(name: str) -> Images:
    return prepare(name, recipe=SETS[name].recipe, overrides=nested(SETS[name].settings)).images


def _prepared(name: str, more: dict[str, Any]) -> Prepared:
    return prepare_with(lambda _: _images(name), SETS[name].recipe, nested({**SETS[name].settings, **more}))


def judged(name: str, work: Path) -> list[dict[str, Any]]:
    """Draw and judge the banks of a set."""
    rows = []
    sampler = {"sampler": "sde-dpmsolver++", "steps": 10, "clip_sample": True, "candidates": gate.EACH}
    for steps, model in generators(name, work).items():
        for way, settings in WAYS.items():
            chosen = {**sampler, "anchors": ANCHORS, **settings}
            prepared = _prepared(name, {f"synthesize.{key}": value for key, value in chosen.items()})
            bank = bank_stage(prepared, model, work / name / str(steps) / way.replace(" ", "-"))
            rows.append({"data": name, "steps": steps, "way": way, "chose": SETS[name].chose, **_row(bank)})
    return rows


def _row(bank: PositiveBank) -> dict[str, Any]:
    """What was said of a bank, and how often its candidates keep their anchor's label, which the gate does not see."""
    verdict = require_record(bank.folder).facts["verdict"]
    measures = {name: one["value"] for name, one in verdict["measures"].items()}
    agreement = bank.manifest["measures"]["neighbour_label_agreement"]["value"]
    return {**measures, "label_agreement": agreement, "passed": verdict["passed"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS), help="some of the sets, separated by commas")
    given = parser.parse_args()
    lines = {"follows": gate.FOLLOWS, "strange": gate.STRANGE, "untypical": gate.UNTYPICAL, "cut_off": gate.CUT_OFF}
    rows = [row for name in given.sets.split(",") for row in judged(name, given.work)]
    files.write_json(given.out, {"lines": lines, "banks": rows})


if __name__ == "__main__":
    main()
