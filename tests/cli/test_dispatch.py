"""The table of commands, and how a command ends that was interrupted, or that has a mistake of ours."""

from __future__ import annotations

from importlib import import_module

import pytest

from clsp.cli.main import dispatch
from clsp.cli.table import COMMANDS

DIGITS = ("--data", "digits", "--recipe", "smoke")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(name, capsys):
    command = COMMANDS[name]
    assert callable(getattr(import_module(f"clsp.cli.{command.module}"), command.function))
    assert dispatch([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.split("\n")[0].split(" ")[:3] == ["usage:", "clsp", name]
    assert max(map(len, text.splitlines())) <= 120


def test_interrupt_ends_cleanly(monkeypatch, capsys):
    from clsp.cli import commands

    def stopped(call):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "check", stopped)
    assert dispatch(["check", *DIGITS]) == 130
    told = capsys.readouterr().err
    assert told.startswith("clsp: interrupted")
    assert told.count("\n") == 1


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    from clsp.cli import commands

    def wrong(call):
        raise ValueError("a bug")

    monkeypatch.setattr(commands, "check", wrong)
    with pytest.raises(ValueError, match="a bug"):
        dispatch(["check", *DIGITS])
