"""The stages and the whole run: images, diffusion model, bank, encoders, evaluation, report; nothing is made twice."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from clsp import console, distributed, files
from clsp.comparison.arms import Arm
from clsp.errors import UserError, suggest
from clsp.provenance import machine, versions
from clsp.recipes.limits import check_values
from clsp.recipes.options import parse_recipe
from clsp.recipes.recipe import Recipe, recipe_for, resolved
from clsp.recipes.sizing import size_to_data

if TYPE_CHECKING:
    import numpy as np

    from clsp.evaluation.evaluate import Result
    from clsp.images.imageset import Images
    from clsp.positives.bank import PositiveBank
    from clsp.positives.config import PositivesName
    from clsp.training.config import PretrainConfig


@dataclass(frozen=True)
class Prepared:
    """A recipe that fits its data."""

    recipe: Recipe
    name: str
    """The recipe's name or file."""
    images: Images


def prepare(
    data: str, *, recipe: str | None = None, overrides: Sequence[str] = (), store: Path | None = None
) -> Prepared:
    """Open the data and resolve the recipe, sized to the data where the recipe asks for it.

    Args:
        data: a SOURCE.
        recipe: a built-in name or a YAML file; None: the SOURCE's own, else ``folder``.
        overrides: ``--section.option``, value, ...
        store: folder for decoded pixels.

    Raises:
        UserError: the data cannot be read, or an option is wrong.
    """
    from clsp.images.sources import open_images

    def opened(first: Recipe) -> Images:
        return open_images(data, first.images, seed=first.seed, store=store)

    return prepare_with(opened, recipe or recipe_for(data), overrides)


def prepare_with(
    opened: Callable[[Recipe], Images], name: str, overrides: Sequence[str], *, accelerated: bool = False
) -> Prepared:
    """Resolve the recipe called ``name`` for the data that ``opened`` gives, and size it to them.

    Args:
        opened: opens the data as the recipe asks for them.
        name: a built-in recipe or a YAML file.
        overrides: ``--section.option``, value, ...
        accelerated: whether the run is meant for a GPU, also where this machine has none.
    """
    from clsp.engine.hardware import device_of

    first = parse_recipe(name, overrides)
    check_values(first)
    images = opened(first)
    accelerated = accelerated or device_of(first.hardware).type != "cpu"
    sized = size_to_data(name, len(images.train), images.size, accelerated=accelerated)
    return Prepared(parse_recipe(name, overrides, sized), name, images)


def run(
    data: str,
    out: str | Path,
    *,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    diffusion: str | None = None,
) -> dict[str, Any]:
    """Do everything: a folder of images in, an encoder and the evidence for it out.

    A study of the recipe's seed: the method with the bank, and its controls where the recipe asks for them.

    Args:
        data: a SOURCE.
        out: the run's folder. A second call finishes what is missing there.
        recipe: see `prepare`.
        overrides: see `prepare`.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.

    Returns:
        What ``comparison.json`` holds; nothing in all processes but the first.

    Raises:
        UserError: the input is wrong; what was there before is untouched.
    """
    from clsp.study.engine import conduct

    prepared = prepare(data, recipe=recipe, overrides=overrides, store=Path(out) / "images")
    settings = prepared.recipe
    arms = [Arm(settings.pretrain.method, positives) for positives in settings.sources()]
    plain = next((arm for arm in arms if arm.positives == "none"), None)
    where = (prepared, Path(out), data)
    return conduct(*where, arms, [settings.seed], main=arms[0], baseline=plain, diffusion=diffusion)


