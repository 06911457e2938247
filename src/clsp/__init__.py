"""clsp: self-supervised image pretraining with synthetic positives.

A folder of unlabelled images goes in; a good encoder, and the evidence that it is good, comes out. The names below are
loaded when they are first used, so that ``import clsp`` is quick and imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsp._version import __version__

if TYPE_CHECKING:
    from clsp.api import compare as compare
    from clsp.api import continue_training as continue_training
    from clsp.api import evaluate as evaluate
    from clsp.api import explore as explore
    from clsp.api import pretrain as pretrain
    from clsp.api import run as run
    from clsp.api import synthesize as synthesize
    from clsp.api import train_diffusion as train_diffusion
    from clsp.diffusion.pipeline import SyntheticPositivePipeline as SyntheticPositivePipeline
    from clsp.encoders.export import load_encoder as load_encoder
    from clsp.errors import UserError as UserError
    from clsp.images.sources import open_images as open_images
    from clsp.positives.bank import PositiveBank as PositiveBank
    from clsp.positives.dataset import PositivePairs as PositivePairs
    from clsp.positives.dataset import collate_pairs as collate_pairs
    from clsp.positives.epochs import SetEpoch as SetEpoch
    from clsp.study.opened import images_of as images_of
    from clsp.tasks.classify.run import classify as classify
    from clsp.tasks.classify.run import predict as predict
    from clsp.tasks.correspondence.run import correspond as correspond
    from clsp.tasks.correspondence.run import dense as dense
    from clsp.tasks.retrieval.run import index as index
    from clsp.tasks.retrieval.run import search as search
    from clsp.tasks.text.run import train_text as train_text
    from clsp.tasks.text.run import zeroshot as zeroshot

_PUBLIC = {
    "PositiveBank": "clsp.positives.bank",
    "PositivePairs": "clsp.positives.dataset",
    "SetEpoch": "clsp.positives.epochs",
    "SyntheticPositivePipeline": "clsp.diffusion.pipeline",
    "UserError": "clsp.errors",
    "classify": "clsp.tasks.classify.run",
    "collate_pairs": "clsp.positives.dataset",
    "compare": "clsp.api",
    "continue_training": "clsp.api",
    "correspond": "clsp.tasks.correspondence.run",
    "dense": "clsp.tasks.correspondence.run",
    "evaluate": "clsp.api",
    "explore": "clsp.api",
    "images_of": "clsp.study.opened",
    "index": "clsp.tasks.retrieval.run",
    "load_encoder": "clsp.encoders.export",
    "open_images": "clsp.images.sources",
    "predict": "clsp.tasks.classify.run",
    "pretrain": "clsp.api",
    "run": "clsp.api",
    "search": "clsp.tasks.retrieval.run",
    "synthesize": "clsp.api",
    "train_diffusion": "clsp.api",
    "train_text": "clsp.tasks.text.run",
    "zeroshot": "clsp.tasks.text.run",
}

__all__ = [
    "PositiveBank",
    "PositivePairs",
    "SetEpoch",
    "SyntheticPositivePipeline",
    "UserError",
    "__version__",
    "classify",
    "collate_pairs",
    "compare",
    "continue_training",
    "correspond",
    "dense",
    "evaluate",
    "explore",
    "images_of",
    "index",
    "load_encoder",
    "open_images",
    "predict",
    "pretrain",
    "run",
    "search",
    "synthesize",
    "train_diffusion",
    "train_text",
    "zeroshot",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'clsp' has no attribute '{name}'; it has {', '.join(sorted(_PUBLIC))}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
