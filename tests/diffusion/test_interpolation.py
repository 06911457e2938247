"""The feature-interpolation sampler is the paper's."""

from __future__ import annotations

import itertools
from typing import get_args

import diffusers
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline, UNet2DModel

from clsp import SyntheticPositivePipeline, randomness
from clsp.diffusion.config import SamplerName
from clsp.diffusion.interpolation import Sampling, decode, encode, interpolated_noise, sample
from clsp.diffusion.samplers import make_sampler
from clsp.diffusion.unet import Grid, build_scheduler, build_unet, padded_size, unet_hash
from clsp.errors import UserError


@pytest.fixture
def unet(tiny_diffusion):
    torch.manual_seed(0)
    return build_unet(tiny_diffusion(dropout=0.1), channels=1, size=8).eval()


@pytest.fixture
def settings(tiny_diffusion):
    def make(**changes):
        return dict(build_scheduler(tiny_diffusion(**changes)).config)

    return make


@pytest.fixture
def anchors():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("timestep", [0, 57, torch.tensor(99), torch.tensor([3, 99, 0])])
@pytest.mark.parametrize("centred", [False, True])
def test_decode_after_encode_is_the_unet(unet, anchors, timestep, centred):
    unet.register_to_config(center_input_sample=centred)
    with torch.no_grad():
        assert torch.equal(decode(unet, encode(unet, anchors, timestep)), unet(anchors, timestep).sample)


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


def card_loop(unet, anchors, ids, k, *, steps, eta, weight, seed, total, betas):
    """ddim_interpolation of the card, with the library's noise, in float64 outside of the network."""
    abar = np.append(np.cumprod(1 - np.linspace(*betas, total)), 1.0)  # abar[-1] = 1
    times = [int(t) for t in np.linspace(-1, total - 1, steps + 1)][::-1]
    rows, numbers, shape = ids.repeat_interleave(k), torch.arange(k).repeat(len(ids)), anchors.shape[1:]
    x = randomness.normal(seed, "sampler start", (rows, numbers), shape).double()
    clean = anchors.repeat_interleave(k, dim=0).double()
    for index, (t, following) in enumerate(itertools.pairwise(times)):
        a, b = abar[t], abar[following]
        fresh = randomness.normal(seed, "anchor noise", (rows, index + 1), shape).double()
        noised = a**0.5 * clean + (1 - a) ** 0.5 * fresh
        eps = mixed_by_hook(unet, x.float(), noised.float(), t, weight).double()
        x0 = x / a**0.5 - (1 / a - 1) ** 0.5 * eps
        if following < 0:
            return x0
        sigma = eta * ((1 - a / b) * (1 - b) / (1 - a)) ** 0.5
        z = randomness.normal(seed, "sampler noise", (rows, numbers, index), shape).double()
        x = b**0.5 * x0 + (1 - b - sigma**2) ** 0.5 * eps + sigma * z
    raise AssertionError("the last time is -1")


@pytest.mark.parametrize(("steps", "eta", "weight"), [(100, 0.1, 0.1), (10, 0.0, 0.1), (20, 1.0, 0.5)])
def test_the_sampler_is_the_cards_loop(unet, settings, anchors, steps, eta, weight):
    scheduler = make_sampler("ddim", settings(timesteps=1000), clip_sample=False)
    ids = torch.tensor([7, 0, 41])
    how = Sampling(candidates=2, interpolation_weight=weight, steps=steps, eta=eta)
    ours = sample(unet, scheduler, anchors, ids, how, seed=3).double()
    with torch.no_grad():
        expected = card_loop(
            unet, anchors, ids, 2, steps=steps, eta=eta, weight=weight, seed=3, total=1000, betas=(1e-4, 0.02)
        )
    scale = float(expected.abs().max())
    torch.testing.assert_close(ours / scale, expected / scale, rtol=0, atol=1e-4)


