"""What the candidates are like, measured without labels (and, where labels exist, against them).

Features are the diffusion model's own: the middle block's output at a low noise level, averaged over the image; the
paper shows that they cluster by class. So nothing but the unlabelled images is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor

from clsp import console, files
from clsp.diffusion.interpolation import encode
from clsp.diffusion.unet import Grid
from clsp.engine.memory import in_batches
from clsp.images.imageset import Images, subset
from clsp.positives.bank import PositiveBank

ANCHORS, REAL, NEIGHBOURS = 500, 5000, 5
"""Anchors whose candidates are measured, real images they are compared with, and neighbours that vote."""

_TIME = 50
"""The noise level, of 1000, at which the features are read (the paper's t-SNE figure uses it)."""

Measure = dict[str, Any]


@torch.no_grad()
def bottleneck_features(unet: UNet2DModel, images: np.ndarray, *, batch_size: int = 256) -> Tensor:
    """Compute unit features of uint8 images [N, C, H, W]: float32 [N, D], on the CPU."""
    grid, device = Grid.of(unet, images.shape[1]), unet.device
    learned = unet.config.time_embedding_type == "learned"
    time = min(_TIME, unet.config.num_train_timesteps - 1) if learned else _TIME  # a row of a table

    def features(first: int, last: int) -> Tensor:
        batch = torch.from_numpy(np.array(images[first:last])).to(device)
        encoded = encode(unet, grid.enter(batch.float() / 127.5 - 1.0), time)
        return F.normalize(encoded.middle.float().mean(dim=(2, 3)), dim=1).cpu()

    return torch.cat(in_batches(features, len(images), batch_size))


def measure(bank: PositiveBank, images: Images, unet: UNet2DModel, *, seed: int) -> dict[str, Measure]:
    """Measure a sample of the bank. Each result has a ``value`` and its ``meaning`` in one plain sentence."""
    console.say("synthetic positives: measuring the candidates")
    rows = subset(len(bank), ANCHORS, seed=seed + 2)
    ids = bank.ids[rows]
    anchors, candidates = files.take(images.train.images, ids), bank.array(rows)
    real_ids = subset(len(images.train), REAL, seed=seed + 3)
    real = files.take(images.train.images, real_ids)
    center = (real_features := bottleneck_features(unet, real)).mean(dim=0)
    k = bank.candidates

    def centred(features: Tensor) -> Tensor:
        """Remove the direction that all images share, else every cosine is near 1."""
        return F.normalize(features - center, dim=1)

    a, r = centred(bottleneck_features(unet, anchors)), centred(real_features)
    c = centred(bottleneck_features(unet, candidates.reshape(-1, *anchors.shape[1:]))).unflatten(0, (len(a), k))
    results = {
        "anchor_similarity": _similarity(a, c),
        "random_similarity": _random_similarity(r),
        **_pixel_distances(anchors, candidates),
        **_diversity(c),
        "duplicates": _duplicates(candidates, real),
    }
    if (labels := images.train.labels) is not None:
        known, known_real = labels[ids] >= 0, labels[real_ids] >= 0  # -1: without label
        if known.any() and known_real.sum() > 1:
            results["neighbour_label_agreement"] = _label_agreement(
                c[torch.from_numpy(known)], r[torch.from_numpy(known_real)], labels, ids[known], real_ids[known_real]
            )
    return results


def _result(value: Any, meaning: str) -> Measure:
    return {"value": round(float(value), 4), "meaning": meaning}


def _similarity(anchors: Tensor, candidates: Tensor) -> Measure:
    cosine = (anchors[:, None] * candidates).sum(dim=2)
    return _result(cosine.mean(), "cosine of a candidate to its anchor, in the diffusion model's middle features")


def _random_similarity(real: Tensor) -> Measure:
    """The mean over all pairs: neighbours in a folder come from one album, so they are no random pairs."""
    count, total = len(real), real.sum(dim=0)
    mean = (total @ total - count) / (count * (count - 1)) if count > 1 else total.new_ones(())
    return _result(mean, "the same cosine between two random real images, for comparison")


def _pixel_distances(anchors: np.ndarray, candidates: np.ndarray) -> dict[str, Measure]:
    a, c = anchors.astype(np.float32) / 255.0, candidates.astype(np.float32) / 255.0
    return {
        "pixel_distance": _result(
            ((c - a[:, None]) ** 2).mean(), "mean squared pixel distance to the anchor, pixels from 0 to 1"
        )
    }


def _diversity(candidates: Tensor) -> dict[str, Measure]:
    k = candidates.shape[1]
    if k < 2:
        return {}
    gram = candidates @ candidates.transpose(1, 2)
    between = (gram.sum(dim=(1, 2)) - k) / (k * (k - 1))
    return {"row_diversity": _result(1.0 - between.mean(), "one minus the cosine between two candidates of one anchor")}


def copies(candidates: np.ndarray, real: np.ndarray) -> float:
    """The fraction of uint8 candidates [N, k, C, H, W] that copy a real image [M, C, H, W] pixel by pixel.

    A candidate is a copy when it is nearer to a real image than a hundredth of that image's variance.
    """
    flat = torch.from_numpy(candidates.reshape(-1, *real.shape[1:])).flatten(1).float() / 255.0
    others = torch.from_numpy(real).flatten(1).float() / 255.0
    nearest, which = torch.cdist(flat, others).min(dim=1)
    variance = others.var(dim=1)[which]
    return float((nearest.square() / flat.shape[1] < 0.01 * variance).float().mean())


def _duplicates(candidates: np.ndarray, real: np.ndarray) -> Measure:
    told = f"fraction of candidates that copy one of {len(real)} train images pixel by pixel"
    return _result(copies(candidates, real), told)


def _label_agreement(c: Tensor, real: Tensor, labels: np.ndarray, ids: np.ndarray, real_ids: np.ndarray) -> Measure:
    """Share of candidates whose nearest real images, the anchor itself left out, mostly bear the anchor's label."""
    similarity = c.flatten(0, 1) @ real.T
    anchor_of = np.repeat(ids, c.shape[1])
    similarity[torch.from_numpy(anchor_of[:, None] == real_ids[None])] = -torch.inf
    nearest = similarity.topk(min(NEIGHBOURS, len(real_ids) - 1), dim=1).indices.numpy()
    agree = (labels[real_ids][nearest] == labels[anchor_of][:, None]).mean()
    return _result(agree, f"fraction of a candidate's {NEIGHBOURS} nearest real images that bear the anchor's label")
