"""A diffusion model as a folder for others: diffusers' layout as it is, and a card."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from clsp.publish.export import Exported, Wish

_TAKEN = (
    "model_index.json",
    "scheduler/*.json",
    "unet/*.json",
    "unet/*.safetensors",
    "condition/*.json",
    "condition/*.safetensors",
    "samples.png",
)


def export_generator(wish: Wish) -> Exported:
    """Copy a diffusers folder, without logs and checkpoints, and write its card.

    Raises:
        UserError: a file is damaged, or a format was asked for.
    """
    from clsp.publish.export import CARD, Exported

    if wish.formats is not None:
        raise UserError(f"--format {wish.formats}: a diffusion model has one format, diffusers'; leave it out")
    require_readable(wish.place)
    names = [path.relative_to(wish.place).as_posix() for pattern in _TAKEN for path in sorted(wish.place.glob(pattern))]
    for name in names:
        if name == "condition/config.json":
            _write_config(wish, name)
        else:
            copy(wish.place / name, wish.out / name)
    strength = trained_strength(wish.place)
    names += write_strength(wish.out, strength)
    title = wish.hub or wish.out.resolve().name
    files.write_text(wish.out / CARD, generator_card(wish.place, names, license_=wish.license, title=title))
    loader = "clsp.SyntheticPositivePipeline" if _conditional(names) else "diffusers.DDPMPipeline"
    return Exported("model", [*names, CARD], [f"load it:  {loader}.from_pretrained({str(wish.out)!r})"])


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
    conditional = _conditional(names)
    task = "image-to-image" if conditional else "unconditional-image-generation"
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
    picture = "![Samples](samples.png)" if "samples.png" in names else ""
    return document(
        str(front.to_yaml()),
        f"# {plain(title)}",
        about,
        section("Use", *_uses(title, patch, trained_strength(folder), conditional)),
        section("Samples", picture),
        section("Images", data_told(origin)),
        section("Measured", "Nothing was measured of this model's samples."),
        section("Training", *_training(origin)),
        section("Licence", licence(license_)),
    )


def _uses(title: str, patch: int, strength: float, conditional: bool) -> list[str]:
    place = title if "/" in title else "FOLDER"
    if conditional:
        lines = (
            f"import clsp\n\npipeline = clsp.SyntheticPositivePipeline.from_pretrained({place!r})\n"
            f"images = pipeline(anchors, interpolation_weight=1.0{_below(strength)}).images\n"
            "# anchors: float [B, C, H, W] in [-1, 1]"
        )
        return [code(lines, "python"), "The encoder that tells the model what to draw lies in `condition/`."]
    lines = f"from diffusers import DDPMPipeline\n\npipeline = DDPMPipeline.from_pretrained({place!r})\n"
    if patch == 1:
        lines += "images = pipeline(batch_size=4).images"
    else:
        lines = f"import torch\n{lines}" + (
            "folded = torch.from_numpy(pipeline(batch_size=4, output_type='np').images).permute(0, 3, 1, 2)\n"
            f"images = torch.nn.functional.pixel_shuffle(folded, {patch})  # [4, C, H, W] in [0, 1]"
        )
    found = [code(lines, "python")]
    if patch > 1:
        found.append(f"The U-Net sees patches of {patch} x {patch} pixels as channels of one place.")
    if strength < 1:
        found.append(
            f"The model has learnt the lower {strength:.0%} of the noise levels alone. It changes given images, and "
            "draws none from pure noise."
        )
    return found


def _below(strength: float) -> str:
    return "" if strength == 1.0 else f", strength={strength:g}"


def _training(origin: Origin) -> list[str]:
    record = origin.record
    if record is None:
        return ["How it was trained is not known."]
    facts = {name: record.facts[name] for name in ("steps", "images", "parameters") if name in record.facts}
    told = ", ".join(f"{value:,} {name}" for name, value in facts.items())
    return [f"{told}, in {duration(record.seconds)}.", listed(origin.settings)]
