"""The encoder as files: safetensors and a config that plain timm reads, a snippet, ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from clsp import files
from clsp.encoders.backbone import build_backbone, feature_count
from clsp.encoders.stems import size_args, stem_snippet
from clsp.errors import UserError


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

    def build(self) -> nn.Module:
        """Make the untrained backbone."""
        return build_backbone(self.name, self.args, channels=self.channels, size=self.size, stem=self.stem)


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
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"--encoder {folder}: no config.json there; give a folder that 'clsp pretrain' wrote")
    try:
        config = files.read_json(path)
        input_size, ours = config["pretrained_cfg"], config["clsp"]
        return EncoderSpec(
            name=config["architecture"],
            args=ours["args"],
            stem=ours["stem"],
            channels=input_size["input_size"][0],
            size=input_size["input_size"][1],
            mean=input_size["mean"],
            std=input_size["std"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--encoder {folder}: config.json is not clsp's ({error!r})") from error


def load_encoder(folder: str | Path) -> nn.Module:
    """Load an encoder as a plain ``nn.Module`` in eval mode: float [B, C, H, W], normalised, to [B, num_features].

    Args:
        folder: a run's ``encoder`` folder. Its ``config.json`` holds mean and std of the normalisation; they are
            also in ``encoder.pretrained_cfg``, where timm's data tools look for them.

    Raises:
        UserError: no encoder is there, or its weights do not fit its config.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists() and (folder / "encoder" / "config.json").exists():
        folder = folder / "encoder"
    spec = read_spec(folder)
    encoder = spec.build()
    try:
        encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--encoder {folder}: encoder.safetensors cannot be loaded ({reason})") from error
    encoder.pretrained_cfg = files.read_json(folder / "config.json")["pretrained_cfg"]
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
