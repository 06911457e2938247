"""The encoder as files: safetensors and a config that plain timm reads, a snippet, ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval, Len
from pydantic import ConfigDict, PositiveFloat, PositiveInt
from safetensors.torch import save
from torch import nn
from typing_extensions import TypedDict

from clsp import files
from clsp.encoders.backbone import build_backbone, feature_count, stem_for
from clsp.encoders.config import BackboneConfig
from clsp.encoders.stems import size_args, stem_snippet
from clsp.errors import UserError
from clsp.images.imageset import Images

_FIX = "give --encoder the folder that 'clsp pretrain' wrote, or make it again"


class _Input(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    input_size: Annotated[list[Annotated[int, Interval(ge=1, le=65_536)]], Len(3, 3)]
    mean: list[float]
    std: list[PositiveFloat]


class _Ours(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    stem: str
    args: dict[str, Any]


@dataclass(frozen=True)
class EncoderConfig:
    """What ``config.json`` says: timm's layout, and ours beside it."""

    architecture: str
    num_features: PositiveInt
    pretrained_cfg: _Input
    clsp: _Ours

    def __post_init__(self) -> None:
        about = self.pretrained_cfg
        channels, mean, std = about["input_size"][0], len(about["mean"]), len(about["std"])
        if not channels == mean == std:
            raise ValueError(f"images of {channels} channels, mean and std of {mean} and {std}")


@dataclass(kw_only=True)
class EncoderSpec:
    """All that is needed to rebuild an encoder and to feed it."""

    name: str
    """timm's model name."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of timm.create_model."""
    stem: str = "big"
    """small, mid, half or big; see `clsp.encoders.config.BackboneConfig`."""
    channels: int = 3
    """Channels of the images."""
    size: int = 224
    """Side of the images in pixels."""
    mean: list[float] = field(default_factory=list)
    """Mean of each channel on [0, 1], from the training images: subtract it."""
    std: list[float] = field(default_factory=list)
    """Standard deviation of each channel on [0, 1]: divide by it."""

    @classmethod
    def of(cls, backbone: BackboneConfig, images: Images) -> EncoderSpec:
        """Describe the encoder of ``images`` that ``backbone`` asks for, without the images' statistics."""
        stem, args = stem_for(backbone, images.size), backbone.architecture
        return cls(name=backbone.name, args=args, stem=stem, channels=images.channels, size=images.size)

    def build(self, width: int | None = None) -> nn.Module:
        """Make the untrained backbone; ``width``: values of an image's features, where that is known."""
        about: dict[str, Any] = {"channels": self.channels, "size": self.size, "stem": self.stem}
        return build_backbone(self.name, self.args, **about, width=width)


def save_encoder(folder: Path, encoder: nn.Module, spec: EncoderSpec, provenance: dict[str, Any]) -> None:
    """Write ``encoder.safetensors``, ``config.json`` (timm's layout, and ours beside it) and ``snippet.py``."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    files.write_bytes(folder / "encoder.safetensors", save(state, metadata={"format": "pt"}))
    config = {
        "architecture": spec.name,
        "num_classes": 0,
        "num_features": feature_count(encoder),
        "model_args": {**spec.args, **size_args(spec.name, spec.size), "in_chans": spec.channels},
        "pretrained_cfg": {
            "input_size": [spec.channels, spec.size, spec.size],
            "fixed_input_size": False,
            "mean": spec.mean,
            "std": spec.std,
            "num_classes": 0,
        },
        "clsp": {"stem": spec.stem, "args": spec.args, **provenance},
    }
    files.write_text(folder / "snippet.py", snippet(spec))
    files.write_json(folder / "config.json", config)


def read_spec(folder: Path) -> EncoderSpec:
    """Read the spec of the encoder in ``folder``.

    Raises:
        UserError: the folder holds no encoder of clsp.
    """
    config = read_config(folder)
    cfg, ours = config.pretrained_cfg, config.clsp
    return EncoderSpec(
        name=config.architecture,
        args=ours["args"],
        stem=ours["stem"],
        channels=cfg["input_size"][0],
        size=cfg["input_size"][1],
        mean=cfg["mean"],
        std=cfg["std"],
    )


def read_config(folder: Path) -> EncoderConfig:
    """Read ``config.json`` of the encoder in ``folder``.

    Raises:
        UserError: the folder holds no encoder of clsp, or the file is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"--encoder {folder}: no config.json there; give a folder that 'clsp pretrain' wrote")
    return files.read_json(path, EncoderConfig, fix=_FIX, what="is not clsp's")


