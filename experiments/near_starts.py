r"""Draw a bank whose candidates start from an image that is like their anchor, in place of any other.

    python experiments/near_starts.py --data fashion-mnist --recipe fashion-mnist --nearest 100 \
        --diffusion MODEL --out NEAR

With ``start: other`` a candidate starts from any other anchor; here from one of the N that are nearest by the cosine of
the diffusion model's middle features, place by place, the very features that are mixed. Candidates so drawn keep their
anchor's class more often, and teach no more (studies/trials). Options of the recipe may follow.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clsp import files, randomness
from clsp.cli.calls import parse_call
from clsp.diffusion.interpolation import encode
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.unet import Grid
from clsp.engine.neighbours import nearest
from clsp.images.imageset import Images, subset
from clsp.positives.synthesize import synthesize
from clsp.recipes.prepare import prepare

TIME, BATCH = 50, 250
"""The noise level, of 1000, at which the features are read, as for the bank's measures; and images at once."""


@torch.no_grad()
def neighbours_of(images: Images, diffusion: str, anchors: np.ndarray, count: int) -> np.ndarray:
    """Places of the ``count`` anchors nearest to each: int64 [N, count]."""
    unet = SyntheticPositivePipeline.from_pretrained(diffusion).unet.eval()
    grid, features = Grid.of(unet, images.channels), []
    for first in range(0, len(anchors), BATCH):
        pixels = torch.from_numpy(files.take(images.train.images, anchors[first : first + BATCH]))
        features.append(encode(unet, grid.enter(pixels.float() / 127.5 - 1.0), TIME).middle.float().flatten(1))
    every = torch.cat(features)
    every -= every.mean(dim=0)
    return nearest(every, every, count + 1)[1][:, 1:].numpy()


@dataclass(frozen=True)
class Near:
    """Draws the images that candidates start from among the neighbours of their anchors."""

    anchors: np.ndarray
    """Dataset indices of all anchors, sorted, int64 [N]."""
    neighbours: np.ndarray
    """Places of each anchor's neighbours among them, int64 [N, count]."""
    seed: int

    def __call__(self, ids: np.ndarray, candidates: int) -> np.ndarray:
        """Choose a neighbour for every candidate of the anchors ``ids``: dataset indices, int64 [B, k]."""
        rows = torch.from_numpy(ids).repeat_interleave(candidates)
        numbers = torch.arange(candidates).repeat(len(ids))
        drawn = randomness.integers(self.seed, "start", (rows, numbers), self.neighbours.shape[1])[:, 0].numpy()
        places = self.neighbours[np.searchsorted(self.anchors, rows.numpy()), drawn]
        return np.asarray(self.anchors[places].reshape(len(ids), candidates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--diffusion", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nearest", type=int, default=100, help="anchors among which a start is drawn")
    given, rest = parser.parse_known_args()
    words = ["--data", given.data, "--recipe", given.recipe, "--diffusion", given.diffusion, "--out", str(given.out)]
    prepared = prepare(given.data, recipe=given.recipe, overrides=parse_call("synthesize", [*words, *rest]).overrides)
    recipe, images = prepared.recipe, prepared.images
    anchors = subset(len(images.train), recipe.synthesize.anchors, seed=recipe.seed)
    starts = Near(anchors, neighbours_of(images, given.diffusion, anchors, given.nearest), recipe.seed)
    how = {"seed": recipe.seed, "folder": given.out, "starts": starts}
    bank = synthesize(images, given.diffusion, recipe.synthesize, recipe.hardware, **how)
    for name, entry in bank.manifest["measures"].items():
        print(f"{name:<26}{entry['value']:>9.4f}   {entry['meaning']}")


if __name__ == "__main__":
    main()
