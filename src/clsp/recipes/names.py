"""The built-in recipes by name; nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from clsp.errors import UserError, suggest

_FOLDER = Path(__file__).parent


def recipe_names(task: str | None = None) -> list[str]:
    """Names of the built-in recipes: of a run, or of a task."""
    return sorted(path.stem for path in _folder(task).glob("*.yaml"))


def recipe_for(source: str, task: str | None = None) -> str:
    """Return the recipe that a SOURCE gets when none is named: its own, else ``folder``."""
    return source if source in recipe_names(task) else "folder"


def recipe_path(name: str, task: str | None = None) -> Path:
    """Return the file of a built-in recipe, of a run or of a task, or the file ``name`` itself.

    Raises:
        UserError: there is no such recipe.
    """
    built_in, path, names = _folder(task) / f"{name}.yaml", Path(name), recipe_names(task)
    if built_in.exists():
        return built_in
    if not path.is_file():
        raise UserError(
            f"--recipe '{name}' is neither a file nor a built-in recipe ({', '.join(names)}){suggest(name, names)}"
        )
    return path


def _folder(task: str | None) -> Path:
    return _FOLDER / task if task else _FOLDER
