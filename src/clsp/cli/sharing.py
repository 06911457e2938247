"""The commands that take results out into the world, look at where clsp runs, and tell the shell what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsp import console
from clsp.errors import UserError, suggest

if TYPE_CHECKING:
    from clsp.cli.calls import Call


def export(call: Call) -> int:
    """``clsp export``."""
    from clsp.publish.export import Wish
    from clsp.publish.export import export as exported

    own = call.own
    places = [*call.positional, *([own["encoder"]] if "encoder" in own else [])]
    if len(places) != 1:
        raise UserError(f"clsp export takes one PLACE, not {len(places)}")
    chosen = {"formats": own.get("format"), "hub": own.get("hub"), "data": own.get("data")}
    wish = Wish(Path(places[0]), Path(own["out"]), **chosen, license=own.get("license", "unknown"))
    found = exported(wish)
    console.result(f"exported: {', '.join(str(wish.out / name) for name in found.names)}")
    for line in found.said:
        console.result(line)
    return 0


def doctor(call: Call) -> int:
    """``clsp doctor``: 0 where nothing stops a run, else 1."""
    from clsp.doctor import examine

    found = examine()
    console.result(found.text())
    return 1 if found.stops else 0


def completion(call: Call) -> int:
    """``clsp completion``."""
    from clsp.cli.completion import SHELLS, script

    shell = " ".join(call.positional)
    if shell not in SHELLS:
        raise UserError(
            f"clsp completion takes the name of a shell, one of {', '.join(SHELLS)}, not '{shell}'"
            f"{suggest(shell, SHELLS)}"
        )
    print(script(shell), end="")
    return 0
