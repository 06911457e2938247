"""Do candidates follow their anchors? Told by coarse pixels, by the diffusion model's own features, and by an encoder.

    python experiments/grid.py --plan experiments/grids/draws.yaml --work WORK --out studies/draws
    python experiments/draws.py --work WORK --out studies/draws

For every bank and seed that the grid has made: how often a candidate is more like its own anchor than like a random
real image (0.5 is chance). The encoder is the seed's SimCLR, which has seen no candidate. OUT/follows.json has the
fractions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch.nn.functional as F
import yaml
from torch import Tensor

from clsp import files
from clsp.diffusion.folder import load_diffusion
from clsp.encoders.features import encode_by
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images, subset
from clsp.images.sources import open_images
from clsp.positives.bank import PositiveBank
from clsp.positives.following import coarse_pixels, following
from clsp.positives.measures import bottleneck_features

PLAN = Path(__file__).parent / "grids" / "draws.yaml"
ANCHORS, REAL = 256, 1000


def told(bank: PositiveBank, images: Images, describe: Callable[[np.ndarray], Tensor], *, centred: bool) -> float:
    """The fraction, by one description of uint8 images [N, C, H, W] as float [N, D]; centred: by its cosines."""
    rows, train = subset(len(bank), ANCHORS, seed=1), images.train.images
    anchors, real = (files.take(train, ids) for ids in (bank.ids[rows], subset(len(train), REAL, seed=2)))
    candidates = bank.array(rows)
    found = [describe(some) for some in (candidates.reshape(-1, *candidates.shape[2:]), anchors, real)]
    if centred:
        center = found[-1].mean(dim=0)
        found = [F.normalize(some - center, dim=1) for some in found]
    return round(following(found[0].unflatten(0, candidates.shape[:2]), *found[1:]), 4)


def judged(bank: Path, model: Path, encoder: Path, images: Images) -> dict[str, float]:
    """The fraction by each description."""
    opened, (unet, _) = PositiveBank.open(bank), load_diffusion(model)
    return {
        "pixels": told(opened, images, coarse_pixels, centred=False),
        "model": told(opened, images, lambda some: bottleneck_features(unet, some), centred=True),
        "encoder": told(opened, images, lambda some: encode_by(encoder, [some], device="cpu")[0], centred=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the grid's trainings")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    plan, found = yaml.safe_load(PLAN.read_text()), list[dict[str, object]]()
    data = plan["common"]["data"]
    images = open_images(data, ImagesConfig(size=32))
    banks = {name: words for name, words in plan["before"].items() if words["command"] == "synthesize"}
    for name, words in banks.items():
        for seed in range(plan["seeds"]):
            model = given.work / f"{words['diffusion'].strip('{}')}-{seed}"
            encoder = given.work / f"SimCLR--{data}--{seed}" / "arms" / "simclr" / f"seed-{seed}"
            ways = judged(given.work / f"{name}-{seed}", model, encoder, images)
            found.append({"bank": name, "seed": seed, **ways})
    files.write_json(given.out / "follows.json", found)


if __name__ == "__main__":
    main()
