import numpy as np
import pytest

from clsp.errors import UserError
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
    np.save(path, RGB / 255)
    assert message(path) == (
        f"--data '{path}' holds float64 images, uint8 is needed: convert them, for instance "
        "(255 * x).round().astype('uint8') where x is in [0, 1]"
    )
    np.save(path, RGB[0])
    assert "shape [8, 8, 3], which is one image, or channels without images" in message(path)
    np.save(path, np.zeros((5, 3, 3, 3), np.uint8))
    assert "could be read in two ways" in message(path)
    np.save(path, np.zeros((5, 8, 8, 7), np.uint8))
    assert "has no axis of 1 or 3 channels" in message(path)
    np.save(path, np.zeros((5, 8), np.uint8))
    assert "shape [5, 8], which holds no images" in message(path)
    np.save(path, GRAY[:1])
    assert "1 images, at least two are needed" in message(path)
    np.save(path, np.array([{}, {}], object), allow_pickle=True)
    assert "it holds Python objects (a pickle)" in message(path)
    for junk in (b"", b"junk", b"\x93NUMPY\x01\x00"):
        path.write_bytes(junk)
        assert "cannot be read" in message(path)
        (tmp_path / "j.npz").write_bytes(junk)
        assert "cannot be read" in message(tmp_path / "j.npz")


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
