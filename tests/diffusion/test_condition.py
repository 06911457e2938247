"""A diffusion model that is told of its images by an encoder, in place of mixing their features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from clsp import SyntheticPositivePipeline, files
from clsp.diffusion.condition import FOLDER, fit_condition
from clsp.diffusion.interpolation import interpolated_noise
from clsp.diffusion.training import train_diffusion
from clsp.diffusion.unet import unet_hash
from clsp.encoders.export import EncoderSpec, load_encoder, save_encoder
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
from clsp.positives.config import SynthesizeConfig
from clsp.positives.cost import sampling_flops, training_cost
from clsp.positives.synthesize import synthesize

CPU = HardwareConfig(accelerator="cpu")


def make_encoder(folder, *, seed=0, size=8, channels=1, weight=None):
    args = {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}
    about = {"channels": channels, "size": size, "mean": [0.5] * channels, "std": [0.2] * channels}
    spec = EncoderSpec(name="resnet18", args=args, stem="small", **about)
    torch.manual_seed(seed)
    encoder = spec.build()
    if weight is not None:
        for parameter in encoder.parameters():
            nn.init.constant_(parameter, weight)
    save_encoder(folder, encoder, spec, {})
    return folder


@pytest.fixture
def encoder(tmp_path):
    return make_encoder(tmp_path / "run/encoder")


@pytest.fixture
def train(make_images, tiny_diffusion):
    def run(folder, images=None, **changes):
        images = images or make_images(20, None, channels=1, size=8)
        return train_diffusion(images, tiny_diffusion(**changes), CPU, seed=0, folder=folder)

    return run


@pytest.fixture
def conditional(train, encoder, tmp_path):
    """A trained one."""
    train(tmp_path / "diffusion", condition=str(encoder))
    return tmp_path / "diffusion"


def test_what_is_told_are_principal_axes_of_variance_one_in_the_mean(encoder, make_images):
    images = make_images(40, None, channels=1, size=8).train.images
    told = fit_condition(encoder, images, width=6).of(images).numpy().astype(np.float64)
    with torch.no_grad():
        features = load_encoder(encoder)((torch.from_numpy(images).float() / 255 - 0.5) / 0.2).numpy()
    left, lengths, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    expected = left[:, :6] * lengths[:6]
    expected /= np.sqrt((expected**2).mean())
    assert np.abs(told) == pytest.approx(np.abs(expected), abs=1e-3)  # an axis may point both ways
    assert told.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-4)
    wide = fit_condition(encoder, images, width=20).of(images)
    assert wide.shape == (40, 20) and not wide[:, 16:].any()  # the encoder has 16 features


def test_a_conditional_prediction_is_diffusers_own_and_guided_by_the_plain_formula(conditional):
    pipeline = SyntheticPositivePipeline.from_pretrained(conditional)
    unet, told = pipeline.unet, pipeline.condition(torch.rand(2, 1, 8, 8) * 2 - 1)
    x, t = torch.randn(6, 1, 8, 8), torch.tensor(7)
    each = told.repeat_interleave(3, dim=0)
    with torch.no_grad():
        of_it = unet(x, t, class_labels=each).sample
        of_none = unet(x, t, class_labels=torch.zeros_like(each)).sample
        plain = interpolated_noise(unet, x, x[:2], t, 1.0, told=told)
        guided = interpolated_noise(unet, x, x[:2], t, 1.0, 2.5, told)
        mixed = interpolated_noise(unet, x, x[:2], t, 0.3, 1.0, told)
    assert torch.allclose(plain, of_it, atol=1e-6)
    assert torch.allclose(guided, of_none + 2.5 * (of_it - of_none), atol=1e-5)
    assert not torch.allclose(plain, mixed, atol=1e-6)


def test_guidance_of_a_mixed_prediction_begins_where_the_model_is_told_nothing(conditional):
    pipeline = SyntheticPositivePipeline.from_pretrained(conditional)
    unet, told = pipeline.unet, pipeline.condition(torch.rand(2, 1, 8, 8) * 2 - 1)
    x, anchors, t = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8), torch.tensor(7)
    with torch.no_grad():
        mixed, guided = (interpolated_noise(unet, x, anchors, t, 0.3, s, told) for s in (1.0, 2.0))
        of_none = unet(x, t, class_labels=torch.zeros_like(told)).sample
    assert torch.allclose(guided, of_none + 2.0 * (mixed - of_none), atol=1e-5)


def test_the_model_listens(train, tmp_path):
    """Dark and bright images, which the encoder tells apart: what is drawn has its anchor's brightness."""
    rng = np.random.default_rng(0)
    base = np.where(np.arange(64) % 2, 200, 50)[:, None, None, None]
    pixels = (base + rng.integers(-20, 20, (64, 1, 8, 8))).astype(np.uint8)
    images = Images(
        source="made", train=Split(images=pixels, names=[f"{n}" for n in range(64)], labels=None), test=None
    )
    encoder = make_encoder(tmp_path / "encoder")
    changes = {"steps": 400, "batch_size": 32, "lr": 3e-3, "attention": [], "ema_decay": 0.98}
    changes["beta_end"] = 0.2  # so that its hundred noise levels reach noise
    train(tmp_path / "told", images, condition=str(encoder), **changes)
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path / "told", clip_sample=True)
    anchors = torch.from_numpy(pixels[:16]).float() / 127.5 - 1.0
    drawn = pipeline(anchors, candidates=2, interpolation_weight=1.0, num_inference_steps=20, eta=1.0)
    bright = drawn.images.float().mean(dim=(1, 2, 3, 4)) > 125
    assert (bright.numpy() == (np.arange(16) % 2 == 1)).mean() >= 14 / 16


