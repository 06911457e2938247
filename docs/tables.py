"""Fill the tables of the documentation from the committed studies: `python docs/tables.py`.

A table stands in its page between marks with its name. The index, studies/README.md, is made from the study.yaml files.
With --check nothing is written: the exit status is 1 where a page is not what would be made.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import grids
import numpy as np
import timed
from colour import unjittered, ways
from speed import demo, generators, like_the_reference, of_a_generator, samplers, settings, speed, whole_run
from studies import ROOT, SCORES, STUDIES, about, put, result, rows, trained
from trust import fuzz, sweep

from clsp.evaluation.statistics import interval, welch
from clsp.study.table import shown

TRIED = ("simclr+bank+host", "nnclr", "simclr+class+host")
SEARCHED = {"simclr+bank+host": "recipe-host", "nnclr": "recipe-nnclr"}
"""Arms of the trials; two had the recipe's own settings in the search of their rate, in these parts of the tuning."""

MAIN = (
    "simclr", "simclr+view", "simclr+bank", "simclr+bank+alignment", "nnclr", "nnclr+bank", "all4one", "moco",
    "moco+bank", "byol",
)  # fmt: skip
CONTROLS = (
    "simclr+noise", "simclr+nearest", "simclr+random", "simclr+extra", "diffusion", "simclr+class", "supcon",
)  # fmt: skip
PAIRS = (
    ("simclr+bank", "nnclr"), ("simclr+bank", "all4one"), ("simclr+bank", "simclr"), ("simclr+bank", "simclr+view"),
    ("simclr+bank", "byol"), ("simclr+bank", "simclr+nearest"), ("simclr+bank", "simclr+extra"),
    ("simclr+bank", "diffusion"), ("nnclr+bank", "nnclr"), ("nnclr+bank", "all4one"), ("moco+bank", "moco"),
    ("moco+bank", "nnclr"), ("simclr+bank+alignment", "nnclr"), ("simclr+bank+alignment", "all4one"),
)  # fmt: skip
IN_WORDS = {
    "simclr": "its second view (SimCLR)",
    "simclr+view": "and a third view",
    "simclr+bank": "and a synthetic positive, which the batch's other images repel",
    "simclr+bank+alignment": "and a synthetic positive, by the paper's own term",
    "nnclr": "a neighbour of it (NNCLR)",
    "all4one": "neighbours and their centroid (All4One)",
}
CHANCE = {
    "claim": [
        ("claim", "", "simclr+bank", "claim", "", "nnclr"),
        ("claim", "", "simclr+bank", "claim", "", "all4one"),
        ("claim", "", "simclr+bank+alignment", "claim", "", "nnclr"),
        ("claim", "", "simclr+bank+alignment", "claim", "", "all4one"),
    ],
    "equal-cost": [
        ("equal-cost", "recipe", "simclr+bank+host", "equal-cost", "recipe", "nnclr"),
        ("equal-cost", "recipe", "simclr+bank+host", "equal-cost", "recipe", "all4one"),
        ("equal-cost", "small-encoder", "simclr+bank", "claim", "", "simclr+nearest"),
    ],
}
"""Differences whose intervals are formed in three ways: study, part and arm of both sides."""


def one_run() -> str:
    """The arms of one run of the recipe, with intervals over the test images."""
    found = result("run")["metrics"]
    ours, lines = found["arm"], []
    for arm, row in [*found["controls"].items(), (ours, found)]:
        gaps, linear = found["differences"].get(arm), row["linear"]
        cells = [f"{linear['top1']:.2f} ({linear['low']:.2f} to {linear['high']:.2f})", f"{row['knn']['top1']:.2f}"]
        cells += [f"{row['retrieval']['map']:.2f}"]
        cells += [shown(gaps[score], signed=True) if gaps else "" for score in SCORES]
        lines.append((f"`{arm}`", *cells))
    return rows(("arm", "linear", "kNN", "mAP", f"`{ours}` minus it, linear", "kNN"), lines)


def arms(found: dict[str, Any], names: tuple[str, ...]) -> str:
    """Some arms of a comparison with their differences to the baseline and their FLOPs."""
    base, known = found["baseline"], {row["arm"]: row for row in found["arms"]}
    gained = (f"linear minus `{base}`", f"kNN minus `{base}`")
    lines = []
    for row in (known[name] for name in names):
        gaps = row["versus"].get(base, {})
        cost = f"{row['cost']['pretraining_flops'] / 1e12:.0f}"
        scores = [shown(row[score]) for score in SCORES]
        scores += [shown(gaps[score], signed=True) if gaps else "" for score in SCORES]
        lines.append((f"`{row['arm']}`", str(row["seeds"]), *scores, cost))
    return rows(("arm", "seeds", "linear", "kNN", *gained, "pretraining, TFLOP"), lines)


def differences(found: dict[str, Any]) -> str:
    """The differences that the claim is about."""
    versus = {row["arm"]: row["versus"] for row in found["arms"]}
    lines = [
        (f"`{one}` minus `{other}`", *(shown(versus[one][other][score], signed=True) for score in SCORES))
        for one, other in PAIRS
    ]
    return rows(("", "linear", "kNN"), lines)


