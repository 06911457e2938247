"""What must fit together over all stages and the data: said before the first stage runs, not hours later."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clsp.diffusion.condition import find_encoder
from clsp.diffusion.pipeline import check_sampling, check_strength
from clsp.diffusion.samplers import make_sampler
from clsp.diffusion.unet import build_scheduler
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.recipes.arms import Arm
from clsp.recipes.recipe import Recipe
from clsp.training.checks import check_backbone, check_start, check_together, needs_bank


def needs_generator(recipe: Recipe, arms: Iterable[Arm]) -> bool:
    """Whether one of ``arms`` needs a bank, and so the diffusion model that draws it."""
    return any(not arm.trains or needs_bank(recipe.pretraining(arm)) for arm in arms)


def check_arm(recipe: Recipe, arm: Arm, images: Images, *, anchors: int | None = None) -> None:
    """Refuse an arm whose encoder could not be trained on what the earlier stages make.

    Args:
        recipe: the resolved recipe.
        arm: what is to be trained.
        images: the data.
        anchors: anchors of a bank that exists; None: as many as the recipe says.

    Raises:
        UserError: names the option, its value and what is allowed.
    """
    if not arm.trains:
        return
    config, total = recipe.pretraining(arm), len(images.train)
    check_together(config, images)
    if config.positive.chosen is not None:
        config.positive.chosen.reads(images.train.names)
    drawn = min(anchors or recipe.synthesize.anchors or total, total)
    trained = min(config.images or drawn, total)  # one with a bank or without, see Study.anchors
    if needs_bank(config) and trained > drawn:
        raise UserError(
            f"--pretrain.images {trained} is more than the {drawn} anchors that get candidates; "
            f"choose at most {drawn}, or --synthesize.anchors {trained}"
        )
    if config.batch_size > trained:
        raise UserError(
            f"--pretrain.batch_size {config.batch_size} is larger than the {trained} images to train on; "
            f"choose at most {trained}"
        )
    check_backbone(config, images)
    check_start(config, images)


def check_generator(recipe: Recipe, images: Images, *, kept: Path | None = None) -> None:
    """Refuse a diffusion model that could not be trained, or could not draw the bank that the recipe asks for.

    Args:
        recipe: the resolved recipe.
        images: the data.
        kept: the model's folder, which may be begun.

    Raises:
        UserError: names the option, its value and what is allowed.
    """
    find_encoder(recipe.diffusion, images, kept)
    if recipe.diffusion.condition and recipe.synthesize.guidance_scale > 1.0 and not recipe.diffusion.condition_dropout:
        raise UserError(
            f"--synthesize.guidance_scale {recipe.synthesize.guidance_scale:g} leads away from what the model draws "
            "when it is told nothing, which --diffusion.condition_dropout 0 never trains; choose 0.1, or guidance 1"
        )
    if recipe.diffusion.patch & (recipe.diffusion.patch - 1):
        raise UserError(f"--diffusion.patch {recipe.diffusion.patch} is no power of 2; choose 1 (none), 2 or 4")
    levels, steps = recipe.diffusion.timesteps, recipe.synthesize.steps
    check_strength(steps, recipe.synthesize.strength, recipe.diffusion.max_strength)
    if recipe.synthesize.sampler == "ddim" and (steps > levels or levels % steps):
        near = min((s for s in range(1, levels + 1) if levels % s == 0), key=lambda s: abs(s - steps))
        raise UserError(
            f"--synthesize.steps {steps} does not divide the model's {levels} noise levels; the nearest is {near}"
        )
    _check_draw(recipe)


def _check_draw(recipe: Recipe) -> None:
    """Refuse a noise schedule from which the bank's sampler cannot draw.

    Raises:
        UserError: says why.
    """
    process = {**build_scheduler(recipe.diffusion).config, "_class_name": "DDPMScheduler"}
    try:
        sampler = make_sampler(recipe.synthesize.sampler, process, clip_sample=recipe.synthesize.clip_sample)
        check_sampling(recipe.synthesize.sampling(), sampler, recipe.diffusion.max_strength)
    except UserError as error:
        raise UserError(
            f"the bank could not be drawn with the options of --diffusion and --synthesize: {error}"
        ) from error
