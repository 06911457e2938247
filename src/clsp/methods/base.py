"""What a method is: views and positives in, loss terms out. The loop knows no more than this page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clsp.encoders.config import BatchNormMode
from clsp.encoders.heads import Heads, HeadShape, feature_count, projector
from clsp.encoders.memory import Deferred
from clsp.engine.ema import EMA
from clsp.images.augment import Crops
from clsp.positives.neighbour import Exchanged, NeighbourSearch
from clsp.settings import settings


@dataclass(frozen=True)
class Views:
    """A batch as a method sees it."""

    first: Tensor
    """First view, float [B, C, H, W], normalised."""
    second: Tensor
    """Second view, likewise."""
    positive: Tensor | None
    """The additional positive (a third view, a candidate of the bank), augmented alike, float [m B, C, H, W]: the first
    one of all anchors, then perhaps the second, ...; None without one."""
    ids: Tensor
    """Dataset indices, int64 [B]."""
    progress: float
    """Fraction of the training that is done, in [0, 1)."""
    labels: Tensor | None = None
    """Labels, int64 [B], for the upper bounds that may see them; None for all others."""
    step: int = 0
    """The training step: with the seed and ``ids`` it names random draws."""
    crops: tuple[Crops, ...] | None = None
    """Where the views lie in their images, in the order first, second, positives, for the methods that choose among
    patches; None for all others."""
    weights: Tensor | None = None
    """How strongly the additional positive counts, float [m B] in [0, 1]; None: fully."""
    mates: Tensor | None = None
    """Of mixtures: the row of the other anchor that the additional positive shows, int64 [m B]."""
    pair_weights: Tensor | None = None
    """How strongly the pair of the two views counts, float [B]; None: fully."""
    ignore: Tensor | None = None
    """bool [B, G], True where image j of the global batch is no negative of image i, as one is the other's positive in
    this step; None: all are."""
    shown: Tensor | None = None
    """Dataset indices of the other images that are positives of the anchors in this step, int64 [B] or [B, m], for
    `ignored_among`; `NO_IMAGE` where an anchor has none."""
    local: tuple[Tensor, ...] = ()
    """Local crops of the anchors, float [B, C, S, S] each, for the methods that take them."""

    @property
    def masks(self) -> dict[str, Tensor | None]:
        """What an objective of the batch's pairs heeds: how strongly each counts, and who is no negative of whom."""
        return {"weights": self.pair_weights, "ignore": self.ignore}

    @property
    def positives(self) -> tuple[Tensor, ...]:
        """The additional positive in parts of one for each anchor, float [B, C, H, W] each; nothing without one."""
        return () if self.positive is None else self.positive.split(len(self.ids))

    def real(self) -> Views:
        """The two real views alone."""
        return replace(self, positive=None, local=())

    @property
    def second_ids(self) -> Tensor:
        """Dataset indices of what the second views show, int64 [B]: another image may stand there."""
        if self.positive is not None or self.shown is None:
            return self.ids
        return torch.where(self.shown >= 0, self.shown, self.ids)

    def ignored_among(self, ids: Tensor, *more: Tensor | None) -> Tensor | None:
        """Mark the rows of a memory that are no negatives.

        Args:
            ids: the rows' dataset indices, int64 [K].
            more: dataset indices of further positives, int64 [B] each.

        Returns:
            bool [B, K]; None: all are negatives.
        """
        shown = () if self.shown is None else self.shown.view(len(self.ids), -1).unbind(1)
        masks = [one[:, None] == ids for one in (*shown, *more) if one is not None]
        return reduce(torch.logical_or, masks) if masks else None


@dataclass(frozen=True)
class Output:
    """What a method makes of a batch."""

    terms: dict[str, Tensor]
    """The objective's named terms, scalars; the loss is their sum."""
    first: Tensor
    """Embeddings of the first view, float [B, D]."""
    second: Tensor
    """Embeddings of the second view, likewise."""
    pair: tuple[Tensor, Tensor] | None
    """What the additional positive pulls together: anchor side, float [B, D], and positive side, float [m B, D]; None
    without."""
    neighbours: Tensor | None = None
    """Dataset indices of the neighbours that served as positives, int64 [B], -1 where there is none yet."""


@dataclass(frozen=True)
class Group:
    """Parameters that are trained alike."""

    parameters: list[nn.Parameter]
    lr_factor: float = 1.0
    """Their learning rate as a multiple of the others'."""
    decays: bool = True
    """Whether their learning rate follows the cosine (SimSiam's predictor keeps its own)."""


@settings
class NoSettings:
    """Of a method that has no settings of its own."""


