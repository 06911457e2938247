"""``hf:NAME`` on small local folders of the hub's layouts: files, Parquet, and what datasets saves."""

from __future__ import annotations

import io
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.hub import parse
from clsp.images.sources import open_images

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def pixels(count, seed=0, shape=(12, 12, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def rows_of(arrays, labels, kind, name="label", images="image"):
    columns = {images: [None if array is None else {"bytes": png(array), "path": None} for array in arrays]}
    features = {images: datasets.Image()}
    if labels is not None:
        columns[name], features[name] = labels, kind
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


CLASSES = datasets.ClassLabel(names=["cat", "dog"])


def parquet(folder, **splits):
    folder.mkdir()
    for name, rows in splits.items():
        rows.to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return f"hf:{folder}"


def test_parquet_as_the_hub_keeps_it(tmp_path):
    train, test = pixels(6), pixels(4, seed=1)
    source = parquet(
        tmp_path / "set", train=rows_of(train, [0, 1, 0, 1, 1, 0], CLASSES), test=rows_of(test, [1, 1, 0, 0], CLASSES)
    )
    images = open_images(source)
    np.testing.assert_array_equal(images.train.images, train.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(images.test.images, test.transpose(0, 3, 1, 2))
    assert images.train.labels.tolist() == [0, 1, 0, 1, 1, 0] and images.test.labels.tolist() == [1, 1, 0, 0]
    assert images.classes == ("cat", "dog") and images.train.names[0] == "train/00000"
    assert "splits test, train; images from the column 'image'" in images.notes[0]
    again = open_images(source)
    assert again.fingerprint == images.fingerprint


@pytest.mark.parametrize(("name", "several"), [("caption", False), ("text", False), ("sentences", True)])
def test_captions_come_along(tmp_path, name, several):
    said = ["one", None, "three", "four"]
    kind = datasets.Sequence(datasets.Value("string")) if several else datasets.Value("string")
    values = [[text, "again"] if text else [] for text in said] if several else said
    images = open_images(parquet(tmp_path / "set", train=rows_of(pixels(4), values, kind, name=name)))
    assert images.train.column("caption").tolist() == ["one", "", "three", "four"] and images.train.labels is None
    assert f"captions from the column '{name}'" in images.notes


def test_shards_of_webdataset(tmp_path):
    (tmp_path / "set").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "set" / f"{shard:05d}.tar", "w") as archive:
            for number, array in enumerate(pixels(3, seed=shard)):
                for suffix, data in (
                    ("png", png(array)),
                    ("txt", f"{shard} {number}".encode()),
                    ("cls", b"%d" % shard),
                ):
                    entry = tarfile.TarInfo(f"{shard}{number}.{suffix}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    images = open_images(f"hf:{tmp_path / 'set'}")
    assert len(images.train) == 6 and images.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.train.column("caption").tolist() == [f"{shard} {number}" for shard in (0, 1) for number in range(3)]


def test_a_folder_of_files(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index, array in enumerate(pixels(3, seed=number)):
                Image.fromarray(array).save(tmp_path / "set" / split / name / f"{index}.png")
    images = open_images(f"hf:{tmp_path / 'set'}")
    assert (len(images.train), len(images.test)) == (6, 6)
    assert sorted(images.train.labels.tolist()) == [0, 0, 0, 1, 1, 1] and images.classes == ("cat", "dog")
    np.testing.assert_array_equal(images.train.images[0], pixels(3, seed=0)[0].transpose(2, 0, 1))


def test_what_datasets_saved_and_a_store_that_is_used_again(tmp_path):
    rows = rows_of(pixels(5), [0, 1, 0, 1, 1], CLASSES)
    datasets.DatasetDict(train=rows).save_to_disk(tmp_path / "many")
    rows.save_to_disk(tmp_path / "one")
    first = open_images(f"hf:{tmp_path / 'many'}", store=tmp_path / "store")
    assert isinstance(first.train.images, np.memmap)
    before = next(tmp_path.glob("store/*/train.npy")).stat().st_mtime_ns
    again = open_images(f"hf:{tmp_path / 'many'}", store=tmp_path / "store")
    assert next(tmp_path.glob("store/*/train.npy")).stat().st_mtime_ns == before
    alone = open_images(f"hf:{tmp_path / 'one'}")
    for other in (again, alone):
        np.testing.assert_array_equal(other.train.images, first.train.images)
        assert other.test is None


def test_gray_images_of_many_sizes_and_a_limit(tmp_path):
    arrays = [array[: 20 + 8 * n, :, 0] for n, array in enumerate(pixels(5, shape=(60, 70, 3)))]
    images = open_images(parquet(tmp_path / "set", train=rows_of(arrays, None, None)), ImagesConfig(limit=3))
    assert images.train.images.shape == (3, 1, 32, 32) and images.train.labels is None
    assert any("brought to 32 x 32" in note for note in images.notes) and "no labels" in images.notes


@pytest.mark.parametrize(
    ("labels", "kind", "name", "numbers", "classes"),
    [
        ([7, 3, 7, 5], datasets.Value("int64"), "label", [2, 0, 2, 1], ("3", "5", "7")),
        (["b", "a", "b", "a"], datasets.Value("string"), "class", [1, 0, 1, 0], ("a", "b")),
        ([1, 0, 1, 0], CLASSES, "animal", [1, 0, 1, 0], ("cat", "dog")),
        ([7, 3, 7, 5], datasets.Value("int64"), "width", None, None),
        ([None, 1, 0, 1], CLASSES, "label", [-1, 1, 0, 1], ("cat", "dog")),
        (["b", None, "a", "b"], datasets.Value("string"), "label", [1, -1, 0, 1], ("a", "b")),
        ([9, -1, 4, None], datasets.Value("int64"), "label", [1, -1, 0, -1], ("4", "9")),
        ([-1, -1, -1, -1], CLASSES, "label", None, None),
    ],
)
def test_labels_are_found_and_never_invented(tmp_path, labels, kind, name, numbers, classes):
    images = open_images(parquet(tmp_path / "set", train=rows_of(pixels(4), labels, kind, name)))
    found = None if images.train.labels is None else images.train.labels.tolist()
    assert (found, images.classes) == (numbers, classes)
    ignored = open_images(f"hf:{tmp_path / 'set'}", ImagesConfig(labels="none"))
    assert ignored.train.labels is None and ignored.classes is None


def test_a_test_part_that_withholds_its_labels_gives_way_to_the_validation_part(tmp_path):
    splits = {
        "train": rows_of(pixels(4), [0, 1, 0, 1], CLASSES),
        "validation": rows_of(pixels(3, seed=1), [1, 0, 1], CLASSES),
        "test": rows_of(pixels(2, seed=2), [-1, -1], CLASSES),
    }
    images = open_images(parquet(tmp_path / "set", **splits))
    assert images.test.labels.tolist() == [1, 0, 1]


def test_rows_that_cannot_be_read_are_left_out_and_listed(tmp_path):
    rows = rows_of([*pixels(3), None], [0, 1, 1, 0], CLASSES)
    broken = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": b"no image", "path": None}, {"bytes": png(pixels(1)[0])[:60], "path": None}],
            "label": [0, 1],
        },
        features=rows.features,
    )
    images = open_images(parquet(tmp_path / "set", train=datasets.concatenate_datasets([broken, rows])))
    assert images.train.labels.tolist() == [0, 1, 1]
    assert [(entry.name, entry.reason.split(":")[0]) for entry in images.excluded] == [
        ("train/00000", "not an image in a known format (PNG, JPEG, WEBP, BMP, TIFF, GIF, PPM, AVIF)"),
        ("train/00001", "truncated"),
        ("train/00005", "the row has no image"),
    ]


def message(source):
    with pytest.raises(UserError) as error:
        open_images(source)
    return str(error.value)


def test_what_cannot_be_used_is_said_in_one_line(tmp_path, monkeypatch):
    rows = rows_of(pixels(4), [0, 1, 0, 1], CLASSES)
    datasets.DatasetDict(left=rows, right=rows).save_to_disk(tmp_path / "a")
    assert "splits left, right: one must be named train" in message(f"hf:{tmp_path / 'a'}")
    words = datasets.Dataset.from_dict({"text": ["a", "b"]})
    assert "no column of images; its columns are text" in message(parquet(tmp_path / "b", train=words))
    strange = rows_of(pixels(2), ["c", "d"], datasets.Value("string"))
    named = rows_of(pixels(2), ["c", "e"], datasets.Value("string"))
    assert "label 'd' in the test part" in message(parquet(tmp_path / "c", train=named, test=strange))

    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    assert "cannot be loaded (Couldn't reach the Hub): check the name" in message("hf:nobody/nothing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "needs the library datasets: pip install datasets" in message("hf:nobody/nothing")


def test_names_have_configurations_and_revisions():
    assert parse("hf:mnist") == ("mnist", None, None)
    assert parse("hf:a/b:small@v1.0") == ("a/b", "small", "v1.0")
    assert parse("hf:a/b@main") == ("a/b", None, "main")
    for wrong in ("hf:", "hf:a:b:c", "hf::b", "hf:a@"):
        with pytest.raises(UserError, match="write hf:NAME"):
            parse(wrong)
