"""The Lightning trainer as both trainings use it: no pickle, plain logs, resume, hardware found by itself."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch import Tensor

from clsp import console, distributed, faults, files
from clsp.engine.checkpoint import SafeCheckpointIO
from clsp.engine.hardware import HardwareConfig, autocast_precision
from clsp.errors import UserError


class NonFiniteLossError(UserError):
    """A loss term or the gradient became NaN or infinite; raised before the optimiser could take the step."""


def require_finite(terms: dict[str, Tensor], norm: Tensor, step: int) -> None:
    """Stop when a loss term (scalars without gradient) or the norm of the gradient is NaN or infinite, naming it.

    To be called once between backward pass and optimiser step: the question waits for the device.

    Raises:
        NonFiniteLossError: names the terms, the step, and what usually helps.
    """
    if faults.point("loss") == "nan":
        terms = {name: term * math.nan for name, term in terms.items()}
    if faults.point("gradient") == "nan":
        norm = norm * math.nan
    finite = torch.isfinite(torch.stack([norm.float(), *(term.float() for term in terms.values())]))
    if bool(finite.all()):
        return
    bad = " and ".join(name for name, fine in zip(terms, finite[1:].tolist()) if not fine)
    what = f"loss term {bad}" if bad else "gradient norm"
    raise NonFiniteLossError(
        f"the {what} became non-finite at step {step}; the last checkpoint is intact; "
        "start anew in another --out with a lower learning rate, a longer warm-up, or precision 32"
    )


class JsonlLogger(Logger):
    """One JSON line for every logged step, in ``FOLDER/metrics.jsonl``, written by the first process alone."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """Lightning asks for a name."""
        return "jsonl"

    @property
    def version(self) -> str:
        """Lightning asks for a version."""
        return "0"

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Settings stand in recipe.yaml, not in the log."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line. Values that are not finite are written as null."""
        if distributed.rank() == 0:
            clean = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
            files.append_jsonl(self.path, {"step": (step or 0) + 1, **clean})

    def rewind(self, step: int) -> None:
        """Forget lines after ``step``: the steps that a killed run took after its last checkpoint are repeated."""
        if distributed.rank() == 0 and self.path.exists():
            kept = [line for line in files.read_jsonl(self.path) if line["step"] <= step]
            files.write_text(self.path, "".join(files.json.dumps(line) + "\n" for line in kept))


_ASK = 10
"""Steps after which several processes ask each other whether a checkpoint is due."""


class _Watch(Callback):
    """Shows progress and saves a checkpoint every few minutes."""

    def __init__(self, title: str, save: Callable[[Trainer], None], minutes: float) -> None:
        self.title, self.save, self.seconds = title, save, 60 * minutes
        self._saved = time.monotonic()
        self._context: Any = None
        self._bar: console.Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved = time.monotonic()
        if distributed.rank() == 0:
            self._context = console.progress(self.title, int(trainer.max_steps), "steps", trainer.global_step)
            self._bar = self._context.__enter__()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        faults.point("step")
        if self._bar is not None:
            self._bar.advance(1, **{n: v for n, v in trainer.callback_metrics.items() if n in ("loss", "knn")})
        if trainer.global_step < trainer.max_steps and self._due(trainer):
            self.save(trainer)
            self._saved = time.monotonic()

    def _due(self, trainer: Trainer) -> bool:
        """Whether it is time for a checkpoint, which all processes must agree on: to save is to wait for the others.

        Their clocks differ, so that now and then they ask each other. Not at every step: to ask waits for the device.
        """
        late = time.monotonic() - self._saved >= self.seconds
        if self.seconds == 0 or trainer.world_size == 1:
            return late
        return trainer.global_step % _ASK == 0 and trainer.strategy.reduce_boolean_decision(late, all=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException):  # raised between two steps: preempted, nothing need be lost
            self.save(trainer)
        self._close()  # Lightning calls no teardown then, and a bar that is left open hides what is said after it

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._bar = None


@dataclass(kw_only=True)
class Fit:
    """One training run of ``module`` in ``folder``, resumed from ``folder/checkpoints`` where a kill left it."""

    folder: Path
    title: str
    steps: int
    precision: Literal["auto", "32", "bf16"]
    hardware: HardwareConfig
    checkpoint_minutes: float
    on_checkpoint: Callable[[], None]
    """Called after every checkpoint: the stage writes down the time that led to it."""
    log_every: int = 10
    callbacks: tuple[Callback, ...] = ()

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "checkpoints" / "last.safetensors"

    def run(self, module: LightningModule) -> None:
        """Train to the end and keep the final checkpoint; ``module`` is then on the device that it was trained on.

        Raises:
            UserError: the checkpoint in the folder cannot be read, or a loss became non-finite.
            KeyboardInterrupt: Ctrl-C; the last checkpoint stays.
            SystemExit: with status 143 after SIGTERM (preemption), once a checkpoint is written.
        """
        _quiet()
        logger = JsonlLogger(self.folder / "metrics.jsonl")
        resume = self.checkpoint if self.checkpoint.exists() else None
        if resume is not None:
            done = int(SafeCheckpointIO().load_checkpoint(resume)["global_step"])
            console.say(f"{self.title}: continues at step {done} of {self.steps}")
            logger.rewind(done)
        elif distributed.rank() == 0:
            logger.path.unlink(missing_ok=True)
        trainer = self._trainer(logger)
        try:
            trainer.fit(module, ckpt_path=resume)
        except SIGTERMException:
            raise SystemExit(143) from None
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        self._save(trainer)
        module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU, away from the data

    def _trainer(self, logger: Logger) -> Trainer:
        """Make Lightning's trainer.

        Raises:
            UserError: there are not as many devices or processes as the settings say.
        """
        expected, started = self.hardware.processes(), distributed.world_size()
        if started not in (1, expected):
            raise UserError(
                f"the launcher started {started} processes, and --hardware.devices (a node) times --hardware.nodes "
                f"are {expected}; set these to match"
            )
        try:
            return Trainer(
                **self.hardware.trainer_options(),
                precision=autocast_precision(self.precision, self.hardware),
                max_steps=self.steps,
                max_epochs=-1,
                logger=[logger, *self.hardware.extra_loggers(self.folder)],
                callbacks=[_Watch(self.title, self._save, self.checkpoint_minutes), *self.callbacks],
                plugins=[SafeCheckpointIO(), *self.hardware.launcher()],
                log_every_n_steps=self.log_every,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                num_sanity_val_steps=0,
                default_root_dir=self.folder,
            )
        except MisconfigurationException as error:  # fewer devices than wanted, or none of this kind
            raise UserError(f"--hardware.devices {self.hardware.devices}: {error}") from error

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.checkpoint)
        self.on_checkpoint()


def _quiet() -> None:
    """Silence Lightning's advice; what the user needs to know is said by the stages."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
