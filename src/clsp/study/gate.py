"""The gate between bank and encoders: a bank that is of no use is never trained on in silence."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from clsp import console, distributed, files
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.start import before
from clsp.engine.record import read_record
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.positives.config import SynthesizeConfig
from clsp.positives.gate import judge_bank, told, verdict_of
from clsp.positives.verdict import Verdict
from clsp.recipes.arms import Arm
from clsp.recipes.prepare import Prepared, prepare_with
from clsp.recipes.recipe import Recipe
from clsp.settings.values import build, flat, nested
from clsp.study.clock import read_budget
from clsp.text import quoted
from clsp.training.checks import needs_bank

MORE = 3
"""Where it cannot be reckoned how many steps are missing: so many times those that were taken."""
NEAREST = "nearest"
"""The source that stands in for a bank."""
OFF = "--synthesize.gate off trains on it all the same"


@dataclass(frozen=True)
class Rows:
    """What a study is to train."""

    arms: list[Arm]
    main: Arm | None
    """What it is about; None: all of them."""
    baseline: Arm
    left_out: list[Arm] = field(default_factory=list)
    """Arms that were asked for, and need a bank that is of no use."""
    gate: dict[str, Any] | None = None
    """What was decided, for comparison.json; None: no bank was needed."""


def pass_gate(prepared: Prepared, bank: PositiveBank, rows: Rows, command: str, *, model: Path | None) -> Rows:
    """Judge the bank, say so, and leave out the arms that need it where it fails and the settings say so.

    Args:
        prepared: data and recipe.
        bank: the bank.
        rows: what is to be trained.
        command: the command that asks for it, for the advice.
        model: the folder of the diffusion model that this study trained itself; None: it came from elsewhere.

    Raises:
        UserError: the bank fails, and the study is to stop, or nothing would be left of it.
    """
    verdict, asked = judged(prepared, bank), prepared.recipe.synthesize.gate
    if verdict is None:
        console.say(f"the bank {bank.folder} was never judged, and its diffusion model is not beside it; it is used")
        return rows
    console.say(told(verdict))
    found = {"asked": asked, **verdict.record()}
    if verdict.passed or asked == "off":
        return replace(rows, gate={**found, "left_out": [], "advice": "", "command": ""})
    left = _without_bank(prepared.recipe, rows, near=asked == "near")
    advice, again = _advice(prepared, command, model)
    if asked == "stop" or not left.arms:
        whole = "--synthesize.gate plain goes on without it, " if left.arms else ""
        raise UserError(f"{told(verdict)}; {whole}{OFF}; {_line(advice, again)}")
    names, instead = [arm.name for arm in left.left_out], _instead(rows, left)
    console.say(f"the study goes on without the bank: {', '.join(names)} left out{_near(instead)}; {OFF}")
    console.say(_line(advice, again))
    return replace(left, gate={**found, "left_out": names, "instead": instead, "advice": advice, "command": again})


def require_use(prepared: Prepared, bank: PositiveBank) -> None:
    """Say what the verdict on a bank is that one training is to use; with nothing beside it, it stops where that fails.

    Raises:
        UserError: the bank fails, and the gate is not off.
    """
    rows = Rows([], None, Arm(prepared.recipe.pretrain.method))
    pass_gate(prepared, bank, rows, "", model=None)


def judged(prepared: Prepared, bank: PositiveBank) -> Verdict | None:
    """The verdict that a bank came with, else one that is given now, where the model that drew it lies beside it.

    Raises:
        UserError: its record is damaged.
    """
    if (verdict := verdict_of(bank)) is not None:
        return verdict
    folder = bank.folder.resolve().parent / "diffusion"
    record = read_record(folder)
    if record is None or record.facts.get("unet") != bank.manifest.get("unet"):
        return None
    found: dict[str, Any] = {}
    if distributed.rank() == 0:
        path, drawn = bank.folder / "manifest.json", bank.manifest.get("sampler", {})
        with files.foreign(path):
            names = {item.name for item in fields(SynthesizeConfig)}
            config = build(SynthesizeConfig, {name: value for name, value in drawn.items() if name in names})
        clip = config.clip_sample
        pipeline = SyntheticPositivePipeline.from_pretrained(folder, sampler=config.sampler, clip_sample=clip)
        found = judge_bank(bank, prepared.images, pipeline, config, seed=prepared.recipe.seed).record()
    return files.valid(distributed.agreed(found), Verdict, bank.folder)


def _without_bank(recipe: Recipe, rows: Rows, *, near: bool) -> Rows:
    """The rows that need no bank. A study of one main arm goes on with near images, or with its method alone."""
    left = [arm for arm in rows.arms if not arm.trains or not needs_bank(recipe.pretraining(arm))]
    out = [arm for arm in rows.arms if arm not in left]
    main = rows.main
    if main is not None and main in out:
        stand_in = near and main.source is not None and main.also is None
        main = Arm(main.method, NEAREST, main.placement, main.objective) if stand_in else Arm(main.method)
        left = [main, *(arm for arm in left if arm != main)]
    if not any(arm.trains for arm in left):
        left = []  # the diffusion model's own features alone are no study
    base = rows.baseline if rows.baseline in left or not left else main or left[0]
    return Rows(left, main, base, out)


def _instead(rows: Rows, left: Rows) -> str:
    """The arm whose near images stand in for the candidates; empty where none do."""
    main = left.main
    return main.name if main and main.source == NEAREST and main not in rows.arms else ""


def _near(instead: str) -> str:
    """Say that near images stand in for the candidates."""
    return f"; near images stand in for its candidates: {instead}" if instead else ""


def _advice(prepared: Prepared, command: str, model: Path | None) -> tuple[str, str]:
    """What to do for a better bank, and the command that does it; nothing for a model from elsewhere."""
    record = None if model is None else read_record(model)
    if record is None or model is None:
        return "for a better bank train the diffusion model longer", ""
    with files.foreign(record.path):
        batch = int(record.settings["batch_size"])
        own = int(record.facts.get("steps", record.settings["steps"]))
        done = own + round(before(record)["images"] / batch)
    steps = _usual_steps(prepared) - done
    more, why = (steps, "what the recipe's length lacks") if steps > 0 else (MORE * done, f"{MORE} times as many")
    told_steps = f"trained for {done:,} steps; for {more:,} more, {why}"
    time = _with_time(prepared, model.parent, record.seconds * (more / max(own, 1) - 1.0))
    changed = {"--diffusion.weights": str(model), "--diffusion.steps": str(more), **time}
    again = _again(command, {**changed, "--out": f"{model.parent}-longer"})
    return f"for a better bank train the diffusion model on ({told_steps})", again


def _line(advice: str, command: str) -> str:
    return f"{advice}: {command}" if command else advice


def _usual_steps(prepared: Prepared) -> int:
    """The steps that the recipe has by itself, whatever the user asked for."""
    given = {name: value for name, value in flat(prepared.given, Recipe).items() if name != "diffusion.steps"}
    own = prepare_with(lambda _: prepared.images, prepared.name, nested(given))
    return own.recipe.diffusion.steps


def _with_time(prepared: Prepared, run: Path, longer: float) -> dict[str, str]:
    """What a run that was given a time is told besides: so many seconds more, and the size of the model's images."""
    kept = read_budget(run)
    if kept is None:
        return {}
    minutes = math.ceil((kept[0].due + max(longer, 0.0)) / 60)
    return {"--hours": f"{minutes}m", "--images.size": str(prepared.images.size)}


def _again(command: str, changed: Mapping[str, str]) -> str:
    """The command with other values of some options, such as a new folder."""
    words = shlex.split(command) or ["clsp", "run"]
    kept, place = list[str](), 0
    while place < len(words):
        if words[place] in changed:
            place += 1  # its value goes with it
        else:
            kept.append(words[place])
        place += 1
    return " ".join(quoted(word) for word in [*kept, *(word for option in changed.items() for word in option)])


def note(gate: dict[str, Any] | None) -> list[str]:
    """What the end of a study says of its bank: lines of text; none where it passed, or there was none."""
    if not gate or gate["passed"]:
        return []
    told_lines = [f"bank:    it fails: {'; '.join(gate['reasons'])}"]
    if gate["left_out"]:
        left = f"{', '.join(gate['left_out'])} left out{_near(gate.get('instead', ''))}"
        told_lines.append(f"         {left}; {_line(gate['advice'], gate['command'])}")
    return told_lines
