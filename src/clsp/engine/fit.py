"""The loop of all trainings: a step, its gradient, the optimiser, what looks on, and a checkpoint now and then."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp import console, distributed, faults, files
from clsp.engine.checkpoint import ANEW, load_checkpoint, save_checkpoint
from clsp.engine.finite import NonFiniteLossError as NonFiniteLossError
from clsp.engine.finite import diverged, require_finite, require_finite_weights
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import Precision, fabric_for
from clsp.engine.stage import require_there
from clsp.engine.stop import Stop, leave, stopping

Out = TypeVar("Out", bound="StepOutput")

_ASK = 10
"""Steps after which several processes ask each other whether one was told to stop: asking waits for the device."""


@dataclass(frozen=True)
class StepOutput:
    """What a step computed."""

    terms: dict[str, Tensor]
    """Named terms of the loss, scalars; the loss is their sum."""

    @property
    def loss(self) -> Tensor:
        """The loss, a scalar."""
        return torch.stack(list(self.terms.values())).sum()


class Training(nn.Module, ABC, Generic[Out]):
    """What is trained. All randomness of a step is a function of (seed, step, image): a resumed run is the same run.

    Parameters and buffers are its state; data are no part of it.
    """

    steps: int
    """Steps of the whole training."""
    steps_per_epoch: int
    gradient_clip: float | None
    """Largest norm of the gradient; None: no clipping."""
    output: Out
    """What the last step computed."""

    @abstractmethod
    def step(self, number: int) -> Out:
        """Compute the step ``number``, from 0: the batch, the network, the loss terms.

        Training, the counting of FLOPs, the preflight and the pictures all call this.
        """

    @abstractmethod
    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """Make the optimiser and the schedule of its learning rate, which moves with every step."""

    def to_device(self, device: torch.device) -> None:
        """Move the data where the network is; called once, before the first step."""

    def after_step(self, number: int) -> None:
        """Called after the optimiser's step: averages move and memories take the batch."""

    def forward(self, number: int) -> Tensor:
        """Return the loss of a step; DDP listens here."""
        self.output = self.step(number)
        return self.output.loss


class Callback(Generic[Out]):
    """Looks on at a training. What it returns is logged."""

    def on_step(self, training: Any, number: int, output: Out) -> dict[str, float]:
        """Called for each logged step, before the optimiser's step, with what the step computed."""
        return {}

    def on_step_end(self, training: Any, number: int) -> dict[str, float]:
        """Called after every step; ``number`` is from 1: the steps that are done."""
        return {}


