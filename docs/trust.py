"""Tables of what was done to clsp: faults, and damaged files."""

from __future__ import annotations

from studies import result, rows

KINDS = {
    "kill": "the process kills itself (SIGKILL)",
    "nothing unflushed": "the power fails: what was not flushed is gone",
    "names without contents": "the power fails: names are there, their contents are not",
    "names with half of the contents": "the power fails: half of the contents are there",
    "enospc": "the disk is full",
    "eio": "the disk fails",
}


def sweep() -> str:
    """The faults by kind, and what came of them."""
    found = result("sweep")
    lines = [(f"{meaning}", f"{found['by_kind'][kind]:,}") for kind, meaning in KINDS.items()]
    lines += [("SIGKILL from outside, at a random time", f"{found['kills_from_outside']:,}")]
    lines += [("**lost, or other bytes at the end**", f"**{found['lost']}**")]
    lines += [("**ended in another way than it says**", f"**{found['wrong_ends']}**")]
    return rows(("fault", "times"), lines)


def fuzz() -> str:
    """The damaged inputs by reader."""
    lines = []
    for name, one in sorted(result("fuzz")["readers"].items()):
        answers = one["answers"]
        others = sum(count for answer, count in answers.items() if answer not in ("line", "read"))
        cells = (one["inputs"], answers.get("line", 0), answers.get("read", 0), others)
        lines.append((name, *(f"{count:,}" for count in cells)))
    return rows(("reader", "damaged inputs", "one line", "read all the same", "traceback, hang, a file outside"), lines)
