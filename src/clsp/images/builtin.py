"""Built-in sources: scikit-learn's digits, sets of Debian's and PyPI's packages, and torchvision's."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.geometry import row_names, sized
from clsp.images.imageset import Images, Split
from clsp.images.named import blue_marble, openclipart, wesnoth
from clsp.images.torchvision_sets import is_there as _torchvision_is_there
from clsp.images.torchvision_sets import open_torchvision

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts its files."""

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def open_builtin(name: str, config: ImagesConfig, *, seed: int = 0, store: Path | None = None) -> Images:
    """Open a built-in data set.

    Args:
        name: one of `clsp.images.catalogue.BUILTIN_NAMES`.
        config: ``size`` is applied here; ``limit`` too for sets of image files; the rest is up to the caller.
        seed: chooses the images under ``config.limit``.
        store: a folder for decoded pixels, used for sets of image files; None: keep them in memory.

    Raises:
        UserError: the files are not there and cannot be downloaded, or are damaged.
    """
    if name == "digits":
        return open_digits(config)
    if name == "fashion-mnist" and FASHION_MNIST.is_dir():
        return open_fashion_mnist(FASHION_MNIST, config)
    if name == "blue-marble":
        return blue_marble.open_blue_marble(config)
    if name == "openclipart":
        return openclipart.open_openclipart(config, seed=seed, store=store)
    if name == "wesnoth":
        return wesnoth.open_wesnoth(config, seed=seed, store=store)
    return open_torchvision(name, config, seed=seed, store=store)


def is_there(name: str) -> bool:
    """Whether a built-in data set can be opened without a download."""
    packaged = {"blue-marble": blue_marble, "openclipart": openclipart, "wesnoth": wesnoth}
    if name in packaged:
        return packaged[name].is_there()
    return name == "digits" or (name == "fashion-mnist" and FASHION_MNIST.is_dir()) or _torchvision_is_there(name)


def said_of(source: str, names: Sequence[str]) -> list[str]:
    """What a built-in data set's files say of its images, by their names; nothing for the others.

    Raises:
        UserError: the files that say it are not installed.
    """
    return openclipart.said_of(names) if source == "openclipart" else []


def open_digits(config: ImagesConfig) -> Images:
    """Open scikit-learn's 1,797 digits, 8 x 8 gray; every fifth image of each class is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    names = [f"digits/{index:05d}" for index in range(len(images))]
    test = np.zeros(len(images), bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[4::5]] = True
    parts = [
        Split(images=images[rows], names=[names[i] for i in rows], labels=labels[rows])
        for rows in (np.flatnonzero(~test), np.flatnonzero(test))
    ]
    note = "every fifth image of each class is the test part"
    return sized("digits", parts, tuple("0123456789"), config, note)


def open_fashion_mnist(folder: Path, config: ImagesConfig) -> Images:
    """Open Fashion-MNIST (28 x 28 gray, 60,000 + 10,000) from its four ``.gz`` files in ``folder``.

    Raises:
        UserError: a file is missing or damaged.
    """
    parts = []
    for part, stem in (("train", "train"), ("test", "t10k")):
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")[:, None]
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz").astype(np.int64)
        parts.append(Split(images=images, names=row_names(part, range(len(images))), labels=labels))
    return sized("fashion-mnist", parts, FASHION_MNIST_CLASSES, config, f"read from {folder}")


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes (the MNIST format).

    Returns:
        uint8, of the shape in the file.

    Raises:
        UserError: the file is missing, damaged, or holds another type.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        if data[:3] != b"\x00\x00\x08":
            raise ValueError("no IDX file of unsigned bytes")
        rank = data[3]
        shape = np.frombuffer(data, ">u4", count=rank, offset=4).astype(int)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise UserError(f"'{path}' cannot be read ({error}): install dataset-fashion-mnist again") from error
