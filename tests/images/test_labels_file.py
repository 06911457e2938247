"""Labels and more from a table: beside the images, or named by the user."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from clsp.errors import UserError
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Split
from clsp.images.sources import open_images


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def put(folder, *names):
    for value, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), value).save(path)


def read(folder, labels="auto"):
    return open_images(str(folder), ImagesConfig(labels=labels))


def labels_of(split, classes):
    """The class of every image, by its name; None where it has none."""
    return {name: classes[label] if label >= 0 else None for name, label in zip(split.names, split.labels, strict=True)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label\n0.png,dog\n1.png,cat\n2.png,dog\n3.png,cat\n"),
        ("Labels.CSV", "\ufeffImage Name;Class\r\n0.png;dog\r\n1.png;cat\r\n2.png;dog\r\n3.png;cat\r\n"),
        ("labels.tsv", "id\tspecies\n0\tdog\n1\tcat\n2\tdog\n3\tcat\n"),  # no suffixes, as in Kaggle's tables
        (
            "metadata.jsonl",
            "".join(json.dumps({"file_name": f"{k}.png", "label": "dogcat"[k % 2 * 3 :][:3]}) + "\n" for k in range(4)),
        ),
        ("labels.csv", "0.png,dog\n1.png,cat\n2.png,dog\n3.png,cat\n"),  # no head
        (
            "labels.csv",
            "picture,what\n/home/a/0.png,dog\n.\\1.png,cat\nx/2.PNG,dog\n3.jpg,cat\n",
        ),  # unknown heads, paths
    ],
)
def test_tables_as_people_write_them(folder, name, text):
    put(folder, *(f"{k}.png" for k in range(4)))
    (folder / name).write_text(text, encoding="utf-8", newline="")
    images = read(folder)
    assert images.classes == ("cat", "dog")
    assert images.train.labels.tolist() == [1, 0, 1, 0]
    assert any(note.startswith(f"{name} is read for 4 images: images by ") for note in images.notes)
    assert read(folder, "none").train.labels is None


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_the_end_of_a_line_ends_a_line(folder, character, end):
    put(folder, "0.png", "1.png")
    rows = [{"file_name": f"{k}.png", "label": "ab"[k], "caption": f"x{character}y"} for k in range(2)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if character >= " ":  # JSON escapes the others
        (folder / "metadata.jsonl").write_text("".join(line + end for line in lines), encoding="utf-8", newline="")
        assert read(folder).train.column("caption").tolist() == [f"x{character}y"] * 2
        (folder / "metadata.jsonl").unlink()
    (folder / "list.txt").write_text("".join(f"{k}.png a{character}b{k}{end}" for k in range(2)), newline="")
    assert read(folder, str(folder / "list.txt")).classes == (f"a{character}b0", f"a{character}b1")


def test_a_head_is_one_also_where_a_file_is_called_like_its_cells(folder):
    put(folder, "image.png", "b.png", "c.png")
    (folder / "labels.csv").write_text("image,label\nimage.png,x\nb.png,y\nc.png,x\n")
    images = read(folder)
    assert labels_of(images.train, images.classes) == {"b.png": "y", "c.png": "x", "image.png": "x"}


def test_a_column_of_flags_is_no_label(folder):
    put(folder, "a.png", "b.png")
    (folder / "metadata.csv").write_text("file_name,validation\na.png,True\nb.png,False\n")
    assert read(folder).classes is None and read(folder).train.column("validation").tolist() == ["True", "False"]


def test_what_does_not_fit_is_counted_and_said(folder):
    put(folder, *(f"{k}.png" for k in range(5)))
    rows = ["file_name,label", "0.png,a", "1.png,b", "2.png,a", "gone.png,b", "lost.png,b", "0.png,b", "3.png,"]
    (folder / "metadata.csv").write_text("\n".join(rows))
    images = read(folder)
    assert labels_of(images.train, images.classes) == {
        "0.png": "a", "1.png": "b", "2.png": "a", "3.png": None, "4.png": None
    }  # fmt: skip
    assert "2 rows of metadata.csv without an image: gone.png, lost.png" in images.notes
    assert "1 row of metadata.csv for an image that has one: the first counts" in images.notes
    assert "1 image without a row in metadata.csv: 4.png" in images.notes


def test_further_columns(folder, tmp_path):
    put(folder, *(f"{k}.png" for k in range(3)))
    (folder / "0.png").write_bytes(b"")
    (folder / "metadata.csv").write_text(
        "file_name,label,Caption,time,noisy label,patient\n0.png,a,first,3,1,1\n"
        '2.png,b,"third, red",5.5,0,10\n1.png,a,second,4,1,007\n'
    )
    for _ in range(2):  # decoded, and taken from the store
        images = open_images(str(folder), store=tmp_path / "store")
        assert images.train.names == ["1.png", "2.png"]
        assert images.train.column("caption").tolist() == ["second", "third, red"]
        assert images.train.column("time").tolist() == [4.0, 5.5]
        assert images.train.column("noisy_label").tolist() == [1, 0]
        assert images.train.column("patient").tolist() == ["007", "10"]
    limited = open_images(str(folder), ImagesConfig(limit=2))
    assert limited.train.column("caption").tolist() == ["second", "third, red"]


def test_the_user_names_file_and_columns(folder, tmp_path):
    put(folder, *(f"{k}.png" for k in range(4)))
    table = tmp_path / "t.csv"
    table.write_text("key,grade,kind\n0,1,x\n1,2,y\n2,10,x\n3,2,y\n")
    assert read(folder, f"{table}:kind").classes == ("x", "y")
    assert read(folder, f"{table}:key,grade").classes == ("1", "2", "10")  # by their value
    with pytest.raises(UserError, match=r"has no column 'kin'; did you mean 'kind'\?; it has key, grade, kind"):
        read(folder, f"{table}:kin")
    for gone in ("none.csv", "none.csv:kind"):
        with pytest.raises(UserError, match=f"'{gone}': there is no such file, neither from here"):
            read(folder, gone)
    with pytest.raises(UserError, match=r"'all' is neither auto, none nor a file of labels"):
        read(folder, "all")
    images = read(folder, str(table))
    assert images.classes is None
    assert any("has no column that is known to hold labels (key, grade, kind)" in note for note in images.notes)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"a,b\n1,2\n", b"\xff\xfe\x00", b"\x00\x01\x02" * 9, b'"' + b"x" * 200_000]
)
def test_a_table_that_cannot_be_used(folder, content):
    put(folder, "x.png", "y.png")
    (folder / "labels.csv").write_bytes(content)
    images = read(folder)
    assert images.train.labels is None
    assert any(note.startswith("labels.csv is not read: ") for note in images.notes)
    with pytest.raises(UserError, match=r"^--images.labels: .*labels.csv"):
        read(folder, str(folder / "labels.csv"))


def test_parts_in_folders_and_in_a_column(folder, tmp_path):
    put(folder, *(f"{part}/{k}.png" for part in ("train", "test") for k in range(4)))
    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text("id,label\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(3)))
    images = read(folder)
    assert images.train.labels.tolist() == [0, 1, 0, -1]
    assert images.test.names == ["test/0.png", "test/1.png", "test/2.png"]
    assert "1 test image without a label left out: test/3.png" in images.notes
    put(tmp_path / "flat", *(f"{k}.png" for k in range(6)))
    rows = [f"{k}.png,{'ab'[k % 2]},{'TRAIN' if k < 3 else 'valid' if k == 3 else 'test'}" for k in range(6)]
    (tmp_path / "flat" / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]))
    images = read(tmp_path / "flat")
    assert (images.train.names, images.test.names) == (["0.png", "1.png", "2.png"], ["4.png", "5.png"])
    assert any("parts from the column 'split'" in note for note in images.notes)


def of_split(folder, values, column="split"):
    put(folder, *(f"{k}.png" for k in range(len(values))))
    rows = [f"{k}.png,{'ab'[k % 2]},{value}" for k, value in enumerate(values)]
    (folder / "metadata.csv").write_text("\n".join([f"file_name,label,{column}", *rows]))
    return read(folder)


def test_an_empty_cell_belongs_to_no_part(folder):
    images = of_split(folder, ["train"] * 4 + ["test"] * 3 + [""])
    assert (len(images.train), images.test.names) == (4, ["4.png", "5.png", "6.png"])
    assert "1 image of other parts, of none, or without a label left out" in images.notes


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["train"] * 4 + ["test"] * 3 + ["odd"], "it says 'odd' of 1 image"),
        (["test"] * 3 + [""] * 5, "it says train of no image"),
        (["train"] * 8, None),
        (["left", "right"] * 4, None),
        ([""] * 8, None),
    ],
)
def test_a_column_that_is_read_as_parts_no_more_is_said(folder, values, why):
    images = of_split(folder, values)
    assert images.test is None and len(images.train) == 8
    said = [note for note in images.notes if "the column 'split' is not read as parts" in note]
    assert not said if why is None else why in said[0]


def tables(folder, **rows):
    put(folder, *(f"images/{k}.png" for k in range(8)))
    for stem, numbers in rows.items():
        body = "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in numbers)
        (folder / f"{stem}.csv").write_text(f"file_name,label\n{body}")
    return read(folder)


def test_tables_called_like_parts_part_the_images(folder):
    images = tables(folder, train=range(4), test=range(3, 7))
    assert images.train.names == ["images/0.png", "images/1.png", "images/2.png", "images/7.png"]
    assert images.test.names == ["images/3.png", "images/4.png", "images/5.png", "images/6.png"]
    assert (images.train.labels.tolist(), images.test.labels.tolist()) == ([0, 1, 0, -1], [1, 0, 1, 0])
    assert any("parts from test.csv and train.csv: 4 images in train, 4 in test" in note for note in images.notes)


def test_what_a_table_of_labels_and_one_of_test_images_say(folder):
    images = tables(folder, labels=range(8), test=(6, 7))
    assert (len(images.train), images.test.names) == (6, ["images/6.png", "images/7.png"])
    (folder / "labels.csv").unlink()
    assert read(folder).test is None  # nothing is left to learn from
    (folder / "train.csv").write_text("file_name,label\n0.png,a\n1.png,b\n")
    (folder / "test.csv").write_text("file_name\n6.png\n7.png\n")  # as in a contest: nothing can be measured on them
    assert read(folder).test is None and len(read(folder).train) == 8


def test_a_table_goes_before_folder_names_and_only_with_labels(folder):
    put(folder, *(f"{label}/{k}.png" for label in "pq" for k in range(2)))
    (folder / "metadata.csv").write_text("path,caption\np/0.png,one\np/1.png,two\nq/0.png,three\nq/1.png,four\n")
    images = read(folder)
    assert images.classes == ("p", "q")
    assert images.train.column("caption").tolist() == ["one", "two", "three", "four"]
    (folder / "metadata.csv").write_text("path,label\np/0.png,1\np/1.png,2\nq/0.png,1\nq/1.png,2\n")
    assert read(folder).train.labels.tolist() == [0, 1, 0, 1]


def test_names_in_either_spelling_and_encoding(folder):
    put(folder, "cafe\u0301.png", "b.png", "c.png")  # as macOS writes it
    (folder / "b.png").rename(folder / os.fsdecode(b"gr\xfcn.png"))  # Latin-1, from an old archive
    (folder / "labels.csv").write_text("image,label\ncaf\u00e9.png,a\ngr\u00fcn.png,b\nc.png,b\n", encoding="utf-8")
    images = read(folder)
    assert images.train.labels.tolist() == [1, 0, 1]
    (folder / "labels.csv").write_text("image,label\ncaf\u00e9.png,a\ngr\u00fcn.png,b\nc.png,b\n", encoding="latin-1")
    images = read(folder)
    assert images.train.labels.tolist() == [1, 0, 1]
    assert "labels.csv is not UTF-8: read as Latin-1" in images.notes


def test_an_id_is_no_beginning_of_another(folder):
    put(folder, "scan.png", "scan.v2.png", "a/1.png", "b/1.png")
    (folder / "labels.csv").write_text("id,label\nscan,x\nscan.v2,y\na/1,x\n1,y\n")
    images = read(folder)
    assert labels_of(images.train, images.classes) == {
        "a/1.png": "x",
        "b/1.png": None,
        "scan.png": "x",
        "scan.v2.png": "y",
    }
    assert "1 row of labels.csv without an image: 1" in images.notes


def test_a_changed_table_is_read_again(folder, tmp_path):
    put(folder, "0.png", "1.png")
    for first in "ab":
        (folder / "labels.csv").write_text(f"image,label\n0.png,{first}\n1.png,c\n")
        assert open_images(str(folder), store=tmp_path / "store").classes == (first, "c")


def test_one_long_text_does_not_make_all_rows_as_long():
    captions = ["a", "b" * 1_000_000, *("c",) * 2000]  # 8 GB, were every row as long as the longest
    split = Split(images=np.zeros((2002, 1, 8, 8), np.uint8), names=["n"] * 2002, columns={"caption": captions})
    assert split.column("caption").tolist() == captions
    assert len(split.fingerprint) == 16
    flags = Split(images=split.images, names=split.names, columns={"validation": [True] * 2002}).column("validation")
    assert flags.dtype == bool
