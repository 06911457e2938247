"""Formats that other libraries read: each where its library is there, and a line that names the extra where not."""

import importlib

import numpy as np
import pytest
from PIL import Image, features

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.task import make_task
from clsp.images.config import ImagesConfig
from clsp.images.decode import UnreadableImage, decode_file, read_header
from clsp.images.opening import EXTRAS
from clsp.images.sources import open_images

RNG = np.random.default_rng(0)
SMOOTH = np.stack([np.add.outer(np.arange(32), np.arange(32)) * 4] * 3, axis=-1).astype(np.uint8)


def opened(folder, **config):
    return open_images(str(folder), ImagesConfig(**config))


@pytest.mark.parametrize("suffix", sorted(EXTRAS))
def test_without_its_library_a_file_is_left_out_with_the_extra_named(tmp_path, monkeypatch, suffix):
    library, extra = EXTRAS[suffix]
    for number in range(2):
        Image.fromarray(SMOOTH).save(tmp_path / f"{number}.png")
    (tmp_path / f"scan{suffix}").write_bytes(b"something")
    real = importlib.import_module

    def absent(name, *args):
        if name == library:
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", absent)
    images = opened(tmp_path)
    assert [(entry.name, entry.reason) for entry in images.excluded] == [
        (f"scan{suffix}", f"{suffix} files need an extra: pip install 'clsp[{extra}]'")
    ]


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.HEIC"
    heif.from_pillow(Image.fromarray(SMOOTH)).save(path, quality=95)
    assert read_header(path).side == 32
    assert np.abs(decode_file(path).pixels.transpose(1, 2, 0).astype(int) - SMOOTH).max() < 12
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableImage):
        decode_file(path)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_avif(tmp_path):
    path = tmp_path / "a.avif"
    Image.fromarray(SMOOTH).save(path, quality=95)
    assert np.abs(decode_file(path).pixels.transpose(1, 2, 0).astype(int) - SMOOTH).max() < 12


def test_jpeg_xl(tmp_path):
    pytest.importorskip("pillow_jxl")
    path = tmp_path / "a.jxl"
    Image.fromarray(SMOOTH).save(path, lossless=True)
    np.testing.assert_array_equal(decode_file(path).pixels, SMOOTH.transpose(2, 0, 1))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UnreadableImage):
        decode_file(path)


def dicom(path, values, **tags):
    """A DICOM file of unsigned 16-bit values [H, W] or [N, H, W] that use 12 bits."""
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.astype("<u2" if data.BitsAllocated > 8 else "u1").tobytes()
    data.save_as(path, enforce_file_format=True)


