"""Images of up to 16 bands: read, augmented, shown, and trained on to the end."""

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from clsp.images.augment import augment
from clsp.images.config import AugmentConfig, ImagesConfig
from clsp.images.decode import UnreadableImage, decode_file, read_header
from clsp.images.sheet import contact_sheet, visible
from clsp.images.sources import open_images

RNG = np.random.default_rng(0)


def bands(count, dtype=np.uint8, side=12):
    values = RNG.random((side, side, count)) * (250 if dtype == np.uint8 else 1000)
    return values.astype(dtype)


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("packing", [None, "deflate", "lzw", "packbits", "zstd"])
def test_bands_of_a_tiff(tmp_path, planes, packing):
    values, path = bands(8), tmp_path / "a.tif"
    laid = values if planes == "contig" else values.transpose(2, 0, 1)
    tifffile.imwrite(path, laid, photometric="minisblack", planarconfig=planes, compression=packing)
    header = read_header(path)
    assert (header.channels, header.side, header.deep) == (8, 12, False)
    np.testing.assert_array_equal(decode_file(path).pixels, values.transpose(2, 0, 1))
    three = decode_file(path, channels=3)
    np.testing.assert_array_equal(three.pixels, values.transpose(2, 0, 1)[:3])
    assert three.conversions == ("bands 4 to 8 dropped",)
    with pytest.raises(UnreadableImage, match=r"8 channels \(bands\) where 9 are wanted"):
        decode_file(path, channels=9)


@pytest.mark.parametrize("count", [2, 4])
def test_bands_that_pillow_drops_are_kept(tmp_path, count):
    values, path = bands(count), tmp_path / "a.tif"
    kind = "rgb" if count == 4 else "minisblack"
    tifffile.imwrite(path, values, photometric=kind, planarconfig="contig", extrasamples=["unspecified"])
    np.testing.assert_array_equal(decode_file(path).pixels, values.transpose(2, 0, 1))


def test_alpha_is_no_band(tmp_path):
    values, path = bands(4), tmp_path / "a.tif"
    values[..., 3] = 255
    tifffile.imwrite(path, values, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(decode_file(path).pixels, values[..., :3].transpose(2, 0, 1))
    deep = values.astype(np.uint16) * 257
    tifffile.imwrite(path, deep, photometric="rgb", extrasamples=["unassalpha"])
    assert read_header(path).channels == 3
    np.testing.assert_array_equal(decode_file(path).pixels, values[..., :3].transpose(2, 0, 1))


def test_each_band_is_resized_and_turned_like_a_gray_image(tmp_path):
    values, path = bands(5, side=24)[:, :20], tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig", extratags=[(274, "H", 1, 6, True)])
    found = decode_file(path, size=8)
    assert found.conversions == ("EXIF rotation applied", "centre cropped", "resized to 8 x 8 (bicubic)")
    for band in range(5):
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(values[..., band]).save(tmp_path / "band.png", exif=exif)
        np.testing.assert_array_equal(found.pixels[band], decode_file(tmp_path / "band.png", size=8).pixels[0])


def test_more_than_16_bands_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", bands(17), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableImage, match=r"17 channels \(bands\); 1 to 16 are read"):
        decode_file(tmp_path / "a.tif")


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_augmentation_of_bands(count):
    images = torch.randint(0, 256, (9, count, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    ids = torch.arange(9)

    def run(pixels, **changes):
        config = AugmentConfig(**changes)
        return augment(pixels, config, seed=0, step=3, ids=ids, views=torch.zeros_like(ids))

    whole = run(images)
    assert whole.shape == images.shape
    # Neither hue, saturation nor gray: each band is what it would be as a gray image.
    for band in (0, count - 1):
        alone = run(images[:, band : band + 1])
        torch.testing.assert_close(whole[:, band : band + 1], alone, rtol=0, atol=1e-5)
    assert torch.equal(run(images, gray=1.0, saturation=0.9, hue=0.5), run(images, gray=0.0, saturation=0.0, hue=0.0))
    with_gain = run(images, gain=0.5, jitter=1.0, crop_scale=[1.0, 1.0], brightness=0.0, contrast=0.0)
    plain = run(images, jitter=1.0, crop_scale=[1.0, 1.0], brightness=0.0, contrast=0.0)
    ratio = (with_gain / plain.clamp_min(1e-6)).flatten(2)
    gains = ratio[plain.flatten(2) < 0.6].mean()
    assert 0.5 <= gains <= 1.5
    first = [(with_gain[0, band].sum() / plain[0, band].sum()).item() for band in range(count)]
    assert len({round(value, 3) for value in first}) == count  # each band its own


def test_sheets_show_the_first_three_bands():
    images = RNG.integers(0, 256, (2, 2, 8, 6, 6), np.uint8)
    assert np.array_equal(visible(images), images[:, :, :3])
    assert visible(images[:, :, :2]).shape[2] == 1
    few = np.ascontiguousarray(images[:, :, :3])
    assert np.array_equal(np.asarray(contact_sheet(images)), np.asarray(contact_sheet(few)))


def test_a_run_on_eight_bands_ends_with_its_report(tmp_path, monkeypatch):
    from clsp.__main__ import main

    monkeypatch.chdir(tmp_path)
    for number in range(16):
        for label in "ab":
            values = np.kron(bands(8, np.uint16, 4), np.ones((4, 4, 1), np.uint16)) + (900 if label == "a" else 0)
            path = tmp_path / f"data/{label}/{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    short = "--diffusion.steps 2 --synthesize.anchors 8 --pretrain.images 8 --pretrain.epochs 1 --pretrain.batch_size 4"
    main(
        ["run", "--data", "data", "--recipe", "smoke", "--out", "out", "--hardware.accelerator", "cpu", *short.split()]
    )
    assert (tmp_path / "out/report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "out/images.json").read_text())["channels"] == 8
    config = json.loads((tmp_path / "out/encoder/config.json").read_text())
    assert config["model_args"]["in_chans"] == 8
    assert len(config["pretrained_cfg"]["mean"]) == 8
    again = open_images(str(tmp_path / "data"), ImagesConfig(size=16))
    np.testing.assert_allclose(config["pretrained_cfg"]["mean"][3], again.train.images[:, 3].mean() / 255, atol=0.1)
