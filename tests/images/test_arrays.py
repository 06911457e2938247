import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.images import npz
from clsp.images.config import ImagesConfig
from clsp.images.sources import open_images

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 8, 8), np.uint8)
RGB = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)


def read(path, **config):
    return open_images(str(path), ImagesConfig(**config))


def message(path, **config):
    with pytest.raises(UserError) as error:
        read(path, **config)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GRAY, GRAY[:, None]),
        (GRAY[..., None], GRAY[:, None]),
        (RGB, RGB.transpose(0, 3, 1, 2)),
        (RGB.transpose(0, 3, 1, 2), RGB.transpose(0, 3, 1, 2)),
    ],
)
def test_npy(tmp_path, array, expected):
    path = tmp_path / "im ages é.npy"
    np.save(path, array)
    images = read(path)
    np.testing.assert_array_equal(images.train.images, expected)
    assert images.train.names[5] == "train/00005"
    assert images.train.labels is None


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_npz_with_parts(tmp_path, keys):
    values = (RGB, np.array([[5], [5], [7], [7], [9], [9]]), RGB[:2], np.array([9, 5]))
    np.savez(tmp_path / "a.npz", **dict(zip(keys, values)), val_images=GRAY)
    images = read(tmp_path / "a.npz")
    assert images.classes == ("5", "7", "9")
    assert images.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.test.labels.tolist() == [2, 0]
    assert images.notes == ("arrays that are not used: val_images",)


def test_npz_images_labels_and_single(tmp_path):
    np.savez(tmp_path / "a.npz", images=GRAY, labels=np.array(["x", "y"] * 3))
    assert read(tmp_path / "a.npz").classes == ("x", "y")
    assert read(tmp_path / "a.npz", labels="none").train.labels is None
    np.savez(tmp_path / "b.npz", GRAY)
    assert len(read(tmp_path / "b.npz").train) == 6
    np.savez(tmp_path / "c.npz", images=GRAY, labels=np.zeros((6, 14), int))
    assert read(tmp_path / "c.npz").notes == ("labels are ignored: they are not one class for each image",)


def test_size_channels_limit(tmp_path):
    np.save(tmp_path / "a.npy", RNG.integers(0, 256, (6, 8, 12), np.uint8))
    images = read(tmp_path / "a.npy", channels=3, limit=4)
    assert images.train.images.shape == (4, 3, 8, 8)
    assert any("4 of 6" in note for note in images.notes)
    assert read(tmp_path / "a.npy", size=16).train.images.shape == (6, 1, 16, 16)
    np.save(tmp_path / "b.npy", RGB)
    from PIL import Image

    gray = read(tmp_path / "b.npy", channels=1).train.images[0, 0]
    np.testing.assert_array_equal(gray, np.asarray(Image.fromarray(RGB[0]).convert("L")))


def test_errors(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, RGB * 1j)
    assert message(path) == f"--data '{path}' holds complex128 images: integers, floats and booleans are read"
    np.save(path, RGB[0])
    assert "shape [8, 8, 3], which is one image, or channels without images" in message(path)
    np.save(path, np.zeros((5, 3, 3, 3), np.uint8))
    assert "could be read in two ways" in message(path)
    np.save(path, np.zeros((5, 8, 8, 8), np.uint8))
    assert "could be read in two ways" in message(path)
    np.save(path, np.zeros((5, 40, 40, 17), np.uint8))
    assert "has no axis of 1 to 16 channels" in message(path)
    np.save(path, np.zeros((5, 8), np.uint8))
    assert "shape [5, 8], which holds no images" in message(path)
    np.save(path, np.zeros((5, 0, 8), np.uint8))
    assert "the shorter side of the images is 0 pixels" in message(path)
    assert "the shorter side of the images is 0 pixels" in message(path, size=8)
    np.save(path, np.zeros((5, 2, 5), np.uint8))
    assert "the shorter side of the images is 2 pixels, and a run takes at least 4" in message(path)
    np.save(path, GRAY[:1])
    assert "1 images, at least two are needed" in message(path)
    np.save(path, np.array([{}, {}], object), allow_pickle=True)
    assert "it holds Python objects (a pickle)" in message(path)
    for junk in (b"", b"junk", b"\x93NUMPY\x01\x00"):
        path.write_bytes(junk)
        assert "cannot be read" in message(path)
        (tmp_path / "j.npz").write_bytes(junk)
        assert "cannot be read" in message(tmp_path / "j.npz")


def test_parts_of_different_channels_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=GRAY, x_test=RGB)
    assert "has train images of 1 and test images of 3 channels: save both with one number" in message(path)


