"""Runs as folders for others: each format computes the same, and a card says what was measured and nothing else."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml

import clsp
from clsp import files
from clsp.cli.main import dispatch
from clsp.errors import UserError
from clsp.publish.export import Wish, export
from clsp.publish.formats import parse_formats
from workshop import shared

SMOKE = ("--data", "digits", "--recipe", "smoke")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    made = ("compare", *SMOKE, "--out", "run", "--methods", "simclr", "--seeds", "1", "--pretrain.epochs", "1")
    bank = ("synthesize", *SMOKE, "--diffusion", "model", "--out", "bank", "--anchors", "12", "--shard_anchors", "8")
    for command in (made, ("diffusion", *SMOKE, "--out", "model", "--steps", "3"), bank):
        done = shared().clsp(*command, folder=folder)
        assert done.status == 0, done.err
    return folder


def card(folder):
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.fixture(scope="module")
def shipped(run):
    """All that can be one folder, and what the screen says."""
    pytest.importorskip("onnxruntime")
    done = shared().clsp(
        "export", "run", "--out", "shipped", "--format", "timm,torch,onnx,onnx-int8", "--license", "mit", folder=run
    )
    assert done.status == 0, done.err
    return run / "shipped", done.out


def test_the_card_has_the_numbers_of_the_run(run, shipped):
    front, text = card(shipped[0])
    (cell,) = (run / "run" / "arms").glob("*/seed-0/evaluation/metrics.json")
    metrics = files.read_json(cell)
    for name, facts in metrics["measures"].items():
        value = metrics[name][facts["metric"]]
        assert f"| {facts['title']} {facts['quantity']} | {value:.2f} %" in text
        assert metrics[name]["protocol"].split(";")[0] in text
        results = {one["name"]: one["value"] for one in front["model-index"][0]["results"][0]["metrics"]}
        assert results[f"{facts['title']} {facts['quantity']}"] == value
    assert len(re.findall(r"^\| [a-zA-Z ]+ \| [\d.]+ % \|", text, re.MULTILINE)) == len(metrics["measures"])
    assert (front["library_name"], front["license"], "timm" in front["tags"]) == ("timm", "mit", True)
    assert "digits: 400 train images, 355 test images, 10 classes" in text
    assert "epochs: 1" in text and str(run) not in text


def test_scripts_of_the_card_run(shipped):
    folder, _ = shipped
    scripts = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(scripts) == 4
    for script in scripts:
        checked = script.replace("local-dir:FOLDER", "local-dir:.") + "\nassert tuple(features.shape) == (2, 64)\n"
        done = shared().python(checked, folder)
        assert done.status == 0, script + done.err


def test_every_format_computes_the_same(run, shipped):
    import onnxruntime

    encoder = clsp.load_encoder(run / "run")
    mean, std = (torch.tensor(encoder.pretrained_cfg[name]).view(-1, 1, 1) for name in ("mean", "std"))
    images = torch.rand(3, 1, 16, 16)
    wanted = encoder((images - mean) / std).detach()
    program = torch.export.load(shipped[0] / "encoder.pt2").module()
    torch.testing.assert_close(program(images), wanted)
    torch.testing.assert_close(program(images[:1]), wanted[:1])
    session = onnxruntime.InferenceSession(shipped[0] / "encoder.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], wanted, atol=1e-5)


def test_the_loss_of_8_bit_is_measured_and_stated(run, shipped):
    folder, told = shipped
    small, large = folder / "encoder-int8.onnx", folder / "encoder.onnx"
    assert small.stat().st_size < 0.6 * large.stat().st_size
    text = card(folder)[1]
    cosine = float(re.search(r"cosine of the features: mean ([\d.]+)", told)[1])
    assert f"mean {cosine}" in text and 0.9 < cosine <= 1
    assert re.search(r"kNN [\d.]+ % in 8 bit, [\d.]+ % in 32 bit", told)
    assert "355 test images" in told
    images = clsp.open_images("digits", clsp.images.config.ImagesConfig(size=16)).test.images[:355]
    exact, rounded = (_encode(path, images) for path in (large, small))
    same = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert abs(same.mean() - cosine) < 1e-3


def _encode(path, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": np.asarray(images, dtype=np.float32) / 255})[0]


def test_a_card_claims_nothing_that_was_not_measured_of_these_weights(run, tmp_path):
    """Of a training that nobody evaluated, and of other weights than those that were evaluated."""
    (cell,) = (run / "run" / "arms").glob("*/seed-0")
    other = tmp_path / "other"
    for place in (cell, run / "run" / "encoder"):
        model, spec = clsp.load_encoder(place), clsp.encoders.export.read_spec(place)
        with torch.no_grad():
            next(model.parameters()).mul_(2)
        clsp.encoders.export.save_encoder(other, model, spec, {"method": "simclr", "data": "digits"})
        export(Wish(other, tmp_path / "x", "timm"))
        front, text = card(tmp_path / "x")
        assert "Nothing was measured of these weights." in text
        assert "model-index" not in front and not re.search(r"\d %|\d%", text)


def test_a_diffusion_model_is_loaded_and_has_a_card(run, tmp_path):
    from diffusers import DDPMPipeline

    exported = export(Wish(run / "model", tmp_path / "x"))
    assert not any("checkpoint" in name or "metrics" in name for name in exported.names)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "x")
    assert len(pipeline(batch_size=2, num_inference_steps=2).images) == 2
    front, text = card(tmp_path / "x")
    assert front["library_name"] == "diffusers" and "3 steps" in text
    assert "samples.png" in exported.names and "![Samples](samples.png)" in text
    with pytest.raises(UserError, match="one format"):
        export(Wish(run / "model", tmp_path / "x", "timm"))


def lowered(model, folder, strength):
    """A copy of a diffusion model that was trained for a part of the noise levels."""
    shutil.copytree(model, folder)
    record = files.read_json(folder / "stage.json")
    record["settings"]["max_strength"] = strength
    files.write_json(folder / "stage.json", {name: value for name, value in record.items() if name != "sha256"})
    return folder


def test_samples_that_show_the_users_images_stay_at_home(run, tmp_path):
    """A model of the lower noise levels draws its sheet from noised train images."""
    lower = lowered(run / "model", tmp_path / "lower", 0.5)
    export(Wish(run / "model", tmp_path / "y"))
    files.write_text(tmp_path / "y" / "condition" / "config.json", "{}")
    exported = export(Wish(lower, tmp_path / "y"))  # the sheet of the earlier export goes, and what it was told by
    assert not (tmp_path / "y" / "condition").exists()
    assert "samples.png" not in exported.names and not (tmp_path / "y" / "samples.png").exists()
    assert "None are shown" in card(tmp_path / "y")[1] and "![Samples]" not in card(tmp_path / "y")[1]
    shutil.copy(lower / "samples.png", tmp_path / "y")
    assert "samples.png" not in export(Wish(tmp_path / "y", tmp_path / "z")).names


def test_the_card_of_a_model_of_lower_noise_levels_draws_from_images(run, tmp_path):
    exported = export(Wish(lowered(run / "model", tmp_path / "lower", 0.335), tmp_path / "y"))
    assert clsp.SyntheticPositivePipeline.from_pretrained(tmp_path / "y").max_strength == 0.335
    front, text = card(tmp_path / "y")
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "DDPMPipeline" not in text and front["pipeline_tag"] == "image-to-image"
    found = {"anchors": torch.rand(1, 1, 16, 16) * 2 - 1}
    exec(script.replace("'FOLDER'", repr(str(tmp_path / "y"))), found)
    assert found["images"].shape == (1, 8, 1, 16, 16) and "strength=0.33)" in script
    assert exported.said == [f"load it:  clsp.SyntheticPositivePipeline.from_pretrained({str(tmp_path / 'y')!r})"]


def test_a_bank_is_read_by_others(run, tmp_path):
    datasets = pytest.importorskip("datasets")
    export(Wish(run / "bank", tmp_path / "x", "shards,parquet"))
    bank = clsp.PositiveBank.open(tmp_path / "x", verify=True)
    rows = datasets.load_dataset(str(tmp_path / "x"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == len(bank) * bank.candidates == 24
    for row in (rows[0], rows[23]):
        wanted = bank[[row["anchor"]], row["candidate"]][0, 0].numpy()
        assert np.array_equal(np.asarray(row["image"]), wanted)
    front, text = card(tmp_path / "x")
    assert front["configs"] == [{"config_name": "default", "data_files": "data/*.parquet"}]
    assert "clsp's gate" in text and "anchors: 12" in text
    assert not (tmp_path / "x" / "sheet.png").exists()  # it shows the user's own images


def test_a_smaller_bank_in_the_same_folder_leaves_nothing_of_the_larger_one(run, tmp_path, monkeypatch):
    monkeypatch.setattr("clsp.publish.bank._ROWS", 8)
    export(Wish(run / "bank", tmp_path / "x", "parquet"))
    assert len(list((tmp_path / "x/data").iterdir())) == 3
    monkeypatch.undo()
    export(Wish(run / "bank", tmp_path / "x", "parquet"))
    assert [path.name for path in (tmp_path / "x/data").iterdir()] == ["train-00000-of-00001.parquet"]


def test_what_cannot_be_done_is_said_in_one_line(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = str(run / "run")
    wrong = {
        ("export", place, "--out", "x", "--format", "tim"): "did you mean 'timm'?",
        ("export", place, "--out", "x", "--format", "clsp,timm"): "two folders",
        ("export", place, "--out", str(run / "run")): "choose a new one",
        ("export", place, "--out", "x", "--hub", "a/b/c"): "no name of the hub",
        ("export", place, place, "--out", "x"): "one PLACE",
        ("export", "--out", "x"): "needs PLACE",
        ("export", "nowhere", "--out", "x"): "no config.json there",
    }
    for arguments, words in wrong.items():
        assert dispatch(list(arguments)) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1, told
    assert list(tmp_path.iterdir()) == []


def test_no_folder_of_a_run_is_written_into(run, tmp_path):
    """Nor over an export of another kind: in each case files of one name would belong to the other."""
    whole = shutil.copytree(run / "run", tmp_path / "whole")
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    (cell,) = whole.glob("arms/*/seed-0")
    (tmp_path / "link").symlink_to(whole / "encoder")
    for out in (whole / "encoder", cell, cell / "evaluation", tmp_path / "link"):
        for place in (whole, run / "bank"):
            with pytest.raises(UserError, match="is a folder of a run"):
                export(Wish(place, out))
    assert before == {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    alone = shutil.copytree(whole / "encoder", tmp_path / "alone" / "encoder")
    with pytest.raises(UserError, match="is a folder of a run"):
        export(Wish(alone.parent, alone, "timm"))
    for _ in range(2):  # a new folder in a run, and then an earlier export there
        export(Wish(whole, whole / "shipped", "timm"))


def test_an_export_is_not_written_over_one_of_another_kind(run, tmp_path):
    export(Wish(run / "run", tmp_path / "x", "clsp"))
    export(Wish(run / "run", tmp_path / "y", "timm"))
    wrong = [("run", "x", "timm", "format clsp"), ("run", "y", "clsp", "format timm")]
    wrong += [(kind, out, None, "holds an encoder") for kind in ("bank", "model") for out in "xy"]
    export(Wish(run / "bank", tmp_path / "z"))
    wrong += [("run", "z", "torch", "holds a bank"), ("model", "z", None, "holds a bank")]
    for kind, out, formats, words in wrong:
        with pytest.raises(UserError, match=words):
            export(Wish(run / kind, tmp_path / out, formats))
    clsp.load_encoder(tmp_path / "x")
    export(Wish(run / "run", tmp_path / "x", "torch"))


def test_formats_are_read_once():
    assert parse_formats("onnx, torch,onnx") == ["onnx", "torch"]


def test_text_from_outside_is_no_markdown(run, tmp_path):
    other = tmp_path / "e"
    model, spec = clsp.load_encoder(run / "run"), clsp.encoders.export.read_spec(run / "run" / "encoder")
    evil = "x`|<script>alert(1)</script>[a](b)\x1b[2J\n# head"
    clsp.encoders.export.save_encoder(other, model, spec, {"method": evil, "data": evil})
    export(Wish(other, tmp_path / "x", "timm"))
    text = card(tmp_path / "x")[1]
    assert "<script>" not in text and "\x1b" not in text and "\n# head" not in text and "[a](b)" not in text
    assert json.loads((tmp_path / "x" / "config.json").read_text())["architecture"] == spec.name
