"""How much of what APS's second view shows its first view has shown, by gamma: counted on crops, without a training.

    python experiments/overlap.py --out studies/patches/overlap.json

Views, patches and their choice are those of experiments/grids/patches.yaml: crops of a fifth to the whole image, 25
patches a view, a quarter of them chosen. Overlap is the fraction of the second view's chosen patches, by area, that
lies in chosen patches of the first; "all" is that of two whole views.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from clsp import files
from clsp.evaluation.statistics import interval
from clsp.images.augment import draw_crops
from clsp.images.config import AugmentConfig
from clsp.images.patches import draw_patches, free_shares, log_weights

GAMMAS = (0.0, 1.0, 3.0, 9.0)
GRID, RATIO = (5, 5), 0.25


def overlap(gamma: float | None, *, seed: int, pairs: int) -> float:
    """Mean overlap in percent over pairs of views; None: of whole views."""
    config, ids = AugmentConfig(crop_scale=[0.2, 1.0]), torch.arange(pairs)
    first, other = (draw_crops(config, seed=seed, step=0, ids=ids, views=torch.full_like(ids, n)) for n in range(2))
    cells = GRID[0] * GRID[1]
    if gamma is None:
        return 100 * float(1 - free_shares(torch.arange(cells).expand(pairs, -1), first, other, GRID).mean())
    count = round(RATIO * cells)
    chosen = draw_patches(torch.zeros(pairs, cells), count, seed=seed, step=0, ids=ids, view=0)
    free = free_shares(chosen, first, other, GRID)
    second = draw_patches(log_weights(free, gamma), count, seed=seed, step=0, ids=ids, view=1)
    return 100 * float(1 - free.gather(1, second).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=10_000, help="pairs of views for each seed")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    found = {}
    for gamma in (*GAMMAS, None):
        values = [overlap(gamma, seed=seed, pairs=given.pairs) for seed in range(given.seeds)]
        found["all" if gamma is None else f"gamma {gamma:g}"] = interval(values).record()
    files.write_json(given.out, found)
    for name, value in found.items():
        print(f"{name}: {value['mean']:.2f} %")


if __name__ == "__main__":
    main()
