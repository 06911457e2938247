"""How much of everything a time suffices for, by what the steps of the stages take on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clsp.images.imageset import Images, Split
from clsp.preflight.given import given_unet, own_side
from clsp.preflight.gpus import GPU, UTILISATION
from clsp.recipes.arms import Arm
from clsp.recipes.fit import needs_generator
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.recipes.sizing import Extent, size_to_data, usual_extent
from clsp.settings.values import flat, merge, nested

if TYPE_CHECKING:
    from clsp.preflight.stages import Stage

SIZES = (16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224)
"""Sides in pixels that images are brought to, the largest that the time suffices for."""

GENERATOR = 0.4
"""Fraction of the trainings' time that the diffusion model gets."""

ENOUGH = Extent(images=4000, steps=1600, epochs=40)
"""What a run does at least before its images become larger; the steps are those of a diffusion model of `_SIDE` pixels,
and larger ones need more by their side. After 3,349 steps of 40 pixels drawings passed the gate (studies/time), after
3,416 of 56 pixels they failed it (studies/time-before)."""

_SIDE = 24

_LONGEST = Extent(images=100_000, steps=60_000, epochs=400)
"""Beyond it more time is not known to help."""

OVER = 1.05
"""Times its time that a plan may take and count as one that fits: whole steps and epochs do not hit it exactly."""

_FIXED, _EACH = 30.0, 10.0
"""Seconds that reading, pictures and the report take, and those of an evaluation besides its features."""


@dataclass(frozen=True)
class Units:
    """Seconds on this machine, at one size of images."""

    side: int
    """Pixels of a side of what the diffusion model draws."""
    view: int
    """Pixels of a side of an encoder's views."""
    step: float
    """Of a step of the diffusion model."""
    anchor: float
    """Of drawing the candidates of an anchor."""
    passes: dict[str, float]
    """Of an anchor in an epoch, by the arm's name."""
    rated: float
    """Of an image's features."""


