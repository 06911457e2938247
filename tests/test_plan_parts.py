"""A plan has the stages that a run makes: a bank where an arm needs one, drawn by the model that serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clsp.cli.main import dispatch
from clsp.preflight import measure, room
from clsp.preflight.fitting import ENOUGH, Fitting
from clsp.preflight.given import as_drawing, given_unet, own_side
from clsp.preflight.gpus import find_gpu
from clsp.preflight.source import prepare_plan
from clsp.preflight.stages import Plan, plan_stages
from clsp.settings.values import nested
from tiny import plain_diffusion

T4 = find_gpu("t4")
"""Nothing is timed of a plan for it."""
VIEW = ("--controls", "--pretrain.positive.source", "view")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The first time of a step is good enough here."""
    monkeypatch.setattr(measure, "_LONG_ENOUGH", 0.0)
    monkeypatch.setattr(measure, "_BEARABLE", 0.0)


@pytest.fixture
def model(tmp_path):
    """A model that plain diffusers made, of gray images of 8 pixels."""
    plain_diffusion(tmp_path / "foreign", size=8)
    return str(tmp_path / "foreign")


def test_a_run_without_a_bank_is_planned_without_one_and_each_arm_once(capsys):
    assert dispatch(["check", "--data", "digits", "--recipe", "smoke", *VIEW]) == 0
    text = capsys.readouterr().out
    assert [line.split()[1] for line in text.splitlines() if line.startswith("encoder ")] == ["simclr+view", "simclr"]
    assert "together, without the evaluation" in text and "2 encoders with checkpoint" in text
    assert all(word not in text for word in ("the bank", "diffusion model", "synthetic positives"))


def test_a_run_without_a_bank_trains_on_all_images_and_its_memory_is_that_of_its_encoders():
    overrides = nested({"pretrain.positive.source": "view", "synthesize.anchors": "32", "pretrain.images": "null"})
    prepared = prepare_plan("digits", recipe="smoke", overrides=overrides).prepared
    plan = Plan(prepared.recipe, prepared.images, T4, kept=True)
    assert plan.trained() == len(prepared.images.train)
    assert [stage.name for stage in plan_stages(plan)] == ["encoder simclr+view"]
    assert room.memory_note(prepared, own_model=False) is None


def test_the_bank_of_a_model_that_is_there_is_planned_with_that_model(model):
    prepared = prepare_plan("digits", recipe="smoke").prepared
    plan = Plan(prepared.recipe, prepared.images, T4, kept=True, own_model=False)
    unknown, known = plan_stages(plan), plan_stages(replace(plan, unet=given_unet(model, 1)))
    assert [stage.name for stage in known] == ["synthetic positives", "encoder simclr+bank"]
    assert 0 < known[0].flops < unknown[0].flops
    seen = replace(prepared.images, test=None)
    fitting = Fitting({}, seen, accelerated=False, gpu=T4, diffusion=model)
    assert (fitting.own_model, fitting.draws) == (False, True)
    size = fitting.sizes[0]
    assert fitting.units(size).side == 8
    assert fitting.planned(fitting.units(size), fitting.recipe(size, ENOUGH))["diffusion"] == 0


def test_a_model_that_is_not_there_or_does_not_suit_leaves_the_plan_to_the_recipe(model):
    assert given_unet(None, 1) is None
    assert given_unet("google/ddpm-cifar10-32", 3) is None
    assert given_unet(model, 3) is None
    assert own_side(None, 1) is None


def test_a_model_for_any_size_draws_that_of_the_images(model, make_images):
    unet = given_unet(model, 1)
    unet.register_to_config(sample_size=None)
    assert own_side(unet, 1) is None
    assert as_drawing(unet, make_images(8, 0, channels=1, size=13)).config.sample_size == 14
