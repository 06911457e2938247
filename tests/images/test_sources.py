import gzip
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from clsp.errors import UserError
from clsp.images import builtin, pictures
from clsp.images.catalogue import TORCHVISION
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images, Split, channel_statistics
from clsp.images.sources import BUILTIN_NAMES, open_images
from clsp.settings.values import build


def message(source, **config):
    with pytest.raises(UserError) as error:
        open_images(source, build(ImagesConfig, config, "images."))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_import_is_light():
    code = (
        "import sys, clsp.images.sources; "
        "print([m for m in ('torch', 'torchvision', 'PIL', 'sklearn', 'numpy') if m in sys.modules])"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], env=path, text=True).strip() == "[]"


@pytest.mark.parametrize(("count", "looked_at"), [(5, 5), (700, 700), (20_300, 10_150)])
def test_statistics_of_the_channels_are_exact_and_take_no_memory_of_all(count, looked_at):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), np.uint8)
    rows = np.arange(count)
    seen = pixels[:: count // looked_at]
    images = images_of(pixels)
    tracemalloc.start()
    mean, std = channel_statistics(images, rows)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(seen) == looked_at
    assert mean == [round(float(v), 6) for v in seen.mean(axis=(0, 2, 3)) / 255.0]
    assert std == [round(float(v), 6) for v in seen.std(axis=(0, 2, 3)) / 255.0]
    assert most < 2_000_000
    assert channel_statistics(images_of(pixels * 0), rows) == ([0.0] * 3, [1e-3] * 3)


def images_of(pixels):
    return Images(source="made", train=Split(images=pixels, names=[""] * len(pixels)))


def test_digits():
    images = open_images("digits", ImagesConfig())
    assert images.train.images.shape[1:] == (1, 8, 8)
    assert len(images.train) + len(images.test) == 1797
    assert images.train.images.max() == 255
    assert images.classes == tuple("0123456789")
    assert np.bincount(images.test.labels).min() >= 34
    assert not set(images.train.names) & set(images.test.names)
    assert images.train.names[0] == "digits/00000"
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(images.train.images[0, 0], np.round(load_digits().images[0] * 255 / 16))
    assert images.fingerprint == open_images("digits", ImagesConfig()).fingerprint


def test_digits_with_options():
    images = open_images("digits", ImagesConfig(size=16, channels=3, limit=50, labels="none"), seed=1)
    assert images.train.images.shape == (50, 3, 16, 16)
    assert (images.train.images[:, 0] == images.train.images[:, 2]).all()
    assert images.train.labels is None
    assert images.test.labels is None
    assert images.classes is None


@pytest.mark.skipif(not builtin.FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist():
    images = open_images("fashion-mnist", ImagesConfig())
    assert images.train.images.shape == (60000, 1, 28, 28)
    assert len(images.test) == 10000
    assert np.bincount(images.test.labels).tolist() == [1000] * 10
    assert images.classes[9] == "Ankle boot"


def test_idx(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x02\x00\x00\x00\x02\x00\x00\x00\x03abcdef"))
    np.testing.assert_array_equal(builtin.read_idx(path), np.frombuffer(b"abcdef", np.uint8).reshape(2, 3))
    for junk in (b"junk", gzip.compress(b"junk"), gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09abc")):
        path.write_bytes(junk)
        with pytest.raises(UserError, match="cannot be read"):
            builtin.read_idx(path)


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_the_catalogue_names_real_classes_and_arguments(name):
    import inspect

    import torchvision.datasets

    entry = TORCHVISION[name]
    cls = getattr(torchvision.datasets, entry.cls)
    known = set(inspect.signature(cls.__init__).parameters) | set(inspect.signature(cls.__mro__[1].__init__).parameters)
    for arguments in (*entry.train, *entry.test):
        assert set(arguments) <= known


def fake(monkeypatch, name, cls):
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, TORCHVISION[name].cls, cls)


def test_array_sets(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))

    class Cifar:
        classes = ("plane", "car")

        def __init__(self, root, train, download):
            assert root == tmp_path
            count = 6 if train else 2
            self.data = np.full((count, 32, 32, 3), [1, 2, 3], np.uint8)
            self.targets = [index % 2 for index in range(count)]

    fake(monkeypatch, "cifar10", Cifar)
    images = open_images("cifar10", ImagesConfig())
    assert images.train.images.shape == (6, 3, 32, 32)
    assert images.train.images[0, :, 0, 0].tolist() == [1, 2, 3]
    assert images.test.labels.tolist() == [0, 1]
    assert images.classes == ("plane", "car")


def test_stl10_marks_what_has_no_label(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))

    class Stl:
        classes = ("a", "b")

        def __init__(self, root, split, download):
            self.labels = np.array([0, 1, -1, -1] if split == "train+unlabeled" else [1, 0])
            self.data = np.zeros((len(self.labels), 3, 96, 96), np.uint8)

    fake(monkeypatch, "stl10", Stl)
    images = open_images("stl10", ImagesConfig())
    assert images.train.labels.tolist() == [0, 1, -1, -1]
    assert images.test.labels.tolist() == [1, 0]
    assert any("label -1" in note for note in images.notes)


class Pictures:
    """Six pictures of unequal sizes; the fifth is broken."""

    def __init__(self, root, split, download):
        self.offset = {"train": 0, "val": 100, "test": 200}[split]

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 4:
            raise OSError("image file is truncated")
        return Image.new("RGB", (40 + index, 50), (self.offset + index, 0, 0)), index % 3


@pytest.mark.parametrize("sample", [3, 256])  # 256 looks at the broken ones, too
@pytest.mark.parametrize("stored", [False, True])
def test_picture_sets(monkeypatch, tmp_path, stored, sample):
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))
    monkeypatch.setattr(pictures, "_SAMPLE", sample)
    fake(monkeypatch, "dtd", Pictures)
    store = tmp_path / "store" if stored else None
    for _ in range(2):
        images = open_images("dtd", ImagesConfig(), store=store)
        assert images.train.images.shape == (10, 3, 32, 32)
        assert images.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 100, 101, 102, 103, 105]
        assert images.train.labels.tolist() == [0, 1, 2, 0, 2] * 2
        assert images.train.names[5] == "train/00006"
        assert images.classes == ("0", "1", "2")
        assert [entry.name for entry in images.excluded] == ["train/00004", "train/00010", "test/00004"]
        assert len(images.test) == 5
    few = open_images("dtd", ImagesConfig(limit=3), store=store)
    assert len(few.train) <= 3


