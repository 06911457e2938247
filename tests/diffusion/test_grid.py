"""Images enter the U-Net's grid and leave it as they were."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clsp.diffusion.unet import Grid, padded_size


@pytest.mark.parametrize(
    ("size", "levels", "padded"), [(7, 3, 8), (30, 3, 32), (8, 3, 8), (1, 2, 2), (28, 4, 32), (5, 1, 5)]
)
def test_an_image_leaves_the_grid_as_it_entered_and_padding_repeats_the_border(size, levels, padded):
    images, grid = torch.rand(2, 3, size, size + 2), Grid(levels)
    wide = grid.enter(images)
    assert wide.shape[-2] == padded
    assert wide.shape[-1] % 2 ** (levels - 1) == 0
    assert torch.equal(grid.leave(wide, (size, size + 2)), images)
    assert torch.equal(wide[..., -1, :].unique(), images[..., -1, :].unique())


@pytest.mark.parametrize(
    ("size", "levels", "patch", "places"), [(7, 2, 2, 4), (28, 2, 2, 14), (28, 3, 2, 16), (9, 1, 4, 3)]
)
def test_patches_become_channels_of_one_place(size, levels, patch, places):
    images, grid = torch.rand(2, 3, size, size), Grid(levels, patch)
    folded = grid.enter(images)
    assert folded.shape == (2, 3 * patch**2, places, places)
    assert torch.equal(grid.leave(folded, (size, size)), images)
    middle, offset = places // 2, (places * patch - size) // 2
    rows = slice(middle * patch - offset, (middle + 1) * patch - offset)
    assert torch.equal(folded[:, :, middle, middle].unflatten(1, (3, -1)), images[..., rows, rows].flatten(2))


@pytest.mark.parametrize(("size", "inner"), [((32, 32), (16, 16)), ((9, 9), (16, 16)), ((40, 24), (16, 10))])
def test_images_of_another_size_than_the_unets_are_resized_to_it_and_back(size, inner):
    images, grid = smooth_images(size), Grid(2, side=16)
    entered = grid.enter(images)
    assert entered.shape[-2:] == (16, padded_size(inner[1], 2))
    left = (entered.shape[-1] - inner[1]) // 2
    expected = F.interpolate(images, inner, mode="bicubic", antialias=True)
    for channel in range(3):
        of_image = images[0, channel]
        bounded = expected[0, channel].clamp(of_image.min(), of_image.max())
        torch.testing.assert_close(entered[0, channel, :, left : left + inner[1]], bounded)
    back = grid.leave(entered, size)
    assert back.shape == images.shape
    torch.testing.assert_close(back, images, atol=0.12, rtol=0.0)


def smooth_images(size):
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    return torch.stack((torch.sin(2 * x), torch.cos(2 * y), x * y))[None] * 0.9


def test_resizing_makes_nothing_darker_or_brighter_than_the_image():
    edges = torch.full((1, 1, 24, 24), 0.9)
    edges[..., ::5] = -0.8
    grid = Grid(2, side=16)
    entered = grid.enter(edges)
    for images in (entered, grid.leave(entered, (24, 24))):
        assert -0.8 <= float(images.min()) < float(images.max()) <= 0.9


@pytest.mark.parametrize("size", [7, 9, 16])
def test_anchors_of_odd_sizes_come_back_in_their_size(draw, unet, settings, size):
    images = draw(unet, settings, torch.rand(2, 1, size, size), (0, 1))
    assert images.shape == (2, 3, 1, size, size)
