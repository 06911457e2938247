"""The one loop for all methods: views, the additional positive, the method's terms, one optimiser step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from clsp import console, distributed
from clsp.engine.batches import Batches, counting_loader
from clsp.engine.schedule import warmup_factor
from clsp.engine.trainer import require_finite
from clsp.evaluation.online import OnlineKNN
from clsp.methods.base import Method, Views
from clsp.methods.config import LABELLED
from clsp.positives.config import PositivesName
from clsp.positives.registry import Material, build_source
from clsp.positives.sources import PositiveSource
from clsp.training.config import PretrainConfig
from clsp.training.diagnosis import diagnose, health
from clsp.training.positive_term import in_place, no_negatives, positive_term, share_in_place
from clsp.training.views import crops_of, draw_local, draw_views

_WARMUP_START = 1e-3 / 0.5
"""The warm-up's first learning rate as a share of the last: CLSP starts at 1e-3 with a learning rate of 0.5."""

_SETTLED = 50
"""Steps before which an embedding is not judged: every network starts with all images close together."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What an encoder is trained on."""

    material: Material
    """The anchors with their ids, labels and names, and what their positives are made of. Labels are for methods and
    positives that may see them, and to rate neighbours in the log."""
    positives: PositivesName
    """Source of the additional positive."""
    mean: Tensor
    """Mean of the channels on [0, 1], float [C]."""
    std: Tensor
    """Their standard deviation, likewise."""
    anchors: int
    """Images of an epoch: the anchors, also where candidates are trained on beside them."""