def test_npz_errors(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, foo=GRAY, bar=GRAY)
    assert "holds bar, foo: name them x_train, y_train, x_test, y_test or train_images" in message(path)
    np.savez(path, images=GRAY, labels=np.arange(4))
    assert "has 4 labels for 6 train images" in message(path)
    np.savez(path, images=GRAY, labels=np.arange(6) / 2)
    assert "has float64 labels" in message(path)
    np.savez(path, x_train=GRAY, y_train=np.arange(6), x_test=GRAY, y_test=np.arange(6) + 1)
    assert "has the label 6 in the test part but not in the train part" in message(path)


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_bands_in_either_place(tmp_path, count):
    bands = RNG.integers(0, 256, (3, 20, 20, count), np.uint8)
    np.save(tmp_path / "last.npy", bands)
    np.save(tmp_path / "first.npy", bands.transpose(0, 3, 1, 2))
    for name in ("last.npy", "first.npy"):
        np.testing.assert_array_equal(read(tmp_path / name).train.images, bands.transpose(0, 3, 1, 2))
    few = read(tmp_path / "last.npy", channels=1 if count == 2 else 3)
    np.testing.assert_array_equal(few.train.images, bands.transpose(0, 3, 1, 2)[:, : few.channels])
    assert any("dropped: all images" in note for note in few.notes)
    assert read(tmp_path / "last.npy", size=8).train.images.shape == (3, count, 8, 8)
    if count < 16:
        assert f"the images have {count} channels, not 16" in message(tmp_path / "last.npy", channels=16)


def test_other_numbers_have_one_scale_for_all_parts(tmp_path):
    deep = RNG.integers(0, 4096, (6, 8, 8)).astype(np.uint16)
    deep[0, 0, 0] = 4095
    np.savez(tmp_path / "a.npz", x_train=deep, x_test=deep // 8)
    images = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(images.train.images[:, 0], np.round(deep / 4095 * 255))
    np.testing.assert_array_equal(images.test.images[:, 0], np.round(deep // 8 / 4095 * 255))
    assert "the range of 0 to 4095 (12-bit) becomes 0 to 255" in images.notes[0]
    np.save(tmp_path / "b.npy", np.where(deep == 4095, np.nan, deep / 4095.0))
    images = read(tmp_path / "b.npy")
    assert images.train.images[0, 0, 0, 0] == 0
    assert images.train.images.max() > 250
    np.save(tmp_path / "c.npy", deep > 2000)
    np.testing.assert_array_equal(read(tmp_path / "c.npy").train.images[:, 0], 255 * (deep > 2000))
    np.save(tmp_path / "d.npy", np.full((3, 8, 8), np.nan))
    assert "no value that is a finite number" in message(tmp_path / "d.npy")


def test_blank_images_are_counted(tmp_path):
    np.save(tmp_path / "a.npy", np.concatenate([GRAY, np.full((4, 8, 8), 7, np.uint8)]))
    assert read(tmp_path / "a.npy").notes == ("one colour throughout (blank): 4 images",)


def npz_with(path, header, body, **how):
    """An archive whose member ``images`` has a header of its own."""
    with zipfile.ZipFile(path, "w", **how) as archive, archive.open("images.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for piece in body:
            member.write(piece)


def test_sizes_are_checked_before_memory_is_asked_for(tmp_path):
    path = tmp_path / "a.npz"
    header = {"descr": "|u1", "fortran_order": False, "shape": (3_000_000, 64, 64)}
    npz_with(path, header, [b"few"])
    tracemalloc.start()
    assert "'images.npy' declares 12,288,000,000 bytes and holds 3" in message(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    np.save(tmp_path / "b.npy", GRAY)
    data = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(data.replace(b"(6, 8, 8)", b"(6,-8,-8)"))
    assert "it declares the shape [6, -8, -8]" in message(tmp_path / "b.npy")
    (tmp_path / "b.npy").write_bytes(data.replace(b"(6, 8, 8)", b"(9, 8, 8)"))
    assert "it declares 576 bytes and holds 384" in message(tmp_path / "b.npy")


def test_a_bomb_is_refused_and_lack_of_memory_too(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.zeros((400, 64, 64), np.uint8))
    monkeypatch.setattr(npz, "_LARGE", 1_000_000)
    assert "'images.npy' unpacks 0 MB to 0 GB, as no images do" in message(path)
    monkeypatch.setattr(npz, "free_memory", lambda: 1000)
    np.savez_compressed(path, images=RNG.integers(0, 256, (400, 8, 8), np.uint8))
    assert "needs 0.0 GB of memory" in message(path)
    np.savez(path, images=RNG.integers(0, 256, (400, 8, 8), np.uint8))  # read from the disk
    images = read(path).train.images
    assert isinstance(images, np.memmap) or isinstance(images.base, np.memmap)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_in_an_archive_is_found(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, images=np.asfortranarray(GRAY), raw=GRAY[:1])
    np.testing.assert_array_equal(read(path).train.images[:, 0], GRAY)
    data = bytearray(path.read_bytes())
    data[250] ^= 4
    path.write_bytes(data)
    assert "cannot be read" in message(path)


def test_unpacked_images_are_not_copied_again(tmp_path):
    path = tmp_path / "a.npz"
    images = RNG.integers(0, 256, (3000, 32, 32, 3), np.uint8)
    np.savez_compressed(path, images=images)
    read(path)  # what is imported for the first time
    tracemalloc.start()
    found = read(path).train.images
    assert tracemalloc.get_traced_memory()[1] < 1.7 * images.nbytes
    pixels = Pixels(found).to(torch.device("cpu"))
    assert tracemalloc.get_traced_memory()[1] < 1.7 * images.nbytes
    tracemalloc.stop()
    np.testing.assert_array_equal(found, images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(pixels[torch.tensor([5])], found[[5]])
    assert np.shares_memory(pixels._resident.numpy(), found)
