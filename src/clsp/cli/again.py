"""The command that makes a part of a folder again: the last one, widened where an earlier call made that part."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsp import files
from clsp.errors import UserError
from clsp.files.ledger import SEAL
from clsp.recipes.arms import DIFFUSION
from clsp.study.opened import labels_in, source_in
from clsp.study.study import seed_of
from clsp.text import option_in

Cell = tuple[str, int]
"""An arm's name and a seed."""


@dataclass(frozen=True)
class Again:
    """What is repeated."""

    command: str
    """The command as it was given."""
    arguments: list[str]
    """Its arguments now: the folder may have been moved since."""
    wide: list[str]
    """The same, with the arms and seeds of earlier calls that are to be made again."""
    lost: dict[Path, str]
    """What no such command makes, with what to do about it."""


def command_for(root: Path, paths: Iterable[Path]) -> Again:
    """Find the command that makes files in ``root`` again.

    Args:
        root: the folder that a command made.
        paths: the files.

    Raises:
        UserError: nothing says which command made the folder.
    """
    with _of_command(root):
        command, arguments = _command(root)
    lost, cells = dict[Path, str](), dict[Path, Cell]()
    for path in paths:
        parts = path.relative_to(root).parts
        if "superseded" in parts:
            lost[path] = "was set aside for a newer one, and no command makes it again; delete its folder"
        elif parts[0] == "arms" and len(parts) > 3 and (seed := seed_of(parts[2])) is not None:
            cells[path] = parts[1], seed
    with _of_command(root):
        wide, made = _widened(root, arguments, sorted(set(cells.values())))
    for path, (arm, seed) in cells.items():
        if (arm, seed) not in made:
            lost[path] = (
                "is of an earlier call, and the last one has other arms, seeds or settings: delete "
                f"{root / 'arms' / arm / f'seed-{seed}'}, and repeat the earlier call to make it again"
            )
    return Again(command, arguments, wide, lost)


def _of_command(root: Path) -> contextlib.AbstractContextManager[None]:
    """Around what reads the recorded command, which may be damaged or written by hand."""
    return files.foreign(root / "recipe.yaml", "repeat the command that made the folder", what="holds no such command")


def _command(root: Path) -> tuple[str, list[str]]:
    """The command that made the folder ``root``, and its arguments now.

    Raises:
        UserError: nothing says which it was.
    """
    command = ""
    for name, read in ((SEAL, files.read_json), ("recipe.yaml", files.read_yaml)):
        with contextlib.suppress(UserError, KeyError, TypeError):
            command = command or str(read(root / name)["command"])
    words = shlex.split(command)[1:]
    if not words or "--out" not in words:
        raise UserError(f"nothing in {root} says which command made it; repeat that command, it makes what is missing")
    words[words.index("--out") + 1] = str(root)
    if "--recipe" in words and _is_gone(words[0], words[words.index("--recipe") + 1]):
        words[words.index("--recipe") + 1] = str(root / "recipe.yaml")
    with contextlib.suppress(UserError, ValueError):
        words[words.index("--data") + 1] = source_in(root)
    with contextlib.suppress(UserError):
        if (labels := labels_in(root)) is not None:
            words = _with(words, **{"images.labels": labels})
    return command, words


def _is_gone(name: str, recipe: str) -> bool:
    from clsp.cli.table import COMMANDS
    from clsp.recipes.names import recipe_path

    try:
        recipe_path(recipe, COMMANDS[name].task if name in COMMANDS else None)
    except UserError:
        return True
    return False


def _widened(root: Path, words: list[str], wanted: Sequence[Cell]) -> tuple[list[str], set[Cell]]:
    """The arguments of a command that makes as many of the cells ``wanted`` as it can, and which cells it makes.

    A comparison gets their arms and seeds, if nothing but them has to be made then: the others stand in its last table.
    """
    if words[0] != "compare":
        return words, _cells_of_run(root, wanted)
    arms, first = (
        [arm.strip() for arm in (option_in(words, "methods") or "").split(",") if arm.strip()],
        _first_seed(root, words),
    )
    count, table = int(option_in(words, "seeds") or 5), _cells_of_table(root)
    own = {(arm, first + number) for arm in arms for number in range(count)}
    added = list[str]()
    for arm, seed in wanted:
        more = [*added, arm] if arm not in (*arms, *added) else added
        seeds = range(first, first + max(count, seed - first + 1))
        if {(one, number) for one in (*arms, *more) for number in seeds} - own <= table and seed in seeds:
            added, count = more, len(seeds)
    made = {(arm, first + number) for arm in (*arms, *added) for number in range(count)}
    if made == own:
        return words, made
    base = option_in(words, "baseline") or arms[0]
    if added and not {*arms} - {base, DIFFUSION}:
        base = added[0]  # the arm that a user takes away is the first beside the baseline: it has to stay the same
    return _with(words, methods=",".join([*arms, *added]), seeds=str(count), baseline=base), made


def _cells_of_run(root: Path, wanted: Sequence[Cell]) -> set[Cell]:
    """Those of the cells ``wanted`` whose arms the last call had; all, where it is not known."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        told = files.read_json(root / "evaluation" / "metrics.json", dict[str, Any])
        return {cell for cell in wanted if cell[0] in (told["arm"], *told["controls"])}
    return set(wanted)


def _cells_of_table(root: Path) -> set[Cell]:
    """The cells that stand in the last table, those of earlier calls among them; none where it is damaged."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError, AttributeError):
        rows = files.read_json(root / "comparison.json", dict[str, Any])["arms"]
        return {(str(row["arm"]), int(seed)) for row in rows for scores in row["runs"].values() for seed in scores}
    return set()


def _first_seed(root: Path, words: Sequence[str]) -> int:
    """The seed with which those of the last call begin."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        return int(files.read_yaml(root / "recipe.yaml")["seed"])
    return int(option_in(words, "seed") or 0)


def _with(words: Sequence[str], **options: str) -> list[str]:
    """The arguments with other values of some options."""
    changed = list(words)
    for option, value in options.items():
        if f"--{option}" in changed:
            changed[changed.index(f"--{option}") + 1] = value
        else:
            changed += [f"--{option}", value]
    return changed
