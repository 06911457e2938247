"""Pretraining: which method, with which positives, for how long. The sections of methods and sources are found."""

from __future__ import annotations

from dataclasses import field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from clsp.encoders.config import BackboneConfig, BatchNormMode, PredictorConfig, ProjectorConfig
from clsp.encoders.heads import Heads
from clsp.images.config import AugmentConfig
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.objectives.base import Objective
from clsp.positives.either import either
from clsp.positives.placement import Host, Placement, Third
from clsp.positives.source import Source
from clsp.positives.sources import SOURCES
from clsp.settings import Count, Incidental, NonNegative, Positive, settings
from clsp.settings.types import AtLeastTwo, NonNegativeInt, extended, sections


@settings
class Positives:
    """The additional positive by its three values: where it comes from, where it stands, and what pulls it."""

    source: Literal[SOURCES.names()] | None = None  # type: ignore[valid-type]
    """Where it comes from; null: there is none. An arm of a study says it: simclr+bank."""
    also: Literal[SOURCES.names()] | None = None  # type: ignore[valid-type]
    """A second source: each anchor of a step has its positive from one of the two, either being as likely. An arm says
    it: simclr+bank+frames."""
    placement: Placement = "third"
    """Where it stands. third: a third view, with a term of its own; host: in the second view's place, where the
    method's own objective pulls it."""
    objective: Literal[OBJECTIVES.names()] = "alignment"  # type: ignore[valid-type]
    """What pulls a third view: the paper's mean(2 - 2 cos), or InfoNCE, in which other images repel it."""

    @property
    def chosen(self) -> Source | None:
        """The source with its settings, or both as one; None without one."""
        first, second = (name and (getattr(self, name, None) or SOURCES[name]()) for name in (self.source, self.also))
        return either(first, second) if first and second else first

    @property
    def pull(self) -> Objective:
        """The objective with its settings."""
        return getattr(self, self.objective, None) or OBJECTIVES[self.objective]()

    def unused(self) -> set[str]:
        """The settings that belong to other choices than these."""
        every = {item.name for item in fields(self)}
        if self.source is None:
            return every
        used = {"source", "also", self.also, "placement", self.source, self.placement}
        return every - (used if self.placement == "host" else used | {"objective", self.objective})


@settings
class Pretrain:
    """Pretraining; the defaults are CLSP-SimCLR's for CIFAR."""

    method: Literal[METHODS.names()] = "simclr"  # type: ignore[valid-type]
    """The method: an objective, heads, and what its positives are."""
    images: AtLeastTwo | None = None
    """Train images that serve as anchors, chosen at random by the seed; null: all (with a bank: all of the bank)."""
    extra: bool = False
    """Train on the bank's candidates, too, as images of their own, and augment less (AdaInf, arXiv 2403.12448)."""
    batch_norm: BatchNormMode = "joint"
    """Whose images share BatchNorm statistics in encoder and projector: joint: all views; split: the additional
    positive apart from the two real views; views: each view by itself."""
    weights: Annotated[str | None, Incidental] = None
    """Weights to start from: timm (those that timm offers for the backbone, fetched from the hub), timm:TAG, the folder
    of an encoder or a run, or a .safetensors file with timm's names; null: random ones. What was read is named by its
    hash; the encoder that was trained does not need it."""
    continued: bool = False
    """Also take over heads, averages and memories of the training in the folder that weights names, as clsp continue
    does; the optimiser and the schedule begin anew."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    epochs: Count = 1000
    """Passes over the anchors."""
    batch_size: AtLeastTwo = 1024
    """Anchors a step, over all processes together."""
    optimizer: Literal["sgd", "lars", "adamw"] = "sgd"
    """SGD with momentum, LARS (SGD with a rate for each layer, timm's), or AdamW."""
    lr: Positive = 0.5
    """Learning rate, for this batch size (it is not rescaled)."""
    momentum: NonNegative = 0.9
    """Momentum of SGD and LARS."""
    weight_decay: NonNegative = 1e-4
    """Weight decay; of SGD and AdamW on all parameters, of LARS not on biases and BatchNorm."""
    warmup_epochs: NonNegative = 10.0
    """Epochs in which the learning rate rises, at most half of all; then a cosine takes it to 0."""
    gradient_clip: Positive | None = None
    """Largest norm of the gradient; null: no clipping."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    log_every: Annotated[Count, Incidental] = 10
    """Steps between two lines of metrics.jsonl."""
    knn_every: Annotated[NonNegativeInt, Incidental] = 10
    """Epochs between two online kNN readings on train images (needs labels; too good for what sees them); 0: none."""
    checkpoint_minutes: Annotated[NonNegative, Incidental] = 5.0
    """Minutes between two checkpoints."""

    @property
    def own(self) -> Any:
        """The chosen method's settings."""
        return getattr(self, self.method, None) or METHODS[self.method].Settings()

    @property
    def start(self) -> str | None:
        """The weights to start from, also where the backbone's arguments say it in timm's own words."""
        return self.weights or self.backbone.weights

    @property
    def heads(self) -> Heads:
        """The settings of projector and predictor."""
        return Heads(projector=self.projector, predictor=self.predictor, batch_norm=self.batch_norm)

    def unused(self) -> set[str]:
        """The sections of the methods that were not chosen."""
        return set(METHODS.names()) - {self.method}


if TYPE_CHECKING:

    @settings
    class PositiveConfig(Positives):
        """`Positives` with a section for every source, placement and objective that has settings."""

        third: Third = field(default_factory=Third)
        host: Host = field(default_factory=Host)

        def __getattr__(self, name: str) -> Any: ...

    @settings
    class PretrainConfig(Pretrain):
        """`Pretrain` with the additional positive, and a section for every method that has settings."""

        positive: PositiveConfig = field(default_factory=PositiveConfig)

        def __getattr__(self, name: str) -> Any: ...

else:
    PositiveConfig = extended(
        Positives, {**sections(SOURCES.items()), "third": Third, "host": Host, **sections(OBJECTIVES.items())}
    )

    @settings
    class _WithPositives(Pretrain):
        __doc__ = Pretrain.__doc__
        positive: PositiveConfig = field(default_factory=PositiveConfig)

    PretrainConfig = extended(_WithPositives, sections((name, made.Settings) for name, made in METHODS.items()))
