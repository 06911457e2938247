"""One file of each kind against arrays worked out by hand."""

import numpy as np
import pytest
from PIL import Image, ImageFile

from clsp.images.decode import UnreadableImage, decode_file, read_header, strict_pillow

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture
def saved(tmp_path):
    def save(image, name, **options):
        path = tmp_path / "clsp te st é" / name
        path.parent.mkdir(exist_ok=True)
        image.save(path, **options)
        return path

    return save


def test_gray_stays_gray(saved):
    path = saved(Image.fromarray(RAMP), "gray.png")
    found = decode_file(path)
    assert found.pixels.dtype == np.uint8
    np.testing.assert_array_equal(found.pixels, RAMP[None])
    assert found.conversions == ()
    assert read_header(path).gray
    assert read_header(path).side == 16


def test_rgb_is_channels_first(saved):
    colour = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1)
    found = decode_file(saved(Image.fromarray(colour), "colour.bmp"))
    np.testing.assert_array_equal(found.pixels, colour.transpose(2, 0, 1))
    assert found.pixels.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_gray_is_scaled_not_clipped(saved, suffix):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    found = decode_file(saved(Image.fromarray(ramp), f"deep.{suffix}"))
    np.testing.assert_array_equal(found.pixels[0], np.round(ramp / 257))
    np.testing.assert_array_equal(found.pixels[0], RAMP)
    assert found.conversions == ("16-bit scaled to 8-bit",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 255]], np.int32), [[0, 255]]),
        (np.array([[0, 65535]], np.int32), [[0, 255]]),
        (np.array([[257, 514]], np.int32), [[64, 128]]),  # 10 bits
        (np.array([[-100, 0, 100]], np.int32), [[0, 128, 255]]),
        (np.array([[0, 10**6]], np.int32), [[0, 255]]),
        (np.array([[0.0, 0.2, 1.0]], np.float32), [[0, 51, 255]]),
        (np.array([[0.0, 51.0]], np.float32), [[0, 51]]),
        (np.array([[-1.0, 1.0]], np.float32), [[0, 255]]),
        (np.array([[-3.0, -3.0]], np.float32), [[0, 0]]),
    ],
)
def test_32_bit_rule(saved, values, expected):
    found = decode_file(saved(Image.fromarray(values), "deep.tif"))
    np.testing.assert_array_equal(found.pixels[0], expected)
    assert found.conversions[0].startswith("32-bit")


def test_values_that_are_not_finite_become_the_ends_of_the_scale(saved):
    values = np.array([[0.0, np.nan, np.inf, 1.0, -np.inf]], np.float32)
    found = decode_file(saved(Image.fromarray(values), "holes.tif"))
    assert found.pixels.tolist() == [[[0, 0, 255, 255, 0]]]
    assert "values that are not finite set to the ends of the scale" in found.conversions
    with pytest.raises(UnreadableImage, match="no value that is a finite number"):
        decode_file(saved(Image.fromarray(np.full((1, 2), np.nan, np.float32)), "nan.tif"))


def test_transparency_is_laid_on_white(saved):
    rgba = np.array([[[200, 0, 100, 255], [200, 0, 100, 0], [200, 0, 100, 51]]], np.uint8)
    found = decode_file(saved(Image.fromarray(rgba), "rgba.png"))
    # A fifth of the colour, four fifths of white.
    expected = [[[200, 255, 244]], [[0, 255, 204]], [[100, 255, 224]]]
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.conversions == ("transparency composited on white",)


def test_gray_with_alpha_stays_gray(saved):
    la = Image.merge(
        "LA",
        [Image.fromarray(np.array([[100, 100]], np.uint8)), Image.fromarray(np.array([[255, 0]], np.uint8))],
    )
    path = saved(la, "la.png")
    np.testing.assert_array_equal(decode_file(path).pixels, [[[100, 255]]])
    assert read_header(path).gray


def test_opaque_alpha_is_dropped(saved):
    found = decode_file(saved(Image.new("RGBA", (2, 2), (1, 2, 3, 255)), "opaque.png"))
    assert found.pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert found.conversions == ("opaque alpha channel dropped", "one colour throughout (blank)")


def palette_image():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    return image


def test_palette(saved):
    path = saved(palette_image(), "palette.png")
    found = decode_file(path)
    assert found.pixels[:, 0].tolist() == [[10, 40], [20, 50], [30, 60]]
    assert found.conversions == ("palette converted to RGB",)
    assert not read_header(path).gray


def test_palette_with_a_transparent_entry(saved):
    found = decode_file(saved(palette_image(), "palette.png", transparency=1))
    assert found.pixels[:, 0].tolist() == [[10, 255], [20, 255], [30, 255]]
    assert found.conversions == ("palette converted to RGB", "transparency composited on white")


