"""The settings of ``clsp text``."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from clsp.encoders.config import BackboneConfig
from clsp.engine.hardware import HardwareConfig
from clsp.images.config import AugmentConfig, ImagesConfig
from clsp.recipes.recipe import AboutConfig
from clsp.settings import Count, Fraction, Incidental, NonNegative, Positive, settings
from clsp.settings.types import AtLeastTwo, PositiveFraction, ProperFraction
from clsp.settings.values import Tree, nested


@settings
class TowerConfig:
    """The text encoder: a transformer over subword tokens, which are learnt from the captions."""

    pretrained: Annotated[str | None, Incidental] = None
    """A text encoder of transformers in its place, with its own tokens: a folder, or a model of the hub, such as
    sentence-transformers/all-MiniLM-L6-v2. What was read is named by its hash. null: a small one of random weights."""
    frozen: bool = False
    """Whether a pretrained one stays as it is, so that only its projection learns."""
    lr_factor: PositiveFraction = 0.1
    """Learning rate of a pretrained one, as a fraction of the others'."""
    vocabulary: Count = 4096
    """Tokens at most (byte-pair encoding)."""
    length: Count = 32
    """Tokens of a caption; what is longer is cut off."""
    width: Count = 128
    """Width of the transformer."""
    layers: Count = 3
    """Its layers."""
    heads: Count = 4
    """Its heads; they share the width."""

    def unused(self) -> set[str]:
        """The settings of the other kind of tower."""
        own = {"vocabulary", "width", "layers", "heads"}
        return {"frozen", "lr_factor"} if self.pretrained is None else own | ({"lr_factor"} if self.frozen else set())


@settings
class ProgressiveConfig:
    """Soft targets from the model itself, for a growing part of the batch (Andonian et al., arXiv 2204.04588).

    The authors' values were not to be had: these are choices.
    """

    first: Fraction = 0.0
    """Fraction of the batch with soft targets when the training begins. Both 0: CLIP."""
    last: Fraction = 0.0
    """When it ends; in between it grows evenly."""
    partition: Literal["random", "score"] = "random"
    """Which rows: random ones, or those whose own pair the model finds least alike."""
    swapped: bool = False
    """Whether each way learns what the other one says."""
    sharpness: Positive = 1.0
    """Times the model's own scale, of the targets; above 1 they are clearer."""


@settings
class TextConfig:
    """An image and a text encoder, trained so that an image and its caption are alike."""

    images: AtLeastTwo | None = None
    """Captioned train images that serve, chosen at random by the seed; null: all."""
    column: str = "caption"
    """The column of captions in the table of the images; where there is none, a NAME.txt beside each NAME.png is read,
    and else captions are made from the class names by ``templates``. ``label``: they are made so in any case."""
    templates: list[str] = field(default_factory=lambda: ["a picture of {}", "a photo of {}", "{}", "this is {}"])
    """Sentences for class names, in zero-shot classification."""
    shuffled: ProperFraction = 0.0
    """Fraction of the train captions that are exchanged among each other, to measure how well a training bears it."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    tower: TowerConfig = field(default_factory=TowerConfig)
    progressive: ProgressiveConfig = field(default_factory=ProgressiveConfig)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop_scale=[0.5, 1.0], jitter=0.0, gray=0.0))
    dim: Count = 128
    """Width of the embeddings that images and texts share."""
    epochs: Count = 30
    """Passes over the images."""
    batch_size: AtLeastTwo = 128
    """Pairs a step, over all processes together."""
    lr: Positive = 5e-4
    """Learning rate of AdamW, after the warm-up; it falls along a cosine."""
    weight_decay: NonNegative = 0.1
    """Weight decay of the matrices."""
    warmup: Fraction = 0.05
    """Fraction of the training in which the learning rate rises."""
    smoothing: ProperFraction = 0.0
    """Label smoothing, for comparison."""
    positive_weight: NonNegative = 1.0
    """lambda: weight of the same contrast between a caption and a candidate, where --positives names them."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    log_every: Annotated[Count, Incidental] = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_minutes: Annotated[NonNegative, Incidental] = 5.0
    """Minutes between two checkpoints."""


@settings
class TextRecipe:
    """All settings of ``clsp text``."""

    about: AboutConfig = field(default_factory=AboutConfig)
    seed: int = 0
    """Names every random draw."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    text: TextConfig = field(default_factory=TextConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    @staticmethod
    def sized(count: int, *, accelerated: bool) -> Tree:
        """What the recipe ``folder`` asks for: values that follow from the number of images.

        Args:
            count: labelled train images, or all.
            accelerated: whether there is a GPU.
        """
        small = {"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128], "stem_type": "deep", "stem_width": 8}
        batch = max(2, min(128, 1 << (max(count // 4, 2).bit_length() - 1)))
        return nested({"text.batch_size": batch, **({} if accelerated else {"text.backbone.args": small})})


RECIPE = TextRecipe
