"""The feature-interpolation sampler is the paper's."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from clsp import randomness
from clsp.diffusion.config import AnchorNoise
from clsp.diffusion.interpolation import Sampling, decode, encode, interpolated_noise, sample
from clsp.diffusion.samplers import make_sampler


@pytest.mark.parametrize("timestep", [0, 57, torch.tensor(99), torch.tensor([3, 99, 0])])
@pytest.mark.parametrize("centred", [False, True])
def test_decode_after_encode_is_the_unet(unet, anchors, timestep, centred):
    unet.register_to_config(center_input_sample=centred)
    with torch.no_grad():
        assert torch.equal(decode(unet, encode(unet, anchors, timestep)), unet(anchors, timestep).sample)


VARIANTS = {
    "positional": {},
    "fourier": {"time_embedding_type": "fourier"},
    "learned": {"time_embedding_type": "learned", "num_train_timesteps": 100},
    "scale and shift": {"resnet_time_scale_shift": "scale_shift"},
    "attention": {"down_block_types": ("AttnDownBlock2D",) * 2, "up_block_types": ("AttnUpBlock2D",) * 2},
    "no attention": {"add_attention": False},
    "resnet samplers": {"downsample_type": "resnet", "upsample_type": "resnet"},
    "ResNet blocks": {
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
    },
    "learned variance": {"out_channels": 2},
}
"""What diffusers' U-Nets may be besides the plain one."""


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("timestep", [57, torch.tensor(99), torch.tensor(41.0)])
def test_every_kind_of_unet_is_run_as_diffusers_runs_it(anchors, name, timestep):
    torch.manual_seed(0)
    small = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "layers_per_block": 1}
    unet = UNet2DModel(**{**small, **blocks, "attention_head_dim": 4, **VARIANTS[name]}).eval()
    whole = torch.as_tensor(timestep).long() if name == "learned" else timestep  # a table has whole rows
    with torch.no_grad():
        expected = unet(anchors, whole).sample
        assert torch.equal(decode(unet, encode(unet, anchors, timestep)), expected)
        drawn = interpolated_noise(unet, anchors, anchors, timestep, 1.0)
        guided = interpolated_noise(unet, anchors, anchors, timestep, 0.5, 2.0)
    assert torch.equal(drawn, expected[:, :1])  # the mean; a learned variance is left out
    assert drawn.shape == guided.shape == anchors.shape


def mixed_by_hook(unet, x, anchor, t, weight):
    """The card through diffusers' own forward: h <- w h + (1 - w) h_a, skips of x alone."""
    seen = []
    hook = unet.mid_block.register_forward_hook(lambda *a: seen.append(a[-1]))
    unet(anchor, t)
    hook.remove()
    hook = unet.mid_block.register_forward_hook(lambda *a: weight * a[-1] + (1 - weight) * seen[0])
    out = unet(x, t).sample
    hook.remove()
    return out


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
def test_only_the_middle_features_are_mixed(unet, anchors, weight):
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = interpolated_noise(unet, x, anchors, 50, weight)
        expected = mixed_by_hook(unet, x, anchors.repeat_interleave(2, dim=0), 50, weight)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1.5, 4.0])
def test_guidance_goes_on_from_the_plain_prediction_through_the_mixed_one(unet, anchors, scale):
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = interpolated_noise(unet, x, anchors, 50, 0.1, scale)
        plain, mixed = unet(x, 50).sample, mixed_by_hook(unet, x, anchors.repeat_interleave(2, dim=0), 50, 0.1)
    torch.testing.assert_close(ours, plain + scale * (mixed - plain), rtol=1e-4, atol=1e-5)


