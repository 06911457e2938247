"""Tables of the runs that had a time to keep to (experiments/timed.py): what was planned, and what came out."""

from __future__ import annotations

from typing import Any

from studies import result, rows, runs

from clsp.preflight.budget import parse_hours
from clsp.study.table import shown

PLAIN = ("simclr", "simclr+view")
"""The controls."""
MAIN = ("simclr+bank", "simclr+nearest")
"""What they are compared with: with the bank, and with what stands in for one that failed."""


def parts(study: str) -> dict[str, dict[str, Any]]:
    """The runs of a study, in the order of their names' words and numbers."""
    found: dict[str, dict[str, Any]] = result(study)["parts"]
    return {name: found[name] for name in sorted(found, key=_in_order)}


def tables(study: str) -> dict[str, str]:
    """The tables of a study by their marks."""
    scores = {score: accuracies(study, score) for score in ("linear", "linear_balanced", "retrieval")}
    return {"minutes": minutes(study), **scores}


def minutes(study: str) -> str:
    """Time given, planned and spent, and what the time was spent on."""
    heads = (
        "images",
        "seed",
        "given",
        "planned",
        "took",
        "pixels",
        "images used",
        "generator's steps",
        "epochs",
        "bank",
    )
    lines = []
    for name, found in parts(study).items():
        data, given, seed = name.rsplit("-", 2)
        budget, stages = found["budget"], {run["place"]: run for run in runs(study, name)}
        seconds = (parse_hours(given), sum(budget["planned"].values()), budget["spent"])
        steps, epochs = stages["diffusion"]["facts"]["steps"], _epochs(stages, budget["extent"]["epochs"])
        counts = (str(budget["size"]), f"{budget['extent']['images']:,}", f"{steps:,}", epochs)
        lines.append((data, seed, *(f"{value / 60:.0f} min" for value in seconds), *counts, verdict(found["gate"])))
    return rows(heads, lines)


def accuracies(study: str, score: str) -> str:
    """A score of every arm, and what the main one gains over the controls; intervals are over the test images."""
    tables = {name: {row["arm"]: row for row in found["arms"]} for name, found in parts(study).items()}
    shown_arms = [arm for arm in (*PLAIN, *MAIN) if any(arm in arms for arms in tables.values())]
    main = " or ".join(arm.partition("+")[2] for arm in MAIN if arm in shown_arms)
    heads = ("run", *(f"`{arm}`" for arm in shown_arms), *(f"{main} minus `{arm}`" for arm in PLAIN))
    lines = []
    for name, arms in tables.items():
        gaps = next((arms[arm] for arm in MAIN if arm in arms), {}).get("versus", {})
        cells = [shown(arms[arm][score]) if arm in arms else "-" for arm in shown_arms]
        cells += [shown(gaps[arm][score], signed=True) if arm in gaps else "-" for arm in PLAIN]
        lines.append((name, *cells))
    return rows(heads, lines)


def verdict(found: dict[str, Any]) -> str:
    """What the gate said of the bank, with how often candidates follow their anchors."""
    follows, copies = (found["measures"][name]["value"] for name in ("follows", "copies"))
    told = f"{'passes' if found['passed'] else '**fails**'}, follows {follows:.2f}"
    return told + (f", copies {copies:.2f}" if copies >= 0.01 else "")


def _epochs(stages: dict[str, dict[str, Any]], planned: int) -> str:
    """Those that the arms were trained for in their time: the fewest and the most."""
    arms = [stage["facts"] for place, stage in stages.items() if place.startswith("arms/")]
    trained = sorted(round(planned * facts["steps"] / facts["planned"]) for facts in arms)
    return f"{trained[0]}" if trained[0] == trained[-1] else f"{trained[0]} to {trained[-1]}"


def _in_order(name: str) -> list[tuple[int, float, str]]:
    """Words by the alphabet, numbers and times by their size."""
    return [_key(word) for word in name.split("-")]


def _key(word: str) -> tuple[int, float, str]:
    number = word.removesuffix("m").removesuffix("h")
    return (0, float(number) * (60 if word.endswith("h") else 1), "") if number.isdecimal() else (1, 0.0, word)
