"""What this machine computes in a second, by kinds of steps: measured once, and kept in the user's cache folder.

A plan divides counted FLOPs by these. A rate belongs to a network and a batch as much as to a machine: small layers
reach a tenth of what large ones do. So the key says what was measured, and whoever plans another network asks anew.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import PositiveFloat

from clsp import cores, files
from clsp.errors import UserError
from clsp.images.cache import cache_folder
from clsp.preflight.measure import Step, seconds
from clsp.processes import NODE
from clsp.provenance import machine

Kind = Literal["U-Net training", "U-Net drawing", "encoder training"]
"""What a step is of."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """All that decides a rate."""

    kind: str
    key: str
    batch: int
    device: str
    threads: int
    machine: str
    torch: str


@dataclass(frozen=True, kw_only=True)
class _Rate:
    """A rate as it is kept."""

    flops_per_second: PositiveFloat
    asked: _Asked


def rate(kind: Kind, key: str, step: Step, flops: float, *, batch: int, device: torch.device | str = "cpu") -> float:
    """FLOP/s of a kind of step on this machine, from the cache or measured in a few seconds.

    The number of threads is that of the moment: who plans a run calls `clsp.engine.threads.bind` before. Beside other
    work the rate is that of a step on the cores that are free, see `clsp.preflight.measure`.

    Args:
        kind: what the step is of.
        key: names the network and the precision, such as a fingerprint of their settings.
        step: one step on so many images, on ``device``; it returns when the device has done it.
        flops: of a step on ``batch`` images.
        batch: images of a full step; where such a step is slow, part of them are timed.
        device: where it runs.

    Returns:
        FLOP/s, above 0.
    """
    asked = _asked(kind, key, batch, torch.device(device))
    path = cache_folder() / "rates" / f"{files.fingerprint(asdict(asked))}.json"
    kept = _kept(path)
    if kept is not None:
        return kept.flops_per_second
    spent, timed = seconds(step, batch, least=1)
    found = flops * timed / batch / spent
    with suppress(OSError):  # a home that cannot be written to: measured again the next time
        files.make_folder(path.parent)
        files.write_json(path, asdict(_Rate(flops_per_second=found, asked=asked)))
    return found


def named(about: Any) -> str:
    """A key for what a step is of: a fingerprint of plain values, such as a network's settings."""
    return files.fingerprint(json.loads(json.dumps(about, default=str)))


def _asked(kind: str, key: str, batch: int, device: torch.device) -> _Asked:
    about = machine()
    name = str(about.get("gpu", device)) if device.type == "cuda" else f"{about['cpu']} {device.type}"
    return _Asked(
        kind=kind,
        key=key,
        batch=batch,
        device=name,
        threads=torch.get_num_threads(),
        machine=f"{NODE}, {cores.usable()} of {os.cpu_count()} cores",
        torch=str(torch.__version__),
    )


def _kept(path: Path) -> _Rate | None:
    """What was measured before; None: nothing, or the file is damaged."""
    try:
        return files.read_json(path, _Rate) if path.is_file() else None
    except UserError:
        return None
