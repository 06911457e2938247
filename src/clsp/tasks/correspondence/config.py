"""The settings of ``clsp dense``."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from clsp.encoders.config import BackboneConfig
from clsp.engine.hardware import HardwareConfig
from clsp.images.config import AugmentConfig, ImagesConfig
from clsp.recipes.recipe import AboutConfig
from clsp.settings import Count, Fraction, Incidental, NonNegative, Positive, settings
from clsp.settings.types import AtLeastTwo, NonNegativeInt, PositiveFraction
from clsp.settings.values import Tree, nested


@settings
class CycleConfig:
    """The way from a patch to another image and back (Xiao et al., arXiv 2109.10967).

    Coordinates go from -1 to 1, so the weights are not those of the authors' code, which counts pixels: its 5e-4 at 256
    pixels is 8 here.
    """

    weight: NonNegative = 8.0
    """Of the cycle beside the image-level contrast; 0: none, and nothing of this section is used."""
    temperature: Positive = 0.02
    """tau of both steps of the way; the authors take 0.0007 with 1024 channels."""
    side: PositiveFraction = 0.5
    """Side of the patch, as a fraction of the image's."""
    degrees: Annotated[float, Ge(0), Le(180)] = 10.0
    """By which a patch is turned at most, either way; half of the patches are mirrored."""
    other: Literal["nearest", "class", "candidate", "view"] = "nearest"
    """The other image of the way. nearest: the image whose features were nearest when the training began; class: any of
    the same label; candidate: what --positives gives, such as one of the anchor's in a bank; view: another view
    of the image itself."""


@settings
class MeasureConfig:
    """How it is measured: the training does not depend on it."""

    pairs: Count = 200
    """Warps, or pairs of a benchmark, on which it is measured, at most."""
    points: Count = 16
    """Points of a warp."""
    transport: bool = False
    """Whether matches are found by optimal transport."""
    hough: bool = False
    """Whether matches vote for a common shift."""
    time: NonNegativeInt = 100
    """Noise level at which a diffusion model's features are taken, of its own number of levels."""
    block: NonNegativeInt = 1
    """Which block of its decoder gives them, from the coarsest."""


@settings
class DenseConfig:
    """An encoder whose feature map says which place of an image is which place of another."""

    images: AtLeastTwo | None = None
    """Train images that serve, chosen at random by the seed; null: all."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    layer: Annotated[int, Lt(0)] = -2
    """Which of the backbone's stages, from the end, gives the feature map: -2 is the third of a ResNet's four."""
    cycle: CycleConfig = field(default_factory=CycleConfig)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop_scale=[0.2, 1.0]))
    epochs: NonNegativeInt = 20
    """Passes over the images; 0: nothing is trained, and the encoder is measured as it is."""
    batch_size: AtLeastTwo = 64
    """Images a step, over all processes together."""
    lr: Positive = 0.03
    """Learning rate of SGD with momentum 0.9; it falls along a cosine."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of all parameters."""
    warmup: Fraction = 0.05
    """Fraction of the training in which the learning rate rises."""
    temperature: Positive = 0.2
    """tau of the image-level contrast."""
    dim: Count = 128
    """Width of its embeddings."""
    measure: Annotated[MeasureConfig, Incidental] = field(default_factory=MeasureConfig)
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    log_every: Annotated[Count, Incidental] = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_minutes: Annotated[NonNegative, Incidental] = 5.0
    """Minutes between two checkpoints."""


@settings
class DenseRecipe:
    """All settings of ``clsp dense``."""

    about: AboutConfig = field(default_factory=AboutConfig)
    seed: int = 0
    """Names every random draw."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    dense: DenseConfig = field(default_factory=DenseConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    @staticmethod
    def sized(count: int, *, accelerated: bool) -> Tree:
        """What the recipe ``folder`` asks for: values that follow from the number of images.

        Args:
            count: train images.
            accelerated: whether there is a GPU.
        """
        return nested({"dense.batch_size": max(2, min(64, 1 << (max(count // 2, 2).bit_length() - 1)))})


RECIPE = DenseRecipe
