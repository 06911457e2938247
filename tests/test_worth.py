"""``clsp check`` says whether a bank is worth its cost: by the study's numbers, and for the plan's own images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from clsp.preflight.gpus import find_gpu
from clsp.preflight.source import prepare_plan
from clsp.preflight.stages import Plan, plan_stages
from clsp.preflight.worth import COLOUR, GAINS, worth
from clsp.settings.values import nested

STUDY = Path(__file__).parents[1] / "studies" / "image-count" / "result.json"
PARTS = ("diffusion model", "synthetic positives", "encoder simclr+bank")


def plan_of(data="digits", *, recipe="smoke", own_model=True, **overrides):
    """A plan for a GPU by name, of which nothing is timed."""
    prepared = prepare_plan(data, recipe=recipe, overrides=nested(overrides)).prepared
    return Plan(prepared.recipe, prepared.images, find_gpu("t4"), kept=True, own_model=own_model)


def test_what_is_said_is_what_the_study_measured():
    table = json.loads(STUDY.read_text(encoding="utf-8"))["table"]
    assert list(table) == [f"{gain.images:,} images" for gain in GAINS]
    for gain, column in zip(GAINS, table.values()):
        row = column["candidates"]
        for told, gaps in (
            (gain.over_view, row["versus_first"]),
            (gain.over_cost, row["versus"]["SimCLR for the whole cost"]),
        ):
            assert told == tuple(round(gaps[name]["mean"], 1) for name in ("linear.top1", "retrieval.map"))


@pytest.mark.parametrize(
    ("count", "nearest"), [(40, "300"), (500, "300"), (600, "1,000"), (2000, "3,000"), (50_000, "10,000")]
)
def test_the_count_that_is_nearest_speaks(count, nearest):
    counts = dict.fromkeys(("images.limit", "pretrain.images", "synthesize.anchors"), count)
    plan = plan_of("fashion-mnist", recipe="fashion-mnist", **counts, **{"pretrain.batch_size": 16})
    text = worth(plan, plan_stages(plan))
    assert f"on {nearest} gray pictures of clothes, the measured number that is nearest to your {count:,};" in text


def test_the_page_says_from_where_to_where_the_gains_reach():
    said = " ".join((STUDY.parents[2] / "docs" / "time.md").read_text(encoding="utf-8").split())
    linear, retrieval = zip(*(gain.over_cost for gain in GAINS))
    assert f"({min(retrieval):.1f} to {max(retrieval):.1f} points of mAP)" in said
    assert f"({min(linear):+.1f} to {max(linear):+.1f})" in said


def test_what_is_concluded_holds_for_every_count():
    assert all(linear < 0.5 and retrieval >= 1 for linear, retrieval in (gain.over_cost for gain in GAINS))
    assert "to find alike images a bank was worth its cost on" in worth(plan_of(), plan_stages(plan_of()))


@pytest.mark.parametrize(("recipe", "said"), [("fashion-mnist", False), ("cifar10", True)])
def test_of_colour_images_it_says_what_is_known_of_them(recipe, said):
    plan = plan_of(None, recipe=recipe)
    assert (COLOUR in worth(plan, plan_stages(plan))) == said


@pytest.mark.parametrize("own_model", [True, False])
def test_the_cost_is_that_of_this_plan(own_model):
    plan = plan_of(own_model=own_model)
    stages = plan_stages(plan)
    *generator, encoder = (stage.flops for stage in stages if stage.name in PARTS)
    assert len(generator) == 1 + own_model
    assert f"{sum(generator) / (sum(generator) + encoder):.0%}" in re.findall(r"\d+%", worth(plan, stages))


def test_a_plan_without_a_bank_says_nothing_of_it():
    plan = plan_of(**{"pretrain.positive.source": "view"})
    assert worth(plan, plan_stages(plan)) == ""
