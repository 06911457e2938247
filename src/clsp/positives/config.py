"""How the bank of synthetic positives is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BeforeValidator

from clsp.diffusion.config import AnchorNoise, SamplerName
from clsp.settings import Count, Fraction, Incidental, settings
from clsp.settings.types import PositiveFraction

if TYPE_CHECKING:
    from clsp.diffusion.interpolation import Sampling


def _as_word(value: Any) -> Any:
    """YAML reads an ``off`` without quotes as false."""
    return "off" if value is False else value


@settings
class SynthesizeConfig:
    """The bank: k candidates for every anchor. The defaults are the paper's."""

    anchors: Count | None = None
    """Train images that get candidates, chosen at random by the seed; null: all."""
    candidates: Count = 8
    """k, candidates an anchor."""
    interpolation_weight: Fraction = 0.1
    """w in [0, 1], the fraction of the random sample's own middle features; 0.1 is nine tenths anchor."""
    guidance_scale: Annotated[float, Ge(1)] = 1.0
    """s >= 1: go s times as far from the plain prediction as the anchor's features lead (classifier-free guidance's
    formula), for half a pass of the U-Net more a step. 1: none."""
    steps: Count = 100
    """Denoising steps; must divide the model's noise levels (1000: 10, 20, 25, 40, 50, 100, ...)."""
    sampler: SamplerName = "ddim"
    """The scheduler: the paper's ddim, or a solver of higher order, which has no eta."""
    eta: Fraction = 0.1
    """DDIM's noise, from 0 (deterministic) to 1 (ancestral)."""
    strength: PositiveFraction = 1.0
    """Share of the noise levels that a candidate passes: 1 starts from pure noise; below, from the noised image that
    ``start`` says, and only this fraction of the steps is taken."""
    start: Literal["anchor", "other"] = "anchor"
    """The image that a candidate with ``strength`` below 1 starts from. anchor: its anchor, so that it stays near to
    it; other: for every candidate another anchor at random, which stands for the background that the steps left out
    would have made."""
    anchor_noise: AnchorNoise = "fresh"
    """Noise of the anchor: fresh at every step and shared by its candidates; each: as fresh, but every candidate has
    its own, as the paper's code does: they differ by 6 to 10 % more, for up to half a pass of the U-Net more a
    candidate and step; fixed: one noise for all steps."""
    clip_sample: bool = False
    """Clamp the predicted clean image to [-1, 1] at every step; small models need it."""
    gate: Annotated[Literal["near", "plain", "stop", "off"], BeforeValidator(_as_word), Incidental] = "plain"
    """What is done where the bank is judged to be of no use, before an encoder is trained. near: go on without the
    arms that need it, and in a run with the nearest images by their pixels in the candidates' place; plain: likewise,
    with the method alone; stop: end there; off: train on it, and say so."""
    batch_size: Annotated[Count, Incidental] = 512
    """Candidates drawn at once; the bank does not depend on it."""
    shard_anchors: Annotated[Count, Incidental] = 1024
    """Anchors in a shard: what is lost at most when the run is killed. With another number an
    unfinished bank draws the shards anew that this changes."""
    precision: Annotated[Literal["auto", "32", "bf16"], Incidental] = "auto"
    """Precision of the U-Net; the sampler itself always computes in 32 bit."""

    def sampling(self) -> Sampling:
        """What of this the sampler needs to know."""
        from clsp.diffusion.interpolation import Sampling

        return Sampling(
            candidates=self.candidates,
            interpolation_weight=self.interpolation_weight,
            guidance_scale=self.guidance_scale,
            steps=self.steps,
            eta=self.eta,
            anchor_noise=self.anchor_noise,
            strength=self.strength,
        )