def test_the_papers_times_are_999_989_to_9(settings):
    scheduler = make_sampler("ddim", settings(timesteps=1000), clip_sample=False)
    scheduler.set_timesteps(100)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -10))
    assert float(scheduler.final_alpha_cumprod) == 1.0


def draw(unet, settings, anchors, ids=(0, 1, 2), **how):
    pipeline = SyntheticPositivePipeline(unet, make_sampler("ddim", settings(), clip_sample=True))
    options = {"candidates": 3, "num_inference_steps": 5, "eta": 1.0, **how}
    return pipeline(anchors, anchor_ids=list(ids), **options).images


def test_weight_1_is_a_plain_sample_that_knows_no_anchor(unet, settings, anchors):
    plain = draw(unet, settings, anchors, interpolation_weight=1.0)
    assert torch.equal(plain, draw(unet, settings, anchors.flip(-1), interpolation_weight=1.0))
    mixed = [draw(unet, settings, x, interpolation_weight=0.0) for x in (anchors, anchors.flip(-1))]
    assert not torch.equal(*mixed)


@pytest.mark.parametrize("noise", ["fresh", "fixed"])
def test_a_candidate_does_not_depend_on_batch_order_or_number_of_candidates(unet, settings, anchors, noise):
    whole = draw(unet, settings, anchors, (5, 2, 9), anchor_noise=noise).int()
    for place, number in enumerate((5, 2, 9)):
        alone = draw(unet, settings, anchors[place : place + 1], (number,), anchor_noise=noise).int()
        assert int((whole[place] - alone[0]).abs().max()) <= 1  # last bits before rounding
    turned = draw(unet, settings, anchors.flip(0), (9, 2, 5), anchor_noise=noise).int()
    assert int((turned.flip(0) - whole).abs().max()) <= 1
    fewer = draw(unet, settings, anchors, (5, 2, 9), anchor_noise=noise, candidates=1).int()
    assert int((fewer - whole[:, :1]).abs().max()) <= 1


def test_seed_anchor_id_and_candidate_name_the_noise(unet, settings, anchors):
    one = anchors[:1].expand(3, -1, -1, -1)
    images = draw(unet, settings, one)
    assert torch.equal(images, draw(unet, settings, one))
    assert len(images.flatten(0, 1).unique(dim=0)) == 9
    assert not torch.equal(images, draw(unet, settings, one, seed=1))
    assert not torch.equal(images, draw(unet, settings, one, anchor_noise="fixed"))