class Fitting:
    """What the choice is made from.

    Args:
        given: nested settings that hold, whatever is chosen.
        seen: the images at their own size.
        accelerated: whether there is a GPU.
        gpu: a GPU by name that is planned for; None: this machine.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        seen: Images,
        *,
        accelerated: bool,
        gpu: GPU | None = None,
        diffusion: str | None = None,
    ) -> None:
        self.given, self.seen, self.accelerated, self.gpu = given, seen, accelerated, gpu
        self.measured: dict[int, Units] = {}
        recipe = self.recipe(self.sizes[0], ENOUGH)
        self.draws = needs_generator(recipe, recipe.arms())
        """Whether a bank is drawn."""
        self.own_model = self.draws and diffusion is None
        """Whether a diffusion model is trained."""
        self.unet = given_unet(diffusion, seen.channels) if self.draws else None
        """The U-Net that is there, where it is known."""
        own = lengths_given(given, recipe)
        self.lengths = {name: length for name, length in own.items() if name != "diffusion" or self.own_model}
        """Steps of the diffusion model and epochs of arms that were given."""

    @property
    def sizes(self) -> list[int]:
        """The sizes to choose from, the smallest first: none is larger than the images."""
        recipe = load_recipe("folder", self.given)
        side = self.seen.size
        return [recipe.images.size] if recipe.images.size else sorted({*(size for size in SIZES if size < side), side})

    def recipe(self, size: int, extent: Extent) -> Recipe:
        """The recipe of a run."""
        count, channels = len(self.seen.train), self.seen.channels
        sized = size_to_data("folder", count, size, channels=channels, accelerated=self.accelerated, extent=extent)
        return load_recipe("folder", self.given, merge(Recipe, sized, nested({"images.size": size})))

    def arms(self, recipe: Recipe) -> list[Arm]:
        """What is trained."""
        return [arm for arm in recipe.arms() if arm.trains]

    def choose(self, seconds: float, *, measure: bool = True) -> tuple[int, Extent, dict[str, float]]:
        """The largest size for which ``seconds`` suffice, with as much of everything as there is time for.

        Args:
            seconds: of the whole run.
            measure: whether sizes that were not measured may be; else they are reckoned from one that was.

        Returns:
            The images' side, how much is done, and the planned seconds of every stage.
        """
        sizes = self.sizes
        if measure and not self.measured:
            self.units(sizes[0])
        size = self._largest(seconds, sizes)
        while measure and size not in self.measured:  # what was reckoned is measured, until it is what is chosen
            self.units(size)
            size = self._largest(seconds, sizes)
        units = self._scaled(size)
        extent = self.extent(units, seconds)
        return size, extent, self.planned(units, self.recipe(size, extent))

    def _largest(self, seconds: float, sizes: list[int]) -> int:
        units = [self._scaled(size) for size in sizes]
        least = units[0].side, units[0].view  # what costs no more than the smallest size
        cheapest = [(one.side, one.view) == least for one in units]
        return max(
            size
            for size, one, cheap in zip(sizes, units, cheapest)
            if cheap or (self._suffices(one, seconds) and self._holds(size, one, seconds))
        )

    def _holds(self, size: int, units: Units, seconds: float) -> bool:
        """Whether the lengths that were given fit into the time."""
        if not self.lengths:
            return True
        planned = self.planned(units, self.recipe(size, self.extent(units, seconds)))
        return sum(planned.values()) <= OVER * seconds

    def _suffices(self, units: Units, seconds: float) -> bool:
        found, least = self._free_extent(units, seconds), min(ENOUGH.images, len(self.seen.train))
        steps = _enough_steps(units) if self.own_model else 0
        return found.steps >= steps and found.images * found.epochs >= least * ENOUGH.epochs

    def extent(self, units: Units, seconds: float) -> Extent:
        """How much there is time for."""
        found, usual = self._free_extent(units, seconds), usual_extent(10_000, accelerated=self.accelerated)
        steps = min(max(found.steps, 8), max(_LONGEST.steps, usual.steps))
        return Extent(found.images, steps, min(max(found.epochs, 1), max(_LONGEST.epochs, usual.epochs)))

    def _free_extent(self, units: Units, seconds: float) -> Extent:
        """How much there is time for beside what was given, which goes before it."""
        count, every = len(self.seen.train), sum(units.passes.values())
        held = {name: self.lengths[name] * one for name, one in units.passes.items() if name in self.lengths}
        free = every - sum(units.passes[name] for name in held)
        images, given = min(count, _LONGEST.images), sum(held.values())
        for _ in range(3):  # fewer images leave time for others; it settles at once
            left = max(seconds - self._rest(units, images) - (images * units.anchor if self.draws else 0.0), 0.0)
            encoders = max(left - self._model(units, left), 0.0)
            least = max(min(count, ENOUGH.images) / 2, 2)
            images = int(min(count, max(encoders / (given + free * ENOUGH.epochs), least), _LONGEST.images))
        epochs = (
            max(encoders / images - given, 0.0) / free if len(held) < len(units.passes) else encoders / images / every
        )
        if not self.own_model:
            return Extent(images, 0, int(epochs))
        beside = max((left - images * given) / units.step, _enough_steps(units))  # what given epochs leave
        return Extent(images, int(min(GENERATOR * left / units.step, beside)), int(epochs))

    def _model(self, units: Units, left: float) -> float:
        """Seconds of the diffusion model, of those that are left for it and the encoders."""
        if not self.own_model:
            return 0.0
        return self.lengths["diffusion"] * units.step if "diffusion" in self.lengths else GENERATOR * left

    def planned(self, units: Units, recipe: Recipe) -> dict[str, float]:
        """Seconds of every stage of a recipe."""
        count = len(self.seen.train)
        anchors, trained = _used(recipe, count, draws=self.draws)
        arms = {
            arm.name: units.passes[arm.name] * trained * recipe.pretraining(arm).epochs for arm in self.arms(recipe)
        }
        steps = recipe.diffusion.steps if self.own_model else 0
        generator = {"diffusion": steps * units.step, "bank": anchors * units.anchor if self.draws else 0.0}
        return {**generator, **arms, "rest": self._rest(units, trained)}

    def _rest(self, units: Units, images: int) -> float:
        """Seconds of all that is neither the generator nor an encoder's training."""
        test = 0 if self.seen.test is None else len(self.seen.test)
        features = (min(images, 10_000) + test) * units.rated
        if self.seen.train.labels is None:
            return _FIXED + features
        epochs = load_recipe("folder", self.given).evaluate.classifier_epochs  # of the judge, forward and backward
        return _FIXED + len(units.passes) * (features + _EACH) + 3 * epochs * min(images, 20_000) * units.rated

    def units(self, size: int) -> Units:
        """Measure what the stages take at a size; on a GPU by name, reckon it from their FLOPs."""
        from clsp.preflight.stages import Plan, plan_stages

        extent = Extent(min(len(self.seen.train), ENOUGH.images), ENOUGH.steps, ENOUGH.epochs)
        recipe = self.recipe(size, extent)
        images = _resized(self.seen, size)
        plan = Plan(recipe, images, self.gpu, kept=True, own_model=self.own_model, unet=self.unet)
        stages = plan_stages(plan, self.arms(recipe))
        if self.gpu is not None:
            peaks = [self.gpu.peak(bf16=stage.bf16) * UTILISATION for stage in stages]
            stages = [replace(stage, seconds=stage.flops / peak) for stage, peak in zip(stages, peaks)]
        self.measured[size] = self._of_stages(recipe, size, stages)
        return self.measured[size]

    def _scaled(self, size: int) -> Units:
        """Reckon them from the nearest size that was measured: time grows with the pixels that networks see."""
        if size in self.measured:
            return self.measured[size]
        found = self.measured[min(self.measured, key=lambda other: abs(other - size))]
        side, view = self._sides(self.recipe(size, ENOUGH), size)
        drawn, seen = (side / found.side) ** 2, (view / found.view) ** 2
        passes = {name: value * seen for name, value in found.passes.items()}
        return Units(side, view, found.step * drawn, found.anchor * drawn, passes, found.rated * seen)

    def _sides(self, recipe: Recipe, size: int) -> tuple[int, int]:
        """Pixels of a side of what the diffusion model draws, and of an encoder's views."""
        drawn = own_side(self.unet, self.seen.channels) or recipe.diffusion.size or size
        return drawn, recipe.pretrain.augment.size or size

    def _of_stages(self, recipe: Recipe, size: int, stages: list[Stage]) -> Units:
        arms, took = self.arms(recipe), {stage.name: stage.seconds for stage in stages}
        anchors, trained = _used(recipe, len(self.seen.train), draws=self.draws)
        passes = {arm.name: took[f"encoder {arm.name}"] / (trained * recipe.pretraining(arm).epochs) for arm in arms}
        step = took.get("diffusion model", 0.0) / recipe.diffusion.steps
        anchor = took.get("synthetic positives", 0.0) / anchors
        # A step takes two views or more, forward and backward, of half of the pixels that an image has.
        return Units(*self._sides(recipe, size), step, anchor, passes, min(passes.values()) / 2)


