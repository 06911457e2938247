"""What values may be, and what must fit together: said before the first stage runs, not hours later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import le
from typing import TYPE_CHECKING, Any

from clsp.errors import UserError
from clsp.recipes.options import flat_options
from clsp.recipes.recipe import Recipe

if TYPE_CHECKING:
    from clsp.images.imageset import Images

_AT_LEAST = {
    "diffusion.blocks": 1,
    "diffusion.timesteps": 1,
    "diffusion.steps": 1,
    "diffusion.batch_size": 1,
    "diffusion.norm_groups": 1,
    "diffusion.size": 8,
    "diffusion.patch": 1,
    "diffusion.images": 2,
    "diffusion.warmup_steps": 0,
    "diffusion.sample_every": 0,
    "diffusion.checkpoint_minutes": 0,
    "synthesize.anchors": 1,
    "synthesize.candidates": 1,
    "synthesize.guidance_scale": 1,
    "synthesize.steps": 1,
    "synthesize.batch_size": 1,
    "synthesize.shard_anchors": 1,
    "pretrain.images": 2,
    "pretrain.batch_size": 2,
    "pretrain.epochs": 1,
    "pretrain.warmup_epochs": 0,
    "pretrain.positive_weight": 0,
    "pretrain.positive_window": 0,
    "pretrain.momentum": 0,
    "pretrain.weight_decay": 0,
    "pretrain.log_every": 1,
    "pretrain.knn_every": 0,
    "pretrain.checkpoint_minutes": 0,
    "pretrain.projector.hidden": 1,
    "pretrain.projector.dim": 1,
    "pretrain.projector.layers": 1,
    "pretrain.moco.memory": 1,
    "pretrain.nnclr.memory": 1,
    "pretrain.all4one.memory": 1,
    "pretrain.all4one.neighbours": 1,
    "pretrain.barlow.redundancy_weight": 0,
    "pretrain.vicreg.invariance": 0,
    "pretrain.vicreg.variance": 0,
    "pretrain.vicreg.covariance": 0,
    "pretrain.swav.prototypes": 2,
    "pretrain.swav.iterations": 1,
    "pretrain.swav.memory": 1,
    "pretrain.dino.prototypes": 2,
    "pretrain.ressl.memory": 1,
    "pretrain.aps.power": 0,
    "pretrain.predictor.hidden": 1,
    "pretrain.augment.size": 8,
    "pretrain.augment.local_size": 8,
    "pretrain.augment.local_crops": 0,
    "pretrain.augment.brightness": 0,
    "pretrain.augment.contrast": 0,
    "pretrain.augment.saturation": 0,
    "evaluate.train_images": 2,
    "evaluate.validation_images": 2,
    "evaluate.retrieval_queries": 1,
    "evaluate.label_draws": 1,
    "evaluate.fine_tune_epochs": 0,
    "evaluate.batch_size": 1,
    "evaluate.classifier_epochs": 0,
    "hardware.devices": 1,
    "hardware.nodes": 1,
}
_ABOVE_ZERO = (
    "synthesize.strength",
    "diffusion.max_strength",
    "diffusion.lr",
    "diffusion.min_snr_gamma",
    "diffusion.gradient_clip",
    "evaluate.label_fractions",
    "evaluate.fine_tune_lr",
    "pretrain.lr",
    "pretrain.gradient_clip",
    "pretrain.positive_temperature",
    "pretrain.all4one.centroid_temperature",
    "pretrain.barlow.scale",
    "pretrain.swav.epsilon",
    "pretrain.ressl.key_temperature",
    "pretrain.aps.ratio",
    *(
        f"pretrain.{method}.temperature"
        for method in ("simclr", "moco", "mocov3", "nnclr", "all4one", "swav", "dino", "ressl", "aps", "supcon")
    ),
)
_SHARES = (
    "diffusion.dropout",
    "diffusion.ema_decay",
    "diffusion.max_strength",
    "synthesize.interpolation_weight",
    "synthesize.eta",
    "synthesize.strength",
    "evaluate.holdout",
    "evaluate.test_fraction",
    "evaluate.label_fractions",
    "pretrain.positive_trim",
    "pretrain.all4one.dropout",
    "pretrain.swav.memory_start",
    "pretrain.swav.frozen",
    "pretrain.dino.teacher_warmup",
    "pretrain.dino.center_momentum",
    "pretrain.dino.frozen",
    "pretrain.aps.ratio",
    "pretrain.augment.flip",
    "pretrain.augment.jitter",
    "pretrain.augment.gray",
    "pretrain.augment.blur",
    "pretrain.augment.solarize",
)
_LISTS = ("diffusion.widths", "evaluate.regularisation", "evaluate.neighbours", "evaluate.temperatures")
_PAIRS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    **dict.fromkeys(
        (f"pretrain.augment.{name}" for name in ("crop_scale", "crop_ratio", "local_scale", "blur_sigma")),
        ("above 0, the smaller one first: [0.2, 1.0]", lambda low, high: 0 < low <= high),
    ),
    **dict.fromkeys(
        (f"pretrain.{method}.momentum" for method in ("moco", "mocov3", "byol", "all4one", "dino", "ressl")),
        ("between 0 and 1: [0.99, 0.999]", lambda first, last: 0 <= first <= 1 and 0 <= last <= 1),
    ),
    "pretrain.dino.teacher_temperature": ("above 0: [0.04, 0.07]", lambda first, last: first > 0 and last > 0),
}
"""Options of two numbers: what they may be, in words and as a test."""


def check_values(recipe: Recipe) -> None:
    """Refuse values that no data could make sense of.

    Raises:
        UserError: names the option, its value and what is allowed.
    """
    _check(flat_options(recipe))
    for arm in recipe.per_method:
        try:
            _check(flat_options(replace(recipe, pretrain=recipe.pretraining(*arm.split("+")))))
        except UserError as error:
            raise UserError(f"per_method {arm}: {error}") from error


def _check(values: dict[str, Any]) -> None:
    for name, least in _AT_LEAST.items():
        _require(name, values, f"at least {least}", partial(le, least))
    for name in _ABOVE_ZERO:
        _require(name, values, "above 0", lambda value: value > 0)
    for name in _SHARES:
        _require(name, values, "between 0 and 1", lambda value: 0 <= value <= 1)
    for name in _LISTS:
        _require(name, values, "a list of one or more numbers above 0", lambda value: value > 0, filled=True)
    for name, (allowed, test) in _PAIRS.items():
        if len(values[name]) != 2 or not test(*values[name]):
            raise UserError(f"--{name} {values[name]} must be two numbers {allowed}")
    if values["pretrain.positive_trim"] == 1:
        raise UserError("--pretrain.positive_trim 1.0 would leave out every pair; it must be below 1")
    if values["pretrain.positive_trim"] and values["pretrain.positive_objective"] == "host":
        raise UserError(
            "--pretrain.positive_trim leaves pairs out of a term of their own; positive_objective host has none"
        )


def _require(
    name: str, values: dict[str, Any], allowed: str, test: Callable[[Any], bool], *, filled: bool = False
) -> None:
    value = values[name]
    if value is None:
        return
    parts: Sequence[Any] = value if isinstance(value, list) else [value]
    if (filled and not parts) or not all(test(part) for part in parts):
        raise UserError(f"--{name} {value} must be {allowed}")


def check_fit(recipe: Recipe, images: Images, *, own_model: bool) -> None:
    """Refuse a run whose later stages could not work on what the earlier ones make.

    Args:
        recipe: the resolved recipe.
        images: the data.
        own_model: whether the diffusion model is trained by this recipe.

    Raises:
        UserError: names the option, its value and what is allowed.
    """
    total = len(images.train)
    anchors = min(recipe.synthesize.anchors or total, total)
    trained = min(recipe.pretrain.images or anchors, total)
    if trained > anchors:
        raise UserError(
            f"--pretrain.images {trained} is more than the {anchors} anchors that get candidates; "
            f"choose at most {anchors}, or --synthesize.anchors {trained}"
        )
    if recipe.pretrain.batch_size > trained:
        raise UserError(
            f"--pretrain.batch_size {recipe.pretrain.batch_size} is larger than the {trained} images to train on; "
            f"choose at most {trained}"
        )
    if recipe.diffusion.patch & (recipe.diffusion.patch - 1):
        raise UserError(f"--diffusion.patch {recipe.diffusion.patch} is no power of 2; choose 1 (none), 2 or 4")
    levels, steps = recipe.diffusion.timesteps, recipe.synthesize.steps
    if not own_model:
        return
    from clsp.diffusion.pipeline import check_strength

    check_strength(steps, recipe.synthesize.strength, recipe.diffusion.max_strength)
    if recipe.synthesize.sampler == "ddim" and (steps > levels or levels % steps):
        near = min((s for s in range(1, levels + 1) if levels % s == 0), key=lambda s: abs(s - steps))
        raise UserError(
            f"--synthesize.steps {steps} does not divide the model's {levels} noise levels; the nearest is {near}"
        )


def check_backbone(recipe: Recipe, images: Images) -> None:
    """Refuse a backbone that cannot be built, or that method or views do not suit, before the first stages take hours.

    Raises:
        UserError: names the option and what is allowed.
    """
    from clsp.encoders.backbone import build_backbone, require_views, stem_for
    from clsp.encoders.tokens import require_vit
    from clsp.methods.config import PATCHES
    from clsp.training.config import check_crops

    config = recipe.pretrain.backbone
    require_views(config, images.size, recipe.pretrain.augment)
    check_crops(recipe.pretrain)
    stem = stem_for(config, images.size)
    model = build_backbone(config.name, config.args, channels=images.channels, size=images.size, stem=stem)
    if recipe.pretrain.method in PATCHES:
        require_vit(model)
