"""How images are read, and how views of them are drawn."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from clsp.settings import Count, Fraction, Incidental, NonNegative, settings
from clsp.settings.types import AtLeastEight, AtLeastTwo, Interval, NonNegativeInt, Side, rule

MOST_CHANNELS = 16
"""More channels than this are refused."""

Channels = Annotated[int, Ge(1), Le(MOST_CHANNELS)]
Scale = Annotated[
    list[float], rule("two numbers, the smaller one first: [0, 4095]", lambda v: len(v) == 2 and v[0] < v[1])
]
"""Two numbers, the smaller one first."""


@settings
class ImagesConfig:
    """How images are read and which serve as anchors."""

    size: Side | None = None
    """Height and width in pixels that every image is brought to (shorter side resized, centre cropped);
    null: the images' own shorter side where all agree on one of at most 256, else 32, 64, 96, 128 or 224,
    whichever is next below its median (32 where none is)."""
    channels: Channels | None = None
    """1 (gray), 3 (RGB), or the number of bands, up to 16; null: the images' own, 1 where every image is gray, 3 where
    some are colour. A smaller number than the files have takes their first bands."""
    range: Scale | None = None
    """Values of 16-bit and 32-bit integers and floats that become black and white: [0, 4095]; null: from 0 to the next
    of 8, 10, 12, 14 and 16 bits (floats: to 1, 255 or 65535) that holds the whole set, or the set's own range."""
    background: Literal["auto", "white", "black", "gray"] = "auto"
    """What transparent images are laid on; auto: white, unless drawings vanish on it, for the whole set."""
    labels: str = "auto"
    """auto: labels are read from the source; of a folder from metadata.csv or labels.csv there, else from folder names
    in the layouts train/CLASS/x.png with test/CLASS/x.png, and CLASS/x.png; none: labels are ignored; else a file of
    labels (CSV, TSV or JSONL), as FILE, FILE:COLUMN or FILE:IMAGE_COLUMN,LABEL_COLUMN."""
    limit: AtLeastTwo | None = None
    """Use this many images of the train part, chosen at random by the seed; null: all."""
    max_pixels: Count = 64_000_000
    """Files with more pixels are left out (a guard against decompression bombs)."""
    store: Annotated[str, Incidental] = "auto"
    """Where decoded images are kept, so that no later command decodes them again: auto: in the user's cache folder
    (CLSP_CACHE says another), at most 20 GB of them; none: nowhere but in a run's own folder; else a folder."""


@settings
class AugmentConfig:
    """What a random view may change; the defaults are CLSP-SimCLR's for CIFAR."""

    size: AtLeastEight | None = None
    """Height and width of a view in pixels; null: the image's. A crop enlarges what it shows, so that smaller views
    show things about as large as the whole images do that the encoder is used on later (FixRes, arXiv 1906.06423), and
    take less time. For backbones that take any size."""
    crop_scale: Interval = field(default_factory=lambda: [0.08, 1.0])
    """Smallest and largest area of the crop, as fractions of the image."""
    crop_ratio: Interval = field(default_factory=lambda: [0.75, 4 / 3])
    """Smallest and largest aspect ratio (width / height) of the crop."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    jitter: Fraction = 0.8
    """Probability of a change of colours."""
    brightness: NonNegative = 0.4
    """The factor is drawn from [1 - b, 1 + b]."""
    contrast: NonNegative = 0.4
    """Likewise."""
    saturation: NonNegative = 0.4
    """Likewise; changes RGB images alone."""
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.1
    """The shift is drawn from [-h, h] of the colour circle; changes RGB images alone."""
    gain: Annotated[float, Ge(0), Le(1)] = 0.0
    """The factor of each channel by itself is drawn from [1 - g, 1 + g], where the colours are changed: for images of
    several bands, which have neither saturation nor hue."""
    gray: Fraction = 0.2
    """Probability of a conversion to gray; changes RGB images alone."""
    blur: Fraction = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma: Interval = field(default_factory=lambda: [0.1, 2.0])
    """Smallest and largest standard deviation of the blur, in pixels."""
    solarize: Fraction = 0.0
    """Probability of inverting the pixels above one half."""
    local_crops: NonNegativeInt = 0
    """Further, smaller views of every image (multi-crop, arXiv 2006.09882), for the methods that
    take them: swav, dino and lejepa."""
    local_size: AtLeastEight | None = None
    """Height and width of such a view in pixels; null: 3/7 of a whole view's (96 of 224), at least 8."""
    local_scale: Interval = field(default_factory=lambda: [0.05, 0.14])
    """Smallest and largest area of such a view's crop, as fractions of the image (DINO's for a ResNet-50, which
    has crop_scale [0.14, 1.0] for the whole views)."""

    def local_side(self, size: int) -> int:
        """Height and width of a local crop of images of ``size`` pixels."""
        return self.local_size or max(8, round((self.size or size) * 3 / 7))
