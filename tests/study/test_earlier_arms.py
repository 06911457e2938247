"""A comparison that grows by further calls: the rows of its table, and how its parts are continued and mended."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from clsp import files
from clsp.cli.again import command_for
from clsp.recipes.arms import parse_arm
from clsp.recipes.prepare import Prepared
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import nested
from clsp.study.onward import find_training
from clsp.study.study import Study
from clsp.study.verify import verify
from workbench import clsp, flip

SMALL = (
    "compare", "--recipe", "smoke", "--evaluate.classifier_epochs", 0, "--images.store", "none", "--seeds", 1,
    "--diffusion.steps", 4, "--synthesize.anchors", 32, "--pretrain.images", "null", "--pretrain.batch_size", 16,
    "--pretrain.epochs", 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Photos, and a comparison of ``simclr`` and ``simclr+bank``, whose bank is of half of them."""
    place, rng = tmp_path_factory.mktemp("earlier"), np.random.default_rng(0)
    for number in range(96):
        part, name = "test" if number % 3 == 0 else "train", "ab"[number // 3 % 2]
        path = place / "photos" / part / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16)).astype(np.uint8)).save(path)
    assert compare(place, "simclr,simclr+bank") == 0
    return place


@pytest.fixture
def place(first, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(first, tmp_path / "place")


@pytest.fixture(scope="module")
def grown(first, tmp_path_factory):
    """The same after a call with another arm, which needs no bank."""
    place = shutil.copytree(first, tmp_path_factory.mktemp("grown") / "place")
    assert compare(place, "simclr,nnclr", data=first / "photos") == 0  # a config.json names them
    return place


def compare(place, methods, *more, data=None):
    return clsp(*SMALL, *more, "--methods", methods, "--data", data or place / "photos", "--out", place / "R")


def rows(place):
    return {row["arm"]: row for row in files.read_json(place / "R" / "comparison.json")["arms"]}


def test_an_arm_without_a_bank_joins_those_with_one_on_the_same_images(first, grown):
    assert list(rows(grown)) == ["simclr", "nnclr", "simclr+bank"]
    trained = {files.read_json(path)["facts"]["anchors"] for path in grown.glob("R/arms/*/seed-0/stage.json")}
    assert trained == {32}
    before, after = (rows(place)["simclr+bank"]["cost"] for place in (first, grown))
    assert after == before
    assert after["generator_flops"] > 0
    assert rows(grown)["nnclr"]["cost"]["generator_seconds"] == 0


@pytest.mark.parametrize(("images", "count"), [(None, 20), (12, 12)])
def test_the_images_to_train_on_do_not_depend_on_whether_an_arm_needs_a_bank(make_images, tmp_path, images, count):
    recipe = load_recipe("smoke", nested({"synthesize.anchors": 20, "pretrain.images": images}))
    arm = parse_arm("simclr")
    study = Study(Prepared(recipe, "smoke", make_images(60)), tmp_path, [arm], [0], arm, arm, [], None)
    assert len(study.anchors()) == count


def test_a_row_of_other_test_images_is_left_out(place, capsys):
    path = next((place / "photos" / "test").rglob("*.png"))
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert compare(place, "simclr+bank") == 0
    assert "arm simclr: 1 runs with other test images are left out of the table" in capsys.readouterr().err
    assert list(rows(place)) == ["simclr+bank"]


def test_a_row_of_other_anchors_or_candidates_is_left_out(place, capsys):
    bank, (kept, given) = place / "given", ("simclr+bank", "simclr+bank+host")
    shutil.move(place / "R" / "positives", bank)
    assert compare(place, given, "--positives", bank) == 0
    assert set(rows(place)) == {kept, given, "simclr"}
    assert compare(place, "simclr") == 0  # nothing says any more which bank theirs was, and what it cost
    assert f"arm {given}: 1 runs with other candidates are left out" in capsys.readouterr().err
    assert set(rows(place)) == {"simclr"}
    path = place / "R" / "arms" / "simclr" / "seed-0" / "stage.json"
    record = files.read_json(path)
    record["settings"]["anchors"] = "others"
    files.write_json(path, files.sealed({name: value for name, value in record.items() if name != "sha256"}))
    assert compare(place, "byol") == 0
    assert "arm simclr: 1 runs with other anchors are left out" in capsys.readouterr().err


def test_what_is_no_arm_and_no_seed_is_passed_over(place):
    for name in ("old", "simclr+bank.old", "simclr/seed-0.old", "simclr/seed-x"):
        (place / "R" / "arms" / name).mkdir()
    assert compare(place, "simclr,simclr+bank") == 0
    assert {name: row["seeds"] for name, row in rows(place).items()} == {"simclr": 1, "simclr+bank": 1}


def test_the_main_arm_is_continued_by_its_own_method_and_positives(place):
    arm = "moco+bank+nearest+nt_xent"
    assert compare(place, f"simclr,{arm}") == 0
    assert clsp("continue", place / "R", "--epochs", 2, "--out", place / "new") == 0
    settings = files.read_json(place / "new" / "stage.json")["settings"]
    assert (settings["method"], settings["epochs"]) == ("moco", 2)
    positive = settings["positive"]
    assert (positive["source"], positive["also"], positive["objective"]) == ("bank", "nearest", "nt_xent")
    moved = shutil.move(place / "R" / "positives", place / "bank")
    assert find_training(place / "R", moved).own["positive"]["also"] == "nearest"
    other = find_training(place / "R", "view")
    assert (other.own, other.positives) == ({"method": "moco"}, "view")


def test_what_a_recipe_says_of_the_main_arm_is_taken_over(place):
    recipe = files.read_yaml(place / "R" / "recipe.yaml")
    recipe["per_method"] = {"simclr+bank+host": {"weight_decay": 0.003}}
    files.write_text(place / "mine.yaml", yaml.safe_dump(recipe))
    assert compare(place, "simclr,simclr+bank+host", "--recipe", place / "mine.yaml") == 0
    assert clsp("continue", place / "R", "--epochs", 1, "--out", place / "new") == 0
    settings = files.read_json(place / "new" / "stage.json")["settings"]
    assert (settings["positive"]["placement"], settings["weight_decay"]) == ("host", 0.003)


@pytest.mark.parametrize("name", ["encoder.safetensors", "evaluation/metrics.json"])
def test_the_arm_of_an_earlier_call_is_made_again(grown, tmp_path, capsys, name):
    place = shutil.copytree(grown, tmp_path / "place")
    path = place / "R" / "arms" / "simclr+bank" / "seed-0" / name
    before, table = path.read_bytes(), (place / "R" / "comparison.json").read_bytes()
    flip(path)
    assert clsp("verify", place / "R", "--repair") == 0
    said = capsys.readouterr().err
    assert "--methods simclr,nnclr,simclr+bank --" in said
    assert f"{path} was made again, the same bytes" in said
    assert (path.read_bytes(), (place / "R" / "comparison.json").read_bytes()) == (before, table)
    assert verify(place / "R").findings == []


def test_what_the_last_call_cannot_make_again_is_left_and_said_so(place, capsys):
    assert compare(place, "moco", "--pretrain.lr", 0.01) == 0
    path = place / "R" / "arms" / "simclr" / "seed-0" / "encoder.safetensors"
    flip(path)
    damaged = path.read_bytes()
    capsys.readouterr()
    assert clsp("verify", place / "R", "--repair") == 1
    said = capsys.readouterr().err
    assert f"{path} is of an earlier call, and the last one has other arms, seeds or settings: delete" in said
    assert path.read_bytes() == damaged


def test_the_command_is_widened_only_by_what_is_there(tmp_path):
    def table(cells):
        arms = [{"arm": arm, "runs": {"linear": dict.fromkeys(map(str, seeds), 1.0)}} for arm, seeds in cells.items()]
        files.write_json(tmp_path / "comparison.json", {"arms": arms})

    def asked(*names):
        return command_for(tmp_path, [tmp_path / "arms" / name / "encoder.safetensors" for name in names])

    command = f"clsp compare --data digits --out {tmp_path} --methods simclr --seeds 1"
    files.write_json(tmp_path / "checksums.json", files.sealed({"command": command, "files": {}}))
    table({"simclr": [0], "byol": [0, 1]})
    assert asked("simclr/seed-0").wide == asked("simclr/seed-0").arguments
    wide = asked("byol/seed-0").wide  # the encoder to take away stays simclr's
    assert wide[wide.index("--methods") + 1 :] == ["simclr,byol", "--seeds", "1", "--baseline", "byol"]
    assert len(asked("byol/seed-1").lost) == 1  # simclr with seed 1 would be trained
    assert "no command makes it again" in next(iter(asked("byol/seed-0/superseded/a").lost.values()))
    table({"simclr": [0, 1], "byol": [0, 1]})
    wide = asked("byol/seed-1").wide
    assert wide[wide.index("--seeds") + 1] == "2"


def test_an_arm_that_a_run_has_no_more_is_left(tmp_path):
    command = f"clsp run --data digits --out {tmp_path}"
    files.write_json(tmp_path / "checksums.json", files.sealed({"command": command, "files": {}}))
    paths = [tmp_path / "arms" / arm / "seed-0" / "encoder.safetensors" for arm in ("simclr", "simclr+view")]
    assert not command_for(tmp_path, paths).lost  # nothing says which arms it had
    files.write_json(tmp_path / "evaluation" / "metrics.json", {"arm": "simclr", "controls": {}})
    assert list(command_for(tmp_path, paths).lost) == paths[1:]
