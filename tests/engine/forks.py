"""Work in a process of its own, a fork of this one: imports are paid for once, and it can be told to stop or killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
import traceback

from clsp.engine import watch


class Fork:
    """Runs ``work(fork)`` in a fork, in the environment changed by ``variables``."""

    def __init__(self, work, variables=None):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        ear, mouth = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(ear)
            self._mouth = mouth
            self._live(work, variables or {})
        os.close(mouth)
        self._ear = os.fdopen(ear)

    def _live(self, work, variables):
        """What the child does; it never returns."""
        status = 1
        try:
            for number in (1, 2):
                os.dup2(self._errors.fileno(), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.environ.update(variables)
            work(self)
            status = 0
        except SystemExit as left:
            status = left.code
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            watch.leave()  # os._exit asks nobody
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)

    def say(self, *words):
        """In the fork: say a line to whoever began it."""
        os.write(self._mouth, (" ".join(map(str, words)) + "\n").encode())

    def hear(self, lines):
        """Wait for so many lines."""
        return [self._ear.readline().strip() for _ in range(lines)]

    def rest(self):
        """All lines that are still to be heard."""
        return self._ear.read().splitlines()

    def signal(self, number):
        os.kill(self.process, number)

    def end(self, seconds=60):
        """Wait for its end and return its status; negative: the signal that killed it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        self.signal(signal.SIGKILL)
        os.waitpid(self.process, 0)
        return f"not ended after {seconds} s"

    @property
    def told(self):
        """What it wrote to standard output and error."""
        self._errors.seek(0)
        return self._errors.read()


def pair_of(work):
    """Run ``work`` in two forks that a launcher such as torchrun might have started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    launcher |= {"GROUP_RANK": "0", "NODE_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    return [Fork(work, {**launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
