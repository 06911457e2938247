"""Backbones, and encoders as files that plain timm reads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

import clsp
from clsp import files
from clsp.encoders.backbone import build_backbone, feature_count, require_views, stem_for, to_channels_last
from clsp.encoders.config import BackboneConfig, ProjectorConfig
from clsp.encoders.export import EncoderSpec, export_onnx, read_spec, save_encoder
from clsp.encoders.heads import HeadShape, projector
from clsp.errors import UserError
from clsp.images.config import AugmentConfig

TINY = {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}
SPECS = {
    "resnet small": EncoderSpec(name="resnet18", args=TINY, stem="small", channels=3, size=32),
    "resnet mid, gray": EncoderSpec(name="resnet18", args=TINY, stem="mid", channels=1, size=64),
    "resnet with a deep stem": EncoderSpec(
        name="resnet18", args={**TINY, "stem_type": "deep", "stem_width": 2}, stem="small", channels=1, size=28
    ),
    "resnet half": EncoderSpec(name="resnet18", args=TINY, stem="half", channels=1, size=28),
    "resnet with a deep half stem": EncoderSpec(
        name="resnet18", args={**TINY, "stem_type": "deep", "stem_width": 2}, stem="half", channels=3, size=28
    ),
    "resnet big": EncoderSpec(name="resnet18", args=TINY, stem="big", channels=3, size=100),
    "efficientnet": EncoderSpec(name="mobilenetv3_small_050", stem="small", channels=3, size=32),
    "transformer": EncoderSpec(
        name="vit_tiny_patch16_224", args={"patch_size": 8, "depth": 1}, stem="small", channels=1, size=32
    ),
    "convnext small": EncoderSpec(
        name="convnext_atto", args={"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 16]}, stem="small", channels=3, size=16
    ),
    "stem of two branches, half": EncoderSpec(name="repvgg_a0", stem="half", channels=1, size=32),
    "convnext big": EncoderSpec(
        name="convnext_atto", args={"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 16]}, stem="big", channels=3, size=32
    ),
}


@pytest.fixture(params=SPECS)
def saved(request, tmp_path):
    """An encoder with BatchNorm statistics of its own, saved."""
    spec = SPECS[request.param]
    spec.mean, spec.std = [0.4] * spec.channels, [0.25] * spec.channels
    torch.manual_seed(0)
    encoder = spec.build().train()
    encoder(torch.randn(4, spec.channels, spec.size, spec.size))
    save_encoder(tmp_path / "encoder", encoder.eval(), spec, {"method": "simclr"})
    return spec, encoder, tmp_path


@pytest.mark.parametrize(("size", "stem"), [(8, "small"), (48, "small"), (49, "mid"), (96, "mid"), (97, "big")])
def test_the_stem_follows_the_image_size_alone(size, stem):
    assert stem_for(BackboneConfig(), size) == stem
    assert stem_for(BackboneConfig(stem="big"), size) == "big"


@pytest.mark.parametrize("deep", [{}, {"stem_type": "deep", "stem_width": 4}])
@pytest.mark.parametrize(("stem", "side"), [("small", 32), ("mid", 16), ("half", 16), ("big", 8)])
def test_the_stem_keeps_the_resolution_of_small_images(stem, side, deep):
    model = build_backbone("resnet18", {**TINY, **deep}, channels=3, size=32, stem=stem)
    shapes = []
    model.layer1.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape[-1]))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, feature_count(model)) == (2, 16)
    assert shapes == [side]


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet81", "did you mean 'resnet"), ("resnet*", "is no model"), ("", "is no")]
)
def test_an_unknown_backbone_is_refused_with_a_suggestion(name, hint):
    with pytest.raises(UserError, match=hint):
        build_backbone(name, {}, channels=3, size=32, stem="small")


def test_a_wrong_argument_of_a_backbone_is_refused():
    with pytest.raises(UserError, match="'no_such_argument' is not one of aa_layer"):
        build_backbone("resnet18", {"no_such_argument": 1}, channels=3, size=32, stem="small")


def test_a_loaded_encoder_gives_the_same_features_bit_for_bit(saved):
    spec, encoder, folder = saved
    loaded = clsp.load_encoder(folder / "encoder")
    x = torch.randn(3, spec.channels, spec.size, spec.size)
    assert not loaded.training
    assert torch.equal(loaded(x), encoder(x))
    assert torch.equal(clsp.load_encoder(folder)(x), encoder(x))  # a run's folder stands for its encoder
    assert read_spec(folder / "encoder") == spec
    assert loaded.pretrained_cfg["mean"] == spec.mean


CHILD = """
import runpy, sys, torch
from safetensors.torch import save_file
torch.set_num_threads(1)
for folder in sys.argv[1:]:
    names = runpy.run_path(f"{folder}/snippet.py")
    images = torch.linspace(0, 1, names["images"].numel()).view(names["images"].shape)
    with torch.no_grad():
        features = names["model"]((images - names["mean"].view(-1, 1, 1)) / names["std"].view(-1, 1, 1))
    save_file({"features": features.contiguous()}, f"{folder}/features")
