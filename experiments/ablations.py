"""What makes a positive good: one option at a time, each setting with its bank, its encoders and its measures.

    python experiments/ablations.py --diffusion RUN/diffusion --work WORK --out studies/ablations

Every setting is drawn, trained with every seed and rated on validation images by the ``clsp`` commands that a user
would type. Its result is a file in OUT/settings; where it lies there the setting is not repeated, also without WORK,
the banks and encoders. OUT/result.json holds them all and is written anew after every setting. Several processes
share the work: --part 0/2 and --part 1/2.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from trials import of_part

from clsp import files
from clsp.encoders.export import read_spec
from clsp.engine.hardware import device_of
from clsp.engine.record import require_record
from clsp.evaluation.distance import distance_seen_by
from clsp.evaluation.judge import judge_candidates
from clsp.evaluation.statistics import interval, paired
from clsp.evaluation.task import make_task
from clsp.images.imageset import subset
from clsp.positives.bank import PositiveBank
from clsp.recipes.prepare import prepare
from clsp.recipes.recipe import Recipe, load_recipe
from clsp.settings.values import flat, plain

BASE, TOGETHER, ALONE = "base", "together", "alone"
SCORES = ("linear", "linear_balanced", "knn")
"""What is compared, where the runs have it: classes of unlike size are balanced."""
JUDGE_EPOCHS, COMPARED = 3, 1000


@dataclass(frozen=True)
class Setting:
    """What differs from the recipe: nothing in ``base``, one option on an axis, several together."""

    axis: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return ",".join(f"{option}={value}" for option, value in sorted(self.options.items())).replace(" ", "") or BASE

    def changes(self, section: str) -> bool:
        return any(option.startswith(section) for option in self.options)


@dataclass(frozen=True)
class Ablation:
    """The plan of the YAML file and where its work lies."""

    plan: dict[str, Any]
    work: Path
    out: Path
    diffusion: Path
    name: str | None = None
    """Of the part that it is of its study; None: it is the whole study."""

    @property
    def settings(self) -> list[Setting]:
        axes, together = self.plan["axes"].items(), self.plan.get("together", [])
        needs = self.plan.get("needs", {})
        single = [Setting(axis, {axis: value, **needs.get(axis, {})}) for axis, values in axes for value in values]
        return [Setting(BASE, {}), *single, *(Setting(TOGETHER, options) for options in together)]

    def run(self, setting: Setting) -> None:
        """Make what the setting changes, train and rate."""
        folder = self.work / setting.name
        diffusion = self.diffusion
        if setting.changes("diffusion."):
            diffusion = folder / "diffusion"
            self.clsp("diffusion", setting, "--out", diffusion)
        drawn = setting if setting.changes("synthesize.") or setting.changes("diffusion.") else Setting(BASE, {})
        bank = self.work / drawn.name / "positives"
        self.clsp("synthesize", drawn, "--diffusion", diffusion, "--out", bank)
        others = [self.plan["baseline"], *self.plan.get("controls", [])] if setting.axis == BASE else []
        methods = ",".join([*others, self.plan["arm"]])
        self.clsp(
            "compare", setting, "--methods", methods, "--seeds", self.plan["seeds"],
            "--positives", bank, "--out", folder / "comparison",
        )  # fmt: skip
        arms = {arm["arm"]: arm for arm in files.read_json(folder / "comparison" / "comparison.json")["arms"]}
        found = {
            "axis": setting.axis,
            "options": setting.options,
            "fixed": self.fixed,
            "runs": {name: arm["runs"] for name, arm in arms.items()},
            "cost": arms[self.plan["arm"]]["cost"],
            "measures": self.measures(bank, spec=next((folder / "comparison" / "arms").glob("*/seed-0"))),
        }
        files.write_json(self.path(setting), found)

    @property
    def fixed(self) -> dict[str, Any]:
        """What all settings share."""
        return {name: value for name, value in self.plan.items() if name not in ("axes", "needs", "together")}

    def path(self, setting: Setting) -> Path:
        return self.out / (self.name or "") / "settings" / f"{setting.name}.json"

    def is_done(self, setting: Setting) -> bool:
        """Whether the setting's result is there.

        Raises:
            SystemExit: it is of another plan.
        """
        if not self.path(setting).exists():
            return False
        if files.read_json(self.path(setting))["fixed"] != self.fixed:
            raise SystemExit(f"{self.path(setting)} belongs to another plan; choose another --out")
        return True

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

    def measures(self, place: Path, spec: Path) -> dict[str, float]:
        """What the bank says of itself, what the gate says, and what two encoders say of it.

        They are a classifier of real labels of the architecture ``spec``, and the baseline's encoder of the first seed:
        how far from real images it sees the candidates.
        """
        bank = PositiveBank.open(place)
        prepared = prepare(self.plan["data"], recipe=self.plan["recipe"])
        task, device = make_task(prepared.images, prepared.recipe.evaluate, seed=0), device_of(prepared.recipe.hardware)
        judged = judge_candidates(
            bank, prepared.images, task, read_spec(spec), epochs=JUDGE_EPOCHS, seed=0, device=device
        )
        rows = subset(len(bank), COMPARED, seed=0)
        candidates, real = bank.array(rows)[:, 0], files.take(prepared.images.train.images, bank.ids[rows])
        distance = round(distance_seen_by(self.alone(), candidates, real, device=device), 4)
        values = {name: measure["value"] for name, measure in {**bank.manifest["measures"], **judged}.items()}
        gate = {name: measure["value"] for name, measure in require_record(place).facts["verdict"]["measures"].items()}
        return {**values, **gate, "encoder_distance": distance}

    def alone(self) -> Path:
        """The baseline's encoder of the first seed; processes that share the work train it once."""
        made = self.work / BASE / "comparison" / "arms" / self.plan["baseline"] / "seed-0"
        if (made / "encoder.safetensors").exists():
            return made
        self.clsp(
            "compare", Setting(BASE, {}), "--methods", self.plan["baseline"], "--seeds", 1, "--out", self.work / ALONE
        )
        return self.work / ALONE / "arms" / self.plan["baseline"] / "seed-0"

    def collect(self) -> dict[str, Any]:
        """All finished settings, with the differences to ``base`` and to the baseline, paired by seed."""
        done = [files.read_json(self.path(setting)) for setting in self.settings if self.is_done(setting)]
        arm, baseline = self.plan["arm"], self.plan["baseline"]
        base = done[0]["runs"] if done and done[0]["axis"] == BASE else {}
        beside = {name: scores(runs) for name, runs in base.items() if name != arm}
        rows = []
        for found in done:
            runs = found["runs"][arm]
            rows.append(
                {
                    **{name: found[name] for name in ("axis", "options", "cost", "measures")},
                    "value": found["options"].get(found["axis"]),
                    "seeds": len(runs["linear"]),
                    **scores(runs),
                    "versus_base": gaps(runs, base.get(arm, {})),
                    "versus_baseline": gaps(runs, base.get(baseline, {})),
                    "runs": runs,
                }
            )
        return {"plan": self.plan, "recipe": own_values(self.plan), "beside": beside, "settings": rows}

    def save(self) -> None:
        """Write what was found so far: a study's numbers, or a part's among those of the others."""
        path, found = self.out / "result.json", self.collect()
        if self.name:
            whole = files.read_json(path) if path.exists() else {"parts": {}}
            found = {**whole, "parts": {**whole["parts"], self.name: found}}
        files.write_json(path, found)