def encoder_folder(place: str | Path) -> Path:
    """The encoder's folder; the folder of a run stands for its encoder."""
    folder = Path(place)
    return folder / "encoder" if (folder / "encoder" / "config.json").exists() else folder


def load_encoder(folder: str | Path) -> nn.Module:
    """Load an encoder as a plain ``nn.Module`` in eval mode: float [B, C, H, W], normalised, to [B, num_features].

    Args:
        folder: a run's ``encoder`` folder. Its ``config.json`` holds mean and std of the normalisation; they are
            also in ``encoder.pretrained_cfg``, where timm's data tools look for them.

    Raises:
        UserError: no encoder is there, or its weights do not fit its config.
    """
    folder = encoder_folder(folder)
    spec, config = read_spec(folder), read_config(folder)
    with files.foreign(folder / "config.json", _FIX, what="describes an encoder that cannot be built"):
        encoder = spec.build(config.num_features)
    path, what = folder / "encoder.safetensors", "cannot be loaded"
    tensors, _ = files.read_tensors(path, fix=_FIX, what=what)
    with files.foreign(path, _FIX, what=what):
        encoder.load_state_dict(tensors)
    cfg: Any = dict(config.pretrained_cfg)
    encoder.pretrained_cfg = cfg
    return encoder.eval()


def snippet(spec: EncoderSpec, weights: Path | None = None) -> str:
    """Return a script of plain timm and torch, without clsp, that loads the encoder.

    Args:
        spec: the encoder's.
        weights: where its weights lie; None: beside the script, wherever that is moved.
    """
    paths = "" if weights else "from pathlib import Path\n\n"
    place = repr(str(weights)) if weights else 'Path(__file__).with_name("encoder.safetensors")'
    args = "".join(f", {name}={value!r}" for name, value in (spec.args | size_args(spec.name, spec.size)).items())
    return (
        f"{paths}import timm\nimport torch\nfrom safetensors.torch import load_file\n\n"
        f"model = timm.create_model({spec.name!r}, num_classes=0, in_chans={spec.channels!r}{args})\n"
        f"{stem_snippet(spec.stem, spec.name, spec.args)}"
        f"model.load_state_dict(load_file({place}))\n"
        "model.eval()\n\n"
        f"mean, std = torch.tensor({spec.mean!r}), torch.tensor({spec.std!r})\n"
        f"images = torch.rand(2, {spec.channels!r}, {spec.size!r}, {spec.size!r})  # your images, in [0, 1]\n"
        "features = model((images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))\n"
        "print(tuple(features.shape))\n"
    )


def export_onnx(encoder: nn.Module, spec: EncoderSpec, path: Path) -> None:
    """Write the encoder with its normalisation as ONNX: input ``images`` [B, C, H, W] in [0, 1], any B.

    Raises:
        UserError: the extra for ONNX is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("ONNX export needs two packages: pip install 'clsp[onnx]'") from error
    example = torch.rand(2, spec.channels, spec.size, spec.size)
    batch = torch.export.Dim("batch", min=1)
    with files.replaced(path) as temporary:
        torch.onnx.export(
            Normalised(encoder, spec).eval(),
            (example,),
            str(temporary),
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes={"images": {0: batch}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )


class Normalised(nn.Module):
    """An encoder behind its normalisation: images in [0, 1] in, features out."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, encoder: nn.Module, spec: EncoderSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise float [B, C, H, W] in [0, 1] and encode it: [B, num_features]."""
        features: torch.Tensor = self.encoder((images - self.mean) / self.std)
        return features
