"""Print the lowest versions of the dependencies that are allowed, as a requirements file: `python docs/lowest.py`."""

from __future__ import annotations

import re
from pathlib import Path

_ONE = re.compile(r'"(?P<name>[\w-]+)>=(?P<version>[\w.]+)')
_DEVELOPERS = ("test = ", "dev = ", "requires = ")


def lowest() -> list[str]:
    """Every dependency of the package and of its extras for users, at its floor."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(_DEVELOPERS)]
    return sorted({f"{one['name']}=={one['version']}" for line in lines for one in _ONE.finditer(line)})


if __name__ == "__main__":
    print("\n".join(lowest()))
