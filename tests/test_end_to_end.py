"""Whole runs as a user makes them: one command, its files, what it prints, and what others can load."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from clsp import files
from tiny import plain_diffusion
from workshop import CLEAN, ENVIRONMENT, shared, stamps

ARMS = ("simclr+bank", "simclr", "simclr+view")
RUN_FILES = (
    "recipe.yaml", "images.json", "report.html", "diffusion/model_index.json",
    "diffusion/unet/diffusion_pytorch_model.safetensors", "diffusion/samples.png",
    "diffusion/scheduler/scheduler_config.json", "diffusion/metrics.jsonl", "diffusion/stage.json",
    "positives/manifest.json", "positives/sheet.png", "positives/ids.npy", "positives/stage.json",
    "encoder/encoder.safetensors", "encoder/config.json", "encoder/snippet.py",
    *(
        f"arms/{arm}/seed-0/{name}" for arm in ARMS for name in (
            "encoder.safetensors", "config.json", "snippet.py", "metrics.jsonl", "stage.json", "views.png",
            "evaluation/stage.json", "evaluation/metrics.json", "evaluation/each/linear.npy",
        )
    ),
    "evaluation/metrics.json", "evaluation/neighbours.png", "evaluation/stage.json", "comparison.json", "comparison.md",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The whole run, in a process of its own; the others look at what it left."""
    folder = tmp_path_factory.mktemp("clsp te st é") / "run"
    command = [sys.executable, "-m", "clsp", "run", "--data", "digits", "--recipe", "smoke", "--controls", "--out"]
    done = subprocess.run([*command, folder], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_files_of_the_design(run):
    folder, _ = run
    assert [name for name in RUN_FILES if not (folder / name).is_file()] == []
    assert list(folder.rglob("*.clsp-tmp")) == []


def test_recipe_holds_every_value_and_where_it_came_from(run):
    recipe = yaml.safe_load((run[0] / "recipe.yaml").read_text())
    assert recipe["recipe"] == "smoke"
    assert recipe["controls"] is True
    assert recipe["pretrain"]["batch_size"] == 32
    assert recipe["seed"] == 0
    assert len(recipe["data"]["fingerprint"]) == 16
    assert {"clsp", "torch", "diffusers"} <= set(recipe["versions"])


def test_metrics(run):
    metrics = files.read_json(run[0] / "evaluation" / "metrics.json")
    assert metrics["arm"] == "simclr+bank"
    assert set(metrics["controls"]) == set(metrics["differences"]) == {"simclr", "simclr+view"}
    for record in (metrics, *metrics["controls"].values()):
        for protocol in ("linear", "knn"):
            score = record[protocol]
            assert 0 <= score["low"] <= score["top1"] <= score["high"] <= 100
            assert score["top5"] >= score["top1"]
            assert "355 test images" in score["protocol"]
    assert metrics["candidates"]


def test_prints_table_snippet_and_report(run):
    folder, done = run
    table = done.stdout[: done.stdout.index("\n\n")]
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line.startswith("simclr")}
    assert set(rows) == set(ARMS)
    metrics = files.read_json(folder / "evaluation" / "metrics.json")
    assert f"{metrics['linear']['top1']:.2f}" in rows["simclr+bank"]
    assert f"{metrics['controls']['simclr']['knn']['top1']:.2f}" in rows["simclr"]
    assert f"model.load_state_dict(load_file({str(folder / 'encoder' / 'encoder.safetensors')!r}))" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["report:", *str(folder / "report.html").split()]
    assert "\r" not in done.stderr  # no terminal: plain lines


