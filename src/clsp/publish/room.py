"""Where an export may be written: apart from every run, and apart from exports of another kind."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from clsp.encoders.export import encoder_folder
from clsp.errors import UserError

CARD = "README.md"
"""The card, by which a folder is known as an export."""

_RUN = ("stage.json", "recipe.yaml", "checksums.json")
"""Files of a run, or of one of its stages."""

_ABOVE = 4
"""Folders above one in which its run is looked for: RUN/arms/ARM/seed-N/encoder."""

HELD = {
    "manifest.json": "a bank",
    "model_index.json": "a diffusion model",
    "encoder.safetensors": "an encoder in the format clsp",
    "model.safetensors": "an encoder in the format timm",
}
"""The file by which the kind of an export is known."""


def require_apart(out: Path, place: Path) -> None:
    """Refuse to write into a run: its files would be replaced.

    A new folder in a run, and an earlier export there, may be written.

    Args:
        out: the folder to write.
        place: what is exported.

    Raises:
        UserError: ``out`` is a folder of a run.
    """
    whole = out.resolve()
    own = whole in (place.resolve(), encoder_folder(place).resolve())
    if own or _is_run(whole) or (_holds_more(whole) and any(_is_run(above) for above in whole.parents[:_ABOVE])):
        raise UserError(f"--out {out} is a folder of a run, whose files would be replaced; choose a new one")


def require_room(out: Path, own: Collection[str]) -> None:
    """Refuse to write one kind of export over another: they share names of files, so one of the two would be damaged.

    Args:
        out: the folder to write.
        own: which of the files in `HELD` may be there.

    Raises:
        UserError: another one is.
    """
    for name, what in HELD.items():
        if name not in own and (out / name).exists():
            raise UserError(f"--out {out} holds {what}, whose files would be replaced; choose a new one")


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in _RUN)


def _holds_more(folder: Path) -> bool:
    """Whether a folder holds anything but an export."""
    return folder.is_dir() and not (folder / CARD).exists() and any(folder.iterdir())