def _enough_steps(units: Units) -> float:
    """Steps that a diffusion model takes at least, where there is time for them."""
    return ENOUGH.steps * units.side / _SIDE


def lengths_given(given: Mapping[str, Any], recipe: Recipe) -> dict[str, int]:
    """What was said of the trainings' lengths: steps of the diffusion model and epochs of arms, by the plan's names.

    Args:
        given: nested settings that were given.
        recipe: the resolved recipe.
    """
    names = flat(given, Recipe)
    found = {"diffusion": recipe.diffusion.steps} if "diffusion.steps" in names else {}
    for arm in recipe.arms():
        own = (recipe.per_method.get(name, {}) for name in arm.general() if "per_method" in names)
        if "pretrain.epochs" in names or any("epochs" in values for values in own):
            found[arm.name] = recipe.pretraining(arm).epochs
    return found


def _used(recipe: Recipe, count: int, *, draws: bool) -> tuple[int, int]:
    """Anchors that get candidates, and images that the encoders are trained on, of ``count``."""
    anchors = min(recipe.synthesize.anchors or count, count)
    return anchors, min(recipe.pretrain.images or (anchors if draws else count), count)


def _resized(images: Images, size: int) -> Images:
    """Images without content, of another size."""

    def resized(split: Split) -> Split:
        shape = (len(split), images.channels, size, size)
        return replace(split, images=np.broadcast_to(np.uint8(0), shape), columns={})

    return replace(images, train=resized(images.train), test=images.test and resized(images.test))
