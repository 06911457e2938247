"""Makes again what `clsp verify` found damaged: the command that made it is repeated, and the rest is left as it is.

What is damaged is moved out of the way, and its stage counts as interrupted, so that the command does that part alone:
a shard is drawn again, an encoder or a U-Net is exported again from its last checkpoint, and without a sound checkpoint
trained again. Where the bytes are those of before, the stage's record comes back as it was.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clsp import console, files
from clsp.cli.again import Again, command_for
from clsp.errors import UserError
from clsp.files.ledger import RECORD, SEAL
from clsp.study.record import recorded
from clsp.study.verify import INDEX, Finding, study_of

_ASIDE = ".damaged"
"""Where damaged files wait until they are made again."""

_TRAINED = ("metrics.jsonl", "checkpoints/last.safetensors")
"""What only a whole training makes."""


@dataclass(frozen=True)
class _Kept:
    """A ledger as it was before the repair."""

    path: Path
    content: bytes
    time: int
    ledger: files.Ledger

    def restore(self) -> bool:
        """Put it back if all its files are what it lists; return whether they are."""
        same = all(_is(self.ledger.folder / name, entry) for name, entry in self.ledger.files.items())
        if same:
            files.write_bytes(self.path, self.content)
            os.utime(self.path, ns=(self.time, self.time))
        return same


def _is(path: Path, entry: files.Entry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size and files.file_hash(path) == entry.sha256


def repair(findings: Iterable[Finding], run: Callable[[list[str]], int]) -> bool:
    """Make again what is damaged, and say what was done.

    Args:
        findings: of `clsp.study.verify.verify`.
        run: runs a command by its arguments and returns its status.

    Returns:
        Whether all of it is again what it was, byte for byte.
    """
    studies: dict[Path, list[Finding]] = {}
    for finding in findings:
        studies.setdefault(study_of(finding.path), []).append(finding)
    same = True
    for root, found in studies.items():
        same &= _repair_study(root, found, run)
    return same


def _repair_study(root: Path, findings: list[Finding], run: Callable[[list[str]], int]) -> bool:
    again = command_for(root, [finding.path for finding in findings])
    for path, why in again.lost.items():
        console.say(f"verify: {path} {why}")
    findings = [finding for finding in findings if finding.path not in again.lost]
    return bool(findings) and _repeat(root, again, findings, run) and not again.lost


def _repeat(root: Path, again: Again, findings: list[Finding], run: Callable[[list[str]], int]) -> bool:
    kept = [stored for path in sorted({finding.ledger for finding in findings}) if (stored := _keep(path))]
    sound = _sound(root)
    for finding in findings:
        _move_aside(root, finding)
    for stored in kept:
        if stored.path.name == RECORD:
            _interrupt(stored.path)
    console.say(f"verify: repeats 'clsp {shlex.join(again.wide)}', of which all that is sound is kept")
    with recorded(again.command), _undone(root, kept):
        _quietly(run, again.wide)
        restored = [stored.restore() for stored in kept if stored.path.name == RECORD]
        if any(restored) or again.wide != again.arguments:
            _quietly(run, again.arguments)  # tables and page tell the times of the records that came back
    same = all(restored)
    for path, content in sound.items() if same else ():
        if path.exists() and path.read_bytes() != content:  # a page tells the folder's name, for one
            files.write_bytes(path, content)
    for stored in kept:
        if stored.path.name == SEAL:
            same &= stored.restore()
    for finding in findings:
        same &= _tell(finding)
    shutil.rmtree(root / _ASIDE, ignore_errors=True)
    return same


@contextlib.contextmanager
def _undone(root: Path, kept: list[_Kept]) -> Iterator[None]:
    """Put everything back as it was found if the block fails: what is damaged is better than nothing."""
    try:
        yield
    except BaseException:
        aside = root / _ASIDE
        for path in (path for path in aside.rglob("*") if path.is_file()):
            if not (target := root / path.relative_to(aside)).exists():
                path.replace(target)
        for stored in kept:
            files.write_bytes(stored.path, stored.content)
            os.utime(stored.path, ns=(stored.time, stored.time))
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _sound(root: Path) -> dict[Path, bytes]:
    """What stands around the stages and is undamaged: tables, page, recipe."""
    with contextlib.suppress(UserError):
        ledger = files.ledger_of(root / SEAL)
        whole = [root / name for name, entry in ledger.files.items() if _is(root / name, entry)]
        return {path: path.read_bytes() for path in (*whole, root / SEAL) if path.suffix != ".safetensors"}
    return {}


def _tell(finding: Finding) -> bool:
    """Say what became of a file; return whether it is what it was."""
    entry = finding.entry
    if not finding.path.exists():
        console.say(f"verify: {finding.path} was not made again")
        return False
    if entry is None:
        console.say(f"verify: {finding.path} was written anew; what it said of times is not known any more")
        return True
    if _is(finding.path, entry):
        console.say(f"verify: {finding.path} was made again, the same bytes")
        return True
    console.say(
        f"verify: {finding.path} was made again with other bytes, by another machine or version or elsewhere; "
        "what was made from it was made again, too, and the old is kept in 'superseded'"
    )
    return False


def _quietly(run: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run a command without its results.

    Raises:
        UserError: it ended with an error, which it has told.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        status = run(arguments)
    if status:
        raise UserError("the command that made it cannot be repeated, see above; mend that, and verify again")


def _keep(path: Path) -> _Kept | None:
    """Keep a ledger; None where it is itself damaged, or none that could come back."""
    if path.name not in (RECORD, SEAL):
        return None
    try:
        ledger = files.ledger_of(path)
    except UserError:
        return None
    return _Kept(path, path.read_bytes(), path.stat().st_mtime_ns, ledger) if ledger.files else None


def _move_aside(root: Path, finding: Finding) -> None:
    """Move a damaged file out of the way, and with it what has to be made anew for its sake."""
    paths, folder = [finding.path], finding.ledger.parent
    name = finding.path.relative_to(folder).as_posix()
    if finding.ledger.name == INDEX:
        paths.append(finding.ledger)
    elif name in _TRAINED:
        paths.append(folder / "checkpoints" / "last.safetensors")
    elif name.startswith("shard-"):
        paths += [finding.path.with_suffix(".json"), finding.path.with_suffix(".npy")]
    for path in paths:
        if path.exists():
            target = root / _ASIDE / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _interrupt(path: Path) -> None:
    """Let a stage count as interrupted: the same command goes on with it."""
    record = files.read_json(path, dict)
    record = {name: value for name, value in record.items() if name not in ("files", "sha256")}
    course = {name: value for name, value in record["facts"].items() if name == "course"}  # it is taken again
    files.write_json(path, {**record, "status": "interrupted", "facts": course})
