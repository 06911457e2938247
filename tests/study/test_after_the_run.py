"""After a run on a folder without labels a person finds what they came for, by name, and how to go on."""

from __future__ import annotations

import csv
import os
import shlex
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from clsp import files
from clsp.cli.calls import parse_call
from clsp.study.onward import find_training
from clsp.study.opened import images_of
from clsp.study.verify import verify
from workbench import RUN, clsp, flip

COMMAND = (*RUN, "--images.size", 32, "--pretrain.epochs", 8)

STRANGE = os.fsdecode(b"=caf\xe9.png")
"""A name that is not UTF-8, and that a spreadsheet would compute."""


def write_photos(folder):
    """Smooth pictures, one of them twice, and one of stripes."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(39):
        coarse = Image.fromarray(rng.integers(70, 186, (3, 3, 3)).astype(np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"scene {number:02d}.png")
    Image.open(folder / "scene 05.png").save(folder / "copy.jpg", quality=90)
    (folder / "scene 20.png").rename(folder / STRANGE)
    stripes = np.broadcast_to(np.arange(32) // 2 % 2 * 255, (32, 32)).astype(np.uint8)
    Image.fromarray(stripes).save(folder / "stripes.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder ``photos``, its ``run``, and what the run printed, in ``told``."""
    folder = tmp_path_factory.mktemp("after the run")
    write_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("clsp.console.result", lambda text: printed.append(str(text)))
        assert clsp(*COMMAND, "--data", folder / "photos", "--out", folder / "run") == 0
    (folder / "told").write_text("\n".join(printed))
    return folder


@pytest.fixture
def copy(place, tmp_path):
    """The same in another folder, which a test may damage."""
    (tmp_path / "photos").symlink_to(place / "photos")
    return shutil.copytree(place / "run", tmp_path / "run")


def test_images_are_found_from_another_folder(place, tmp_path, monkeypatch):
    """`--data photos` was typed where the photos lay; what goes on from there is typed elsewhere, and all has moved."""
    moved = shutil.copytree(place, tmp_path / "moved", symlinks=True)
    monkeypatch.chdir(moved)
    assert clsp(*COMMAND, "--data", "photos", "--out", "run") == 0  # it has all its stages already
    monkeypatch.chdir(tmp_path)
    assert files.read_yaml(moved / "run" / "recipe.yaml")["data"]["source"] == "photos"
    assert len(images_of(moved / "run").train) == len(images_of(place / "run").train)
    assert clsp("explore", moved / "run") == 0
    assert find_training(moved / "run").data == str(moved / "photos")
    before = (moved / "run" / "recipe.yaml").read_bytes()
    (moved / "run" / "embeddings.parquet").unlink()
    assert clsp("verify", moved / "run", "--repair") == 0
    assert (moved / "run" / "embeddings.parquet").exists()
    assert (moved / "run" / "recipe.yaml").read_bytes() == before


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_copy_is_found_and_nothing_else_is_called_one(place):
    (pair,) = rows(place / "run/findings/duplicates.csv")
    assert {pair["first"], pair["second"]} == {"scene 05.png", "copy.jpg"}


def test_the_outlier_is_found(place):
    first, *others = rows(place / "run/findings/outliers.csv")
    assert (first["name"], first["stands_out"]) == ("stripes.png", "yes")
    assert float(first["distance"]) > float(others[0]["distance"])


def test_every_image_has_its_cluster_and_its_embedding(place):
    listed = rows(place / "run/findings/clusters.csv")
    table = parquet.read_table(place / "run/embeddings.parquet")
    assert table.schema.types[:3] == [pa.string()] * 3 and table.schema.types[3] == pa.list_(pa.float32(), 64)
    names = table["name"].to_pylist()
    assert len(names) == len(listed) == 41 and "=caf\\xe9.png" in names
    assert [row["name"].removeprefix("'") for row in listed] == names  # spreadsheets get a mark before the formula
    assert set(table["part"].to_pylist()) == {"train"} and set(table["label"].to_pylist()) == {None}


