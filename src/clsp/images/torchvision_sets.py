"""torchvision's classification sets: found or downloaded, then read like any other images."""

from __future__ import annotations

import contextlib
import os
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from clsp.errors import UserError
from clsp.images.catalogue import TORCHVISION, TRANSPOSED, UNSORTED
from clsp.images.config import ImagesConfig
from clsp.images.decode import Decoded, Header, UnreadableImage, convert
from clsp.images.geometry import row_names, sized
from clsp.images.imageset import Images, Split
from clsp.images.pictures import Pictures, open_pictures

_DEBIAN = {"fashion-mnist": "; on Debian and Ubuntu: sudo apt install dataset-fashion-mnist"}
"""What else brings a set."""


def datasets_root() -> Path:
    """Where torchvision's files are kept: ``$CLSP_DATASETS``, else ``~/.cache/clsp/datasets``."""
    chosen = os.environ.get("CLSP_DATASETS")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "clsp" / "datasets"


def open_torchvision(name: str, config: ImagesConfig, *, seed: int = 0, store: Path | None = None) -> Images:
    """Open a set of the catalogue; see `clsp.images.builtin.open_builtin`."""
    entry = TORCHVISION[name]
    parts = {
        part: [load_torchvision(name, arguments) for arguments in wanted]
        for part, wanted in (("train", entry.train), ("test", entry.test))
        if wanted
    }
    first = parts["train"][0]
    classes = _class_names(first)
    notes = [f"read by torchvision.datasets.{entry.cls} from {datasets_root()}"]
    if name == "stl10":
        notes.append("the train part is the 5,000 labelled images followed by the 100,000 unlabelled ones (label -1)")
    if _array(first) is not None:
        splits = [_array_split(part, sets[0], transposed=name in TRANSPOSED) for part, sets in parts.items()]
        return sized(name, splits, classes or _numbered(splits[0].labels), config, *notes)
    lengths = {part: [len(dataset) for dataset in sets] for part, sets in parts.items()}
    images = open_pictures(
        name,
        {part: _pictures(sets) for part, sets in parts.items()},
        config,
        identity=[name, str(datasets_root()), lengths],
        classes=classes,
        notes=notes,
        seed=seed,
        store=store,
    )
    return images if images.classes else replace(images, classes=_numbered(images.train.labels))


def load_torchvision(name: str, arguments: Mapping[str, Any]) -> Any:
    """Make one torchvision data set: from the files that are there, else by download.

    Args:
        name: a key of `clsp.images.catalogue.TORCHVISION`.
        arguments: what selects the part.

    Raises:
        UserError: neither works; says where the files were looked for and what to do.
    """
    root = datasets_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            return _make(name, arguments, download=False)
        except (RuntimeError, OSError, ValueError):
            return _make(name, arguments, download=True)
    except (RuntimeError, OSError, ValueError, ImportError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--data {name}: not found in {root}, and the download failed ({reason}): copy the files that "
            f"torchvision.datasets.{TORCHVISION[name].cls} expects to {root}, "
            f"or set CLSP_DATASETS to the folder that has them{_DEBIAN.get(name, '')}"
        ) from error


def is_there(name: str) -> bool:
    """Whether all files of a set of the catalogue are on the disk; nothing is downloaded."""
    entry = TORCHVISION[name]
    if not datasets_root().is_dir():
        return False
    try:
        for arguments in (*entry.train, *entry.test):
            _make(name, arguments, download=False)
    except (RuntimeError, OSError, ValueError, ImportError, EOFError):
        return False
    return True


def _make(name: str, arguments: Mapping[str, Any], *, download: bool) -> Any:
    import torchvision.datasets

    cls = getattr(torchvision.datasets, TORCHVISION[name].cls)
    with contextlib.redirect_stdout(sys.stderr):  # torchvision prints; standard output is for results
        dataset = cls(datasets_root(), **arguments, download=download)
    if name in UNSORTED:
        pairs = sorted(zip(dataset._image_files, dataset._labels))
        dataset._image_files, dataset._labels = [path for path, _ in pairs], [label for _, label in pairs]
    return dataset


def _array(dataset: Any) -> np.ndarray | None:
    """The pixels as uint8 [N, C, H, W] where the data set holds them all in one array, else None."""
    data = getattr(dataset, "data", None)
    if data is None or not (hasattr(dataset, "targets") or hasattr(dataset, "labels")):
        return None
    pixels = np.asarray(data)
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        return None
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels if pixels.shape[1] == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _array_split(part: str, dataset: Any, *, transposed: bool) -> Split:
    images = _array(dataset)
    assert images is not None
    if transposed:
        images = np.ascontiguousarray(images.swapaxes(2, 3))
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return Split(images=images, names=row_names(part, range(len(images))), labels=np.asarray(labels).astype(np.int64))


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    return names and tuple(str(name[0] if isinstance(name, tuple) else name) for name in names)


def _numbered(labels: np.ndarray | None) -> tuple[str, ...] | None:
    return None if labels is None else tuple(str(index) for index in range(int(labels.max()) + 1))


def _item(sets: Sequence[Any], index: int) -> tuple[Any, int]:
    """Image and label of row ``index`` of the joined sets."""
    ends = list(accumulate(len(dataset) for dataset in sets))
    which = bisect_right(ends, index)
    image, label = sets[which][index - (ends[which - 1] if which else 0)]
    return image, int(label)


def _pictures(sets: Sequence[Any]) -> Pictures:
    """The joined sets as pictures."""

    def look(index: int) -> Header | None:
        try:
            image, _ = _item(sets, index)
        except (OSError, ValueError, SyntaxError):
            return None
        return Header(side=min(image.size), gray=image.mode in ("1", "L"))

    def read(index: int, size: int, channels: int) -> tuple[Decoded, int]:
        try:
            image, label = _item(sets, index)
            return convert(image, size=size, channels=channels), label
        except (OSError, ValueError, SyntaxError) as error:
            raise UnreadableImage(f"cannot be read: {error}") from error

    return Pictures(count=sum(len(dataset) for dataset in sets), look=look, read=read)
