"""All methods by one measure: an equal search of settings, then the table, at equal FLOPs.

    python experiments/family.py --work WORK --set fashion-mnist
    python experiments/keep.py WORK/fashion-mnist/table studies/family --part fashion-mnist

experiments/family.yaml has the plan. Three steps, each of which goes on after a kill: what an epoch of each method
costs is counted; every method is tried with the plan's rates and its other value, on validation images; and `clsp
compare` trains what was best anew, alone and with the bank, with other seeds. WORK/SET/search.json has costs, trials
and what was chosen. `--part 0/2` and `--part 1/2` share the trials; the table is made by the part that finds all of
them done.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from trials import clsp, epoch_flops, measured, of_part

from clsp import files
from clsp.settings.values import nested

PLAN = Path(__file__).with_name("family.yaml")


@dataclass(frozen=True)
class Trial:
    """A method with the settings that are tried."""

    method: str
    rate: float
    other: bool

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.method}-{self.rate:g}" + ("-other" if self.other else "")


@dataclass(frozen=True)
class Family:
    """The plan for one set of images, and where its work lies."""

    plan: dict[str, Any]
    own: dict[str, Any]
    """What the plan says of the set."""
    work: Path

    @property
    def common(self) -> dict[str, Any]:
        """Options of every training."""
        named = {name: self.own[name] for name in ("data", "recipe")}
        return {**named, **self.plan["common"], **self.own["settings"]}

    def trials(self) -> Iterator[Trial]:
        """The first rate of all methods first, so that every method has something soon."""
        for factor in self.plan["search"]["factors"]:
            for method, words in self.plan["methods"].items():
                yield Trial(method, words["lr"] * factor, False)
        for method, words in self.plan["methods"].items():
            yield Trial(method, words["lr"], True)

    def settings(self, trial: Trial) -> dict[str, Any]:
        """Its settings below ``pretrain``."""
        more = self.plan["methods"][trial.method]["other"] if trial.other else {}
        return {"lr": trial.rate, **more}

    def cost(self, arm: str) -> float:
        """FLOPs of an epoch of an arm; the bank's are those of a third view."""
        return epoch_flops(arm, self.common, self.work / "costs")

    def epochs(self, arm: str, *, trial: bool = False) -> int:
        """As many as cost what SimCLR's do."""
        whole = self.plan["search"]["epochs"] if trial else self.plan["epochs"]
        return max(round(whole * self.cost("simclr") / self.cost(arm)), 1)

    def tried(self, trial: Trial) -> dict[str, float]:
        """Train and measure it on validation images, once; what diverges has no merit."""
        settings = {f"pretrain.{name}": value for name, value in self.settings(trial).items()}
        options = {
            **self.common,
            **settings,
            "pretrain.epochs": self.epochs(trial.method, trial=True),
            "methods": trial.method,
            "seed": self.plan["search"]["seed"],
            "evaluate.validation_images": self.own["validation"],
        }
        place = self.work / "trials" / trial.name
        if not self.diverged(trial).exists():
            try:
                return measured(options, place)
            except subprocess.CalledProcessError as error:
                if error.returncode < 0 or not (place / "arms").is_dir():  # killed, or refused before it began
                    raise
                self.diverged(trial).touch()
        return {"linear": 0.0}

    def diverged(self, trial: Trial) -> Path:
        """A file that says so."""
        return self.work / "trials" / f"{trial.name}.diverged"

    def done(self) -> bool:
        """Whether every trial came to an end."""
        ends = ((self.work / "trials" / one.name / "comparison.json", self.diverged(one)) for one in self.trials())
        return all(measures.exists() or diverged.exists() for measures, diverged in ends)

    def write(self) -> None:
        """Write what was tried and chosen, where all trials are done."""
        found: dict[str, Any] = {"epoch_flops": {}, "methods": {}}
        for trial in self.trials():
            line = {
                "settings": self.settings(trial),
                "epochs": self.epochs(trial.method, trial=True),
                **self.tried(trial),
            }
            found["methods"].setdefault(trial.method, {"tried": []})["tried"].append(line)
        for method, words in found["methods"].items():
            found["epoch_flops"][method] = self.cost(method)
            words["chosen"] = max(words["tried"], key=lambda line: line["linear"])["settings"]
        files.write_json(self.work / "search.json", found)

    def arms(self) -> list[str]:
        """Every method alone and with the bank."""
        return [name for method in self.plan["methods"] for name in (method, f"{method}+bank")]

    def recipe(self) -> Path:
        """The set's recipe with what was chosen for each arm."""
        chosen = files.read_json(self.work / "search.json")["methods"]
        recipe = yaml.safe_load(Path(self.own["recipe"]).read_text(encoding="utf-8"))
        recipe["per_method"] = {}
        for arm in self.arms():
            settings = chosen[arm.partition("+")[0]]["chosen"]
            recipe["per_method"][arm] = {**nested(settings), "epochs": self.epochs(arm)}
        path = self.work / "recipe.yaml"
        files.write_text(path, yaml.safe_dump(recipe, sort_keys=False))
        return path

    def bank(self) -> dict[str, Any]:
        """The bank that a given diffusion model draws; without one, `clsp compare` makes both."""
        place, words = self.work / "bank", ("images.", "synthesize.", "pretrain.")
        if "diffusion" not in self.own:
            return {}
        options = {name: value for name, value in self.common.items() if "." not in name or name.startswith(words)}
        clsp("synthesize", {**options, **self.own["bank"], "diffusion": self.own["diffusion"], "out": place})
        return {"positives": place}

    def table(self) -> None:
        """Train what was chosen, alone and with the bank."""
        more = {"recipe": str(self.recipe()), "methods": ",".join(self.arms()), "seeds": self.plan["seeds"]}
        clsp("compare", {**self.common, **self.own["bank"], **self.bank(), **more, "out": self.work / "table"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of all trainings")
    parser.add_argument("--set", required=True, help="the plan's set of images")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th trial")
    given = parser.parse_args()
    plan = yaml.safe_load(given.plan.read_text(encoding="utf-8"))
    family = Family(plan, plan["sets"][given.set], given.work / given.set)
    for trial in of_part(family.trials(), given.part):
        family.tried(trial)
    if family.done():
        family.write()
        family.table()


if __name__ == "__main__":
    main()
