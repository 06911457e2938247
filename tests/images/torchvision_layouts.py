"""torchvision's classification sets in the small: a few tiny files each, in the layout that its real class expects.

An image's shade says which one it is: 10 * (its label) + (its place in the part), so that a wrong label shows.
"""

from __future__ import annotations

import bz2
import json
import pickle
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.io import savemat

TRAIN, TEST = [0, 1, 2, 0, 1, 2], [2, 1, 0]
"""Labels of the two parts, unless a set's layout asks for others."""


@dataclass
class Expected:
    """What a set written here must become."""

    train: list[int]
    test: list[int] | None
    shape: tuple[int, int, int]
    classes: int
    first: str
    """Name of the first class."""


def shade(label, place):
    return 10 * (label % 20) + place


def arrays(labels, shape):
    """uint8 [N, *shape], each image of one shade."""
    return np.stack([np.full(shape, shade(label, place), np.uint8) for place, label in enumerate(labels)])


def picture(path, label, place, size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade(label, place),) * 3).save(path, **({"quality": 100} if path.suffix != ".ppm" else {}))


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def idx(path, values):
    """A file of MNIST's format: unsigned bytes and their shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, values.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def mnist_like(folder, train_stem="train", test_stem="t10k", first="0 - zero", classes=10, swapped=False):
    def write(root):
        for stem, labels in ((train_stem, TRAIN), (test_stem, TEST)):
            pixels = arrays(labels, (28, 28))
            pixels[:, 0, 27] = 255  # the corner at the upper right
            pixels = pixels.swapaxes(1, 2) if swapped else pixels
            idx(root / folder / "raw" / f"{stem}-images-idx3-ubyte", pixels)
            idx(root / folder / "raw" / f"{stem}-labels-idx1-ubyte", np.array(labels))
        return Expected(TRAIN, TEST, (1, 28, 28), classes, first)

    return write


def usps(root):
    for name, labels in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        lines = []
        for place, label in enumerate(labels):
            value = (shade(label, place) + 0.5) / 127.5 - 1.0
            lines.append(f"{label + 1} " + " ".join(f"{pixel + 1}:{value:.6f}" for pixel in range(256)))
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    return Expected(TRAIN, TEST, (1, 16, 16), 3, "0")


def cifar(root, folder, batches, test, meta, key, label_key):
    """CIFAR's pickles; the train images are spread over the batches."""
    (root / folder).mkdir()
    pixels = arrays(TRAIN, (3 * 32 * 32,))
    for batch, rows in zip(batches, np.array_split(np.arange(len(TRAIN)), len(batches))):
        entry = {"data": pixels[rows], label_key: [TRAIN[row] for row in rows]}
        (root / folder / batch).write_bytes(pickle.dumps(entry))
    (root / folder / test).write_bytes(pickle.dumps({"data": arrays(TEST, (3 * 32 * 32,)), label_key: TEST}))
    (root / folder / meta).write_bytes(pickle.dumps({key: ["apple", "bear", "clock"]}))
    return Expected(TRAIN, TEST, (3, 32, 32), 3, "apple")


def cifar10(root):
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return cifar(root, "cifar-10-batches-py", batches, "test_batch", "batches.meta", "label_names", "labels")


def cifar100(root):
    return cifar(root, "cifar-100-python", ["train"], "test", "meta", "fine_label_names", "fine_labels")


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir()
    for part, labels in (("train", TRAIN[:4]), ("test", TEST)):
        arrays(labels, (3, 96, 96)).tofile(folder / f"{part}_X.bin")
        (np.array(labels, np.uint8) + 1).tofile(folder / f"{part}_y.bin")
    np.full((2, 3, 96, 96), 7, np.uint8).tofile(folder / "unlabeled_X.bin")
    text(folder / "class_names.txt", ["airplane", "bird", "car"])
    return Expected([*TRAIN[:4], -1, -1], TEST, (3, 96, 96), 3, "airplane")


