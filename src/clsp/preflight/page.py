"""The plan as plain text: one line for each stage, then memory, disk and what the numbers rest on."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from clsp import console
from clsp.engine.threads import threads
from clsp.preflight.gpus import UTILISATION
from clsp.preflight.source import describe_source, in_memory
from clsp.preflight.stages import Plan, Stage
from clsp.preflight.worth import worth
from clsp.recipes.names import recipe_names

if TYPE_CHECKING:
    from clsp.engine.threads import Threads
    from clsp.recipes.prepare import Prepared

_WIDTH = 120
_COLUMNS = (9, 10, 13, 13)
"""Widths of the table's numbers."""
_LIBRARIES = 1e9
"""Bytes that the GPU's driver and libraries take besides."""


def lay_out(
    prepared: Prepared, plan: Plan, stages: list[Stage], *, gpu: str | None, there: bool, found: Threads
) -> str:
    """Write the whole plan; ``found`` are the threads with which the stages were timed."""
    own = "" if prepared.name in recipe_names() else " (a file)"
    lines = [
        f"recipe {prepared.name}{own} on {prepared.images.source}",
        *textwrap.wrap(f"images: {describe_source(prepared.images, there)}", _WIDTH),
        "",
        *_table(plan, stages, gpu),
        "",
        *_entry("memory", _memory(plan, stages, gpu)),
        *_entry("disk", _disk(plan, stages)),
        *_entry("worth", worth(plan, stages)),
        *_entry("basis", " ".join(_basis(plan, stages, gpu, found))),
        *_entry("expected", prepared.recipe.about.expected),
    ]
    return "\n".join(lines)


def _entry(name: str, text: str) -> list[str]:
    lead = f"{name + ':':<10}"
    return textwrap.wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)) if text else []


def _table(plan: Plan, stages: list[Stage], gpu: str | None) -> list[str]:
    rows = [("stage", "what it does", "FLOPs", "memory", "here", gpu or "")]
    rows += [(s.name, s.what, flops(s.flops), size(s.memory), span(s.seconds), _hours(plan, [s])) for s in stages]
    total = (flops(sum(s.flops for s in stages)), size(max(s.memory for s in stages)))
    together = span(sum(s.seconds for s in stages))
    rows.append(("together, without the evaluation", "", *total, together, _hours(plan, stages)))
    first = max(len(row[0]) for row in rows[:-1]) + 2
    second = max(len(row[1]) for row in rows) + 2
    lines = []
    for name, what, *numbers in rows:
        lead = f"{name:<{first}}{what:<{second}}" if what else f"{name:<{first + second}}"
        lines.append((lead + "".join(f"{number:>{width}}" for number, width in zip(numbers, _COLUMNS))).rstrip())
    return lines


def _hours(plan: Plan, stages: Iterable[Stage]) -> str:
    """How long ``stages`` take on the named GPU; empty without one."""
    if plan.gpu is None:
        return ""
    gpu = plan.gpu
    return span(sum(s.flops / (gpu.peak(bf16=s.bf16) * UTILISATION * plan.devices) for s in stages))


def _memory(plan: Plan, stages: list[Stage], gpu: str | None) -> str:
    largest = max(stages, key=lambda stage: stage.memory)
    place, room, more = device(plan, gpu)
    needed = largest.memory + more
    images = plan.images
    ram = plan.pixels(len(images.train) + (0 if images.test is None else len(images.test)))
    text = f"{size(needed)} at most ({largest.name}"
    text += f", with {size(more)} for the GPU's libraries)" if more else ")"
    text += f"; {place} has {size(room)}: "
    if needed <= room:
        text += "it fits. "
    else:
        text += "it does NOT fit; lower the stage's batch_size (and the learning rate with it), or share it among more "
        text += "--hardware.devices. "
    kept = "stay in RAM" if in_memory(images.source) else "are stored on the disk and mapped"
    text += f"The decoded images, {size(ram)}, {kept}"
    if not plan.draws():
        return f"{text}."
    candidates = plan.trained() * plan.recipe.synthesize.candidates
    copied = "is copied to the device" if plan.resident(candidates) else "is read from the disk as it is needed"
    return f"{text}; the bank, {size(plan.pixels(candidates))}, {copied}."


