"""The studies: each says what was asked and found, its numbers are its result's, and all of them are light."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clsp import files

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
NAMES = sorted(path.parent.name for path in STUDIES.glob("*/study.yaml"))
LIMIT = 8_000_000
"""Bytes of all studies together."""
FIELDS = ("question", "verdict", "command", "data", "recipe", "split", "seeds", "commit", "hardware")
PLACE = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|work|mnt|data|srv|Users|opt|var|usr)/\S+")
"""A file or folder of a machine."""
PROSE = {"README.md": "## Does it help?", "studies/claim/README.md": "# ", "studies/equal-cost/README.md": "# "}
"""Pages that speak of numbers, and where they begin to."""


def study(name):
    return yaml.safe_load((STUDIES / name / "study.yaml").read_text(encoding="utf-8"))


def leaves(found):
    """All numbers of a result, however deep."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        return [number for value in found for number in leaves(value)]
    return [abs(found)] if isinstance(found, int | float) else []


def known(names):
    """The numbers of the results, by the decimals that they are shown with."""
    numbers = [number for name in names for number in leaves(files.read_json(STUDIES / name / "result.json"))]
    return {digits: {f"{number:.{digits}f}" for number in numbers} for digits in (1, 2)}


def decimals(text):
    return re.findall(r"(?<![\d.,])\d+\.\d{1,2}(?![\d.])", text)


def strange(text, names):
    """The decimal numbers of a text that no result has, rounded as they are shown."""
    numbers = known(names)
    return [number for number in decimals(text) if number not in numbers[len(number.partition(".")[2])]]


def test_all_studies_are_light():
    sizes = {path: path.stat().st_size for path in STUDIES.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < LIMIT
    assert [path.name for path in sizes if path.suffix == ".safetensors"] == ["diffusion_pytorch_model.safetensors"]


def test_no_study_names_a_place_of_the_machine_that_made_it():
    """A command that is kept says what is read by its name alone."""
    texts = {path: path.read_text(encoding="utf-8") for path in STUDIES.rglob("*.yaml")}
    texts |= {path: path.read_text(encoding="utf-8") for path in STUDIES.rglob("*.json")}
    texts |= {path: gzip.decompress(path.read_bytes()).decode() for path in STUDIES.rglob("*.gz")}
    assert {str(path): found for path, text in texts.items() if (found := PLACE.findall(text))} == {}


def test_every_folder_is_a_study():
    assert sorted(path.name for path in STUDIES.iterdir() if path.is_dir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_study_says_what_was_asked_and_how(name):
    said = study(name)
    assert [field for field in FIELDS if not said.get(field)] == []
    assert said["split"] in ("test", "validation", "none")
    result = files.read_json(STUDIES / name / "result.json")
    parts = set(result.get("parts", {}))
    assert {part.partition("/")[0] for part in parts} >= set(said.get("parts", {}))
    commits = said["commit"].values() if isinstance(said["commit"], dict) else [said["commit"]]
    assert [commit for commit in commits if not re.fullmatch(r"[0-9a-f]{7}", str(commit))] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_a_verdict_are_those_of_the_result(name):
    said = study(name)
    assert decimals(said["verdict"])
    assert strange(said["verdict"], [name, *said.get("beside", [])]) == []


@pytest.mark.parametrize("name", [name for name in NAMES if (STUDIES / name / "runs.jsonl.gz").exists()])
def test_the_runs_are_those_of_the_result(name):
    """Every accuracy of a comparison is that of a run beside it, at the split that the study names."""
    result = files.read_json(STUDIES / name / "result.json")
    lines = gzip.decompress((STUDIES / name / "runs.jsonl.gz").read_bytes()).decode().splitlines()
    runs = {(run["part"], run["arm"], str(run["seed"])): run for run in map(json.loads, lines)}
    for part, comparison in result.get("parts", {None: result}).items():
        for row in comparison.get("arms", []):
            for seed, accuracy in row["runs"]["linear"].items():
                rating = runs[part, row["arm"], seed]["rating"]
                assert rating["facts"]["linear"]["top1"] == accuracy
                assert (rating["settings"]["validation_images"] is None) == (study(name)["split"] == "test")


@pytest.mark.parametrize("name", [name for name in NAMES if "measures" in study(name)])
def test_the_table_of_a_grid_is_that_of_its_cells(name):
    """Every seed of every cell is there, and their means are those of the table."""
    from grid import cells_of, collected  # of experiments/

    result, cells = files.read_json(STUDIES / name / "result.json"), cells_of(STUDIES / name)
    whole = len(result["plan"]["rows"]) * len(result["plan"]["columns"]) * study(name)["seeds"]
    assert len({(cell["row"], cell["column"], cell["seed"]) for cell in cells}) == len(cells) == whole
    assert collected(result["plan"], cells)["table"] == result["table"]


@pytest.mark.parametrize("page", PROSE)
def test_the_numbers_of_a_page_are_those_of_the_results(page):
    """Outside of the marks; what stands between them is made from the results."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text[text.index(PROSE[page]) :]
    text = text.partition("\n## Install")[0].partition("\n## To repeat it")[0]
    made = re.findall(r"<!-- [\w-]+: begin -->.*?<!-- [\w-]+: end -->", text, re.DOTALL)
    prose = "".join(re.split("|".join(map(re.escape, made)), text))
    assert [number for number in strange(prose, NAMES) if number not in decimals("".join(made))] == []


def test_pages_and_index_are_what_the_studies_say():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
