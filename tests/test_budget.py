"""A run that is given a time: what is chosen for it, and that the stages keep to it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from clsp import console, files
from clsp.cli.main import dispatch
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
from clsp.preflight import budget as budgets
from clsp.preflight.budget import Budget, fit_to_time, parse_hours, seconds_for
from clsp.preflight.fitting import Fitting, Units, lengths_given
from clsp.recipes.fit import check_arm, check_generator
from clsp.recipes.recipe import load_recipe
from clsp.recipes.sizing import Extent, view_size
from clsp.settings.values import nested
from clsp.study.clock import Clock, read_budget


def images_like(count, size, *, labels=True):
    pixels = np.broadcast_to(np.uint8(0), (count, 3, size, size))
    known = np.zeros(count, np.int64) if labels else None
    return Images(source="like", train=Split(images=pixels, names=range(count), labels=known))


@pytest.fixture
def machine(monkeypatch):
    """A machine whose steps take what it is told: seconds that grow with the pixels, 1e-5 each at first."""

    class Machine:
        pixel = 1e-5
        asked: ClassVar[list[int]] = []

    def units(self, size):
        Machine.asked.append(size)
        recipe = self.recipe(size, Extent(100, 10, 1))
        side, view = recipe.diffusion.size or size, recipe.pretrain.augment.size or size
        drawn, each = Machine.pixel * side**2, Machine.pixel * view**2
        passes = {arm.name: 2 * each for arm in self.arms(recipe)}
        self.measured[size] = Units(side, view, 64 * drawn, 4 * drawn, passes, each / 3)
        return self.measured[size]

    monkeypatch.setattr(Fitting, "units", units)
    Machine.asked = []
    return Machine


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 3600), ("0.25", 900), ("15m", 900), ("90 minutes", 5400), ("2h", 7200), ("1.5 hours", 5400), ("1 min", 60)],
)
def test_a_time_is_written_in_hours_or_minutes(text, seconds):
    assert parse_hours(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "0.5m", "nan", "inf", "1e9", "1h30"])
def test_what_is_no_time_is_refused_in_a_line(text):
    with pytest.raises(UserError, match=r"is no time of a minute or more; write 1, 0.5 or 15m"):
        parse_hours(text)


def test_a_recipe_with_lengths_of_its_own_takes_no_time():
    with pytest.raises(UserError, match="--hours fits the recipe folder to a time, and digits has lengths of its own"):
        seconds_for("digits", "1")
    assert seconds_for("digits", None) is None
    assert seconds_for("folder", None) in (3600, 7200)


@pytest.mark.parametrize("count", [2, 40, 1500, 8000, 300_000])
@pytest.mark.parametrize("side", [8, 28, 128])
def test_more_time_makes_images_larger_then_trainings_longer_and_none_takes_more_than_it_has(machine, count, side):
    found = []
    for seconds in (60, 900, 3600, 10_800, 100_000):
        budget = fit_to_time(images_like(count, side), seconds, None)
        recipe = budget.prepare(None, lambda recipe: images_like(count, recipe.images.size)).recipe
        check_generator(recipe, images_like(count, budget.size))
        for arm in recipe.arms():
            check_arm(recipe, arm, images_like(count, budget.size))
        assert budget.size <= side
        least = min(budget.extent.steps, budget.extent.epochs) <= 8  # nothing is left out, whatever the time
        assert sum(budget.planned.values()) <= 1.01 * seconds or least
        assert list(budget.planned) == ["diffusion", "bank", "simclr+bank", "simclr", "simclr+view", "rest"]
        found.append((budget.size, budget.extent.images * budget.extent.epochs))
    sizes = [size for size, _ in found]
    assert sizes == sorted(sizes)


def test_a_faster_machine_does_more(machine):
    slow = fit_to_time(images_like(5000, 96), 3600, None)
    machine.pixel = 1e-6
    fast = fit_to_time(images_like(5000, 96), 3600, None)
    assert fast.size > slow.size >= 16


def test_the_larger_of_two_sizes_is_taken_whose_networks_see_as_many_pixels(machine):
    """Views of 24-pixel images have 16 pixels, as those of 16-pixel images have."""
    assert view_size(24) == view_size(16) == 16
    chosen = {fit_to_time(images_like(5000, 64), seconds, None).size for seconds in range(60, 3600, 60)}
    assert 16 not in chosen and 24 in chosen


def test_a_larger_diffusion_model_needs_more_steps(machine):
    for seconds in (900, 1800, 3600, 7200, 20_000):
        chosen = fit_to_time(images_like(5000, 224), seconds, None)
        if chosen.size > 24:
            assert chosen.extent.steps >= 0.99 * 1600 / 24 * view_size(chosen.size)


def test_few_sizes_are_measured(machine):
    fit_to_time(images_like(5000, 224), 3600, None)
    assert len(machine.asked) <= 4 and len(set(machine.asked)) == len(machine.asked)


def test_what_the_user_sets_holds(machine):
    given = nested({"images.size": "20", "diffusion.steps": "77", "controls": "false"})
    budget = fit_to_time(images_like(3000, 64), 3600, given)
    recipe = budget.prepare(given, lambda recipe: images_like(3000, recipe.images.size)).recipe
    assert (recipe.images.size, recipe.diffusion.steps, recipe.controls) == (20, 77, False)
    assert budget.planned["diffusion"] == pytest.approx(77 * 64 * 1e-5 * 400)
    assert "simclr" not in budget.planned


def test_other_trainings_are_fitted_around_the_lengths_that_are_given(machine):
    free = fit_to_time(images_like(5000, 64), 3600, None)
    long = nested({"diffusion.steps": str(2 * free.extent.steps)})
    budget = fit_to_time(images_like(5000, 64), 3600, long)
    assert sum(budget.planned.values()) <= 1.01 * 3600
    seen = [one.size**2 * one.extent.images * one.extent.epochs for one in (budget, free)]
    assert seen[0] < seen[1]
    assert budget.said[3].startswith("plan: --diffusion.steps holds as you set it; should it become slower, the")
    few = fit_to_time(images_like(5000, 64), 3600, {"pretrain": {"epochs": "100"}})
    assert sum(few.planned.values()) <= 1.01 * 3600
    assert few.extent.images < 5000  # each is seen often


def test_a_time_that_cannot_be_kept_is_said_to_be_one(machine):
    count = fit_to_time(images_like(60_000, 28), 60, None)
    least = sum(count.planned.values())
    assert least > 60 and count.due == least
    assert count.said[3].startswith(
        f"plan: 1 min 00 s cannot be kept: it takes at least {console.duration(least)}; give"
    )
    given = {"pretrain": {"epochs": "20000"}, "diffusion": {"steps": "5"}}
    said = fit_to_time(images_like(5000, 28), 3600, given).said[3]
    assert "1 h 00 min cannot be kept: with --diffusion.steps and --pretrain.epochs it takes at least" in said
    own = {"per_method": "{simclr: {epochs: 20000}}"}
    assert "with --per_method it takes" in fit_to_time(images_like(5000, 28), 3600, own).said[3]
    assert fit_to_time(images_like(3000, 32), 3600, None).due == 3600


def test_a_run_without_a_bank_plans_none(machine):
    budget = fit_to_time(images_like(3000, 32), 3600, nested({"pretrain.positive.source": "view"}))
    assert list(budget.planned) == ["diffusion", "bank", "simclr+view", "simclr", "rest"]
    assert budget.planned["diffusion"] == budget.planned["bank"] == 0
    assert len(budget.said) == 4 and "bank" not in " ".join(budget.said)


def test_without_labels_no_controls_are_trained(machine):
    budget = fit_to_time(images_like(3000, 32, labels=False), 3600, None)
    assert list(budget.planned) == ["diffusion", "bank", "simclr+bank", "rest"]


def test_a_model_that_is_there_costs_no_time(machine):
    with_own = fit_to_time(images_like(3000, 32), 3600, None)
    without = fit_to_time(images_like(3000, 32), 3600, None, diffusion="google/ddpm-cifar10-32")
    assert without.planned["diffusion"] == 0
    assert without.extent.epochs > with_own.extent.epochs or without.size > with_own.size
    assert without.said[1].startswith("plan: bank, 1 x 3000 candidates: ")
    assert "diffusion model" not in " ".join(without.said)


def test_five_lines_say_what_was_chosen_and_what_more_time_would_change(machine):
    said = fit_to_time(images_like(3000, 128), 3600, None).said
    assert len(said) == 5
    assert "of 1 h 00 min" in said[0] and "they have 128" in said[0]
    assert "diffusion model" in said[1] and "epochs each" in said[2]
    assert said[4].startswith("plan: 3 h 00 min would change: ")


# --- the clock -------------------------------------------------------------------------------------------------------

PLAN = Budget(
    seconds=1000.0,
    count=100,
    size=16,
    extent=Extent(100, 50, 5),
    controls=True,
    accelerated=False,
    planned={"diffusion": 400.0, "bank": 100.0, "simclr+bank": 300.0, "simclr": 100.0, "rest": 100.0},
    said=("plan: so",),
)


@pytest.fixture
def now(monkeypatch):
    class Now:
        seconds = 0.0

    monkeypatch.setattr("clsp.study.clock.time.monotonic", lambda: Now.seconds)
    return Now


def test_each_stage_gets_its_share_of_what_is_left(tmp_path, now):
    """What is compared may take a tenth of the whole time more, rather than end before the other."""
    clock = Clock(PLAN, tmp_path, began=0.0)
    assert clock.pace("diffusion", tmp_path / "diffusion").seconds == pytest.approx(400)
    now.seconds = 400.0
    assert clock.pace("simclr+bank", tmp_path / "a").seconds == pytest.approx(600 * 300 / 500)
    now.seconds = 700.0  # the stages before took longer
    assert clock.pace("simclr", tmp_path / "b", compared=0.5).seconds == pytest.approx(300 / 2 + 100)
    in_its_place = clock.pace("simclr+nearest", tmp_path / "c")
    assert in_its_place.seconds == pytest.approx(300 * 300 / 500)  # it has the time of the arm whose bank failed
    now.seconds = 1060.0  # of the tenth beyond the whole time some is left
    assert clock.pace("simclr", tmp_path / "b", compared=0.5).seconds == pytest.approx(40)
    now.seconds = 5000.0
    assert clock.pace("simclr", tmp_path / "b", compared=0.5).seconds == 0


def test_a_stage_whose_length_was_given_has_no_pace(tmp_path, now):
    clock = Clock(PLAN, tmp_path, began=0.0, held=frozenset({"diffusion", "simclr+bank"}))
    assert clock.pace("diffusion", tmp_path / "diffusion") is None
    assert clock.pace("simclr+bank", tmp_path / "a") is None
    assert clock.pace("simclr+nearest", tmp_path / "b") is None  # it stands in for the arm with the bank
    assert clock.pace("simclr", tmp_path / "c", compared=1.0) is not None
    assert read_budget(tmp_path) is not None


def test_a_plan_that_cannot_be_kept_is_followed_all_the_same(tmp_path, now):
    clock = Clock(replace(PLAN, seconds=100.0), tmp_path, began=0.0)
    assert clock.pace("diffusion", tmp_path / "diffusion").seconds == pytest.approx(400)


def test_lengths_that_were_given_are_found_by_their_stages():
    given = {"diffusion": {"steps": "7"}, "controls": "true", "per_method": "{simclr+view: {epochs: 3}}"}
    assert lengths_given(given, load_recipe("folder", given)) == {"diffusion": 7, "simclr+view": 3}
    given = nested({"pretrain.epochs": "9", "pretrain.lr": "0.1"})
    assert lengths_given(given, load_recipe("folder", given)) == {"simclr+bank": 9}
    assert lengths_given({}, load_recipe("folder", {})) == {}


def test_a_run_that_was_begun_keeps_its_plan_and_the_time_that_it_took(tmp_path, now):
    assert read_budget(tmp_path) is None
    clock = Clock(PLAN, tmp_path, before=50.0, began=0.0)
    now.seconds = 100.0
    clock.save()
    assert read_budget(tmp_path) is None  # nothing was to be done yet
    clock.pace("diffusion", tmp_path / "diffusion")
    budget, spent = read_budget(tmp_path)
    assert (budget, spent) == (PLAN, 150.0)
    (tmp_path / "budget.json").write_text(json.dumps({"seconds": "soon"}))
    with pytest.raises(UserError, match=r"budget\.json.*delete it"):
        read_budget(tmp_path)


def test_a_run_keeps_to_its_time_goes_on_by_its_plan_and_takes_no_other(tmp_path, monkeypatch, capsys):
    draws = np.random.default_rng(0)
    for label in ("day", "night"):
        for number in range(30):
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    monkeypatch.setattr(budgets, "parse_hours", lambda text: 15.0 * float(text))
    out = tmp_path / "run"
    tiny = [
        "--pretrain.backbone.args",
        "{layers: [1, 1, 1, 1], channels: [4, 4, 8, 8]}",
        "--diffusion.widths",
        "[8, 8]",
    ]
    tiny += ["--evaluate.classifier_epochs", "0", "--synthesize.gate", "off"]
    command = ["run", "--data", str(tmp_path / "photos"), "--out", str(out), *tiny]
    assert dispatch([*command, "--hours", "1"]) == 0
    first = capsys.readouterr()
    plan = json.loads((out / "budget.json").read_text())
    assert plan["spent"] > 5
    taken = [json.loads((out / path / "stage.json").read_text()) for path in ("diffusion", "arms/simclr+bank/seed-0")]
    assert all(stage["facts"]["steps"] >= 1 for stage in taken)
    assert "simclr+view" in first.out and "plan: 15 s" not in first.out
    assert dispatch(command) == 0
    second = capsys.readouterr()
    assert json.loads((out / "budget.json").read_text()) == plan
    assert second.out == first.out and "measuring" not in second.err and "steps done" not in second.err
    assert dispatch([*command, "--hours", "2"]) == 2
    assert "was begun with a time of 15 s; leave --hours out" in capsys.readouterr().err


def test_a_plan_from_before_channels_were_kept_is_read(tmp_path):
    kept = asdict(PLAN) | {"spent": 1.0}
    files.write_json(tmp_path / "budget.json", {name: value for name, value in kept.items() if name != "channels"})
    read = read_budget(tmp_path)
    assert read is not None and read[0] == PLAN and PLAN.channels == 1
