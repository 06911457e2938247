"""Files from strangers: decoders of their own formats alone, and sizes before memory."""

import ast
import io
import re
import struct
import subprocess
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import EpsImagePlugin, Image, PngImagePlugin

import clsp
from clsp.errors import UserError
from clsp.images import png, tiff
from clsp.images.config import ImagesConfig
from clsp.images.decode import UnreadableImage, decode_file, read_header, strict_pillow
from clsp.images.sources import open_images
from clsp.report.html import inline_image, picture

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (8, 8, 3), np.uint8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_every_picture_is_opened_with_its_formats_named():
    found = 0
    for path in Path(clsp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                assert "formats" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
                found += 1
    assert found >= 2


@pytest.fixture
def no_ghostscript(monkeypatch):
    def called(*args, **kwargs):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(subprocess, "check_call", called)


@pytest.mark.parametrize("suffix", ["png", "tif", "heic", "jxl", "jpg"])
def test_postscript_by_another_name_is_no_image(tmp_path, no_ghostscript, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(EPS)
    with pytest.raises(UnreadableImage, match="not an image in a known format"):
        decode_file(path)
    assert "cannot be shown: it cannot be read (it is no PNG)" in picture(path, "x", "x")


def test_where_pillow_guesses_the_format_no_program_is_started(no_ghostscript):
    with strict_pillow(1000), pytest.raises(OSError, match="Ghostscript"), Image.open(io.BytesIO(EPS)) as image:
        image.load()


def test_a_picture_of_the_report_that_is_too_large_is_one_line(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="more than 64,000,000 pixels"):
        inline_image(tmp_path / "a.png", alt="x")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "b.png")  # above what Pillow itself refuses
    assert "b.png cannot be shown: it cannot be read (" in picture(tmp_path / "b.png", "x", "x")


def saved(**options):
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "PNG", **options)
    return stream.getvalue()


def text(kind, **how):
    info = PngImagePlugin.PngInfo()
    getattr(info, kind)("note", "x" * 3_000_000, **how)
    return saved(pnginfo=info)


@pytest.mark.parametrize(
    "content",
    [
        saved(icc_profile=bytes(5_000_000)),
        saved(icc_profile=RNG.bytes(2_000_000)),
        text("add_text"),
        text("add_text", zip=True),
        text("add_itxt"),
        text("add_itxt", zip=True),
    ],
    ids=["profile", "noisy profile", "text", "packed text", "itxt", "packed itxt"],
)
def test_sound_pngs_with_long_extras_are_used(content):
    assert read_header(content).channels == 3
    np.testing.assert_array_equal(decode_file(content).pixels, NOISE.transpose(2, 0, 1))


def test_what_needs_no_change_is_passed_on():
    for content in (saved(), b"\xff\xd8 no png", b"", saved()[:20]):
        stream = io.BytesIO(content)
        assert png.plain(stream) is stream
        assert stream.tell() == 0


def test_a_tiff_of_very_many_strips_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.integers(0, 256, (64, 4), np.uint8), rowsperstrip=1)
    assert decode_file(path).pixels.shape == (1, 64, 4)
    monkeypatch.setattr(tiff, "MOST_STRIPS", 63)
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("Pillow was asked"))
    for read in (read_header, decode_file):
        with pytest.raises(UnreadableImage, match=r"more than 63 strips or tiles"):
            read(path)


def test_a_large_tiff_is_refused_by_its_header(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((100, 100, 8), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableImage, match="more than 9,999 pixels"):
        decode_file(path, max_pixels=9_999)
    with pytest.raises(UnreadableImage, match="more than 79,996 values in all bands"):
        decode_file(path, max_pixels=19_999)


@pytest.mark.parametrize("packing", [None, "deflate"])
def test_damaged_bands_are_refused(tmp_path, packing):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, RNG.integers(0, 256, (32, 32, 6), np.uint8), photometric="minisblack", compression=packing,
        planarconfig="contig",
    )  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data[:-500])
    with pytest.raises(UnreadableImage, match="truncated"):
        decode_file(path)
    for number in range(60):  # whatever happens, it is one line
        damaged = bytearray(data)
        for place in RNG.integers(0, min(len(data), 400), 4):
            damaged[place] = RNG.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert decode_file(path).pixels.dtype == np.uint8, number
        except UnreadableImage as error:
            assert "\n" not in str(error)


def test_a_strip_that_unpacks_to_more_than_it_may_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((32, 32, 6), np.uint8), photometric="minisblack", compression="deflate", planarconfig="contig"
    )
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    bomb = zlib.compress(bytes(30_000_000), 9)
    data = path.read_bytes()
    moved = data[:start] + data[start + count :] + bomb
    monkeypatch.setattr(tiff, "_LIMITED", False)
    page = tiff.Page(io.BytesIO(moved), 10**6)
    with pytest.raises(UnreadableImage, match="unpacks to more than the image declares"):
        page._check_deflate([(len(moved) - len(bomb), len(bomb))], 32 * 32 * 6)


def test_packed_bands_without_imagecodecs_name_the_extra(tmp_path, monkeypatch):
    from tifffile import _imagecodecs

    path = tmp_path / "a.tif"
    values = RNG.integers(0, 256, (8, 8, 6), np.uint8)
    for packing in ("lzw", "deflate"):
        tifffile.imwrite(path, values, photometric="minisblack", compression=packing, planarconfig="contig")
        with monkeypatch.context() as patch:
            patch.setattr(tifffile.tifffile, "imagecodecs", _imagecodecs)
            patch.setattr(tifffile.tifffile.TIFF.DECOMPRESSORS, "_codecs", {1: None})
            patch.setattr(tiff, "_LIMITED", False)
            if packing == "deflate":
                np.testing.assert_array_equal(decode_file(path).pixels, values.transpose(2, 0, 1))
            else:
                with pytest.raises(
                    UnreadableImage, match=r"LZW-packed bands need an extra: pip install 'clsp\[tiff\]'"
                ):
                    decode_file(path)


def jxl_of(width, height):
    """The head of a JPEG XL codestream that declares this size."""
    bits, place = 0, 0
    for value, count in ((0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30)):
        bits |= value << place
        place += count
    return b"\xff\x0a" + bits.to_bytes(16, "little") + bytes(64)


def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(tmp_path):
    from clsp.images import jxl

    for width, height in ((8, 8), (77, 100), (640, 480), (5, 1), (1024, 512)):
        data = imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8))
        assert jxl.size_of(io.BytesIO(data)) == (width, height)
        boxed = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4s", 12, b"ftyp") + b"jxl "
        assert jxl.size_of(io.BytesIO(boxed + struct.pack(">I4s", 0, b"jxlc") + data)) == (width, height)
    path = tmp_path / "a.jxl"
    path.write_bytes(jxl_of(1 << 20, 1 << 20))
    with pytest.raises(UnreadableImage, match="more than 64,000,000 pixels"):
        read_header(path)


def test_one_bad_file_costs_one_line(tmp_path):
    for number in range(3):
        Image.fromarray(NOISE).save(tmp_path / f"{number}.png")
    (tmp_path / "x.png").write_bytes(EPS)
    images = open_images(str(tmp_path), ImagesConfig())
    assert [entry.name for entry in images.excluded] == ["x.png"]
    assert re.match("not an image", images.excluded[0].reason)