def test_embed_writes_the_same_table_and_the_same_bytes_each_time(place, tmp_path):
    for name in ("one", "two"):
        out = tmp_path / f"{name}.parquet"
        assert clsp("embed", "--encoder", place / "run", "--data", place / "photos", "--out", out) == 0
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    ours, theirs = parquet.read_table(place / "run/embeddings.parquet"), parquet.read_table(tmp_path / "one.parquet")
    assert ours.schema == theirs.schema and ours.drop(["embedding"]) == theirs.drop(["embedding"])
    values = [np.array(table["embedding"].to_pylist(), np.float32) for table in (ours, theirs)]
    np.testing.assert_allclose(*values, atol=1e-5)


def test_what_is_made_again_has_the_same_bytes(place, copy):
    made = {path.name: path.read_bytes() for path in (copy / "findings").iterdir() if path.name[0] != "."}
    shutil.rmtree(copy / "findings")
    (copy / "embeddings.parquet").unlink()
    (copy / "evaluation/features.safetensors").unlink()
    assert clsp(*COMMAND, "--data", place / "photos", "--out", copy) == 0
    assert (copy / "embeddings.parquet").read_bytes() == (place / "run/embeddings.parquet").read_bytes()
    for name in made.keys() - {"stage.json"}:
        assert (copy / "findings" / name).read_bytes() == made[name], name


@pytest.mark.parametrize("name", ["embeddings.parquet", "findings/duplicates.csv"])
def test_a_flipped_byte_is_found_and_made_again(copy, capsys, name):
    whole = (copy / name).read_bytes()
    flip(copy / name)
    assert [finding.path for finding in verify(copy).findings] == [copy / name]
    assert clsp("verify", copy, "--repair") == 0
    assert f"{copy / name} was made again, the same bytes" in capsys.readouterr().err
    assert (copy / name).read_bytes() == whole


def test_an_encoder_that_is_damaged_names_the_embeddings_as_made_from_it(copy):
    flip(copy / "arms/simclr+bank/seed-0/encoder.safetensors")
    (finding,) = verify(copy).findings
    assert {copy / "findings", copy / "embeddings.parquet"} <= set(finding.dependents)


def test_the_screen_names_four_commands_that_work(place, tmp_path, monkeypatch):
    told = (place / "told").read_text().splitlines()
    found = files.read_json(place / "run/findings/findings.json")["told"]["headline"]
    assert any(line == f"images:  {found}" for line in told)
    first = next(number for number, line in enumerate(told) if line.startswith("next:"))
    lines = [line.removeprefix("next:").strip() for line in told[first : first + 4]]
    explore, *commands = [shlex.split(line, comments=True) for line in lines]
    assert [command[:2] for command in commands] == [["clsp", "embed"], ["clsp", "export"], ["clsp", "evaluate"]]
    assert explore == ["clsp", "explore", str(place / "run")]
    assert clsp(*explore[1:], "--out", tmp_path / "page.html") == 0
    (tmp_path / "LABELLED_FOLDER").mkdir()  # stand-ins for what the user names
    monkeypatch.chdir(tmp_path)
    for command in commands[1:]:
        assert parse_call(command[1], command[2:]).own["encoder"] == str(place / "run")
    words = [str(place / "photos") if word == "NEW_FOLDER" else word for word in commands[0][1:]]
    assert clsp(*words) == 0
    assert parquet.read_table(tmp_path / "new.parquet").num_rows == 41


def test_the_page_shows_them(place):
    page = (place / "run/report.html").read_text()
    section = page[page.index('id="findings"') : page.index('id="data"')]
    for text in ("scene 05.png", "copy.jpg", "stripes.png", "Near-duplicates", "effective rank"):
        assert text in section, text
    assert "Nothing was measured" not in page
    shown = files.read_json(place / "run/findings/findings.json")
    expected = sum(sum(shown[kind]["sheet"]["pictures"]) for kind in ("clusters", "duplicates", "outliers"))
    assert section.count("<img ") == expected
