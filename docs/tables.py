"""Fill the tables of the documentation from the committed results: `python docs/tables.py`.

A table stands in its page between marks with its name. A test holds that the pages say what the results say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clsp.study.table import shown

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "results" / "fashion-mnist"
BENCHMARKS = ROOT / "results" / "benchmarks"
CLAIM = ROOT / "results" / "claim" / "fashion-mnist"
EQUAL = {  # the marks in the page: the folder, and the arm that the others are measured against
    "equal": ("fashion-mnist-equal-cost", "simclr+bank"),
    "equal-recipe": ("fashion-mnist-equal-cost-recipe", "simclr+bank+host"),
}
"""Comparisons at equal total cost, beside the claim's."""
GENERATORS = {
    "28 pixels, 3,000 steps of 128; k = 2, 10 steps": "two-candidates",
    "28 pixels, 4,800 steps of 16; k = 2, 10 steps, guidance 2": "small-batches",
    "20 pixels, 3,000 steps of 128; k = 1, 10 steps, guidance 2": "20-pixels",
    "20 pixels, 2,200 steps of 128; k = 1, 8 steps, guidance 2": "20-pixels-2200",
    "16 pixels, 3,000 steps of 128; k = 2, 10 steps, guidance 2": "16-pixels",
    "20 pixels, lower noise levels, 3,000 steps of 64; k = 1, last 5 of 10 steps, guidance 2": "lower-levels",
    "the same, 4,500 steps of 64, levels spread evenly over each batch": "lower-levels-4500",
}
"""Generators that the main comparison was repeated with, in words, and their folders beside its own."""
TRIALS = {
    "the recipe's": "recipe",
    "crops of 0.4 to 1 of the image, in place of 0.2 to 1": "crops-0.4",
    "crops of 0.6 to 1": "crops-0.6",
    "temperature 0.1, in place of 0.2": "temperature-0.1",
    "temperature 0.5": "temperature-0.5",
    "a projector of three layers (NNCLR's), in place of two": "projector-3",
    "candidates drawn with guidance 4, in place of 2": "guidance-4",
}
"""Settings that the recipe's encoder was tried with, in words, and their folders in that of the trials."""
TRIED = ("simclr+bank+host", "nnclr", "simclr+class+host")
SEARCHED = {"simclr+bank+host": "learning-rates-recipe-host", "nnclr": "learning-rates-recipe-nnclr"}
"""Arms that were tried with them; two had the recipe's own settings in the search of their rate."""

MEASURES = ("agreement", "squared pixel distance in a row", "KID")
ORDER = ("generation", "pretraining", "augmentation", "evaluation", "data")

SCORES = ("linear", "knn")
BANK = "simclr+bank"
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
    "simclr+bank+alignment": "and a synthetic positive, by the term above",
    "nnclr": "a neighbour of it (NNCLR)",
    "all4one": "neighbours and their centroid (All4One)",
}
REFERENCE = {"sampler", "steps", "candidates", "clip_sample", "eta"}
"""What a setting of the ablations changes to draw as the paper does."""
FEWEST = {"candidates", "strength", "start", "guidance_scale"}
"""What it changes to draw as the recipe fashion-mnist does."""
OPTIONS = {
    "synthesize.interpolation_weight": "w",
    "synthesize.candidates": "k",
    "synthesize.steps": "sampler steps",
    "diffusion.steps": "diffusion training steps",
    "diffusion.prediction_type": "predicts",
    "pretrain.positive_weight": "lambda",
}
"""Options by their letters in the paper, or told apart."""


def rows(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """Lay out a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ("---",) * len(heads), *lines))


def line(result: dict[str, Any]) -> tuple[str, ...]:
    """One benchmark's cells."""
    spread = "" if result["low"] == result["high"] else f" ({result['low']:g} to {result['high']:g})"
    reached = "yes" if result["ratio"] >= result["goal"] else "**no**"
    quality = "; ".join(f"{name}: {told(value)}" for name, value in result["quality"].items())
    sides = f"{result['ours']} against {result['theirs']}" if result["theirs"] else result["ours"]
    cells = (result["target"], f"{result['goal']:g}", f"**{result['ratio']:g}**{spread}", reached, sides)
    return (*cells, result["floor"] or "-", quality or "-")


def told(value: Any) -> str:
    """A value of the column of qualities."""
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)


def where(machine: dict[str, Any]) -> str:
    """The machine of a measurement, in words."""
    return f"{machine['cores']} cores of {machine['processor']}, torch {machine['torch']}"