def test_one_colour_declared_transparent(saved):
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    found = decode_file(saved(image, "key.png", transparency=(1, 2, 3)))
    assert found.pixels[:, 0].tolist() == [[255, 9], [255, 9], [255, 9]]


def test_cmyk_jpeg(saved):
    found = decode_file(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "ink.jpg", quality=95))
    assert found.pixels.shape == (3, 16, 16)
    assert np.abs(found.pixels[:, 8, 8].astype(int) - [255, 0, 0]).max() <= 3
    assert found.conversions[0] == "CMYK converted to RGB"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_exif_rotation(saved, suffix):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: white comes to the top
    found = decode_file(saved(Image.fromarray(pixels), f"turned.{suffix}", exif=exif))
    assert found.pixels.shape == (1, 16, 8)
    assert found.pixels[0, :8].min() > 250
    assert found.pixels[0, 8:].max() < 5
    assert found.conversions == ("EXIF rotation applied",)


def test_animation_gives_its_first_frame(saved):
    frames = [Image.new("L", (4, 4), value) for value in (7, 99)]
    found = decode_file(saved(frames[0], "film.gif", save_all=True, append_images=frames[1:]))
    assert (found.pixels == 7).all()
    assert "first frame of several" in found.conversions


def test_one_bit(saved):
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    found = decode_file(saved(image, "bit.png"))
    np.testing.assert_array_equal(found.pixels, [[[0, 255]]])
    assert found.conversions == ("1-bit read as gray",)


def test_channels_by_request(saved):
    gray = saved(Image.fromarray(RAMP), "gray.png")
    np.testing.assert_array_equal(decode_file(gray, channels=3).pixels, np.stack([RAMP] * 3))
    red = saved(Image.new("RGB", (1, 1), (255, 0, 0)), "red.png")
    assert decode_file(red, channels=1).pixels.tolist() == [[[76]]]  # 0.299 * 255


def test_centre_crop_without_resize(saved):
    pixels = np.arange(4 * 8, dtype=np.uint8).reshape(4, 8)
    found = decode_file(saved(Image.fromarray(pixels), "wide.png"), size=4)
    np.testing.assert_array_equal(found.pixels[0], pixels[:, 2:6])
    assert found.conversions == ("centre cropped",)


def test_resize_averages(saved):
    checks = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)
    found = decode_file(saved(Image.fromarray(checks), "checks.png"), size=16)
    assert found.pixels.shape == (1, 16, 16)
    assert np.abs(found.pixels.astype(int) - 128).max() <= 2  # no aliasing
    assert found.conversions == ("resized to 16 x 16 (bicubic)",)


def test_large_jpeg_shortcut_changes_little(saved):
    smooth = np.linspace(0, 255, 512).astype(np.uint8)[None].repeat(512, 0)
    path = saved(Image.fromarray(smooth), "large.jpg", quality=95)
    expected = np.asarray(Image.fromarray(smooth).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.abs(decode_file(path, size=32).pixels[0].astype(int) - expected).max() <= 4


def test_trailing_garbage_is_harmless(saved):
    path = saved(Image.fromarray(RAMP), "tail.png")
    path.write_bytes(path.read_bytes() + b"garbage")
    np.testing.assert_array_equal(decode_file(path).pixels[0], RAMP)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file (0 bytes)"),
        (b"\n<!DOCTYPE html><title>404</title>", "not an image but an HTML page"),
        (b"hello", "not an image in a known format (PNG, JPEG, WEBP, BMP, TIFF, GIF, PPM, AVIF)"),
    ],
)
def test_reasons(tmp_path, content, reason):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as error:
        decode_file(path)
    assert str(error.value) == reason


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_truncated_is_refused(saved, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(Image.fromarray(noise), f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImage):
        decode_file(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_truncated_jpeg_says_so_even_where_pillow_was_relaxed(saved, monkeypatch):
    path = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)), "cut.jpg")
    path.write_bytes(path.read_bytes()[:1500])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with strict_pillow(100), pytest.raises(UnreadableImage, match=r"^more than 100 pixels"):
        decode_file(path, max_pixels=100)
    with strict_pillow(10_000), pytest.raises(UnreadableImage, match=r"^truncated: "):
        decode_file(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_other_formats_are_not_tried(saved):
    path = saved(Image.new("RGB", (4, 4)), "x.tga")
    with pytest.raises(UnreadableImage, match="not an image in a known format"):
        decode_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(UnreadableImage, match="cannot be opened: No such file"):
        decode_file(tmp_path / "gone.png")
