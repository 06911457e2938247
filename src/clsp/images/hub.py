"""``hf:NAME``: an image data set of the Hugging Face hub, or a local folder of one, by the library ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, UnreadableImage, decode_file, read_header
from clsp.images.imageset import Images
from clsp.images.labels import numbered
from clsp.images.pictures import Pictures, open_pictures
from clsp.images.tones import Tones

LABELS = ("label", "labels", "fine_label", "class", "cls")
"""Columns that are taken as the label, the first that is there; else the only column of class names."""

CAPTIONS = ("caption", "captions", "text", "txt", "sentence", "sentences")
"""Columns of text that are taken as the caption, the first that is there; of several captions the first."""

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
    chosen, values = {"train": train}, {"train": _values(train, label)}
    for name in TESTS:
        if name in splits and name != train_name and _complete(found := _values(splits[name], label)):
            chosen["test"], values["test"] = splits[name], found
            break
    labels, classes = _numbered(source, getattr(train.features.get(label), "names", None), values)
    notes = [
        f"read by datasets.load_dataset: splits {', '.join(sorted(splits))}; images from the column '{column}'",
        f"labels from the column '{label}'" if labels else "no labels",
    ]
    caption = _caption_column(train)
    if caption is not None:
        notes.append(f"captions from the column '{caption}'")
    return open_pictures(
        source,
        {part: _pictures(rows, column, labels.get(part), caption, config) for part, rows in chosen.items()},
        config,
        identity=[source, {part: rows._fingerprint for part, rows in chosen.items()}, caption],
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


def _caption_column(rows: Any) -> str | None:
    """The first column of captions: a text, or several of them."""
    import datasets

    def texts(kind: Any) -> bool:
        kind = getattr(kind, "feature", kind)
        return isinstance(kind, datasets.Value) and kind.dtype in ("string", "large_string")

    return next((name for name in CAPTIONS if name in rows.features and texts(rows.features[name])), None)


def _captions(rows: Any, column: str | None) -> dict[str, list[str]]:
    """The captions of a split as a column; empty where it lacks them."""
    if column is None or column not in rows.features:
        return {}
    found = [next(iter(value), None) if isinstance(value, list) else value for value in rows[column][:]]
    return {"caption": [value or "" for value in found]}


def _values(rows: Any, label: str | None) -> list[Any]:
    """What a split has for labels: nothing without a column, None for each row without the column that train has."""
    if label is None:
        return []
    return list(rows[label][:]) if label in rows.features else [None] * len(rows)


def _missing(value: Any) -> bool:
    """Whether a row has no label: the hub's data sets have None or -1 then."""
    return value is None or value == -1


def _complete(values: list[Any]) -> bool:
    return not any(map(_missing, values))


def _numbered(
    source: str, names: Sequence[str] | None, values: dict[str, list[Any]]
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Labels as int64 in [0, classes), -1 where there is none, and the classes' names; nothing where no row has one."""
    there = {part: np.array([not _missing(value) for value in found], bool) for part, found in values.items()}
    if not there["train"].any():
        return {}, None
    known = {part: np.array([value for value in found if not _missing(value)]) for part, found in values.items()}
    if names is not None and (wrong := [n for found in known.values() for n in found if not 0 <= n < len(names)]):
        raise UserError(
            f"--data '{source}' has the label {wrong[0]} but {len(names)} class names: mend the data set, or ignore "
            "labels with --images.labels none"
        )
    numbers, classes = (known, tuple(names)) if names is not None else numbered(source, known)
    labels = {part: np.full(len(found), -1, np.int64) for part, found in values.items()}
    for part, rows in there.items():
        labels[part][rows] = numbers[part]
    return labels, classes


def _pictures(rows: Any, column: str, labels: np.ndarray | None, caption: str | None, config: ImagesConfig) -> Pictures:
    import datasets

    files = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def file(index: int) -> Path | bytes:
        found = files[index][column]
        if found is None or (found["bytes"] is None and found["path"] is None):
            raise UnreadableImage("the row has no image")
        return Path(found["path"]) if found["bytes"] is None else found["bytes"]

    def look(index: int) -> Header | None:
        try:
            return read_header(file(index), max_pixels=config.max_pixels)
        except UnreadableImage:
            return None

    def read(index: int, size: int, channels: int, tones: Tones) -> tuple[Decoded, int]:
        decoded = decode_file(file(index), size=size, channels=channels, max_pixels=config.max_pixels, tones=tones)
        return decoded, -1 if labels is None else int(labels[index])

    columns = _captions(rows, caption)
    return Pictures(count=len(rows), look=look, read=read, labelled=labels is not None, file=file, columns=columns)