def speed(folder: Path) -> str:
    """Every benchmark, from the JSON files in ``folder``."""
    head = ("target", "goal", "times better", "reached", "ours against theirs", "floor", "quality")
    files = [folder / f"{name}.json" for name in ORDER]
    results = [result for path in files if path.exists() for result in json.loads(path.read_text())]
    machines: dict[str, list[str]] = {}
    for result in results:
        machines.setdefault(where(result["machine"]), []).append(result["target"])
    *few, (usual, _) = sorted(machines.items(), key=lambda item: len(item[1]))
    others = "".join(f"; {', '.join(targets)} on {machine}" for machine, targets in few)
    note = f"Measured on {usual}{others}; median of the rounds, smallest and largest in brackets."
    return f"{rows(head, [line(result) for result in results])}\n\n{note}"


def samplers(folder: Path) -> str:
    """Make the table of the samplers from samplers.json."""
    found = json.loads((folder / "samplers.json").read_text())
    lines = []
    for row in found["rows"]:
        measures = [f"{row[m]['mean']:.3f} ({row[m]['low']:.3f} to {row[m]['high']:.3f})" for m in MEASURES]
        lines.append((row["sampler"], str(row["passes"]), *measures))
    spread = f"mean over {found['parts']} parts of {found['anchors']} anchors, smallest and largest in brackets"
    return f"{rows(('sampler', 'passes', *MEASURES), lines)}\n\nMeasured on {where(found['machine'])}; {spread}."


def whole_run(folder: Path) -> str:
    """Make the table of the whole run, stage by stage, from whole_run.json."""
    (found,) = json.loads((folder / "whole_run.json").read_text())
    now, before = (found["quality"][f"minutes, {side}"] for side in ("ours", "before"))
    lines = [(stage, f"{before[stage]:g}", f"{now[stage]:g}") for stage in now]
    spread = f"{found['ratio']:g} times as fast ({found['low']:g} to {found['high']:g})"
    return f"{rows(('stage', 'minutes before', 'minutes now'), lines)}\n\n{spread}; on {where(found['machine'])}."


def arms(result: dict[str, Any], names: tuple[str, ...]) -> str:
    """Some arms of a comparison with their differences to the baseline and their FLOPs."""
    base, known = result["baseline"], {row["arm"]: row for row in result["arms"]}
    gained = (f"linear minus `{base}`", f"kNN minus `{base}`")
    lines = []
    for row in (known[name] for name in names):
        gaps = row["versus"].get(base, {})
        cost = f"{row['cost']['pretraining_flops'] / 1e12:.0f}"
        scores = [shown(row[score]) for score in SCORES]
        scores += [shown(gaps[score], signed=True) if gaps else "" for score in SCORES]
        lines.append((f"`{row['arm']}`", str(row["seeds"]), *scores, cost))
    return rows(("arm", "seeds", "linear", "kNN", *gained, "pretraining, TFLOP"), lines)


def differences(result: dict[str, Any]) -> str:
    """The differences that the claim is about."""
    versus = {row["arm"]: row["versus"] for row in result["arms"]}
    lines = [
        (f"`{one}` minus `{other}`", *(shown(versus[one][other][score], signed=True) for score in SCORES))
        for one, other in PAIRS
    ]
    return rows(("", "linear", "kNN"), lines)


def equal_cost(folder: str, ours: str) -> str:
    """Arms of unequal epochs and like cost: what each took in all, and how far ``ours`` is above it."""
    path = CLAIM.with_name(folder)
    known = {row["arm"]: row for row in json.loads((path / "comparison.json").read_text())["arms"]}
    gaps, lines = known[ours]["versus"], []
    for name, row in known.items():
        trained = json.loads((path / "arms" / name / "seed-0" / "stage.json").read_text())
        cells = [str(row["seeds"]), str(trained["settings"]["epochs"]), *(shown(row[score]) for score in SCORES)]
        cells += [shown(gaps[name][score], signed=True) if name in gaps else "" for score in SCORES]
        flops = row["cost"]["pretraining_flops"] + row["cost"]["generator_flops"]
        lines.append((f"`{name}`", *cells, f"{flops / 1e12:.0f}"))
    ahead = (f"linear, `{ours}` minus it", f"kNN, `{ours}` minus it")
    return rows(("arm", "seeds", "epochs", "linear", "kNN", *ahead, "TFLOP in all"), lines)


def generators() -> str:
    """What SimCLR gains by some generators' banks, and what these take beside the recipe's training of SimCLR."""
    alone = json.loads((RECIPE / "controls" / "simclr" / "stage.json").read_text())["facts"]["flops"]
    lines, full = [], None
    for words, name in GENERATORS.items():
        result = json.loads((CLAIM.with_name(f"fashion-mnist-{name}") / "comparison.json").read_text())
        row = next(row for row in result["arms"] if row["arm"] == BANK)
        gained = row["versus"]["simclr"]
        full = full or {score: gained[score]["mean"] for score in SCORES}
        kept = " / ".join(f"{100 * gained[score]['mean'] / full[score]:.0f}" for score in SCORES)
        cost = row["cost"]["generator_flops"]
        cells = [shown(row[score]) for score in SCORES] + [shown(gained[score], signed=True) for score in SCORES]
        lines.append((words, f"{cost / 1e12:.0f}", f"{cost / alone:.2f}", *cells, kept))
    gains = ("linear minus `simclr`", "kNN minus `simclr`", "gain kept, %")
    return rows(("generator", "TFLOP", "over SimCLR's training", "linear", "kNN", *gains), lines)


