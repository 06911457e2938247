"""The commands of the tasks: what trains one, and what uses its result."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsp import console, files
from clsp.cli.calls import whole_number
from clsp.errors import UserError
from clsp.text import is_whole

if TYPE_CHECKING:
    from clsp.cli.calls import Call
    from clsp.tasks.predictions import Predictions
    from clsp.tasks.task import Task


def train(call: Call) -> int:
    """``clsp classify``, ``clsp index``, ``clsp dense`` and ``clsp text``."""
    task: Task = import_module(f"clsp.tasks.{call.command.task}.run").TASK
    data, out = call.own["data"], call.own["out"]
    options: dict[str, Any] = {name: call.own.get(name) for name in (*call.command.required, *call.command.optional)}
    more = {name: value for name, value in options.items() if name not in ("data", "out")}
    for line in task.told(task.run(data, out, settings=call.overrides, **more)):
        console.result(line)
    return 0


def predict(call: Call) -> int:
    """``clsp predict``."""
    from clsp.tasks.classify.run import predict as predicted

    out = _table(call)
    return _written(predicted(call.own["classifier"], call.own["data"]), out)


def zeroshot(call: Call) -> int:
    """``clsp zeroshot``."""
    from clsp.tasks.text.run import zeroshot as classified

    out, classes = _table(call), [name.strip() for name in call.own["classes"].split(",")]
    return _written(classified(call.own["model"], call.own["data"], classes), out)


def _table(call: Call) -> Path:
    """Where classes go."""
    out = Path(call.own["out"])
    if out.suffix != ".csv":
        raise UserError(f"--out {out}: classes are written as .csv; choose this ending")
    return out


def _written(found: Predictions, out: Path) -> int:
    files.write_text(out, found.table())
    console.result(f"{len(found.names)} images classified: {out}")
    return 0


def search(call: Call) -> int:
    """``clsp search``."""
    from clsp.tasks.retrieval.page import found_page
    from clsp.tasks.retrieval.run import search as searched

    own = call.own
    found = searched(own["index"], own["query"], k=whole_number("k", own.get("k", "10")))
    for line in found.lines():
        console.result(line)
    if "html" in own:
        files.write_text(Path(own["html"]), found_page(Path(own["query"]), found.names, found.scores, found.source))
        console.result(f"page:    {Path(own['html']).resolve()}")
    return 0


def correspond(call: Call) -> int:
    """``clsp correspond``."""
    from clsp.tasks.correspondence.run import correspond as drawn

    own, out = call.own, Path(call.own["out"])
    images = call.positional
    if len(images) != 2:
        raise UserError(f"clsp correspond takes two images, not {len(images)}")
    if out.suffix != ".png":
        raise UserError(f"--out {out}: matches are drawn as .png; choose this ending")
    layer = own.get("layer", "-2")
    if not layer.startswith("-") or not is_whole(layer[1:]) or int(layer) >= 0:
        raise UserError(f"--layer '{layer}' must be a whole number below 0")
    picture = drawn(images[0], images[1], own["encoder"], layer=int(layer))
    with files.atomic(out) as file:
        picture.save(file, format="PNG")
    console.result(f"matches: {out}")
    return 0