def diffusion_stage(prepared: Prepared, out: Path) -> Path:
    """Train the diffusion model into ``out``."""
    from clsp.diffusion.training import train_diffusion

    recipe = prepared.recipe
    train_diffusion(prepared.images, recipe.diffusion, recipe.hardware, seed=recipe.seed, folder=out)
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
        positives: the additional positive: None, a bank's folder, the name of a source that needs no bank (``view``,
            ``random``, ``nearest``, ``class``, ``pairs``, ``frames``, ``mixture``), or ``NAME:BANK`` for one that does
            (``noise:BANK``, ``extra:BANK``).
    """
    from clsp.positives.bank import PositiveBank
    from clsp.positives.config import POSITIVES, SOURCES

    text = "none" if positives is None else str(positives)
    name, colon, place = text.partition(":")
    kind = next((known for known in POSITIVES if known == name), None)
    if kind is None or (kind == "bank" and not colon):
        kind, place = "bank", text
        if not Path(text).exists():
            known = f"{', '.join(SOURCES)}{suggest(name, SOURCES)}"
            raise UserError(f"--positives '{text}' is neither a bank's folder nor one of {known}")
    recipe = prepared.recipe
    config = recipe.pretraining(recipe.pretrain.method, kind)
    train(prepared, out, config, kind, PositiveBank.open(place) if place else None, seed=recipe.seed)
    return out


def train(
    prepared: Prepared,
    out: Path,
    config: PretrainConfig,
    positives: PositivesName,
    bank: PositiveBank | None,
    *,
    seed: int,
    anchors: np.ndarray | None = None,
) -> None:
    """Train an encoder into ``out``; see `clsp.training.pretrain.pretrain`."""
    from clsp.training.pretrain import pretrain

    pretrain(
        prepared.images, config, prepared.recipe.hardware, seed=seed, folder=out, positives=positives, bank=bank,
        anchors=anchors,
    )  # fmt: skip


def encoder_folder(place: str | Path) -> Path:
    """The encoder's folder; the folder of a run stands for its encoder."""
    folder = Path(place)
    return folder / "encoder" if (folder / "encoder" / "config.json").exists() else folder


def prepare_for(folder: Path, data: str, *, recipe: str | None, overrides: Sequence[str]) -> Prepared:
    """Open the data as the encoder in ``folder`` takes them: its channels and size, unless the user says otherwise."""
    from clsp.encoders.export import read_spec

    spec = read_spec(folder)
    given = " ".join(overrides)
    wanted = {"images.channels": spec.channels, "images.size": spec.size}
    more = [f"--{name}={value}" for name, value in wanted.items() if f"--{name}" not in given]
    return prepare(data, recipe=recipe, overrides=[*overrides, *more])


def evaluate(folder: Path, prepared: Prepared) -> Result:
    """Evaluate the encoder in ``folder``."""
    from clsp.engine.hardware import device_of
    from clsp.evaluation.evaluate import evaluate
    from clsp.evaluation.task import make_task
    from clsp.evaluation.trained import Encoder

    recipe = prepared.recipe
    task = make_task(prepared.images, recipe.evaluate, seed=recipe.seed)
    encoder = Encoder(folder, task, device=device_of(recipe.hardware), batch_size=recipe.evaluate.batch_size)
    return evaluate(encoder, task, recipe.evaluate)


def require_same_data(out: Path, images: Images) -> None:
    """Refuse to continue a study with other images, before any work is done."""
    path = out / "images.json"
    if path.exists() and (old := files.read_json(path))["fingerprint"] != images.fingerprint:
        raise UserError(
            f"{out} was made from other images ({old['source']}, {old['train']} images, fingerprint "
            f"{old['fingerprint']}; now {len(images.train)} images, {images.fingerprint}); choose another --out"
        )


def describe(images: Images) -> None:
    """Say what the data are."""
    shape = f"{images.channels} x {images.size} x {images.size}"
    test = f", {len(images.test)} test images" if images.test is not None else ""
    labels = f", {len(images.classes)} classes" if images.classes else ", no labels"
    console.say(f"images: {len(images.train)} train images{test} of {shape}{labels} from {images.source}")
    if images.excluded:
        console.say(f"images: {len(images.excluded)} files could not be read and are left out; images.json lists them")
        for excluded in images.excluded[:5]:
            console.say(f"  {excluded.name}: {excluded.reason}")


def write_provenance(out: Path, prepared: Prepared, data: str) -> None:
    """Write ``recipe.yaml`` (every value that is used, versions, hardware, data) and ``images.json``."""
    if distributed.rank() != 0:
        return
    images = prepared.images
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "recipe": Path(prepared.name).name,
        "command": " ".join(["clsp", *(shlex.quote(argument) for argument in sys.argv[1:])]),
        "data": {"source": data, "fingerprint": images.fingerprint, "train": len(images.train)},
        "versions": versions(),
        "machine": machine(),
        **resolved(prepared.recipe),
    }
    files.write_text(out / "recipe.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    labels = images.train.labels
    found: Mapping[str, Any] = {
        "source": images.source,
        "train": len(images.train),
        "test": None if images.test is None else len(images.test),
        "channels": images.channels,
        "size": images.size,
        "classes": list(images.classes) if images.classes else None,
        "labelled_train": 0 if labels is None else int((labels >= 0).sum()),
        "fingerprint": images.fingerprint,
        "notes": list(images.notes),
        "excluded": [vars(excluded) for excluded in images.excluded],
    }
    files.write_json(out / "images.json", found)