def test_real_torchvision_layout(monkeypatch, tmp_path):
    """EuroSAT is a plain folder of classes: the real class reads it."""
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))
    for label in ("Forest", "River"):
        for number in range(3):
            path = tmp_path / "eurosat" / "2750" / label / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (number, 200, 0)).save(path)
    images = open_images("eurosat", ImagesConfig())
    assert images.train.images.shape == (6, 3, 64, 64)
    assert images.classes == ("Forest", "River")
    assert images.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.test is None


def test_failed_download(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))

    class Missing:
        def __init__(self, root, train, download):
            raise OSError("no route\nto host") if download else RuntimeError("Dataset not found")

    fake(monkeypatch, "cifar10", Missing)
    assert message("cifar10") == (
        f"--data cifar10: not found in {tmp_path}, and the download failed (no route): copy the files that "
        f"torchvision.datasets.CIFAR10 expects to {tmp_path}, "
        "or set CLSP_DATASETS to the folder that has them"
    )


def test_unknown_sources(tmp_path):
    assert message("cifar-10").startswith("--data 'cifar-10' does not exist; did you mean 'cifar10'?; give a folder")
    assert all(name in message("/no/where") for name in BUILTIN_NAMES)
    path = tmp_path / "x.txt"
    path.write_text("x")
    assert f"--data '{path}' is a file, but neither .npy nor .npz: give a folder of images" in message(str(path))


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("{}/photos ", "; did you mean '{}/photos'?"),
        ("{}/photo", "; did you mean '{}/photos'?"),
        ("{}/Photos", "; did you mean '{}/photos'?"),
        ('"{}/photos"', "; did you mean '{}/photos'?"),
        ("file://{}/photos", "; did you mean '{}/photos'?"),
        ("{}\\photos", "; did you mean '{}/photos'?"),
        ("C:\\photos", " does not exist here (it is a path of Windows); give a folder"),
        ("{}/photos/1.png", "; it is one image: give its folder '{}/photos'"),
        ("{}/all.zip", "; unpack the archive, and give the folder"),
        ("{}/photos.csv", "; give the folder of the images, and --images.labels '{}/photos.csv'"),
        ("{}/zips", "the folder holds no images; it holds 2 .zip; unpack the archives; images are files"),
        ("{}/array", "; give the array itself: --data '{}/array/x.npy'; images are files"),
        ("{}/empty", "the folder holds no images; it holds nothing; images are files"),
    ],
)
def test_what_is_likely_meant(tmp_path, typed, hint):
    for name in ("photos", "zips", "array", "empty"):
        (tmp_path / name).mkdir()
    for name in ("photos/1.png", "all.zip", "zips/a.zip", "zips/b.zip", "array/x.npy", "photos.csv"):
        (tmp_path / name).write_bytes(b"x")
    assert hint.format(tmp_path) in message(typed.format(tmp_path))


def test_bad_options():
    assert message("digits", size=0) == "--images.size 0 must be at least 4"
    assert message("digits", limit=1) == "--images.limit 1 must be at least 2"
    assert message("digits", channels=17) == "--images.channels 17 must be at most 16"
    assert "the images have 1 channel, not 2" in message("digits", channels=2)
    assert message("digits", labels="all") == (
        "--images.labels 'all' is neither auto nor none, and a file of labels is read for a folder of images alone: "
        "digits is none"
    )
