"""Keep what a finished `clsp compare` or `clsp run` found, as a study or as a part of one.

    python experiments/keep.py COMPARISON studies/equal-cost --part recipe

STUDY/result.json gets the numbers: comparison.json, and of a single seed also the main arm's evaluation and the
bank's measures. STUDY/runs.jsonl.gz gets a line for each training: its settings, facts, seconds and evaluation (the
field is called rating), and its log, thinned to 60 points. The recipe with all its values goes to STUDY/recipe.yaml,
of a part to STUDY/recipes/PART.yaml. Of a run that was given a time, its budget and a picture of its bank are kept.
What was kept of the same part before is replaced. Encoders, banks and pages stay where they are. STUDY/study.yaml is
written by hand; `python docs/tables.py` does the rest.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clsp import files

POINTS, DIGITS = 60, 5
"""Of a log: its points, and the significant digits of its values."""
STAGE = ("seconds", "settings", "inputs", "facts")


def thinned(path: Path) -> dict[str, list[Any]]:
    """The columns of a log at reduced length: first and last point, and others evenly between them."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [rows[place] for place in np.linspace(0, len(rows) - 1, min(len(rows), POINTS)).astype(int)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [short(row.get(name)) for row in rows] for name in names}


def short(value: Any) -> Any:
    """A value of a log with few digits; what is no fraction stays as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def stage(folder: Path) -> dict[str, Any]:
    """What a finished stage recorded of itself."""
    found = files.read_json(folder / "stage.json")
    return {name: found[name] for name in STAGE if name in found}


def run_of(folder: Path, root: Path) -> dict[str, Any]:
    """One line: a training with its evaluation, where it has them; `diffusion` as an arm is not trained."""
    place = folder.relative_to(root)
    arm, seed = (place.parts[1], int(place.parts[2].partition("-")[2])) if place.parts[0] == "arms" else (None, None)
    line: dict[str, Any] = {"place": place.as_posix(), "arm": arm, "seed": seed}
    if (folder / "stage.json").exists():
        line |= stage(folder)
        line["arm"] = arm or line["facts"].get("arm", place.as_posix())
        line["seed"] = line["settings"].get("seed", 0) if seed is None else seed
    if arm and (folder / "evaluation" / "stage.json").exists():
        found = files.read_json(folder / "evaluation" / "metrics.json")
        line["rating"] = {**stage(folder / "evaluation"), "facts": {name: found[name] for name in found["measures"]}}
    if (folder / "metrics.jsonl").exists():
        line["log"] = thinned(folder / "metrics.jsonl")
    return line


def runs_of(root: Path) -> list[dict[str, Any]]:
    """All stages below a folder, each a line; the evaluation of an arm stands with its training."""
    places = {path.parent.relative_to(root) for path in root.rglob("stage.json")}
    places = {place for place in places if "superseded" not in place.parts}
    places = {place.parent if place.parts[0] == "arms" and place.name == "evaluation" else place for place in places}
    return [run_of(root / place, root) for place in sorted(places)]


def numbers_of(root: Path) -> dict[str, Any]:
    """The numbers of a study; of a single seed also what belongs to one run alone."""
    found: dict[str, Any] = files.read_json(root / "comparison.json")
    if max(row["seeds"] for row in found["arms"]) > 1:
        return found
    more = {
        "metrics": root / "evaluation" / "metrics.json",
        "bank": root / "positives" / "manifest.json",
        "budget": root / "budget.json",
    }
    return {**found, **{name: light(files.read_json(path)) for name, path in more.items() if path.exists()}}


def light(found: Any) -> Any:
    """The same without confusion matrices, which are most of it."""
    if not isinstance(found, dict):
        return found
    return {name: light(value) for name, value in found.items() if name != "confusion"}


def without_places(text: str) -> str:
    """A text, such as a recipe, where the places of one machine are named by their last part alone."""
    return re.sub(r"(?<![\w.:/])(?:/[\w.+=-]+)+/([\w.+=-]+)", r"\1", text)


def keep(root: Path, study: Path, part: str | None) -> None:
    """Write or replace what the study says of the runs in ``root``."""
    numbers, kept = json.loads(without_places(json.dumps(numbers_of(root)))), study / "runs.jsonl.gz"
    if part:
        result = files.read_json(study / "result.json") if (study / "result.json").exists() else {"parts": {}}
        numbers = {**result, "parts": {**result["parts"], part: numbers}}
    files.write_json(study / "result.json", numbers)
    lines = gzip.decompress(kept.read_bytes()).decode().splitlines() if kept.exists() else []
    lines = [line for line in lines if json.loads(line)["part"] != part]
    lines += [json.dumps({"part": part, **line}, separators=(",", ":")) for line in runs_of(root)]
    with files.atomic(kept) as file:
        file.write(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
    recipe = study / (f"recipes/{part}.yaml" if part else "recipe.yaml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(recipe, without_places((root / "recipe.yaml").read_text(encoding="utf-8")))
    if (root / "budget.json").exists():
        sheet = study / (f"sheets/{part}.jpg" if part else "sheet.jpg")
        sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.open(root / "positives" / "sheet.png").save(sheet, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `clsp compare` or `clsp run` wrote")
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("--part", help="name of the part, where a study has several")
    options = parser.parse_args()
    keep(options.folder, options.study, options.part)


if __name__ == "__main__":
    main()
