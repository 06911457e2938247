"""Every classification set by name: the files that torchvision expects become images, labels and parts."""

from __future__ import annotations

import contextlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from torchvision_layouts import WRITERS, in_folders, shade

from clsp.images import builtin, torchvision_sets
from clsp.images.catalogue import BUILTIN_NAMES, PACKAGED, SHAPES, TORCHVISION
from clsp.images.config import ImagesConfig
from clsp.images.sources import open_images


@pytest.fixture
def root(monkeypatch, tmp_path):
    """An empty place for data sets; checksums are not asked for, and nothing is downloaded."""
    from torchvision.datasets import cifar, flowers102, stl10, svhn

    for module in (cifar, flowers102, stl10, svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())
    make = torchvision_sets._make

    def local(name, arguments, *, download):
        assert not download, f"{name} {arguments} was not found"
        return make(name, arguments, download=False)

    monkeypatch.setattr(torchvision_sets, "_make", local)
    monkeypatch.setattr(builtin, "FASHION_MNIST", tmp_path / "no Debian package")
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))
    file = contextlib.contextmanager(lambda path: (yield np.load(path)))
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=file))  # an optional package; its role is small
    return tmp_path


def shades(split):
    """The shades in the middle of the images, which say what they are."""
    middle = split.images.shape[2] // 2
    return split.images[:, 0, middle, middle].astype(int)


def check_part(split, labels, shape):
    assert split.images.shape == (len(labels), *shape)
    assert split.images.dtype == np.uint8
    assert split.labels.tolist() == labels
    assert len(split.names) == len(set(split.names)) == len(labels)


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_read_from_its_layout(name, root):
    assert not builtin.is_there(name)
    expected = WRITERS[name](root)
    assert builtin.is_there(name)
    images = open_images(name, ImagesConfig())
    check_part(images.train, expected.train, expected.shape)
    assert (images.test is None) == (expected.test is None)
    known = [7 if label < 0 else shade(label, place) for place, label in enumerate(expected.train)]
    assert np.abs(shades(images.train) - known).max() <= 2
    if expected.test is not None:
        check_part(images.test, expected.test, expected.shape)
        assert np.abs(shades(images.test) - [shade(x, i) for i, x in enumerate(expected.test)]).max() <= 2
    assert len(images.classes) == expected.classes
    assert images.classes[0] == expected.first
    assert not images.excluded


def test_no_set_of_the_catalogue_lacks_a_layout_or_a_shape():
    assert set(WRITERS) == set(TORCHVISION) == set(BUILTIN_NAMES) - {"digits", *PACKAGED}
    assert set(SHAPES) == {*TORCHVISION, *PACKAGED, "imagenet100"}


def test_emnist_is_turned_upright(root):
    WRITERS["emnist"](root)
    image = open_images("emnist", ImagesConfig()).train.images[0, 0]
    assert image[0, 27] == 255
    assert image[27, 0] != 255


def test_imagenet_is_a_folder(tmp_path):
    """ImageNet and ImageNet-100 have no name of their own: train/CLASS and val/CLASS, as they are unpacked."""
    names = ("n01440764", "n01443537", "n02077923")
    expected = in_folders("{folder}/{name}/{number}.JPEG", names, {"train": "train", "val": "test"})(tmp_path)
    images = open_images(str(tmp_path), ImagesConfig())
    check_part(images.train, expected.train, expected.shape)
    check_part(images.test, expected.test, expected.shape)
    assert images.classes == names
