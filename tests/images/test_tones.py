"""One scale and one ground for a whole set."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.decode import decode_file
from clsp.images.sources import open_images
from clsp.images.tones import Span, Tones, common_range, to_bytes

RNG = np.random.default_rng(0)


def opened(folder, **config):
    return open_images(str(folder), ImagesConfig(**config))


def span(low, high, kind="integer", top=None):
    return Span(kind=kind, low=low, high=high, mean=(low + high) / 2, top=top)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([span(0, 200)], (0, 255)),
        ([span(3, 700), span(0, 1000)], (0, 1023)),
        ([span(0, 1000), span(0, 1024)], (0, 4095)),
        ([span(100, 16000)], (0, 16383)),
        ([span(0, 16384)], (0, 65535)),
        ([span(0, 900, top=4095.0)], (0, 4095)),  # the file says that it has 12 bits
        ([span(29000, 30000), span(29500, 31000)], (29000, 31000)),  # a thermal camera
        ([span(-1000, 3000)], (-1000, 3000)),  # Hounsfield units
        ([span(0, 3)], (0, 3)),  # a map of four values
        ([span(0, 10**6)], (0, 10**6)),
        ([span(0.0, 0.9, "float"), span(0.2, 0.5, "float")], (0, 1)),
        ([span(0.0, 250.0, "float")], (0, 255)),
        ([span(0.0, 1.3, "float")], (0, 1.3)),
        ([span(-1.0, 1.0, "float")], (-1, 1)),
    ],
)
def test_the_range_of_a_set(spans, expected):
    assert common_range(spans) == expected


def test_values_are_rounded_not_cut():
    values = np.arange(4096, dtype=np.uint16)
    expected = np.round(values.astype(float) * 255 / 4095)
    np.testing.assert_array_equal(to_bytes(values, (0, 4095), []), expected)
    assert (expected != np.floor(values.astype(float) * 255 / 4095)).any()  # the two can be told apart
    np.testing.assert_array_equal(to_bytes(np.float32([0.0, 0.5, 0.998, 1.0]), (0, 1), []), [0, 128, 254, 255])
    done = []
    np.testing.assert_array_equal(to_bytes(np.int32([-5, 0, 9000]), (0, 4095), done), [0, 0, 255])
    assert done == ["values outside the scale clipped"]


@pytest.mark.parametrize(("bits", "suffix"), [(10, "png"), (12, "tif"), (14, "png")])
def test_a_dim_image_stays_darker_than_a_bright_one(tmp_path, bits, suffix):
    bright = RNG.integers(0, 2**bits, (8, 8)).astype(np.uint16)
    bright[0, 0] = 2**bits - 1
    for name, values in (("a", bright), ("b", bright // 4)):
        Image.fromarray(values).save(tmp_path / f"{name}.{suffix}")
    images = opened(tmp_path)
    for row, values in enumerate((bright, bright // 4)):
        np.testing.assert_array_equal(images.train.images[row, 0], np.round(values / (2.0**bits - 1) * 255))
    assert any(f"the range of 0 to {2**bits - 1} ({bits}-bit) becomes 0 to 255" in note for note in images.notes)
    np.testing.assert_array_equal(
        opened(tmp_path, range=[0, 65535]).train.images[0, 0], np.round(bright / 65535.0 * 255)
    )


def test_dark_sets_are_called_dark(tmp_path):
    for name in "ab":
        values = np.zeros((8, 8), np.uint16)
        values[0, 0] = 65535  # a hot pixel
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    assert any("the images are dark (mean 4 of 255)" in note for note in opened(tmp_path).notes)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_16_bit_colour_keeps_its_bits(tmp_path, count):
    values = RNG.integers(0, 4096, (8, 8, count)).astype(np.uint16)
    values[..., -1] = 65535 if count in (2, 4) else values[..., -1]
    values[0, 0, 0] = 4095
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(values))
    found = opened(tmp_path).train.images[0]
    colours = values[..., : 1 if count == 2 else 3]
    np.testing.assert_array_equal(found, np.round(colours / 4095 * 255).transpose(2, 0, 1))


def test_16_bit_colour_tiff_and_floats_with_holes(tmp_path):
    colour = RNG.integers(0, 1024, (8, 8, 3)).astype(np.uint16)
    colour[0, 0, 0] = 1023
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", colour, photometric="rgb", compression="deflate", predictor=True)
    found = opened(tmp_path).train.images
    np.testing.assert_array_equal(found[0], np.round(colour / 1023 * 255).transpose(2, 0, 1))
    np.testing.assert_array_equal(found[0], found[1])
    folder = tmp_path / "floats"
    folder.mkdir()
    values = RNG.random((8, 8)).astype(np.float32) * 1.6
    holes = values.copy()
    holes[0, 0], holes[0, 1] = np.nan, np.inf
    tifffile.imwrite(folder / "a.tif", values)
    tifffile.imwrite(folder / "b.tif", holes.astype(np.float64))
    nodata = np.where(values < 0.2, -9999, values).astype(np.float32)
    tifffile.imwrite(folder / "c.tif", nodata, extratags=[(42113, "s", 0, "-9999", True)])
    images = opened(folder)
    low, high = values.min(), values.max()
    np.testing.assert_array_equal(images.train.images[0, 0], to_bytes(values, (low, high), []))
    assert images.train.images[1, 0, 0, :2].tolist() == [0, 255]
    assert "missing pixels (nodata) set to the lowest value: 1 images" in images.notes
    assert any(note.startswith("one scale for all files of floats") for note in images.notes)


def drawing(path, ink, mask):
    Image.fromarray(np.dstack([np.full((*mask.shape, 3), ink, np.uint8), (mask * 255).astype(np.uint8)])).save(path)


@pytest.mark.parametrize(
    ("inks", "ground"), [((255, 255), "black"), ((0, 0), None), ((255, 0), "gray"), ((90, 200), None)]
)
def test_the_ground_is_one_on_which_drawings_are_seen(tmp_path, inks, ground):
    for number, ink in enumerate(inks * 4):
        drawing(tmp_path / f"{number}.png", ink, RNG.integers(0, 2, (8, 8)))
    images = opened(tmp_path)
    said = [note for note in images.notes if "--images.background" in note]
    assert (ground is None and not said) or f"laid on {ground}" in said[0]
    assert not any("blank" in note for note in images.notes)
    assert images.train.images.std(axis=(1, 2, 3)).min() > 20
    white = opened(tmp_path, background="white")
    assert any("blank): " in note for note in white.notes) == (255 in inks)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4"])
@pytest.mark.parametrize("count", [1, 2])
def test_where_white_is_zero_small_is_bright(tmp_path, dtype, count):
    values = RNG.integers(0, 256, (8, 8, count)).astype(dtype)
    values[0, 0], values[0, 1] = 0, 255
    for name in "ab":
        tifffile.imwrite(
            tmp_path / f"{name}.tif", values[..., 0] if count == 1 else values, photometric="miniswhite",
            planarconfig=None if count == 1 else "contig",
        )  # fmt: skip
    found = opened(tmp_path).train.images[0].astype(int)
    assert found[:, 0, 0].min() > found[:, 0, 1].max()
    order = np.argsort(values[..., 0].ravel(), kind="stable")
    assert (np.diff(found[0].ravel()[order]) <= 0).all()
    if dtype in ("i2", "f4"):
        np.testing.assert_array_equal(found, 255 - values.transpose(2, 0, 1).astype(int))


def test_missing_pixels_are_dark_also_where_white_is_zero(tmp_path):
    values = RNG.integers(10, 256, (8, 8)).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, 255
    for name in "ab":
        tags = [(42113, "s", 0, "0", True)]
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="miniswhite", extratags=tags)
    found = opened(tmp_path).train.images[0, 0]
    assert found[0, 0] == found[0, 1] == found.min()


def keyed(path, values, key):
    """A 16-bit PNG of which one value, or colour, is transparent."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 0 if values.ndim == 2 else 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"tRNS", np.array(key, ">u2").tobytes()) + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))


