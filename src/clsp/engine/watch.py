"""The processes of a run watch each other: when one dies or stops answering, all others end, and one line says so.

A process that waits for a dead one in a collective operation may wait for ever, and not every launcher watches (srun
does not). Each process but the first keeps a connection to the first, on which both say every second that they are
there. A closed connection is a death; a silence is a process that was stopped, or a machine that is gone. Whoever
leaves says so before. None of this needs the interpreter's attention for more than moments.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsp import console, distributed

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 40.0
"""Seconds without one after which a process counts as dead."""
GRACE = 3.0
"""Seconds that a process has to fail by itself, once another one failed: most errors are everybody's."""
PATIENCE = 30.0
"""Seconds that the processes have to find each other, once they form a group."""
MEETING = 300.0
"""Seconds that they have to form one: on a cluster some begin minutes after others."""

_watch: _Watch | None = None
_error: str | None = None
"""Why this process is about to fail."""


@contextmanager
def meeting() -> Iterator[None]:
    """End this process where the group that is formed in the block does not come about: one died before it."""
    done, began, parent = threading.Event(), time.monotonic(), os.getppid()

    def look() -> None:
        while not done.wait(BEAT):
            orphan = os.getppid() != parent
            if orphan or time.monotonic() - began > MEETING:
                why = "the process that started it died" if orphan else f"the others did not come in {MEETING:.0f} s"
                line = (
                    f"clsp: error: process {distributed.rank()} of {distributed.world_size()} ends: {why}; start again"
                )
                print(line, file=sys.stderr, flush=True)
                os._exit(1)

    threading.Thread(target=look, name="clsp-meeting", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def start() -> None:
    """Begin to watch, in all processes of the group; a second call does nothing."""
    global _watch
    if _watch is not None or not distributed.active() or distributed.world_size() == 1:
        return
    try:
        peers = _accepted() if distributed.rank() == 0 else [_connected()]
    except OSError as error:
        console.say(f"the processes cannot watch each other ({error}); should one die, the others may wait for it")
        return
    _watch = _Watch(peers)
    threading.Thread(target=_watch.run, name="clsp-watch", daemon=True).start()
    atexit.register(leave)


def enter(stage: str) -> None:
    """Tell the others what this process works on from now on."""
    distributed.stage = stage
    fail(None)
    if _watch is not None:
        _watch.tell(beat=stage)


def fail(reason: str | None) -> None:
    """Note why this process is about to end; None: it goes on after all."""
    global _error
    _error = reason


@contextmanager
def reported() -> Iterator[None]:
    """Note why the block fails, for the others."""
    try:
        yield
    except BaseException as error:
        if _error is None:
            told = isinstance(error, KeyboardInterrupt | SystemExit)
            fail("it was told to stop by a signal" if told else " ".join(str(error).split()) or type(error).__name__)
            if isinstance(error, RuntimeError):
                wait()
        raise


def wait() -> None:
    """Wait for news of the others: an error of a collective operation may come of one that died.

    If one did, this does not return.
    """
    if _watch is not None:
        time.sleep(GRACE + BEAT)


def leave() -> None:
    """Tell the others that this process ends, and whether it failed."""
    global _watch
    if _watch is not None:
        watch, _watch = _watch, None
        watch.leave(_error)


@dataclass
class _Peer:
    """A process at the other end of a connection."""

    rank: int
    host: str
    process: int
    begun: str | None
    """When it was started, as its system counts: another one may get its number."""
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

    def kill(self) -> None:
        """End it, where it is a process of this machine and still the one that it was."""
        if self.host == platform.node() and self.begun and _begun(self.process) == self.begun:
            with suppress(OSError):
                os.kill(self.process, signal.SIGKILL)

    def __str__(self) -> str:
        where = f" in stage '{self.stage}'" if self.stage else ""
        return f"process {self.rank} of {distributed.world_size()} (pid {self.process} on {self.host}){where}"


class _Watch:
    """Looks after the peers in a thread."""

    def __init__(self, peers: list[_Peer]) -> None:
        self.peers, self._lock, self._left = peers, threading.Lock(), False

    def run(self) -> None:
        """Hear and say signs of life until this process leaves."""
        beat = now = time.monotonic()
        while not self._left:
            asleep, now = now, time.monotonic()
            if (
                now - asleep > 10 * BEAT
            ):  # it is this process that was stopped: what the others said is still to be read
                for peer in self.peers:
                    peer.heard = now
            if now >= beat:
                self.tell(beat=distributed.stage)
                beat = now + BEAT
            there = [peer for peer in self.peers if not peer.gone]
            ready, _, _ = select.select([peer.wire for peer in there], [], [], BEAT / 4)
            for peer in there:
                self._look_after(peer, heard=peer.wire in ready)

    def leave(self, error: str | None) -> None:
        """Say good-bye."""
        with self._lock:
            self._left = True
            for peer in self.peers:
                peer.say(leaves=True, error=error)

    def tell(self, **words: Any) -> None:
        """Tell all others something."""
        with self._lock:
            for peer in self.peers:
                if not peer.gone and not self._left:
                    peer.say(**words)

    def _look_after(self, peer: _Peer, *, heard: bool) -> None:
        said = peer.read() if heard else []
        for words in said or []:
            peer.stage = words.get("beat", peer.stage)
            if words.get("end"):  # somebody else died, and it was said
                self._end(None)
            if words.get("leaves"):
                peer.gone = words["error"] is None
                peer.failed, peer.reason = time.monotonic(), words["error"] or ""
        if peer.failed is not None:
            if not peer.gone and time.monotonic() - peer.failed > GRACE:
                self._end(f"{peer} failed: {peer.reason}" if peer.rank else None)  # the first one speaks for itself
        elif said is None:
            self._end(f"{peer} died")
        elif time.monotonic() - peer.heard > SILENCE:
            peer.kill()
            self._end(f"{peer} has not answered for {SILENCE:.0f} s")

    def _end(self, why: str | None) -> None:
        """End this process at once: the main thread may wait for what will never come."""
        if self._left:
            return
        self.tell(end=True)
        # Where the first process died, its neighbours speak: one on each machine.
        if why and (distributed.rank() <= 1 or distributed.local_rank() == 0):
            line = f"clsp: error: {why}; the other processes end; the same command goes on where this one stopped"
            print(line, file=sys.stderr, flush=True)
        os._exit(1)


def _accepted() -> list[_Peer]:
    """Let all others connect to this process, the first one."""
    token, deadline = secrets.token_hex(16), time.monotonic() + PATIENCE
    peers: list[_Peer] = []
    with socket.create_server(("", 0)) as door:
        distributed.agreed([door.getsockname()[1], token])
        while len(peers) < distributed.world_size() - 1:
            door.settimeout(max(deadline - time.monotonic(), 0.01))
            wire, _ = door.accept()
            wire.settimeout(PATIENCE)
            hello = _line(wire)
            if hello.pop("token", None) == token:  # else somebody else's
                peers.append(_Peer(**hello, wire=wire))
    for peer in peers:
        peer.say(**_self())
    return peers


def _connected() -> _Peer:
    """Connect to the first process."""
    port, token = distributed.agreed(None)
    wire = socket.create_connection((os.environ.get("MASTER_ADDR", "127.0.0.1"), port), timeout=PATIENCE)
    wire.sendall(json.dumps({**_self(), "token": token}).encode() + b"\n")
    return _Peer(**_line(wire), wire=wire)


def _line(wire: socket.socket) -> dict[str, Any]:
    """Read one line and no more."""
    read = b""
    while not read.endswith(b"\n"):
        byte = wire.recv(1)
        if not byte or len(read) > 4096:
            raise ConnectionError("one of them hung up")
        read += byte
    found: dict[str, Any] = json.loads(read)
    return found


def _self() -> dict[str, Any]:
    process = os.getpid()
    return {"rank": distributed.rank(), "host": platform.node(), "process": process, "begun": _begun(process)}


def _begun(process: int) -> str | None:
    """When a process was started, in ticks since the start of the machine; None: it is gone, or not told here."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return None
