"""One call from what clsp made to a folder that others load, with its card, and, where it is named, to the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clsp import console, files
from clsp.errors import UserError
from clsp.publish.hub import push, require_name
from clsp.publish.room import CARD, require_apart, require_room


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    place: Path
    """A run, or the folder of an encoder, of a diffusion model or of a bank."""
    out: Path
    formats: str | None = None
    """NAME,NAME,...; None: what is usual for what ``place`` holds."""
    hub: str | None = None
    """USER/NAME; None: nothing is uploaded."""
    data: str | None = None
    """The SOURCE of images that a format needs; None: the run's own."""
    license: str = "unknown"
    """An identifier of the hub."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    kind: Literal["model", "dataset"]
    names: list[str]
    """Files below the folder, the card among them."""
    said: list[str]
    """What the user should know, a line each."""


def export(wish: Wish) -> Exported:
    """Write the folder, and upload it where that was asked for.

    Raises:
        UserError: nothing is there to export, a format cannot hold it, the folder holds something else, or the hub
            refuses.
    """
    if wish.hub is not None:
        require_name(wish.hub)
    require_apart(wish.out, wish.place)
    exported = _writer(wish.place)(wish)
    if wish.hub is not None:
        address = push(wish.out, exported.names, wish.hub, exported.kind)
        exported.said.append(f"uploaded: {address}")
        if "model.safetensors" in exported.names:
            exported.said.append(f"load it:  timm.create_model('hf-hub:{wish.hub}', pretrained=True)")
    return exported


def _writer(place: Path) -> Callable[[Wish], Exported]:
    """What exports the kind of thing that a folder holds."""
    from clsp.publish.bank import export_bank
    from clsp.publish.generator import export_generator

    if (place / "manifest.json").is_file():
        return export_bank
    if (place / "model_index.json").is_file():
        return export_generator
    return export_encoder


def export_encoder(wish: Wish) -> Exported:
    """Write an encoder in the formats that were asked for.

    Without any, clsp's own folder and ONNX, the latter where its packages are installed; for the hub, timm's.
    """
    from clsp.encoders.export import encoder_folder
    from clsp.publish.card import model_card
    from clsp.publish.formats import FORMATS, WEIGHTS, Encoder, parse_formats

    usual = "clsp,onnx" if wish.hub is None else "timm"
    formats = parse_formats(wish.formats or usual)
    weights = {WEIGHTS[name] for name in formats if name in WEIGHTS}
    require_room(wish.out, weights or set(WEIGHTS.values()))
    encoder, names = Encoder.open(encoder_folder(wish.place), wish.data), list[str]()
    for name in formats:
        try:
            names += FORMATS[name](encoder, wish.out)
        except UserError as error:
            if wish.formats or name != "onnx":
                raise
            console.say(f"encoder.onnx was not written: {error}")
    title = wish.hub or wish.out.resolve().name
    files.write_text(wish.out / CARD, model_card(encoder, names, license_=wish.license, title=title))
    said = []
    if encoder.plain is not None:
        place = f"local-dir:{wish.out}"
        said.append(f"load it:  timm.create_model({place!r}, pretrained=True)")
        if (times := encoder.plain.repeat) > 1:
            said.append(
                f"          on images whose every pixel is repeated {times} times, as README.md says: so timm's own "
                f"first layer computes what the stem {encoder.spec.stem} does"
            )
    return Exported("model", [*names, CARD], said)