def svhn(root):
    for part, labels in (("train", TRAIN), ("test", TEST)):
        digits = np.array([label or 10 for label in labels], np.uint8)[:, None]  # the digit 0 is written 10
        savemat(root / f"{part}_32x32.mat", {"X": arrays(labels, (32, 32, 3)).transpose(1, 2, 3, 0), "y": digits})
    return Expected(TRAIN, TEST, (3, 32, 32), 3, "0")


def caltech101(root):
    for label, name in enumerate(("Faces", "airplanes")):
        for place in range(2):
            path = root / "caltech101/101_ObjectCategories" / name / f"image_{place + 1:04d}.jpg"
            picture(path, label, 2 * label + place)
    picture(root / "caltech101/101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", 9, 9)
    return Expected([0, 0, 1, 1], None, (3, 40, 40), 2, "Faces")


def dtd(root):
    names = ("banded", "dotted")
    for part in ("train", "val", "test"):
        text(root / f"dtd/dtd/labels/{part}1.txt", [f"{name}/{name}_{part}.jpg" for name in names])
        for label, name in enumerate(names):
            picture(
                root / f"dtd/dtd/images/{name}/{name}_{part}.jpg",
                label,
                {"train": label, "val": 2 + label}.get(part, label),
            )
    return Expected([0, 1, 0, 1], [0, 1], (3, 40, 40), 2, "banded")


def flowers102(root):
    labels = [0, 101, 5, 0, 101, 5]
    parts = {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6]}
    for number, label in enumerate(labels, 1):
        place = number - 1 if number <= 4 else number - 5
        picture(root / f"flowers-102/jpg/image_{number:05d}.jpg", label, place)
    savemat(root / "flowers-102/imagelabels.mat", {"labels": np.array(labels, np.uint8) + 1})
    savemat(root / "flowers-102/setid.mat", {name: np.array(ids, np.uint16) for name, ids in parts.items()})
    return Expected(labels[:4], labels[4:], (3, 40, 40), 102, "pink primrose")


def food101(root):
    counts = {"train": 2, "test": 1}
    for part, count in counts.items():
        listed = {name: [f"{name}/{part}{n}" for n in range(count)] for name in ("apple_pie", "waffles")}
        text(root / f"food-101/meta/{part}.json", [json.dumps(listed)])
        for place, (name, n) in enumerate((name, n) for name in listed for n in range(count)):
            picture(root / f"food-101/images/{name}/{part}{n}.jpg", int(name == "waffles"), place)
    return Expected([0, 0, 1, 1], [0, 1], (3, 40, 40), 2, "apple_pie")


def pets(root):
    names = ("Abyssinian", "american_bulldog")
    for part, first in (("trainval", 1), ("test", 100)):
        lines = [f"{name}_{first} {label + 1} {label + 1} 1" for label, name in enumerate(names)]
        text(root / f"oxford-iiit-pet/annotations/{part}.txt", lines)
        for label, name in enumerate(names):
            picture(root / f"oxford-iiit-pet/images/{name}_{first}.jpg", label, label)
    return Expected([0, 1], [0, 1], (3, 40, 40), 2, "Abyssinian")


def aircraft(root):
    data = root / "fgvc-aircraft-2013b/data"
    names = ("707-320", "A300B4", "Boeing 717")
    text(data / "variants.txt", names)
    for part, labels, first in (("trainval", TRAIN, 100), ("test", TEST, 200)):
        lines = [f"{first + place:07d} {names[label]}" for place, label in enumerate(labels)]
        text(data / f"images_variant_{part}.txt", lines)
        for place, label in enumerate(labels):
            picture(data / f"images/{first + place:07d}.jpg", label, place)
    return Expected(TRAIN, TEST, (3, 40, 40), 3, "707-320")


