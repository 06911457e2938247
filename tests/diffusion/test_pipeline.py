"""The pipeline takes what fits it, and refuses the rest with the fix."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, PNDMScheduler, UNet2DModel

from clsp import SyntheticPositivePipeline
from clsp.diffusion.pipeline import _to_uint8
from clsp.diffusion.samplers import make_sampler
from clsp.errors import UserError


def test_sampling_never_drops_out_and_calls_back_after_every_step(draw, unet, settings, anchors):
    steps = []
    unet.train()
    images = draw(unet, settings, anchors, callback=lambda index, x: steps.append((index, tuple(x.shape))))
    assert steps == [(n, (9, 1, 8, 8)) for n in range(5)]
    assert torch.equal(images, draw(unet, settings, anchors))


def test_a_pndm_whose_first_steps_are_of_another_kind_begins_with_noise_alone(unet, settings, anchors):
    pipeline = SyntheticPositivePipeline(unet, PNDMScheduler.from_config(settings()))
    pipeline(anchors, 1, num_inference_steps=10)
    with pytest.raises(UserError, match="strength 1; choose skip_prk_steps true"):
        pipeline(anchors, 1, num_inference_steps=10, strength=0.5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_pipeline_in_16_bit_draws_what_one_in_32_draws(unet, settings, anchors, kind):
    pipeline = SyntheticPositivePipeline(unet, make_sampler("ddim", settings(), clip_sample=True))
    how = {"candidates": 2, "num_inference_steps": 5, "guidance_scale": 2.0}
    whole = pipeline(anchors, **how).images.float()
    assert float((pipeline.to(kind)(anchors, **how).images - whole).abs().mean()) < 3


def test_a_saved_pipeline_knows_what_it_was_trained_for(unet, settings, anchors, tmp_path):
    pipeline = SyntheticPositivePipeline(unet, make_sampler("ddim", settings(), clip_sample=True))
    pipeline.max_strength = 0.5
    pipeline.save_pretrained(tmp_path)
    again = SyntheticPositivePipeline.from_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"trained for strength 0\.5 at most"):
        again(anchors, 1, num_inference_steps=10)
    again(anchors, 1, num_inference_steps=10, strength=0.5)
    pipeline.max_strength = 1.0
    pipeline.save_pretrained(tmp_path)
    SyntheticPositivePipeline.from_pretrained(tmp_path)(anchors, 1, num_inference_steps=10)


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
        ({"anchor_noise": "none"}, "is not one of fresh, each, fixed"),
    ],
)
def test_settings_out_of_range_are_refused_with_the_fix(draw, unet, settings, anchors, wrong, message):
    with pytest.raises(UserError, match=message):
        draw(unet, settings, anchors, **wrong)


def test_anchors_of_other_channels_are_refused_and_a_broken_model_is_named(draw, unet, settings, anchors):
    with pytest.raises(UserError, match="draws 1-channel images, not 3-channel"):
        draw(unet, settings, anchors.expand(-1, 3, -1, -1))
    with torch.no_grad():
        unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        draw(unet, settings, anchors)


@pytest.mark.parametrize("ids", [(0, -1, 2), (0, 1, 2**32), (0, 1)])
def test_ids_that_name_no_noise_are_refused_as_such(draw, unet, settings, anchors, ids):
    with pytest.raises(UserError, match=r"anchor_ids (has (-1|4294967296); an id is the index|must be \[3\])"):
        draw(unet, settings, anchors, ids)


def test_a_unet_of_other_outputs_or_without_a_middle_is_refused(settings):
    common = {"block_out_channels": (8, 16), "norm_num_groups": 4, "in_channels": 1, "out_channels": 1}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    ddim = make_sampler("ddim", settings(), clip_sample=False)
    cases = (
        ({"out_channels": 3}, "in_channels 1 and out_channels 3"),
        ({"mid_block_type": None}, "mid_block_type"),
        ({"class_embed_type": "timestep"}, "unconditional"),
        ({"class_embed_type": "identity"}, "unconditional"),
    )
    for odd, said in cases:
        with pytest.raises(UserError, match=said):
            SyntheticPositivePipeline(UNet2DModel(**{**common, **blocks, **odd}), ddim)
    with pytest.raises(UserError, match="not a Linear"):
        SyntheticPositivePipeline(torch.nn.Linear(1, 1), ddim)


def test_schedulers_of_another_process_are_refused_by_name(unet):
    with pytest.raises(UserError, match="FlowMatchEulerDiscreteScheduler is flow matching"):
        SyntheticPositivePipeline(unet, FlowMatchEulerDiscreteScheduler())


def test_values_are_rounded_to_the_nearest_of_256_and_what_is_cut_off_is_counted():
    levels = torch.tensor([0.0, 0.4, 0.6, 1.0, 127.4, 127.6, 254.6, 255.0, 300.0, -9.0])
    out = _to_uint8((levels / 127.5 - 1).reshape(1, 1, 1, 1, -1))
    assert out.images.flatten().tolist() == [0, 0, 1, 1, 127, 128, 255, 255, 255, 0]
    assert float(out.saturated) == pytest.approx(0.2)
