"""The unconditional diffusion model: its size, its noise schedule, its training."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from clsp.settings import Count, Fraction, Incidental, NonNegative, Positive, settings
from clsp.settings.types import AtLeastEight, AtLeastTwo, Counts, Interval, NonNegativeInt, PositiveFraction

SamplerName = Literal["ddim", "dpmsolver++", "sde-dpmsolver++", "unipc", "deis"]
"""ddim: the paper's, with eta; the others are solvers of higher order that need fewer steps and have no eta."""

AnchorNoise = Literal["fresh", "each", "fixed"]
"""fresh: the anchor is noised anew at every step, once for all its candidates; each: and for each of them by itself, as
the reference does; fixed: with one noise for all steps."""

PredictionName = Literal["epsilon", "v_prediction"]
"""diffusers' words for what the U-Net predicts."""


@settings
class DiffusionConfig:
    """The diffusion model and its training; the defaults are the paper's CIFAR-10 settings (35.7 M parameters)."""

    weights: Annotated[str | None, Incidental] = None
    """Start from the averaged weights of a model of the same shape: the folder of a trained diffusion model or of a
    run; null: random ones. What was read is named by its hash. The optimiser and the schedule begin anew."""
    condition: Annotated[str | None, Incidental] = None
    """An encoder, whose embedding of an image tells the model what to draw: the folder of a run or of an encoder. What
    was read is named by its hash. Candidates are then drawn from their anchors' embeddings, and
    ``synthesize.interpolation_weight 1`` mixes nothing besides. null: an unconditional model, as the paper has it."""
    condition_dropout: Fraction = 0.1
    """Fraction of the images of a step of which a model with a condition is told nothing, so that it can be guided
    (synthesize.guidance_scale)."""
    images: AtLeastTwo | None = None
    """Train images that teach the model, chosen at random by the seed; null: all."""
    size: AtLeastEight | None = None
    """Side in pixels at which the model learns and draws, if the images are larger: they are brought to it, and the
    candidates back to the images' size. The cost grows with its square. It must be a multiple of what the levels halve.
    null: the images' own."""
    widths: Counts = field(default_factory=lambda: [128, 256, 256, 256])
    """Channels of the U-Net's levels; each level halves the image."""
    patch: Count = 1
    """Side of the squares of pixels that the U-Net sees as channels of one place: with 2 its finest level has a quarter
    of the places and 4 times the inputs. A power of 2. What diffusers' own pipeline draws with such a model is unfolded
    by ``torch.nn.functional.pixel_shuffle``."""
    blocks: Count = 2
    """Residual blocks a level."""
    attention: list[NonNegativeInt] = field(default_factory=lambda: [1])
    """Levels (0 is the finest) that have self-attention; the middle block always has it."""
    head_width: Count | None = None
    """Channels of one attention head; null: one head."""
    norm_groups: Count = 32
    """Groups of the group normalisation; must divide every width."""
    dropout: Fraction = 0.1
    """Dropout in the residual blocks while training; sampling never drops."""
    timesteps: Count = 1000
    """Noise levels T of the forward process."""
    beta_start: Positive = 1e-4
    """First beta of the linear schedule."""
    beta_end: Positive = 0.02
    """Last beta of the linear schedule."""
    prediction_type: PredictionName = "epsilon"
    """What the model predicts: the noise, or v = sqrt(abar) noise - sqrt(1 - abar) x (Salimans and Ho, 2202.00512)."""
    min_snr_gamma: Positive | None = None
    """Cut the weight that a noise level has in the loss at this signal-to-noise ratio (Hang et al., arXiv 2303.09556:
    5), so that levels with little noise do not crowd out the others; null: the plain loss of the prediction."""
    stratified_levels: bool = False
    """Spread a batch's noise levels evenly over all of them, from a random start (Kingma et al., arXiv
    2107.00630: low-discrepancy sampler), which takes noise out of the gradient of a small batch; false: every image's
    level is drawn by itself, as the paper does."""
    dispersive: NonNegative = 0.0
    """Weight of a loss that keeps the middle features of a batch's images apart (Wang and He, arXiv 2506.09027), the
    features that candidates are mixed from; 0: none."""
    max_strength: PositiveFraction = 1.0
    """Largest ``synthesize.strength`` that the model is to draw with: only the noise levels below this fraction are
    trained. Candidates that start from a noised image never see the others. 1: all; a model of fewer cannot start from
    noise, nor can diffusers' own pipeline draw with it."""
    steps: Count = 194_000
    """Optimiser steps."""
    batch_size: Count = 512
    """Images a step, over all processes together."""
    lr: Positive = 2e-4
    """Learning rate of AdamW (no weight decay), after the warm-up."""
    warmup_steps: NonNegativeInt = 5000
    """Steps in which the learning rate rises linearly from 0, at most half of all."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate after the warm-up: constant, or a cosine down to 0."""
    gradient_clip: Positive = 1.0
    """Largest norm of the gradient."""
    ema_decay: Fraction = 0.9999
    """Decay of the averaged weights, which are the ones saved; early in training min(decay, (1 + n) / (10 + n))."""
    horizontal_flip: bool = True
    """Flip half of the images (not for digits and letters)."""
    crop_scale: Interval = field(default_factory=lambda: [1.0, 1.0])
    """Smallest and largest area of a random crop, as fractions of the image, that the model learns in its place, for
    few images. [1, 1]: the whole images."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    sample_every: Annotated[NonNegativeInt, Incidental] = 5000
    """Steps between two sheets of samples; 0: only at the end."""
    checkpoint_minutes: Annotated[NonNegative, Incidental] = 5.0
    """Minutes between two checkpoints: at most this much work is lost when the run is killed."""

    def unused(self) -> set[str]:
        """Settings that belong to another choice."""
        return set() if self.condition else {"condition_dropout"}
