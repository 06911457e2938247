"""One step of a classifier's training: cross entropy on labels that may be wrong, and neighbour consistency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp import distributed, randomness
from clsp.encoders.heads import feature_count
from clsp.engine.batches import Batches
from clsp.engine.course import Course
from clsp.engine.fit import StepOutput, Training
from clsp.engine.pixels import Pixels
from clsp.objectives.consistency import neighbour_consistency
from clsp.positives.source import Draw
from clsp.tasks.classify.config import ClassifyConfig
from clsp.tasks.job import Draws
from clsp.tasks.views import Drawing, rising_and_falling

_BELIEVED = 0.5
"""Fraction of the training from which labels' margins count: before, a network that has learnt little doubts all."""


class Classifier(nn.Module):
    """A linear head on an encoder."""

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(feature_count(encoder), classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, classes] and features [B, D] of normalised images [B, C, H, W]."""
        features = self.encoder(images)
        return self.head(features), features


@dataclass(frozen=True)
class Said(StepOutput):
    """What a step computed."""

    positions: Tensor
    """Places of its images among those trained on, int64 [B]."""
    margins: Tensor
    """Logit of each image's label above the largest other one, float [B]."""


class Classifying(Training[Said]):
    """Trains a classifier, and keeps how far every label was believed on average.

    Args:
        classifier: encoder and head.
        config: its settings.
        drawing: draws views; its seed names the order of the images, and all draws.
        pixels: the images trained on.
        ids: their dataset indices, which name all draws, int64 [N].
        labels: the labels to learn from, int64 [N].
        pretrained: whether the encoder is: its rate is then ``config.encoder_lr`` times the head's.
        candidates: makes what draws a candidate of each image, on a device: they may be neighbours, and have no label;
            None: there are none.
    """

    margin_sum: Tensor
    visits: Tensor

    def __init__(
        self,
        classifier: Classifier,
        config: ClassifyConfig,
        drawing: Drawing,
        pixels: Pixels,
        ids: np.ndarray,
        labels: np.ndarray,
        *,
        pretrained: bool,
        candidates: Draws | None = None,
    ) -> None:
        super().__init__()
        self.seed = drawing.seed
        self.classifier, self.config, self.drawing, self.pixels = classifier, config, drawing, pixels
        self.pretrained, self.candidates = pretrained, candidates
        self.draw: Draw | None = None
        self.ids, self.labels = torch.from_numpy(ids), torch.from_numpy(labels)
        self.register_buffer("margin_sum", torch.zeros(len(pixels), dtype=torch.float64))
        self.register_buffer("visits", torch.zeros(len(pixels), dtype=torch.int64))
        self.batches = Batches(len(pixels), config.batch_size, seed=self.seed, stream="classify", drop_last=True)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.course, self.gradient_clip = Course(self.steps_per_epoch * config.epochs), None
        if self._frozen:
            classifier.encoder.requires_grad_(False)

    @property
    def _frozen(self) -> bool:
        return self.pretrained and self.config.encoder_lr == 0.0

    @property
    def margins(self) -> np.ndarray:
        """Each label's margin, averaged over the visits of the second half, float64 [N]; 0 without any."""
        return (self.margin_sum / self.visits.clamp(min=1)).cpu().numpy()

    def to_device(self, device: torch.device) -> None:
        """Move what fits to the device, once, and make what draws candidates there."""
        self.pixels.to(device)
        self.draw = None if self.candidates is None else self.candidates(device)
        self.ids, self.labels = self.ids.to(device), self.labels.to(device)

    def step(self, number: int) -> Said:
        """Compute a step; ``number`` names all draws."""
        config, device = self.config, self.drawing.device
        if self._frozen:
            self.classifier.encoder.eval()
        positions = self.batches.positions(number, device)
        ids, labels, pixels = self.ids[positions], self.labels[positions], self.pixels[positions]
        images = self.drawing(pixels, ids, number, 0)
        targets = F.one_hot(labels, self.classifier.head.out_features).float()
        if config.mixup:
            images, targets = self._mixed(images, targets, ids, number)
        candidates = self._drawn(positions, pixels, ids, number)
        logits, features = self.classifier(images if candidates is None else torch.cat((images, candidates)))
        count = len(positions)
        more = None if candidates is None else (logits[count:], features[count:])
        logits, features = logits[:count], features[:count]
        cross_entropy = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
        terms = self._terms(cross_entropy, logits, features, more, number)
        return Said(terms, positions, margins(logits.detach(), labels))

    def _terms(
        self, cross_entropy: Tensor, logits: Tensor, features: Tensor, more: tuple[Tensor, Tensor] | None, number: int
    ) -> dict[str, Tensor]:
        """The loss: (1 - alpha) cross entropy + alpha consistency, once that has begun; else the cross entropy."""
        chosen = self.config.consistency
        if not self._consistent(number):
            return {"cross_entropy": cross_entropy}
        consistency = neighbour_consistency(
            logits,
            features,
            neighbours=chosen.neighbours,
            temperature=chosen.temperature,
            power=chosen.power,
            divergence=chosen.divergence,
            detach=chosen.detach,
            more=more,
        )
        return {"cross_entropy": (1 - chosen.weight) * cross_entropy, "consistency": chosen.weight * consistency}

    def _consistent(self, number: int) -> bool:
        """Whether the step has the consistency's term."""
        chosen = self.config.consistency
        return chosen.weight > 0 and self.course.at(number) >= chosen.after * self.course.planned

    def _drawn(self, positions: Tensor, pixels: Tensor, ids: Tensor, number: int) -> Tensor | None:
        """A view of a candidate of each image; None where there are none, or they do not serve yet."""
        if self.draw is None or not self._consistent(number):
            return None
        return self.drawing(self.draw(positions, pixels, number).images, ids, number, 1)

    def _mixed(self, images: Tensor, targets: Tensor, ids: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Mix images and labels with those of the batch read backwards; each keeps at least half of itself."""
        u = randomness.uniform(self.seed, "mixup", (number, ids.cpu()), 1)[:, 0].double().numpy()
        share = betaincinv(self.config.mixup, self.config.mixup, u)
        kept = torch.from_numpy(np.maximum(share, 1 - share)).to(images.device, images.dtype)
        mixed = kept[:, None, None, None] * images + (1 - kept[:, None, None, None]) * images.flip(0)
        return mixed, kept[:, None] * targets + (1 - kept[:, None]) * targets.flip(0)

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        doubled = images * (1 if self.candidates is None else 2)
        logits, _ = self.classifier(self.drawing.blank(doubled, self.pixels.shape))
        logits.square().mean().backward()

    def after_step(self, number: int) -> None:
        """Remember how far the labels of the batch were believed, once there is something to believe with."""
        if self.course.at(number) < _BELIEVED * self.course.planned:
            return
        positions = distributed.gather_detached(self.output.positions)
        self.margin_sum[positions] += distributed.gather_detached(self.output.margins).double()
        self.visits[positions] += 1

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """SGD with momentum; linear warm-up and cosine to 0, by step."""
        config = self.config
        factor = config.encoder_lr if self.pretrained else 1.0
        groups: list[dict[str, Any]] = [{"params": list(self.classifier.head.parameters()), "lr": config.lr}]
        if not self._frozen:
            groups.append({"params": list(self.classifier.encoder.parameters()), "lr": config.lr * factor})
        optimizer = torch.optim.SGD(groups, config.lr, momentum=0.9, weight_decay=config.weight_decay)
        return optimizer, rising_and_falling(optimizer, self.course, config.warmup)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of each label above the largest other one, float [B]: Pleiss et al. (arXiv 2001.10528), equation 1.

    Args:
        logits: float [B, C].
        labels: int64 [B].
    """
    given = logits.float().gather(1, labels[:, None])
    others = logits.float().scatter(1, labels[:, None], -torch.inf)
    return given[:, 0] - others.max(dim=1).values
