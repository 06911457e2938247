"""Stems: timm's first layers keep a quarter or less of each side, which small images cannot spare."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import nn

_SIZED = ("vit", "deit", "beit", "eva", "mixer", "swin", "cait", "xcit", "volo")
"""Beginnings of the names of transformers, all of which are made for one size of images."""


def is_transformer(name: str) -> bool:
    """Whether ``name`` is one of the transformers that take images of one size alone."""
    return name.startswith(_SIZED)


@lru_cache(maxsize=256)
def takes_size(name: str) -> bool:
    """Whether timm's model ``name`` is told the size of its images: ``img_size``."""
    if is_transformer(name):
        return True
    import timm

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):  # its shapes alone, which take no memory
            model = timm.create_model(name, num_classes=0)
    except Exception:  # a few compute while they are made
        return False
    for kind in type(model).__mro__:
        made = vars(kind).get("__init__")
        known = {} if made is None else inspect.signature(made).parameters
        if "img_size" in known:
            return True
        if not any(item.kind is inspect.Parameter.VAR_KEYWORD for item in known.values()):
            return False  # nothing is passed on to the class above
    return False


def size_args(name: str, size: int) -> dict[str, Any]:
    """Transformers have position embeddings for one image size; convolutional networks take any."""
    return {"img_size": size} if takes_size(name) else {}


def shrink_stem(model: nn.Module, name: str, stem: str) -> None:
    """Keep the resolution in the first layers: on 32 pixels timm's ImageNet stem throws away most of the image."""
    conv, stride = getattr(model, "conv1", None), _stride(stem)
    if conv is not None and hasattr(model, "maxpool"):  # the ResNet family
        if isinstance(conv, nn.Sequential):  # a deep stem (stem_type: deep): three 3x3 convolutions, the first strided
            first = conv[0]
            assert isinstance(first, nn.Conv2d)
            first.stride = (stride, stride)
        else:
            model.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, stride, 1, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        if stem != "mid":
            model.maxpool = nn.Identity()
        return
    for part in strided(model, name):  # the weights keep their shape
        conv = model.get_submodule(part)
        assert isinstance(conv, nn.Conv2d)
        conv.stride = (stride, stride)


def strided(model: nn.Module, name: str) -> list[str]:
    """Names of the convolutions of the image that step over pixels: several where a stem has branches.

    None of a transformer's: it chooses its patch by its name or by ``patch_size``.
    """
    if isinstance(getattr(model, "conv_stem", None), nn.Conv2d):  # EfficientNet, MobileNet
        return ["conv_stem"]
    if hasattr(model, "patch_embed") or takes_size(name):
        return []
    convs = [(part, conv) for part, conv in model.named_modules() if isinstance(conv, nn.Conv2d)]
    if not convs:
        return []
    block, channels = convs[0][0].partition(".")[0], convs[0][1].in_channels
    return [
        part
        for part, conv in convs
        if part.partition(".")[0] == block and conv.in_channels == channels and max(conv.stride) > 1
    ]


def stem_snippet(stem: str, name: str, args: dict[str, Any]) -> str:
    """Return the lines of plain torch that give ``model`` the stem; empty for timm's own."""
    if stem == "big":
        return ""
    import timm

    model = timm.create_model(name, num_classes=0, **args)
    stride = _stride(stem)
    if not (hasattr(model, "conv1") and hasattr(model, "maxpool")):
        parts = strided(model, name)
        if parts == ["conv_stem"]:
            return f"model.conv_stem.stride = ({stride}, {stride})\n"
        return "".join(f"model.get_submodule({part!r}).stride = ({stride}, {stride})\n" for part in parts)
    channels = "model.conv1.in_channels, model.conv1.out_channels"
    lines = f"model.conv1 = torch.nn.Conv2d({channels}, 3, {stride}, 1, bias=False)\n"
    if isinstance(model.conv1, nn.Sequential):
        lines = f"model.conv1[0].stride = ({stride}, {stride})\n"
    return lines + ("model.maxpool = torch.nn.Identity()\n" if stem != "mid" else "")


def _stride(stem: str) -> int:
    """Return the stride of the first convolution."""
    return 2 if stem == "half" else 1
