"""Bad input: status 2 and one line that names the value, what is allowed and the fix; nothing is lost."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from clsp.cli.main import dispatch

DIGITS = ("--data", "digits", "--recipe", "smoke")


@pytest.fixture
def fails(capsys, tmp_path, monkeypatch):
    """Run a command that must fail, in an empty folder; return its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        status = dispatch([str(argument) for argument in arguments])
        told = capsys.readouterr()
        lines = [line for line in told.err.splitlines() if line.startswith("clsp: error: ")]
        assert status == 2
        assert len(lines) == 1
        assert told.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in told.err
        assert told.out == ""
        return lines[0].removeprefix("clsp: error: ")

    return run


def picture(path, value=0, size=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    Image.fromarray(rng.integers(0, 256, (size, size)).astype(np.uint8)).save(path)


def pictures(folder, count, start=0):
    for number in range(start, start + count):
        picture(folder / f"{number}.png", number)
    return folder


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", *DIGITS, "--out", "r", "--prtrain.lr", "1"), ("--prtrain.lr", "did you mean '--pretrain.lr'?")),
        (("run", *DIGITS, "--out", "r", "--lr", "1"), ("--lr", ".lr'?")),
        (
            ("run", *DIGITS, "--out", "r", "--pretrain.augment.local_crops", "2"),
            (
                "--pretrain.augment.local_crops 2",
                "simclr has two whole views alone",
                "dino, lejepa, swav",
                "per_method",
            ),
        ),
        (("run", "--dat", "digits", "--out", "r"), ("--dat", "did you mean '--data'?")),
        (("pretrain", *DIGITS, "--out", "r", "--epoch", "1"), ("--epoch", "did you mean '--pretrain.epochs'?")),
        (("rnu", *DIGITS), ("unknown command 'rnu'", "run, diffusion", "did you mean 'run'?")),
        (("run", "--out", "r"), ("needs --data SOURCE",)),
        (("run", "--data", "digits"), ("needs --out",)),
        (("run", "--data"), ("--data needs a value",)),
        (("run", *DIGITS, "--out", "r", "stray"), ("unexpected argument 'stray'",)),
        (("run", *DIGITS, "--out", "r", "--pretrain.lr"), ("--pretrain.lr needs a value",)),
        (("run", *DIGITS, "--out", "r", "--pretrain.lr", "1", "2"), ("unexpected argument '2'",)),
        (("report",), ("needs RUN",)),
        (("report", ""), ("RUN '' names nothing",)),
        (("verify", "x", "--repair=maybe"), ("--repair='maybe' must be true or false",)),
        (("run", "--data", "", "--out", "r"), ("--data '' names nothing; give --data SOURCE",)),
        (("check", "--data="), ("--data '' names nothing",)),
        (("evaluate", "--encoder", "", "--data", "digits"), ("--encoder '' names nothing; give --encoder DIR",)),
        (("compare", *DIGITS, "--out", "r", "--methods", "simclr", "--seeds", "²"), ("--seeds '²' must be a whole",)),
        (("search", "--index", "i", "--query", "q", "--k", "9" * 5000), ("--k '999", "must be a whole number")),
        (("correspond", "a", "b", "--encoder", "e", "--out", "o.png", "--layer=-²"), ("--layer '-²' must be",)),
        (("export", "--encoder", "e", "--out", "o", "--pretrain.lr", "1"), ("--pretrain.lr", "--out, --encoder")),
    ],
)
def test_options_that_do_not_exist_or_lack_something(fails, arguments, words):
    line = fails(*arguments)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--pretrain.lr", "fast", "a number"),
        ("--pretrain.lr", "0", "above 0"),
        ("--pretrain.epochs", "1.5", "a whole number"),
        ("--pretrain.epochs", "0", "at least 1"),
        ("--pretrain.batch_size", "1", "at least 2"),
        ("--pretrain.method", "simclrr", "simclr, simple, simsiam, supcon, swav, vicreg; did you mean 'simclr'?"),
        ("--method", "byol2", "did you mean 'byol'?"),
        ("--pretrain.batch_norm", "none", "joint, split, views"),
        ("--pretrain.backbone.name", "resnet19", "did you mean 'resnet18'?"),
        ("--pretrain.augment.crop_scale", "[1.0, 0.2]", "smaller one first"),
        ("--pretrain.precision", "16", "auto, 32, bf16"),
        ("--controls", "maybe", "true or false"),
        ("--images.size", "2", "at least 4"),
        ("--images.channels", "4", "the images have 1 channel, not 4"),
        ("--diffusion.norm_groups", "5", "divide"),
        ("--diffusion.widths", "[]", "one or more"),
        ("--diffusion.attention", "[7]", "levels 0 to 1"),
        ("--synthesize.steps", "7", "the nearest is 5"),
        ("--synthesize.interpolation_weight", "1.5", "at most 1"),
        ("--synthesize.guidance_scale", "0.5", "at least 1"),
        ("--diffusion.prediction_type", "velocity", "epsilon, v_prediction"),
        ("--diffusion.min_snr_gamma", "0", "above 0"),
        ("--diffusion.size", "4", "at least 8"),
        ("--diffusion.max_strength", "0", "above 0"),
        ("--diffusion.max_strength", "0.5", "begin at 1 of the noise levels"),
        ("--synthesize.start", "noise", "anchor, other"),
        ("--diffusion.patch", "3", "power of 2"),
        ("--diffusion.patch", "0", "at least 1"),
        ("--evaluate.test_fraction", "3", "at most 1"),
        ("--hardware.accelerator", "tpu", "auto, cpu, gpu"),
    ],
)
def test_values_of_the_wrong_kind(fails, option, value, allowed):
    """Both the plan and the run refuse them, before any stage has begun."""
    line = fails("check", *DIGITS, option, value)
    assert allowed in line
    if option not in ("--diffusion.norm_groups", "--diffusion.attention"):  # refused by the first stage itself
        assert fails("run", *DIGITS, "--out", "r", option, value) == line


