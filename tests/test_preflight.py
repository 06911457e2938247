"""``clsp check``: its counts are those of a run, it needs no data, and it says what does not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from clsp.cli.main import dispatch
from clsp.encoders.config import BackboneConfig
from clsp.engine import threads
from clsp.engine.flops import count_flops
from clsp.errors import UserError
from clsp.images import builtin, torchvision_sets
from clsp.preflight import gpus, measure, preflight, room, stages
from clsp.preflight.source import prepare_plan
from clsp.recipes.prepare import Prepared
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import nested
from clsp.study.opened import images_of
from tiny import for_method
from workbench import finished

TINY = {
    "diffusion.widths": "[8, 16]", "diffusion.norm_groups": "4", "diffusion.blocks": "1", "diffusion.batch_size": "8",
    "diffusion.precision": "32", "pretrain.precision": "32", "synthesize.precision": "32", "synthesize.batch_size": "8",
    "pretrain.backbone.args": "{layers: [1, 1, 1, 1], channels: [4, 8, 8, 16]}", "pretrain.projector.hidden": "16",
    "pretrain.projector.dim": "8", "pretrain.moco.memory": "64", "pretrain.batch_size": "16",
}  # fmt: skip
"""The paper's recipes with the smallest networks."""
TINY_OPTIONS = [f"--{name}={value}" for name, value in TINY.items()]


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """No data set is there, and none may be downloaded."""
    make = torchvision_sets._make

    def local(name, arguments, *, download):
        assert not download
        return make(name, arguments, download=False)

    monkeypatch.setattr(torchvision_sets, "_make", local)
    monkeypatch.setattr(builtin, "FASHION_MNIST", tmp_path / "no Debian package")
    monkeypatch.setenv("CLSP_DATASETS", str(tmp_path))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The first time of a step is good enough here."""
    monkeypatch.setattr(measure, "_LONG_ENOUGH", 0.0)
    monkeypatch.setattr(measure, "_BEARABLE", 0.0)


# --- counting --------------------------------------------------------------------------------------------------------


def test_cost_of_a_known_network():
    """Two linear layers: products forward and backward, and what lives while the second one's gradient is made."""
    network = torch.nn.Sequential(torch.nn.Linear(64, 128, bias=False), torch.nn.Linear(128, 32, bias=False))

    def step(batch):
        network(torch.randn(batch, 64)).sum().backward()

    batch, weights = 256, 64 * 128 + 128 * 32
    (cost,) = measure.costs(network, [step], batch)
    assert cost.flops == 2 * batch * (2 * 64 * 128 + 3 * 128 * 32)  # no gradient of the input is wanted
    kept, gradients = batch * (64 + 128), batch * 128
    assert 4 * (2 * weights + kept + gradients) <= cost.peak <= 4 * (2 * weights + kept + 2 * gradients + batch * 64)


def test_attention_is_counted():
    query = torch.randn(1, 2, 16, 8)
    flops = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert flops == 2 * 2 * (2 * 16 * 16 * 8)


def test_a_slow_step_is_timed_on_a_part_of_the_batch(monkeypatch):
    monkeypatch.setattr(measure, "_LONG_ENOUGH", 0.5)
    monkeypatch.setattr(measure, "_BEARABLE", 2.0)
    monkeypatch.setattr(measure, "_timed", lambda step, batch: 0.05 * batch)
    assert measure.seconds(lambda batch: None, 512, least=2) == pytest.approx((0.5, 10))
    assert measure.seconds(lambda batch: None, 4, least=2) == pytest.approx((0.2, 4))
    assert measure.seconds(lambda batch: None, 36, least=2) == pytest.approx((1.8, 36))


def diffusion_stage(gpu=None, **diffusion):
    changes = {f"diffusion.{name}": value for name, value in diffusion.items() if name != "devices"}
    changes |= {"hardware.devices": diffusion["devices"]} if "devices" in diffusion else {}
    prepared = prepare_plan(None, recipe="cifar10", overrides=nested({**TINY, **changes})).prepared
    return stages._diffusion(stages.Plan(prepared.recipe, prepared.images, gpu and gpus.find_gpu(gpu)))


@pytest.mark.parametrize(("method", "local"), [("simclr", 0), ("moco", 0), ("nnclr", 0), ("aps", 0), ("swav", 2)])
def test_the_plan_counts_what_a_run_counts(method, local, make_images, tiny_pretrain, tmp_path):
    from clsp.engine.hardware import HardwareConfig
    from clsp.images.config import AugmentConfig
    from clsp.methods.nnclr import NNCLRSettings
    from clsp.recipes.arms import Arm
    from clsp.training.pretrain import pretrain

    images = make_images()
    views = AugmentConfig(local_crops=local)
    config = tiny_pretrain(**for_method(method, nnclr=NNCLRSettings(memory=40), epochs=1, augment=views))
    recipe = load_recipe("smoke", {"controls": "true"})
    recipe.pretrain, recipe.per_method = config, {}
    trained = recipe.pretraining(Arm(method, "view"))
    facts = pretrain(images, trained, HardwareConfig(), seed=0, folder=tmp_path / "enc").facts
    view = stages._encoders(stages.Plan(recipe, images, None), recipe.arms())[-1]
    assert view.name == f"encoder {method}+view"
    assert view.flops == pytest.approx(facts["flops"], rel=1e-6)