assert not any(name.split(".")[0] == "clsp" for name in sys.modules)
"""


def test_plain_timm_loads_every_encoder_without_clsp_and_gives_the_same_features(tmp_path):
    encoders = {}
    for number, spec in enumerate(SPECS.values()):
        spec.mean, spec.std = [0.4] * spec.channels, [0.25] * spec.channels
        encoders[tmp_path / str(number)] = spec, spec.build().eval()
        save_encoder(tmp_path / str(number), encoders[tmp_path / str(number)][1], spec, {})
    command = [sys.executable, "-I", "-c", CHILD, *map(str, encoders)]  # -I: without PYTHONPATH and this folder
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    for folder, (spec, encoder) in encoders.items():
        images = torch.linspace(0, 1, 2 * spec.channels * spec.size**2).view(2, spec.channels, spec.size, spec.size)
        expected = encoder((images - 0.4) / 0.25)
        torch.testing.assert_close(load_file(folder / "features")["features"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_timm_makes_the_architecture_from_config_json_alone(name, tmp_path):
    spec = SPECS[name]
    save_encoder(tmp_path, spec.build(), spec, {})
    config = files.read_json(tmp_path / "config.json")
    model = timm.create_model(config["architecture"], num_classes=0, **config["model_args"])
    shapes = {key: value.shape for key, value in model.state_dict().items() if key != "conv1.weight"}
    kept = {key: value.shape for key, value in load_file(tmp_path / "encoder.safetensors").items()}
    assert shapes == {key: shape for key, shape in kept.items() if key != "conv1.weight"}


@pytest.mark.parametrize("damage", ["truncated", "other", "missing", "no config", "foreign config", "broken config"])
def test_damaged_encoders_are_user_errors(tmp_path, damage):
    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", size=32, mean=[0.5] * 3, std=[0.2] * 3)
    save_encoder(tmp_path, spec.build(), spec, {})
    weights, config = tmp_path / "encoder.safetensors", tmp_path / "config.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif damage == "other":
        other = EncoderSpec(name="resnet18", args={**TINY, "channels": [8] * 4}, stem="small", size=32)
        save_encoder(tmp_path / "o", other.build(), other, {})
        weights.write_bytes((tmp_path / "o/encoder.safetensors").read_bytes())
    elif damage == "missing":
        weights.unlink()
    elif damage == "no config":
        config.unlink()
    else:
        config.write_text('{"architecture": "resnet18"}' if damage == "foreign config" else "{")
    with pytest.raises(UserError, match="--encoder"):
        clsp.load_encoder(tmp_path)


@pytest.mark.parametrize(("layers", "batch_norm"), [(1, False), (2, False), (3, True)])
def test_the_projector_is_the_card(layers, batch_norm):
    head = projector(10, ProjectorConfig(hidden=7, dim=5, layers=layers, batch_norm=batch_norm), HeadShape())
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU] if batch_norm else [nn.Linear, nn.ReLU]
    assert [type(layer) for layer in head] == hidden * (layers - 1) + [nn.Linear]
    assert all(layer.bias is not None for layer in head if isinstance(layer, nn.Linear))
    assert head(torch.zeros(4, 10)).shape == (4, 5)


def test_onnx_gives_the_same_features_for_any_batch(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", size=32, mean=[0.5] * 3, std=[0.2] * 3)
    encoder = spec.build().eval()
    export_onnx(encoder, spec, tmp_path / "encoder.onnx")
    session = runtime.InferenceSession(str(tmp_path / "encoder.onnx"))
    for batch in (1, 5):
        images = torch.rand(batch, 3, 32, 32)
        features = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        torch.testing.assert_close(features, encoder((images - 0.5) / 0.2), rtol=1e-4, atol=1e-4)


def test_timm_is_what_it_says():
    """The oracle of the spec: a stem ``big`` is timm's own model."""
    torch.manual_seed(0)
    ours = build_backbone("resnet18", TINY, channels=3, size=32, stem="big").eval()
    theirs = timm.create_model("resnet18", num_classes=0, **TINY).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), theirs(x))