def test_batch_larger_than_the_data(fails, tmp_path):
    line = fails("run", *DIGITS, "--out", "r", "--pretrain.batch_size", "1000")
    assert "--pretrain.batch_size 1000 is larger than the 64 images" in line
    assert "choose at most 64" in line
    assert not (tmp_path / "r" / "diffusion").exists()
    assert "batch_size 1000 is larger" in fails("pretrain", *DIGITS, "--out", "e", "--batch_size", "1000")


def test_more_images_than_anchors(fails):
    line = fails("run", *DIGITS, "--out", "r", "--pretrain.images", "200")
    assert "--pretrain.images 200 is more than the 64 anchors" in line
    assert "--synthesize.anchors 200" in line


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_recipes_that_are_none(fails, tmp_path):
    line = fails("run", "--data", "digits", "--recipe", "digit", "--out", "r")
    assert "'digit' is neither a file nor a built-in recipe" in line
    assert "did you mean 'digits'?" in line
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "a mapping of sections" in fails("run", "--data", "digits", "--recipe", "list.yaml", "--out", "r")
    (tmp_path / "torn.yaml").write_text("pretrain: {lr: [")
    assert "no valid YAML" in fails("run", "--data", "digits", "--recipe", "torn.yaml", "--out", "r")
    (tmp_path / "typo.yaml").write_text("pretrain: {lrr: 1}\n")
    assert "pretrain.lr'" in fails("run", "--data", "digits", "--recipe", "typo.yaml", "--out", "r")
    (tmp_path / "kind.yaml").write_text("pretrain: {lr: fast}\n")
    assert "a number" in fails("run", "--data", "digits", "--recipe", "kind.yaml", "--out", "r")


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_that_are_none(fails, tmp_path):
    assert "'missing' does not exist" in fails("run", "--data", "missing", "--out", "r")
    assert "did you mean 'digits'?" in fails("run", "--data", "digit", "--out", "r")
    (tmp_path / "empty").mkdir()
    assert "holds no images; it holds nothing" in fails("run", "--data", "empty", "--out", "r")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    line = fails("run", "--data", "texts", "--out", "r")
    assert "it holds 1 .txt" in line
    assert ".png" in line
    assert "only one image" in fails("run", "--data", pictures(tmp_path / "one", 1), "--out", "r")
    (tmp_path / "file.zip").write_bytes(b"PK")
    assert "neither .npy nor .npz" in fails("run", "--data", "file.zip", "--out", "r")


def test_out_that_cannot_be(fails, tmp_path):
    (tmp_path / "taken").write_text("precious")
    line = fails("run", *DIGITS, "--out", "taken")
    assert "taken" in line
    assert "choose another --out" in line
    assert (tmp_path / "taken").read_text() == "precious"