def test_flops_follow_the_lengths_and_memory_the_batches():
    base, longer = diffusion_stage(), diffusion_stage(steps=388000)
    assert longer.flops == pytest.approx(2 * base.flops)
    assert longer.memory == base.memory
    larger = diffusion_stage(batch_size=16)
    assert larger.flops == pytest.approx(2 * base.flops)
    pixels = 50_000 * 3 * 32 * 32
    assert 1.5 < (larger.memory - pixels) / (base.memory - pixels) < 2
    shared = diffusion_stage(batch_size=16, devices=2)
    assert shared.memory == base.memory
    assert shared.flops == pytest.approx(larger.flops)


def test_bf16_needs_less_memory_than_32_bit():
    auto = {"precision": "auto", "batch_size": 64}
    half, full = (diffusion_stage(gpu=name, **auto) for name in ("a100-40gb", "v100"))
    assert half.memory < 0.8 * full.memory
    assert half.flops == full.flops


# --- data that are not there -----------------------------------------------------------------------------------------


def test_a_plan_needs_no_data():
    planned = prepare_plan(None, recipe="cifar10", overrides={"images": {"limit": "1000", "channels": "1"}})
    assert not planned.there
    assert planned.prepared.images.train.images.shape == (1000, 1, 32, 32)
    assert len(planned.prepared.images.test) == 10_000
    planned = prepare_plan("imagenet100", recipe="imagenet100")
    assert not planned.there
    assert planned.prepared.images.train.images.shape == (126_689, 3, 64, 64)
    assert prepare_plan("digits", recipe="smoke").there


def test_a_folder_is_sized_for_the_gpu():
    assert prepare_plan("svhn", gpu="h100").prepared.recipe.pretrain.batch_size == 1024


@pytest.mark.parametrize("recipe", ["smoke", "folder", None])
def test_data_must_be_named_where_the_recipe_names_none(recipe):
    with pytest.raises(UserError, match=r"needs --data SOURCE, or a --recipe .* \(cifar10, cifar100, digits"):
        prepare_plan(None, recipe=recipe)


# --- what is said ----------------------------------------------------------------------------------------------------


