"""The stages one by one, each on prepared data and a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsp.encoders.export import read_spec
from clsp.engine import threads
from clsp.engine.course import Pace
from clsp.engine.hardware import device_of
from clsp.positives.bank import PositiveBank
from clsp.positives.named import named_positives
from clsp.recipes.arms import EXTRA, Arm
from clsp.recipes.prepare import Prepared, prepare
from clsp.recipes.recipe import Recipe
from clsp.settings.values import Tree, merge
from clsp.study.opened import tones_of

if TYPE_CHECKING:
    from clsp.evaluation.evaluate import Result


def diffusion_stage(prepared: Prepared, out: Path, pace: Pace | None = None) -> Path:
    """Train the diffusion model into ``out``."""
    from clsp.diffusion.training import train_diffusion
    from clsp.positives.trial import try_draw

    recipe, images = prepared.recipe, prepared.images

    def serves(unet: Any, scheduler: Any, condition: Any) -> bool:
        about: dict[str, Any] = {"max_strength": recipe.diffusion.max_strength, "condition": condition}
        return try_draw(unet, scheduler, images, recipe.synthesize, seed=recipe.seed, **about).passed

    judged, seed = serves if recipe.synthesize.gate != "off" else None, recipe.seed
    train_diffusion(images, recipe.diffusion, recipe.hardware, seed=seed, folder=out, pace=pace, serves=judged)
    return out


def bank_stage(prepared: Prepared, diffusion: str | Path, out: Path) -> PositiveBank:
    """Draw the bank into ``out``."""
    from clsp.positives.synthesize import synthesize

    recipe = prepared.recipe
    return synthesize(prepared.images, diffusion, recipe.synthesize, recipe.hardware, seed=recipe.seed, folder=out)


def encoder_stage(prepared: Prepared, out: Path, positives: str | Path | None) -> Path:
    """Train an encoder into ``out``.

    Args:
        prepared: data and recipe.
        out: the encoder's folder.
        positives: the additional positive: None (as the recipe says), a bank's folder, the name of a source that needs
            no bank (``view``, ``nearest``, ...), or ``NAME:BANK`` for one that does (``noise:BANK``, ``extra:BANK``).

    Raises:
        UserError: ``positives`` is neither.
    """
    from clsp.evaluation.task import set_apart
    from clsp.study.gate import require_use
    from clsp.training.checks import needs_bank
    from clsp.training.pretrain import pretrain

    recipe = prepared.recipe
    arm, bank = _arm(recipe, positives)
    prepared.require_read([arm])
    if bank is not None and needs_bank(recipe.pretraining(arm)):
        require_use(prepared, bank)
    unseen = set_apart(prepared.images, recipe.evaluate, seed=recipe.seed)
    about: dict[str, Any] = {"seed": recipe.seed, "bank": bank, "unseen": unseen}
    pretrain(prepared.images, recipe.pretraining(arm), recipe.hardware, folder=out, **about)
    return out


def _arm(recipe: Recipe, positives: str | Path | None) -> tuple[Arm, PositiveBank | None]:
    """Read what ``--positives`` says."""
    method, also = recipe.pretrain.method, recipe.pretrain.positive.also
    if positives is None:
        return Arm(method, recipe.pretrain.positive.source, also=also, extra=recipe.pretrain.extra), None
    named = named_positives(str(positives), more=(EXTRA,))
    return (Arm(method, extra=True) if named.source == EXTRA else Arm(method, named.source, also=also)), named.bank


def prepare_for(folder: Path, data: str, *, recipe: str | None, overrides: Tree) -> Prepared:
    """Open the data as the encoder in ``folder`` takes them, unless the user says otherwise.

    They get its channels and size, and become 8-bit and opaque as the images did that it was trained on.
    """
    spec = read_spec(folder)
    wanted = {"images": {**tones_of(folder).settings(), "channels": spec.channels, "size": spec.size}}
    return prepare(data, recipe=recipe, overrides=merge(Recipe, wanted, overrides))


def evaluate_stage(folder: Path, prepared: Prepared) -> Result:
    """Evaluate the encoder in ``folder``."""
    from clsp.evaluation.evaluate import evaluate
    from clsp.evaluation.task import make_task
    from clsp.evaluation.trained import Encoder

    recipe = prepared.recipe
    threads.bind()
    task = make_task(prepared.images, recipe.evaluate, seed=recipe.seed)
    encoder = Encoder(folder, task, device=device_of(recipe.hardware), batch_size=recipe.evaluate.batch_size)
    return evaluate(encoder, task, recipe.evaluate)
