"""The scripts behind the documented experiments: small plans, from the bank to the plots."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from clsp import files
from clsp.diffusion.folder import load_diffusion
from clsp.diffusion.unet import build_unet, unet_hash
from clsp.images.imageset import subset
from clsp.images.sources import open_images
from clsp.recipes.recipe import load_recipe
from workshop import shared

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
PLAN = {
    "data": "digits",
    "recipe": "smoke",
    "arm": "simclr+bank+nt_xent",
    "baseline": "simclr",
    "seeds": 1,
    "common": {"pretrain.epochs": 1, "evaluate.validation_images": 300},
    "axes": {"pretrain.positive.third.weight": [0.3]},
    "together": [{"synthesize.candidates": 1, "pretrain.positive.third.weight": 2.0}],
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
    trained = build_unet(load_recipe("fashion-mnist").diffusion, channels=1, size=28)
    assert {n: v.shape for n, v in unet.state_dict().items()} == {n: v.shape for n, v in trained.state_dict().items()}
    assert unet.config.sample_size == trained.config.sample_size


def test_a_rate_that_the_study_has_is_not_tried_again(tmp_path):
    study = tmp_path / "study"
    shutil.copytree(EXPERIMENTS.parent / "studies" / "tuning", study)
    before = (study / "result.json").read_bytes()
    tried = ("--arms", "nnclr", "--rates", "0.24,0.48,0.96", "--name", "recipe-nnclr")
    script("learning_rates.py", "--work", tmp_path / "w", "--out", study, *tried)
    assert (study / "result.json").read_bytes() == before and not (tmp_path / "w").exists()


def test_a_comparison_is_kept_as_a_part_of_a_study_and_replaced(tmp_path):
    trained = tmp_path / "c" / "arms" / "simclr" / "seed-1"
    facts = {"seconds": 2.0, "settings": {"seed": 1}, "inputs": {}, "facts": {"arm": "simclr"}}
    for place, seconds in ((trained, 2.0), (trained / "evaluation", 1.0)):
        files.write_json(place / "stage.json", {**facts, "seconds": seconds, "status": "finished"})
    measured = {"measures": {"linear": {"unit": "%"}}, "linear": {"top1": 50.0}}
    files.write_json(trained / "evaluation" / "metrics.json", measured)
    log = [{"step": step, "loss": 1 / (step + 3), **({"knn": 50.0} if step == 99 else {})} for step in range(100)]
    (trained / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in log))
    (tmp_path / "c" / "recipe.yaml").write_text("seed: 1\n")
    study = tmp_path / "study"
    for part, mean in (("one", 1.0), ("two", 2.0), ("one", 3.0)):
        files.write_json(tmp_path / "c" / "comparison.json", {"arms": [{"seeds": 2}], "mean": mean})
        script("keep.py", tmp_path / "c", study, "--part", part)
    means = {part: found["mean"] for part, found in files.read_json(study / "result.json")["parts"].items()}
    assert means == {"one": 3.0, "two": 2.0}
    lines = gzip.decompress((study / "runs.jsonl.gz").read_bytes()).decode().splitlines()
    two, one = map(json.loads, lines)
    assert (two["part"], one["part"]) == ("two", "one") and {**two, "part": "one"} == one
    assert (one["arm"], one["seed"], one["seconds"], one["rating"]["seconds"]) == ("simclr", 1, 2.0, 1.0)
    assert one["rating"]["facts"] == {"linear": {"top1": 50.0}}
    assert len(one["log"]["loss"]) == 60 and one["log"]["loss"][0] == 0.33333
    assert (one["log"]["step"][-1], one["log"]["knn"][0], one["log"]["knn"][-1]) == (99, None, 50.0)
    assert (study / "recipes" / "one.yaml").read_text() == "seed: 1\n"


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
    assert found["recipe"] == {"pretrain.positive.third.weight": 1.0}
    assert base["options"] == {} and weight["value"] == 0.3
    assert base["versus_base"]["linear"]["mean"] == 0.0
    gap = weight["runs"]["linear"]["0"] - base["runs"]["linear"]["0"]
    assert weight["versus_base"]["linear"]["mean"] == pytest.approx(gap, abs=1e-3)
    assert weight["measures"] == base["measures"]  # the bank is the same
    assert base["measures"]["encoder_distance"] > 0
    assert "row_diversity" not in together["measures"]
    assert together["cost"]["generator_flops"] < base["cost"]["generator_flops"]
    script("plots.py", tmp_path / "o" / "result.json", tmp_path / "plots")
    names = sorted(path.stem for path in (tmp_path / "plots").iterdir())
    assert names == ["axes", "cost", "map", "positives"]
    for name in names:
        drawn = ElementTree.parse(tmp_path / "plots" / f"{name}.svg").getroot()
        assert "prefers-color-scheme: dark" in drawn[0].text and drawn.findall(".//{*}circle")


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


def test_a_task_is_run_in_rows_and_columns_and_not_twice(tmp_path, monkeypatch):
    """Two ways in one condition, one of which begins with an encoder that is made before."""
    import grid  # of experiments/

    from clsp.cli.main import dispatch

    def run():
        monkeypatch.setattr(sys, "argv", ["grid.py", *map(str, words)])
        grid.main()

    monkeypatch.setattr(grid.subprocess, "run", lambda command, check: dispatch(command[3:]))
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
    plan = {
        "data": "digits",
        "command": "classify",
        "seeds": 2,
        "before": {"encoder": {"command": "pretrain", "data": "digits", "recipe": "smoke", "pretrain.epochs": 1}},
        "common": {"classify.epochs": 1, "classify.backbone.args": small, "images.limit": 300},
        "columns": {"noisy": {"classify.noise.kind": "symmetric", "classify.noise.rate": 0.2}},
        "rows": {"plain": {}, "from an encoder": {"encoder": "{encoder}"}},
        "keep": ["accuracy.top1", "suspects.rated.recall"],
    }
    files.write_text(tmp_path / "plan.yaml", yaml.safe_dump(plan, sort_keys=False))
    words = ("--plan", tmp_path / "plan.yaml", "--work", tmp_path / "w", "--out", tmp_path / "o")
    run()
    found = files.read_json(tmp_path / "o" / "result.json")["table"]["noisy"]
    assert found.keys() == {"plain", "from an encoder"}
    assert found["plain"]["measures"].keys() == {"accuracy.top1", "suspects.rated.recall"}
    assert found["from an encoder"]["versus_first"]["accuracy.top1"].keys() >= {"mean"}
    assert sorted(path.name for path in (tmp_path / "w").glob("encoder-*")) == ["encoder-0", "encoder-1"]
    kept = {name: (tmp_path / "o" / name).read_bytes() for name in ("result.json", grid.CELLS)}
    assert [(one["row"], one["seed"]) for one in grid.cells_of(tmp_path / "o")] == [
        ("plain", 0), ("from an encoder", 0), ("plain", 1), ("from an encoder", 1)
    ]  # fmt: skip
    shutil.rmtree(tmp_path / "w")
    shutil.rmtree(tmp_path / "o" / "runs")  # as in a checkout
    run()
    assert not (tmp_path / "w").exists()
    assert kept == {name: (tmp_path / "o" / name).read_bytes() for name in kept}


def test_of_a_log_the_last_values_and_the_curves_are_kept(tmp_path):
    from grid import Grid  # of experiments/

    log = [{"step": 1, "knn": 10.0, "lr": 1}, {"step": 2, "center": 0.5}, {"step": 3, "knn": 30.0, "center": None}]
    files.write_text(tmp_path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    found = Grid({"keep": ["knn", "center"]}, tmp_path, tmp_path).measured(tmp_path / "metrics.jsonl")
    assert found == {
        "values": {"knn": 30.0, "center": 0.5},
        "curves": {"knn": [(1, 10.0), (3, 30.0)], "center": [(2, 0.5)]},
    }


@pytest.mark.parametrize("plan", sorted((EXPERIMENTS / "grids").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_name_options_that_are_there(plan):
    from clsp.cli.table import COMMANDS
    from clsp.settings.values import options_of

    told = yaml.safe_load(plan.read_text())
    command = COMMANDS[told["command"]]
    known = {name for name, _, _ in options_of(command.settings)} | {*command.required, *command.optional}
    for options in (told["common"], *told["columns"].values(), *told["rows"].values()):
        assert set(options) <= known
    for options in told.get("before", {}).values():
        made = COMMANDS[options["command"]]
        known = {name for name, _, _ in options_of(made.settings)} | {*made.required, *made.optional}
        assert set(options) - {"command"} <= known


def test_what_the_stability_page_says_of_all_trainings_is_what_its_script_computes():
    import centres  # of experiments/

    study = EXPERIMENTS.parent / "studies" / "stability"
    runs = centres.cells_of(study)
    assert len(runs) == 42
    assert f"Spearman's correlation over the 42 trainings is {centres.together(runs):.2f}" in " ".join(
        (study / "README.md").read_text().split()
    )


def test_without_a_gpu_its_benchmarks_are_skipped_and_an_unknown_piece_is_refused(tmp_path):
    run = [sys.executable, EXPERIMENTS.parent / "benchmarks" / "gpu.py", "--out", tmp_path]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=hidden)
    assert (done.returncode, done.stdout.strip()) == (0, "skipped: no GPU") and not list(tmp_path.iterdir())
    assert subprocess.run([*run, "--piece", "nothing"], capture_output=True, check=False).returncode == 2


@pytest.mark.slow
def test_every_piece_of_the_gpu_s_benchmarks_runs_in_its_tiny_form(tmp_path):
    pieces = "generation,diffusion,pretraining,augmentation,neighbours,start"
    words = ["--tiny", "--piece", pieces, "--out", tmp_path]
    done = subprocess.run(
        [sys.executable, EXPERIMENTS.parent / "benchmarks" / "gpu.py", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    found = files.read_json(tmp_path / "tiny.json")
    assert done.returncode == 0, done.stdout
    assert {name: one["status"] for name, one in found["pieces"].items()} == dict.fromkeys(pieces.split(","), "done")
    assert set(found["parts"]) == set(pieces.split(",")) and all(found["parts"].values())


@pytest.mark.slow
def test_the_paper_s_scale_goes_on_from_what_it_kept(tmp_path):
    where = ("--state", tmp_path / "state", "--tiny", "--minutes", "5")
    script("paper_scale.py", "--work", tmp_path / "one", *where, "--seeds", "1")
    first = files.read_json(tmp_path / "state" / "result.json")["runs"]
    script(
        "paper_scale.py", "--work", tmp_path / "two", *where, "--seeds", "2"
    )  # the generator's weights come from STATE
    both = files.read_json(tmp_path / "state" / "result.json")["runs"]
    assert {arm: seeds["0"] for arm, seeds in both.items()} == {arm: seeds["0"] for arm, seeds in first.items()}
    assert all(set(seeds) == {"0", "1"} for seeds in both.values()) and not (tmp_path / "two" / "diffusion").exists()


FAMILY = {
    "search": {"seed": 100, "factors": [1, 2], "epochs": 1},
    "seeds": 1,
    "epochs": 2,
    "sets": {
        "digits": {
            "data": "digits", "recipe": "smoke", "validation": 300, "settings": {"pretrain.images": 64}, "bank": {},
        }
    },
    "common": {"pretrain.batch_size": 16, "evaluate.label_fractions": [0.1]},
    "methods": {
        "simclr": {"lr": 0.1, "other": {"simclr.temperature": 0.1}},
        "byol": {"lr": 0.1, "other": {"byol.momentum": [0.5, 1.0]}},
        "vicreg": {"lr": 0.05, "other": {"lr": 1e6}},  # which diverges
    },
}  # fmt: skip


@pytest.mark.slow
def test_the_family_is_tried_and_trained_anew_with_what_was_best(tmp_path):
    """Each method has the same trials; the table's arms have the chosen settings and epochs of equal cost."""
    plan, work = tmp_path / "plan.yaml", tmp_path / "work"
    plan.write_text(yaml.safe_dump(FAMILY, sort_keys=False))
    recipe = Path(load_recipe.__code__.co_filename).with_name("smoke.yaml")
    plan.write_text(plan.read_text().replace("recipe: smoke", f"recipe: {recipe}"))
    for part in ("0/2", "1/2"):
        script("family.py", "--work", work, "--set", "digits", "--plan", plan, "--part", part)
    found = files.read_json(work / "digits" / "search.json")
    assert {name: len(words["tried"]) for name, words in found["methods"].items()} == {
        "simclr": 3,
        "byol": 3,
        "vicreg": 3,
    }
    assert found["methods"]["vicreg"]["tried"][-1]["linear"] == 0.0
    for words in found["methods"].values():
        best = max(words["tried"], key=lambda line: line["linear"])
        assert words["chosen"] == best["settings"]
    table = files.read_json(work / "digits" / "table" / "comparison.json")
    assert [row["arm"] for row in table["arms"]] == [
        name + more for name in ("simclr", "byol", "vicreg") for more in ("", "+bank")
    ]
    trained = files.read_json(work / "digits" / "table" / "arms" / "byol" / "seed-0" / "stage.json")["settings"]
    assert trained["lr"] == found["methods"]["byol"]["chosen"]["lr"]
    assert [line["epochs"] for line in found["methods"]["simclr"]["tried"]] == [1, 1, 1]
    costs = {row["arm"]: row["cost"]["pretraining_flops"] for row in table["arms"]}
    assert costs["byol"] == pytest.approx(costs["simclr"], rel=0.4)  # of so few epochs


