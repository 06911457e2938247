"""Errors that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 1500
"""Characters of a line."""


class UserError(ValueError):
    """The user's input is wrong: one line that names the value, what is allowed, and the fix.

    The command line prints it behind ``clsp: error:`` and exits with status 2; there is no traceback. Of a line that a
    value of a whole page makes long, the middle is left out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


class InUseError(UserError):
    """Another process works in the folder: wait for it, or choose another one."""


def suggest(value: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``allowed``, or ``""`` when none is near."""
    near = difflib.get_close_matches(value, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
