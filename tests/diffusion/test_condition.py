"""A diffusion model that is told of its images by an encoder, in place of mixing their features."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from clsp import SyntheticPositivePipeline, files
from clsp.diffusion.condition import FOLDER, condition_for, load_condition
from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.interpolation import Sampling, interpolated_noise
from clsp.diffusion.training import DiffusionTraining, train_diffusion
from clsp.diffusion.unet import build_scheduler, unet_hash
from clsp.encoders.export import EncoderSpec, load_encoder, save_encoder
from clsp.engine.flops import count_flops
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
from clsp.positives.config import SynthesizeConfig
from clsp.positives.cost import sampling_flops, training_cost
from clsp.positives.synthesize import synthesize
from clsp.positives.trial import try_draw
from clsp.preflight import preflight
from clsp.preflight.budget import fit_to_time
from clsp.preflight.stages import Plan, plan_stages
from clsp.publish.export import Wish, export
from clsp.recipes.fit import check_generator
from clsp.recipes.prepare import Prepared
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.settings.values import merge

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


def test_what_is_told_are_principal_axes_of_variance_one_in_the_mean(encoder, make_images, tmp_path):
    images = make_images(40, None, channels=1, size=8).train.images
    told = condition_for(encoder, images, tmp_path / "a", width=6)[1].numpy().astype(np.float64)
    with torch.no_grad():
        features = load_encoder(encoder)((torch.from_numpy(images).float() / 255 - 0.5) / 0.2).numpy()
    left, lengths, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    expected = left[:, :6] * lengths[:6]
    expected /= np.sqrt((expected**2).mean())
    assert np.abs(told) == pytest.approx(np.abs(expected), abs=1e-3)  # an axis may point both ways
    assert told.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-4)
    condition, wide = condition_for(encoder, images, tmp_path / "b", width=20)
    assert wide.shape == (40, 20) and not wide[:, 16:].any()  # the encoder has 16 features
    assert torch.allclose(condition(torch.from_numpy(images).float() / 127.5 - 1), wide, atol=1e-5)


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
    assert torch.allclose(plain, of_it, atol=1e-6)
    assert torch.allclose(guided, of_none + 2.5 * (of_it - of_none), atol=1e-5)


def test_mixing_takes_the_features_of_anchors_that_are_told_too_and_guidance_begins_at_nothing(conditional):
    """The reference calls diffusers' own U-Net, and mixes by a hook on its middle block."""
    pipeline = SyntheticPositivePipeline.from_pretrained(conditional)
    unet, told = pipeline.unet, pipeline.condition(torch.rand(2, 1, 8, 8) * 2 - 1)
    x, anchors, t = torch.randn(6, 1, 8, 8), torch.randn(2, 1, 8, 8), torch.tensor(7)
    each, seen = told.repeat_interleave(3, dim=0), []
    with torch.no_grad():
        handle = unet.mid_block.register_forward_hook(lambda module, given, out: seen.append(out))
        unet(anchors, t, class_labels=told)
        handle.remove()
        of_anchors = seen[0].repeat_interleave(3, dim=0)
        handle = unet.mid_block.register_forward_hook(lambda module, given, out: 0.3 * out + 0.7 * of_anchors)
        mixed = unet(x, t, class_labels=each).sample
        handle.remove()
        of_none = unet(x, t, class_labels=torch.zeros_like(each)).sample
        assert torch.allclose(interpolated_noise(unet, x, anchors, t, 0.3, 1.0, told), mixed, atol=1e-5)
        guided = interpolated_noise(unet, x, anchors, t, 0.3, 2.0, told)
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
    shutil.rmtree(tmp_path / "moved")
    assert SyntheticPositivePipeline.from_pretrained(tmp_path / "a").condition is not None
    assert train(tmp_path / "a", condition=str(tmp_path / "moved/encoder")).facts == first.facts  # it keeps its own


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


def write_record(folder, *, flops, inputs=None, **facts):
    entry = {}
    if (weights := folder / "encoder.safetensors").exists():
        entry = {weights.name: {"size": weights.stat().st_size, "sha256": files.file_hash(weights)}}
    record = {"stage": "a stage", "status": "finished", "seconds": 50.0, "settings": {}, "inputs": inputs or {}}
    record |= {"facts": {"flops": flops, **facts}, "version": "1", "process": "", "files": entry}
    files.write_json(folder / "stage.json", record)