def test_second_call_redoes_nothing(run):
    folder, first = run
    before = stamps(folder)
    shared().clsp("--version")  # the imports are not what is timed here
    again = shared().clsp("run", "--data", "digits", "--recipe", "smoke", "--controls", "--out", folder)
    assert again.status == 0, again.err
    assert again.out == first.stdout
    after = stamps(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    written = {"recipe.yaml", "images.json", "report.html", "checksums.json"}
    assert {name for name in changed if not name.endswith(".lock")} <= written
    assert again.seconds < 20


def test_other_settings_in_the_same_folder_change_nothing(run):
    folder, _ = run
    before = stamps(folder)
    done = shared().clsp(
        "run", "--data", "digits", "--recipe", "smoke", "--controls", "--pretrain.lr", 0.2, "--out", folder
    )
    assert done.status == 2
    assert "lr 0.1 -> 0.2" in done.error
    after = stamps(folder)
    assert {name for name in after if after[name] != before.get(name) and not name.endswith(".lock")} == set()


def test_a_run_is_a_study_that_a_comparison_goes_on_with(run, tmp_path):
    """One layout and one rule for what identifies a stage: the arms of a run are not trained again."""
    folder = tmp_path / "R"
    shutil.copytree(run[0], folder)
    before = stamps(folder, "arms/*/seed-0/*.*")
    layout = {path.relative_to(folder) for path in folder.rglob("*") if "seed-" not in str(path)}
    methods = ("--methods", "simclr,simclr+bank,simclr+view", "--seeds", 2)
    done = shared().clsp("compare", "--data", "digits", "--recipe", "smoke", "--controls", *methods, "--out", folder)
    assert done.status == 0, done.err
    assert {name: time for name, time in stamps(folder, "arms/*/seed-0/*.*").items() if "lock" not in name} == {
        name: time for name, time in before.items() if "lock" not in name
    }
    assert {path.relative_to(folder) for path in folder.rglob("*") if "seed-" not in str(path)} == layout
    old, new = (files.read_json(place / "comparison.json") for place in (run[0], folder))
    assert {row["arm"]: row["seeds"] for row in new["arms"]} == dict.fromkeys(ARMS, 2)
    for row in old["arms"]:
        assert row["linear"]["limits"] == "95 % interval over the test images"
        again = next(known for known in new["arms"] if known["arm"] == row["arm"])
        assert again["runs"]["linear"]["0"] == row["runs"]["linear"]["0"]
        assert again["linear"]["limits"] == "95 % interval over the seeds"


def test_loads_without_clsp(run, tmp_path):
    """The very snippet that was printed, and diffusers' own pipeline, in a process that never imports clsp."""
    folder, done = run
    printed = done.stdout[done.stdout.index("import timm") : done.stdout.index("report:")]
    script = (
        f"{printed}\n"
        "from diffusers import DDPMPipeline\n"
        f"pipeline = DDPMPipeline.from_pretrained({str(folder / 'diffusion')!r})\n"
        "pipeline.set_progress_bar_config(disable=True)\n"
        "print(pipeline(batch_size=1, num_inference_steps=2).images[0].size)\n"
        "import sys\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'clsp']\n"
    )
    environment = {name: value for name, value in CLEAN.items() if name != "PYTHONPATH"}
    plain = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.splitlines() == ["(2, 64)", "(16, 16)"]


def test_encoder_is_the_one_that_was_evaluated(run):
    from clsp import load_encoder

    folder, _ = run
    encoder = load_encoder(folder)
    assert not encoder.training
    assert encoder.pretrained_cfg["input_size"] == [1, 16, 16]


def test_stages_one_by_one_equal_the_run(run, tmp_path):
    """The commands of the stages, on folders of their own, make the same bytes as the whole run."""
    folder, _ = run
    data = ("--data", "digits", "--recipe", "smoke")

    def clsp(*arguments):
        done = shared().clsp(*arguments, folder=tmp_path)
        assert done.status == 0, done.err
        return done

    assert "samples.png" in clsp("diffusion", *data, "--out", "model").out
    bank = clsp("synthesize", *data, "--diffusion", "model", "--out", "bank")
    assert "64 anchors x 2 candidates" in bank.out
    assert "similarity" in bank.out
    clsp("pretrain", *data, "--positives", "bank", "--out", "enc")
    clsp("pretrain", *data, "--positives", "view", "--out", "view", "--method", "simclr")
    clsp("pretrain", *data, "--method", "moco", "--out", "moco", "--epochs", "1")
    for mine, whole in (
        ("model/unet/diffusion_pytorch_model.safetensors", "diffusion/unet/diffusion_pytorch_model.safetensors"),
        ("bank/shard-00000032.npy", "positives/shard-00000032.npy"),
        ("enc/encoder.safetensors", "encoder/encoder.safetensors"),
        ("view/encoder.safetensors", "arms/simclr+view/seed-0/encoder.safetensors"),
    ):
        assert files.file_hash(tmp_path / mine) == files.file_hash(folder / whole), mine
    assert files.read_json(tmp_path / "moco" / "config.json")["clsp"]["method"] == "moco"

    rated = clsp("evaluate", "--encoder", "enc", *data, "--out", "scores.json")
    metrics = files.read_json(folder / "evaluation" / "metrics.json")
    assert files.read_json(tmp_path / "scores.json")["linear"] == metrics["linear"]
    assert f"{metrics['knn']['top1']:.2f} %" in rated.out


def test_embed(run, tmp_path):
    folder, _ = run
    data = ("--data", "digits", "--recipe", "smoke")
    for name in ("e.csv", "e.npz"):
        done = shared().clsp("embed", "--encoder", folder / "encoder", *data, "--out", name, folder=tmp_path)
        assert done.status == 0, done.err
    stored = np.load(tmp_path / "e.npz", allow_pickle=False)
    rows = list(csv.reader((tmp_path / "e.csv").read_text().splitlines()))
    assert rows[0][:4] == ["name", "part", "label", "f0"]
    for place, column in enumerate(("names", "part", "label")):
        assert [row[place] for row in rows[1:]] == stored[column].tolist()
    assert rows[1][1] == "train" and rows[-1][1] == "test" and set(stored["label"]) == set("0123456789")
    assert np.allclose([[float(v) for v in row[3:]] for row in rows[1:]], stored["embeddings"], atol=1e-4)
    assert stored["embeddings"].shape == (400 + 355, 64)


def test_export(run, tmp_path):
    folder, _ = run
    done = shared().clsp("export", "--encoder", folder / "encoder", "--out", "shipped", folder=tmp_path)
    assert done.status == 0, done.err
    shipped = tmp_path / "shipped"
    assert files.file_hash(shipped / "encoder.safetensors") == files.file_hash(folder / "encoder/encoder.safetensors")
    moved = shipped.rename(tmp_path / "moved")
    loaded = [sys.executable, "-I", moved / "snippet.py"]
    assert subprocess.run(loaded, capture_output=True, text=True, timeout=120, env=CLEAN).stdout.strip() == "(2, 64)"
    shipped = moved
    if importlib.util.find_spec("onnxscript") is None:
        assert "encoder.onnx was not written" in done.err
        return
    if importlib.util.find_spec("onnxruntime") is None:
        assert (shipped / "encoder.onnx").is_file()
        return
    _require_same_features(shipped)


def _require_same_features(folder):
    import onnxruntime
    import torch

    from clsp import load_encoder

    images = torch.rand(3, 1, 16, 16)
    encoder = load_encoder(folder)
    mean, std = (torch.tensor(encoder.pretrained_cfg[name]).view(-1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = encoder((images - mean) / std).numpy()
    session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"))
    assert np.allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-4)


def test_report_command(run, tmp_path):
    folder, _ = run
    done = shared().clsp("report", folder, folder, "--out", "both.html", folder=tmp_path)
    assert done.status == 0, done.err
    assert done.out.strip() == str(tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    assert "simclr+view" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_check_says_what_would_run(tmp_path):
    done = shared().clsp("check", "--data", "digits", "--recipe", "smoke", "--controls", folder=tmp_path)
    assert done.status == 0, done.err
    for word in ("400 train", "64 anchors x 2 candidates", "encoder simclr+view", "together"):
        assert word in done.out
    assert [path for path in tmp_path.iterdir() if path.suffix not in (".out", ".err")] == []


def test_a_foreign_diffusion_model_serves(run, tmp_path):
    """`clsp run --diffusion DIR` trains none; here the model is made by plain diffusers."""
    plain_diffusion(tmp_path / "foreign", size=16)
    small = ("--synthesize.anchors", 32, "--pretrain.epochs", 1, "--evaluate.classifier_epochs", 0)
    done = shared().clsp(
        "run", "--data", "digits", "--recipe", "smoke", "--diffusion", "foreign", "--out", "r", *small,
        "--pretrain.images", 32, folder=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert not (tmp_path / "r" / "diffusion").exists()
    assert (tmp_path / "r" / "encoder" / "encoder.safetensors").is_file()


# --- a folder as people have them ------------------------------------------------------------------------------------


KINDS = (
    ("png", "L"), ("png", "RGB"), ("png", "RGBA"), ("png", "P"), ("png", "I;16"), ("png", "LA"), ("jpg", "L"),
    ("jpg", "RGB"), ("JPG", "RGB"), ("jpg", "CMYK"), ("webp", "RGB"), ("webp", "RGBA"), ("tif", "L"), ("tif", "RGB"),
    ("tiff", "RGBA"), ("tif", "I;16"), ("gif", "P"), ("bmp", "RGB"),
)  # fmt: skip
FOLDERS = ("", "a", "a/b", "c d/é/f")


def write_mixed(folder, count):
    """``count`` files of all kinds, six of them broken; no layout that could be taken for labels."""
    rng = np.random.default_rng(0)
    for number in range(count - 6):
        suffix, mode = KINDS[number % len(KINDS)]
        height, width = rng.integers(20, 40, 2)
        path = folder / FOLDERS[number % len(FOLDERS)] / f"{number:03d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
        else:
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
            image = image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)
            if mode in ("RGBA", "LA"):
                image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width)).astype(np.uint8)))
        image.save(path)
    whole, photo = next(folder.rglob("*.png")), next(folder.rglob("*.jpg"))
    broken = {
        "empty.png": b"",
        "page.jpg": b"<html><body>not found</body></html>",
        "cut.png": whole.read_bytes()[: whole.stat().st_size // 2],
        "a/cut.jpg": photo.read_bytes()[: photo.stat().st_size // 2],
        "a/b/noise.webp": b"RIFF\x00\x00\x00\x00WEBP" + bytes(50),
        "c d/é/words.gif": b"GIF89a",
    }
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    return set(broken)


def test_a_mixed_folder_without_labels(tmp_path):
    broken = write_mixed(tmp_path / "photos", 300)
    done = shared().clsp(
        "run", "--data", "photos", "--recipe", "smoke", "--controls", "--out", "r", "--pretrain.epochs", 1,
        "--per_method", "{simclr: {lr: 0.03}, simclr+view: {lr: 0.02}}", folder=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    for arm, lr in (("simclr+bank", 0.03), ("simclr", 0.03), ("simclr+view", 0.02)):
        assert files.read_json(tmp_path / "r" / "arms" / arm / "seed-0" / "stage.json")["settings"]["lr"] == lr
    found = files.read_json(tmp_path / "r" / "images.json")
    assert found["train"] == 294
    assert found["labelled_train"] == 0
    assert found["channels"] == 3
    assert {entry["name"] for entry in found["excluded"]} == broken
    assert all(entry["reason"] for entry in found["excluded"])
    assert "6 files could not be read" in done.err
    notes = " ".join(found["notes"])
    for word in ("16-bit", "transparency", "CMYK"):
        assert word.lower() in notes.lower()

    metrics = files.read_json(tmp_path / "r" / "evaluation" / "metrics.json")
    assert "need labels" in metrics["skipped"]
    assert "linear" not in metrics
    assert "need labels" in done.out
    assert (tmp_path / "r" / "report.html").stat().st_size > 10_000

    shipped = shared().clsp("export", "--encoder", "r", "--out", "shipped", folder=tmp_path)
    assert shipped.status == 0, shipped.err
    assert (tmp_path / "shipped" / "encoder.safetensors").stat().st_size > 1000
    embedded = shared().clsp("embed", "--encoder", "r", "--data", "photos", "--out", "e.npz", folder=tmp_path)
    assert embedded.status == 0, embedded.err
    assert len(np.load(tmp_path / "e.npz")["names"]) == 294

    rated = shared().clsp("evaluate", "--encoder", "r", "--data", "photos", "--out", "s.json", folder=tmp_path)
    assert rated.status == 0, rated.err
    assert json.loads((tmp_path / "s.json").read_text())["skipped"] in rated.out


def test_clsp_run_from_python(tmp_path):
    """The stages as plain functions."""
    code = (
        "import clsp\n"
        "small = {'pretrain.epochs': 1, 'synthesize.anchors': 32, 'evaluate.classifier_epochs': 0}\n"
        "model = clsp.train_diffusion('digits', 'm', recipe='smoke')\n"
        "bank = clsp.synthesize('digits', model, 'b', recipe='smoke', settings=small)\n"
        "assert bank[bank.ids[:3], 1].shape == (3, 1, 16, 16)\n"
        "few = small | {'pretrain.images': None}\n"
        "encoder = clsp.pretrain('digits', 'e', positives='b', recipe='smoke', settings=few)\n"
        "result = clsp.evaluate(encoder, 'digits', recipe='smoke')\n"
        "assert 0 <= result['linear'].value <= 100\n"
    )
    done = shared().python(code, tmp_path)
    assert done.status == 0, done.err
