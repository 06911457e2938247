"""Evaluation's networks work on the device that is asked for, and every tensor that meets another is there with it."""

from __future__ import annotations

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from clsp import SyntheticPositivePipeline, console
from clsp.cli import commands
from clsp.diffusion.samplers import make_sampler
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.encoders import features
from clsp.encoders.export import load_encoder, read_spec
from clsp.engine import hardware
from clsp.evaluation import bottleneck, classifier, distance, judge, trained
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import few_labels
from clsp.positives.bank import PositiveBank
from clsp.recipes.arms import parse_arms
from clsp.recipes.prepare import Prepared
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import plain
from clsp.study import engine, stages
from clsp.study import study as studies
from clsp.study.evaluation import show
from fake_gpu import moved, stand_in

CONFIG = EvaluateConfig(
    regularisation=[1.0], neighbours=[1], temperatures=[0.07], label_fractions=[0.5], label_draws=1, fine_tune_epochs=1
)
META = torch.device("meta")
"""Any machine has it, and what is there is not on the CPU."""


@pytest.fixture
def seen(monkeypatch):
    """Devices of the networks that would encode or be trained, which is left out."""
    found = {"encoded": [], "trained": []}

    def encode(network, images, *rest, **options):
        found["encoded"].append(next(network.parameters()).device)
        return torch.randn(len(images), 3, generator=torch.Generator().manual_seed(0))

    for module in (features, few_labels, judge):
        monkeypatch.setattr(module, "encode_images", encode)
    for module in (few_labels, judge):
        monkeypatch.setattr(
            module, "fit_classifier", lambda model, *rest, **more: found["trained"].append(model[1].weight.device)
        )
    monkeypatch.setattr(few_labels, "feature_count", lambda encoder: 3)
    return found


def prepared(images, config=CONFIG):
    return Prepared(load_recipe("smoke", {"evaluate": plain(config)}), "smoke", images)


def pipeline_of(config):
    torch.manual_seed(0)
    scheduler = make_sampler("ddim", dict(build_scheduler(config).config), clip_sample=False)
    return SyntheticPositivePipeline(build_unet(config, channels=3, size=16).eval(), scheduler)


def test_an_encoder_is_measured_and_fine_tuned_on_the_recipes_device(encoder, make_images, monkeypatch, seen):
    monkeypatch.setattr(stages, "device_of", lambda settings: META)
    stages.evaluate_stage(encoder, prepared(make_images()))
    assert seen == {"encoded": [META] * 3, "trained": [META]}  # train, test, and test again by the tuned encoder


def test_a_study_hands_its_device_to_the_judge_as_well(encoder, make_images, monkeypatch, seen, tmp_path):
    images = make_images()
    candidates = images.train.images[:12].transpose(0, 2, 3, 1)[:, None]
    manifest = {"candidates": 1, "shape": [16, 16, 3], "data": "d", "unet": "u", "anchors": 12, "shards": []}
    bank = PositiveBank(None, manifest, np.arange(12), [candidates])
    config = dataclasses.replace(CONFIG, label_fractions=[], classifier_epochs=1)
    arms = parse_arms("simclr")
    study = studies.Study(prepared(images, config), tmp_path, arms, [0], arms[0], arms[0], [], bank)
    shutil.copytree(encoder, study.folder(arms[0], 0))
    monkeypatch.setattr(studies, "device_of", lambda settings: META)
    show(study)
    assert seen == {"encoded": [META] * 4, "trained": [META]}


def test_a_distance_is_seen_on_the_device(encoder, make_images, seen):
    images = make_images().train.images
    distance.distance_seen_by(encoder, images[:20], images[20:], device=META)
    assert seen["encoded"] == [META] * 2


@pytest.mark.parametrize("command", ["embed", "pairs"])
def test_commands_encode_on_the_recipes_device(command, encoder, make_images, monkeypatch, seen, tmp_path):
    monkeypatch.setattr(hardware, "device_of", lambda settings: META)
    monkeypatch.setattr(stages, "prepare_for", lambda *arguments, **more: prepared(make_images()))
    own = {"out": tmp_path / "out.csv", "encoder": encoder, "data": "made", "between": "-1,1"}
    getattr(commands, command)(SimpleNamespace(own=own, overrides={}))
    assert seen["encoded"] == [META] * (2 if command == "embed" else 1)


def test_a_study_measures_on_the_recipes_device(make_images, monkeypatch, tmp_path, tiny_diffusion, encoder):
    """Encoders and the diffusion model."""
    devices, known = [], lambda images, *rest: devices.append(rest[-1]) or torch.randn(len(images), 3)
    monkeypatch.setattr(studies, "device_of", lambda settings: META)
    monkeypatch.setattr(studies.Study, "diffusion", lambda self: tmp_path)
    monkeypatch.setattr(engine, "pretrain", lambda *rest, **more: None)
    monkeypatch.setattr(
        trained, "encode_by", lambda folder, parts, *, device, batch_size: [known(part, device) for part in parts]
    )
    monkeypatch.setattr(few_labels, "fit_classifier", lambda model, *rest, **more: None)
    monkeypatch.setattr(few_labels, "encode_images", lambda model, images, *rest, **more: known(images, META))
    monkeypatch.setattr(few_labels, "feature_count", lambda encoder: 3)
    monkeypatch.setattr(SyntheticPositivePipeline, "from_pretrained", lambda source: pipeline_of(tiny_diffusion()))
    monkeypatch.setattr(
        bottleneck, "bottleneck", lambda pipeline, images, *rest, **more: known(images, pipeline.unet.device)
    )
    arms = parse_arms("simclr,diffusion")
    bank = SimpleNamespace(unet="u", ids=np.arange(48))
    cells = studies.Study(prepared(make_images()), tmp_path, arms, [0], arms[0], arms[0], [], bank)
    shutil.copytree(encoder, cells.folder(arms[0], 0))
    for arm in arms:
        engine._cell(cells, arm, 0)
    assert devices == [META] * (3 + len(bottleneck.LEVELS) + 1)


@pytest.fixture
def fake(monkeypatch):
    """A GPU for tensors without values: an operation on tensors of two devices fails, as it does on a real one."""
    stand_in(monkeypatch)
    monkeypatch.setattr(console.Progress, "figures", "")
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)  # autograd's threads ask for a real one
    monkeypatch.setattr(bottleneck, "add_noise", lambda scheduler, clean, noise, time: clean + noise)  # reads values
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def test_no_tensor_of_another_device_meets_an_encoder_or_its_fine_tuning(encoder, make_images, fake, monkeypatch):
    images, spec = make_images().train, read_spec(encoder)
    with unset_fake_temporarily():
        model = torch.nn.Sequential(load_encoder(encoder), torch.nn.Linear(16, 3))
    moved(model, fake)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    classifier.fit_classifier(
        model, images.images, images.labels, spec, optimizer, steps=2, batch_size=8, seed=0, title="test"
    )
    found = features.encode_images(model, images.images, torch.tensor(spec.mean), torch.tensor(spec.std), batch_size=9)
    assert (found.device.type, found.shape) == ("cpu", (48, 3))


def test_no_tensor_of_another_device_meets_the_diffusion_model(make_images, tiny_diffusion, fake):
    with unset_fake_temporarily():
        pipeline = pipeline_of(tiny_diffusion())
    moved(pipeline.unet, fake)
    found = bottleneck.bottleneck(pipeline, make_images().train.images, 0.1, seed=0)
    assert (found.device.type, found.shape) == ("cpu", (48, 16))
