"""A file of labels that was typed as a relative path: found from other folders, and never read for other images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsp import api
from clsp.cli.again import command_for
from clsp.encoders.export import EncoderSpec
from clsp.errors import UserError
from clsp.publish.origin import origin_of
from clsp.publish.quantise import _task
from clsp.recipes.prepare import prepare
from clsp.study.explore import _prepared
from clsp.study.opened import images_of, prepare_as, settings_in
from clsp.study.record import write_record


def pictures(folder, seed, count=6):
    folder.mkdir(parents=True)
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 255, (count, 16, 16), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What a command in ``work`` wrote down of images whose labels lie beside their folder; we stand elsewhere then."""
    work = pictures(tmp_path / "work" / "pics", 0).parent
    monkeypatch.chdir(work)
    Path("lab.csv").write_text("file,kind\n" + "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in range(6)))
    out, words = Path("enc"), "clsp pretrain --data pics --images.labels lab.csv:kind --out enc"
    prepared = prepare("pics", recipe="smoke", overrides={"images": {"labels": "lab.csv:kind"}})
    write_record(out, prepared, "pics", words)
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "last.safetensors").write_bytes(b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return work / "enc"


def labels(images):
    return None if images.train.labels is None else images.train.labels.tolist()


def test_labels_are_found_from_another_folder(made, monkeypatch):
    assert labels(prepare_as(made / "recipe.yaml").images) == [0, 1, 0, 1, 0, 1]
    assert labels(images_of(made)) == [0, 1, 0, 1, 0, 1]
    wanted = f"{made.parent / 'lab.csv'}:kind"
    assert command_for(made, []).arguments[3:5] == ["--images.labels", wanted]
    Path("lab.csv").write_text("file,kind\n0.png,z\n")  # of something else: what lay there from the result counts
    assert settings_in(made / "recipe.yaml")[1] == {"images": {"labels": wanted}}
    monkeypatch.chdir(made.parent)  # where it was typed, nothing differs
    assert settings_in(made / "recipe.yaml") == (str(made / "recipe.yaml"), {})


def test_labels_that_are_gone_are_said_to_be(made):
    (made.parent / "lab.csv").unlink()
    with pytest.raises(UserError, match=r"'lab.csv:kind': there is no such file"):
        prepare_as(made / "recipe.yaml")


@pytest.mark.parametrize("count", [6, 2])
def test_other_images_do_not_get_labels_by_names_that_coincide(made, tmp_path, capsys, count):
    other = str(pictures(tmp_path / "other", 1, count))
    assert labels(prepare_as(made / "recipe.yaml", other).images) is None
    assert f"{other} holds others" in capsys.readouterr().err
    same = shutil.copytree(made.parent / "pics", tmp_path / "moved")
    assert labels(prepare_as(made / "recipe.yaml", str(same)).images) == [0, 1, 0, 1, 0, 1]
    assert "holds others" not in capsys.readouterr().err


def test_other_images_whose_names_are_others_are_opened(made, tmp_path):
    other = pictures(tmp_path / "other", 1)
    for path in list(other.iterdir()):
        path.rename(path.with_name(f"x{path.name}"))
    given = {"images": {"labels": f"{made.parent / 'lab.csv'}"}}
    assert labels(prepare_as(made / "recipe.yaml", str(other)).images) is None
    with pytest.raises(UserError, match="no column of"):  # but what is asked for now is done, or refused
        prepare_as(made / "recipe.yaml", str(other), settings=given)


def test_commands_that_take_other_images_leave_the_labels_behind(made, tmp_path, monkeypatch):
    other = str(pictures(tmp_path / "other", 1, 40))
    assert labels(_prepared(made, other).images) is None
    spec = EncoderSpec(name="resnet18", channels=1, size=16)
    task, _, _ = _task(spec, origin_of(made), other)
    assert task.train.labels is None
    monkeypatch.setattr(api, "_recorded", lambda prepared, *rest: prepared)
    monkeypatch.setattr(api, "tell_schedule", lambda *rest: None)
    assert labels(api.continue_training(made, tmp_path / "on", data=other).images) is None
    assert labels(api.continue_training(made, tmp_path / "on").images) == [0, 1, 0, 1, 0, 1]


def test_8_bit_finds_the_images_of_a_relative_path(made):
    spec = EncoderSpec(name="resnet18", channels=1, size=16)
    task, tested, _ = _task(spec, origin_of(made), None)
    assert len(task.train) + len(task.test) >= 6 and tested.endswith("of pics")