def test_dicom_slices_have_one_scale(tmp_path):
    values = RNG.integers(0, 4096, (3, 16, 16))
    values[0, 0, :2] = 0, 4095
    dicom(tmp_path / "a.dcm", values[0])
    dicom(tmp_path / "b.dcm", values[1] // 4)
    images = opened(tmp_path)
    np.testing.assert_array_equal(
        images.train.images[:, 0], np.round([values[0] / 4095 * 255, values[1] // 4 / 4095 * 255])
    )
    dicom(tmp_path / "b.dcm", 4095 - values[1], PhotometricInterpretation="MONOCHROME1")  # small is bright
    np.testing.assert_array_equal(opened(tmp_path).train.images[1, 0], np.round(values[1] / 4095 * 255))


@pytest.mark.parametrize("space", ["RGB", "YBR_FULL"])
def test_colour_of_dicom_is_converted_once(tmp_path, space):
    pydicom = pytest.importorskip("pydicom")
    colour = RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    stored = colour if space == "RGB" else pydicom.pixels.convert_color_space(colour, "RGB", "YBR_FULL")
    tags = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": space}
    dicom(tmp_path / "a.dcm", stored[..., 0], BitsAllocated=8, BitsStored=8, HighBit=7, **tags)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.PixelData = stored.tobytes()
    data.save_as(tmp_path / "a.dcm")
    found = decode_file(tmp_path / "a.dcm").pixels.transpose(1, 2, 0)
    assert np.abs(found.astype(int) - colour).max() < (1 if space == "RGB" else 4)
    data.PhotometricInterpretation = "YBR_PARTIAL_420"
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(UnreadableImage, match="the colour space YBR_PARTIAL_420 is not read"):
        decode_file(tmp_path / "a.dcm")


@pytest.mark.parametrize("deep", [False, True])
def test_a_palette_of_dicom_is_looked_up(tmp_path, deep):
    pytest.importorskip("pydicom")
    palette = RNG.integers(0, 256, (3, 256)).astype(np.uint16) * (256 if deep else 1)
    indices = RNG.integers(0, 256, (2, 16, 16))
    tags = {"PhotometricInterpretation": "PALETTE COLOR", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    for name, entries in zip(("Red", "Green", "Blue"), palette, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16 if deep else 8]
        tags[f"{name}PaletteColorLookupTableData"] = entries.astype("<u2" if deep else "u1").tobytes()
    dicom(tmp_path / "film.dcm", indices, **tags)
    assert read_header(tmp_path / "film.dcm#0").channels == 3
    for number in range(2):
        expected = palette[:, indices[number]] // (256 if deep else 1)
        np.testing.assert_array_equal(decode_file(tmp_path / f"film.dcm#{number}").pixels, expected)


def test_signed_values_of_which_small_is_bright_stay_in_what_the_file_can_hold(tmp_path):
    values = RNG.integers(-1000, 101, (2, 16, 16))
    values[:, 0, :2] = -1000, 100
    for number in range(2):
        tags = {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": 1, "RescaleIntercept": "-24"}
        dicom(tmp_path / f"{number}.dcm", values[number], RescaleSlope="1", **tags)
    images = opened(tmp_path)
    assert any("the range of -125 to 975" in note for note in images.notes)  # -1 - v, rescaled
    np.testing.assert_array_equal(images.train.images[:, 0], np.round((100 - values) / 1100 * 255))


def test_dicom_frames_and_rescaling(tmp_path):
    values = RNG.integers(0, 4096, (3, 16, 16))
    values[0, 0, :2] = 0, 4095
    values[2] = 7
    dicom(tmp_path / "film.dcm", values, RescaleSlope="1", RescaleIntercept="-1024")
    images = opened(tmp_path)
    assert images.train.names == ["film.dcm#0", "film.dcm#1"]
    assert "1 slices of volumes hold one value alone and are left out" in images.notes
    assert any("the range of -1024 to 3071" in note for note in images.notes)
    np.testing.assert_array_equal(images.train.images[:, 0], np.round(values[:2] / 4095 * 255))
    window = opened(tmp_path, range=[-160, 240]).train.images[0, 0]
    np.testing.assert_array_equal(window, np.round(((values[0] - 1024.0 + 160) / 400).clip(0, 1) * 255))


def test_damaged_medical_files_are_left_out(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    dicom(tmp_path / "a.dcm", RNG.integers(0, 4096, (4, 16, 16)))
    nibabel.Nifti1Image(RNG.integers(0, 900, (8, 9, 3)).astype(np.int16), np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    for name in ("a.dcm", "a.nii.gz"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"junk_{name}").write_bytes(b"junk" * 200)
    images = opened(tmp_path)
    assert len(images.train) == 7
    assert {entry.name for entry in images.excluded} == {
        "cut_a.dcm", "cut_a.nii.gz", "junk_a.dcm", "junk_a.nii.gz"
    }  # fmt: skip
    assert not any("\n" in entry.reason for entry in images.excluded)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slices_of_a_volume(tmp_path, suffix):
    nibabel = pytest.importorskip("nibabel")
    values = RNG.integers(0, 1000, (10, 8, 12)).astype(np.int16)
    values[..., 0] = 0
    values[0, 0, 3] = 1023
    for label in "ab":
        (tmp_path / label).mkdir()
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / label / f"scan{suffix}")
    images = opened(tmp_path)
    assert images.train.names[0] == f"a/scan{suffix}#01"
    assert len(images.train) == 22
    assert images.classes == ("a", "b")
    assert "2 slices of volumes hold one value alone and are left out" in images.notes
    seen = np.round(values[1:9, ::-1, 3].T / 1023 * 255)  # x goes right, y up; the centre square
    np.testing.assert_array_equal(images.train.images[2, 0], seen)


def test_a_scaled_volume_is_read_in_its_units(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(RNG.random((8, 8, 4)).astype(np.float32), np.eye(4))
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "a.nii")
    images = opened(tmp_path)
    expected = np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1]
    assert np.abs(images.train.images[:, 0] / 255 - expected).max() < 0.01


def test_slices_of_one_file_are_a_group(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for name in ("a/0.nii", "a/1.nii.gz", "b/0.nii", "b/1.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nibabel.Nifti1Image(RNG.integers(0, 900, (8, 9, 3)).astype(np.int16), np.eye(4)).to_filename(tmp_path / name)
    Image.fromarray(SMOOTH[:8, :8, 0]).save(tmp_path / "a" / "x.png")
    train = opened(tmp_path).train
    groups = dict(zip(train.names, train.column("group"), strict=True))
    assert groups["a/1.nii.gz#2"] == "a/1.nii.gz" and groups["a/x.png"] == ""
    apart = make_task(opened(tmp_path), EvaluateConfig(), seed=0)
    assert not set(apart.train.column("group")) & set(apart.test.column("group"))
    (tmp_path / "metadata.csv").write_text("file_name,group\na/1.nii.gz#1,p7\n")
    assert opened(tmp_path).train.column("group")[:5].tolist() == ["a/0.nii"] * 3 + ["a/1.nii.gz", "p7"]
    for name in ("0", "1"):
        (tmp_path / "b" / f"{name}.nii").unlink()
        dicom(tmp_path / "b" / f"{name}.dcm", RNG.integers(0, 4096, (16, 16)))
    assert "0.dcm#0" in opened(tmp_path / "b").train.names
    assert not opened(tmp_path / "b").train.has("group")
