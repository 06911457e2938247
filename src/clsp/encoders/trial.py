"""One pass before any work: timm's models check in many ways what they take, or fail in the middle of a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from clsp import files
from clsp.encoders.stems import shrink_stem, size_args

_SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
"""Sizes that are tried in place of one that does not work."""

_NOISY = 4
"""Images that are tried: of two, BatchNorm makes +1 and -1 where a layer has one pixel left, and no gradient passes."""


def measure_width(model: nn.Module, channels: int, size: int) -> int:
    """Return how many values the features of an image have; nothing of ``model`` changes.

    Args:
        model: a backbone without classifier.
        channels: of the images.
        size: their height and width.

    Raises:
        ValueError: an image becomes something else than one vector.
        Exception: the model cannot take such images; each says so in its own way.
    """
    training, device = model.training, next(model.parameters()).device
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        features = model.eval()(torch.zeros(2, channels, size, size, device=device))
    model.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        raise ValueError("an image does not become one vector of features")
    return features.shape[1]


def unseen(encode: Callable[[Tensor], Tensor], channels: int, size: int) -> float:
    """Train on noisy images, forward and backward, and return the fraction of their pixels that has no effect.

    Transformers leave out what their patches do not cover; convolutions that step over more than they see, too. Where
    no pixel at all has an effect, the first weights let nothing through, which says nothing of the pixels: 0.

    Args:
        encode: images float [B, C, H, W] to features [B, D], in train mode.
        channels: of the images.
        size: their height and width.

    Raises:
        Exception: the model cannot be trained on such images; each says so in its own way.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(_NOISY, channels, size, size, requires_grad=True)
        features = encode(images)
        (features * torch.randn_like(features)).sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().amax(dim=(0, 1)) > 0
    if not bool(seen.any()):
        return 0.0
    rows, columns = seen.any(dim=1).float().mean(), seen.any(dim=0).float().mean()
    return 1.0 - float(rows * columns)


def refusal(name: str, args: dict[str, Any], *, channels: int, size: int, stem: str, error: Exception) -> str:
    """Say in one line that a backbone cannot take the images, and what could be done."""
    import timm

    def runs(stem: str, size: int) -> bool:
        """Whether it would work, by its shapes alone: that takes no memory and little time."""
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                model = timm.create_model(name, num_classes=0, in_chans=channels, **size_args(name, size) | args)
                if stem != "big":
                    shrink_stem(model, name, stem)
                measure_width(model, channels, size)
        except Exception:
            return False
        return True

    stems = [other for other in ("small", "half", "mid", "big") if other != stem and runs(other, size)]
    native = int(timm.get_pretrained_cfg(name).input_size[-1])
    sizes = (other for other in sorted({*_SIZES, native}) if other != size and runs(stem, other))
    ways = [f"--pretrain.backbone.stem {other}" for other in stems[:1]]
    ways += [f"--images.size {other}" for other in [next(sizes, None)] if other]
    choices = ", ".join([*ways, "or another --pretrain.backbone.name such as resnet18"])
    told = f" with {args}" if args else ""
    return (
        f"backbone {name}{told} cannot take images of {size} pixels and {channels} channels with the stem {stem} "
        f"({files.reason(error)}); choose {choices}"
    )


def patch_of(model: nn.Module) -> int:
    """Return the pixels of a side of the steps in which ``model`` reads an image first; 1 where it sees each."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    return 1 if first is None or first.kernel_size != first.stride else int(first.stride[0])
