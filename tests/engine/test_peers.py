"""How processes find each other: whoever else connects to the open port changes nothing."""

from __future__ import annotations

import json
import socket
from threading import Thread

import pytest

from clsp import distributed
from clsp.engine import peers

STRANGE = [
    b"[1]\n",
    b'"x"\n',
    b"7\n",
    b"null\n",
    b"{}\n",
    b'{"token": "x"}\n',
    b"GET / HTTP/1.1\r\n",
    b"\xff\n",
    b"[" * 4000 + b"\n",
]


@pytest.mark.parametrize("said", STRANGE)
def test_somebody_elses_connection_is_passed_over(monkeypatch, said):
    about = {"rank": 1, "host": "here", "process": 7, "begun": 1.0}
    wires = []

    def agreed(value):
        port, token = value

        def connect():
            for line in (said, json.dumps({**about, "token": token}).encode() + b"\n"):
                wires.append(socket.create_connection(("127.0.0.1", port), timeout=10))
                wires[-1].sendall(line)

        Thread(target=connect).start()
        return value

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "agreed", agreed)
    (peer,) = peers.accepted()
    assert (peer.rank, peer.process) == (1, 7)
    assert json.loads(wires[-1].recv(4096))["rank"] == 0
    for wire in (*wires, peer.wire):
        wire.close()
