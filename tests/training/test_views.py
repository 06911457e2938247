"""Which view is augmented how."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clsp.errors import UserError
from clsp.images.augment import augment, draw_crops
from clsp.images.config import AugmentConfig
from clsp.methods import METHODS
from clsp.training.checks import check_together
from clsp.training.views import crops_alone, crops_of, draw_local, draw_views
from tiny import Tiny, make

AUGMENT = AugmentConfig(size=12, blur=0.5, solarize=0.3)


def drawn(images, method):
    return draw_views(images, METHODS[method], AUGMENT, seed=3, step=5, ids=torch.arange(9) + 40)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("count", [2, 3])
def test_every_view_is_the_augmentation_of_its_number(method, count):
    images = [torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8) for _ in range(count)]
    for number, view in enumerate(drawn(images, method)):
        weak = METHODS[method].weak_second and number == 1
        expected = augment(
            images[number],
            crops_alone(AUGMENT) if weak else AUGMENT,
            seed=3,
            step=5,
            ids=torch.arange(9) + 40,
            views=torch.full((9,), number),
        )
        torch.testing.assert_close(view, expected)


def test_a_strong_teacher_sees_what_the_other_methods_second_view_shows():
    method = make("ressl", Tiny(), memory=16, teacher="strong")
    images = [torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8) for _ in range(2)]
    views = draw_views(images, method, AUGMENT, seed=3, step=5, ids=torch.arange(9) + 40)
    for view, plain in zip(views, drawn(images, "simclr"), strict=True):
        assert view.equal(plain)


def test_ressls_second_view_keeps_its_colours():
    flat = torch.tensor([200, 40, 90], dtype=torch.uint8).view(1, 3, 1, 1).expand(9, 3, 16, 16)
    strong, weak = drawn([flat, flat], "ressl")
    torch.testing.assert_close(weak, (flat / 255)[..., :12, :12], rtol=0, atol=1e-5)
    assert (strong - weak).abs().max() > 0.1


@pytest.mark.parametrize("count", [2, 3])
def test_a_method_that_asks_for_it_sees_where_its_views_lie(count):
    names = {"seed": 3, "step": 5, "ids": torch.arange(9) + 40}
    assert crops_of(count, METHODS["simclr"], AUGMENT, **names) is None
    found = crops_of(count, METHODS["aps"], AUGMENT, **names)
    assert len(found) == count
    for number, crops in enumerate(found):
        expected = draw_crops(AUGMENT, views=torch.full((9,), number), **names)
        assert all(torch.equal(ours, part) for ours, part in zip(crops, expected))


MULTI_CROP = [name for name, made in METHODS.items() if made.multi_crop]


@pytest.mark.parametrize("method", MULTI_CROP)
def test_local_crops_are_small_views_of_a_smaller_part(method):
    images, names = torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8), {"seed": 3, "step": 5}
    found = draw_local(images, METHODS[method], replace(AUGMENT, local_crops=2), ids=torch.arange(9) + 40, **names)
    assert [crop.shape for crop in found] == [(9, 3, 8, 8)] * 2  # 3/7 of 12 would be 5
    for number, crop in enumerate(found):
        small, numbers = replace(AUGMENT, size=8, crop_scale=[0.05, 0.14]), torch.full((9,), 3 + number)
        expected = augment(images, small, ids=torch.arange(9) + 40, views=numbers, **names)
        torch.testing.assert_close(crop, expected)


@pytest.mark.parametrize("method", METHODS.names())
def test_who_does_not_ask_gets_no_local_crops(make_images, tiny_pretrain, method):
    images, names = torch.zeros(9, 3, 16, 16, dtype=torch.uint8), {"seed": 3, "step": 5, "ids": torch.arange(9)}
    assert draw_local(images, METHODS[method], AugmentConfig(), **names) == ()
    local = AugmentConfig(local_crops=2)
    config = tiny_pretrain(method=method, augment=local)
    if method in MULTI_CROP:
        check_together(config, make_images())
        return
    assert draw_local(images, METHODS[method], local, **names) == ()
    takers = ", ".join(MULTI_CROP)
    with pytest.raises(UserError, match=rf"local_crops 2: {method} has two whole views alone; .* {takers}"):
        check_together(config, make_images())


def test_the_size_of_a_local_crop_is_that_of_swav():
    assert AugmentConfig().local_side(224) == 96
    assert AugmentConfig(size=112).local_side(224) == 48
    assert AugmentConfig(local_size=80).local_side(224) == 80
