"""The processes of a run watch each other: when one dies or stops answering, all others end, and one line says so.

A process that waits for a dead one in a collective operation may wait for ever, and not every launcher watches (srun
does not). Each process but the first keeps a connection to the first, on which both say every second that they are
there. A closed connection is a death; a silence is a process that was stopped, or a machine that is gone. Whoever
leaves says so before. None of this needs the interpreter's attention for more than moments.
"""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clsp import console, distributed
from clsp.engine.peers import Peer, accepted, connected
from clsp.processes import companions

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 40.0
"""Seconds without one after which a process counts as dead."""
GRACE = 3.0
"""Seconds that a process has to fail by itself, once another one failed: most errors are everybody's."""
MEETING = 300.0
"""Seconds that the processes have to form a group: on a cluster some begin minutes after others."""

_watch: _Watch | None = None
_error: str | None = None
"""Why this process is about to fail."""


@contextmanager
def meeting() -> Iterator[None]:
    """End this process where the group that is formed in the block does not come about: one died before it."""
    done, began, parent = threading.Event(), time.monotonic(), os.getppid()
    launched = distributed.world_size() > 1  # else this one starts the others itself, and looks after them
    beside = companions() if launched else set()

    def look() -> None:
        while not done.wait(BEAT):
            nonlocal beside
            there = companions() if launched else set()
            if os.getppid() != parent:
                why = "the process that started it died"
            elif beside - there:
                why = "a process beside it died"
            elif time.monotonic() - began > MEETING:
                why = f"the others did not come in {MEETING:.0f} s"
            else:
                beside = there
                continue
            if not done.wait(BEAT):  # those that went had perhaps met this one, and done what they had to do
                _say_alone(why)
                os._exit(1)

    threading.Thread(target=look, name="clsp-meeting", daemon=True).start()
    try:
        yield
    except RuntimeError as error:  # whoever speaks for all may be the one that died, so each speaks for itself
        first, *_ = str(error).splitlines() or [type(error).__name__]
        _say_alone(f"the processes could not connect; perhaps one died ({first})")
        raise SystemExit(1) from error
    finally:
        done.set()


def _say_alone(why: str) -> None:
    who = f"process {distributed.rank()} of {distributed.world_size()}"
    print(f"clsp: error: {who} ends: {why}; start again", file=sys.stderr, flush=True)


def start() -> None:
    """Begin to watch, in all processes of the group; a second call does nothing."""
    global _watch
    if _watch is not None or not distributed.active() or distributed.world_size() == 1:
        return
    try:
        peers = accepted() if distributed.rank() == 0 else [connected()]
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


class _Watch:
    """Looks after the peers in a thread."""

    def __init__(self, peers: list[Peer]) -> None:
        self.peers, self._lock, self._left = peers, threading.Lock(), False

    def run(self) -> None:
        """Hear and say signs of life until this process leaves."""
        beat = now = time.monotonic()
        while not self._left:
            asleep, now = now, time.monotonic()
            if now - asleep > 10 * BEAT:  # this process was stopped: what the others said is still to be read
                for peer in self.peers:
                    peer.heard = now
            if now >= beat:
                self.tell(beat=distributed.stage)
                beat = now + BEAT
            ready = self._ready([peer for peer in self.peers if not peer.gone and peer.failed is None])
            for peer in self.peers:
                if not peer.gone:
                    self._look_after(peer, heard=peer in ready)

    @staticmethod
    def _ready(peers: list[Peer]) -> list[Peer]:
        """Those that have said something; nobody has for some time where there are none."""
        if not peers:
            time.sleep(BEAT / 4)
            return []
        wires, _, _ = select.select([peer.wire for peer in peers], [], [], BEAT / 4)
        return [peer for peer in peers if peer.wire in wires]

    def leave(self, error: str | None) -> None:
        """Say good-bye.

        A process that failed lets the first one speak before it goes: Lightning's launcher kills that without a word.
        """
        with self._lock:
            self._left = True
            for peer in self.peers:
                peer.say(leaves=True, error=error)
        if error is not None and distributed.rank() != 0:
            self.peers[0].hear_out(GRACE + 2 * BEAT)

    def tell(self, **words: Any) -> None:
        """Tell all others something."""
        with self._lock:
            for peer in self.peers:
                if not peer.gone and not self._left:
                    peer.say(**words)

    def _look_after(self, peer: Peer, *, heard: bool) -> None:
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
