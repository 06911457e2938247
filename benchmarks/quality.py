"""How good candidates are: agreement with the anchor's label, diversity within a row, distance to the images (KID).

The judge is a small classifier trained on real labelled images of Fashion-MNIST; KID is computed on its features (the
cubic polynomial kernel of Binkowski et al., arXiv 1801.01401), which suit gray images better than ImageNet's would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsp.encoders.export import EncoderSpec
from clsp.encoders.features import encode_images
from clsp.evaluation.classifier import fit_classifier
from clsp.evaluation.distance import kid
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Split, subset
from clsp.images.sources import open_images

SPEC = EncoderSpec(
    name="resnet18",
    args={"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128], "stem_type": "deep", "stem_width": 8},
    stem="half",
    channels=1,
    size=28,
    mean=[0.286],
    std=[0.353],
)
TRAINED, STEPS, AT_ONCE = 20_000, 600, 64


def judge(
    train: Split, images: int, steps: int, *, seed: int = 0, spec: EncoderSpec = SPEC
) -> tuple[nn.Module, nn.Linear]:
    """Train a classifier on some labelled images; return its encoder and its last layer, in eval mode."""
    assert train.labels is not None
    rows = subset(len(train), images, seed=seed)
    torch.manual_seed(seed)
    network, head = spec.build().to(memory_format=torch.channels_last), nn.Linear(spec.args["channels"][-1], 10)
    model = nn.Sequential(network, head).train()
    fit_classifier(
        model,
        np.asarray(train.images[rows]),
        train.labels[rows],
        spec,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        steps=steps,
        batch_size=128,
        seed=seed,
        title="judge",
    )
    model.eval()
    return network, head


class Quality:
    """Rates samplers on the same ``count`` anchors of Fashion-MNIST."""

    def __init__(self, count: int, *, seed: int = 0) -> None:
        train = open_images("fashion-mnist", ImagesConfig(), seed=seed, store=None).train
        assert train.labels is not None
        self.network, self.head = judge(train, TRAINED, STEPS, seed=seed)
        ids = subset(len(train), count, seed=seed + 1)
        self.labels = torch.from_numpy(train.labels[ids])
        self.anchors = torch.from_numpy(np.asarray(train.images[ids])).float() / 127.5 - 1.0
        real = subset(len(train), 4 * count, seed=seed + 2)
        self.real = self._features(np.asarray(train.images[real]))

    def pair(self, draw: Callable[[int], Tensor]) -> Tensor:
        """Draw two candidates an anchor with two seeds: uint8 [B, 2, C, H, W] from float [B, C, H, W]."""
        both = torch.stack([draw(0), draw(1)], dim=1)
        return ((both + 1.0) * 127.5).round().to(torch.uint8)

    def rate(self, sampler: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Rate a ``sampler`` from anchors float [B, C, H, W] to uint8 [B, 2, C, H, W]."""
        return {**self.rate_parts(sampler, 1)[0], "anchors": len(self.anchors)}

    @torch.no_grad()
    def rate_parts(self, sampler: Callable[[Tensor], Tensor], parts: int) -> list[dict[str, float]]:
        """Rate a ``sampler`` on several parts of the anchors, each by itself."""
        drawn = torch.cat([sampler(some) for some in self.anchors.split(AT_ONCE)])
        return [self._rate(*part) for part in zip(drawn.chunk(parts), self.labels.chunk(parts))]

    def _rate(self, drawn: Tensor, labels: Tensor) -> dict[str, float]:
        features = self._features(drawn.flatten(0, 1).numpy())
        agrees = self.head(features).argmax(dim=1) == labels.repeat_interleave(2)
        first, second = (drawn[:, number].float() / 255.0 for number in (0, 1))
        return {
            "agreement": round(float(agrees.float().mean()), 3),
            "squared pixel distance in a row": round(float(((first - second) ** 2).mean()), 4),
            "KID": round(kid(features, self.real), 4),
        }

    def _features(self, images: np.ndarray) -> Tensor:
        return encode_images(self.network, images, torch.tensor(SPEC.mean), torch.tensor(SPEC.std))
