"""The command starts fast and imports nothing heavy before it knows what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workshop import ENVIRONMENT

HEAVY = ("torch", "numpy", "timm", "diffusers", "lightning", "sklearn", "PIL")
TYPOS = [
    ("run", "--data", "digit", "--out", "r"),
    ("run", "--data", "digits", "--out", "r", "--recipe", "smok"),
    ("run", "--data", "digits", "--out", "r", "--method", "simclrr"),
    ("run", "--dat", "digits", "--out", "r"),
    ("rnu",),
]


def python(*arguments):
    """Run Python; return what came out and the processor's time in seconds, which other work does not change."""
    before = os.times()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return done, spent


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), (), *TYPOS])
def test_help_and_what_is_mistyped_are_answered_within_a_second(arguments):
    assert min(python("-m", "clsp", *arguments)[1] for _ in range(3)) < 0.6


@pytest.mark.parametrize(
    "code",
    [
        "import clsp; clsp.__version__; clsp.UserError",
        "from clsp.cli.main import dispatch; dispatch(['--help'])",
        *(f"from clsp.cli.main import dispatch; assert dispatch({list(typo)}) == 2" for typo in TYPOS),
    ],
)
def test_nothing_heavy_is_imported(code):
    done, _ = python("-c", f"{code}\nimport sys; print('found', [n for n in {HEAVY} if n in sys.modules])")
    assert done.stdout.splitlines()[-1] == "found []", done.stderr


def test_options_are_read_without_what_trains():
    """A command's help, and what is wrong with its values, need torch, but neither timm nor scikit-learn."""
    code = "from clsp.cli.main import dispatch; dispatch(['run', '--help'])"
    slow = ["timm", "torchvision", "sklearn", "scipy.stats", "diffusers", "lightning", "pandas"]
    done, _ = python("-c", f"{code}\nimport sys; print('found', [n for n in {slow} if n in sys.modules])")
    assert done.stdout.splitlines()[-1] == "found []", done.stderr


def test_help_names_commands_and_status():
    text = python("-m", "clsp", "--help")[0].stdout
    for word in ("run", "synthesize", "Exit status: 0 done, 1 failed", "SOURCE is a folder of images"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_reader_who_has_seen_enough():
    """`clsp run --help | head -1` leaves no traceback."""
    command = f"{sys.executable} -m clsp run --help-all | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.stdout.startswith("usage: clsp run")
    assert done.stderr == ""


def test_the_exit_status_reaches_the_shell():
    done, _ = python("-m", "clsp", "run", "--data", "digits", "--out", "r", "--prtrain.lr", "1")
    assert done.returncode == 2
    assert done.stderr == (
        "clsp: error: unknown option --prtrain.lr; did you mean '--pretrain.lr'? (clsp run --help-all lists all)\n"
    )
