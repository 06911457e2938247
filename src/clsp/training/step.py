"""The one step of all methods: the batch, its views, the method's terms, and the additional positive's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp.engine.batches import Batches
from clsp.engine.course import Course
from clsp.engine.fit import StepOutput, Training
from clsp.engine.pixels import BlankPixels
from clsp.engine.schedule import warmup_factor
from clsp.methods.base import Method, Output, Views, together
from clsp.positives.placement import NO_IMAGE, no_negatives
from clsp.positives.source import Draw, Material, Positive
from clsp.training.config import PretrainConfig
from clsp.training.optimizers import build_optimizer
from clsp.training.views import crops_of, draw_local, draw_views

_WARMUP_START = 1e-3 / 0.5
"""The warm-up's first learning rate as a fraction of the last: CLSP starts at 1e-3 with a learning rate of 0.5."""


@dataclass(frozen=True)
class Seen(StepOutput):
    """What a step of a pretraining computed: callbacks see it."""

    views: Views
    """The batch."""
    output: Output
    """The method's embeddings."""


class Pretraining(Training[Seen]):
    """Trains a method.

    Args:
        method: what is trained.
        config: its settings.
        material: the anchors with their ids, labels and names, and what their positives are made of.
        anchors: images of an epoch: the anchors, also where candidates are trained on beside them.
        mean: mean of the channels on [0, 1], float [C].
        std: their standard deviation, likewise.
        seed: names the order of the images, and all draws.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        method: Method,
        config: PretrainConfig,
        material: Material,
        anchors: int,
        mean: Tensor,
        std: Tensor,
        *,
        seed: int,
    ) -> None:
        super().__init__()
        self.method, self.config, self.material, self.seed = method, config, material, seed
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)
        self.batches = Batches(len(material.pixels), config.batch_size, seed=seed, stream="pretraining", drop_last=True)
        self.steps_per_epoch = max(anchors // config.batch_size, 1)
        self.course = Course(self.steps_per_epoch * config.epochs)
        self.gradient_clip = config.gradient_clip
        self.ids, labels = torch.from_numpy(material.ids), material.labels
        self.labels = None if labels is None else torch.from_numpy(labels)
        self.draw: Draw | None = None

    def to_device(self, device: torch.device) -> None:
        """Move what fits to the device, once, and make the source of positives there."""
        self.material.pixels.to(device)
        self.ids = self.ids.to(device)
        self.labels = None if self.labels is None else self.labels.to(device)
        source = self.config.positive.chosen
        if source is not None and source.level == "image":
            self.draw = source.build(self.material, seed=self.seed, device=device)

    def step(self, number: int, positions: Tensor | None = None, progress: float | None = None) -> Seen:
        """Compute a step: batch, views, the method, and lambda times the pull of the additional positive.

        Args:
            number: the step, from 0; it names all draws.
            positions: places of the batch among the images trained on, int64 [B]; None: the step's own.
            progress: fraction of the training that is done; None: the step's own.
        """
        views = self.views(number, positions, progress)
        if positions is None:
            self.method.before_step(views.progress)
        output = self.method(views)
        return Seen({**output.terms, **self._pulled(output, views)}, views, output)

    def views(self, number: int, positions: Tensor | None = None, progress: float | None = None) -> Views:
        """Make the batch of a step: two views and the additional positive, drawn together.

        Where the positive takes the second view's place there is no third one.
        """
        if positions is None:
            positions = self.batches.positions(number, self.mean.device)
        progress = self.course.at(number) / self.course.planned if progress is None else progress
        ids, anchors = self.ids[positions], self.material.pixels[positions]
        positives, host = self._positives(positions, anchors, ids, progress, number), self._host
        images = [anchors, *([] if host else [anchors]), *(one.images for one in positives)]
        draws: dict[str, Any] = {"seed": self.seed, "step": number, "ids": ids}
        method, augment = self.method, self.config.augment
        drawn, local = draw_views(images, method, augment, **draws), draw_local(anchors, method, augment, **draws)
        for part in (*drawn, *local):
            part.sub_(self.mean).div_(self.std)
        # An anchor that shows itself shows no other image, whatever the source calls it.
        shown = [torch.where(one.ids == ids, NO_IMAGE, one.ids) for one in positives if one.ids is not None]
        weights, mates = together([one.weights for one in positives]), together([one.mates for one in positives])
        return Views(
            first=drawn[0],
            second=drawn[1],
            positive=together(drawn[2:]),
            ids=ids,
            progress=progress,
            # Only the upper bounds that say so may see labels; for all others there are none.
            labels=self.labels[positions] if self.labels is not None and method.sees_labels else None,
            step=number,
            crops=crops_of(len(drawn), method, augment, **draws),
            weights=None if host else weights,
            mates=mates,
            pair_weights=weights if host else None,
            ignore=reduce(torch.logical_or, (no_negatives(ids, one) for one in shown)) if shown else None,
            shown=None if not shown else shown[0] if len(shown) == 1 else torch.stack(shown, dim=1),
            local=local,
        )

    @property
    def _host(self) -> bool:
        """Whether a positive takes the second view's place."""
        return self.draw is not None and self.config.positive.placement == "host"

    def _positives(
        self, positions: Tensor, anchors: Tensor, ids: Tensor, progress: float, number: int
    ) -> list[Positive]:
        """Draw every anchor's positives; one that does not take the second view's place gives way to the anchor."""
        if self.draw is None:
            return []
        chosen = self.config.positive
        if self._host:
            positive = self.draw(positions, anchors, number)
            return [chosen.host.place(positive, anchors, ids, progress, seed=self.seed, step=number)]
        count = chosen.third.count
        return [self.draw(positions, anchors, number * count + place) for place in range(count)]

    def _pulled(self, output: Output, views: Views) -> dict[str, Tensor]:
        """The additional positive's term; empty without one, and where it is the second view."""
        chosen, pair, neighbour = self.config.positive, output.pair, self.method.neighbour
        if chosen.placement == "third" and neighbour is not None:
            pair = (output.first, neighbour(output.first, views.ids)[0])
        if pair is None:
            return {}
        masks = {"weights": views.weights, "mates": views.mates, "ignore": views.ignore}
        return {"positive": chosen.third.term(pair, chosen.pull, views.progress, **masks)}

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        self.material = replace(self.material, pixels=BlankPixels(self.material.pixels.shape))
        if self.draw is not None:
            self.draw = lambda positions, anchors, step: Positive(anchors)
        self.method.before_step(0.5)
        self.step(0, torch.arange(images, device=self.mean.device), 0.5).loss.backward()

    def after_step(self, number: int) -> None:
        """Let the method remember the batch."""
        self.method.after_step()

    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """The optimiser over the method's groups; linear warm-up and cosine to 0, by step."""
        config = self.config
        parameters = [
            {
                "params": group.parameters,
                "lr": config.lr * group.lr_factor,
                "shape": "cosine" if group.decays else "constant",
            }
            for group in self.method.groups()
        ]
        optimizer = build_optimizer(parameters, config)
        warmup = round(config.warmup_epochs * self.steps_per_epoch)

        def factor(shape: str, step: int) -> float:
            place, total = self.course.at(step), self.course.planned
            return warmup_factor(place, total=total, warmup=warmup, shape=shape, start=_WARMUP_START)

        factors: list[Callable[[int], float]] = [partial(factor, group["shape"]) for group in optimizer.param_groups]
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