VIT = BackboneConfig(name="vit_tiny_patch16_224", args={"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2})
ANY_SIZE = replace(VIT, args={**VIT.args, "dynamic_img_size": True})


def test_a_backbone_for_one_size_alone_refuses_smaller_views():
    require_views(BackboneConfig(), 32, AugmentConfig(size=24, local_crops=2))
    require_views(VIT, 32, AugmentConfig(local_size=13))
    with pytest.raises(UserError, match="size 24: vit_tiny_patch16_224 takes images of 32 pixels"):
        require_views(VIT, 32, AugmentConfig(size=24))
    with pytest.raises(UserError, match=r"local_size 14: .* takes images of 32 pixels"):
        require_views(VIT, 32, AugmentConfig(local_crops=1))


def test_a_transformer_of_any_size_takes_what_its_patches_cover():
    small = AugmentConfig(local_crops=1, local_size=12)
    require_views(ANY_SIZE, 32, small)
    model = build_backbone(ANY_SIZE.name, ANY_SIZE.args, channels=3, size=32, stem="small")
    assert model(torch.rand(2, 3, 32, 32)).shape == model(torch.rand(2, 3, 12, 12)).shape == (2, 32)
    with pytest.raises(UserError, match=r"local_size 14 is no multiple of the 4 pixels .* choose 12 or 16"):
        require_views(ANY_SIZE, 32, replace(small, local_size=14))
    with pytest.raises(UserError, match="no multiple of the 16 pixels"):
        require_views(replace(ANY_SIZE, args={"dynamic_img_size": True}), 32, replace(small, local_size=8))


WIDE = torch.backends.cpu.get_cpu_capability() != "AVX512"
"""Whether eight channels fill a vector register."""


@pytest.mark.parametrize(
    ("channels", "last"), [([4, 8, 8, 16], False), ([8, 8, 16, 16], WIDE), ([16, 16, 16, 32], True)]
)
@pytest.mark.parametrize("size", [16, 64])
def test_a_thin_shortcut_is_not_trained_channels_last(channels, last, size):
    """Elsewhere oneDNN writes past its buffer: the heap is corrupted within some steps, or the process dies at once."""
    model = build_backbone("resnet18", {**TINY, "channels": channels}, channels=3, size=size, stem="small")
    assert to_channels_last(model).conv1.weight.is_contiguous(memory_format=torch.channels_last) == last
    for _ in range(20 if size == 16 else 2):
        model(torch.randn(30 if size == 16 else 4, 3, size, size)).sum().backward()
