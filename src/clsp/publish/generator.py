"""A diffusion model as a folder for others: diffusers' layout as it is, and a card.

The sheet of a model that draws from noised images stays at home, for it shows what it was drawn from: the user's own
images.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCardData

from clsp import files
from clsp.console import duration
from clsp.diffusion.folder import require_readable
from clsp.diffusion.levels import trained_strength, write_strength
from clsp.errors import UserError
from clsp.publish.card import data_told, licence
from clsp.publish.copying import copy
from clsp.publish.markdown import code, document, listed, plain, section
from clsp.publish.origin import FIX, Origin, origin_of, shared_facts, shared_name
from clsp.publish.room import CARD, require_room

if TYPE_CHECKING:
    from clsp.publish.export import Exported, Wish

_TAKEN = (
    "model_index.json",
    "scheduler/*.json",
    "unet/*.json",
    "unet/*.safetensors",
    "condition/*.json",
    "condition/*.safetensors",
)
_SHEET = "samples.png"


def export_generator(wish: Wish) -> Exported:
    """Copy a diffusers folder, without logs and checkpoints, and write its card.

    Raises:
        UserError: a file is damaged, or a format was asked for.
    """
    from clsp.publish.export import Exported

    if wish.formats is not None:
        raise UserError(f"--format {wish.formats}: a diffusion model has one format, diffusers'; leave it out")
    require_room(wish.out, ["model_index.json"])
    require_readable(wish.place)
    strength = trained_strength(wish.place)
    taken = (*_TAKEN, _SHEET) if strength == 1.0 else _TAKEN
    names = [path.relative_to(wish.place).as_posix() for pattern in taken for path in sorted(wish.place.glob(pattern))]
    for name in names:
        if name == "condition/config.json":
            _write_config(wish, name)
        else:
            copy(wish.place / name, wish.out / name)
    _clear(wish.out, names)
    names += write_strength(wish.out, strength)
    title = wish.hub or wish.out.resolve().name
    files.write_text(wish.out / CARD, generator_card(wish.place, names, license_=wish.license, title=title))
    said = [f"load it:  {loader_of(wish.out)}.from_pretrained({str(wish.out)!r})"]
    return Exported("model", [*names, CARD], said)


def _clear(out: Path, names: list[str]) -> None:
    """Remove what an earlier export left of another model: it would be read with this one, or shown."""
    for path in [path for pattern in (*_TAKEN, _SHEET) for path in out.glob(pattern)]:
        if path.relative_to(out).as_posix() not in names:
            path.unlink()
    if (out / "condition").is_dir() and not any((out / "condition").iterdir()):
        (out / "condition").rmdir()


def loader_of(folder: Path) -> str:
    """Name the class that draws with a model: diffusers' own where the model starts from noise and is told nothing.

    Args:
        folder: the model's.

    Raises:
        UserError: what says how far the model was trained is damaged.
    """
    whole = not (folder / "condition").is_dir() and trained_strength(folder) == 1.0
    return "diffusers.DDPMPipeline" if whole else "clsp.SyntheticPositivePipeline"


def _write_config(wish: Wish, name: str) -> None:
    """Write the description of the encoder; it names the data, of a path its last part alone."""
    config = files.read_json(wish.place / name, dict[str, Any], fix=FIX)
    with files.foreign(wish.place / name, FIX, what="holds what no run writes"):
        config["clsp"] = shared_facts(config["clsp"])
    files.write_json(wish.out / name, config)


def _conditional(names: list[str]) -> bool:
    return any(name.startswith("condition/") for name in names)


def generator_card(folder: Path, names: list[str], *, license_: str, title: str) -> str:
    """Write the card of a diffusion model.

    Args:
        folder: the model's.
        names: what is copied of it.
        license_: an identifier of the hub.
        title: the repository's name, or the folder's.

    Raises:
        UserError: a file of the model or of its run says what none says.
    """
    with files.foreign(folder, FIX, what="holds what no run writes"):
        return _card(folder, names, license_, title)


def _card(folder: Path, names: list[str], license_: str, title: str) -> str:
    origin, unet = origin_of(folder), files.read_json(folder / "unet" / "config.json", dict[str, Any])
    settings = {} if origin.record is None else origin.record.settings
    patch = int(settings.get("patch", 1))
    channels, side = unet["in_channels"] // patch**2, unet["sample_size"] * patch
    conditional, strength = _conditional(names), trained_strength(folder)
    task = "image-to-image" if conditional or strength < 1.0 else "unconditional-image-generation"
    front = ModelCardData(
        license=license_,
        library_name="diffusers",
        pipeline_tag=task,
        tags=["clsp", task],
    )
    on = f" on {plain(shared_name(origin.data))}" if origin.data else ""
    how = "from its embedding by an encoder" if conditional else "by interpolation in the middle features of the U-Net"
    about = (
        f"{'A ' if conditional else 'An un'}conditional diffusion model of {channels} x {side} x {side} pixels that "
        f"clsp trained{on}. It serves to draw synthetic positives: images that resemble a given one, {how}."
    )
    return document(
        str(front.to_yaml()),
        f"# {plain(title)}",
        about,
        section("Use", *_uses(title, patch, strength, conditional)),
        section("Samples", _samples(names, strength)),
        section("Images", data_told(origin)),
        section("Measured", "Nothing was measured of this model's samples."),
        section("Training", *_training(origin)),
        section("Licence", licence(license_)),
    )


def _samples(names: list[str], strength: float) -> str:
    """The sheet, or why there is none."""
    if _SHEET in names:
        return f"![Samples]({_SHEET})"
    if strength == 1.0:
        return ""
    return (
        "None are shown: the model changes given images, and the samples of its training were drawn from images that "
        "it was trained on."
    )


def _uses(title: str, patch: int, strength: float, conditional: bool) -> list[str]:
    place = title if "/" in title else "FOLDER"
    if not conditional and strength == 1.0:
        return _plain_uses(place, patch)
    how = (", interpolation_weight=1.0" if conditional else "") + _below(strength)
    lines = (
        f"import clsp\n\npipeline = clsp.SyntheticPositivePipeline.from_pretrained({place!r})\n"
        f"images = pipeline(anchors{how}).images\n"
        "# anchors: float [B, C, H, W] in [-1, 1]"
    )
    found = [code(lines, "python")]
    if conditional:
        found.append("The encoder that tells the model what to draw lies in `condition/`.")
    if strength < 1.0:
        found.append(
            f"The model has learnt the lower {strength:.3g} of the noise levels alone. It changes given images, and "
            "draws none from pure noise."
        )
    return found


def _plain_uses(place: str, patch: int) -> list[str]:
    """How diffusers alone draws with the model."""
    lines = f"from diffusers import DDPMPipeline\n\npipeline = DDPMPipeline.from_pretrained({place!r})\n"
    if patch == 1:
        return [code(f"{lines}images = pipeline(batch_size=4).images", "python")]
    lines = f"import torch\n{lines}" + (
        "folded = torch.from_numpy(pipeline(batch_size=4, output_type='np').images).permute(0, 3, 1, 2)\n"
        f"images = torch.nn.functional.pixel_shuffle(folded, {patch})  # [4, C, H, W] in [0, 1]"
    )
    return [code(lines, "python"), f"The U-Net sees patches of {patch} x {patch} pixels as channels of one place."]


def _below(strength: float) -> str:
    """The strength as an argument: as many of the pipeline's 100 steps as begin where the model was trained."""
    return "" if strength == 1.0 else f", strength={max(math.floor(round(100 * strength, 6)), 1) / 100:g}"


def _training(origin: Origin) -> list[str]:
    record = origin.record
    if record is None:
        return ["How it was trained is not known."]
    facts = {name: record.facts[name] for name in ("steps", "images", "parameters") if name in record.facts}
    told = ", ".join(f"{value:,} {name}" for name, value in facts.items())
    return [f"{told}, in {duration(record.seconds)}.", listed(origin.settings)]
