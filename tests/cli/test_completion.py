"""The shell's completion: what bash finds for a word, and the scripts of the other shells."""

import shutil
import subprocess

import pytest

from clsp.cli.completion import SHELLS, script
from clsp.cli.table import COMMANDS
from clsp.methods import METHODS
from workshop import shared


def found(*words):
    """What bash completes the last word to."""
    call = '_clsp; printf "%s\\n" "${COMPREPLY[@]}"'
    typed = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}"
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{typed}\n{call}"], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["clsp", ""], [*COMMANDS]),
        (["clsp", "run", "--pretrain.metho"], ["--pretrain.method"]),
        (["clsp", "pretrain", "--metho"], ["--method"]),
        (["clsp", "run", "--method", "moco"], ["moco", "mocov3"]),
        (["clsp", "classify", "--consistency.div"], ["--consistency.divergence"]),
        (["clsp", "run", "--recipe", "dig"], ["digits"]),
        (["clsp", "verify", "--rep"], ["--repair"]),
        (["clsp", "run", "--data", "pho"], []),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_what_bash_finds(words, expected):
    assert found(*words) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_every_method_is_found():
    assert set(METHODS.names()) - set(found("clsp", "pretrain", "--method", "")) == set()


def test_every_shell_has_a_script_that_names_every_command():
    for shell in SHELLS:
        written = script(shell)
        assert [name for name in COMMANDS if name not in written] == []


def test_another_shell_is_refused_in_a_line():
    done = shared().clsp("completion", "bsh")
    assert done.status == 2
    assert done.err.startswith(
        "clsp: error: clsp completion takes the name of a shell, one of bash, zsh, fish, not 'bsh'"
    )
    assert done.err.endswith("; did you mean 'bash'?\n")