def told(capsys, *arguments):
    assert dispatch(["check", *arguments]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    return " ".join(text.split())


def test_the_command_plans_a_paper_run(capsys, tmp_path):
    text = told(capsys, "--recipe", "cifar10", "--method", "moco", "--gpu", "a100-40gb", *TINY_OPTIONS)
    for part in (
        "50000 train images, 10000 test images, 3 x 32 x 32, so far as is known; not there yet, a run downloads them",
        "encoder moco+bank", "encoder moco ", "encoder moco+view", "sgd 0.3", "together, without the evaluation",
        "the a100-40gb has 40.0 GB: it fits", "the bank 1.2 GB", "35% of a nominal 19.5 TFLOPS (32 bit)",
        "moco+bank 94.62 (94.01)",
    ):  # fmt: skip
        assert part in text
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_said(capsys, monkeypatch):
    monkeypatch.setitem(gpus.GPUS, "t4", gpus.GPU(memory=1.1e9, fp32=8e12, bf16=None))
    text = told(capsys, "--recipe", "cifar10", "--gpu", "t4", *TINY_OPTIONS, "--diffusion.batch_size", "256")
    assert "the t4 has 1.1 GB: it does NOT fit; lower the stage's batch_size" in text


def test_a_run_says_that_it_does_not_fit_and_plans_only_where_it_may_not(monkeypatch):
    prepared = prepare_plan("digits", recipe="smoke").prepared
    planned = []
    stage = replace(
        stages._bank(stages.Plan(prepared.recipe, prepared.images, None)), name="diffusion model", memory=3e8
    )

    def plan(of):
        planned.append(of)
        return [stage, replace(stage, name="encoder simclr", memory=1e8)]

    def note(memory, *, own_model=True):
        monkeypatch.setattr(room, "device", lambda plan, gpu: ("this machine", memory, 0.0))
        return room.memory_note(prepared, own_model=own_model)

    monkeypatch.setattr(room, "plan_stages", plan)
    assert note(1e11) is None
    assert planned == []
    text = note(1.1e8)
    assert "the diffusion model is planned with 300 MB, and this machine has 110 MB: it does NOT fit" in text
    assert "choose --diffusion.batch_size 8 or less" in text  # of 32
    assert note(1.1e8, own_model=False) is None
    assert "smaller --images.size or smaller networks" in note(1e7)
    assert len(planned) == 3


def test_whether_it_fits_is_known_also_of_a_backbone_that_starts_from_timms_weights():
    own = {"pretrain": {"backbone": {"args": {"pretrained": True}}}}
    prepared = prepare_plan("digits", recipe="smoke", overrides=own).prepared
    assert room._outputs(room.Plan(prepared.recipe, prepared.images, None), own_model=True) < 1e9
    assert room.memory_note(prepared, own_model=True) is None


def test_a_run_here_is_planned_too(capsys):
    text = told(capsys, "--data", "digits", "--recipe", "smoke")
    assert "400 train images, 355 test images, 1 x 16 x 16; 0 files left out" in text
    assert "TFLOPS" not in text
    assert "this machine has" in text


def test_what_a_run_leaves_on_the_disk_is_planned():
    run = finished()
    recipe, images = load_recipe(str(run / "recipe.yaml")), images_of(run)
    diffusion, _, encoder = stages.plan_stages(stages.Plan(recipe, images, None), [recipe.arm])

    def bytes_of(*names):
        return pytest.approx(sum(path.stat().st_size for name in names for path in run.glob(name)), rel=0.05)

    encoder_files = ("arms/simclr+bank/seed-0/**/*.safetensors", "evaluation/features.safetensors")
    assert diffusion.weights + diffusion.checkpoint == bytes_of("diffusion/**/*.safetensors")
    assert encoder.checkpoint + encoder.weights == bytes_of(*encoder_files)
    assert encoder.embeddings == bytes_of("embeddings.parquet")


def test_every_arm_is_planned_with_its_own_settings(capsys):
    own = "{simclr+view: {lr: 0.05, epochs: 6}, simclr+bank: {epochs: 2}}"
    text = told(capsys, "--data", "digits", "--recipe", "smoke", "--controls", "--per_method", own)
    planned = re.findall(r"encoder (\S+) .*? (\d+) epochs, batch 32, sgd (\S+) +(\S+) G", text)
    assert [arm[:3] for arm in planned] == [
        ("simclr+bank", "2", "0.1"), ("simclr", "3", "0.1"), ("simclr+view", "6", "0.05"),
    ]  # fmt: skip
    assert float(planned[2][3]) == pytest.approx(3 * float(planned[0][3]), rel=0.02)


def test_a_positive_in_the_second_views_place_costs_nothing_and_has_no_third_view_as_a_control(capsys):
    text = told(capsys, "--data", "digits", "--recipe", "smoke", "--controls", "--pretrain.positive.placement", "host")
    planned = re.findall(r"encoder (\S+) .*? epochs, batch 32, sgd \S+ +(\S+) G", text)
    assert [arm for arm, _ in planned] == ["simclr+bank", "simclr"]
    assert planned[0][1] == planned[1][1]


@pytest.mark.parametrize(
    ("busy", "words"),
    [(0, ""), (1, "one thread, which such a run has, too"), (2, "with a core to itself; a run takes")],
)
def test_a_plan_beside_other_work_says_with_which_threads_it_was_timed(capsys, monkeypatch, busy, words):
    found = threads.Threads(number=2 - bool(busy), most=2, cores=2, busy=busy)
    monkeypatch.setattr(threads, "bind", lambda processes: found)
    text = " ".join(told(capsys, "--data", "digits", "--recipe", "smoke").split())
    assert (f"Other work keeps {busy} of the 2 cores busy: the times here are those of one thread" in text) == (
        busy > 0
    )
    assert words in text


def test_processes_of_a_plan_share_the_cores(capsys, monkeypatch):
    asked = []
    bind = threads.bind
    monkeypatch.setattr(threads, "bind", lambda processes: asked.append(processes) or bind(processes=processes))
    told(capsys, "--data", "digits", "--recipe", "smoke", "--hardware.devices", "2")
    assert asked == [2]


def test_a_gpu_that_is_none(capsys):
    assert dispatch(["check", "--recipe", "cifar10", "--gpu", "a100-40"]) == 2
    assert "--gpu 'a100-40' is not one of v100" in capsys.readouterr().err


def test_the_label_method_needs_labels_also_in_a_plan(make_images):
    recipe = load_recipe("smoke", {"pretrain": {"method": "supcon"}})
    images = make_images()
    unlabelled = replace(images, train=replace(images.train, labels=None))
    recipe.pretrain.backbone = BackboneConfig(args={"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]})
    recipe.pretrain.batch_size = recipe.diffusion.batch_size = 16
    recipe.pretrain.images = recipe.synthesize.anchors = 48
    with pytest.raises(UserError, match="supcon needs labels"):
        preflight(Prepared(recipe, "smoke", unlabelled))
    assert "encoder supcon+bank" in preflight(Prepared(recipe, "smoke", images))