# --- models, banks, encoders -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, a bank and an encoder of a small folder of images."""
    folder = tmp_path_factory.mktemp("made")
    data = ("--data", str(pictures(folder / "photos", 40)), "--recipe", "smoke")
    steps = [
        ("diffusion", *data, "--out", folder / "model", "--steps", 2),
        ("synthesize", *data, "--diffusion", folder / "model", "--out", folder / "bank", "--anchors", 32),
        ("pretrain", *data, "--positives", folder / "bank", "--out", folder / "enc", "--epochs", 1, "--images", 32),
    ]
    for step in steps:
        assert dispatch([str(part) for part in step]) == 0
    return folder, data


def test_bank_of_other_data(fails, made, tmp_path):
    folder, _ = made
    other = ("--data", pictures(tmp_path / "other", 40, start=100), "--recipe", "smoke")
    line = fails("pretrain", *other, "--positives", folder / "bank", "--out", "e")
    assert "belongs to other data" in line
    assert "photos" in line
    assert "make a new bank" in line
    line = fails("synthesize", *other, "--diffusion", folder / "model", "--out", folder / "bank", "--anchors", 32)
    assert "made with other settings (data" in line


def test_bank_that_is_none(fails, made, tmp_path):
    folder, data = made
    told = fails("pretrain", *data, "--positives", tmp_path / "nothing", "--out", "e")
    assert "neither a bank's folder nor one of bank, class" in told
    assert "did you mean 'frames'?" in fails("pretrain", *data, "--positives", "frame", "--out", "e")
    assert "has no candidates for" in fails(
        "pretrain", *data, "--positives", folder / "bank", "--images", 40, "--out", "e"
    )


def test_model_that_is_none(fails, made, tmp_path):
    folder, data = made
    (tmp_path / "empty").mkdir()
    assert "empty" in fails("synthesize", *data, "--diffusion", "empty", "--out", "b")
    broken = tmp_path / "broken"
    shutil.copytree(folder / "model", broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    assert "broken" in fails("synthesize", *data, "--diffusion", "broken", "--out", "b")
    line = fails("synthesize", *data, "--images.channels", 3, "--diffusion", folder / "model", "--out", "b")
    assert "1-channel" in line


def test_encoder_that_is_none(fails, made, tmp_path):
    folder, data = made
    assert "no config.json there" in fails("evaluate", "--encoder", tmp_path / "nothing", *data)
    broken = tmp_path / "broken"
    shutil.copytree(folder / "enc", broken)
    (broken / "encoder.safetensors").write_bytes(b"not weights")
    assert "encoder.safetensors cannot be loaded" in fails("embed", "--encoder", "broken", *data, "--out", "e.npz")
    (broken / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    assert "config.json is not clsp's" in fails("export", "--encoder", "broken", "--out", "x")
    assert ".npz or .csv" in fails("embed", "--encoder", folder / "enc", *data, "--out", "e.txt")
    assert "is no run" in fails("report", "broken")


@pytest.mark.parametrize("damage", [b"", b"\x80\x04pickle", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_checkpoint_that_is_none(fails, made, tmp_path, damage):
    """The stage has begun, so its checkpoint is read; a foreign one is named and kept."""
    folder, data = made
    stage = tmp_path / "model"
    shutil.copytree(folder / "model", stage)
    record = json.loads((stage / "stage.json").read_text())
    (stage / "stage.json").write_text(json.dumps({**record, "status": "interrupted"}))
    checkpoint = stage / "checkpoints" / "last.safetensors"
    checkpoint.write_bytes(damage)
    line = fails("diffusion", *data, "--out", "model", "--steps", 2)
    assert "last.safetensors is no checkpoint" in line
    assert "delete it to start this stage anew" in line
    assert checkpoint.read_bytes() == damage


def test_other_settings_in_a_finished_folder(fails, made):
    folder, data = made
    before = {
        path: path.read_bytes() for path in (folder / "enc").rglob("*") if path.is_file() and path.name != ".lock"
    }
    line = fails(
        "pretrain", *data, "--positives", folder / "bank", "--out", folder / "enc", "--epochs", 2, "--images", 32
    )
    assert "epochs 1 -> 2" in line
    assert "choose another --out" in line
    assert {path for path, data in before.items() if path.read_bytes() != data} == set()
