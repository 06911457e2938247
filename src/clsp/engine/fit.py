"""The loop of all trainings: a step, its gradient, the optimiser, what looks on, and a checkpoint now and then."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clsp import console, distributed, faults, files
from clsp.engine.batches import Batches
from clsp.engine.checkpoint import ANEW, load_checkpoint, save_checkpoint
from clsp.engine.course import Course, Pace
from clsp.engine.finite import NonFiniteLossError as NonFiniteLossError
from clsp.engine.finite import diverged, require_finite, require_finite_weights
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import Precision, fabric_for
from clsp.engine.log import Log
from clsp.engine.memory import train_within
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

    course: Course
    """Steps of the whole training, and where each of them is in the schedules."""
    steps_per_epoch: int
    batches: Batches
    """Which images each step takes."""
    seed: int
    """Names all draws, torch's own as well."""
    gradient_clip: float | None
    """Largest norm of the gradient; None: no clipping."""
    output: Out
    """What the last step computed."""

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.course.steps

    @abstractmethod
    def step(self, number: int) -> Out:
        """Compute the step ``number``, from 0: the batch, the network, the loss terms.

        Training, the counting of FLOPs, the preflight and the pictures all call this.
        """

    @abstractmethod
    def optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """Make the optimiser and the schedule of its learning rate, which moves with every step."""

    def blank_step(self, images: int) -> None:
        """A step's forward and backward pass on so many images without content, to reckon what it takes."""
        raise NotImplementedError

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
    pace: Pace | None = None
    """Keeps the training within its time; None: it takes the steps that were planned."""
    log_every: int = 10
    callbacks: Sequence[Callback[Any]] = ()
    batch_setting: str = ""
    """Name of the setting of the batch size: where memory does not suffice, what would fit is said by it."""

    def run(self, training: Training[Any]) -> None:
        """Train to the end and keep the final checkpoint; ``training`` is then on the device that it was trained on.

        Raises:
            UserError: the checkpoint in the folder cannot be read, a loss became non-finite, or memory is too
                small.
            KeyboardInterrupt, SystemExit: a signal (see `clsp.engine.stop`), once a checkpoint is written.
        """
        if not self.batch_setting:
            self._run(training)
            return
        batch, setting = len(training.batches.rows()), self.batch_setting
        step = training.blank_step
        train_within(partial(self._run, training), training, step, batch, title=self.title, setting=setting)

    def _run(self, training: Training[Any]) -> None:
        files.make_folder(self.folder)
        fabric = fabric_for(self.hardware, self.precision)
        network = fabric.setup_module(self.hardware.synchronised(training))
        optimizer, schedule = training.optimizer()
        optimizer = fabric.setup_optimizers(optimizer)
        training.to_device(fabric.device)
        state = _State(self.folder, training, optimizer, schedule, self.pace)
        log = Log(self.folder / "metrics.jsonl", self.hardware.extra_loggers(self.folder))
        first = state.load()
        if self.pace is not None:
            self.pace.start(training.course, first)
        if first:
            console.say(f"{self.title}: continues at step {first} of {training.steps}")
        log.rewind(first)
        saved = time.monotonic()
        with stopping() as stop, console.progress(self.title, training.steps, "steps", first) as bar:
            number = first
            while number < training.steps:  # the course may be changed on the way
                torch.manual_seed(seed_of(training, number))  # dropout: as after a resume
                loss = network(number)
                fabric.backward(loss)
                norm = self._clipped(training)
                require_finite(training.output.terms, norm, number, self.folder)
                metrics = self._seen(training, number)
                self._take(optimizer, number)
                optimizer.zero_grad()
                rate = float(optimizer.param_groups[0]["lr"])
                schedule.step()
                training.after_step(number)
                metrics |= self._seen_after(training, number + 1)
                log.note(number + 1, loss, training, norm, rate, metrics, every=self.log_every)
                faults.point("step")
                files.stop_if_damaged()
                bar.advance(1, loss=loss.detach(), **{name: v for name, v in metrics.items() if name == "knn"})
                number += 1
                if self.pace is not None:
                    self.pace.look(training.course, number, self.title)
                    bar.total = training.steps
                if _told_to_stop(stop, number, training.steps):
                    self._save(state, log, number)
                    leave(stop, f"{self.title}: step {number} of {training.steps} is saved")
                if stop.asks_to_save():
                    self._save(state, log, number)
                    console.say(f"{self.title}: step {number} of {training.steps} is saved (SIGUSR1); going on")
                if number < training.steps and time.monotonic() - saved >= 60 * self.checkpoint_minutes:
                    self._save(state, log, number)
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


def seed_of(training: Training[Any], number: int) -> int:
    """Name the random numbers that a network draws by itself in a step."""
    return hash((training.seed, number, distributed.rank())) % 2**63


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds."""

    folder: Path
    training: Training[Any]
    optimizer: Any
    schedule: LRScheduler
    pace: Pace | None = None

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
            self.training.course.replay(state.get("course", []))
            if self.pace is not None:
                self.pace.resume(state.get("pace", []))
            return int(state["step"])

    def save(self, done: int) -> None:
        """Write the state after ``done`` steps; the first process does."""
        if distributed.rank() == 0:
            # At the end its bytes are those of a training without a pace.
            asked = [] if self.pace is None or done >= self.training.steps else self.pace.kept()
            state = {
                "step": done,
                "training": self.training.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                **({"course": self.training.course.turns} if self.training.course.turns else {}),
                **({"pace": asked} if asked else {}),
            }
            save_checkpoint(self.path, state)


def _told_to_stop(stop: Stop, done: int, steps: int) -> bool:
    """Whether to stop now. All processes must stop after the same step, so that they ask each other now and then."""
    if distributed.world_size() == 1:
        return stop.signal is not None
    if done % _ASK and done != steps:
        return False
    number = distributed.largest(stop.signal or 0)
    stop.signal = number or None
    return bool(number)