@pytest.mark.parametrize("kind", ["tif", "png", "gray key", "colour key"])
def test_transparent_images_of_16_bits_choose_the_ground_too(tmp_path, kind):
    for number in range(4):
        seen = RNG.integers(0, 2, (8, 8)).astype(bool)
        seen[0, :2] = True, False
        gray = np.where(seen, 65535, 7).astype(np.uint16)
        whole = np.dstack([seen * 65535] * 4).astype(np.uint16)
        if kind == "tif":
            tifffile.imwrite(tmp_path / f"{number}.tif", whole, photometric="rgb", extrasamples=["unassalpha"])
        elif kind == "png":
            (tmp_path / f"{number}.png").write_bytes(imagecodecs.png_encode(whole))
        elif kind == "gray key":
            keyed(tmp_path / f"{number}.png", gray, [7])
        else:
            keyed(tmp_path / f"{number}.png", np.dstack([gray] * 3), [7, 7, 7])
    images = opened(tmp_path)
    assert any("transparent images are laid on black" in note for note in images.notes)
    assert images.train.images[:, 0, 0, :2].tolist() == [[255, 0]] * 4
    white = opened(tmp_path, background="white")
    assert any("blank" in note for note in white.notes) and white.train.images.min() == 255


def test_dim_drawings_of_16_bits_are_judged_in_the_scale_of_their_set(tmp_path):
    for number in range(3):
        seen = RNG.integers(0, 2, (8, 8))
        seen[0, :2] = 1, 0
        dim = np.dstack([np.full((8, 8, 3), 300), seen * 65535]).astype(np.uint16)
        (tmp_path / f"{number}.png").write_bytes(imagecodecs.png_encode(dim))
    Image.fromarray(np.array([[0, 65535] * 4] * 8, np.uint16)).save(tmp_path / "bright.png")
    images = opened(tmp_path)  # nearly black in it, so that white is a ground
    assert not any("laid on" in note for note in images.notes)
    assert images.train.images[0, 0, 0].min() < 5


