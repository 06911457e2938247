"""Of a model that is known exactly, every sampler draws its distribution: whatever it predicts, over every schedule."""

from __future__ import annotations

import inspect
import itertools
from typing import get_args

import diffusers
import pytest
import torch
from diffusers import DDPMScheduler

from clsp.diffusion import interpolation
from clsp.diffusion.config import SamplerName
from clsp.diffusion.interpolation import Sampling, sample
from clsp.diffusion.process import PREDICTIONS, SCHEDULES, VARIANCE_PRESERVING, forward_process
from clsp.diffusion.samplers import make_sampler
from clsp.errors import UserError

MEAN = 0.3
BETAS = {
    **{name: {"beta_schedule": name} for name in SCHEDULES},
    "trained_betas": {"trained_betas": torch.linspace(1e-4, 0.03, 800).tolist(), "num_train_timesteps": 800},
    **{f"{name}, zero": {"beta_schedule": name, "rescale_betas_zero_snr": True} for name in SCHEDULES},
}
"""Schedules of 800 levels or more: they end in noise, as these samplers begin."""


def test_every_prediction_and_schedule_that_diffusers_names_is_known_here():
    """A new one must be drawn from rightly below, or refused."""
    for name, known in (("prediction_type", PREDICTIONS), ("beta_schedule", SCHEDULES)):
        annotation = inspect.signature(DDPMScheduler.__init__, eval_str=True).parameters[name].annotation
        assert set(get_args(annotation)) <= set(known)


@pytest.fixture
def exact(monkeypatch):
    """Make the prediction the best one for images whose pixels are normal, with mean 0.3 and a deviation (0: known)."""

    def use(noising, prediction, deviation):
        def predict(unet, x, anchors, t, weight, guidance, told):
            a = float(noising.alphas_cumprod[min(round(float(t)), len(noising.alphas_cumprod) - 1)])
            share = a**0.5 * deviation**2 / (a * deviation**2 + 1 - a)
            clean = MEAN + share * (x - a**0.5 * MEAN)
            noise = (x - a**0.5 * clean) / (1 - a) ** 0.5
            v = a**0.5 * noise - (1 - a) ** 0.5 * clean
            return {"epsilon": noise, "v_prediction": v, "sample": clean}[prediction]

        monkeypatch.setattr(interpolation, "interpolated_noise", predict)

    return use


@pytest.mark.parametrize("name", get_args(SamplerName))
@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_mean_and_deviation_of_what_is_drawn(exact, name, betas, prediction):
    settings = {**BETAS[betas], "prediction_type": prediction}
    if "zero" in betas and prediction == "epsilon":
        with pytest.raises(UserError, match="zero terminal SNR needs a model that predicts v"):
            make_sampler(name, settings, clip_sample=False)
        return
    deviation = torch.tensor([0.0, 0.5])[:, None, None].expand(2, 24, 24)  # one image in a channel, and a cloud
    exact(DDPMScheduler(**settings), prediction, deviation)
    sampler = make_sampler(name, settings, clip_sample=False)
    how = Sampling(candidates=1, steps=40, eta=1.0, anchor_noise="fixed")
    drawn = sample(None, sampler, torch.zeros(1, 2, 24, 24), torch.arange(1), how, seed=0)[0]
    assert float((drawn[0] - MEAN).abs().max()) < 0.05
    assert float(drawn[1].mean()) == pytest.approx(MEAN, abs=0.05)  # two standard errors
    # Fewer steps make DDIM with eta 1 draw too little of the deviation; of 0.5 it then lacks 0.08.
    assert float(drawn[1].std()) == pytest.approx(0.5, abs=0.1 if name == "ddim" else 0.04)


@pytest.mark.parametrize("betas", BETAS)
def test_samplers_get_the_betas_of_the_training(betas):
    """The zero-SNR schedules' last level is capped, as diffusers' cosine is; all others are the same bits."""
    wanted = DDPMScheduler(**BETAS[betas]).alphas_cumprod
    sampler = make_sampler("ddim", {**BETAS[betas], "prediction_type": "v_prediction"}, clip_sample=False)
    found = sampler.alphas_cumprod.float()
    assert torch.equal(found[:-1], wanted[:-1])
    if "zero" in betas:
        assert float(wanted[-1]) == 0.0 < float(found[-1]) < 1e-5
    else:
        assert torch.equal(found[-1:], wanted[-1:])


