"""Means, intervals and paired differences, and the names of arms."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers import UNet2DModel
from scipy import stats

from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.unet import build_unet
from clsp.errors import UserError
from clsp.evaluation.statistics import interval, paired, welch
from clsp.positives.config import SynthesizeConfig
from clsp.positives.cost import sampling_flops
from clsp.recipes.arms import parse_arm, parse_arms
from clsp.recipes.recipe import load_recipe

TINY = DiffusionConfig(widths=[8, 8], blocks=1, attention=[], norm_groups=4, steps=3, batch_size=2)


def test_the_interval_is_students():
    values = [80.0, 81.0, 83.0]
    ours = interval(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (ours.mean, ours.low, ours.high) == pytest.approx((np.mean(values), low, high), abs=1e-3)


def test_one_run_has_no_interval():
    assert interval([80.0]).low is None


def test_a_paired_difference_takes_the_common_seeds():
    found = paired({0: 81.0, 1: 82.0, 2: 90.0}, {0: 80.0, 1: 80.5, 7: 10.0})
    assert found.mean == pytest.approx(1.25)
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("simclr", ("simclr", None, None, None, False)),
        ("moco+bank", ("moco", "bank", None, None, False)),
        ("simclr+view+nt_xent", ("simclr", "view", None, "nt_xent", False)),
        ("simclr+bank+host", ("simclr", "bank", "host", None, False)),
        ("simclr+bank+third+nt_xent", ("simclr", "bank", "third", "nt_xent", False)),
        ("byol+neighbour", ("byol", "neighbour", None, None, False)),
        ("simclr+extra", ("simclr", None, None, None, True)),
        ("diffusion", ("diffusion", None, None, None, False)),
    ],
)
def test_arms_are_read_and_written_alike(text, parts):
    arm = parse_arm(text)
    assert (arm.method, arm.source, arm.placement, arm.objective, arm.extra) == parts
    assert arm.name == text


def test_an_arms_objective_goes_before_the_recipes():
    recipe = load_recipe("smoke", {"pretrain": {"positive": {"objective": "nt_xent"}}})
    found = [recipe.pretraining(parse_arm(f"simclr+bank{more}")) for more in ("", "+alignment", "+nt_xent")]
    assert [config.positive.objective for config in found] == ["nt_xent", "alignment", "nt_xent"]


def test_an_arm_with_an_objective_may_have_values_of_its_own_beside_those_of_its_source():
    own = "{simclr+bank: {epochs: 5, lr: 0.2}, simclr+bank+host: {epochs: 7}}"
    recipe = load_recipe("smoke", {"per_method": own})
    plain, host = (recipe.pretraining(parse_arm(arm)) for arm in ("simclr+bank", "simclr+bank+host"))
    assert (plain.epochs, plain.lr, plain.positive.placement) == (5, 0.2, "third")
    assert (host.epochs, host.lr, host.positive.placement) == (7, 0.2, "host")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("simcrl", "did you mean 'simclr'"),
        ("simclr+bnak", "did you mean 'bank'"),
        ("simclr+bank+ntxent", "did you mean 'nt_xent'"),
        ("simclr+extra+nt_xent", "no additional positive"),
        ("simclr+bank+nt_xent+view", "is not one of alignment, nt_xent"),
        ("simclr+bank+nt_xent+alignment", "two of one kind"),
        ("simclr+nt_xent", "is not one of bank"),
        ("moco,moco", "named twice"),
        (",", "no arm"),
    ],
)
def test_wrong_arms_are_named(text, said):
    with pytest.raises(UserError, match=said):
        parse_arms(text)


def test_sampling_flops_of_a_model_for_any_size_are_those_of_the_images():
    unet = UNet2DModel(
        in_channels=1, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    small, large = (sampling_flops(unet, SynthesizeConfig(steps=4), 10, (1, side, side)) for side in (8, 16))
    assert 3.5 < large / small < 4.5


def test_sampling_flops_grow_with_what_is_made():
    unet = build_unet(TINY, channels=1, size=8).eval()

    def cost(**changes):
        return sampling_flops(unet, SynthesizeConfig(**{"candidates": 2, "steps": 4, **changes}), 10)

    assert cost(steps=8, strength=0.5) == cost(steps=4)

    sampling = cost(steps=8) - cost(steps=4)
    assert sampling > 0
    assert cost(steps=12) - cost(steps=8) == sampling
    assert cost(candidates=4) - cost(candidates=2) > 0.7 * (cost(steps=8) - cost(steps=4))
    assert 1.2 * cost() < cost(guidance_scale=2.0) < 2.0 * cost()  # the second half of a pass once more
    assert cost(interpolation_weight=1.0, guidance_scale=2.0) == cost(interpolation_weight=1.0)


def test_the_interval_of_two_means_is_welch_s():
    first, second = [84.1, 85.0, 84.4, 85.2], [82.0, 83.9, 82.2]
    found, told = welch(first, second), stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((told.low, told.high), abs=2e-3)
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second), abs=1e-3)
    assert welch([1.0, 1.0], [0.5, 0.5]).record() == {"mean": 0.5, "low": 0.5, "high": 0.5}