def test_the_encoder_counts_in_what_the_model_cost(train, encoder, tmp_path):
    """Of a run's encoder also the bank, and the generator of that."""
    train(tmp_path / "unknown", condition=str(encoder))
    run = encoder.parent
    shutil.copytree(encoder, run / "arms/simclr+bank/seed-0")
    write_record(run / "arms/simclr+bank/seed-0", flops=1e12, inputs={"bank": "abc"})
    train(tmp_path / "alone", condition=str(encoder))
    (run / "positives").mkdir()
    write_record(run / "positives", flops=2e12, generator={"seconds": 7.0, "flops": 4e12})
    train(tmp_path / "whole", condition=str(run))
    costs = [training_cost(tmp_path / name) for name in ("unknown", "alone", "whole")]
    assert [cost["flops"] - costs[0]["flops"] for cost in costs[1:]] == pytest.approx([1e12, 7e12])
    assert costs[2]["seconds"] >= 107.0
    again = load_condition(tmp_path / "whole", SyntheticPositivePipeline.from_pretrained(tmp_path / "whole").unet)
    assert again.spent == {"seconds": 107.0, "flops": 7e12}


def test_a_fraction_of_the_images_is_told_nothing(tiny_diffusion, make_images):
    images = make_images(400, None, channels=1, size=8).train.images
    config = tiny_diffusion(condition="an encoder", condition_dropout=0.25)
    training = DiffusionTraining(config, Pixels(images), seed=0, told=torch.ones(400, 32))
    rows = torch.arange(400)
    told = torch.cat([training._told(rows, rows, number) for number in range(10)])
    assert set(told.sum(dim=1).tolist()) == {0.0, 32.0}  # an image is told whole or not at all
    assert (told[:, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.03)


def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(train, encoder, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", condition=str(encoder), checkpoint_minutes=0)
    real = DiffusionTraining.step
    monkeypatch.setattr(DiffusionTraining, "step", lambda self, n: (_ for _ in ()).throw(KeyboardInterrupt)
                        if n == 3 else real(self, n))  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", condition=str(encoder), checkpoint_minutes=0)
    monkeypatch.setattr(DiffusionTraining, "step", real)
    axes = (tmp_path / "cut" / FOLDER / "axes.safetensors").read_bytes()
    shutil.rmtree(encoder.parent)
    assert train(tmp_path / "cut", condition=str(encoder), checkpoint_minutes=0).facts["unet"] == whole.facts["unet"]
    assert (tmp_path / "cut" / FOLDER / "axes.safetensors").read_bytes() == axes


def test_weights_are_taken_with_the_axes_that_they_were_trained_with(
    train, conditional, encoder, make_images, tmp_path
):
    other = make_images(20, None, channels=1, size=8, seed=3)
    still = {"steps": 1, "lr": 1e-12, "warmup_steps": 0}
    train(tmp_path / "b", other, condition=str(encoder), weights=str(conditional), **still)
    axes = [files.read_tensors(place / FOLDER / "axes.safetensors")[0] for place in (conditional, tmp_path / "b")]
    assert torch.equal(axes[0]["axes"], axes[1]["axes"]) and torch.equal(axes[0]["center"], axes[1]["center"])
    with pytest.raises(UserError, match=r"another encoder than --diffusion.weights was trained with"):
        train(tmp_path / "c", condition=str(make_encoder(tmp_path / "x", seed=1)), weights=str(conditional))
    with pytest.raises(UserError, match=r"holds another kind of model \(condition identity there"):
        train(tmp_path / "d", weights=str(conditional))


def test_a_term_on_the_middle_features_leaves_what_is_predicted_as_it_is_told(tiny_diffusion, make_images):
    pixels, found = Pixels(make_images(20, None, channels=1, size=8).train.images), {}
    embeddings = torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    for name, told, weight in (("told", embeddings, 0.0), ("both", embeddings, 0.25), ("other", -embeddings, 0.25)):
        torch.manual_seed(0)
        config = tiny_diffusion(condition="an encoder", dispersive=weight, dropout=0.0)
        found[name] = DiffusionTraining(config, pixels, seed=0, told=told).step(0).terms
    assert torch.allclose(found["told"]["noise_prediction"], found["both"]["noise_prediction"], atol=1e-6)
    assert not torch.allclose(found["told"]["noise_prediction"], found["other"]["noise_prediction"], atol=1e-4)
    assert found["both"]["dispersive"] != 0


def test_images_of_another_size_are_brought_to_the_encoder_s(conditional):
    pipeline = SyntheticPositivePipeline.from_pretrained(conditional)
    small = torch.rand(2, 1, 8, 8) * 2 - 1
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    told, seen = pipeline.condition(small), pipeline.condition(large)
    assert torch.cosine_similarity(told, seen).min() > 0.9
    assert pipeline(large, candidates=1, num_inference_steps=5).images.shape == (2, 1, 1, 16, 16)


def test_samples_without_an_anchor_are_told_nothing(conditional):
    pipeline, plain = SyntheticPositivePipeline.from_pretrained(conditional), Sampling(candidates=1, steps=5)
    plain.interpolation_weight = 1.0
    one, two = torch.full((2, 1, 8, 8), -0.5), torch.full((2, 1, 8, 8), 0.5)
    untold = [pipeline.draw(images, plain, told=False).images for images in (one, two)]
    assert torch.equal(*untold)
    assert not torch.equal(*(pipeline.draw(images, plain).images for images in (one, two)))


def test_a_pipeline_that_is_saved_keeps_what_it_is_told_by(conditional, tmp_path):
    pipeline, anchors = SyntheticPositivePipeline.from_pretrained(conditional), torch.rand(2, 1, 8, 8) * 2 - 1
    pipeline.save_pretrained(tmp_path / "saved")
    again = SyntheticPositivePipeline.from_pretrained(tmp_path / "saved")
    assert torch.equal(pipeline.condition(anchors), again.condition(anchors))


def test_an_exported_model_draws_the_same_and_names_no_path_of_its_maker(train, encoder, tmp_path):
    config, conditional = files.read_json(encoder / "config.json"), tmp_path / "diffusion"
    config["clsp"]["data"] = "/home/me/patients"
    files.write_json(encoder / "config.json", config)
    train(conditional, condition=str(encoder))
    made = export(Wish(conditional, tmp_path / "shared"))
    assert f"{FOLDER}/encoder.safetensors" in made.names
    assert files.read_json(tmp_path / "shared" / FOLDER / "config.json")["clsp"]["data"] == "patients"
    card = (tmp_path / "shared/README.md").read_text()
    assert "A conditional diffusion model" in card and "SyntheticPositivePipeline" in card and "DDPM" not in card
    anchors = torch.rand(2, 1, 8, 8) * 2 - 1
    drawn = [SyntheticPositivePipeline.from_pretrained(place)(anchors, 1, 1.0, 5).images
             for place in (conditional, tmp_path / "shared")]  # fmt: skip
    assert torch.equal(*drawn)


def test_a_trial_draw_is_told_of_its_anchors(conditional, make_images):
    pipeline, images = SyntheticPositivePipeline.from_pretrained(conditional), make_images(20, None, channels=1, size=8)
    config = SynthesizeConfig(candidates=1, steps=5, interpolation_weight=1.0, sampler="sde-dpmsolver++")
    how = {"max_strength": 1.0, "seed": 0, "condition": pipeline.condition}
    asked = []
    pipeline.condition.register_forward_hook(lambda module, given, out: asked.append(given[0].clone()))
    try_draw(pipeline.unet, build_scheduler(DiffusionConfig(timesteps=100)), images, config, **how)
    seen = torch.cat(asked).add(1).mul(127.5).round().to(torch.uint8)
    assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, images.train.images))
    with pytest.raises(UserError, match="this one is told a class"):
        try_draw(
            pipeline.unet, build_scheduler(DiffusionConfig(timesteps=100)), images, config, **how | {"condition": None}
        )


