"""A bank of synthetic positives as a data set for others: its shards, or Parquet that `datasets` loads; and a card.

Its sheet stays at home, for it shows the anchors, which are the user's own images.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from huggingface_hub import DatasetCardData
from PIL import Image

from clsp import console, files
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.gate import verdict_of
from clsp.positives.verdict import Verdict
from clsp.publish.card import data_told, licence
from clsp.publish.copying import copy
from clsp.publish.formats import parse_formats
from clsp.publish.markdown import code, document, listed, plain, section
from clsp.publish.origin import FIX, Origin, origin_of, shared_name
from clsp.publish.room import CARD, require_room
from clsp.tabular import markdown

if TYPE_CHECKING:
    from clsp.publish.export import Exported, Wish

FORMATS = ("shards", "parquet")
_ROWS = 10_000
"""Candidates of a Parquet file."""
_AT_ONCE = 64
"""Anchors whose candidates are held at once."""


def export_bank(wish: Wish) -> Exported:
    """Write a bank as it is, or as Parquet, and its card; without a format its shards, for the hub Parquet.

    Raises:
        UserError: a shard is damaged, or the format cannot hold such images.
    """
    from clsp.publish.export import Exported

    usual = "shards" if wish.hub is None else "parquet"
    formats = parse_formats(wish.formats or usual, FORMATS)
    require_room(wish.out, ["manifest.json"])
    bank, names, said = PositiveBank.open(wish.place, verify=True), list[str](), list[str]()
    if "shards" in formats:
        names += _shards(bank, wish)
        said.append(f"load it:  clsp.PositiveBank.open({str(wish.out)!r})")
    if "parquet" in formats:
        names += _parquet(bank, wish)
        said.append(f"load it:  datasets.load_dataset({str(wish.out)!r})")
    title = wish.hub or wish.out.resolve().name
    card = bank_card(bank, origin_of(wish.place), formats, license_=wish.license, title=title)
    files.write_text(wish.out / CARD, card)
    return Exported("dataset", [*names, CARD], said)


def _shards(bank: PositiveBank, wish: Wish) -> list[str]:
    """Copy the shards; the manifest names the data, of a path its last part alone."""
    names = ["ids.npy", *(shard["file"] for shard in bank.manifest["shards"])]
    for name in names:
        copy(wish.place / name, wish.out / name)
    data = {**bank.manifest["data"], "source": shared_name(bank.manifest["data"]["source"])}
    files.write_json(wish.out / "manifest.json", {**bank.manifest, "data": data})
    return ["manifest.json", *names]


def _parquet(bank: PositiveBank, wish: Wish) -> list[str]:
    """Write a row for each candidate: its anchor's index in the data, its number, and itself as PNG."""
    import pyarrow as arrow
    from pyarrow import parquet

    if bank.manifest["shape"][2] not in (1, 3):
        raise UserError(
            f"--format parquet holds PNG, gray or RGB, and the bank has {bank.manifest['shape'][2]} channels; choose "
            "--format shards"
        )
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    schema = arrow.schema([("anchor", arrow.int64()), ("candidate", arrow.int32()), ("image", image)], _FEATURES)
    for old in wish.out.glob("data/train-*-of-*.parquet"):  # of another bank: both would be read
        old.unlink()
    each = max(_ROWS // bank.candidates, 1)
    count, names = -(-len(bank) // each), list[str]()
    with console.progress("Parquet", len(bank), "anchors") as bar:
        for number in range(count):
            name = f"data/train-{number:05d}-of-{count:05d}.parquet"
            rows = np.arange(number * each, min((number + 1) * each, len(bank)))
            made = arrow.Table.from_pylist(list(_candidates(bank, rows)), schema=schema)
            with files.atomic(wish.out / name) as file:
                parquet.write_table(made, file)
            names.append(name)
            bar.advance(len(rows))
    return names


_FEATURES = {
    "huggingface": json.dumps(
        {
            "info": {
                "features": {
                    "anchor": {"dtype": "int64", "_type": "Value"},
                    "candidate": {"dtype": "int32", "_type": "Value"},
                    "image": {"_type": "Image"},
                }
            }
        }
    )
}
"""What tells the library ``datasets`` that a column holds pictures."""


def _candidates(bank: PositiveBank, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    for first in range(0, len(rows), _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        for row, images in zip(part, bank.array(part), strict=True):
            for number, pixels in enumerate(images):
                stored = io.BytesIO()
                Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(stored, "PNG")
                yield {
                    "anchor": int(bank.ids[row]),
                    "candidate": number,
                    "image": {"bytes": stored.getvalue(), "path": f"{bank.ids[row]}-{number}.png"},
                }


def bank_card(bank: PositiveBank, origin: Origin, formats: list[str], *, license_: str, title: str) -> str:
    """Write the card of a bank.

    Args:
        bank: the bank.
        origin: its run's.
        formats: shards, parquet or both.
        license_: an identifier of the hub.
        title: the repository's name, or the folder's.

    Raises:
        UserError: a file of the bank or of its run says what none says.
    """
    with files.foreign(bank.folder or title, FIX, what="holds what no run writes"):
        return _card(bank, origin, formats, license_, title)


def _card(bank: PositiveBank, origin: Origin, formats: list[str], license_: str, title: str) -> str:
    height, width, channels = bank.manifest["shape"]
    data = {"config_name": "default", "data_files": "data/*.parquet"}
    tags = ["clsp", "synthetic", "self-supervised-learning"]
    more: dict[str, Any] = {"configs": [data]} if "parquet" in formats else {}
    front = DatasetCardData(
        license=license_, tags=tags, pretty_name=title, task_categories=["image-feature-extraction"], **more
    )
    kind = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
    source = plain(shared_name(bank.manifest["data"]["source"]))
    about = (
        f"A bank of synthetic positives: {bank.candidates} synthetic images for each of {len(bank)} anchors, images of "
        f"{source}. All {bank.candidates * len(bank)} are uint8, {height} x {width} pixels, {kind}. "
        f"clsp drew them with {_kind(origin)} diffusion model"
        f"{_model(bank)}. The anchors themselves are not here; their index in the data is."
    )
    return document(
        str(front.to_yaml()),
        f"# {plain(title)}",
        about,
        section("Is it of use?", *_verdict(verdict_of(bank))),
        section("Use", *_uses(formats, title)),
        section(
            "Images", data_told(origin) or f"Their fingerprint is `{plain(bank.manifest['data']['fingerprint'])}`."
        ),
        section("Settings", listed(bank.manifest.get("sampler", {}))),
        section("Measured", *_measured(bank)),
        section("Licence", licence(license_)),
    )


def _kind(origin: Origin) -> str:
    """The kind of the model, where it is known."""
    if origin.record is None:
        return "a"
    return "a conditional" if "condition" in origin.record.inputs else "an unconditional"


def _model(bank: PositiveBank) -> str:
    name = bank.manifest.get("unet")
    return f" (its U-Net has the hash `{plain(name)}`)" if name else ""


def _verdict(verdict: Verdict | None) -> list[str]:
    """What the gate said."""
    if verdict is None:
        return ["The bank was not judged when it was made."]
    said = "passed" if verdict.passed else "**failed**"
    rows = [
        [plain(name), f"{one.value:.4g}", f"{one.good} {one.line:g}", plain(one.meaning)]
        for name, one in verdict.measures.items()
    ]
    reasons = "\n".join(f"- {plain(text)}" for text in (*verdict.reasons, *verdict.warnings))
    lead = (
        f"The bank {said} clsp's gate, which judges without labels whether candidates look like the data and follow "
        "their anchors. Whether they help an encoder is another question."
    )
    return [lead, reasons, markdown(["measure", "value", "passes", "meaning"], rows)]


def _uses(formats: list[str], title: str) -> list[str]:
    place = title if "/" in title else "FOLDER"
    found = list[str]()
    if "parquet" in formats:
        found.append(code(f"import datasets\n\nbank = datasets.load_dataset({place!r}, split='train')", "python"))
        found.append("A row has `anchor` (index in the data), `candidate` (number from 0) and `image`.")
    if "shards" in formats:
        read = "bank = clsp.PositiveBank.open('FOLDER')\nimages = bank[bank.ids[:4], 0]  # uint8 [4, C, H, W]"
        found.append(code(f"import clsp\n\n{read}", "python"))
        found.append(
            "Without clsp: each `shard-*.npy` is uint8 [anchors, candidates, height, width, channels], as `numpy.load` "
            "reads it; its rows follow each other in the order of `ids.npy`, the anchors' indices in the data."
        )
    return found


def _measured(bank: PositiveBank) -> list[str]:
    rows = [
        [plain(name), f"{entry['value']:.4g}", plain(entry["meaning"])]
        for name, entry in bank.manifest.get("measures", {}).items()
    ]
    return [markdown(["measure", "value", "meaning"], rows)] if rows else ["Nothing was measured of this bank."]