def card_loop(unet, anchors, ids, k, *, steps, eta, weight, seed, total, betas, each=False):
    """ddim_interpolation of the card, with the library's noise, in float64 outside of the network."""
    abar = np.append(np.cumprod(1 - np.linspace(*betas, total)), 1.0)  # abar[-1] = 1
    times = [int(t) for t in np.linspace(-1, total - 1, steps + 1)][::-1]
    rows, numbers, shape = ids.repeat_interleave(k), torch.arange(k).repeat(len(ids)), anchors.shape[1:]
    x = randomness.normal(seed, "sampler start", (rows, numbers), shape).double()
    clean = anchors.repeat_interleave(k, dim=0).double()
    for index, (t, following) in enumerate(itertools.pairwise(times)):
        a, b = abar[t], abar[following]
        name = (rows, numbers, index + 1) if each else (rows, index + 1)
        fresh = randomness.normal(seed, "anchor noise", name, shape).double()
        noised = a**0.5 * clean + (1 - a) ** 0.5 * fresh
        eps = mixed_by_hook(unet, x.float(), noised.float(), t, weight).double()
        x0 = x / a**0.5 - (1 / a - 1) ** 0.5 * eps
        if following < 0:
            return x0
        sigma = eta * ((1 - a / b) * (1 - b) / (1 - a)) ** 0.5
        z = randomness.normal(seed, "sampler noise", (rows, numbers, index), shape).double()
        x = b**0.5 * x0 + (1 - b - sigma**2) ** 0.5 * eps + sigma * z
    raise AssertionError("the last time is -1")


@pytest.mark.parametrize(
    ("steps", "eta", "weight", "noise"),
    [(100, 0.1, 0.1, "fresh"), (10, 0.0, 0.1, "fresh"), (20, 1.0, 0.5, "fresh"), (10, 0.1, 0.1, "each")],
)
def test_the_sampler_is_the_cards_loop(unet, settings, anchors, steps, eta, weight, noise):
    scheduler = make_sampler("ddim", settings(timesteps=1000), clip_sample=False)
    ids = torch.tensor([7, 0, 41])
    how = Sampling(candidates=2, interpolation_weight=weight, steps=steps, eta=eta, anchor_noise=noise)
    ours = sample(unet, scheduler, anchors, ids, how, seed=3).double()
    with torch.no_grad():
        how = {"steps": steps, "eta": eta, "weight": weight, "each": noise == "each"}
        expected = card_loop(unet, anchors, ids, 2, **how, seed=3, total=1000, betas=(1e-4, 0.02))
    scale = float(expected.abs().max())
    torch.testing.assert_close(ours / scale, expected / scale, rtol=0, atol=1e-4)


def test_the_papers_times_are_999_989_to_9(settings):
    scheduler = make_sampler("ddim", settings(timesteps=1000), clip_sample=False)
    scheduler.set_timesteps(100)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -10))
    assert float(scheduler.final_alpha_cumprod) == 1.0


def test_weight_1_is_a_plain_sample_that_knows_no_anchor(draw, unet, settings, anchors):
    plain = draw(unet, settings, anchors, interpolation_weight=1.0)
    assert torch.equal(plain, draw(unet, settings, anchors.flip(-1), interpolation_weight=1.0))
    mixed = [draw(unet, settings, x, interpolation_weight=0.0) for x in (anchors, anchors.flip(-1))]
    assert not torch.equal(*mixed)


@pytest.mark.parametrize("noise", get_args(AnchorNoise))
def test_a_candidate_does_not_depend_on_batch_order_or_number_of_candidates(draw, unet, settings, anchors, noise):
    whole = draw(unet, settings, anchors, (5, 2, 9), anchor_noise=noise).int()
    for place, number in enumerate((5, 2, 9)):
        alone = draw(unet, settings, anchors[place : place + 1], (number,), anchor_noise=noise).int()
        assert int((whole[place] - alone[0]).abs().max()) <= 1  # last bits before rounding
    turned = draw(unet, settings, anchors.flip(0), (9, 2, 5), anchor_noise=noise).int()
    assert int((turned.flip(0) - whole).abs().max()) <= 1
    fewer = draw(unet, settings, anchors, (5, 2, 9), anchor_noise=noise, candidates=1).int()
    assert int((fewer - whole[:, :1]).abs().max()) <= 1


def test_seed_anchor_id_and_candidate_name_the_noise(draw, unet, settings, anchors):
    one = anchors[:1].expand(3, -1, -1, -1)
    images = draw(unet, settings, one)
    assert torch.equal(images, draw(unet, settings, one))
    assert len(images.flatten(0, 1).unique(dim=0)) == 9
    assert not torch.equal(images, draw(unet, settings, one, seed=1))
    others = [draw(unet, settings, one, anchor_noise=noise) for noise in ("fixed", "each")]
    assert not any(torch.equal(images, other) for other in others)