@dataclass(kw_only=True)
class Fit:
    """One training in ``folder``, resumed from ``folder/checkpoints`` where a kill left it."""

    folder: Path
    title: str
    precision: Precision
    hardware: HardwareConfig
    checkpoint_minutes: float
    on_checkpoint: Callable[[], None]
    """Called after every checkpoint: the stage writes down the time that led to it."""
    log_every: int = 10
    callbacks: Sequence[Callback[Any]] = ()

    def run(self, training: Training[Any]) -> None:
        """Train to the end and keep the final checkpoint; ``training`` is then on the device that it was trained on.

        Raises:
            UserError: the checkpoint in the folder cannot be read, or a loss became non-finite.
            KeyboardInterrupt, SystemExit: a signal (see `clsp.engine.stop`), once a checkpoint is written.
        """
        files.make_folder(self.folder)
        fabric = fabric_for(self.hardware, self.precision)
        network = fabric.setup_module(self.hardware.synchronised(training))
        optimizer, schedule = training.optimizer()
        optimizer = fabric.setup_optimizers(optimizer)
        training.to_device(fabric.device)
        state = _State(self.folder, training, optimizer, schedule)
        log = Log(self.folder / "metrics.jsonl", self.hardware.extra_loggers(self.folder))
        first = state.load()
        if first:
            console.say(f"{self.title}: continues at step {first} of {training.steps}")
        log.rewind(first)
        saved = time.monotonic()
        with stopping() as stop, console.progress(self.title, training.steps, "steps", first) as bar:
            for number in range(first, training.steps):
                torch.manual_seed(seed_of(training, number))  # dropout: as after a resume
                loss = network(number)
                fabric.backward(loss)
                norm = self._clipped(training)
                require_finite(training.output.terms, norm, number, self.folder)
                metrics = self._seen(training, number)
                self._take(optimizer, number)
                optimizer.zero_grad()
                schedule.step()
                training.after_step(number)
                metrics |= self._seen_after(training, number + 1)
                log.note(number + 1, loss, training, norm, schedule, metrics, every=self.log_every)
                faults.point("step")
                files.stop_if_damaged()
                bar.advance(1, loss=loss.detach(), **{name: v for name, v in metrics.items() if name == "knn"})
                if _told_to_stop(stop, number + 1, training.steps):
                    self._save(state, log, number + 1)
                    leave(stop, f"{self.title}: step {number + 1} of {training.steps} is saved")
                if stop.asks_to_save():
                    self._save(state, log, number + 1)
                    console.say(f"{self.title}: step {number + 1} of {training.steps} is saved (SIGUSR1); going on")
                if number + 1 < training.steps and time.monotonic() - saved >= 60 * self.checkpoint_minutes:
                    self._save(state, log, number + 1)
                    saved = time.monotonic()
        self._save(state, log, training.steps)

    def _clipped(self, training: Training[Any]) -> Tensor:
        limit = math.inf if training.gradient_clip is None else training.gradient_clip
        return torch.nn.utils.clip_grad_norm_(training.parameters(), limit)

    def _take(self, optimizer: Any, number: int) -> None:
        try:
            optimizer.step()
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            raise diverged("step of the optimiser", number, self.folder) from error  # a rate that is no 32-bit number

    def _seen(self, training: Training[Any], number: int) -> dict[str, float]:
        if (number + 1) % self.log_every:
            return {}
        found: dict[str, float] = {}
        for callback in self.callbacks:
            found |= callback.on_step(training, number, training.output)
        return found

    def _seen_after(self, training: Training[Any], done: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for callback in self.callbacks:
            found |= callback.on_step_end(training, done)
        return found

    def _save(self, state: _State, log: Log, done: int) -> None:
        files.settle()  # a checkpoint of steps that saw damaged files would outlive their repair
        require_finite_weights(state.training, done, self.folder)
        log.flush(durable=True)  # before the checkpoint: a line that is lost would not be written again
        state.save(done)
        self.on_checkpoint()


def seed_of(training: Any, number: int) -> int:
    """Name the random numbers that a network draws by itself in a step."""
    return hash((training.seed, number, distributed.rank())) % 2**63


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds."""

    folder: Path
    training: Training[Any]
    optimizer: Any
    schedule: LRScheduler

    @property
    def path(self) -> Path:
        return self.folder / "checkpoints" / "last.safetensors"

    def load(self) -> int:
        """Restore the newest checkpoint; return the steps that it has done, 0 without one."""
        if not self.path.exists():
            return 0
        state = load_checkpoint(self.path)
        with files.foreign(self.path, ANEW, what="is no checkpoint of this training"):  # perhaps another's
            self.training.load_state_dict(state["training"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            return int(state["step"])

    def save(self, done: int) -> None:
        """Write the state after ``done`` steps; the first process does."""
        if distributed.rank() == 0:
            state = {
                "step": done,
                "training": self.training.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
            save_checkpoint(self.path, state)


class Log:
    """One JSON line for every logged step, in ``metrics.jsonl``, and the same for other loggers; one process writes."""

    def __init__(self, path: Path, others: Sequence[Any]) -> None:
        self.path, self._others = path, others
        self._lines: list[dict[str, Any]] = []

    def note(
        self,
        done: int,
        loss: Tensor,
        training: Training[Any],
        norm: Tensor,
        schedule: LRScheduler,
        metrics: dict[str, float],
        *,
        every: int,
    ) -> None:
        """Note the step, if it is to be logged. Values that are not finite are written as null."""
        if distributed.rank() != 0 or (done % every and not metrics):
            return
        terms = {name: term.detach() for name, term in training.output.terms.items()}
        values: dict[str, Any] = {"loss": loss.detach(), **terms, **metrics, "gradient_norm": norm}
        values = {name: float(value) for name, value in values.items()} | {"lr": schedule.get_last_lr()[0]}
        clean = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.append({"step": done, **clean, "epoch": (done - 1) // training.steps_per_epoch})
        if len(self._lines) >= 20:
            self.flush()
        for logger in self._others:
            logger.log_metrics(values, step=done - 1)

    def flush(self, *, durable: bool = False) -> None:
        """Write the lines that were noted; ``durable``: wait until they are on the disk."""
        if distributed.rank() == 0:
            require_there(self.path.parent)
            files.append_jsonl(self.path, self._lines, durable=durable)
        self._lines = []

    def rewind(self, step: int) -> None:
        """Forget lines after ``step``: the steps that a killed run took after its last checkpoint are repeated."""
        if distributed.rank() == 0 and self.path.exists():
            kept = [line for line in files.read_jsonl(self.path) if line["step"] <= step]
            files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def _told_to_stop(stop: Stop, done: int, steps: int) -> bool:
    """Whether to stop now. All processes must stop after the same step, so that they ask each other now and then."""
    if distributed.world_size() == 1:
        return stop.signal is not None
    if done % _ASK and done != steps:
        return False
    number = distributed.largest(stop.signal or 0)
    stop.signal = number or None
    return bool(number)
