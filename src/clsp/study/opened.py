"""The images that a result was made from, opened as it saw them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clsp import console, files
from clsp.errors import UserError
from clsp.images.annotations import AUTO, NONE
from clsp.images.imageset import Images
from clsp.images.sources import open_images
from clsp.images.tones import Tones
from clsp.recipes.prepare import Prepared, prepare
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.settings.values import Tree, merge
from clsp.study.ways import labels_of, source_of

_OTHER = "give another folder"


@contextmanager
def _told(path: Path, fix: str = files.FIX) -> Iterator[dict[str, Any]]:
    """Read a ``recipe.yaml``; what is missing of it in this block ends as one line, too."""
    record = files.read_yaml(path, fix=fix)
    with files.foreign(path, fix, what="is not what clsp wrote"):
        yield record


def source_in(folder: Path) -> str:
    """Return the SOURCE of what was made in ``folder``, as it can be reached from here.

    Raises:
        UserError: its recipe.yaml is not what clsp wrote.
    """
    with _told(folder / "recipe.yaml") as record:
        return source_of(record, folder)


def labels_in(folder: Path) -> str | None:
    """Return the ``images.labels`` of what was made in ``folder``, as its file can be reached from here.

    Returns:
        None where it is reached as it was typed, or is no file.

    Raises:
        UserError: its recipe.yaml is not what clsp wrote.
    """
    with _told(folder / "recipe.yaml") as record:
        return labels_of(record, folder)


def settings_in(path: Path) -> tuple[str | None, Tree]:
    """The recipe and the overrides by which images become what a ``recipe.yaml`` says.

    That of a run, or of one of its stages, is a recipe; that of a task shares its images, seed and hardware with one.
    A file of labels is named as it can be reached from here.

    Raises:
        UserError: it is damaged.
    """
    with _told(path, _OTHER) as record:
        labels = labels_of(record, path.parent)
    found: Tree = {} if labels is None else {"images": {"labels": labels}}
    if {"diffusion", "pretrain"} <= record.keys():
        return str(path), found
    own = {name: value for name, value in record.items() if name in ("images", "seed", "hardware")}
    return None, merge(Recipe, own, found)


def prepare_as(
    path: Path, data: str | None = None, *, settings: Tree | None = None, store: Path | None = None
) -> Prepared:
    """Open the images of a result with the settings that its ``recipe.yaml`` says, or other images with the same.

    A file of labels belongs to the result's own images. Of others it is not read, which is said: names that are the
    same in both would get labels of other images.

    Args:
        path: the recipe.yaml.
        data: a SOURCE; None: the result's own.
        settings: nested settings that go before the result's.
        store: see `clsp.recipes.prepare.prepare`.

    Raises:
        UserError: the recipe.yaml is damaged, or the images cannot be read.
    """
    recipe, own = settings_in(path)
    given, source = merge(Recipe, own, settings or {}), data or source_in(path.parent)
    labels = load_recipe(recipe, given).images.labels

    def opened(overrides: Tree) -> Prepared:
        return prepare(source, recipe=recipe, overrides=overrides, store=store)

    if data is None or labels in (AUTO, NONE) or "labels" in (settings or {}).get("images", {}):
        return opened(given)
    made = _fingerprint_in(path)
    with suppress(UserError):  # the file names none of these images; what else is wrong with them comes below
        if (prepared := opened(given)).images.fingerprint == made:
            return prepared
    prepared = opened(merge(Recipe, given, {"images": {"labels": AUTO}}))
    console.say(f"images: {data} holds others than {path.parent} was made from; {labels} is not read for them")
    return prepared


def _fingerprint_in(path: Path) -> str:
    """The fingerprint of the images that a ``recipe.yaml`` tells of."""
    with _told(path, _OTHER) as record:
        return str(record["data"]["fingerprint"])


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
    with _told(found[0], _OTHER) as record:
        source, fingerprint = source_of(record, found[0].parent), str(record["data"]["fingerprint"])
    recipe = load_recipe(*settings_in(found[0]))
    images = open_images(str(data or source), recipe.images, seed=recipe.seed)
    if images.fingerprint != fingerprint:
        raise UserError(
            f"{made} was made from other images (fingerprint {fingerprint}) than {images.source} has now "
            f"({images.fingerprint}); name those by data="
        )
    return images