def cars(root):
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    kinds = [("fname", "O"), ("class", "O")]
    annotations = {"train": base / "devkit/cars_train_annos.mat", "test": base / "cars_test_annos_withlabels.mat"}
    for (part, path), labels in zip(annotations.items(), (TRAIN, TEST)):
        rows = np.array([(f"{place:05d}.jpg", np.uint8(label + 1)) for place, label in enumerate(labels)], kinds)
        savemat(path, {"annotations": rows})
        for place, label in enumerate(labels):
            picture(base / f"cars_{part}/{place:05d}.jpg", label, place)
    savemat(base / "devkit/cars_meta.mat", {"class_names": np.array(["AM General", "Acura RL", "Audi S4"], object)})
    return Expected(TRAIN, TEST, (3, 40, 40), 3, "AM General")


def gtsrb(root):
    labels = [0, 0, 1, 1]
    for place, label in enumerate(labels):
        picture(root / f"gtsrb/GTSRB/Training/{label:05d}/{place:05d}.ppm", label, place)
    lines = ["Filename;Width;Height;Roi.X1;ClassId"]
    for place, label in enumerate((1, 0)):
        picture(root / f"gtsrb/GTSRB/Final_Test/Images/{place:05d}.ppm", label, place)
        lines.append(f"{place:05d}.ppm;50;40;5;{label}")
    text(root / "gtsrb/GT-final_test.csv", lines)
    return Expected(labels, [1, 0], (3, 40, 40), 2, "0")


def in_folders(template, names, parts, shape=(3, 40, 40), first=None):
    """Folders of classes; ``parts`` maps a folder of the set to the part it becomes."""

    def write(root):
        labels = {"train": [], "test": []}
        for folder, part in parts.items():
            for label, name in enumerate(names):
                for number in range(2):
                    path = root / template.format(folder=folder, name=name, number=number)
                    picture(path, label, len(labels[part]), (shape[2] + 10, shape[1]))
                    labels[part].append(label)
        return Expected(labels["train"], labels["test"] or None, shape, len(names), first or names[0])

    return write


def sun397(root):
    names = ("a/abbey", "b/bar/indoor")
    text(root / "SUN397/ClassName.txt", [f"/{name}" for name in names])
    for label, name in enumerate(names):
        for number in range(2):
            picture(root / f"SUN397/{name}/sun_{label}{number}.jpg", label, 2 * label + number)
    return Expected([0, 0, 1, 1], None, (3, 40, 40), 2, "abbey")


def pcam(root):
    (root / "pcam").mkdir()
    for part, labels in (("train", [0, 1, 1]), ("test", [1, 0])):
        for kind, key, value in (
            ("x", "x", arrays(labels, (96, 96, 3))),
            ("y", "y", np.array(labels, np.uint8).reshape(-1, 1, 1, 1)),
        ):
            with (root / f"pcam/camelyonpatch_level_2_split_{part}_{kind}.h5").open("wb") as file:
                np.savez(file, **{key: value})
    return Expected([0, 1, 1], [1, 0], (3, 96, 96), 2, "0")


WRITERS = {
    "fashion-mnist": mnist_like("FashionMNIST", first="T-shirt/top"),
    "mnist": mnist_like("MNIST"),
    "kmnist": mnist_like("KMNIST", first="o"),
    "emnist": mnist_like("EMNIST", "emnist-balanced-train", "emnist-balanced-test", "0", 47, swapped=True),
    "usps": usps,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "stl10": stl10,
    "svhn": svhn,
    "caltech101": caltech101,
    "dtd": dtd,
    "flowers102": flowers102,
    "food101": food101,
    "pets": pets,
    "aircraft": aircraft,
    "cars": cars,
    "gtsrb": gtsrb,
    "eurosat": in_folders("eurosat/2750/{name}/{number}.jpg", ("Forest", "River"), {"": "train"}, (3, 64, 64)),
    "country211": in_folders(
        "country211/{folder}/{name}/{number}.jpg", ("AD", "CH"), {"train": "train", "valid": "train", "test": "test"}
    ),
    "sun397": sun397,
    "pcam": pcam,
    "imagenette": in_folders(
        "imagenette2-320/{folder}/{name}/{number}.jpeg", ("n01440764", "n03888257"),
        {"train": "train", "val": "test"}, first="tench",
    ),
}  # fmt: skip
