"""`clsp` commands in processes of their own, without paying for the imports each time.

A server imports the heavy libraries once and never computes with them; every command is a fork of it, so that it can be
killed, has its own environment and working folder, and meets no state of another one. One thread, for equal bytes.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
CLEAN = {name: value for name, value in os.environ.items() if name != "CLSP_FAULT"} | ONE_THREAD
ENVIRONMENT = CLEAN | {"PYTHONPATH": str(SOURCE)}

_SERVER = """
import json, os, sys
import lightning.pytorch, diffusers, timm, sklearn.linear_model, torchvision
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
import clsp.diffusion.training, clsp.positives.synthesize, clsp.training.pretrain, clsp.evaluation.stage
import clsp.report.page, clsp.cli.commands, clsp.study.run, clsp.preflight
from clsp.__main__ import main
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        for number, name in ((1, asked["stdout"]), (2, asked["stderr"])):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = ["clsp", *asked["arguments"]]
        status = 1
        try:
            if asked["code"]:
                exec(asked["code"], {"__name__": "__main__"})
                status = 0
            else:
                status = main(asked["arguments"])
        except SystemExit as left:
            status = left.code
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    print(child, flush=True)
    if asked["wait"]:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Done:
    """A finished command."""

    status: int
    """Exit status; negative: the signal that killed it."""
    out: str
    err: str
    seconds: float

    @property
    def error(self) -> str:
        """The line that begins with ``clsp: error:``; all of standard error if there is none."""
        lines = [line for line in self.err.splitlines() if line.startswith("clsp: error:")]
        return lines[-1] if lines else self.err


class Workshop:
    """Runs commands in forks of a warm process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip

    def close(self) -> None:
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait(timeout=60)

    def clsp(self, *arguments: object, fault: str | None = None, folder: Path | None = None) -> Done:
        """Run one command to its end, whatever end that is."""
        return self._run(arguments, fault, folder)

    def python(self, code: str, folder: Path) -> Done:
        """Run a script in ``folder``."""
        return self._run((), None, folder, code)

    def _run(self, arguments: tuple[object, ...], fault: str | None, folder: Path | None, code: str = "") -> Done:
        start = time.monotonic()
        self._ask(arguments, fault, folder, wait=True, code=code)
        status = int(self._answer())
        out, err = (path.read_text() for path in self.outputs())
        return Done(status, out, err, time.monotonic() - start)

    def begin(self, *arguments: object) -> int:
        """Start a command and return its process id; it is the caller's to kill."""
        return self._ask(arguments, None, None, wait=False)

    def _ask(
        self, arguments: tuple[object, ...], fault: str | None, folder: Path | None, *, wait: bool, code: str = ""
    ) -> int:
        self._count += 1
        out, err = self.outputs()
        asked = {
            "arguments": [str(argument) for argument in arguments],
            "environment": {"CLSP_FAULT": fault} if fault else {},
            "folder": str(folder or self.folder),
            "stdout": str(out),
            "stderr": str(err),
            "wait": wait,
            "code": code,
        }
        assert self._server.stdin
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        return int(self._answer())

    def _answer(self) -> str:
        assert self._server.stdout
        line = self._server.stdout.readline()
        assert line, "the server died"
        return line

    def outputs(self) -> tuple[Path, Path]:
        return self.folder / f"{self._count:03d}.out", self.folder / f"{self._count:03d}.err"


@lru_cache(maxsize=1)
def shared() -> Workshop:
    """One workshop for all tests of a session; it and its folder vanish with the session."""
    workshop = Workshop(Path(tempfile.mkdtemp(prefix="clsp te st é ")))
    atexit.register(shutil.rmtree, workshop.folder, ignore_errors=True)
    atexit.register(workshop.close)
    return workshop


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def stamps(folder: Path, pattern: str = "**/*") -> dict[str, int]:
    """Modification times (ns) of the files in ``folder``."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.glob(pattern) if path.is_file()}
