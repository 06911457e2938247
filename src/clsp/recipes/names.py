"""The built-in recipes by name; nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from clsp.errors import UserError, suggest

_FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Names of the built-in recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def recipe_for(source: str) -> str:
    """Return the recipe that a SOURCE gets when none is named: its own, else ``folder``."""
    return source if source in recipe_names() else "folder"


def recipe_path(name: str) -> Path:
    """Return the file of a built-in recipe, or the file ``name`` itself.

    Raises:
        UserError: there is no such recipe.
    """
    built_in, path = _FOLDER / f"{name}.yaml", Path(name)
    if built_in.exists():
        return built_in
    if not path.is_file():
        raise UserError(
            f"--recipe '{name}' is neither a file nor a built-in recipe ({', '.join(recipe_names())})"
            f"{suggest(name, recipe_names())}"
        )
    return path