def test_a_ground_that_was_used_is_stated_for_others(tmp_path):
    for name, ink in (("dark", 0), ("light", 255)):
        (tmp_path / name).mkdir()
        for number in range(4):
            drawing(tmp_path / name / f"{number}.png", ink, RNG.integers(0, 2, (8, 8)))
    images = opened(tmp_path / "dark")
    assert images.tones.settings() == {"background": "white"}
    assert Tones.of(images.tones.record()) == images.tones
    assert opened(tmp_path / "light", **images.tones.settings()).train.images.min() == 255
    assert opened(tmp_path / "light").train.images.min() == 0
    old = Tones.of({"ranges": {}, "ground": "white"})  # a folder from before this was recorded
    assert old.settings() == {} and old.record() == {"ranges": {}, "ground": "white"}


def test_files_of_one_value_state_no_range_for_others(tmp_path):
    for number in range(3):
        Image.new("L", (8, 8), 50 * number).save(tmp_path / f"{number}.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    images = opened(tmp_path)
    assert images.train.images[:, 0, 0, 0].tolist() == [0, 50, 100, 0]
    assert images.tones.settings() == {}
    np.testing.assert_array_equal(opened(tmp_path, **images.tones.settings()).train.images, images.train.images)


def test_wrong_settings_are_refused():
    for wrong in ({"range": [5, 5]}, {"range": [1]}, {"background": "red"}):
        with pytest.raises(ValueError):  # pydantic's; the command line makes a line of it
            ImagesConfig(**wrong)


def test_blank_images_are_counted(tmp_path):
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    assert "one colour throughout (blank): 3 images" in opened(tmp_path).notes


def test_a_file_by_its_content_is_a_set_of_one():
    stream = io.BytesIO()
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(stream, "PNG")
    assert decode_file(stream.getvalue()).pixels.tolist() == [[[0, 255]]]


def test_images_of_several_numbers_of_channels(tmp_path):
    for number in range(4):
        five = RNG.integers(0, 255, (8, 8, 5), np.uint8)
        tifffile.imwrite(tmp_path / f"{number}.tif", five, photometric="minisblack", planarconfig="contig")
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 9, 0)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"several numbers of channels \(3 with 3, 4 with 5\): choose one"):
        opened(tmp_path)
    assert opened(tmp_path, channels=3).train.images.shape == (7, 3, 8, 8)
    five = opened(tmp_path, channels=5)
    assert five.train.images.shape == (4, 5, 8, 8)
    assert {entry.reason for entry in five.excluded} == {"3 channels where 5 are wanted"}
