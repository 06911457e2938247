"""What the user sees while a stage works: a live bar in a terminal or notebook, plain lines elsewhere (logs, CI)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, SupportsFloat

from clsp import distributed
from clsp.text import shown as shown

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines of one stage."""


def say(text: str) -> None:
    """Print one line for the user, on standard error, so that standard output holds results alone.

    Of several processes the first one speaks. Text from outside, such as a file name, does not steer the terminal.
    """
    if distributed.rank() == 0:
        print(shown(text), file=sys.stderr, flush=True)


def result(text: object) -> None:
    """Print what a command found, on standard output, in lines; of several processes the first one does."""
    if distributed.rank() == 0:
        known = sys.stdout.encoding or "utf-8"
        print(shown(str(text), lines=True).encode(known, "backslashreplace").decode(known))


def duration(seconds: float) -> str:
    """Write a duration as ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Progress:
    """The progress of one stage: steps done, rate, time left and the newest figures."""

    _every = PLAIN_SECONDS
    """Seconds between two showings."""

    def __init__(self, title: str, total: int, unit: str, done: int) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._at_start = done
        self._figures: dict[str, SupportsFloat] = {}
        self._start = self._shown = time.monotonic()

    @property
    def rate(self) -> float:
        """Units per second since this process began."""
        return (self.done - self._at_start) / max(time.monotonic() - self._start, 1e-9)

    @property
    def figures(self) -> str:
        """The newest figures as text."""
        return " ".join(f"{name} {float(value):.4g}" for name, value in self._figures.items())

    def line(self) -> str:
        """The progress as one plain line."""
        left = duration((self.total - self.done) / self.rate) + " left" if self.rate > 0 else ""
        percent = 100 * self.done / max(self.total, 1)
        parts = (
            f"{self.done}/{self.total} {self.unit}",
            f"{percent:.0f} %",
            f"{self.rate:.3g}/s",
            left,
            self.figures,
        )
        return f"{self.title}: " + "  ".join(part for part in parts if part)

    def advance(self, count: int = 1, **figures: SupportsFloat) -> None:
        """Count ``count`` more units as done; ``figures`` (a loss, an accuracy) are shown beside them.

        Figures may be tensors: they are read when they are shown, for reading one waits for its device.
        """
        self.done += count
        self._figures = figures or self._figures
        if time.monotonic() - self._shown >= self._every:
            self._shown = time.monotonic()
            self._show()

    def _show(self) -> None:
        say(self.line())

    def close(self) -> None:
        """Leave the last state on the screen."""
        end = f"{self.title}: {self.done} {self.unit} done"
        say(self.line() if self.done < self.total else ", ".join(part for part in (end, self.figures) if part))


class _Live(Progress):
    """The same, as a bar that rich redraws in place."""

    _every = 0.25

    def __init__(self, title: str, total: int, unit: str, done: int) -> None:
        super().__init__(title, total, unit, done)
        self._bar = self._begin()
        self._task = self._bar.add_task(title, total=total, completed=done, state="")

    def _begin(self) -> Any:
        """Return rich's bar, which redraws itself."""
        from rich.console import Console

        bar = _bar(Console(stderr=True))
        bar.start()
        return bar

    def _show(self) -> None:
        self._bar.update(
            self._task, total=self.total, completed=self.done, state=self.line().removeprefix(f"{self.title}: ")
        )

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        self._show()
        self._bar.stop()


class _InNotebook(_Live):
    """The same below a notebook's cell, redrawn in place; unlike rich's own way this needs no widgets."""

    _every = 0.5

    def _begin(self) -> Any:
        from IPython.display import display
        from rich import get_console

        bar = _bar(get_console())
        self._cell = display(bar.make_tasks_table([]), display_id=True, metadata={"progress": True})
        return bar

    def _show(self) -> None:
        super()._show()
        self._cell.update(self._bar.make_tasks_table(self._bar.tasks), metadata={"progress": True})


def _bar(console: Any) -> Any:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    return Bar(*columns, console=console, refresh_per_second=4)


def _kind() -> type[Progress]:
    """What shows progress here."""
    if distributed.rank() != 0:
        return Progress
    if "ipykernel" in sys.modules:
        from rich import get_console

        return _InNotebook if get_console().is_jupyter else Progress
    return _Live if sys.stderr.isatty() else Progress


@contextmanager
def progress(title: str, total: int, unit: str, done: int = 0) -> Iterator[Progress]:
    """Show the progress of ``total`` units of work, of which ``done`` were finished before a restart."""
    bar = _kind()(title, total, unit, done)
    try:
        yield bar
    finally:
        bar.close()
