"""The whole run: images, diffusion model, bank, encoders, evaluation, report; what is finished is not done again."""

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
from clsp.recipes.limits import check_backbone, check_fit
from clsp.recipes.recipe import Recipe, recipe_for, resolved
from clsp.recipes.sizing import size_to_data

if TYPE_CHECKING:
    from clsp.evaluation.evaluate import Result
    from clsp.images.imageset import Images
    from clsp.positives.bank import PositiveBank
    from clsp.positives.config import PositivesName


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

    first = load_recipe(name, overrides)
    images = opened(first)
    accelerated = accelerated or device_of(first.hardware).type != "cpu"
    sized = size_to_data(name, len(images.train), images.size, accelerated=accelerated)
    return Prepared(load_recipe(name, overrides, sized), name, images)


def run(
    data: str,
    out: str | Path,
    *,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    diffusion: str | None = None,
) -> dict[str, Any]:
    """Do everything: a folder of images in, an encoder and the evidence for it out.

    Args:
        data: a SOURCE.
        out: the run's folder. A second call finishes what is missing there.
        recipe: see `prepare`.
        overrides: see `prepare`.
        diffusion: a diffusers folder or hub id that serves instead of training a diffusion model.

    Returns:
        What ``evaluation/metrics.json`` holds.

    Raises:
        UserError: the input is wrong; what was there before is untouched.
    """
    from clsp.engine.hardware import device_of
    from clsp.evaluation.stage import evaluate_run
    from clsp.report.page import build_report

    out = Path(out)
    prepared = prepare(data, recipe=recipe, overrides=overrides, store=out / "images")
    settings, images = prepared.recipe, prepared.images
    describe(images)
    check_fit(settings, images, own_model=diffusion is None)
    check_backbone(settings, images)
    _require_same_data(out, images)
    if not (out / "recipe.yaml").exists():
        write_provenance(out, prepared, data)
    model: str | Path = diffusion or out / "diffusion"
    if diffusion is None:
        diffusion_stage(prepared, out / "diffusion")
    bank = bank_stage(prepared, model, out / "positives")
    arms = train_arms(out, prepared, bank)
    device = device_of(settings.hardware)
    metrics = evaluate_run(out, arms, images, bank, settings.evaluate, seed=settings.seed, device=device)
    files.sweep(out)  # of killed calls
    write_provenance(out, prepared, data)  # only now may it replace an earlier call's: every stage agreed to it
    if distributed.rank() == 0:
        console.say(f"report: {build_report(out)}")
    return metrics


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
    _train(prepared, out, kind, PositiveBank.open(place) if place else None)
    return out


def _train(prepared: Prepared, out: Path, positives: PositivesName, bank: PositiveBank | None) -> None:
    from clsp.training.pretrain import pretrain

    recipe = prepared.recipe
    pretrain(
        prepared.images,
        recipe.pretraining(recipe.pretrain.method, positives),
        recipe.hardware,
        seed=recipe.seed,
        folder=out,
        positives=positives,
        bank=bank,
    )


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


def rate(folder: Path, prepared: Prepared) -> Result:
    """Evaluate the encoder in ``folder``."""
    from clsp.engine.hardware import device_of
    from clsp.evaluation.evaluate import evaluate_encoder
    from clsp.evaluation.task import make_task

    recipe = prepared.recipe
    task = make_task(prepared.images, recipe.evaluate, seed=recipe.seed)
    return evaluate_encoder(folder, task, recipe.evaluate, device=device_of(recipe.hardware))


def train_arms(out: Path, prepared: Prepared, bank: PositiveBank) -> dict[str, Path]:
    """Train the method with the bank, and its controls where the recipe asks for them; return folders by arm."""
    recipe = prepared.recipe
    method = recipe.pretrain.method
    folders: dict[str, Path] = {}
    for positives in recipe.sources():
        arm = Arm(method, positives).name
        folders[arm] = out / "encoder" if positives == "bank" else out / "controls" / arm
        _train(prepared, folders[arm], positives, bank)
    return folders


def _require_same_data(out: Path, images: Images) -> None:
    """Refuse to continue a run with other images, before any work is done."""
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