class Method(nn.Module, ABC):
    """A method. Everything trainable is a parameter; everything else that must survive a restart is a buffer.

    Moving averages (`EMA`) that are parts of it follow before each step, memories (`Memory`) take what was noted after
    it. A subclass says what it needs and sets its projector's shape by the class variables below.

    Args:
        encoder: the backbone f.
        heads: widths of projector and predictor, and whose images share BatchNorm statistics.
        settings: of the class that ``Settings`` names.
        seed: names the rows with which memories start, and the method's own draws.
    """

    Settings: ClassVar[type] = NoSettings
    head: ClassVar[HeadShape] = HeadShape()
    """The projector's shape in the paper, for what the recipe leaves open."""
    sees_labels: ClassVar[bool] = False
    """It sees the labels: an upper bound, never a rival."""
    weak_second: bool = False
    """Its second view keeps its colours: it is cropped and flipped alone. A method's settings may change it."""
    patches: ClassVar[bool] = False
    """It chooses among a view's patches: it sees where the views lie, and trains timm's vision transformers."""
    multi_crop: ClassVar[bool] = False
    """It takes local crops."""
    weighs_pairs: ClassVar[bool] = True
    """It heeds ``pair_weights``."""
    takes_neighbours: ClassVar[bool] = False
    """A source of embeddings can stand in its second view's place: it calls `exchanged`."""

    def __init__(self, encoder: nn.Module, heads: Heads, settings: Any, *, seed: int) -> None:
        super().__init__()
        head = projector(feature_count(encoder), heads.projector, self.head)
        self.network: Any = nn.Sequential(OrderedDict(encoder=encoder, projector=head))
        self.settings, self.batch_norm, self.seed = settings, heads.batch_norm, seed
        self.neighbour: NeighbourSearch | None = None

    @property
    def encoder(self) -> nn.Module:
        """The backbone that users keep."""
        kept: nn.Module = self.network.encoder
        return kept

    @abstractmethod
    def forward(self, views: Views) -> Output:
        """Compute the loss terms of a batch."""

    def embed(self, views: Views) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return g(f(x)) of the two views and, where there is one, the additional positive, see `embed`."""
        return embed(self.network, views, self.batch_norm)

    def exchanged(self, targets: Tensor, views: Views) -> Exchanged:
        """Return what a view is pulled to: ``targets``, float [B, D], or for some their neighbours."""
        return Exchanged(targets) if self.neighbour is None else self.neighbour.exchange(targets, views.ids, views)

    def groups(self) -> list[Group]:
        """All trained parameters; most methods train them alike."""
        return [Group([p for p in self.parameters() if p.requires_grad])]

    def networks(self) -> list[nn.Module]:
        """What `torch.compile` is for: the backbone and its moving copies."""
        return [part for part in self.modules() if isinstance(part, type(self.encoder))]

    def before_step(self, progress: float) -> None:
        """Called before the forward pass, at the fraction ``progress`` of the training: moving averages follow."""
        for part in self.modules():
            if isinstance(part, EMA):
                part.follow(progress)

    def after_step(self) -> None:
        """Called after the optimiser's step: memories take the batch's embeddings."""
        for part in self.modules():
            if isinstance(part, Deferred):
                part.flush()


def pair(anchors: Tensor, positives: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Return what is pulled together; None without a positive."""
    return None if positives is None else (anchors, positives)


def embed(
    network: Callable[..., Tensor], views: Views, mode: BatchNormMode, *also: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run ``network`` on the two views and, where there is one, the additional positive.

    Args:
        network: encoder and projector.
        views: the batch.
        mode: whose images share BatchNorm statistics: ``joint``: all views; ``split``: the two real views, the
            additional positive apart; ``views``: each view by itself.
        also: further inputs of ``network``, each as a sequence of one tensor [B, ...] a view.

    Returns:
        Embeddings float [B, D] of the first view and the second view, and [m B, D] of the positive (None without one).
    """
    parts = list(zip((views.first, views.second, *views.positives), *also))
    if mode == "views":
        groups = [[part] for part in parts]
    elif mode == "split":
        groups = [parts[:2], parts[2:]] if len(parts) > 2 else [parts]
    else:
        groups = [parts]
    embedded: list[Tensor] = []
    for group in groups:
        embedded += network(*map(torch.cat, zip(*group))).chunk(len(group))
    first, second, *positives = embedded
    return first, second, together(positives)


def together(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The parts in one tensor, [m B, ...]; None where there is none."""
    found = [part for part in parts if part is not None]
    return found[0] if len(found) == 1 else torch.cat(found) if found else None


def embed_local(network: Callable[..., Tensor], views: Views, mode: BatchNormMode) -> list[Tensor]:
    """Run ``network`` on the local crops: embeddings float [B, D] of each.

    They share BatchNorm statistics with each other (with the mode ``views`` each has its own), never with the whole
    views, whose size is another.
    """
    if not views.local:
        return []
    if mode == "views":
        return [network(crop) for crop in views.local]
    return list(network(torch.cat(views.local)).chunk(len(views.local)))
