"""The package is imported where POSIX ends."""

from __future__ import annotations

import subprocess
import sys

from workshop import ENVIRONMENT

CODE = """
import builtins, importlib, pkgutil
hidden = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "syslog"}
usual = builtins.__import__

def guarded(name, into=None, *rest, **options):
    if name.partition(".")[0] in hidden and str((into or {}).get("__name__")).startswith("clsp"):
        raise ImportError(f"no {name} here")
    return usual(name, into, *rest, **options)

builtins.__import__ = guarded
import clsp
for found in pkgutil.walk_packages(clsp.__path__, "clsp."):
    try:
        importlib.import_module(found.name)
    except ImportError as error:
        print(found.name, error)
print("all seen")
"""


def test_no_module_needs_posix_to_be_imported():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=ENVIRONMENT, timeout=240)
    assert done.stdout.splitlines() == ["all seen"], done.stderr
