"""What a method is: views and positives in, loss terms out. The loop knows no more than this page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from clsp.images.augment import Crops
from clsp.methods.config import BatchNormMode


@dataclass(frozen=True)
class Views:
    """A batch as a method sees it."""

    first: Tensor
    """First view, float [B, C, H, W], normalised."""
    second: Tensor
    """Second view, likewise."""
    positive: Tensor | None
    """The additional positive (a third view, a candidate of the bank), augmented alike; None without one."""
    ids: Tensor
    """Dataset indices, int64 [B]."""
    done: float
    """Share of the training that is done, in [0, 1)."""
    labels: Tensor | None = None
    """Labels, int64 [B], for the upper bounds that may see them; None for all others."""
    step: int = 0
    """The training step: with the seed and ``ids`` it names random draws."""
    crops: tuple[Crops, ...] | None = None
    """Where the views lie in their images, in the order first, second, positive, for the methods that ask
    (`clsp.methods.config.PATCHES`); None for all others."""
    weights: Tensor | None = None
    """How strongly the additional positive counts, float [B] in [0, 1]; None: fully."""
    mates: Tensor | None = None
    """Of mixtures: the row of the other anchor that the additional positive shows, int64 [B]."""
    ignore: Tensor | None = None
    """bool [B, G], True where image j of the global batch is no negative of image i, as one is the other's positive in
    this step; None: all are. SimCLR heeds it."""
    local: tuple[Tensor, ...] = ()
    """Local crops of the anchors, float [B, C, S, S] each, for the methods that take them
    (`clsp.methods.config.MULTI_CROP`)."""

    def real(self) -> Views:
        """The two real views alone."""
        return replace(self, positive=None, local=())


@dataclass(frozen=True)
class Losses:
    """What a method makes of a batch."""

    terms: dict[str, Tensor]
    """The objective's named terms, scalars; the loss is their sum."""
    first: Tensor
    """Embeddings of the first view, float [B, D]: for the diagnosis."""
    second: Tensor
    """Embeddings of the second view, likewise."""
    pull: tuple[Tensor, Tensor] | None
    """What the additional positive pulls together (anchor side, positive side), each float [B, D]; None without."""
    neighbours: Tensor | None = None
    """Dataset indices of the neighbours that served as positives, int64 [B], -1 where there is none yet."""


@dataclass(frozen=True)
class Group:
    """Parameters that are trained alike."""

    parameters: list[nn.Parameter]
    lr_factor: float = 1.0
    """Their learning rate as a share of the others'."""
    decays: bool = True
    """Whether their learning rate follows the cosine (SimSiam's predictor keeps its own)."""


class Method(nn.Module, ABC):
    """A method: heads, target networks and memories are its parts; the loop knows these few calls and no more.

    Everything trainable is a parameter of it; everything else that must survive a restart is a buffer.
    """

    encoder: nn.Module
    """The backbone that users keep."""

    @abstractmethod
    def forward(self, views: Views) -> Losses:
        """Compute the loss terms of a batch."""

    def groups(self) -> list[Group]:
        """All trained parameters; most methods train them alike."""
        return [Group([p for p in self.parameters() if p.requires_grad])]

    def networks(self) -> list[nn.Module]:
        """What `torch.compile` is for: the backbone and its moving copies."""
        return [part for part in self.modules() if isinstance(part, type(self.encoder))]

    def before_step(self, done: float) -> None:
        """Called before the forward pass, at the share ``done`` of the training: target networks move here."""

    def after_step(self) -> None:
        """Called after the optimiser's step: memories take the batch's embeddings here."""


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
        Embeddings float [B, D] of the first view, the second view and the positive (None without one).
    """
    pixels = [view for view in (views.first, views.second, views.positive) if view is not None]
    parts = list(zip(pixels, *also))
    if mode == "views":
        groups = [[part] for part in parts]
    elif mode == "split":
        groups = [parts[:2], parts[2:]] if len(parts) == 3 else [parts]
    else:
        groups = [parts]
    embedded: list[Tensor] = []
    for group in groups:
        embedded += network(*map(torch.cat, zip(*group))).chunk(len(group))
    return embedded[0], embedded[1], embedded[2] if len(embedded) == 3 else None


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
