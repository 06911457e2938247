"""The cache of decoded images: the next command decodes nothing, and what lies there is never taken on trust."""

import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsp import distributed
from clsp.images import cache, opening
from clsp.images import folder as folders
from clsp.images import store as stores
from clsp.images.config import ImagesConfig
from clsp.images.sources import open_images


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The cache of decoded images."""
    monkeypatch.setenv("CLSP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def decoded(monkeypatch):
    """Counts decoded files."""
    count = []
    real = folders.decode_file
    monkeypatch.setattr(folders, "decode_file", lambda *args, **more: count.append(1) or real(*args, **more))
    return count


def put(folder, count=4, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (8, 8), first + number).save(folder / f"{number}.png")


def sets(place):
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def test_a_folder_is_decoded_once(place, tmp_path, decoded, capsys):
    put(tmp_path / "data")
    first = open_images(str(tmp_path / "data"))
    assert len(decoded) == 4
    assert f"images: kept decoded for later commands, 0 MB in {place}" in capsys.readouterr().err
    again = open_images(str(tmp_path / "data"))
    stated = open_images(str(tmp_path / "data"), ImagesConfig(size=8, channels=1))  # as an encoder asks for them
    assert len(decoded) == 4
    assert first.fingerprint == again.fingerprint == stated.fingerprint
    assert again.listed is not None and again.listed.is_file()
    assert f"images: decoded before, taken from {place}" in capsys.readouterr().err
    assert (place.stat().st_mode & 0o077) == 0
    open_images(str(tmp_path / "data"), ImagesConfig(store="none"))
    open_images(str(tmp_path / "data"), ImagesConfig(store=str(tmp_path / "mine")))
    assert len(decoded) == 12
    open_images(str(tmp_path / "data"), ImagesConfig(store=str(tmp_path / "mine")))
    assert len(decoded) == 12


def test_results_among_the_images_change_nothing(place, tmp_path, decoded):
    put(tmp_path / "data")
    before = open_images(str(tmp_path / "data"))
    put(tmp_path / "data" / "run")
    (tmp_path / "data" / "run" / "stage.json").write_text("{}")
    (tmp_path / "data" / "embeddings.csv").write_text("name,f0\n0.png,1\n")
    after = open_images(str(tmp_path / "data"))
    assert len(decoded) == 4
    assert before.fingerprint == after.fingerprint
    assert "results of clsp among the images left out: run/" in after.notes


def test_other_files_of_equal_names_sizes_and_times_are_other_images(place, tmp_path):
    for name, first in (("a", 0), ("b", 100)):
        put(tmp_path / name, first=first)
        for path in (tmp_path / name).iterdir():
            os.utime(path, ns=(7, 7))  # as an archive that was unpacked has them
    assert open_images(str(tmp_path / "a")).train.images[0, 0, 0, 0] == 0
    assert open_images(str(tmp_path / "b")).train.images[0, 0, 0, 0] == 100
    Image.new("L", (8, 8), 55).save(tmp_path / "a" / "0.png")
    os.utime(tmp_path / "a" / "0.png", ns=(7, 7))  # the copy keeps its time
    assert open_images(str(tmp_path / "a")).train.images[0, 0, 0, 0] == 55


def test_a_flipped_bit_is_decoded_again(place, tmp_path, decoded, capsys):
    put(tmp_path / "data")
    before = open_images(str(tmp_path / "data")).fingerprint
    (kept,) = place.rglob("train.npy")
    content = bytearray(kept.read_bytes())
    content[-5] ^= 4
    kept.write_bytes(content)
    assert open_images(str(tmp_path / "data")).fingerprint == before
    assert len(decoded) == 8
    assert "is damaged (the bytes of train.npy have changed): decoded again" in capsys.readouterr().err
    index = kept.with_name("index.json")
    index.write_text(index.read_text().replace('"0.png"', '"9.png"'))
    assert open_images(str(tmp_path / "data")).train.names[0] == "0.png"
    for path, damage in ((index, b"[1]"), (index, b"{" * 5000), (kept, b""), (kept, b"\x93NUMPY\x01\x00v\x00{'descr'")):
        path.write_bytes(damage)
        assert open_images(str(tmp_path / "data")).fingerprint == before


@pytest.mark.parametrize("store", ["auto", "mine"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_set_that_serves_another_size_heals(place, tmp_path, decoded, capsys, store, gone):
    put(tmp_path / "data")
    where = {"store": str(tmp_path / "mine") if store == "mine" else store}
    before = open_images(str(tmp_path / "data"), ImagesConfig(**where)).fingerprint
    (kept,) = tmp_path.rglob("train.npy")
    kept.write_bytes(b"" if gone else kept.read_bytes()[:-1] + b"\xff")
    stated = ImagesConfig(size=8, channels=1, **where)  # as an encoder asks for them
    for _ in range(2):
        assert open_images(str(tmp_path / "data"), stated).fingerprint == before
    assert len(decoded) == 8
    assert "is damaged" in capsys.readouterr().err
    assert open_images(str(tmp_path / "data"), ImagesConfig(**where)).fingerprint == before
    assert open_images(str(tmp_path / "data"), stated).fingerprint == before
    assert len(decoded) == 12 and "cannot keep" not in capsys.readouterr().err


def test_a_file_that_the_disk_did_not_give_is_tried_again(place, tmp_path, decoded, monkeypatch, capsys):
    put(tmp_path / "data")
    (tmp_path / "data" / "bad.png").write_bytes(b"")
    real, failing = opening._stream, [errno.EIO]

    def stream(file):
        if failing and isinstance(file, Path) and file.name == "2.png":
            raise OSError(failing[0], os.strerror(failing[0]))
        return real(file)

    monkeypatch.setattr(opening, "_stream", stream)
    for _ in range(2):
        assert open_images(str(tmp_path / "data")).train.names == ["0.png", "1.png", "3.png"]
    assert len(decoded) == 6
    assert "2.png (cannot be opened: Input/output error); as the disk may have failed" in capsys.readouterr().err
    monkeypatch.setattr(distributed, "world_size", lambda: 2)  # all processes of a run take the same images
    assert len(open_images(str(tmp_path / "data")).train) == 3 and len(decoded) == 6
    monkeypatch.undo()
    monkeypatch.setenv("CLSP_CACHE", str(place.parent))
    assert len(open_images(str(tmp_path / "data")).train) == 4
    assert "as the disk may have failed" in capsys.readouterr().err
    open_images(str(tmp_path / "data"))
    assert "decoded before" in capsys.readouterr().err  # an empty file is no failure of the disk


def test_a_file_that_may_not_be_read_is_no_failure_of_the_disk():
    for raised, passing in ((errno.EACCES, False), (errno.ENOENT, False), (None, False), (errno.ESTALE, True)):
        with pytest.raises(opening.UnreadableImage) as found, opening.reading(b"x", 10):
            raise OSError(raised, "no") if raised else OSError("decoder error")
        assert found.value.passing == passing


def test_what_an_extra_reads_is_read_once_it_is_there(place, tmp_path, decoded, monkeypatch, capsys):
    put(tmp_path / "data")
    Image.new("L", (8, 8)).save(tmp_path / "data" / "x.tif")
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "imagecodecs" else there(name))
    assert opening.libraries_for(["a/b.TIFF", "c.png"]) == []
    for _ in range(2):
        open_images(str(tmp_path / "data"))
    assert len(decoded) == 5
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert opening.libraries_for(["b.tif", "x.HEIC", "y.nii.gz", "c.png"]) == ["imagecodecs", "nibabel", "pillow_heif"]
    open_images(str(tmp_path / "data"))
    assert len(decoded) == 10
    (tmp_path / "data" / "x.tif").unlink()
    open_images(str(tmp_path / "data"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    open_images(str(tmp_path / "data"))
    assert len(decoded) == 14  # of these files none needs anything


def test_what_was_used_longest_ago_goes_and_is_said(place, tmp_path, monkeypatch, capsys):
    (place / "not clsp's").mkdir(parents=True)
    (place / "not clsp's" / "x.npy").write_bytes(bytes(900))
    names = []
    for number, name in enumerate("abc"):
        put(tmp_path / name)
        open_images(str(tmp_path / name))
        (names := [*names, *(set(sets(place)) - {"not clsp's", *names})])
        for mark in place.rglob(".in-use-*"):
            mark.unlink()  # as if its process had ended
        os.utime(place / names[-1], (number, number))
    size = cache._size(place / names[0])
    monkeypatch.setattr(cache, "LIMIT", 3 * size + 10)
    put(tmp_path / "d")
    open_images(str(tmp_path / "d"))
    assert names[0] not in sets(place)
    assert {names[1], names[2], "not clsp's"} < set(sets(place))
    assert "images: 1 sets of decoded images that were used longest ago removed from" in capsys.readouterr().err
    assert (place / "not clsp's" / "x.npy").exists()


def test_what_a_process_has_open_stays(place, tmp_path, monkeypatch, capsys):
    put(tmp_path / "a")
    held = open_images(str(tmp_path / "a"))
    monkeypatch.setattr(cache, "LIMIT", cache._size(place / sets(place)[0]) + 10)
    put(tmp_path / "b", first=50)
    images = open_images(str(tmp_path / "b"), own=tmp_path / "own")
    assert [path.parent.parent for path in tmp_path.rglob("train.npy")].count(tmp_path / "own") == 1
    assert "cannot keep them" in capsys.readouterr().err
    assert held.train.images[3, 0, 0, 0] == 3
    assert images.train.images[0, 0, 0, 0] == 50
    (mark,) = place.rglob(".in-use-*")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mark.rename(mark.with_name(f".in-use-{cache.NODE}-{ended.pid}"))
    open_images(str(tmp_path / "b"))
    assert len(list(place.rglob("train.npy"))) == 1


@pytest.mark.parametrize("trouble", ["a file in the way", "read-only"])
def test_without_a_cache_the_work_goes_on(tmp_path, monkeypatch, capsys, trouble):
    put(tmp_path / "data")
    monkeypatch.setenv("CLSP_CACHE", str(tmp_path / "cache"))
    if trouble == "read-only":
        monkeypatch.setattr(cache.os, "access", lambda *args: False)
    else:
        (tmp_path / "cache").write_text("x")
    images = open_images(str(tmp_path / "data"))
    assert not isinstance(images.train.images, np.memmap)
    assert "images: the cache" in capsys.readouterr().err


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSP_CACHE", "/x/y")
    assert str(cache.cache_folder()) == "/x/y"
    monkeypatch.delenv("CLSP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(cache.cache_folder()) == "/x/clsp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "clsp"


def test_a_store_that_is_made_by_another_process_is_waited_for(place, tmp_path, decoded, monkeypatch, capsys):
    from threading import Thread

    from filelock import FileLock

    put(tmp_path / "data")
    open_images(str(tmp_path / "data"))
    (key,) = sets(place)
    monkeypatch.setattr(stores, "_PATIENCE", 0.05)
    found = []
    with FileLock(place / key / ".lock", thread_local=False):
        waiting = Thread(target=lambda: found.append(open_images(str(tmp_path / "data"))))
        waiting.start()
        waiting.join(0.4)
        assert not found
    waiting.join(10)
    assert len(found) == 1 and len(decoded) == 4
    assert "another process decodes the same images" in capsys.readouterr().err
