"""The settings of ``clsp index``."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from clsp.encoders.config import BackboneConfig
from clsp.engine.hardware import HardwareConfig
from clsp.images.config import AugmentConfig, ImagesConfig
from clsp.recipes.recipe import AboutConfig
from clsp.settings import Count, Fraction, Incidental, NonNegative, Positive, settings
from clsp.settings.types import AtLeastTwo, NonNegativeInt
from clsp.settings.values import Tree, nested


@settings
class QuantiserConfig:
    """Product quantisation: parts of an embedding, each replaced by the nearest of some words (MeCoQ's layout)."""

    bits: Literal[8, 16, 24, 32, 48, 64, 96, 128] = 64
    """Bits of an image's code: 8 for each part of its embedding, whose codebook has 256 words."""
    width: Count = 16
    """Values of a part."""
    hardness: Positive = 10.0
    """alpha: while training a part is the mean of the words, weighted by the softmax of alpha times their cosines."""

    @property
    def parts(self) -> int:
        """Parts of an embedding."""
        return int(self.bits) // 8


@settings
class ClipConfig:
    """Negatives that are left out because they look like positives (TransClippedCLR, arXiv 2401.15362).

    The paper's own rule and numbers were not to be had: these are choices.
    """

    count: NonNegativeInt = 0
    """Most similar negatives that each view leaves out. With C classes of equal size, about a C-th of them show the
    same thing."""
    threshold: Annotated[float, Ge(-1), Le(1)] | None = None
    """Cosine above which a negative is left out; null: none is for that."""


@settings
class IndexConfig:
    """An index: an encoder and its quantiser, trained together on views of the images, and the code of every image."""

    images: AtLeastTwo | None = None
    """Train images that the quantiser learns from, chosen at random by the seed; null: all. All are indexed."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    quantiser: QuantiserConfig = field(default_factory=QuantiserConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop_scale=[0.5, 1.0]))
    epochs: NonNegativeInt = 20
    """Passes over the images; 0: words that were fitted to the encoder's features, and nothing else (plain PQ)."""
    batch_size: AtLeastTwo = 256
    """Images a step, over all processes together."""
    lr: Positive = 0.05
    """Learning rate of the quantiser, SGD with momentum 0.9; it falls along a cosine."""
    encoder_lr: NonNegative = 0.1
    """Times that rate for the encoder; 0 leaves it as it is."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of all parameters."""
    temperature: Positive = 0.3
    """tau of the contrastive loss between quantised views."""
    entropy: NonNegative = 0.0
    """Weight of the entropy of a part's choice among the words: it makes choices clear (MeCoQ: 0.05 to 2)."""
    codebook: NonNegative = 0.1
    """Weight of the mean cosine between the words of a codebook: it keeps them apart (MeCoQ: 0.5)."""
    positive_weight: NonNegative = 1.0
    """lambda: weight of the pull of a candidate, where --positives names them."""
    queries: Count = 1000
    """Test images that search, at most, where labels can tell what is found."""
    first: Count = 1000
    """Results of a query that count in mAP@FIRST."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    log_every: Annotated[Count, Incidental] = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_minutes: Annotated[NonNegative, Incidental] = 5.0
    """Minutes between two checkpoints."""
    warmup: Fraction = 0.05
    """Fraction of the training in which the learning rate rises."""


@settings
class RetrievalRecipe:
    """All settings of ``clsp index``."""

    about: AboutConfig = field(default_factory=AboutConfig)
    seed: int = 0
    """Names every random draw."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    @staticmethod
    def sized(count: int, *, accelerated: bool) -> Tree:
        """What the recipe ``folder`` asks for: values that follow from the number of images.

        Args:
            count: train images.
            accelerated: whether there is a GPU.
        """
        return nested({"index.batch_size": max(2, min(256, 1 << (max(count // 2, 2).bit_length() - 1)))})


RECIPE = RetrievalRecipe
