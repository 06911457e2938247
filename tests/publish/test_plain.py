"""Encoders of several families as folders of plain timm: a process that has no clsp finds the same features."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from clsp.encoders.export import EncoderSpec, save_encoder
from clsp.errors import UserError
from clsp.publish.export import Wish, export
from workshop import CLEAN

RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}
CONVNEXT = {"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 16]}
VIT = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
FAMILIES = {
    "resnet-small": ("resnet18", RESNET, "small", 1, 16),
    "resnet-small-odd": ("resnet18", RESNET, "small", 3, 17),
    "resnet-half": ("resnet18", RESNET, "half", 3, 32),
    "resnet-mid": ("resnet18", RESNET, "mid", 1, 48),
    "resnet-big": ("resnet18", RESNET, "big", 3, 64),
    "bottleneck": ("resnet26", RESNET, "small", 1, 16),
    "deep-big": ("resnet18d", RESNET, "big", 3, 64),
    "convnext-big": ("convnext_atto", CONVNEXT, "big", 3, 64),
    "convnext-patch": ("convnext_atto", CONVNEXT | {"patch_size": 2}, "big", 1, 32),
    "vit": ("vit_tiny_patch16_224", VIT, "small", 1, 16),
    "mobilenet-half": ("mobilenetv3_small_050", {}, "half", 3, 64),
}
REFUSED = {
    "convnext": ("convnext_atto", CONVNEXT, "small", 3, 32),
    "deep": ("resnet18d", RESNET, "small", 3, 32),
    "mobilenet": ("mobilenetv3_small_050", {}, "small", 3, 32),
}

LOADER = """
import json, sys
sys.modules["clsp"] = None  # an import of it fails
import numpy, timm, timm.data, torch
from PIL import Image
for name, (channels, size) in json.loads(sys.argv[1]).items():
    model = timm.create_model(f"local-dir:{name}/timm", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    images = [Image.open(f"{name}/{number}.png") for number in range(4)]
    with torch.no_grad():
        numpy.save(f"{name}/found.npy", model(torch.stack([transform(image) for image in images])).numpy())
    assert timm.create_model(f"local-dir:{name}/timm", pretrained=True, num_classes=3).num_classes == 3
"""


def encoder_of(name, args, stem, channels, size, folder):
    """An encoder whose BatchNorm has seen images, in a folder of clsp's."""
    torch.manual_seed(0)
    means = {"mean": [0.3, 0.4, 0.5][:channels], "std": [0.2, 0.25, 0.3][:channels]}
    spec = EncoderSpec(name=name, args=args, stem=stem, channels=channels, size=size, **means)
    model = spec.build()
    model.train()(torch.rand(8, channels, size, size))
    save_encoder(folder, model.eval(), spec, {"method": "simclr", "data": "/home/me/photos"})
    return model, spec


def digits(channels, size, folder):
    """Four real images as PNG, and as float [4, C, H, W]."""
    pixels = []
    for number, image in enumerate(load_digits().images[:4]):
        picture = Image.fromarray((image * 15.9).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        if channels == 3:
            picture = Image.merge("RGB", [picture, picture.rotate(90), picture.rotate(180)])
        picture.save(folder / f"{number}.png")
        pixels.append(np.asarray(picture, dtype=np.float32).reshape(size, size, channels).transpose(2, 0, 1) / 255)
    return torch.from_numpy(np.stack(pixels))


def test_a_process_without_clsp_finds_the_same_features(tmp_path):
    wanted = {}
    for name, family in FAMILIES.items():
        folder = tmp_path / name
        model, spec = encoder_of(*family, folder / "encoder")
        said = export(Wish(folder / "encoder", folder / "timm", "timm")).said
        assert ("repeated" in " ".join(said)) == (family[2] != "big" and family[0].startswith("resnet"))
        images = digits(*family[3:], folder)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (spec.mean, spec.std))
        with torch.no_grad():
            wanted[name] = model((images - mean) / std).numpy()
    shapes = {name: family[3:] for name, family in FAMILIES.items()}
    command = [sys.executable, "-I", "-c", LOADER, json.dumps(shapes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=CLEAN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, features in wanted.items():
        found = np.load(tmp_path / name / "found.npy")
        assert np.abs(features).max() > 1e-3
        np.testing.assert_allclose(found, features, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", REFUSED)
def test_a_stem_that_timm_cannot_build_is_refused_with_what_can_be_done(name, tmp_path):
    encoder_of(*REFUSED[name], tmp_path / "e")
    with pytest.raises(UserError, match=r"stem big.*--format torch or onnx") as caught:
        export(Wish(tmp_path / "e", tmp_path / "t", "timm"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "t").exists()


def test_a_folder_says_nothing_of_this_machine(tmp_path):
    encoder_of(*FAMILIES["resnet-small"], tmp_path / "e")
    for formats in ("timm", "clsp"):
        export(Wish(tmp_path / "e", tmp_path / formats, formats))
        text = "".join(
            path.read_text() for path in (tmp_path / formats).glob("*.[jm]*") if path.suffix != ".safetensors"
        )
        assert "photos" in text and "/home/me" not in text


def test_a_model_whose_features_differ_is_no_export(tmp_path, monkeypatch):
    encoder_of(*FAMILIES["resnet-small"], tmp_path / "e")
    monkeypatch.setattr("clsp.encoders.plain._PICKED", {"small": 1, "half": 1})
    with pytest.raises(UserError, match="differ from clsp's by"):
        export(Wish(tmp_path / "e", tmp_path / "t", "timm"))