def test_the_fresh_images_are_those_that_nothing_was_chosen_on():
    """Recipes of seed 0 learn the first images of its order, and validate on the last."""
    from fresh import parts as fresh_parts  # of experiments/

    seen, fresh = fresh_parts(60_000)
    learnt, kept = subset(60_000, 10_000, seed=0), subset(60_000, 50_000, seed=0)
    assert len(seen) == 20_000 and set(learnt) <= set(seen) and set(range(60_000)) - set(kept) <= set(seen)
    assert [len(rows) for rows in fresh] == [10_000] * 4
    assert len(np.unique(np.concatenate([seen, *fresh]))) == 60_000


@pytest.mark.slow
def test_runs_of_a_plan_are_kept_once_each(tmp_path):
    plan = {
        "study": "time",
        "name": ["data", "seed"],
        "common": {"recipe": "smoke", "controls": True},
        "runs": [{"data": "digits", "seed": [0, 1]}],
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    for part in ("0/2", "1/2", "0/1"):  # the last finds all of them kept
        script("timed.py", "--plan", path, "--work", tmp_path / "work", "--studies", tmp_path, "--part", part)
        shutil.rmtree(tmp_path / "work" / "digits-0", ignore_errors=True)
    assert set(files.read_json(tmp_path / "time" / "result.json")["parts"]) == {"digits-0", "digits-1"}
    assert not (tmp_path / "work" / "digits-0").exists()


CLAIM = {
    "search": {
        "data": "seen.npz", "seed": 100, "epochs": 1, "rates": [0.1, 0.05], "most": 3,
        "usual": {"augment.crop_scale": [0.2, 1.0]}, "others": [{"augment.crop_scale": [0.5, 1.0]}], "validation": 200,
    },
    "sets": ["fresh-0.npz", "fresh-1.npz"],
    "generator": "smoke",
    "common": {"pretrain.knn_every": 0},
    "tables": {
        "equal-cost": {
            "recipe": "smoke", "as": "simclr+bank+host", "epochs": 2,
            "arms": ["simclr+bank+host", "simclr", "simclr+nearest+nt_xent"],
        }
    },
}  # fmt: skip


def test_the_claim_compares_unequal_classes_by_their_mean_too():
    from claim import scores_of  # of experiments/

    equal = {"linear": {}, "knn": {}, "retrieval": {}, "cost": {}}
    unequal = {"linear": {}, "linear_balanced": {}, "knn": {}, "retrieval": {}, "linear_1%": {}}
    assert scores_of([equal]) == scores_of([unequal, equal]) == ["linear", "knn", "retrieval"]
    assert scores_of([unequal, unequal]) == ["linear", "linear_balanced", "knn", "retrieval"]


def test_a_plan_of_the_claim_gets_its_images_once():
    from claim import PLAN, read_plan  # of experiments/

    colour = PLAN.with_name("claim-colour.yaml")
    plan = read_plan(colour, "wesnoth")
    assert [plan["search"]["data"], *plan["sets"]] == ["wesnoth"] * 6
    with pytest.raises(ValueError, match="leaves its images open: give --data"):
        read_plan(colour, "")
    with pytest.raises(ValueError, match="names its images itself"):
        read_plan(PLAN, "wesnoth")


@pytest.mark.slow
def test_the_claim_is_tried_alike_and_told_over_sets_of_their_own(tmp_path):
    """Each arm has its trials; each set has a generator of its own; arms without one train as long as it cost."""
    from claim import Claim  # of experiments/
    from fresh import write

    images = open_images("digits")
    for name, rows in {"seen": range(600), "fresh-0": range(600, 900), "fresh-1": range(900, 1200)}.items():
        write(tmp_path / f"{name}.npz", images.train.rows(np.array(rows)), images.test)
    plan = {**CLAIM, "sets": [str(tmp_path / name) for name in CLAIM["sets"]]}
    plan["search"] = {**CLAIM["search"], "data": str(tmp_path / "seen.npz")}
    again = Claim({**plan, "sets": ["blue-marble"] * 2}, {}, tmp_path, tmp_path)
    assert [again.name(*one) for one in again.sets] == ["blue-marble-0", "blue-marble-1"]
    assert again.name("blue-marble", 100) == "blue-marble-100"  # the search's
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    given = ("--work", tmp_path / "work", "--table", "equal-cost", "--plan", tmp_path / "plan.yaml")
    for part in ("0/2", "1/2", "0/2"):
        script("claim.py", *given, "--part", part)
    found = files.read_json(tmp_path / "work" / "equal-cost" / "result.json")
    for trials in found["trials"].values():
        rates = [trial["settings"]["lr"] for trial in trials if trial["settings"]["augment.crop_scale"] == [0.2, 1.0]]
        assert rates[:2] == [0.1, 0.05] and len(rates) == 3  # of two rates, the best is at an edge
        assert len(trials) == 4
    # What one arm says of a method holds for its other arms as well, unless they say it themselves.
    assert all("crop_scale" in settings["augment"] for settings in found["chosen"].values())
    assert all(len(values["linear"]) == 2 for values in found["values"].values())
    assert len({json.dumps(files.read_json(tmp_path / "work" / name / "diffusion" / "stage.json")["facts"]["unet"])
                for name in ("seen", "fresh-0", "fresh-1")}) == 3  # fmt: skip
    costs = {arm: cost["pretraining_flops"] + cost["generator_flops"] for arm, cost in found["costs"].items()}
    assert costs["simclr"] == pytest.approx(costs["simclr+bank+host"], rel=0.1)
    gap = found["differences"]["simclr+bank+host minus simclr"]["linear"]
    assert gap["low"] <= gap["mean"] <= gap["high"]


def test_overlap_of_whole_views_is_that_of_their_boxes_and_falls_with_gamma():
    import torch
    from overlap import GAMMAS, overlap  # of experiments/

    from clsp.images.augment import draw_crops
    from clsp.images.config import AugmentConfig

    ids = torch.arange(400)
    config = AugmentConfig(crop_scale=[0.2, 1.0])
    one, two = (draw_crops(config, seed=1, step=0, ids=ids, views=torch.full_like(ids, n)) for n in range(2))

    def common(start, length):
        ends = torch.minimum(getattr(one, start) + getattr(one, length), getattr(two, start) + getattr(two, length))
        return (ends - torch.maximum(getattr(one, start), getattr(two, start))).clamp_min(0)

    shared = common("left", "width") * common("top", "height") / (two.width * two.height)
    assert overlap(None, seed=1, pairs=400) == pytest.approx(100 * float(shared.mean()), rel=1e-4)
    fallen = [overlap(gamma, seed=1, pairs=400) for gamma in GAMMAS]
    assert fallen == sorted(fallen, reverse=True) and fallen[0] > 5 * fallen[-1]
