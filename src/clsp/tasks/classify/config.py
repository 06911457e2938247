"""The settings of ``clsp classify``."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from clsp.encoders.config import BackboneConfig
from clsp.engine.hardware import HardwareConfig
from clsp.images.config import AugmentConfig, ImagesConfig
from clsp.objectives.consistency import Divergence
from clsp.recipes.recipe import AboutConfig
from clsp.settings import Count, Fraction, Incidental, NonNegative, Positive, settings
from clsp.settings.types import AtLeastTwo, ProperFraction
from clsp.settings.values import Tree, nested


@settings
class ConsistencyConfig:
    """Neighbour consistency (NCR, Iscen et al., arXiv 2202.02200); the defaults are its code's for mini-ImageNet."""

    weight: ProperFraction = 0.0
    """alpha: the loss is (1 - alpha) times the cross entropy plus alpha times the consistency. 0: none; the authors
    take 0.3, and up to 0.9 on some sets."""
    after: Fraction = 0.08
    """Fraction of the training after which it begins: features have to mean something first (10 of 130 epochs)."""
    neighbours: Count = 10
    """k: images of the batch whose predictions an image is to agree with. The authors take 10 of 128 up to a fifth of
    wrong labels, 100 at two fifths, 5 at four fifths."""
    temperature: Positive = 2.0
    """T of the softmax of all predictions."""
    power: Positive = 1.0
    """Power of the similarities that weigh the neighbours."""
    divergence: Divergence = "forward"
    """forward: T^2 KL(neighbours || image), as the authors' code computes it; reverse: KL(image || neighbours), as the
    paper prints it."""
    detach: bool = False
    """Whether no gradient reaches the neighbours; the authors let it."""


@settings
class NoiseConfig:
    """Labels that are made wrong on purpose, to measure how well a training bears it."""

    kind: Literal["none", "symmetric", "asymmetric"] = "none"
    """symmetric: a wrong label is any other class, all equally likely; asymmetric: the class that ``map`` says."""
    rate: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Fraction of the labels that are made wrong; of an asymmetric noise, of the classes that ``map`` names."""
    map: dict[str, str] = field(default_factory=dict)
    """Which class is taken for which: {Shirt: T-shirt, Sneaker: Ankle boot}; classes by name or number."""


@settings
class ClassifyConfig:
    """A classifier that is trained end to end, and the list of labels that are probably wrong."""

    images: AtLeastTwo | None = None
    """Labelled train images that serve, chosen at random by the seed; null: all."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(crop_scale=[0.5, 1.0], flip=0.5, jitter=0.0, gray=0.0)
    )
    epochs: Count = 60
    """Passes over the images."""
    batch_size: AtLeastTwo = 128
    """Images a step, over all processes together; neighbours are looked for among them."""
    lr: Positive = 0.1
    """Learning rate of SGD with momentum 0.9."""
    encoder_lr: NonNegative = 1.0
    """Times that rate for the encoder where it was pretrained: 1 trains it as the head, 0 leaves it as it is."""
    weight_decay: NonNegative = 5e-4
    """Weight decay of all parameters."""
    warmup: Fraction = 0.05
    """Fraction of the training in which the learning rate rises; then a cosine takes it to 0."""
    label_smoothing: ProperFraction = 0.0
    """Fraction of a label's weight that is shared out among all classes, for comparison."""
    mixup: NonNegative = 0.0
    """alpha of the Beta distribution of mixup, which mixes images and labels in pairs (Zhang et al., arXiv 1710.09412);
    0: none."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    log_every: Annotated[Count, Incidental] = 10
    """Steps between two lines of metrics.jsonl."""
    checkpoint_minutes: Annotated[NonNegative, Incidental] = 5.0
    """Minutes between two checkpoints."""


@settings
class ClassifyRecipe:
    """All settings of ``clsp classify``."""

    about: AboutConfig = field(default_factory=AboutConfig)
    seed: int = 0
    """Names every random draw."""
    images: ImagesConfig = field(default_factory=ImagesConfig)
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    @staticmethod
    def sized(count: int, *, accelerated: bool) -> Tree:
        """What the recipe ``folder`` asks for: values that follow from the number of labelled images.

        Args:
            count: labelled train images.
            accelerated: whether there is a GPU.
        """
        batch = max(2, min(128, 1 << (max(count // 4, 2).bit_length() - 1)))
        if accelerated:
            return nested({"classify.batch_size": batch, "classify.epochs": 130})
        small = {"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128], "stem_type": "deep", "stem_width": 8}
        epochs = int(min(max(300_000 // max(count, 1), 20), 100))
        return nested({"classify.batch_size": batch, "classify.epochs": epochs, "classify.backbone.args": small})


RECIPE = ClassifyRecipe
