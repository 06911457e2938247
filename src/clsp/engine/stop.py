"""Signals: Ctrl-C and SIGTERM end a command in order, SIGUSR1 saves; under SLURM it saves and puts the job back.

SLURM sends SIGUSR1 before a job's time is over where it was asked to (``#SBATCH --signal=USR1@120``). What is saved is
clsp's own checkpoint, in the stage's folder; Lightning's ``hpc_ckpt`` is neither written nor read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from clsp import console, distributed

SAVE: int | None = getattr(signal, "SIGUSR1", None)
"""Not on Windows."""
_NUMBERS = tuple(int(number) for number in (signal.SIGINT, signal.SIGTERM, SAVE) if number is not None)


class Stop:
    """Whether this process was asked to stop or to save, and by what."""

    signal: int | None = None
    """The signal that asks to stop."""
    _save: bool = False

    def note(self, number: int, frame: Any) -> None:
        """Take a signal; the second one that asks to stop interrupts at once."""
        if number == SAVE and not under_slurm():
            self._save = True
            return
        if self.signal is not None:
            signal.default_int_handler(number, frame)
        self.signal = number

    def asks_to_save(self) -> bool:
        """Whether to save and go on; asked once for each signal."""
        asks, self._save = self._save, False
        return asks


@contextmanager
def stopping() -> Iterator[Stop]:
    """Note signals within the block, so that what was done can be saved before it is left."""
    stop = Stop()
    with _handled(dict.fromkeys(_NUMBERS, stop.note)):
        yield stop


@contextmanager
def orderly() -> Iterator[None]:
    """Within the block let signals end the command as an exception would: files are whole, and a line says so."""

    def end(number: int, frame: Any) -> None:
        if number == SAVE and not under_slurm():
            console.say("clsp: SIGUSR1: nothing is to be saved at this moment; going on")
            return
        stop = Stop()
        stop.signal = number
        leave(stop, "clsp: what was finished is kept")

    with _handled({number: end for number in _NUMBERS if number != signal.SIGINT}):
        yield


def leave(stop: Stop, kept: str) -> NoReturn:
    """Leave because of a signal.

    Args:
        stop: what asked for it.
        kept: what is kept, for the user.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
        SystemExit: with status 128 and the signal's number.
    """
    number = int(stop.signal or signal.SIGTERM)
    console.say(f"{kept} ({signal.Signals(number).name}); the same command goes on there")
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number == SAVE:
        _requeue()
    raise SystemExit(128 + number)


def under_slurm() -> bool:
    """Whether this is a job of SLURM, which can be put back into the queue."""
    return "SLURM_JOB_ID" in os.environ


def _requeue() -> None:
    """Put this job back into the queue; the first of several processes does."""
    if distributed.rank() != 0:
        return
    job, command = os.environ["SLURM_JOB_ID"], shutil.which("scontrol")
    if command is None:
        console.say(f"clsp: job {job} was not put back into the queue: scontrol is not in PATH; submit it again")
        return
    done = subprocess.run([command, "requeue", job], capture_output=True, text=True, check=False)
    failed = f"was not put back into the queue ({' '.join(done.stderr.split())}); submit it again"
    console.say(f"clsp: job {job} {failed if done.returncode else 'was put back into the queue'}")


@contextmanager
def _handled(handlers: dict[int, Callable[[int, Any], None]]) -> Iterator[None]:
    old: dict[int, Any] = {}
    for number, handler in handlers.items():
        try:
            old[number] = signal.signal(number, handler)
        except ValueError:  # not the main thread: the signals are somebody else's
            break
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