SCHEDULERS = {
    "DDIM": ("DDIMScheduler", {}),
    "DDPM": ("DDPMScheduler", {}),
    "DPM++ 3": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "SDE-DPM++": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "DEIS": ("DEISMultistepScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_draws_finite_images_that_a_seed_repeats(unet, settings, anchors, name):
    kind, options = SCHEDULERS[name]
    scheduler = getattr(diffusers, kind).from_config(settings(), **options)
    pipeline = SyntheticPositivePipeline(unet, scheduler)

    def run(seed):
        torch.manual_seed(seed + 100)  # torch's own generator plays no part
        return pipeline(anchors, candidates=2, num_inference_steps=10, eta=0.5, seed=seed).images

    first = run(0)
    torch.manual_seed(7)
    assert first.shape == (3, 2, 1, 8, 8)
    assert torch.equal(first, pipeline(anchors, candidates=2, num_inference_steps=10, eta=0.5, seed=0).images)
    assert not torch.equal(first, run(1))
    lone = pipeline(anchors[1:2], candidates=2, num_inference_steps=10, eta=0.5, seed=0, anchor_ids=[1]).images
    assert int((lone[0].int() - first[1].int()).abs().max()) <= 1


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_model_that_knows_the_noise_gives_the_anchor_back_under_every_scheduler(unet, settings, prediction):
    """For data that are one point c, eps = (x - sqrt(abar) c) / sqrt(1 - abar) is exact: all samplers end at c."""
    alphas = build_alphas(settings())
    known = settings(prediction_type=prediction)
    point = 0.5

    class Exact(torch.nn.Module):
        config, dtype = unet.config, torch.float32

        def forward(self, x, t):
            a = alphas[min(round(float(torch.as_tensor(t).flatten()[0])), 99)]
            noise = (x - a**0.5 * point) / (1 - a) ** 0.5
            return noise if prediction == "epsilon" else a**0.5 * noise - (1 - a) ** 0.5 * point

    from clsp.diffusion import interpolation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolation, "interpolated_noise", lambda u, x, a, t, w, s: Exact()(x, t))
        for (kind, options), strength in itertools.product(SCHEDULERS.values(), (1.0, 0.6)):
            scheduler = getattr(diffusers, kind).from_config(known, **options)
            how = Sampling(candidates=1, steps=50, eta=0.1, strength=strength)
            drawn = sample(unet, scheduler, torch.zeros(2, 1, 8, 8), torch.arange(2), how, seed=0)
            assert float((drawn - point).abs().max()) < 0.1, (kind, strength)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_strength_starts_from_the_noised_anchor_and_takes_its_share_of_the_steps(unet, settings, anchors, name):
    pipeline = SyntheticPositivePipeline(unet, make_sampler(name, settings(), clip_sample=True))
    seen = []
    for strength in (1.0, 0.5, 0.1):
        taken = []
        out = pipeline(
            anchors,
            candidates=2,
            num_inference_steps=20,
            strength=strength,
            callback=lambda index, x, taken=taken: taken.append(index),
        )
        assert taken == list(range(round(20 * strength)))
        seen.append(float((out.images.float() / 127.5 - 1 - anchors[:, None]).abs().mean()))
    assert seen[2] < seen[1] < seen[0]  # the less noise, the nearer to the anchor, even with an untrained network


def test_a_sample_may_start_from_another_image_than_its_anchor(unet, settings, anchors):
    half = {"strength": 0.6, "interpolation_weight": 1.0}
    own, others = (x[:, None].expand(-1, 3, -1, -1, -1) for x in (anchors, anchors.roll(1, 0)))
    assert torch.equal(draw(unet, settings, anchors, starts=own, **half), draw(unet, settings, anchors, **half))
    shifted = draw(unet, settings, anchors, starts=others, **half)  # w = 1: of the anchor nothing is left
    assert torch.equal(shifted, draw(unet, settings, anchors.roll(1, 0), **half))
    mixed = draw(unet, settings, anchors, starts=others, strength=0.6, interpolation_weight=0.1)
    assert not torch.equal(mixed, shifted)
    assert not torch.equal(mixed, draw(unet, settings, anchors, strength=0.6, interpolation_weight=0.1))
    noise = draw(unet, settings, anchors, interpolation_weight=1.0)
    assert torch.equal(noise, draw(unet, settings, anchors, starts=others, interpolation_weight=1.0))
    with pytest.raises(UserError, match=r"starts must be \[3, 3, 1, 8, 8\], got \[3, 1, 8, 8\]"):
        draw(unet, settings, anchors, starts=anchors)


@pytest.mark.parametrize(
    ("steps", "strength", "trained", "begins"), [(5, 1.0, 0.5, "1"), (7, 0.5, 0.5, "0.57"), (10, 0.5, 0.4, "0.5")]
)
def test_noise_levels_that_a_model_was_not_trained_for_are_refused(
    unet, settings, anchors, steps, strength, trained, begins
):
    pipeline = SyntheticPositivePipeline(unet, make_sampler("dpmsolver++", settings(), clip_sample=True))
    pipeline.max_strength = trained
    with pytest.raises(UserError, match=f"strength {trained} at most .* begin at {begins} of the noise levels"):
        pipeline(anchors, 1, num_inference_steps=steps, strength=strength)
    pipeline.max_strength = 1.0
    pipeline(anchors, 1, num_inference_steps=steps, strength=strength)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_clip_sample_clamps_the_predicted_clean_image(unet, settings, anchors, name):
    saturated = []
    for clip in (False, True):
        sampler = make_sampler(name, settings(), clip_sample=clip)
        out = SyntheticPositivePipeline(unet, sampler)(3 * anchors, candidates=2, num_inference_steps=10)
        saturated.append(float(out.saturated.mean()))
    assert saturated[1] < saturated[0]  # DEIS clamps the prediction too, but extrapolates beyond it
    assert name == "deis" or saturated[1] < 0.01


def test_an_unknown_sampler_is_named(settings):
    with pytest.raises(UserError, match=r"sampler 'dpm' is not one of ddim, dpmsolver\+\+"):
        make_sampler("dpm", settings(), clip_sample=False)


def build_alphas(config):
    return np.cumprod(1 - np.linspace(config["beta_start"], config["beta_end"], config["num_train_timesteps"]))


def test_sampling_never_drops_out_and_calls_back_after_every_step(unet, settings, anchors):
    steps = []
    unet.train()
    images = draw(unet, settings, anchors, callback=lambda index, x: steps.append((index, tuple(x.shape))))
    assert steps == [(n, (9, 1, 8, 8)) for n in range(5)]
    assert torch.equal(images, draw(unet, settings, anchors))


def test_other_unets_are_refused(settings):
    common = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
    }
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    conditional = UNet2DModel(**common, **blocks, num_class_embeds=10)
    skip = UNet2DModel(
        **{**common, "block_out_channels": (32, 64), "norm_num_groups": 32},
        down_block_types=("SkipDownBlock2D",) * 2,
        up_block_types=("SkipUpBlock2D",) * 2,
    )
    for unet, reason in ((conditional, "unconditional"), (skip, "SkipDownBlock2D")):
        with pytest.raises(UserError, match=reason):
            SyntheticPositivePipeline(unet, make_sampler("ddim", settings(), clip_sample=False))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_inference_steps": 7}, "steps 7 does not divide the model's 100 noise levels; the nearest is 5"),
        ({"num_inference_steps": 60}, "the nearest is 50"),
        ({"num_inference_steps": 101}, "outside 1 to 100"),
        ({"num_inference_steps": 0}, "outside 1 to 100"),
        ({"interpolation_weight": 1.1}, "outside 0"),
        ({"guidance_scale": 0.5}, "below 1"),
        ({"guidance_scale": float("inf")}, "not finite"),
        ({"eta": -0.1}, "outside 0"),
        ({"strength": 0.0}, "above 0"),
        ({"strength": 1.5}, "at most 1"),
        ({"candidates": 0}, "choose at least 1"),
        ({"anchor_noise": "none"}, "is not one of fresh, fixed"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_fix(unet, settings, anchors, wrong, message):
    with pytest.raises(UserError, match=message):
        draw(unet, settings, anchors, **wrong)


def test_anchors_of_other_channels_are_refused_and_a_broken_model_is_named(unet, settings, anchors):
    with pytest.raises(UserError, match="draws 1-channel images, not 3-channel"):
        draw(unet, settings, anchors.expand(-1, 3, -1, -1))
    with torch.no_grad():
        unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        draw(unet, settings, anchors)


@pytest.mark.parametrize(
    ("size", "levels", "padded"), [(7, 3, 8), (30, 3, 32), (8, 3, 8), (1, 2, 2), (28, 4, 32), (5, 1, 5)]
)
def test_an_image_leaves_the_grid_as_it_entered_and_padding_repeats_the_border(size, levels, padded):
    images, grid = torch.rand(2, 3, size, size + 2), Grid(levels)
    wide = grid.enter(images)
    assert wide.shape[-2] == padded
    assert wide.shape[-1] % 2 ** (levels - 1) == 0
    assert torch.equal(grid.leave(wide, (size, size + 2)), images)
    assert torch.equal(wide[..., -1, :].unique(), images[..., -1, :].unique())


@pytest.mark.parametrize(
    ("size", "levels", "patch", "places"), [(7, 2, 2, 4), (28, 2, 2, 14), (28, 3, 2, 16), (9, 1, 4, 3)]
)
def test_patches_become_channels_of_one_place(size, levels, patch, places):
    images, grid = torch.rand(2, 3, size, size), Grid(levels, patch)
    folded = grid.enter(images)
    assert folded.shape == (2, 3 * patch**2, places, places)
    assert torch.equal(grid.leave(folded, (size, size)), images)
    middle, offset = places // 2, (places * patch - size) // 2
    rows = slice(middle * patch - offset, (middle + 1) * patch - offset)
    assert torch.equal(folded[:, :, middle, middle].unflatten(1, (3, -1)), images[..., rows, rows].flatten(2))


@pytest.mark.parametrize(("size", "inner"), [((32, 32), (16, 16)), ((9, 9), (16, 16)), ((40, 24), (16, 10))])
def test_images_of_another_size_than_the_unets_are_resized_to_it_and_back(size, inner):
    images, grid = smooth_images(size), Grid(2, side=16)
    entered = grid.enter(images)
    assert entered.shape[-2:] == (16, padded_size(inner[1], 2))
    left = (entered.shape[-1] - inner[1]) // 2
    expected = F.interpolate(images, inner, mode="bicubic", antialias=True)
    for channel in range(3):
        of_image = images[0, channel]
        bounded = expected[0, channel].clamp(of_image.min(), of_image.max())
        torch.testing.assert_close(entered[0, channel, :, left : left + inner[1]], bounded)
    back = grid.leave(entered, size)
    assert back.shape == images.shape
    torch.testing.assert_close(back, images, atol=0.12, rtol=0.0)


def smooth_images(size):
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    return torch.stack((torch.sin(2 * x), torch.cos(2 * y), x * y))[None] * 0.9


def test_resizing_makes_nothing_darker_or_brighter_than_the_image():
    edges = torch.full((1, 1, 24, 24), 0.9)
    edges[..., ::5] = -0.8
    grid = Grid(2, side=16)
    entered = grid.enter(edges)
    for images in (entered, grid.leave(entered, (24, 24))):
        assert -0.8 <= float(images.min()) < float(images.max()) <= 0.9


@pytest.mark.parametrize("size", [7, 9, 16])
def test_anchors_of_odd_sizes_come_back_in_their_size(unet, settings, size):
    images = draw(unet, settings, torch.rand(2, 1, size, size), (0, 1))
    assert images.shape == (2, 3, 1, size, size)


@pytest.mark.parametrize("nested", [True, False])
def test_a_saved_diffusers_pipeline_is_read_with_and_without_subfolders(unet, settings, anchors, tmp_path, nested):
    scheduler = diffusers.DDPMScheduler.from_config(settings())
    if nested:
        DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(tmp_path)
    else:
        unet.save_pretrained(tmp_path)
        scheduler.save_pretrained(tmp_path)
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path, clip_sample=True)
    assert unet_hash(pipeline.unet) == unet_hash(unet)
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    drawn = pipeline(anchors, 3, num_inference_steps=5, eta=1.0).images
    assert torch.equal(drawn, draw(unet, settings, anchors))


@pytest.mark.parametrize("kind", ["pickle", "empty", "missing", "file"])
def test_folders_without_safetensors_are_refused(unet, settings, tmp_path, kind):
    folder = tmp_path / "model"
    if kind == "pickle":
        scheduler = diffusers.DDPMScheduler.from_config(settings())
        DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(folder, safe_serialization=False)
        assert list(folder.rglob("*.bin"))
    elif kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(UserError, match=r"--diffusion .*safetensors"):
            SyntheticPositivePipeline.from_pretrained(folder)


def test_the_hash_of_a_unet_tells_weights_and_configurations_apart(unet, tiny_diffusion):
    first = unet_hash(unet)
    with torch.no_grad():
        next(unet.parameters()).flatten()[0] += 1e-6
    assert unet_hash(unet) != first
    torch.manual_seed(0)
    assert unet_hash(build_unet(tiny_diffusion(dropout=0.1), channels=1, size=8)) == first
