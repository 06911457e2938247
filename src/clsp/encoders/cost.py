"""What an encoder cost: its pretraining, and the bank and the diffusion model that it was pretrained with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clsp import files
from clsp.engine.record import Record, read_record

_WEIGHTS = "encoder.safetensors"


def pretraining_cost(folder: Path) -> dict[str, float]:
    """Return the ``seconds`` and ``flops`` of an encoder; empty where nobody wrote them down.

    Args:
        folder: of a training, or the folder ``encoder`` of a run, whose trainings lie beside it. A bank that lies
            there, too, counts with its diffusion model, where the encoder was trained with one.

    Raises:
        UserError: a record is damaged.
    """
    record = _record_of(folder)
    if record is None or "flops" not in record.facts:
        return {}
    found = [{"seconds": record.seconds, "flops": record.number("flops")}]
    bank = read_record(folder.parent / "positives") if "bank" in record.inputs else None
    if bank is not None:
        with files.foreign(bank.path):
            generator = bank.facts.get("generator") or {}
            found.append({"seconds": bank.seconds, "flops": float(bank.facts.get("flops", 0.0))})
            found.append({what: float(generator.get(what, 0.0)) for what in ("seconds", "flops")})
    return {what: sum(one[what] for one in found) for what in ("seconds", "flops")}


def _record_of(folder: Path) -> Record | None:
    """The record of the training that made the weights in ``folder``, which may be a copy of a run's."""
    if (record := read_record(folder)) is not None:
        return record
    cells = sorted((folder.parent / "arms").glob("*/seed-*"))
    return find_training(cells, files.file_hash(folder / _WEIGHTS), _WEIGHTS)


def find_training(folders: Iterable[Path], sha256: str, weights: str) -> Record | None:
    """The record of the first training that wrote the file ``weights`` with this hash; None: there is none."""
    for folder in folders:
        record = read_record(folder)
        entry = None if record is None else record.files.get(weights)
        if entry is not None and entry.sha256 == sha256:
            return record
    return None
