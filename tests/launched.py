"""Commands of two processes, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from workshop import ENVIRONMENT

TWO = ["--recipe", "smoke", "--hardware.devices", "2", "--hardware.accelerator", "cpu"]


def clsp(*words, **environment):
    command = [sys.executable, "-m", "clsp", *map(str, words)]
    environment = {**ENVIRONMENT, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
