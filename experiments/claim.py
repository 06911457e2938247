"""The claim on images that nothing was chosen on: an equal search for every arm, then tables over four sets of images.

    python experiments/fresh.py .
    python experiments/claim.py --work WORK --table equal-epochs
    python experiments/claim.py --work WORK --table equal-cost --plan experiments/claim-colour.yaml --data blue-marble

experiments/claim.yaml has the plan of gray images, experiments/claim-colour.yaml that of colour. Each step goes on
after a kill: every arm is tried on validation images of the images that were seen before; then each set gets a
generator, a bank and encoders of its own. WORK/TABLE/result.json has the trials, the numbers of every set and Welch's
intervals between arms. `--part 0/2` and `--part 1/2` share the trials, and then the sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from trials import clsp, epoch_flops, facts_of, measured, of_part

from clsp import files
from clsp.evaluation.balance import balanced
from clsp.evaluation.statistics import interval, welch
from clsp.settings.values import nested

PLAN = Path(__file__).with_name("claim.yaml")
SCORES = ("linear", "knn", "retrieval")
OPEN = "{data}"
"""What stands in a plan for images that are named when it is run."""


@dataclass(frozen=True)
class Claim:
    """One table of the plan, and where its work lies."""

    plan: dict[str, Any]
    own: dict[str, Any]
    """What the plan says of the table."""
    work: Path
    """Of all tables: generators and banks."""
    folder: Path
    """Of the table."""

    @property
    def sets(self) -> list[tuple[str, int]]:
        """The images of every set with its seed, its number; the same images may serve several seeds."""
        return [(data, seed) for seed, data in enumerate(self.plan["sets"])]

    def name(self, data: str, seed: int) -> str:
        """Of the images, with their seed where they serve several."""
        stem = Path(data).stem
        return stem if self.plan["sets"].count(data) < 2 else f"{stem}-{seed}"

    def bank(self, data: str, seed: int) -> Path:
        """The generator and the bank of a set, made once for all tables."""
        place = self.work / self.name(data, seed)
        common = {"data": data, "recipe": self.plan["generator"], "seed": seed}
        files.make_folder(place)
        with FileLock(place / "lock"):
            if not (place / "positives" / "manifest.json").exists():
                clsp("diffusion", {**common, "out": place / "diffusion"})
                drawn = {**self.plan.get("draw", {}), "diffusion": place / "diffusion", "out": place / "positives"}
                clsp("synthesize", {**common, **drawn})
        return place / "positives"

    def generator_flops(self, arm: str) -> float:
        """What generator and bank take, where an arm needs them: those of the search's, for all sets are as large."""
        if "bank" not in arm.split("+"):
            return 0.0
        facts = facts_of(self.bank(self.plan["search"]["data"], self.plan["search"]["seed"]))
        return float(facts["flops"] + facts["generator"]["flops"])

    def cost(self, arm: str) -> float:
        """FLOPs of an epoch."""
        options = {"data": self.plan["search"]["data"], "recipe": self.own["recipe"], **self.plan["common"]}
        return epoch_flops(arm, options, self.folder / "costs")

    def epochs(self, arm: str) -> int:
        """The table's, or as many as there is left for after the generator."""
        if "as" not in self.own:
            return int(self.own["epochs"])
        like = self.own["as"]
        total = self.generator_flops(like) + self.own["epochs"] * self.cost(like)
        return round((total - self.generator_flops(arm)) / self.cost(arm))

    def options(self, data: str, seed: int, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Those of `clsp compare` for arms, each with settings of its own."""
        bank = {"positives": self.bank(data, seed)} if any("bank" in arm for arm in settings) else {}
        words = {"methods": ",".join(settings), "per_method": settings, "seed": seed, **bank}
        return {"data": data, "recipe": self.own["recipe"], **self.plan["common"], **words}

    def tried(self, arm: str, number: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Train and measure an arm on validation images."""
        search = self.plan["search"]
        own = {arm: nested({**settings, "epochs": search["epochs"]})}
        options = self.options(search["data"], search["seed"], own)
        options["evaluate.validation_images"] = search["validation"]
        return {"settings": settings, **measured(options, self.folder / "trials" / f"{arm}-{number}")}

    def search(self, arm: str) -> list[dict[str, Any]]:
        """All trials of an arm: rates until the best one is at no edge, then the other settings at the best rate."""
        search, trials = self.plan["search"], list[dict[str, Any]]()
        rates = list(search["rates"])
        for number in range(search["most"]):
            if number < len(rates):
                trials.append(self.tried(arm, number, {**search["usual"], "lr": rates[number]}))
            if number + 1 == len(rates):
                rates.extend(beyond(trials))
        best = best_of(trials)["settings"]
        for number, other in enumerate(search["others"]):
            trials.append(self.tried(arm, search["most"] + number, {**best, **other}))
        files.write_json(self.folder / "search" / f"{arm}.json", trials)
        return trials

    def chosen(self) -> dict[str, dict[str, Any]] | None:
        """The settings of every arm; None while an arm was not tried."""
        paths = {arm: self.folder / "search" / f"{arm}.json" for arm in self.own["arms"]}
        if not all(path.exists() for path in paths.values()):
            return None
        best = {arm: best_of(files.read_json(path))["settings"] for arm, path in paths.items()}
        return {arm: nested({**settings, "epochs": self.epochs(arm)}) for arm, settings in best.items()}

    def write(self) -> None:
        """Write the numbers of the sets that are done."""
        places = [self.folder / self.name(*one) for one in self.sets]
        done = [place for place in places if (place / "comparison.json").exists()]
        rows = [{row["arm"]: row for row in files.read_json(path / "comparison.json")["arms"]} for path in done]
        arms = self.own["arms"]
        scores = scores_of([found[arms[0]] for found in rows])
        values = {arm: {score: [found[arm][score]["mean"] for found in rows] for score in scores} for arm in arms}
        found = {
            "plan": self.plan,
            "sets": [path.name for path in done],
            "chosen": self.chosen(),
            "trials": {arm: files.read_json(self.folder / "search" / f"{arm}.json") for arm in values},
            "values": values,
            "costs": {arm: row["cost"] for arm, row in rows[0].items()},
            "arms": {arm: {name: interval(runs).record() for name, runs in own.items()} for arm, own in values.items()},
            "differences": dict(self.differences(values)),
        }
        files.write_json(self.folder / "result.json", found)

    def differences(self, values: dict[str, dict[str, list[float]]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every arm minus every other, with Welch's interval over the sets."""
        for one in values:
            for other in values:
                if one != other and len(values[one][SCORES[0]]) > 1:
                    gaps = {score: welch(runs, values[other][score]).record() for score, runs in values[one].items()}
                    yield f"{one} minus {other}", gaps


def scores_of(sets: list[dict[str, Any]]) -> list[str]:
    """What arms are compared by, of a row of every set: accuracy by its mean over unequal classes, too."""
    names = [name for score in SCORES for name in (score, balanced(score))]
    return [name for name in names if all(name in row for row in sets)]


def read_plan(path: Path, data: str) -> dict[str, Any]:
    """Read a plan; ``data`` are the images of one that leaves them open.

    Raises:
        ValueError: images are missing, or the plan names its own.
    """
    text = path.read_text(encoding="utf-8")
    if (OPEN in text) != bool(data):
        raise ValueError(f"{path} names its images itself" if data else f"{path} leaves its images open: give --data")
    plan: dict[str, Any] = yaml.safe_load(text.replace(OPEN, data))
    return plan


def best_of(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The trial with the best linear accuracy."""
    return max(trials, key=lambda trial: trial["linear"])


def beyond(trials: list[dict[str, Any]]) -> Iterator[float]:
    """The next rate, where the best of those that were tried is the smallest or the largest of them."""
    rates, best = [trial["settings"]["lr"] for trial in trials], best_of(trials)["settings"]["lr"]
    if best == max(rates):
        yield round(2 * best, 6)
    elif best == min(rates):
        yield round(best / 2, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of all trainings")
    parser.add_argument("--table", required=True, help="the plan's table")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--data", default="", help="the images of a plan that leaves them open")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th arm, and then every N-th set")
    given = parser.parse_args()
    try:
        plan = read_plan(given.plan, given.data)
    except ValueError as error:
        parser.error(str(error))
    claim = Claim(plan, plan["tables"][given.table], given.work, given.work / given.table)
    for arm in of_part(claim.own["arms"], given.part):
        claim.search(arm)
    if (chosen := claim.chosen()) is None:
        print("other arms are being tried: call this again when they are done")
        return
    for one in of_part(claim.sets, given.part):
        clsp("compare", {**claim.options(*one, chosen), "seeds": 1, "out": claim.folder / claim.name(*one)})
        claim.write()


if __name__ == "__main__":
    main()
