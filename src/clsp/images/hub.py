"""``hf:NAME``: an image data set of the Hugging Face hub, or a local folder of one, by the library ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, UnreadableImage, decode_file, read_header, strict_pillow
from clsp.images.imageset import Images
from clsp.images.labels import numbered
from clsp.images.pictures import Pictures, open_pictures

LABELS = ("label", "labels", "fine_label", "class")
"""Columns that are taken as the label, the first that is there; else the only column of class names."""

TESTS = ("test", "validation", "valid", "val", "dev")
"""Splits that are taken as the test part: the first that is there and has labels, where train has them."""


def open_hub(source: str, config: ImagesConfig, *, seed: int = 0, store: Path | None = None) -> Images:
    """Open a data set of the hub.

    Args:
        source: ``hf:NAME`` or ``hf:NAME:CONFIG``, either with ``@REVISION`` at its end. NAME is one of the hub, or a
            local folder that ``datasets`` loads or has saved.
        config: size, channels, labels, limit.
        seed: chooses the images under ``config.limit``.
        store: a folder for the decoded pixels; None: keep them in memory.

    Raises:
        UserError: the library is missing, the data set is not found or has no images, or its splits have other names.
    """
    splits = _load(source)
    train_name, train = _train_of(source, splits)
    column = _image_column(source, train)
    label = _label_column(train) if config.labels == "auto" else None
    chosen = {"train": train}
    for name in TESTS:
        if name in splits and name != train_name and not _hidden(splits[name], label):
            chosen["test"] = splits[name]
            break
    values = {part: _labels_of(rows, label) for part, rows in chosen.items()} if label else {}
    labels, classes = _numbered(source, train, label, values)
    names = ", ".join(sorted(splits))
    notes = [f"read by datasets.load_dataset: splits {names}; images from the column '{column}'"]
    notes.append(f"labels from the column '{label}'" if label else "no labels")
    return open_pictures(
        source,
        {part: _pictures(rows, column, labels.get(part), config) for part, rows in chosen.items()},
        config,
        identity=[source, {part: rows._fingerprint for part, rows in chosen.items()}],
        classes=classes,
        notes=notes,
        seed=seed,
        store=store,
    )


def parse(source: str) -> tuple[str, str | None, str | None]:
    """Part ``hf:NAME[:CONFIG][@REVISION]`` into name, config and revision.

    Raises:
        UserError: it has no name.
    """
    found = re.fullmatch(r"hf:([^:@]+)(?::([^:@]+))?(?:@([^:@]+))?", source)
    if found is None:
        raise UserError(
            f"--data '{source}' is no data set: write hf:NAME, hf:NAME:CONFIG or hf:NAME@REVISION, for example hf:mnist"
        )
    return found[1], found[2], found[3]


def _load(source: str) -> Mapping[str, Any]:
    """Every split by its name."""
    name, config, revision = parse(source)
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"--data '{source}' needs the library datasets: pip install datasets") from error
    folder = Path(name).expanduser()
    saved = any((folder / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            found = datasets.load_from_disk(folder)
        else:
            found = datasets.load_dataset(str(folder) if folder.is_dir() else name, config, revision=revision)
    except (OSError, ValueError, RuntimeError, ImportError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--data '{source}' cannot be loaded ({reason}): check the name, the connection and, for a data set that "
            "asks for it, HF_TOKEN; a folder of images needs no hf:"
        ) from error
    return found if isinstance(found, Mapping) else {"train": found}


def _train_of(source: str, splits: Mapping[str, Any]) -> tuple[str, Any]:
    name = "train" if "train" in splits else next(iter(splits), None) if len(splits) == 1 else None
    if name is None:
        raise UserError(
            f"--data '{source}' has the splits {', '.join(sorted(splits)) or '(none)'}: one must be named train, "
            "or be the only one"
        )
    return name, splits[name]


def _image_column(source: str, rows: Any) -> str:
    import datasets

    columns = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise UserError(
            f"--data '{source}' has no column of images; its columns are {', '.join(rows.features)}: "
            "choose a data set of images"
        )
    return columns[0]


def _label_column(rows: Any) -> str | None:
    import datasets

    classed = [name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [
        name
        for name, kind in rows.features.items()
        if isinstance(kind, datasets.Value) and re.match(r"u?int|bool|string|large_string", kind.dtype)
    ]
    for group in (classed, plain):
        for name in LABELS:
            if name in group:
                return name
    return classed[0] if len(classed) == 1 else None


def _labels_of(rows: Any, column: str) -> np.ndarray:
    """The values of a column, a missing one as -1."""
    values = np.asarray(rows.with_format(None)[column][:], dtype=object)
    kept = [value for value in values if value is not None]
    if len(kept) == len(values):
        return np.array(kept)
    return np.array([-1 if value is None else value for value in values])


def _hidden(rows: Any, label: str | None) -> bool:
    """Whether a split withholds its labels: hub data sets then have -1 for each."""
    if label is None:
        return False
    if label not in rows.features:
        return True
    values = _labels_of(rows, label)
    return values.dtype.kind in "iu" and bool((values < 0).any())


def _numbered(
    source: str, train: Any, label: str | None, values: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Labels as int64 in [0, classes), and the classes' names."""
    if label is None:
        return {}, None
    names = getattr(train.features[label], "names", None)
    if names is not None:
        return {part: numbers.astype(np.int64) for part, numbers in values.items()}, tuple(names)
    return numbered(source, values)


def _pictures(rows: Any, column: str, labels: np.ndarray | None, config: ImagesConfig) -> Pictures:
    import datasets

    files = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def file(index: int) -> Path | bytes:
        found = files[index][column]
        if found is None or (found["bytes"] is None and found["path"] is None):
            raise UnreadableImage("the row has no image")
        return Path(found["path"]) if found["bytes"] is None else found["bytes"]

    def look(index: int) -> Header | None:
        try:
            with strict_pillow(config.max_pixels):
                return read_header(file(index), max_pixels=config.max_pixels)
        except UnreadableImage:
            return None

    def read(index: int, size: int, channels: int) -> tuple[Decoded, int]:
        decoded = decode_file(file(index), size=size, channels=channels, max_pixels=config.max_pixels)
        return decoded, -1 if labels is None else int(labels[index])

    return Pictures(count=len(rows), look=look, read=read, labelled=labels is not None)
