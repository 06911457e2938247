"""The images that a result was made from, opened as it saw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp import files
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.images.sources import open_images
from clsp.images.tones import Tones
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import Tree
from clsp.study.record import source_of


def source_in(folder: Path) -> str:
    """Return the SOURCE of what was made in ``folder``, as it can be reached from here.

    Raises:
        UserError: its recipe.yaml is not what clsp wrote.
    """
    path = folder / "recipe.yaml"
    record = files.read_yaml(path)
    with files.foreign(path, what="is not what clsp wrote"):
        return source_of(record, folder)


def settings_in(path: Path) -> tuple[str | None, Tree]:
    """The recipe and the overrides by which images become what a ``recipe.yaml`` says.

    That of a run, or of one of its stages, is a recipe; that of a task shares its images, seed and hardware with one.

    Raises:
        UserError: it is damaged.
    """
    record = files.read_yaml(path, fix="give another folder")
    if {"diffusion", "pretrain"} <= record.keys():
        return str(path), {}
    return None, {name: value for name, value in record.items() if name in ("images", "seed", "hardware")}


def tones_of(folder: Path) -> Tones:
    """How the images became 8-bit and opaque that an encoder in ``folder`` was trained on; the usual where unknown.

    Raises:
        UserError: the record of its run is damaged.
    """
    path = next((place / "images.json" for place in (folder, *folder.absolute().parents[:3])
                 if (place / "images.json").is_file()), None)  # fmt: skip
    if path is None:
        return Tones()
    record = files.read_json(path, dict[str, Any])
    with files.foreign(path):
        return Tones.of(record["tones"]) if record.get("tones") else Tones()


def images_of(made: str | Path, data: str | Path | None = None) -> Images:
    """Open the images that a run or the result of one stage was made from, with the same settings.

    Args:
        made: the folder of a run, of a comparison, or of a stage in it, such as ``run/positives``.
        data: the SOURCE, where it lies elsewhere now.

    Raises:
        UserError: no recipe is there, or the images are gone or others.
    """
    folder = Path(made)
    found = [path for path in (folder / "recipe.yaml", folder.parent / "recipe.yaml") if path.is_file()]
    if not found:
        raise UserError(f"{made}: no recipe.yaml there; give the --out of a command, such as 'clsp run'")
    record = files.read_yaml(found[0], fix="give another folder")
    with files.foreign(found[0], "give another folder", what="is not what clsp wrote"):
        source, fingerprint = source_of(record, found[0].parent), str(record["data"]["fingerprint"])
    recipe = load_recipe(*settings_in(found[0]))
    images = open_images(str(data or source), recipe.images, seed=recipe.seed)
    if images.fingerprint != fingerprint:
        raise UserError(
            f"{made} was made from other images (fingerprint {fingerprint}) than {images.source} has now "
            f"({images.fingerprint}); name those by data="
        )
    return images
