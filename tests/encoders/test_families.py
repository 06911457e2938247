"""Backbones of many families at small sizes: each is trained, or refused in one line before any work."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

import clsp
from clsp.encoders.backbone import build_backbone, feature_count
from clsp.encoders.config import BackboneConfig
from clsp.encoders.export import save_encoder
from clsp.encoders.stems import takes_size
from clsp.encoders.trial import unseen
from clsp.errors import UserError
from clsp.images.config import AugmentConfig
from clsp.training import checks
from clsp.training.checks import check_backbone
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import build
from tiny import images_of, pretrain_config, vit_config

THIN = {"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 16]}
WORKS = {
    "convnext_atto": THIN,
    "lcnet_050": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_035": {},
    "swin_tiny_patch4_window7_224": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]},
    "starnet_s050": {},
    "vit_tiny_patch16_224": {"patch_size": 7, "embed_dim": 8, "depth": 1, "num_heads": 1},
    "resnetv2_18": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16]},
    "efficientvit_b0": {},
}
"""Backbones that train on 28 pixels, with the arguments that make them small."""

REFUSED = {
    "vit_tiny_patch16_224": (28, r"does not see 67% of the pixels .* --images.size 16 or 32"),
    "botnet26t_256": (28, r"cannot take images of 28 pixels .* choose --images.size 32"),
    "crossvit_9_240": (28, "backbone crossvit_9_240"),
}


def config(name, *, stem="auto", augment=None, method="simclr", **args):
    backbone = BackboneConfig(name=name, args=args, stem=stem)
    return pretrain_config(backbone=backbone, batch_size=4, augment=augment or AugmentConfig(), method=method)


@pytest.mark.parametrize("name", WORKS)
def test_a_backbone_that_passes_the_check_trains_and_is_loaded_again(name, tmp_path):
    images, settings = images_of(4, None, size=28), config(name, **WORKS[name])
    check_backbone(settings, images)
    training, spec = build(images, settings, np.arange(4), None, seed=0)
    training.to_device(torch.device("cpu"))
    training.step(0).loss.backward()
    encoder, x = training.method.encoder.eval(), torch.rand(2, 3, 28, 28)
    save_encoder(tmp_path, encoder, spec, {})
    found = clsp.load_encoder(tmp_path)(x)
    torch.testing.assert_close(found, encoder(x))
    assert found.shape == (2, feature_count(encoder))


@pytest.mark.parametrize("name", REFUSED)
def test_a_backbone_that_cannot_train_on_the_images_is_refused_with_what_can_be_done(name):
    size, line = REFUSED[name]
    with pytest.raises(UserError, match=line) as caught:
        check_backbone(config(name), images_of(4, None, size=size))
    assert "\n" not in str(caught.value) and "choose" in str(caught.value)


def test_the_stem_that_a_refusal_advises_works():
    with pytest.raises(UserError, match=r"--pretrain.backbone.stem small"):
        check_backbone(config("convnext_atto", stem="big", **THIN), images_of(4, None))
    check_backbone(config("convnext_atto", stem="small", **THIN), images_of(4, None))


def test_what_is_advised_for_patches_that_do_not_cover_the_image_works():
    vit = {"patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 1}
    with pytest.raises(UserError, match=r"patch_size: 14.*dynamic_img_size: true, dynamic_img_pad: true"):
        check_backbone(config("vit_tiny_patch16_224", **vit), images_of(4, None, size=28))
    for more in ({"patch_size": 14}, {"dynamic_img_size": True, "dynamic_img_pad": True}):
        check_backbone(config("vit_tiny_patch16_224", **vit | more), images_of(4, None, size=28))


def test_a_thin_edge_that_is_not_seen_is_said(capfd):
    check_backbone(config("convnext_atto", stem="big", **THIN), images_of(4, None, size=66))
    assert "does not see 6% of the pixels" in capfd.readouterr().err
    check_backbone(config("convnext_atto", stem="big", **THIN), images_of(4, None, size=64))
    assert "does not see" not in capfd.readouterr().err


def test_local_crops_that_are_too_small_for_the_backbone_are_refused_before_any_work():
    augment = AugmentConfig(local_crops=2, local_size=8)
    with pytest.raises(UserError, match=r"local_size 8: backbone convnext_atto .* not such views"):
        check_backbone(
            config("convnext_atto", stem="big", method="swav", augment=augment, **THIN), images_of(4, None, size=64)
        )


def test_the_width_is_what_comes_out_not_what_timm_says():
    timms = timm.create_model("mobilenetv3_small_050", num_classes=0)
    ours = build_backbone("mobilenetv3_small_050", {}, channels=3, size=32, stem="small")
    assert feature_count(ours) == 1024 != timms.num_features


def test_the_check_draws_no_random_number_and_is_made_once_for_a_backbone(monkeypatch):
    settings = config("resnet18", layers=[1, 1, 1, 1], channels=[8, 8, 8, 24])
    state = torch.random.get_rng_state()
    check_backbone(settings, images_of(4, None))
    assert torch.equal(torch.random.get_rng_state(), state)
    monkeypatch.setattr("clsp.training.checks.build_backbone", None)
    check_backbone(settings, images_of(4, None))


def test_a_patch_method_is_tried_with_its_own_pass():
    check_backbone(PretrainConfig(method="aps", backbone=vit_config()), images_of(4, None))


def test_models_of_one_size_are_told_it_and_others_not():
    assert takes_size("crossvit_9_240") and takes_size("coat_tiny") and takes_size("vit_tiny_patch16_224")
    assert not takes_size("resnet18") and not takes_size("convnext_atto")


@pytest.mark.parametrize("args", [{"depth": 10**9}, {"embed_dim": 10**9}, {"depths": [10**6]}])
def test_sizes_that_no_machine_bears_are_refused_at_once(args):
    with pytest.raises(UserError, match="too large; at most"):
        build_backbone("vit_tiny_patch16_224", args, channels=3, size=32, stem="small")


@pytest.mark.parametrize("seed", range(12))
def test_what_is_found_of_a_backbone_does_not_hang_on_what_was_drawn_before(seed, monkeypatch):
    monkeypatch.setattr(checks, "_TRIED", set())
    torch.manual_seed(seed)
    check_backbone(config("resnet18", layers=[1, 1, 1, 1], channels=[2, 2, 4, 4]), images_of(4, None, size=8))


def test_weights_that_let_nothing_through_say_nothing_of_the_pixels():
    assert unseen(lambda images: (images * 0.0).mean(dim=(2, 3)), 3, 8) == 0.0
    assert unseen(lambda images: images[..., :4, :6].mean(dim=(2, 3)), 3, 8) == 1 - 4 * 6 / 64
