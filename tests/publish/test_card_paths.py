"""What a card tells of the user's files: names, and nothing of the folders in which they lie."""

from __future__ import annotations

import pytest

from clsp.publish.card import data_told
from clsp.publish.origin import Origin, shared_name, shared_note

PATHS = ("/home/me/My Photos/jane doe/patients smith.csv", "private/patients/labels.csv", "../a b/c d.csv",
         "C:\\Users\\Jane Doe\\labels.csv", "/mnt/caf\udce9 x/lab\udce9.csv", "~/x y/l.csv", "lab.csv")  # fmt: skip
NAMES = ("patients smith.csv", "labels.csv", "c d.csv", "labels.csv", "lab\\xe9.csv", "l.csv", "lab.csv")


@pytest.mark.parametrize(("path", "name"), zip(PATHS, NAMES, strict=True))
@pytest.mark.parametrize("column", ["", ":kind"])
def test_of_a_known_path_the_last_part_is_told(path, name, column):
    origin = Origin(recipe={"data": {"source": "pics"}, "images": {"labels": path + column}})
    note = f"{path}{column} is read for 40 images: images by 'name'; --images.labels none ignores it"
    assert shared_note(note, origin.paths) == note.replace(path, name).replace("\udce9", "\\xe9")
    assert shared_note(f"{path} is not UTF-8: read as Latin-1", origin.paths) == f"{name} is not UTF-8: read as Latin-1"


@pytest.mark.parametrize(("path", "name"), zip(PATHS, NAMES, strict=True))
def test_of_another_path_nothing_is_told(path, name):
    kept = "" if path != name else f"{path} is read for 40 images: images by 'name'"
    assert shared_note(f"{path} is read for 40 images: images by 'name'", ["pics"]) == kept
    listed = shared_note(f"3 rows of lab.csv without an image: a.png, {path} and 1 more", ["pics"])
    assert listed == "3 rows of lab.csv without an image" + (": a.png, lab.csv and 1 more" if path == name else "")


@pytest.mark.parametrize(
    "note",
    [
        "labels read from the folder names: 2 classes; --images.labels none ignores them",
        "5 images that belong neither to train/ and train-b/ nor to the test part are left out: other/ (5)",
        "the folders are train/, val/.",
        "caf\\xe9.csv is read for 40 images",
    ],
)
def test_what_names_no_path_stays(note):
    assert shared_note(note, ["pics", "auto"]) == note


def test_a_source_that_is_a_root_changes_no_note():
    origin = Origin(recipe={"data": {"source": "/"}, "images": {"labels": "auto"}})
    assert shared_note("2 classes", origin.paths) == "2 classes"


def test_names_that_are_no_utf8_stay_whole():
    assert [shared_name(name) for name in ("caf\\xe9.csv", "a/caf\\xe9", "a\\b\\", "/", "./x/.")] == [
        "caf\\xe9.csv", "caf\\xe9", "b", "/", "x",
    ]  # fmt: skip


def test_what_was_left_out_is_told_once():
    about = {"source": "/home/me/pics", "train": 4, "fingerprint": "ab", "excluded": [{"name": "x.png"}]}
    text = data_told(Origin(images={**about, "notes": []}))
    assert text.endswith("\n- 1 file could not be read and was left out") and "home" not in text
    noted = data_told(Origin(images={**about, "notes": ["1 file could not be read and is left out: x.png (empty)"]}))
    assert noted.count("could not be read") == 1
    lost = data_told(Origin(images={**about, "notes": ["read by torchvision.datasets.MNIST from /home/me/d"]}))
    assert "1 note that would name folders left out here" in lost and "/home" not in lost