def test_a_recipe_is_refused_that_guides_from_what_was_never_trained(make_images, encoder):
    told = {"diffusion": {"condition": str(encoder), "condition_dropout": 0.0}, "synthesize": {"guidance_scale": 2.0}}
    images = make_images(20, None, channels=1, size=8)
    with pytest.raises(UserError, match=r"--diffusion\.condition_dropout 0 never trains"):
        check_generator(load_recipe("smoke", told), images)
    with pytest.raises(UserError, match="no encoder there"):
        check_generator(load_recipe("smoke", {"diffusion": {"condition": "nowhere"}}), images)


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
        ({"weight": 0.0}, "gives all images the same features; give one that"),
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


def test_a_plan_counts_a_conditional_model_and_takes_the_size_of_its_encoder(encoder, make_images):
    """With guidance each step of it is two whole passes, where an unconditional one's second half is repeated."""
    told = {"diffusion": {"condition": str(encoder)}, "synthesize": {"interpolation_weight": 1.0}}
    images, drawing = make_images(80, 20, channels=1, size=8), []
    for guidance in (1.0, 2.0):
        given = {"synthesize": {"guidance_scale": guidance}, "pretrain": {"batch_size": 16}}
        recipe = load_recipe("smoke", merge(Recipe, told, given))
        drawing.append(plan_stages(Plan(recipe, images, None))[1].flops)
        assert "synthetic positives" in preflight(Prepared(recipe, "smoke", images))
    assert drawing[1] == pytest.approx(2 * drawing[0], rel=0.01)
    assert fit_to_time(make_images(40, 20, channels=1, size=32), 60.0, told).size == 8