def trials() -> str:
    """Accuracy on validation images, linear and kNN, of some arms under some settings."""
    known = {}
    for arm, folder in SEARCHED.items():
        found = json.loads((CLAIM / folder / "chosen.json").read_text())[arm]
        known["recipe", arm] = found["rates"][str(found["best"])]
    for path in CLAIM.with_name("fashion-mnist-recipe-trials").glob("*/*/comparison.json"):
        (row,) = json.loads(path.read_text())["arms"]
        known[path.parts[-3], row["arm"]] = {score: row[score]["mean"] for score in SCORES}
    pairs = {key: " / ".join(f"{one[score]:.2f}" for score in SCORES) for key, one in known.items()}
    lines = [(words, *(pairs.get((setting, arm), "") for arm in TRIED)) for words, setting in TRIALS.items()]
    return rows(("setting", *(f"`{arm}`" for arm in TRIED)), lines)


def in_words(result: dict[str, Any]) -> str:
    """The arms that one who has never heard of them should see."""
    known = {row["arm"]: row for row in result["arms"]}
    lines = [(words, *(shown(known[name][score]) for score in SCORES)) for name, words in IN_WORDS.items()]
    return rows(("what is pulled towards an image's first view", "linear", "kNN"), lines)


def settings(found: dict[str, Any], chosen: Callable[[dict[str, Any]], bool] = lambda row: True) -> str:
    """What the candidates of some settings of the ablations are like, and what encoders gain by them."""
    alone = found["plan"]["baseline"]
    lines = []
    for row in filter(chosen, found["settings"]):
        options = [f"{OPTIONS.get(name, name.partition('.')[2])} {value}" for name, value in row["options"].items()]
        measures = [row["measures"].get(name) for name in ("classifier_agreement", "encoder_distance", "row_diversity")]
        cells = [", ".join(options) or "base", *("-" if value is None else f"{value:.2f}" for value in measures)]
        cells += [shown(row[score]) for score in SCORES]
        cells += [shown(row["versus_baseline"][score], signed=True) for score in SCORES]
        lines.append((*cells, f"{row['cost']['generator_flops'] / row['cost']['pretraining_flops']:.1f}"))
    gained = (f"linear minus {alone}", f"kNN minus {alone}")
    return rows(
        ("setting", "agreement", "distance", "diversity", "linear", "kNN", *gained, "generator over pretraining"), lines
    )


def like_the_reference(row: dict[str, Any]) -> bool:
    """One candidate an anchor: from noise by few steps, by the fewest, and by 100 steps of the paper's."""
    drawn = {name.partition(".")[2] for name in row["options"]}
    return row["options"].get("synthesize.candidates") == 1 and drawn in ({"candidates"}, FEWEST, REFERENCE)


def of_a_generator(row: dict[str, Any]) -> bool:
    """What changes the generator's cost: its training, its steps, its candidates."""
    trained = any(name.startswith("diffusion.") for name in row["options"])
    return trained or row["axis"] in ("base", "synthesize.candidates", "synthesize.steps")


def put(text: str, tables: dict[str, str]) -> str:
    """Replace what stands between the marks called as the tables are."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = f"{text.partition(begin)[0]}{begin}\n{table}\n{end}{text.partition(end)[2]}"
    return text


def pages() -> dict[Path, str]:
    """What the pages should say, by their paths."""
    claim = json.loads((CLAIM / "comparison.json").read_text())
    ablations = json.loads((CLAIM / "ablations" / "ablations.json").read_text())
    tables = {
        ROOT / "README.md": {"claim": in_words(claim)},
        CLAIM / "README.md": {
            "arms": arms(claim, MAIN),
            "controls": arms(claim, CONTROLS),
            "differences": differences(claim),
            **{mark: equal_cost(*which) for mark, which in EQUAL.items()},
            "trials": trials(),
        },
        ROOT / "docs" / "positives.md": {"settings": settings(ablations)},
        ROOT / "docs" / "speed.md": {
            "table": speed(BENCHMARKS),
            "whole": whole_run(BENCHMARKS),
            "samplers": samplers(BENCHMARKS),
            "banks": generators(),
            "teaching": settings(ablations, like_the_reference),
            "generators": settings(ablations, of_a_generator),
        },
    }
    return {path: put(path.read_text(encoding="utf-8"), filled) for path, filled in tables.items()}


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
