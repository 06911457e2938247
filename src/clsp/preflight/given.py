"""A diffusion model that is there already, as a plan needs it: its own U-Net is timed, not the recipe's."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path

from diffusers import UNet2DModel

from clsp.diffusion.folder import load_diffusion
from clsp.diffusion.unet import Grid, padded_size
from clsp.errors import UserError
from clsp.images.imageset import Images


def given_unet(diffusion: str | None, channels: int) -> UNet2DModel | None:
    """The U-Net in a folder; None where there is none, of a hub id, and of a model for images of other channels.

    Args:
        diffusion: what ``--diffusion`` names.
        channels: of the images. The bank's stage says what does not fit, and how it would.

    Raises:
        UserError: the folder has no model that can be read.
    """
    if diffusion is None or not Path(diffusion).is_dir():
        return None
    unet, _ = load_diffusion(diffusion)
    with suppress(UserError):
        Grid.of(unet, channels)
        return unet
    return None


def own_side(unet: UNet2DModel | None, channels: int) -> int | None:
    """Pixels of a side of what the U-Net draws; None: there is none, or it draws any size."""
    return None if unet is None else Grid.of(unet, channels).side


def as_drawing(unet: UNet2DModel, images: Images) -> UNet2DModel:
    """A copy that says on how many places it draws for ``images``; its weights may get lost."""
    copied, grid = copy.deepcopy(unet).eval(), Grid.of(unet, images.channels)
    copied.register_to_config(sample_size=(grid.side or padded_size(images.size, grid.multiple)) // grid.patch)
    return copied
