"""The scripts behind the documented experiments: small plans, from the bank to the plots."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clsp import files
from clsp.diffusion.unet import build_unet, load_diffusion, unet_hash
from clsp.recipes.options import parse_recipe
from workshop import shared

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
PLAN = {
    "data": "digits",
    "recipe": "smoke",
    "arm": "simclr+bank+nt_xent",
    "baseline": "simclr",
    "seeds": 1,
    "common": {"pretrain.epochs": 1, "evaluate.validation_images": 300},
    "axes": {"pretrain.positive_weight": [0.3]},
    "together": [{"synthesize.candidates": 1, "pretrain.positive_weight": 2.0}],
}


def script(name, *arguments):
    done = subprocess.run(
        [sys.executable, EXPERIMENTS / name, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_committed_model_is_whole_and_of_the_recipes_shape():
    """It is in the checkout (no ignore rule swallows weights): `make bench` draws with it."""
    start, lines = "MODEL := ", (EXPERIMENTS.parent / "Makefile").read_text().splitlines()
    folder = EXPERIMENTS.parent / next(line for line in lines if line.startswith(start)).removeprefix(start)
    unet, _ = load_diffusion(folder)
    assert unet_hash(unet) == files.read_json(folder / "stage.json")["facts"]["unet"]
    trained = build_unet(parse_recipe("fashion-mnist", []).diffusion, channels=1, size=28)
    assert {n: v.shape for n, v in unet.state_dict().items()} == {n: v.shape for n, v in trained.state_dict().items()}
    assert unet.config.sample_size == trained.config.sample_size


@pytest.mark.slow
def test_ablations_end_in_a_file_and_its_plots(tmp_path):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    made = shared().clsp(
        "diffusion", "--data", "digits", "--recipe", "smoke", "--diffusion.steps", "3", "--out", tmp_path / "diffusion"
    )
    assert made.status == 0, made.err
    where = ("--plan", tmp_path / "plan.yaml", "--diffusion", tmp_path / "diffusion")
    for part in ("0/2", "1/2"):
        script("ablations.py", *where, "--work", tmp_path / "w", "--out", tmp_path / "o", "--part", part)
    shutil.rmtree(tmp_path / "w")  # what is done needs its encoders no more
    script("ablations.py", *where, "--work", tmp_path / "w", "--out", tmp_path / "o")
    assert not (tmp_path / "w").exists()
    found = files.read_json(tmp_path / "o" / "result.json")
    base, weight, together = found["settings"]
    assert found["recipe"] == {"pretrain.positive_weight": 1.0}
    assert base["options"] == {} and weight["value"] == 0.3
    assert base["versus_base"]["linear"]["mean"] == 0.0
    gap = weight["runs"]["linear"]["0"] - base["runs"]["linear"]["0"]
    assert weight["versus_base"]["linear"]["mean"] == pytest.approx(gap, abs=1e-3)
    assert weight["measures"] == base["measures"]  # the bank is the same
    assert base["measures"]["encoder_distance"] > 0
    assert "row_diversity" not in together["measures"]
    assert together["cost"]["generator_flops"] < base["cost"]["generator_flops"]
    pytest.importorskip("matplotlib")
    script("plots.py", tmp_path / "o" / "result.json", tmp_path / "plots")
    names = sorted(path.stem for path in (tmp_path / "plots").iterdir())
    assert names == ["axes", "cost", "map", "positives"]


@pytest.mark.slow
def test_near_starts_are_nearer_than_any_other(tmp_path):
    made = shared().clsp(
        "diffusion", "--data", "digits", "--recipe", "smoke", "--diffusion.steps", "3", "--out", tmp_path / "diffusion"
    )
    assert made.status == 0, made.err
    how = ("--data", "digits", "--recipe", "smoke", "--synthesize.strength", "0.1", "--synthesize.start", "other")
    where = ("--synthesize.anchors", "100", "--synthesize.steps", "10", "--diffusion", tmp_path / "diffusion")
    made = shared().clsp("synthesize", *how, *where, "--out", tmp_path / "other")
    assert made.status == 0, made.err
    script("near_starts.py", *how, *where, "--nearest", "3", "--out", tmp_path / "near")
    banks = (files.read_json(tmp_path / name / "manifest.json") for name in ("near", "other"))
    near, other = (bank["measures"]["pixel_distance"]["value"] for bank in banks)
    assert near < 0.8 * other
