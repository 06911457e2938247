"""The tables of docs/speed.md, and that of the ablations, which docs/positives.md shows as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studies import SCORES, about, result, rows, trained

from clsp.study.table import shown

MEASURES = ("agreement", "squared pixel distance in a row", "KID")
ORDER = ("generation", "pretraining", "augmentation", "evaluation", "data", "search")
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
    "pretrain.positive.third.weight": "lambda",
}
"""Options by their letters in the paper, or told apart."""


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


def speed() -> str:
    """Every benchmark that has a goal."""
    head = ("target", "goal", "times better", "reached", "ours against theirs", "floor", "quality")
    parts = result("benchmarks")["parts"]
    results = [found for name in ORDER for found in parts.get(name, [])]
    machines: dict[str, list[str]] = {}
    for found in results:
        machines.setdefault(where(found["machine"]), []).append(found["target"])
    *few, (usual, _) = sorted(machines.items(), key=lambda item: len(item[1]))
    others = "".join(f"; {', '.join(targets)} on {machine}" for machine, targets in few)
    note = f"Measured on {usual}{others}; median of the rounds, smallest and largest in brackets."
    return f"{rows(head, [line(found) for found in results])}\n\n{note}"


def samplers() -> str:
    """What candidates are like by sampler."""
    found = result("benchmarks", "samplers")
    lines = []
    for row in found["rows"]:
        measures = [f"{row[m]['mean']:.3f} ({row[m]['low']:.3f} to {row[m]['high']:.3f})" for m in MEASURES]
        lines.append((row["sampler"], str(row["passes"]), *measures))
    spread = f"mean over {found['parts']} parts of {found['anchors']} anchors, smallest and largest in brackets"
    return f"{rows(('sampler', 'passes', *MEASURES), lines)}\n\nMeasured on {where(found['machine'])}; {spread}."


def whole_run() -> str:
    """The whole run, stage by stage."""
    (found,) = result("benchmarks")["parts"]["whole_run"]
    now, before = (found["quality"][f"minutes, {side}"] for side in ("ours", "before"))
    lines = [(stage, f"{before[stage]:g}", f"{now[stage]:g}") for stage in now]
    spread = f"{found['ratio']:g} times as fast ({found['low']:g} to {found['high']:g})"
    return f"{rows(('stage', 'minutes before', 'minutes now'), lines)}\n\n{spread}; on {where(found['machine'])}."


def generators() -> str:
    """What SimCLR gains by some generators' banks, and what these take beside the recipe's training of SimCLR."""
    alone = trained("run", "")["simclr"]["facts"]["flops"]
    lines, full = [], None
    for part, words in about("generators")["parts"].items():
        row = next(row for row in result("generators", part)["arms"] if row["arm"] == "simclr+bank")
        gained = row["versus"]["simclr"]
        full = full or {score: gained[score]["mean"] for score in SCORES}
        kept = " / ".join(f"{100 * gained[score]['mean'] / full[score]:.0f}" for score in SCORES)
        cost = row["cost"]["generator_flops"]
        cells = [shown(row[score]) for score in SCORES] + [shown(gained[score], signed=True) for score in SCORES]
        lines.append((words, f"{cost / 1e12:.0f}", f"{cost / alone:.2f}", *cells, kept))
    gains = ("linear minus `simclr`", "kNN minus `simclr`", "gain kept, %")
    return rows(("generator", "TFLOP", "over SimCLR's training", "linear", "kNN", *gains), lines)


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


def demo() -> str:
    """`make demo` on idle cores and beside other work, round by round."""
    found = result("benchmarks", "demo")
    seconds = found["seconds"]
    lines = [
        (str(number), f"{idle:g}", f"{beside:g}", f"{ratio:g}")
        for number, (idle, beside, ratio) in enumerate(zip(*seconds.values(), found["ratios"]), start=1)
    ]
    head = ("round", "seconds on idle cores", f"seconds with {found['busy']} core busy", "times as long")
    return f"{rows(head, lines)}\n\n{found['median']:g} times in the median; on {where(found['machine'])}."