def chance(page: str) -> str:
    """The differences that a page rests on: paired by seed, by Welch, and without seed 0, which had chosen settings."""
    lines = []
    for study, part, one, other_study, other_part, other in CHANCE[page]:
        sides = [{row["arm"]: row["runs"] for row in result(*which)["arms"]}[arm]
                 for *which, arm in ((study, part, one), (other_study, other_part, other))]  # fmt: skip
        for score, name in zip(SCORES, ("linear", "kNN")):
            ours, theirs = (side[score] for side in sides)
            gaps = {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
            later = interval([gap for seed, gap in gaps.items() if seed != "0"]).record()
            ways = (
                interval(list(gaps.values())).record(),
                welch(list(ours.values()), list(theirs.values())).record(),
                later,
            )
            cells = [shown(found, signed=True) for found in ways]
            lines.append((f"`{one}` minus `{other}`, {name}", str(len(gaps)), *cells))
    return rows(("", "seeds of both", "paired by seed", "Welch", "paired, without seed 0"), lines)


def correlation() -> str:
    """How alike two arms of the claim vary with the seed, over all pairs of arms with five."""
    runs = [list(row["runs"]["linear"].values()) for row in result("claim")["arms"] if row["seeds"] == 5]
    alike = [np.corrcoef(one, other)[0, 1] for one, other in combinations(runs, 2)]
    return f"Mean correlation of two arms' linear accuracies over the seeds, {len(alike)} pairs: {np.mean(alike):.2f}."


def price() -> str:
    """What the claim's generator took beside the trainings."""
    cost = {row["arm"]: row["cost"] for row in result("claim")["arms"]}
    generator = cost["simclr+bank"]["generator_flops"]
    times = {arm: f"{generator / cost[arm]['pretraining_flops']:.1f}" for arm in ("simclr", "simclr+bank")}
    beside = " and ".join(f"{number} times that of `{arm}`" for arm, number in times.items())
    return f"The cost of the generator, {generator / 1e12:.0f} TFLOP, is {beside}."


def equal_cost(part: str, ours: str) -> str:
    """Arms of unequal epochs and like cost: what each took in all, and how far ``ours`` is above it."""
    known = {row["arm"]: row for row in result("equal-cost", part)["arms"]}
    runs, gaps, lines = trained("equal-cost", part), known[ours]["versus"], []
    for name, row in known.items():
        cells = [str(row["seeds"]), str(runs[name]["settings"]["epochs"]), *(shown(row[score]) for score in SCORES)]
        cells += [shown(gaps[name][score], signed=True) if name in gaps else "" for score in SCORES]
        flops = row["cost"]["pretraining_flops"] + row["cost"]["generator_flops"]
        lines.append((f"`{name}`", *cells, f"{flops / 1e12:.0f}"))
    ahead = (f"linear, `{ours}` minus it", f"kNN, `{ours}` minus it")
    return rows(("arm", "seeds", "epochs", "linear", "kNN", *ahead, "TFLOP in all"), lines)


def trials() -> str:
    """Accuracy on validation images, linear and kNN, of some arms under some settings."""
    known = {}
    for arm, part in SEARCHED.items():
        found = result("tuning", part)[arm]
        known["recipe", arm] = found["rates"][str(found["best"])]
    for part, comparison in result("trials")["parts"].items():
        (row,) = comparison["arms"]
        known[part.partition("/")[0], row["arm"]] = {score: row[score]["mean"] for score in SCORES}
    pairs = {key: " / ".join(f"{one[score]:.2f}" for score in SCORES) for key, one in known.items()}
    settings = about("trials")["parts"].items()
    lines = [(words, *(pairs.get((setting, arm), "") for arm in TRIED)) for setting, words in settings]
    return rows(("setting", *(f"`{arm}`" for arm in TRIED)), lines)


def rates(part: str) -> str:
    """Accuracy on validation images, linear and kNN, by learning rate; the best linear accuracy of an arm is bold."""
    found = result("tuning", part)
    tried = sorted({float(rate) for arm in found.values() for rate in arm["rates"]})
    lines = []
    for arm, row in found.items():
        cells = []
        for rate in tried:
            linear, knn = (f"{row['rates'][str(rate)][score]:.2f}" for score in SCORES)
            cells.append(f"**{linear}** / {knn}" if rate == row["best"] else f"{linear} / {knn}")
        lines.append((f"`{arm}`", *cells))
    return rows(("arm", *map(str, tried)), lines)


def banks(chose: bool) -> str:
    """What the gate's measures say of the banks on which its lines were chosen, or of those that checked them."""
    heads = ("data", "generator's steps", "drawn", "follows", "strange", "untypical", "label agreement", "verdict")
    lines = []
    for row in (row for row in result("gate")["banks"] if row["chose"] == chose):
        names = ("follows", "strange", "untypical", "label_agreement")
        verdict = "passes" if row["passed"] else "fails"
        lines.append((row["data"], f"{row['steps']:,}", row["way"], *(f"{row[name]:.2f}" for name in names), verdict))
    return rows(heads, lines)


def intervals() -> dict[str, str]:
    """Intervals of differences in retrieval: how often they hold the true one, and how wide they are of real runs."""
    found = result("retrieval-intervals")
    ways, made, real = ("queries", "images"), list[tuple[str, ...]](), list[tuple[str, ...]]()
    for case in found["simulated"]:
        held = (text for way in ways for text in (f"{case[f'held by {way}']:.1f} %", f"{case[f'width by {way}']:.2f}"))
        kind = (f"{case[name]:g}" for name in ("images", "classes", "noise"))
        made.append((*kind, f"{case['difference']:.2f}", *held))
    for row in found["runs"]:
        told = (shown(row[way], signed=True) for way in ways)
        real.append((row["run"], f"`{row['against']}`", *told, f"{row['times']:.2f}"))
    heads = ("held by queries", "width", "held by images", "width")
    return {
        "simulated": rows(("test images", "classes", "noise", "true difference", *heads), made),
        "runs": rows(("run", "bank minus", "over the queries", "over the images", "times as wide"), real),
    }


def index() -> str:
    """Every study in a row, from its study.yaml."""
    lines = []
    for path in sorted(STUDIES.glob("*/study.yaml")):
        name, said = path.parent.name, about(path.parent.name)
        link = f"[{name}]({name}/{'README.md' if (path.parent / 'README.md').exists() else 'study.yaml'})"
        lines.append((link, said["question"].strip(), said["verdict"].strip(), str(said["seeds"]), said["split"]))
    return rows(("study", "question", "verdict", "seeds", "split"), lines)


def in_words(found: dict[str, Any]) -> str:
    """The arms that one who has never heard of them should see."""
    known = {row["arm"]: row for row in found["arms"]}
    lines = [(words, *(shown(known[name][score]) for score in SCORES)) for name, words in IN_WORDS.items()]
    return rows(("what is pulled towards an image's first view", "linear", "kNN"), lines)


def pages() -> dict[Path, str]:
    """What the pages should say, by their paths."""
    claim, ablations, digits = result("claim"), result("ablations"), result("digits")
    tables = {
        ROOT / "README.md": {"claim": in_words(claim)},
        ROOT / "docs" / "positives.md": {"settings": settings(ablations)},
        ROOT / "docs" / "reliability.md": {"sweep": sweep(), "fuzz": fuzz()},
        ROOT / "docs" / "speed.md": {
            "table": speed(),
            "whole": whole_run(),
            "demo": demo(),
            "samplers": samplers(),
            "banks": generators(),
            "teaching": settings(ablations, like_the_reference),
            "generators": settings(ablations, of_a_generator),
        },
        STUDIES / "README.md": {"studies": index()},
        STUDIES / "claim" / "README.md": {
            "arms": arms(claim, MAIN),
            "controls": arms(claim, CONTROLS),
            "differences": f"{differences(claim)}\n\n{price()}",
            "chance": f"{chance('claim')}\n\n{correlation()}",
        },
        STUDIES / "equal-cost" / "README.md": {
            "equal": equal_cost("small-encoder", "simclr+bank"),
            "equal-recipe": equal_cost("recipe", "simclr+bank+host"),
            "chance": chance("equal-cost"),
        },
        STUDIES / "trials" / "README.md": {"trials": trials()},
        STUDIES / "tuning" / "README.md": {part: rates(part) for part in result("tuning")["parts"]},
        STUDIES / "gate" / "README.md": {"chosen": banks(chose=True), "checked": banks(chose=False)},
        STUDIES / "run" / "README.md": {"run": one_run()},
        STUDIES / "retrieval-intervals" / "README.md": intervals(),
        STUDIES / "colour" / "README.md": {
            **{part: ways(part) for part in ("blue-marble", "openclipart")},
            **{f"{part}-unjittered": unjittered(f"{part}-unjittered") for part in ("blue-marble", "openclipart")},
        },
        STUDIES / "digits" / "README.md": {"digits": arms(digits, tuple(row["arm"] for row in digits["arms"]))},
        **{STUDIES / name / "README.md": timed.tables(name) for name in ("time", "time-before", "time-halfway")},
        **{STUDIES / name / "README.md": grids.tables(name) for name in grids.names()},
    }
    counts = grids.seed_by_seed("image-count", "candidates", "SimCLR for the whole cost")
    tables[STUDIES / "image-count" / "README.md"]["whole cost"] = counts
    tables[STUDIES / "draws" / "README.md"]["follows"] = grids.follows("draws")
    return {path: put(path.read_text(encoding="utf-8"), filled) for path, filled in tables.items()}


def main() -> int:
    """Write the pages, or check them; return the exit status."""
    stale = {path: text for path, text in pages().items() if path.read_text(encoding="utf-8") != text}
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: run python docs/tables.py", file=sys.stderr)
        return int(bool(stale))
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
