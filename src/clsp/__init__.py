"""clsp: self-supervised image pretraining with synthetic positives.

A folder of unlabelled images goes in; a good encoder, and the evidence that it is good, comes out. The names below are
loaded when they are first used, so that ``import clsp`` is quick and imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsp._version import __version__

if TYPE_CHECKING:
    from clsp.api import classify as classify
    from clsp.api import dense as dense
    from clsp.api import evaluate as evaluate
    from clsp.api import index as index
    from clsp.api import predict as predict
    from clsp.api import pretrain as pretrain
    from clsp.api import run as run
    from clsp.api import search as search
    from clsp.api import synthesize as synthesize
    from clsp.api import train_diffusion as train_diffusion
    from clsp.api import train_text as train_text
    from clsp.api import zeroshot as zeroshot
    from clsp.diffusion.pipeline import SyntheticPositivePipeline as SyntheticPositivePipeline
    from clsp.encoders.export import load_encoder as load_encoder
    from clsp.errors import UserError as UserError
    from clsp.images.sources import open_images as open_images
    from clsp.positives.bank import PositiveBank as PositiveBank

_PUBLIC = {
    "PositiveBank": "clsp.positives.bank",
    "SyntheticPositivePipeline": "clsp.diffusion.pipeline",
    "UserError": "clsp.errors",
    "classify": "clsp.api",
    "dense": "clsp.api",
    "evaluate": "clsp.api",
    "index": "clsp.api",
    "load_encoder": "clsp.encoders.export",
    "open_images": "clsp.images.sources",
    "predict": "clsp.api",
    "pretrain": "clsp.api",
    "run": "clsp.api",
    "search": "clsp.api",
    "synthesize": "clsp.api",
    "train_diffusion": "clsp.api",
    "train_text": "clsp.api",
    "zeroshot": "clsp.api",
}

__all__ = [
    "PositiveBank",
    "SyntheticPositivePipeline",
    "UserError",
    "__version__",
    "classify",
    "dense",
    "evaluate",
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
