"""Which folders hold the train part, the validation part and the test part: by their names, in any case."""

from __future__ import annotations

import re
from collections.abc import Collection

PARTS = {
    "train": ("train", "training", "trn", "tr"),
    "test": ("test", "testing", "tst", "ts"),
    "val": ("val", "valid", "validation", "dev", "eval"),
}
"""Names of a part; of those that could serve as the test part the first one does."""

_WORDS = ("images", "image", "imgs", "img", "pictures", "photos", "pics", "dataset", "data", "set", "split", "part")
"""What may stand before or behind such a name, as in ``training_set``, ``imagesTr`` and ``Test Images``."""

_ANNOTATIONS = re.compile(
    r"(seg(mentation)?[ _-]?)?(masks?|labels?|annot(ation)?s?|gt|ground[ _-]?truths?|segmentations?|depth|instances)"
)


def part_of(folder: str) -> str | None:
    """Return ``train``, ``test`` or ``val`` where the folder is named like one, as ``Training``, ``train2017``."""
    words = re.sub(r"[\W\d_]+", " ", folder.casefold()).split()
    plain = [word for word in words if word not in _WORDS]
    if len(plain) != 1:
        return None
    for word in (plain[0], *_stripped(plain[0])):
        for part, names in PARTS.items():
            if word in names:
                return part
    return None


def _stripped(word: str) -> list[str]:
    """The word without what stands before or behind it: ``trainingset``, ``imagestr``."""
    return [
        *(word.removesuffix(other) for other in _WORDS if word.endswith(other)),
        *(word.removeprefix(other) for other in _WORDS if word.startswith(other)),
    ]


def holds_images(folder: str) -> bool:
    """Whether a folder's name says no more than that images lie in it: ``images``, ``img``, ``JPEGImages``."""
    words = re.sub(r"[\W\d_]+", " ", folder.casefold()).split()
    return bool(words) and all(word in (*_WORDS, "jpegimages", "jpegs", "raw") for word in words)


def is_annotation(folder: str) -> bool:
    """Whether a folder's name says that what lies in it belongs to other images: masks, drawn labels, depth."""
    return _ANNOTATIONS.fullmatch(folder.casefold()) is not None


def drawn_beside(names: Collection[str], depth: int) -> set[str]:
    """Names in folders of masks and the like that have a folder of images, or a part, beside them.

    Args:
        names: relative POSIX paths.
        depth: folders above the first level that is looked at.
    """
    folders = {name.rpartition("/")[0] for name in names}
    inside: dict[str, set[str]] = {}
    for folder in folders:
        steps = folder.split("/")
        for above in range(depth, len(steps)):
            inside.setdefault("/".join(steps[:above]), set()).add(steps[above])
    drawn = {
        f"{place}/{name}"
        for place, beside in inside.items()
        if any(not is_annotation(name) and (holds_images(name) or part_of(name)) for name in beside)
        for name in beside
        if is_annotation(name)
    }
    lost = {folder for folder in folders if _above(folder) & drawn}
    return {name for name in names if name.rpartition("/")[0] in lost} if lost else set()


def _above(folder: str) -> set[str]:
    """A folder and all that it lies in."""
    steps = folder.split("/")
    return {"/".join(steps[:count]) for count in range(1, len(steps) + 1)}


def is_parted(folders: Collection[str], in_classes: bool) -> bool:
    """Whether folders side by side are parts, of which one is the train part.

    A class may be called ``train``: beside ``car`` and ``plane``, without a test part, and with no folders in it.

    Args:
        folders: the folders' names.
        in_classes: whether the train folder holds folders.
    """
    found = {part_of(name) for name in folders}
    others = [name for name in folders if part_of(name) is None and not is_annotation(name)]
    return "train" in found and ("test" in found or "val" in found or in_classes or len(others) < 2)
