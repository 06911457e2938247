"""The built-in sources that torchvision reads: one line each. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """How torchvision names a data set and its parts."""

    cls: str
    """The class in ``torchvision.datasets``."""
    train: tuple[Mapping[str, Any], ...]
    """Arguments that select the train part; several are joined in this order."""
    test: tuple[Mapping[str, Any], ...] = ()
    """Likewise; empty where the data set has no official test part."""


def _flag(**fixed: Any) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Parts selected by ``train=True`` and ``train=False``."""
    return {"train": ({**fixed, "train": True},), "test": ({**fixed, "train": False},)}


def _split(*train: str, test: str = "test", **fixed: Any) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Parts selected by ``split=NAME``."""
    return {"train": tuple({**fixed, "split": name} for name in train), "test": ({**fixed, "split": test},)}


TORCHVISION: dict[str, Entry] = {
    "fashion-mnist": Entry("FashionMNIST", **_flag()),
    "mnist": Entry("MNIST", **_flag()),
    "kmnist": Entry("KMNIST", **_flag()),
    "emnist": Entry("EMNIST", **_flag(split="balanced")),
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

BUILTIN_NAMES: tuple[str, ...] = ("digits", *TORCHVISION)
"""Every built-in SOURCE."""