def device(plan: Plan, gpu: str | None) -> tuple[str, float, float]:
    """Name and bytes of the device that is planned for, and what its libraries take of them."""
    import torch

    from clsp.engine.hardware import device_of
    from clsp.memory import machine_memory

    if plan.gpu is not None:
        return f"the {gpu}", plan.gpu.memory, _LIBRARIES
    here = device_of(plan.recipe.hardware)
    if here.type == "cuda":
        return "the GPU here", float(torch.cuda.get_device_properties(here).total_memory), _LIBRARIES
    return "this machine", machine_memory(), 0.0


def _disk(plan: Plan, stages: list[Stage]) -> str:
    encoders = [stage for stage in stages if stage.name.startswith("encoder ")]
    images, parts = plan.images, dict[str, float]()
    if plan.draws():
        parts["the bank"] = plan.pixels(plan.anchors() * plan.recipe.synthesize.candidates)
    for model in (stage for stage in stages if stage.name == "diffusion model"):
        parts["the diffusion model with its checkpoint"] = model.weights + model.checkpoint
    name = "the encoder" if len(encoders) == 1 else f"{len(encoders)} encoders"
    parts[f"{name} with checkpoint and features"] = sum(stage.weights + stage.checkpoint for stage in encoders)
    parts["embeddings.parquet"] = encoders[0].embeddings  # of the first encoder alone
    if not in_memory(images.source):
        parts["decoded images"] = plan.pixels(len(images.train) + (0 if images.test is None else len(images.test)))
    listed = ", ".join(f"{name} {size(value)}" for name, value in parts.items())
    free = shutil.disk_usage(".").free
    return f"{size(sum(parts.values()))} in all: {listed}; {size(free)} are free in this folder."


def _basis(plan: Plan, stages: list[Stage], gpu: str | None, found: Threads) -> Iterable[str]:
    yield "FLOPs (2 a multiplication and addition) and memory are counted on the networks themselves."
    some = [stage for stage in stages if stage.timed[0] < stage.timed[1]]
    if some:
        yield (
            "The time here is that of a few steps on part of a batch ("
            + ", ".join(f"{stage.name}: {stage.timed[0]} of {stage.timed[1]} images" for stage in some)
            + ")."
        )
    else:
        yield "The time here is that of a few steps of each stage."
    if found.busy:
        yield f"Other work keeps {found.busy} of the {found.cores} cores busy: the times here are those of " + (
            f"{threads(found.number)}, which such a run has, too; on an idle machine it is quicker."
            if found.busy < found.cores
            else "one thread with a core to itself; a run takes longer while that work lasts."
        )
    if plan.gpu is not None:
        peaks = sorted({stage.bf16 and plan.gpu.bf16 is not None for stage in stages})
        texts = [f"{plan.gpu.peak(bf16=bf16) / 1e12:g} TFLOPS ({'bf16' if bf16 else '32 bit'})" for bf16 in peaks]
        peak = " or ".join(texts)
        yield f"Times on {gpu} assume {UTILISATION:.0%} of a nominal {peak}; small networks reach less."
    if plan.devices > 1:
        yield f"Batches are shared by {plan.devices} devices; memory is that of one of them."


def flops(value: float) -> str:
    """Write FLOPs as ``3.73 E``: with the prefix of the unit."""
    for prefix, unit in (("Z", 1e21), ("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if value >= unit:
            return f"{value / unit:.3g} {prefix}"
    return f"{value / 1e6:.3g} M"


def size(value: float) -> str:
    """Write bytes as ``1.23 GB``."""
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def span(seconds: float) -> str:
    """Write a duration; beyond three days in days."""
    return console.duration(seconds) if seconds < 72 * 3600 else f"{seconds / 86400:.0f} days"
