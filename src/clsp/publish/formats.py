"""The formats of an encoder: each writes its files into a folder, and proves them before it names them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from clsp import console, files
from clsp._version import __version__
from clsp.encoders.backbone import feature_count
from clsp.encoders.export import (
    EncoderSpec,
    Normalised,
    export_onnx,
    load_encoder,
    read_config,
    read_spec,
    save_encoder,
)
from clsp.encoders.plain import Plain, plain_model, timm_config
from clsp.errors import UserError, suggest
from clsp.publish.origin import Origin, origin_of, shared_facts
from clsp.publish.quantise import Loss, quantise

TOLERANCE = 1e-5
"""Largest difference to clsp's features, in units of the largest of them, with which a format passes."""
_TRIED = 4
"""Images on which a format is tried."""
WEIGHTS = {"clsp": "encoder.safetensors", "timm": "model.safetensors"}
"""Of the formats with a ``config.json``, the file beside it, to which it belongs."""


@dataclass
class Encoder:
    """What is exported."""

    folder: Path
    model: nn.Module
    """In eval mode, float [B, C, H, W], normalised, to [B, num_features]."""
    spec: EncoderSpec
    provenance: dict[str, Any]
    """What its ``config.json`` says besides: method, data, fingerprint, seed."""
    origin: Origin
    data: str | None = None
    """The SOURCE of images that a format may need; None: the run's own."""
    plain: Plain | None = field(default=None, init=False)
    """Once the format timm made it."""
    onnx: Path | None = field(default=None, init=False)
    """Once the format onnx wrote it."""
    loss: Loss | None = field(default=None, init=False)
    """Once the format onnx-int8 measured it."""

    @classmethod
    def open(cls, folder: Path, data: str | None = None) -> Encoder:
        """Read the encoder in ``folder``.

        Raises:
            UserError: none is there, or a file of it or of its run is damaged.
        """
        ours = {name: value for name, value in read_config(folder).clsp.items() if name not in ("stem", "args")}
        model, spec = load_encoder(folder), read_spec(folder)
        return cls(folder, model, spec, shared_facts(ours), origin_of(folder, WEIGHTS["clsp"]), data)

    @property
    def features(self) -> int:
        """Values of an image's features."""
        return feature_count(self.model)

    @property
    def normalised(self) -> nn.Module:
        """The encoder behind its normalisation, in eval mode."""
        return Normalised(self.model, self.spec).eval()

    def require_same(self, name: str, encode: Callable[[Tensor], Tensor]) -> None:
        """Compare what was exported with the encoder, on images of noise.

        Args:
            name: of the format.
            encode: what was exported: images in [0, 1] to features.

        Raises:
            UserError: the features differ by more than `TOLERANCE`.
        """
        spec = self.spec
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            images = torch.rand(_TRIED, spec.channels, spec.size, spec.size)
            wanted, found = self.normalised(images), encode(images)
        gap = float((wanted - found).abs().max() / wanted.abs().max().clamp(min=1e-12))
        if not gap <= TOLERANCE:
            raise UserError(
                f"--format {name}: the features of {spec.name} in this format differ from clsp's by {gap:.1e} of the "
                "largest; choose another format, and please report it with the encoder's config.json"
            )


def write_clsp(encoder: Encoder, out: Path) -> list[str]:
    """Write clsp's own folder: weights, config, and a snippet of plain timm and torch."""
    save_encoder(out, encoder.model, encoder.spec, encoder.provenance)
    return [WEIGHTS["clsp"], "config.json", "snippet.py"]


def write_timm(encoder: Encoder, out: Path) -> list[str]:
    """The folder that ``timm.create_model('local-dir:FOLDER', pretrained=True)`` loads, without clsp."""
    import timm

    plain = encoder.plain = plain_model(encoder.model, encoder.spec)
    config = timm_config(plain, encoder.spec, encoder.features)
    told = {"clsp": __version__, "stem": encoder.spec.stem, "pixels_repeated": plain.repeat}
    files.write_bytes(out / WEIGHTS["timm"], save(plain.state, metadata={"format": "pt"}))
    files.write_json(out / "config.json", {**config, "trained_by": told})
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (encoder.spec.mean, encoder.spec.std))
    encoder.require_same("timm", lambda images: loaded(plain.enlarged((images - mean) / std)))
    return [WEIGHTS["timm"], "config.json"]


def write_torch(encoder: Encoder, out: Path) -> list[str]:
    """A program of torch.export: images in [0, 1], any batch, to features; no class of Python is needed to load it."""
    spec, buffer = encoder.spec, io.BytesIO()
    example = torch.rand(2, spec.channels, spec.size, spec.size)
    batch = {"images": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(encoder.normalised, (example,), dynamic_shapes=batch)
    torch.export.save(program, buffer)
    files.write_bytes(out / "encoder.pt2", buffer.getvalue())
    encoder.require_same("torch", torch.export.load(io.BytesIO(buffer.getvalue())).module())
    return ["encoder.pt2"]


def write_onnx(encoder: Encoder, out: Path) -> list[str]:
    """ONNX: images in [0, 1], any batch, to features."""
    encoder.onnx = out / "encoder.onnx"
    export_onnx(encoder.model, encoder.spec, encoder.onnx)
    return ["encoder.onnx"]


def write_int8(encoder: Encoder, out: Path) -> list[str]:
    """ONNX with weights, and where that keeps more also activations, in 8 bit, and what that loses."""
    encoder.loss = quantise(encoder.model, encoder.spec, encoder.origin, encoder.data, out, encoder.onnx)
    for line in encoder.loss.lines():
        console.result(line)
    return [encoder.loss.file]


FORMATS: dict[str, Callable[[Encoder, Path], list[str]]] = {
    "clsp": write_clsp,
    "timm": write_timm,
    "torch": write_torch,
    "onnx": write_onnx,
    "onnx-int8": write_int8,
}
"""What ``--format`` names."""


def parse_formats(text: str, allowed: tuple[str, ...] = tuple(FORMATS)) -> list[str]:
    """Read NAME,NAME,...

    Raises:
        UserError: one is not known, or two would write the same file.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in allowed:
            raise UserError(f"--format '{name}' is not one of {', '.join(allowed)}{suggest(name, allowed)}")
    if {"clsp", "timm"} <= set(names):
        raise UserError("--format clsp and timm both write config.json; export them into two folders")
    return list(dict.fromkeys(names))
