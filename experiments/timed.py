"""`clsp run` with a time to keep to, as a person would type it, on several sets of images; kept as parts of a study.

    python experiments/timed.py --plan experiments/time.yaml --work WORK

The plan names the study, and the options of its runs: of every list each value is taken. A run that was stopped goes on
where it stopped; what the study has already is not repeated. `--part 0/2` and `--part 1/2` share the runs: bind each
process to its core (`taskset -c 0`), for a run takes the threads that are free.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from keep import keep
from trials import clsp, of_part

from clsp import files
from clsp.settings.describe import as_text

STUDIES = Path(__file__).parents[1] / "studies"


def runs(plan: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of every run with its options."""
    for words in plan["runs"]:
        values = [value if isinstance(value, list) else [value] for value in words.values()]
        for chosen in itertools.product(*values):
            options = dict(zip(words, chosen))
            yield "-".join(as_text(options[name]) for name in plan["name"] if name in options), options


def kept(study: Path) -> set[str]:
    """The parts that a study has."""
    result = study / "result.json"
    return set(files.read_json(result)["parts"]) if result.exists() else set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="folder of the study's folder")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th run")
    given = parser.parse_args()
    plan = yaml.safe_load(given.plan.read_text(encoding="utf-8"))
    study = given.studies / plan["study"]
    for name, options in of_part(runs(plan), given.part):
        if name not in kept(study):
            clsp("run", {**plan["common"], **options, "out": given.work / name})
            with FileLock(given.work / "keep.lock"):
                keep(given.work / name, study, name)


if __name__ == "__main__":
    main()
