"""Folders: what is taken, what is left out and why, and the store."""

import json
import os
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from clsp.errors import UserError
from clsp.images import store as stores
from clsp.images.config import ImagesConfig
from clsp.images.sources import check_source, open_images


def put(path, value=0, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "clsp te st é"


def bomb(path, side=30_000):
    """A one-colour PNG of about 100 kB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_nested_unlabelled(folder):
    put(folder / "b.png", 2)
    put(folder / "a" / "x y.PNG", 1)
    put(folder / "a" / "deep" / "ü.png", 3)
    put(folder / ".hidden" / "x.png", 4)
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (folder / name).write_text("x")
    images = open_images(str(folder), ImagesConfig())
    assert images.train.names == ["a/deep/ü.png", "a/x y.PNG", "b.png"]
    assert images.train.images.shape == (3, 1, 8, 8)
    assert images.train.images[:, 0, 0, 0].tolist() == [3, 1, 2]
    assert images.train.labels is None
    assert images.test is None
    assert images.excluded == ()
    assert "4 files are ignored because they are no images: 2 hidden, 1 .db, 1 .txt" in images.notes
    assert len(images.fingerprint) == 16


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    put(tmp_path / "elsewhere" / "1.png")
    put(folder / "2.png")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    assert open_images(str(folder), ImagesConfig()).train.names == ["2.png", "link/1.png"]


def test_quarantine(folder):
    for number in range(5):
        put(folder / f"good{number}.png", number)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:1500])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>404</html>")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    bomb(folder / "bomb.png")
    start = time.monotonic()
    images = open_images(str(folder), ImagesConfig(size=8))
    assert time.monotonic() - start < 1
    assert {entry.name: entry.reason for entry in images.excluded} == {
        "bomb.png": "more than 64,000,000 pixels (--images.max_pixels)",
        "cut.jpg": "truncated: the file ends before the image does",
        "empty.png": "empty file (0 bytes)",
        "gone.png": "cannot be opened: No such file or directory",
        "page.jpg": "not an image but an HTML page",
    }
    assert images.train.names == [f"good{number}.png" for number in range(5)]
    assert images.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert any(
        note.startswith("5 files could not be read and are left out: bomb.png (more than 64,000,000 pixels")
        and note.endswith(" and 2 more")
        for note in images.notes
    )


def test_labels_stay_with_their_images(folder):
    for label in ("cat", "dog"):
        for number in range(3):
            put(folder / "train" / label / f"{number}.png", 10 * number)
        put(folder / "test" / label / "9.png", 9)
    (folder / "train" / "cat" / "1.png").write_bytes(b"")
    images = open_images(str(folder), ImagesConfig())
    assert images.classes == ("cat", "dog")
    assert images.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert images.train.labels.dtype == np.int64
    assert images.test.labels.tolist() == [0, 1]
    assert images.test.names == ["test/cat/9.png", "test/dog/9.png"]
    plain = open_images(str(folder), ImagesConfig(labels="none"))
    assert plain.classes is None
    assert plain.train.labels is None
    assert plain.test.labels is None


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(20, 20), (20, 30)], 20),  # shorter sides agree
        ([(300, 300), (300, 300)], 224),  # agree, but large
        ([(70, 70), (130, 140), (100, 100)], 96),
        ([(16, 16), (20, 20)], 32),
        ([(500, 400), (300, 250)], 224),
    ],
)
def test_size_is_chosen(folder, sizes, expected):
    for number, size in enumerate(sizes):
        put(folder / f"{number}.png", size=size)
    assert open_images(str(folder), ImagesConfig()).size == expected


@pytest.mark.parametrize("side", [1, 3])
def test_images_of_too_few_pixels_are_refused_in_one_line(folder, side):
    for number in range(3):
        put(folder / f"{number}.png", number, size=(5, side))
    said = (
        rf"the shorter side of the images is {side} pixels?, and a run takes at least 4: --images.size 32 enlarges them"
    )
    with pytest.raises(UserError, match=said):
        open_images(str(folder))
    assert open_images(str(folder), ImagesConfig(size=8)).size == 8


def test_mixed_channels_and_notes(folder):
    put(folder / "gray.png", 5)
    put(folder / "red.png", (255, 0, 0), mode="RGB")
    put(folder / "wide.png", (255, 0, 0), size=(16, 8), mode="RGB")
    images = open_images(str(folder), ImagesConfig())
    assert images.channels == 3
    assert {"centre cropped: 1 images", "gray repeated to 3 channels: 1 images"} <= set(images.notes)
    gray = open_images(str(folder), ImagesConfig(channels=1))
    assert gray.train.images[:, 0, 0, 0].tolist() == [5, 76, 76]


def test_limit_is_nested_and_decodes_only_the_chosen(folder):
    for number in range(20):
        put(folder / f"{number:02d}.png", number)
    few = open_images(str(folder), ImagesConfig(limit=4), seed=3)
    more = open_images(str(folder), ImagesConfig(limit=9), seed=3)
    assert len(few.train) == 4
    assert set(few.train.names) < set(more.train.names)
    assert [f"{value:02d}.png" for value in few.train.images[:, 0, 0, 0]] == few.train.names
    assert any("4 of 20" in note for note in few.notes)


def test_store_is_reused_until_a_file_changes(folder, tmp_path, monkeypatch):
    for number in range(6):
        put(folder / f"train/{'ab'[number % 2]}/{number}.png", number)
    put(folder / "test/a/6.png", 6)
    (folder / "train/a/bad.png").write_bytes(b"")
    store = tmp_path / "store"
    config = ImagesConfig()
    first = open_images(str(folder), config, store=store)
    assert isinstance(first.train.images, np.memmap)
    assert sorted(path.name for path in store.rglob("*.*") if path.suffix != ".same") == [
        ".lock",
        "index.json",
        "test.npy",
        "train.npy",
    ]
    memory = open_images(str(folder), config)
    assert first.fingerprint == memory.fingerprint
    assert first.notes == memory.notes

    built = []
    build = stores.build
    monkeypatch.setattr(stores, "build", lambda *args: built.append(1) or build(*args))
    again = open_images(str(folder), config, store=store)
    assert built == []
    assert again.fingerprint == first.fingerprint
    assert (again.excluded, again.notes, again.classes) == (first.excluded, first.notes, first.classes)
    assert again.test.labels.tolist() == first.test.labels.tolist()

    put(folder / "train/a/0.png", 77)
    os.utime(folder / "train/a/0.png", ns=(1, 1))
    changed = open_images(str(folder), config, store=store)
    assert built == [1]
    assert changed.train.images[0, 0, 0, 0] == 77
    assert open_images(str(folder), ImagesConfig(size=4), store=store).size == 4
    assert built == [1, 1]


@pytest.mark.parametrize("damage", ["index", "pixels", "shape"])
def test_damaged_store_is_made_again(folder, tmp_path, damage):
    for number in range(4):
        put(folder / f"{number}.png", number)
    store = tmp_path / "store"
    expected = open_images(str(folder), ImagesConfig(), store=store).fingerprint
    if damage == "index":
        only(store, "index.json").write_text('{"key": ')
    elif damage == "pixels":
        only(store, "train.npy").write_bytes(only(store, "train.npy").read_bytes()[:-5])
    else:
        index = json.loads(only(store, "index.json").read_text())
        index["parts"]["train"]["shape"][0] = 3
        only(store, "index.json").write_text(json.dumps(index))
    assert open_images(str(folder), ImagesConfig(), store=store).fingerprint == expected


def only(store, name):
    """The file ``name`` of the one set of images in a store."""
    (path,) = store.rglob(name)
    return path


@pytest.mark.parametrize("write", [1, 2])
def test_killed_writer_leaves_nothing_that_is_used(folder, tmp_path, write):
    for number in range(4):
        put(folder / f"{number}.png", number)
    store = tmp_path / "store"
    code = (
        "import sys; from pathlib import Path; from clsp.images.config import ImagesConfig;"
        "from clsp.images.sources import open_images;"
        "open_images(sys.argv[1], ImagesConfig(), store=Path(sys.argv[2]))"
    )
    environment = {**os.environ, "CLSP_FAULT": f"write:{write}:kill", "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", code, str(folder), str(store)], env=environment, check=False)
    assert child.returncode == -9
    assert not list(store.rglob("index.json"))
    assert list(store.rglob(".*.clsp-tmp"))
    images = open_images(str(folder), ImagesConfig(), store=store)
    assert images.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert not list(store.rglob(".*.clsp-tmp"))


def test_too_little_room(folder, tmp_path, monkeypatch):
    put(folder / "1.png")
    put(folder / "2.png")
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match=r"has 0.0 GB free, the decoded images need"):
        open_images(str(folder), ImagesConfig(), store=tmp_path / "store")


def test_one_image(folder):
    put(folder / "1.png")
    (folder / "2.png").write_bytes(b"")
    with pytest.raises(UserError) as error:
        open_images(str(folder), ImagesConfig())
    assert str(error.value) == (
        f"--data '{folder}': only one image can be used, at least two are needed; "
        "1 cannot be read, the first: 2.png: empty file (0 bytes); add images or mend them"
    )


def test_all_unreadable(folder, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    folder.mkdir()
    for number in range(3):
        path = folder / f"{number}.jpg"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:1500])
    for store in (None, tmp_path / "store"):
        with pytest.raises(UserError, match=r"none of the images can be used.*; 3 cannot be read, the first: 0.jpg: "):
            open_images(str(folder), ImagesConfig(), store=store)


def test_an_empty_name_is_not_the_current_folder(folder, monkeypatch):
    for number in range(3):
        put(folder / f"{number}.png", number)
    monkeypatch.chdir(folder)
    for ask in (open_images, check_source):
        with pytest.raises(UserError, match=r"^--data '' names nothing"):
            ask("")
    assert len(open_images(".").train) == 3


@pytest.mark.parametrize("content", [b"", "cut"])
def test_a_class_of_which_nothing_can_be_learnt_is_refused(folder, content):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    for part, label, number in ((p, c, k) for p in ("train", "test") for c in "ab" for k in range(3)):
        path = folder / part / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
        if (part, label) == ("train", "b"):
            path.write_bytes(path.read_bytes()[:300] if content else b"")
    with pytest.raises(UserError, match="of the class 'b', which the test part has, no train image can be read"):
        open_images(str(folder), ImagesConfig(store="none"))
    for number in range(3):
        (folder / f"test/b/{number}.png").unlink()
    images = open_images(str(folder), ImagesConfig(store="none"))
    assert (len(images.train), len(images.test)) == (3, 3)


def test_a_table_that_was_read_is_not_told_as_ignored(folder, monkeypatch):
    for number in range(2):
        put(folder / f"{number}.png", number)
    (folder / "labels.csv").write_text("image,label\n0.png,a\n1.png,b\n")
    assert not any("ignored" in note for note in open_images(str(folder)).notes if "--images.labels" not in note)
    (folder / "other.csv").write_text("x\n")
    assert "1 file is ignored because it is no image: 1 .csv" in open_images(str(folder)).notes
    unread = open_images(str(folder), ImagesConfig(labels="none"))
    assert "2 files are ignored because they are no images: 2 .csv" in unread.notes
    monkeypatch.chdir(folder.parent)
    stated = open_images(folder.name, ImagesConfig(labels=str(folder / "labels.csv")))
    assert "1 file is ignored because it is no image: 1 .csv" in stated.notes


def test_of_colour_the_first_bands_are_taken_as_of_any_bands(folder, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    folder.mkdir()
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    np.save(tmp_path / "a.npy", noise)
    two = open_images(str(folder), ImagesConfig(channels=2))
    np.testing.assert_array_equal(
        two.train.images, open_images(str(tmp_path / "a.npy"), ImagesConfig(channels=2)).train.images
    )
    assert "band 3 dropped: 3 images" in two.notes
    put(folder / "gray.png", 5)
    assert [entry.reason for entry in open_images(str(folder), ImagesConfig(channels=2)).excluded] == [
        "1 channel where 2 are wanted"
    ]


def test_no_images(folder):
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    with pytest.raises(UserError) as error:
        open_images(str(folder), ImagesConfig())
    assert str(error.value) == (
        f"--data '{folder}': the folder holds no images; it holds 1 .txt; images are files that end in "
        ".png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .gif, .ppm, .pgm, "
        ".avif, .heic, .heif, .jxl, .dcm, .dicom, .nii, .nii.gz"
    )


def test_what_clsp_made_among_the_data_is_no_data(folder):
    for number in range(3):
        put(folder / f"{number}.png", number)
    before = open_images(str(folder)).fingerprint
    for inside, mark in (("run/diffusion", "stage.json"), ("run", "recipe.yaml"), ("run", "images.json")):
        put(folder / inside / "samples.png", 9)
        (folder / inside / mark).write_text("{}")
    assert open_images(str(folder)).fingerprint == before


def test_a_folder_behind_many_links_is_read_once(folder):
    put(folder / "a" / "0.png", 0)
    put(folder / "a" / "1.png", 1)
    for number in range(31):
        (folder / f"link-{number}").symlink_to(folder / "a")
    (folder / "loop").symlink_to(folder / "loop")
    assert len(open_images(str(folder)).train) == 2


def test_what_has_a_place_of_its_own_is_listed_there(folder, tmp_path):
    put(folder / "z" / "0.png", 0)
    put(tmp_path / "elsewhere" / "1.png", 1)
    (folder / "a").symlink_to(folder / "z")
    (folder / "b.png").symlink_to(folder / "z" / "0.png")
    (folder / "c.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (folder / "d.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    images = open_images(str(folder))
    assert images.train.names == ["c.png", "z/0.png"]
    assert "2 files are ignored because they are no images: 2 links to images that are there" in images.notes


def test_pipes_and_closed_folders_are_left_out_and_said(folder, monkeypatch):
    put(folder / "0.png")
    put(folder / "1.png")
    os.mkfifo(folder / "pipe.png")  # who opens it waits for ever
    put(folder / "closed" / "2.png")
    scan = os.scandir

    def refused(place):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refused)
    images = open_images(str(folder))
    assert images.train.names == ["0.png", "1.png"]
    assert {entry.name: entry.reason for entry in images.excluded} == {
        "closed/": "the folder cannot be entered: Permission denied",
        "pipe.png": "no file, but a pipe, socket or device",
    }


def test_names_as_long_as_they_can_be(folder):
    for number in range(2):
        put(folder / ("x" * 250 + f"{number}.png"), number)
    assert len(open_images(str(folder)).train) == 2


def test_results_in_the_folder_of_the_images_itself(folder):
    put(folder / "0.png")
    put(folder / "1.png")
    before = open_images(str(folder)).fingerprint
    put(folder / "views.png")
    (folder / "stage.json").write_text("{}")
    put(folder / "run" / "samples.png")
    (folder / "run" / "stage.json").write_text("{}")
    images = open_images(str(folder))
    assert images.fingerprint == before
    assert "results of clsp among the images left out: run/" in images.notes


def test_another_set_of_images_leaves_the_store_of_the_first_alone(folder, tmp_path):
    store = tmp_path / "store"
    for number in range(3):
        put(folder / f"{number}.png", number)
    open_images(str(folder), store=store)
    first = {path: path.read_bytes() for path in store.rglob("*.npy")}
    put(folder / "3.png", 3)
    assert len(open_images(str(folder), store=store).train) == 4
    assert {path: path.read_bytes() for path in first} == first
