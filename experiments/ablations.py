"""What makes a positive good: one option at a time, each setting with its bank, its encoders and its measures.

    python experiments/ablations.py --diffusion RUN/diffusion --work ablations --json ablations.json

Every setting is drawn, trained with every seed and rated on validation images by the ``clsp`` commands that a user
would type; what is finished is not repeated. Several processes share the work: --part 0/2 and --part 1/2. The JSON file
is written anew after every setting from all that is finished under --work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clsp.comparison.statistics import interval, paired
from clsp.encoders.export import read_spec
from clsp.evaluation.judge import judge_candidates
from clsp.evaluation.task import make_task
from clsp.positives.bank import PositiveBank
from clsp.recipes.options import flat_options, parse_recipe
from clsp.workflow import prepare

BASE, TOGETHER = "base", "together"
SCORES = ("linear", "knn")
JUDGE_EPOCHS = 3


@dataclass(frozen=True)
class Setting:
    """What differs from the recipe: nothing in ``base``, one option on an axis, several together."""

    axis: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return ",".join(f"{option}={value}" for option, value in self.options.items()) or BASE

    def changes(self, section: str) -> bool:
        return any(option.startswith(section) for option in self.options)


@dataclass(frozen=True)
class Ablation:
    """The plan of the YAML file and where its work lies."""

    plan: dict[str, Any]
    work: Path
    diffusion: Path

    @property
    def settings(self) -> list[Setting]:
        axes, together = self.plan["axes"].items(), self.plan.get("together", [])
        single = [Setting(axis, {axis: value}) for axis, values in axes for value in values]
        return [Setting(BASE, {}), *single, *(Setting(TOGETHER, options) for options in together)]

    def run(self, setting: Setting) -> None:
        """Make what the setting changes, train and rate."""
        folder = self.work / setting.name
        diffusion = self.diffusion
        if setting.changes("diffusion."):
            diffusion = folder / "diffusion"
            self.clsp("diffusion", setting, "--out", diffusion)
        bank = folder / "positives" if self.draws(setting) else self.work / BASE / "positives"
        if self.draws(setting):
            self.clsp("synthesize", setting, "--diffusion", diffusion, "--out", bank)
        else:
            self.clsp("synthesize", Setting(BASE, {}), "--diffusion", diffusion, "--out", bank)
        arms = f"{self.plan['baseline']},{self.plan['arm']}" if setting.axis == BASE else self.plan["arm"]
        self.clsp(
            "compare", setting, "--methods", arms, "--seeds", self.plan["seeds"],
            "--positives", bank, "--out", folder / "comparison",
        )  # fmt: skip
        if not (folder / "judged.json").exists():
            self.judge(setting, bank)

    def draws(self, setting: Setting) -> bool:
        """Whether the setting has a bank of its own."""
        return setting.axis == BASE or setting.changes("synthesize.") or setting.changes("diffusion.")

    def clsp(self, command: str, setting: Setting, *more: object) -> None:
        sections = {"diffusion": ("diffusion.",), "synthesize": ("synthesize.",)}.get(
            command, ("pretrain.", "evaluate.")
        )
        options = {**self.plan["common"], **setting.options}
        given = [
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in options.items()
            if name.startswith(sections)
        ]
        words = ["--data", self.plan["data"], "--recipe", self.plan["recipe"], *map(str, more), *given]
        subprocess.run([sys.executable, "-m", "clsp", command, *words], check=True)

    def judge(self, setting: Setting, place: Path) -> None:
        """Let a classifier of real labels judge the bank."""
        bank, recipe = PositiveBank.open(place), self.plan["recipe"]
        prepared = prepare(self.plan["data"], recipe=recipe, overrides=[])
        spec = read_spec(next((self.work / setting.name / "comparison" / "arms").glob("*/seed-0")))
        task = make_task(prepared.images, prepared.recipe.evaluate, seed=0)
        found = judge_candidates(bank, prepared.images, task, spec, epochs=JUDGE_EPOCHS, seed=0)
        measures = {**bank.manifest["measures"], **found}
        values = {name: measure["value"] for name, measure in measures.items()}
        (self.work / setting.name / "judged.json").write_text(json.dumps(values, indent=1) + "\n")

    def record(self) -> list[dict[str, Any]]:
        """Collect what is finished, with the difference to ``base`` paired by seed."""
        rows, base = [], None
        for setting in self.settings:
            folder = self.work / setting.name
            if not (folder / "judged.json").exists():
                continue
            arms = {
                arm["arm"]: arm for arm in json.loads((folder / "comparison" / "comparison.json").read_text())["arms"]
            }
            arm, runs = arms[self.plan["arm"]], runs_of(arms[self.plan["arm"]])
            base = base or {"base": runs, "baseline": runs_of(arms[self.plan["baseline"]])}
            scores = {score: interval(list(values.values())).record() for score, values in runs.items()}
            rows.append(
                {
                    "axis": setting.axis,
                    "options": setting.options,
                    "value": setting.options.get(setting.axis),
                    "seeds": len(runs["linear"]),
                    **scores,
                    **{f"versus_{name}": gaps(runs, other) for name, other in base.items()},
                    "runs": runs,
                    "cost": arm["cost"],
                    "measures": json.loads((folder / "judged.json").read_text()),
                }
            )
        return rows


def runs_of(arm: dict[str, Any]) -> dict[str, dict[int, float]]:
    """The accuracies of a row of comparison.json by score and seed."""
    return {score: {int(seed): value for seed, value in arm["runs"][score].items()} for score in SCORES}


def gaps(first: dict[str, dict[int, float]], second: dict[str, dict[int, float]]) -> dict[str, Any]:
    """First minus second, paired by seed."""
    found = {score: paired(first[score], second[score]) for score in SCORES}
    return {score: gap.record() for score, gap in found.items() if gap}


def own_values(plan: dict[str, Any]) -> dict[str, Any]:
    """The values of the plan's axes in the recipe itself."""
    options = flat_options(parse_recipe(plan["recipe"], []))
    return {axis: options[axis] for axis in plan["axes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, default=Path(__file__).with_name("ablations.yaml"))
    parser.add_argument("--diffusion", type=Path, required=True, help="the diffusion model of the recipe")
    parser.add_argument("--work", type=Path, required=True, help="folder of banks and encoders")
    parser.add_argument("--json", type=Path, required=True, help="what was found")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th setting")
    options = parser.parse_args()
    plan = yaml.safe_load(options.plan.read_text())
    ablation = Ablation(plan, options.work, options.diffusion)
    number, parts = map(int, options.part.split("/"))
    for setting in ablation.settings[number::parts]:
        ablation.run(setting)
        temporary = options.json.with_suffix(f".{os.getpid()}")
        found = {"plan": plan, "recipe": own_values(plan), "settings": ablation.record()}
        temporary.write_text(json.dumps(found, indent=1) + "\n")
        temporary.replace(options.json)


if __name__ == "__main__":
    main()
