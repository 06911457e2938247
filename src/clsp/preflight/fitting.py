"""How much of everything a time suffices for, by what the steps of the stages take on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clsp.images.imageset import Images, Split
from clsp.preflight.gpus import GPU, UTILISATION
from clsp.recipes.arms import Arm
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.recipes.sizing import Extent, size_to_data, usual_extent
from clsp.settings.values import merge, nested

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
    """What the choice is made from."""

    def __init__(
        self,
        given: Mapping[str, Any],
        seen: Images,
        *,
        accelerated: bool,
        gpu: GPU | None = None,
        own_model: bool = True,
    ) -> None:
        self.given, self.seen, self.accelerated, self.gpu, self.own_model = given, seen, accelerated, gpu, own_model
        self.measured: dict[int, Units] = {}

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
        enough = [(one.side, one.view) == least or self._suffices(one, seconds) for one in units]
        return max(size for size, found in zip(sizes, enough) if found)

    def _suffices(self, units: Units, seconds: float) -> bool:
        found, least = self._free_extent(units, seconds), min(ENOUGH.images, len(self.seen.train))
        steps = ENOUGH.steps * units.side / _SIDE if self.own_model else 0
        return found.steps >= steps and found.images * found.epochs >= least * ENOUGH.epochs

    def extent(self, units: Units, seconds: float) -> Extent:
        """How much there is time for."""
        found, usual = self._free_extent(units, seconds), usual_extent(10_000, accelerated=self.accelerated)
        steps = min(max(found.steps, 8), max(_LONGEST.steps, usual.steps))
        return Extent(found.images, steps, min(max(found.epochs, 1), max(_LONGEST.epochs, usual.epochs)))

    def _free_extent(self, units: Units, seconds: float) -> Extent:
        count, each = len(self.seen.train), sum(units.passes.values())
        images = min(count, _LONGEST.images)
        for _ in range(3):  # fewer images leave time for others; it settles at once
            left = max(seconds - self._rest(units, images) - images * units.anchor, 0.0)
            anchors = (1 - GENERATOR if self.own_model else 1.0) * left / each
            least = max(min(count, ENOUGH.images) / 2, 2)
            images = int(min(count, max(anchors / ENOUGH.epochs, least), _LONGEST.images))
        return Extent(images, int(GENERATOR * left / units.step), int(anchors / images))

    def planned(self, units: Units, recipe: Recipe) -> dict[str, float]:
        """Seconds of every stage of a recipe."""
        count = len(self.seen.train)
        anchors = min(recipe.synthesize.anchors or count, count)
        trained = min(recipe.pretrain.images or anchors, count)
        arms = {
            arm.name: units.passes[arm.name] * trained * recipe.pretraining(arm).epochs for arm in self.arms(recipe)
        }
        steps = recipe.diffusion.steps if self.own_model else 0
        generator = {"diffusion": steps * units.step, "bank": anchors * units.anchor}
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
        stages = plan_stages(Plan(recipe, _resized(self.seen, size), self.gpu, kept=True), self.arms(recipe))
        if self.gpu is not None:
            peaks = [self.gpu.peak(bf16=stage.bf16) * UTILISATION for stage in stages]
            stages = [replace(stage, seconds=stage.flops / peak) for stage, peak in zip(stages, peaks)]
        self.measured[size] = _of_stages(recipe, size, stages, len(self.seen.train), self.arms(recipe))
        return self.measured[size]

    def _scaled(self, size: int) -> Units:
        """Reckon them from the nearest size that was measured: time grows with the pixels that networks see."""
        if size in self.measured:
            return self.measured[size]
        found = self.measured[min(self.measured, key=lambda other: abs(other - size))]
        side, view = _sides(self.recipe(size, ENOUGH), size)
        drawn, seen = (side / found.side) ** 2, (view / found.view) ** 2
        passes = {name: value * seen for name, value in found.passes.items()}
        return Units(side, view, found.step * drawn, found.anchor * drawn, passes, found.rated * seen)


def _sides(recipe: Recipe, size: int) -> tuple[int, int]:
    """Pixels of a side of what the diffusion model draws, and of an encoder's views."""
    return recipe.diffusion.size or size, recipe.pretrain.augment.size or size


def _of_stages(recipe: Recipe, size: int, stages: list[Stage], count: int, arms: list[Arm]) -> Units:
    diffusion, bank, *encoders = stages
    anchors = min(recipe.synthesize.anchors or count, count)
    trained = min(recipe.pretrain.images or anchors, count)
    passes = {
        arm.name: stage.seconds / (trained * recipe.pretraining(arm).epochs) for arm, stage in zip(arms, encoders)
    }
    # A step takes two views or more, forward and backward, of half of the pixels that an image has.
    step, anchor = diffusion.seconds / recipe.diffusion.steps, bank.seconds / anchors
    return Units(*_sides(recipe, size), step, anchor, passes, min(passes.values()) / 2)


def _resized(images: Images, size: int) -> Images:
    """Images without content, of another size."""

    def resized(split: Split) -> Split:
        shape = (len(split), images.channels, size, size)
        return replace(split, images=np.broadcast_to(np.uint8(0), shape), columns={})

    return replace(images, train=resized(images.train), test=images.test and resized(images.test))