def test_an_options_of_the_folders_scheduler_does_not_reach_another_sampler():
    odd = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True, timestep_spacing="linspace", steps_offset=1)
    plain = DDPMScheduler()
    for name in get_args(SamplerName):
        ours, theirs = (make_sampler(name, dict(of.config), clip_sample=False) for of in (plain, odd))
        for sampler in (ours, theirs):
            sampler.set_timesteps(20)
        assert torch.equal(ours.timesteps, theirs.timesteps)
        assert not theirs.config.get("use_karras_sigmas")


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_any_scheduler_over_betas_ends_at_the_one_image_that_the_model_knows(exact, unet, settings, prediction):
    known = settings(prediction_type=prediction)
    exact(DDPMScheduler.from_config(known), prediction, 0.0)
    others = [name for name in VARIANCE_PRESERVING if "Inverse" not in name and "Parallel" not in name]
    assert {"HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "PNDMScheduler"} < set(others)
    for kind, strength in itertools.product(others, (1.0, 0.6, 0.3)):
        options = {"skip_prk_steps": True} if kind == "PNDMScheduler" else {}
        scheduler = getattr(diffusers, kind).from_config(known, **options)
        how = Sampling(candidates=1, steps=50, eta=0.1, strength=strength)
        drawn = sample(unet, scheduler, torch.zeros(2, 1, 8, 8), torch.arange(2), how, seed=0)
        assert float((drawn - MEAN).abs().max()) < 0.1, (kind, strength)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler is variance exploding"),
        ({"_class_name": "ScoreSdeVpScheduler"}, "continuous in time"),
        ({"_class_name": "KarrasVeScheduler"}, "variance exploding"),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler is preconditioned"),
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "preconditioned"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow matching"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "consistency model"),
        ({"_class_name": "LCMScheduler"}, "distilled"),
        ({"_class_name": "DPMSolverSDEScheduler"}, "draws its noise for a whole batch"),
        ({"_class_name": "MyScheduler"}, "MyScheduler is none over betas"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas is none over betas"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "continuous is none over betas"),
        ({"prediction_type": "flow_prediction"}, "prediction_type 'flow_prediction' is not drawn from; epsilon"),
        ({"beta_schedule": "laplace"}, "beta_schedule 'laplace' is not drawn from; linear"),
        ({"beta_schedule": "linear", "beta_start": "x"}, "betas cannot be made"),
        ({"beta_schedule": "linear", "num_train_timesteps": -4}, "betas cannot be made"),
        ({"trained_betas": [0.1, -0.2]}, "not all between 0 and 1"),
        ({"trained_betas": [0.1, float("nan")]}, "not all between 0 and 1"),
        ({"trained_betas": []}, "not all between 0 and 1"),
        ({"beta_end": 3.0}, "not all between 0 and 1"),
    ],
)  # fmt: skip
def test_other_processes_are_refused_by_name(settings, said):
    with pytest.raises(UserError, match=said):
        forward_process(settings)


def test_a_level_where_the_noise_says_nothing_is_refused_unless_the_image_is_clamped(unet, anchors, settings):
    cosine = settings(timesteps=1000) | {"beta_schedule": "squaredcos_cap_v2"}
    from clsp import SyntheticPositivePipeline

    pipeline = SyntheticPositivePipeline(unet, make_sampler("ddim", cosine, clip_sample=False))
    with pytest.raises(UserError, match=r"leaves 2\.4e-09 of the image .* errors grow 20.* clip_sample true"):
        pipeline(anchors, 1, num_inference_steps=10)
    pipeline(anchors, 1, num_inference_steps=10, strength=0.5)
    SyntheticPositivePipeline(unet, make_sampler("ddim", cosine, clip_sample=True))(anchors, 1, num_inference_steps=10)
