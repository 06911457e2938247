"""The connections between the first process of a run and each of the others, on which they watch each other."""

from __future__ import annotations

import json
import os
import platform
import secrets
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from clsp import distributed
from clsp.processes import started

PATIENCE = 30.0
"""Seconds that the processes have to find each other, once they form a group."""


@dataclass(eq=False)
class Peer:
    """A process at the other end of a connection."""

    rank: int
    host: str
    process: int
    begun: float | None
    """When it was started: another one may get its number."""
    wire: socket.socket
    stage: str = ""
    heard: float = field(default_factory=time.monotonic)
    failed: float | None = None
    """When it said that it failed."""
    reason: str = ""
    gone: bool = False
    _rest: bytes = b""

    def read(self) -> list[dict[str, Any]] | None:
        """What it has said; None: the connection is closed."""
        try:
            data = self.wire.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.heard = time.monotonic()
        return [json.loads(line) for line in lines]

    def say(self, **words: Any) -> None:
        """Tell it something; one that is gone does not hear."""
        with suppress(OSError):
            self.wire.sendall(json.dumps(words).encode() + b"\n")

    def hear_out(self, seconds: float) -> None:
        """Wait until it hangs up, at most so long."""
        limit = time.monotonic() + seconds
        with suppress(OSError):
            while (left := limit - time.monotonic()) > 0:
                self.wire.settimeout(left)
                if not self.wire.recv(1 << 16):
                    return

    def kill(self) -> None:
        """End it, where it is a process of this machine and still the one that it was."""
        if self.host == platform.node() and self.begun and started(self.process) == self.begun:
            with suppress(OSError):
                os.kill(self.process, signal.SIGKILL)

    def __str__(self) -> str:
        where = f" in stage '{self.stage}'" if self.stage else ""
        return f"process {self.rank} of {distributed.world_size()} (pid {self.process} on {self.host}){where}"


def accepted() -> list[Peer]:
    """Let all others connect to this process, the first one.

    Raises:
        OSError: some did not.
    """
    token, deadline = secrets.token_hex(16), time.monotonic() + PATIENCE
    peers: list[Peer] = []
    with socket.create_server(("", 0)) as door:
        distributed.agreed([door.getsockname()[1], token])
        while len(peers) < distributed.world_size() - 1:
            door.settimeout(max(deadline - time.monotonic(), 0.01))
            wire, _ = door.accept()
            wire.settimeout(PATIENCE)
            with suppress(OSError, ValueError, RecursionError):  # somebody else's
                hello = _line(wire)
                if isinstance(hello, dict) and hello.pop("token", None) == token:
                    peers.append(Peer(**hello, wire=wire))
    for peer in peers:
        peer.say(**_self())
    return peers


def connected() -> Peer:
    """Connect to the first process.

    Raises:
        OSError: it cannot be reached, or not all others reached it.
    """
    port, token = distributed.agreed(None)
    wire = socket.create_connection((os.environ.get("MASTER_ADDR", "127.0.0.1"), port), timeout=PATIENCE)
    wire.sendall(json.dumps({**_self(), "token": token}).encode() + b"\n")
    return Peer(**_line(wire), wire=wire)


def _line(wire: socket.socket) -> Any:
    """Read one line of JSON and no more."""
    read = b""
    while not read.endswith(b"\n"):
        byte = wire.recv(1)
        if not byte or len(read) > 4096:
            raise ConnectionError("one of them hung up")
        read += byte
    return json.loads(read)


def _self() -> dict[str, Any]:
    process = os.getpid()
    return {"rank": distributed.rank(), "host": platform.node(), "process": process, "begun": started(process)}
