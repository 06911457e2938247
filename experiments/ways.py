r"""What the gate's measures say of the ways to draw: one generator, a small bank for each start, strength and guidance.

    python experiments/ways.py --data blue-marble --recipe experiments/colour.yaml --diffusion MODEL --work WORK \
        --out studies/colour/ways-blue-marble.json

Nothing is trained. The label agreement is the fraction of a candidate's five nearest real images that bear its anchor's
label; diversity is that of two candidates of one anchor.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from clsp import files
from clsp.engine.record import require_record
from clsp.positives.bank import PositiveBank
from clsp.recipes.prepare import prepare
from clsp.settings.values import nested
from clsp.study.stages import bank_stage

ANCHORS = 256
GUIDANCE = (1.0, 2.0, 4.0)
STARTS = [("other", 0.3), ("other", 0.5), ("other", 0.7), ("anchor", 0.3), ("anchor", 0.5), ("anchor", 0.7)]
WAYS = [*itertools.product(STARTS, GUIDANCE), *((("anchor", 1.0), guidance) for guidance in GUIDANCE)]
"""Start, strength and guidance; strength 1 is from noise."""


def drawn(data: str, recipe: str, model: Path, folder: Path, way: dict[str, Any]) -> dict[str, Any]:
    """Draw a bank, and return what is said of it."""
    chosen = {"anchors": ANCHORS, "candidates": 2, **way}
    overrides = nested({f"synthesize.{name}": value for name, value in chosen.items()})
    bank = bank_stage(prepare(data, recipe=recipe, overrides=overrides), model, folder)
    return {**way, **said(bank)}


def said(bank: PositiveBank) -> dict[str, Any]:
    """The gate's measures of a bank, its own, and whether it passed."""
    verdict = require_record(bank.folder).facts["verdict"]
    own = {name: one["value"] for name, one in bank.manifest["measures"].items()}
    return {**own, **{name: one["value"] for name, one in verdict["measures"].items()}, "passed": verdict["passed"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--recipe"):
        parser.add_argument(name, required=True)
    for name in ("--diffusion", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    rows = []
    for (start, strength), guidance in WAYS:
        way = {"start": start, "strength": strength, "guidance_scale": guidance}
        place = given.work / f"{start}-{strength}-{guidance}"
        rows.append(drawn(given.data, given.recipe, given.diffusion, place, way))
        files.write_json(given.out, rows)


if __name__ == "__main__":
    main()