def scores(runs: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Mean and interval over the seeds, of every score that the runs have."""
    return {score: interval(list(runs[score].values())).record() for score in SCORES if score in runs}


def gaps(first: dict[str, dict[str, float]], second: dict[str, dict[str, float]]) -> dict[str, Any]:
    """First minus second, paired by seed; empty where they share none."""
    found = {score: paired(first[score], second.get(score, {})) for score in SCORES if score in first}
    return {score: gap.record() for score, gap in found.items() if gap}


def own_values(plan: dict[str, Any]) -> dict[str, Any]:
    """The values of the plan's axes in ``base``; none for an axis that needs what ``base`` has not."""
    options = {**flat(plain(load_recipe(plan["recipe"])), Recipe), **plan["common"]}
    return {axis: options[axis] for axis in plan["axes"] if axis not in plan.get("needs", {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, default=Path(__file__).with_name("ablations.yaml"))
    parser.add_argument("--diffusion", type=Path, required=True, help="the diffusion model of the recipe")
    parser.add_argument("--work", type=Path, required=True, help="folder of banks and encoders")
    parser.add_argument("--out", type=Path, required=True, help="what was found")
    parser.add_argument("--name", help="the part of a study that has several")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th setting")
    options = parser.parse_args()
    ablation = Ablation(
        yaml.safe_load(options.plan.read_text()), options.work, options.out, options.diffusion, options.name
    )
    for setting in of_part(ablation.settings, options.part):
        if not ablation.is_done(setting):
            ablation.run(setting)
        ablation.save()


if __name__ == "__main__":
    main()
