"""Trainings that start from weights: timm's, an encoder's, a file's, or all that another training had learnt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import clsp
from clsp import files
from clsp.encoders.backbone import build_backbone
from clsp.encoders.config import BackboneConfig
from clsp.encoders.weights import find_weights, read_weights, take_weights
from clsp.engine.fit import Callback
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.study.onward import find_training
from clsp.study.verify import verify
from clsp.training.pretrain import pretrain
from tiny import for_method, images_of

CPU = HardwareConfig(accelerator="cpu")
ARGS = {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}


class First(Callback):
    """Keeps the state before the first step."""

    def on_step(self, training, number, output):
        if number == 0:
            self.state = {name: value.clone() for name, value in training.method.state_dict().items()}
        return {}


@pytest.fixture
def train(tiny_pretrain):
    def run(folder, *, images=None, **changes):
        seen = First()
        config = tiny_pretrain(**{"epochs": 1, **changes})
        pretrain(images or images_of(), config, CPU, seed=0, folder=folder, callbacks=(seen,))
        return seen.state

    return run


def timms(path, **args):
    """Save weights as timm names them, with a classifier."""
    torch.manual_seed(3)
    model = timm.create_model("resnet18", num_classes=5, **ARGS | args)
    save_file(model.state_dict(), path)
    return model.state_dict()


def big(**args):
    return {"backbone": BackboneConfig(args=ARGS | args, stem="big")}


def test_a_training_begins_with_the_files_weights_and_needs_the_file_no_more(train, tmp_path, capfd):
    given = timms(tmp_path / "warm.safetensors")
    first = train(tmp_path / "enc", weights=str(tmp_path / "warm.safetensors"), **big())
    assert torch.equal(first["network.encoder.conv1.weight"], given["conv1.weight"])
    said = capfd.readouterr().err
    assert "78 of 78 tensors; not used fc.bias, fc.weight" in said
    (tmp_path / "warm.safetensors").unlink()
    assert clsp.load_encoder(tmp_path / "enc")(torch.rand(2, 3, 16, 16)).shape == (2, 16)
    assert "weights" in files.read_json(tmp_path / "enc/stage.json")["settings"]


def test_timms_own_words_for_weights_do_the_same_and_stay_out_of_the_encoder(train, tmp_path):
    timms(tmp_path / "warm.safetensors")
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "warm.safetensors")}}
    one = train(tmp_path / "a", weights=str(tmp_path / "warm.safetensors"), **big())
    two = train(tmp_path / "b", **big(**overlay))
    assert all(torch.equal(one[name], two[name]) for name in one)
    text = (tmp_path / "b/config.json").read_text() + (tmp_path / "b/snippet.py").read_text()
    assert "pretrained=" not in text and "warm.safetensors" not in text


def test_other_weights_are_another_training(train, tmp_path):
    path = tmp_path / "warm.safetensors"
    timms(path)
    train(tmp_path / "enc", weights=str(path), **big())
    shutil.copy(path, tmp_path / "same.safetensors")
    train_again = {"weights": str(tmp_path / "same.safetensors"), **big()}
    with pytest.raises(AttributeError):  # it is finished: no step was seen
        train(tmp_path / "enc", **train_again)
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    with pytest.raises(UserError, match=r"other settings \(weights"):
        train(tmp_path / "enc", weights=str(path), **big())
    with pytest.raises(UserError, match=r"other settings \(weights"):
        train(tmp_path / "enc", **big())


def test_gray_images_and_a_small_stem_take_what_fits(tmp_path):
    given = timms(tmp_path / "w.safetensors")
    gray = build_backbone("resnet18", ARGS, channels=1, size=32, stem="big")
    taken = take_weights(gray, read_weights(tmp_path / "w.safetensors"), "resnet18", 1)
    assert taken.adapted == ["conv1.weight"] and not taken.kept
    torch.testing.assert_close(gray.conv1.weight, given["conv1.weight"].sum(dim=1, keepdim=True))
    small = build_backbone("resnet18", ARGS, channels=3, size=32, stem="small")
    taken = take_weights(small, read_weights(tmp_path / "w.safetensors"), "resnet18", 3)
    assert taken.kept == ["conv1.weight"] and "as they began conv1.weight" in str(taken)


def test_position_embeddings_are_brought_to_the_size_of_the_images():
    args = {"embed_dim": 8, "depth": 1, "num_heads": 1}
    given = timm.create_model("vit_tiny_patch16_224", num_classes=3, **args).state_dict()
    model = build_backbone("vit_tiny_patch16_224", args, channels=3, size=64, stem="big")
    taken = take_weights(model, given, "vit_tiny_patch16_224", 3)
    assert taken.adapted == ["pos_embed"] and taken.tensors == taken.total


WRONG = {
    "missing.safetensors": "there is no such file",
    "evil.pth": "a pickle .* can run code",
    "torn.safetensors": "no safetensors file that can be read",
    "nan.safetensors": "not finite",
    "other.safetensors": "they fit 0% of resnet18",
    "empty": "no encoder.safetensors there",
    "resnet50": "holds a resnet50; choose --pretrain.backbone.name resnet50",
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_weights_end_in_one_line_before_any_work(train, tmp_path, name):
    path = tmp_path / name
    if name == "torn.safetensors":
        path.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    elif name == "nan.safetensors":
        save_file({"conv1.weight": torch.full((4, 3, 7, 7), torch.nan)}, path)
    elif name == "other.safetensors":
        save_file({"other.weight": torch.zeros(3)}, path)
    elif name == "evil.pth":
        path.write_bytes(b"cos\nsystem\n")
    elif not path.suffix:
        path.mkdir()
        if name == "resnet50":
            (path / "encoder.safetensors").touch()
            files.write_json(path / "config.json", {"architecture": "resnet50"})
    with pytest.raises(UserError, match=WRONG[name]) as caught:
        train(tmp_path / "enc", weights=str(path), **big())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "enc").exists()


def test_timms_weights_come_from_the_hub_as_safetensors_alone(tmp_path, monkeypatch):
    asked = []

    def download(repository, name, revision):
        assert revision is None  # timm names none
        asked.append((repository, name))
        if len(asked) > 1:
            raise OSError("no network")
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert find_weights("timm", "resnet18") == tmp_path / "model.safetensors"
    with pytest.raises(UserError, match=r"cannot be had from the hub \(OSError\); connect"):
        find_weights("timm:tv_in1k", "resnet18")
    assert asked[0][0].startswith("timm/resnet18.") and asked[1] == ("timm/resnet18.tv_in1k", "model.safetensors")
    with pytest.raises(UserError, match=r"timm:tv_in2k is not one of .*did you mean 'tv_in1k'"):
        find_weights("timm:tv_in2k", "resnet18")
    with pytest.raises(UserError, match="timm offers no weights for regnety_040_sgn"):
        find_weights("timm", "regnety_040_sgn")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ({"checkpoint_path": "evil.pth"}, "'checkpoint_path' is not one of"),
        ({"pretrained_cfg": {"url": "http://x"}}, "'pretrained_cfg' is not one of"),
        ({"pretrained": True, "pretrained_cfg_overlay": {"url": "http://x"}}, "must be {file: FILE.safetensors}"),
        ({"pretrained": True, "pretrained_cfg_overlay": {"file": "evil.pth"}}, "a pickle"),
        ({"pretrained_cfg_overlay": {"file": "w.safetensors"}}, "without pretrained: true"),
    ],
)
def test_arguments_of_timm_load_no_pickle_and_reach_no_hub(train, tmp_path, args, line):
    with pytest.raises(UserError, match=line):
        train(tmp_path / "enc", **big(**args))
    spec = clsp.encoders.export.EncoderSpec(name="resnet18", args=ARGS | args)  # of a stranger's config.json
    with pytest.raises(UserError, match="is not one of"):
        spec.build()


@pytest.mark.parametrize("method", ["moco", "byol", "dino", "swav"])
def test_a_continued_training_begins_where_the_other_one_ended(train, tmp_path, method):
    settings = for_method(method)
    train(tmp_path / "old", **settings)
    seen = train(tmp_path / "new", weights=str(tmp_path / "old"), continued=True, **settings)
    old = list(load_file(tmp_path / "old/checkpoints/last.safetensors").values())
    for name, value in seen.items():
        if ".average." in name or "num_batches" in name or "running" in name:
            continue  # averages follow before the first step; BatchNorm has seen the first batch
        assert any(t.shape == value.shape and torch.equal(t.to(value.dtype), value) for t in old), name


def test_memories_of_other_images_are_left(train, tmp_path, capfd):
    train(tmp_path / "old", method="moco")
    start = {"weights": str(tmp_path / "old"), "continued": True}
    seen = train(tmp_path / "new", method="moco", images=images_of(seed=5), **start)
    memories = [value for name, value in seen.items() if name.endswith(".ids")]
    assert memories and all(bool((ids == -1).all()) for ids in memories)
    assert "as they began" in capfd.readouterr().err


def test_only_the_same_method_is_continued_and_only_with_its_checkpoint(train, tmp_path):
    train(tmp_path / "old")
    with pytest.raises(UserError, match="is a training of simclr, and byol cannot continue it"):
        train(tmp_path / "new", method="byol", weights=str(tmp_path / "old"), continued=True)
    shutil.rmtree(tmp_path / "old/checkpoints")
    with pytest.raises(UserError, match=r"no checkpoints/last.safetensors there, .*leave --pretrain.continued out"):
        train(tmp_path / "new", weights=str(tmp_path / "old"), continued=True)
    train(tmp_path / "new", weights=str(tmp_path / "old"))
    with pytest.raises(UserError, match=r"continued true: name the folder"):
        train(tmp_path / "third", continued=True)


def test_the_verb_takes_over_recipe_data_and_positives_and_says_the_schedule(tmp_path, capfd, monkeypatch):
    from clsp.cli.main import dispatch

    monkeypatch.chdir(tmp_path)
    small = ["--recipe", "smoke", "--epochs", "1", "--images.limit", "32", "--positives", "view", "--lr", "0.07"]
    assert dispatch(["pretrain", "--data", "digits", *small, "--out", "enc"]) == 0
    assert dispatch(["continue", "enc", "--epochs", "2", "--out", "new"]) == 0
    said = capfd.readouterr().err
    assert "simclr of enc, which was planned for 1 epochs, for 2 more: learning rate 0.07 after" in said
    settings = files.read_json(Path("new/stage.json"))["settings"]
    assert (settings["epochs"], settings["lr"], settings["positive"]["source"]) == (2, 0.07, "view")
    assert dispatch(["pretrain", "--data", "digits", *small, "--out", "enc", "--lr", "0.2"]) == 2
    assert "to train on from it: clsp continue enc --epochs 1 --out NEW" in capfd.readouterr().err
    assert verify(Path("new")).findings == []
    assert files.read_json(Path("new/checksums.json"))["command"].startswith("clsp continue enc ")
    assert files.read_json(Path("new/images.json"))["train"] == 32
    shutil.move("new", "moved")
    found = find_training("moved")
    assert (found.training, found.data, found.positives) == (Path("moved"), "digits", "view")
    assert dispatch(["continue", "nowhere", "--out", "x"]) == 2
    assert "no recipe.yaml there" in capfd.readouterr().err
