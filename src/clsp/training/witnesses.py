"""Witnesses: what can stand still while the loss and the probe look plausible, each a line in the log and an alarm.

What is logged is a function of the step alone, so that a resumed training logs the same; what an alarm compares with
an earlier step is not logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsp import console, distributed, files
from clsp.encoders.memory import Memory
from clsp.engine.ema import EMA
from clsp.engine.fit import Callback
from clsp.methods.dino import Center
from clsp.training.step import Pretraining, Seen

Part = TypeVar("Part", bound=nn.Module)

_SAMPLE, _IMAGES, _ANCHORS = 4096, 32, 16
"""Values of a teacher, images of a batch, and anchors of a bank that are looked at."""
_SETTLED = 50
"""Steps before which outputs are not judged, as in `HealthCheck`."""
_CONSTANT = 1e-3
"""Spread of a teacher's outputs, 1 where they fill their sphere, below which they are all alike."""
_MANY = 0.5
"""Fraction of the anchors whose candidates may be alike: those of blank images are."""


class Alarms(Callback[Seen]):
    """Says each alarm once, in the first process."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def alarm(self, what: str, number: int, text: str) -> None:
        """Say ``text`` of step ``number``, unless ``what`` was said before."""
        if what not in self._told and distributed.rank() == 0:
            self._told.add(what)
            console.say(f"warning: step {number}: {text}")


class TeacherWitness(Alarms):
    """The moving copy follows the network, and does not give all images the same output."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, tuple[Tensor, Tensor]] = {}

    def on_step(self, training: Pretraining, number: int, output: Seen) -> dict[str, float]:
        """Log how far each lies from the network (relative to its length), and how its outputs spread."""
        found: dict[str, float] = {}
        for name, part in named(training.method, EMA):
            teacher, student = _some(part.average), _some(part.followed)
            found["teacher_lag"] = float((teacher - student).norm() / student.norm().clamp_min(1e-12))
            found["teacher_std"] = spread(_encoded(part.average, output.views.second[:_IMAGES]))
            old = self._before.get(name)
            still = old is not None and torch.equal(old[0], teacher) and not torch.equal(old[1], student)
            if still and part.moves(output.views.progress):
                self.alarm(name, number, f"the moving copy '{name}' has not moved since the last logged step")
            if number > max(training.steps // 5, _SETTLED) and found["teacher_std"] < _CONSTANT:
                self.alarm(
                    f"{name} constant",
                    number,
                    f"the moving copy '{name}' gives all images the same output: "
                    "its targets say nothing; try a lower learning rate or another momentum",
                )
            self._before[name] = teacher, student
        return found


class MemoryWitness(Alarms):
    """Memories take each batch, and the centre of the teacher's outputs follows them."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, Tensor] = {}

    def on_step(self, training: Pretraining, number: int, output: Seen) -> dict[str, float]:
        """Log which fraction of the memories' rows hold images, and the length of the centre."""
        found: dict[str, float] = {}
        for name, memory in named(training.method, Memory):
            found["memory_filled"] = float((memory.ids >= 0).float().mean())
            newest = memory.rows[(memory.next - 1) % len(memory.rows)].clone()
            self._still(name, newest, number, f"the memory '{name}' has taken no batch since the last logged step")
        for name, center in named(training.method, Center):
            found["center_length"] = float(center.value.norm())
            if center.moves:
                self._still(name, center.value.clone(), number, f"the centre '{name}' has not moved since then")
        return found

    def _still(self, name: str, value: Tensor, number: int, text: str) -> None:
        if name in self._before and torch.equal(self._before[name], value):
            self.alarm(name, number, text)
        self._before[name] = value


class BankWitness(Alarms):
    """The candidates of an anchor differ from each other and from the anchor."""

    def on_step(self, training: Pretraining, number: int, output: Seen) -> dict[str, float]:
        """Log how many of some anchors of the batch have candidates that are one image, or the anchor itself."""
        bank, images = training.material.bank, training.material.images
        if bank is None:
            return {}
        ids = output.views.ids[:_ANCHORS].cpu().numpy()
        ids = ids[np.isin(ids, bank.ids)]
        if not len(ids):
            return {}
        alike, copies = likeness(bank.array(bank.rows(ids)), files.take(images, ids))
        look = f"look at {bank.folder / 'sheet.png'}"
        if alike > _MANY:
            self.alarm("alike", number, f"{alike:.0%} of the anchors have two candidates that are one image; {look}")
        if copies > _MANY:
            self.alarm("copies", number, f"{copies:.0%} of the anchors have a candidate that is the anchor; {look}")
        return {"candidates_alike": alike, "candidates_copied": copies}


def likeness(candidates: np.ndarray, anchors: np.ndarray) -> tuple[float, float]:
    """Count anchors whose candidates are no candidates.

    Args:
        candidates: uint8 [N, k, C, H, W].
        anchors: uint8 [N, C, H, W].

    Returns:
        The fraction of anchors with two equal candidates, and with a candidate that is the anchor; in [0, 1].
    """
    flat, own = candidates.reshape(*candidates.shape[:2], -1), anchors.reshape(len(anchors), -1)
    alike = [len(np.unique(each, axis=0)) < len(each) for each in flat]
    copies = (flat == own[:, None]).all(axis=2).any(axis=1)
    return float(np.mean(alike)), float(np.mean(copies))


def spread(outputs: Tensor) -> float:
    """Standard deviation over images of unit outputs (float [B, D]) times sqrt(D): 1 where they fill the sphere."""
    units = F.normalize(outputs.float(), dim=1)
    return float(units.std(dim=0).mean() * units.shape[1] ** 0.5)


def named(method: nn.Module, kind: type[Part]) -> Iterator[tuple[str, Part]]:
    """Yield the parts of one kind with their names."""
    for name, part in method.named_modules():
        if isinstance(part, kind):
            yield name, part


@torch.no_grad()
def _some(network: nn.Module) -> Tensor:
    """A copy of some values of a network's parameters, evenly from each of them."""
    parts = list(network.parameters())
    each = max(_SAMPLE // len(parts), 1)
    return torch.cat([p.flatten()[:: max(p.numel() // each, 1)][:each].float() for p in parts])


@torch.no_grad()
def _encoded(network: nn.Module, images: Tensor) -> Tensor:
    """Outputs in eval mode, which leaves its statistics as they are."""
    modes = {part: part.training for part in network.modules()}
    outputs: Tensor = network.eval()(images)
    for part, mode in modes.items():
        part.training = mode
    return outputs


def witnesses() -> tuple[Alarms, ...]:
    """All of them, new."""
    return TeacherWitness(), MemoryWitness(), BankWitness()