class Pretraining(LightningModule):
    """Trains a method. All randomness of a step is a function of (seed, step, image): a resumed run is the same run."""

    def __init__(
        self, method: Method, data: TrainingData, config: PretrainConfig, *, seed: int, knn: OnlineKNN | None
    ) -> None:
        super().__init__()
        self.method, self.config, self.seed = method, config, seed
        self.register_buffer("mean", data.mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", data.std.view(1, -1, 1, 1), persistent=False)
        self._data, self.pixels, self._knn = data, data.material.pixels, knn
        self.batches = Batches(len(self.pixels), config.batch_size, seed=seed, stream="pretraining", drop_last=True)
        self.steps_per_epoch = max(data.anchors // config.batch_size, 1)
        self.total_steps = self.steps_per_epoch * config.epochs
        self._source: PositiveSource | None = None
        self._terms: dict[str, Tensor] = {}
        self._ids, labels = torch.from_numpy(data.material.ids), data.material.labels
        self._labels = None if labels is None else torch.from_numpy(labels)
        self._told: set[str] = set()

    def train_dataloader(self) -> Any:
        """Lightning's loop counts the steps of an epoch; `training_step` makes the batch."""
        return counting_loader(self.steps_per_epoch)

    def on_fit_start(self) -> None:
        """Move what fits to the device, once."""
        self.pixels.to(self.device)
        self._ids = self._ids.to(self.device)
        self._labels = None if self._labels is None else self._labels.to(self.device)
        self._source = build_source(self._data.positives, self._data.material, seed=self.seed, device=self.device)

    def views_of(self, step: int) -> Views:
        """Make the batch of ``step``: pixels, two views, and the additional positive, augmented together.

        Where the positive takes the second view's place there is no third one.
        """
        positions = self.batches.positions(step).to(self.device)
        ids, anchors = self._ids[positions], self.pixels[positions]
        done = step / self.total_steps
        images, share = [anchors, anchors], share_in_place(self.config, done)
        positive = self._source(positions, anchors, step) if self._source is not None else None
        if positive is not None and share is not None:
            positive = in_place(positive, anchors, ids, share, seed=self.seed, step=step)
            images[1] = positive.images
        elif positive is not None:
            images.append(positive.images)
        drawn = draw_views(images, self.config, seed=self.seed, step=step, ids=ids)
        local = draw_local(anchors, self.config, seed=self.seed, step=step, ids=ids)
        for part in (*drawn, *local):
            part.sub_(self.mean).div_(self.std)
        # Only the upper bounds that say so may see labels; for all others there are none.
        labels = self._labels[positions] if self._labels is not None and self.config.method in LABELLED else None
        return Views(
            first=drawn[0],
            second=drawn[1],
            positive=drawn[2] if len(drawn) == 3 else None,
            ids=ids,
            done=done,
            labels=labels,
            step=step,
            crops=crops_of(len(drawn), self.config, seed=self.seed, step=step, ids=ids),
            weights=positive.weights if positive is not None else None,
            mates=positive.mates if positive is not None else None,
            ignore=no_negatives(ids, positive.ids) if positive is not None and positive.ids is not None else None,
            local=local,
        )

    def training_step(self, _: Any) -> Tensor:
        """One step: the method's terms and that of the additional positive."""
        step = self.global_step
        torch.manual_seed(hash((self.seed, step, distributed.rank())) % 2**63)  # dropout: as after a resume
        views = self.views_of(step)
        self.method.before_step(views.done)
        losses = self.method(views)
        terms = dict(losses.terms)
        if losses.pull is not None:
            terms["positive"] = positive_term(
                losses.pull, self.config, views.done, weights=views.weights, mates=views.mates, ignore=views.ignore
            )
        self._terms = {name: term.detach() for name, term in terms.items()}
        loss = torch.stack(list(terms.values())).sum()
        self.log_dict({"loss": loss.detach(), **self._terms})
        if (step + 1) % self.config.log_every == 0:
            self._diagnose(losses.first, losses.second)
            self._rate_neighbours(losses.neighbours, views.ids)
        return loss

    def _rate_neighbours(self, found: Tensor | None, ids: Tensor) -> None:
        """Log how often a neighbour is the sample itself and, where labels exist, how often it has the same class."""
        if found is None:
            return
        self.log("neighbour_is_itself", (found == ids).float().mean())
        if self._labels is not None:
            table = torch.full((int(self._ids.max()) + 1,), -1, device=self.device)
            table[self._ids] = self._labels
            known = found >= 0
            same = (table[found.clamp_min(0)] == table[ids]) & known
            self.log("neighbour_same_class", same.sum() / known.sum().clamp_min(1))

    def _diagnose(self, first: Tensor, second: Tensor) -> None:
        state = health(first, second)
        self.log_dict(state.metrics())
        advice = diagnose(state) if self.global_step > max(self.total_steps // 5, _SETTLED) else None
        if advice and advice.split("(")[0] not in self._told and distributed.rank() == 0:
            self._told.add(advice.split("(")[0])
            console.say(f"warning: step {self.global_step}: {advice}")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step and let the method remember the batch: `on_train_batch_end` comes after the checkpoint."""
        super().optimizer_step(*args, **kwargs)
        self.method.after_step()

    def on_train_batch_end(self, *args: Any) -> None:
        """Read the online kNN at the end of some epochs."""
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        epoch, within = divmod(self.global_step, self.steps_per_epoch)
        every = self.config.knn_every
        if self._knn is not None and every and within == 0 and (epoch % every == 0 or epoch == self.config.epochs):
            self.log("knn", self._knn.accuracy(self.method.encoder, self.mean, self.std))

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Log the gradient's norm, stop when it or a loss is not finite, and clip it where the recipe says so."""
        limit = math.inf if self.config.gradient_clip is None else self.config.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), limit)
        require_finite(self._terms, norm, self.global_step)
        self.log("gradient_norm", norm)

    def configure_optimizers(self) -> Any:
        """The optimiser over the method's groups; linear warm-up and cosine to 0, by step."""
        config, groups = self.config, self.method.groups()
        parameters = [
            {
                "params": group.parameters,
                "lr": config.lr * group.lr_factor,
                "shape": "cosine" if group.decays else "constant",
            }
            for group in groups
        ]
        optimizer = build_optimizer(parameters, config)
        warmup = round(config.warmup_epochs * self.steps_per_epoch)

        def factor(shape: str, step: int) -> float:
            return warmup_factor(step, total=self.total_steps, warmup=warmup, shape=shape, start=_WARMUP_START)

        factors: list[Callable[[int], float]] = [partial(factor, group["shape"]) for group in optimizer.param_groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(parameters: list[dict[str, Any]], config: PretrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser that ``config.optimizer`` names over parameter groups with their learning rates."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay)
    if config.optimizer == "lars":
        from timm.optim import Lars

        # solo-learn's LARS for small images: trust coefficient 0.02, the layer's rate never above the global one;
        # biases and BatchNorm at the global rate without decay, which timm does for a group whose decay is 0.
        options = {"trust_coeff": 0.02, "trust_clip": True, "momentum": config.momentum}
        parted = [part for group in parameters for part in _by_decay(group, config.weight_decay)]
        lars: torch.optim.Optimizer = Lars(parted, config.lr, **options)
        return lars
    return torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay)


def _by_decay(group: dict[str, Any], weight_decay: float) -> list[dict[str, Any]]:
    """Part a group into weights, which decay, and biases and BatchNorm (one dimension), which do not."""
    weights = [p for p in group["params"] if p.ndim > 1]
    others = [p for p in group["params"] if p.ndim <= 1]
    parts = [
        {**group, "params": weights, "weight_decay": weight_decay},
        {**group, "params": others, "weight_decay": 0.0},
    ]
    return [part for part in parts if part["params"]]
