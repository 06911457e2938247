"""Each operation of the batched augmentation is torchvision's on single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as T
from scipy import stats
from torchvision.transforms.v2 import RandomResizedCrop

from clsp import randomness
from clsp.images.augment import _IN_CACHE, CROP_DRAWS, augment, blur, crop_boxes, draw_crops, resized_crop
from clsp.images.colours import jitter_, saturate_, turn_hue_
from clsp.images.config import AugmentConfig

NOTHING = {
    "crop_scale": [1.0, 1.0],
    "crop_ratio": [1.0, 1.0],
    **dict.fromkeys(("flip", "jitter", "gray", "blur", "solarize"), 0.0),
}


@pytest.fixture(params=[1, 3], ids=["gray", "rgb"])
def images(request):
    return torch.randint(0, 256, (12, request.param, 16, 16), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture
def rgb():
    x = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    x[0, :, :4] = x[0, :1, :4]  # gray pixels, black and white ones
    x[0, :, 0], x[0, :, 1] = 0.0, 1.0
    return x


def run(images, step=0, ids=None, views=0, seed=0, **changes):
    ids = torch.arange(len(images)) if ids is None else ids
    config = AugmentConfig(**{**NOTHING, **changes})
    return augment(images, config, seed=seed, step=step, ids=ids, views=torch.full_like(ids, views))


def jittered(x, config, draws):
    out = x.clone()
    jitter_(out, config, draws, chosen=torch.ones(len(x), dtype=torch.bool))
    return out


def turned(x, shift):
    out = x.clone()
    turn_hue_(out, shift)
    return out


def test_nothing_changed_is_the_image(images):
    torch.testing.assert_close(run(images), images / 255, rtol=0, atol=1e-5)


@pytest.mark.parametrize("position", range(4), ids=["brightness", "contrast", "saturation", "hue"])
def test_colour_operations_are_torchvisions(rgb, position):
    strength = [0.0] * 4
    strength[position] = 0.4
    config = AugmentConfig(**dict(zip(("brightness", "contrast", "saturation", "hue"), strength)))
    draws = torch.full((4, 12), 0.5)
    draws[position] = torch.linspace(0.01, 0.99, 12)
    ours = jittered(rgb, config, draws)
    operation = (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation, T.adjust_hue)[position]
    for one, x, draw in zip(ours, rgb, draws[position].tolist()):
        amount = 0.4 * (2 * draw - 1) if position == 3 else 0.6 + 0.8 * draw
        torch.testing.assert_close(one, operation(x, amount), rtol=0, atol=2e-5)


def test_brightness_and_contrast_of_gray_images_are_torchvisions():
    x = torch.rand(4, 1, 9, 9)
    draws = torch.rand(4, 4)
    ours = jittered(x, AugmentConfig(brightness=0.5, contrast=0.3), draws)
    for one, image, b, c in zip(ours, x, draws[0].tolist(), draws[1].tolist()):
        expected = T.adjust_contrast(T.adjust_brightness(image, 0.5 + b), 0.7 + 0.6 * c)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-5)


def test_gray_and_full_turns_of_the_hue_are_exact(rgb):
    gray = rgb.clone()
    saturate_(gray, torch.zeros(12))
    torch.testing.assert_close(gray, T.rgb_to_grayscale(rgb, num_output_channels=3), rtol=0, atol=1e-6)
    torch.testing.assert_close(turned(rgb, torch.zeros(12)), rgb, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned(rgb, torch.ones(12)), rgb, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned(rgb, torch.full((12,), 1 / 3)), rgb[:, [2, 0, 1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 16, 33, 64])
def test_blur_is_torchvisions_with_the_same_kernel(size):
    x = torch.rand(6, 3, size, size)
    sigmas = torch.linspace(0.1, 2.0, 6)
    kernel = 2 * max(1, round(size / 20)) + 1
    for one, image, sigma in zip(blur(x, sigmas), x, sigmas.tolist()):
        expected = T.gaussian_blur(image, [kernel, kernel], [sigma, sigma])
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("option", "operation"), [
    ("flip", T.horizontal_flip),
    ("solarize", lambda x: T.solarize(x, 0.5)),
    ("gray", lambda x: T.rgb_to_grayscale(x, num_output_channels=3) if len(x) == 3 else x),
])  # fmt: skip
def test_what_is_certain_happens_to_all_and_what_has_half_a_chance_to_half(images, option, operation):
    certain = run(images, **{option: 1.0})
    for one, image in zip(certain, images / 255):
        torch.testing.assert_close(one, operation(image), rtol=0, atol=1e-5)
    if option == "gray" and images.shape[1] == 1:
        return
    many = images[:1].expand(600, -1, -1, -1)
    changed = (run(many, **{option: 0.5}) - many / 255).abs().flatten(1).max(dim=1).values > 0.01
    assert stats.binomtest(int(changed.sum()), 600, 0.5).pvalue > 1e-3


def test_views_of_another_size_are_the_crop_resized(rgb):
    images = (rgb * 255).byte()
    for one, image in zip(run(images, size=11), images):
        expected = T.resized_crop(image / 255, 0, 0, 16, 16, [11, 11], antialias=False)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(0, 0, 16, 16), (3, 5, 8, 4), (2, 1, 11, 13), (8, 8, 8, 8), (15, 0, 1, 16)])
def test_crop_and_resize_are_torchvisions_for_whole_boxes(rgb, box, flip):
    left, top, width, height = box
    share = [torch.full((12,), v / 16) for v in box]
    ours = resized_crop(rgb, *share, flip=torch.full((12,), flip), size=(16, 16))
    expected = T.resized_crop(rgb, top, left, height, width, [16, 16], antialias=False)
    expected = expected.flip(-1) if flip else expected
    # Near the box's border torchvision repeats the box's last pixel; we see the image beyond it.
    inner = []
    for length in (height, width):
        source = (torch.arange(16) + 0.5) * length / 16 - 0.5
        inner.append((source >= 0) & (source <= length - 1))
    rows, columns = inner[0], inner[1].flip(0) if flip else inner[1]
    if rows.any() and columns.any():
        torch.testing.assert_close(
            ours[:, :, rows][..., columns], expected[:, :, rows][..., columns], rtol=0, atol=1e-5
        )
    # The border sees at most half a pixel beyond the box.
    wide = torch.nn.functional.pad(rgb, (1, 1, 1, 1), mode="replicate")
    around = wide[:, :, top : top + height + 2, left : left + width + 2].flatten(2)
    assert bool((ours.flatten(2) <= around.max(2, keepdim=True).values + 1e-5).all())
    assert bool((ours.flatten(2) >= around.min(2, keepdim=True).values - 1e-5).all())


@pytest.mark.parametrize(("scale", "ratio"), [([0.08, 1.0], [0.75, 4 / 3]), ([0.5, 0.6], [0.3, 3.0])])
def test_boxes_are_distributed_as_torchvisions(scale, ratio):
    draws = randomness.uniform(0, "boxes", (torch.arange(4000),), CROP_DRAWS).T
    left, top, width, height = crop_boxes(draws, AugmentConfig(crop_scale=scale, crop_ratio=ratio))
    assert bool(((left >= 0) & (top >= 0) & (left + width <= 1 + 1e-6) & (top + height <= 1 + 1e-6)).all())
    torch.manual_seed(0)
    crop = RandomResizedCrop(1000, scale=scale, ratio=ratio)
    image = torch.empty(1, 1000, 1000)
    theirs = [crop.make_params([image]) for _ in range(4000)]
    oracle = np.array([[p["left"], p["top"], p["width"], p["height"]] for p in theirs]) / 1000
    ours = torch.stack([left, top, width, height], dim=1).numpy()
    for name, value in {
        "area": lambda b: b[:, 2] * b[:, 3],
        "ratio": lambda b: np.log(b[:, 2] / b[:, 3]),
        "left": lambda b: b[:, 0],
        "top": lambda b: b[:, 1],
    }.items():
        assert stats.ks_2samp(value(ours), value(oracle)).pvalue > 1e-3, name


def test_an_image_does_not_depend_on_the_batch_it_is_in(images):
    many = images.repeat(2 * _IN_CACHE // len(images) + 1, 1, 1, 1)
    config, ids = AugmentConfig(blur=0.5, solarize=0.5), torch.arange(len(many))
    whole = augment(many, config, seed=3, step=7, ids=ids, views=ids % 3)
    for some in (ids[:1], ids[5:9], ids[_IN_CACHE - 2 :]):
        alone = augment(many[some], config, seed=3, step=7, ids=some, views=some % 3)
        torch.testing.assert_close(alone, whole[some], rtol=0, atol=1e-6)


def test_boxes_that_never_fit_become_the_whole_image():
    boxes = crop_boxes(torch.full((CROP_DRAWS, 2), 0.9), AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[2.0, 3.0]))
    assert [b.tolist() for b in boxes] == [[0, 0], [0, 0], [1, 1], [1, 1]]


FULL = {
    "crop_scale": [0.08, 1.0],
    "crop_ratio": [0.75, 4 / 3],
    "flip": 0.5,
    "jitter": 0.8,
    "gray": 0.2,
    "blur": 0.5,
    "solarize": 0.2,
}


def test_views_stay_in_range_and_every_image_has_its_own(images):
    x = run(images[:1].expand(200, -1, -1, -1), **FULL)
    assert x.dtype == torch.float32
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    assert len(x.flatten(1).unique(dim=0)) == 200


def test_a_view_is_a_function_of_seed_step_image_and_number_alone(images):
    ids = torch.tensor([5, 900, 3, 70_000, 1, 2, 4, 6, 7, 8, 9, 10])
    whole = run(images, ids=ids, **FULL)
    for place in (0, 3, 11):
        alone = run(images[place : place + 1], ids=ids[place : place + 1], **FULL)
        torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=1e-5)
    turned = run(images.flip(0), ids=ids.flip(0), **FULL).flip(0)
    torch.testing.assert_close(turned, whole, rtol=0, atol=1e-5)
    for other in ({"step": 1}, {"views": 1}, {"seed": 1}):
        assert float((run(images, ids=ids, **FULL, **other) - whole).abs().mean()) > 0.01


def test_jitter_of_half_the_images_leaves_the_others(images):
    many = images[:1].expand(400, -1, -1, -1)
    changed = (run(many, jitter=0.8) - many / 255).abs().flatten(1).max(dim=1).values > 1e-4
    assert stats.binomtest(int(changed.sum()), 400, 0.8).pvalue > 1e-3


def test_crops_are_those_that_the_views_are_cut_by(images):
    ids, changes = torch.arange(12) + 30, {"crop_scale": [0.2, 1.0], "flip": 0.5}
    for number in (0, 1):
        names = {"seed": 3, "step": 5, "ids": ids, "views": torch.full_like(ids, number)}
        left, top, width, height, flip = draw_crops(AugmentConfig(**FULL | changes), **names)
        cut = resized_crop(images / 255, left, top, width, height, flip=flip, size=(16, 16))
        torch.testing.assert_close(
            cut, run(images, step=5, ids=ids, views=number, seed=3, **changes, crop_ratio=[0.75, 4 / 3])
        )
        assert 0 < int(flip.sum()) < 12
