"""Progress reads its figures when it shows them: reading one off a GPU waits for the GPU."""

from __future__ import annotations

import pytest

from clsp import console


class Figure:
    """A loss that counts how often it is looked at."""

    looks = 0

    def __float__(self) -> float:
        type(self).looks += 1
        return 1.25


@pytest.mark.parametrize("bar", [console.Progress, console._Live])
def test_figures_are_read_when_they_are_shown(bar, capsys):
    Figure.looks = 0
    progress = bar("encoder", 1000, "steps", 0)
    for _ in range(1000):
        progress.advance(loss=Figure())
    looked = Figure.looks
    progress.close()
    assert looked <= 2
    assert "loss 1.25" in capsys.readouterr().err


def test_a_line_is_shown_every_ten_seconds(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress = console.Progress("encoder", 100, "steps", 0)
    for now[0] in range(1, 31):
        progress.advance(loss=0.5)
    assert capsys.readouterr().err.count("encoder: ") == 3
