"""A vision transformer on some patches is the plain model where they are all."""

from __future__ import annotations

import pytest
import torch

from clsp.encoders.backbone import build_backbone
from clsp.encoders.tokens import encode_patches, require_vit
from clsp.errors import UserError
from tiny import vit

MODELS = {
    "class token": {},
    "mean of the patches": {"global_pool": "avg", "class_token": False},
    "mean beside a class token": {"global_pool": "avg"},
    "registers, no place for the class token": {"reg_tokens": 3, "no_embed_class": True},
    "attention pooling, norm before": {"global_pool": "map", "class_token": False, "pre_norm": True},
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return vit(8, channels=3, patch=2, **MODELS[request.param])


@pytest.mark.parametrize("train", [True, False])
def test_all_patches_in_order_are_the_plain_model(model, train):
    model.train(train)
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(encode_patches(model, x, torch.arange(16).expand(3, -1)), model(x), rtol=0, atol=1e-5)


def test_patches_that_are_left_out_are_not_seen_and_those_kept_stay_in_their_place(model):
    """Pixels of other patches change nothing, the order of the patches nothing but rounding; their place does."""
    kept = torch.tensor([[0, 5, 14], [3, 4, 9]])
    x = torch.randn(2, 3, 8, 8)
    seen = torch.zeros(2, 1, 16).scatter(2, kept[:, None], 1.0).view(2, 1, 4, 4)
    seen = seen.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    features = encode_patches(model, x, kept)
    assert features.shape == (2, 32)
    assert torch.equal(encode_patches(model, torch.where(seen > 0, x, 7.0), kept), features)
    torch.testing.assert_close(encode_patches(model, x, kept.flip(1)), features, rtol=1e-4, atol=1e-5)
    flat = torch.ones_like(x)
    assert not torch.allclose(encode_patches(model, flat, kept), encode_patches(model, flat, kept + 1))


def test_gradients_reach_the_kept_patches_alone():
    model, x = vit(8, channels=3, patch=2), torch.randn(1, 3, 8, 8, requires_grad=True)
    encode_patches(model, x, torch.tensor([[2, 7]])).square().sum().backward()
    moved = x.grad.abs().sum(dim=1).view(4, 2, 4, 2).sum(dim=(1, 3)).flatten() > 0
    assert moved.nonzero().flatten().tolist() == [2, 7]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_another_backbone_is_refused_with_the_fix(name):
    with pytest.raises(UserError, match=rf"--pretrain.backbone.name {name} has no patches.*vit_tiny") as error:
        require_vit(build_backbone(name, {}, channels=3, size=32, stem="small"))
    assert "\n" not in str(error.value)