def test_a_model_is_named_by_what_its_encoder_holds_and_needs_it_no_more(train, encoder, tmp_path):
    first = train(tmp_path / "a", condition=str(tmp_path / "run"))  # a run stands for its encoder
    encoder.parent.rename(tmp_path / "moved")
    again = train(tmp_path / "a", condition=str(tmp_path / "moved/encoder"))
    assert again.facts == first.facts and len(first.settings["condition"]) == 16
    other = make_encoder(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="made with other settings"):
        train(tmp_path / "a", condition=str(other))
    with pytest.raises(UserError, match="made with other settings"):
        train(tmp_path / "a")
    (tmp_path / "moved").rename(tmp_path / "gone")
    (tmp_path / "gone/encoder/encoder.safetensors").unlink()
    assert SyntheticPositivePipeline.from_pretrained(tmp_path / "a").condition is not None


def test_a_bank_of_a_conditional_model(conditional, make_images, tmp_path):
    images, options = make_images(20, None, channels=1, size=8), {"candidates": 2, "steps": 5, "gate": "off"}
    config = SynthesizeConfig(interpolation_weight=1.0, guidance_scale=2.0, **options)
    bank = synthesize(images, conditional, config, CPU, seed=0, folder=tmp_path / "bank")
    assert bank.array(np.arange(20)).shape == (20, 2, 1, 8, 8)
    inputs = files.read_json(tmp_path / "bank/stage.json")["inputs"]
    assert inputs["condition"] == files.read_json(conditional / "stage.json")["settings"]["condition"]


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_what_drawing_costs_is_counted_as_it_is(conditional, weight, guidance):
    pipeline = SyntheticPositivePipeline.from_pretrained(conditional)
    config = SynthesizeConfig(candidates=3, steps=1, interpolation_weight=weight, guidance_scale=guidance)
    x, told = torch.randn(6, 1, 8, 8), torch.zeros(2, 32)
    with torch.no_grad():
        counted = count_flops(lambda: interpolated_noise(pipeline.unet, x, x[:2], 7, weight, guidance, told))
    assert sampling_flops(pipeline.unet, config, 2) == pytest.approx(counted, rel=0.01)


def test_the_encoder_counts_in_what_the_model_cost(train, encoder, tmp_path):
    train(tmp_path / "without", condition=str(encoder))
    record = {"stage": "encoder", "status": "finished", "seconds": 50.0, "settings": {}, "inputs": {}, "version": "1"}
    files.write_json(encoder / "stage.json", {**record, "facts": {"flops": 1e12}, "process": "", "files": {}})
    train(tmp_path / "with", condition=str(encoder))
    costs = [training_cost(tmp_path / name) for name in ("without", "with")]
    assert costs[1]["flops"] - costs[0]["flops"] == pytest.approx(1e12)
    assert costs[1]["seconds"] >= 50.0


def test_a_fraction_of_the_images_is_told_nothing(train, encoder, tmp_path):
    some = {rate: train(tmp_path / f"{rate}", condition=str(encoder), condition_dropout=rate) for rate in (0.0, 0.5)}
    assert some[0.0].facts["unet"] != some[0.5].facts["unet"]
    never = train(tmp_path / "never", condition=str(encoder), condition_dropout=1.0)
    assert never.facts["unet"] == train(tmp_path / "plain", condition=str(make_encoder(tmp_path / "b", seed=1)),
                                        condition_dropout=1.0).facts["unet"]  # fmt: skip


def test_an_unconditional_model_is_what_it_was(train, tmp_path):
    stage = train(tmp_path / "plain")
    assert not {"condition", "condition_dropout"} & stage.settings.keys()
    pipeline = SyntheticPositivePipeline.from_pretrained(tmp_path / "plain")
    assert pipeline.condition is None and unet_hash(pipeline.unet) == stage.facts["unet"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"size": 16}, "takes 1-channel images of 16 pixels, the data have 1 and 8; add --images.channels 1"),
        ({"channels": 3}, "takes 3-channel images"),
        ({"weight": 0.0}, "gives all images the same features"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(train, tmp_path, made, said):
    folder = make_encoder(tmp_path / "encoder", **made)
    with pytest.raises(UserError, match=rf"--diffusion.condition .*{said}"):
        train(tmp_path / "a", condition=str(folder))


def test_a_folder_without_an_encoder_is_refused(train, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--diffusion.condition .*no encoder there; give a run"):
        train(tmp_path / "a", condition=str(tmp_path / "empty"))


def test_a_model_without_what_it_is_told_by_is_refused(conditional):
    (conditional / FOLDER).rename(conditional / "away")
    with pytest.raises(UserError, match="this one is told a class"):
        SyntheticPositivePipeline.from_pretrained(conditional)
