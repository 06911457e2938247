"""Damaged files: what disks, interrupted copies, other programs and strangers do to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "..",
    "/etc/passwd", "\u0000", "\ud800", "é" * 300, "a" * 100_000, [], {}, [[]], [None], [-1, 0],
    {"": None}, {"sha256": 1}, [1e999],
)  # fmt: skip
"""Values that nobody expects."""


def damaged(data: bytes, kind: str, rng: Random) -> tuple[str, bytes]:
    """Damage the content of a file.

    Args:
        data: the content.
        kind: the ending of its name: what it is knows also other damage than to bytes.
        rng: chooses it.

    Returns:
        What was done, in a word, and the content then.
    """
    own = _OWN.get(kind, {})
    name = rng.choice([*_BYTES, *own, *own, *own])  # what knows the format goes deeper
    try:
        return name, {**_BYTES, **own}[name](data, rng)
    except (ValueError, IndexError, RecursionError, yaml.YAMLError):  # not damaged by this: nothing to cut or change
        return "empty", b""


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _splice(data: bytes, rng: Random) -> bytes:
    first, second = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:first] + data[second:]


def _insert(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.choice((1, 4, 1000))) + data[place:]


def _overwrite(data: bytes, rng: Random) -> bytes:
    place, length = rng.randrange(len(data)), rng.choice((1, 8, 512))
    return data[:place] + rng.choice((b"\x00", b"\xff")) * length + data[place + length :]


_BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    "empty": lambda data, rng: b"",
    "cut": _cut,
    "bits": _flip,
    "splice": _splice,
    "insert": _insert,
    "overwrite": _overwrite,
    "noise": lambda data, rng: rng.randbytes(rng.choice((1, 100, 5000))),
    "twice": lambda data, rng: data + data,
    "utf-16": lambda data, rng: data.decode("latin-1").encode("utf-16"),
    "line ends": lambda data, rng: data.replace(b"\n", b"\r\n"),
}


def _changed(value: Any, rng: Random) -> Any:
    """Change one place of nested values: leave it out, put something strange there, or nest it."""
    places = list(_places(value))
    if not places or rng.random() < 0.05:
        return rng.choice(STRANGE)
    holder, key = rng.choice(places)
    what = rng.random()
    if what < 0.3:
        del holder[key]
    elif what < 0.8:
        holder[key] = rng.choice(STRANGE)
    elif what < 0.9:
        for _ in range(rng.choice((1, 80, 300))):
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
    elif isinstance(holder, dict):
        holder[rng.choice(("more", "", "é"))] = holder.pop(key)
    else:
        holder.extend(holder * rng.choice((1, 10)))
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _json(data: bytes, rng: Random) -> bytes:
    return json.dumps(_changed(json.loads(data), rng)).encode()


def _deep(data: bytes, rng: Random) -> bytes:
    depth = rng.choice((100, 2_000, 200_000))
    return b"[" * depth + b"]" * depth if rng.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth


def _lines(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines) - 1)
    lines[place] = rng.choice((_json(lines[place], rng), lines[place][:-3], b"[]", b"1", b"NaN", b"\x00", b'"' * 9))
    return b"\n".join(lines)


_YAML = (
    "a: &x [*x]\n", "a: 2020-01-01\n", "a: !!binary aGk=\n", "? [1]\n: 2\n", "1: 2\n", "- 1\n", "a: .nan\n", "a: \t1\n",
    "---\n---\n", "a: !!set {b}\n", "a: !!python/object/apply:os.system ['true']\n",
    "on: off\n", "a: 0x" + "f" * 40 + "\n",
    "<<: {a: 1}\n",
    "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(12)),
)  # fmt: skip


def _yaml(data: bytes, rng: Random) -> bytes:
    return yaml.safe_dump(_changed(yaml.safe_load(data), rng)).encode(errors="replace")


def _header(data: bytes, rng: Random) -> bytes:
    """A .npy file whose header says something else; the header keeps its length."""
    length = int.from_bytes(data[8:10], "little")
    sides = ("(-1,)", "(10**12,)", "(1000000000000,)", "(2, 3)", "()", "(0,)", "None", "(1.5,)", f"({'1,' * 99})")
    shape = rng.choice(sides)
    descr = rng.choice(("'|u1'", "'<f8'", "'|O'", "'<U9999999'", "'|V0'", "[('a', '<f4')]", "'nonsense'", "'<i8'"))
    said = f"{{'descr': {descr}, 'fortran_order': {rng.choice(('False', 'True', '3'))}, 'shape': {shape}, }}"
    return data[:10] + said.encode()[:length].ljust(length - 1) + b"\n" + data[10 + length :]


def _tensors(data: bytes, rng: Random) -> bytes:
    """A safetensors file whose header says something else."""
    length = int.from_bytes(data[:8], "little")
    header = _json(data[8 : 8 + length], rng)
    told = len(header) if rng.random() < 0.9 else rng.choice((0, 2**40, 2**63 - 1))
    return told.to_bytes(8, "little") + header + data[8 + length :]


def _table(data: bytes, rng: Random) -> bytes:
    cells = data.decode().split(",")
    cells[rng.randrange(len(cells))] = rng.choice(("", '"', "nan", "-1", "1e999", "\n", "x" * 200_000, "\0", "=1+1"))
    return ",".join(cells).encode()


_OWN: dict[str, dict[str, Callable[[bytes, Random], bytes]]] = {
    ".json": {"values": _json, "nesting": _deep},
    ".jsonl": {"values": _lines},
    ".yaml": {"values": _yaml, "strange YAML": lambda data, rng: rng.choice(_YAML).encode()},
    ".npy": {"values": _header},
    ".safetensors": {"values": _tensors},
    ".csv": {"values": _table},
}
