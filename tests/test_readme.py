"""What the documents say can be done: every command parses or runs, every script runs, every link leads somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from clsp.cli.calls import parse_call
from clsp.cli.table import COMMANDS
from clsp.recipes.names import recipe_for, recipe_names
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import options_of
from workshop import shared

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "studies").rglob("README.md"))
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", *PAGES, *STUDIES)
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").iterdir() if path.is_file())
OWN = {name for command in COMMANDS.values() for name in (*command.required, *command.optional)} | {"help", "help-all"}
OTHERS = set("nnodes nproc_per_node signal no-deps faults kills each part work json rounds".split())  # noqa: SIM905
"""Options of other programs, and of the scripts of this repository, that its pages name."""


def blocks(language, text=README):
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(r" *\\\n *", " ", block) for block in found] if language == "bash" else found


def page(name):
    """The text of a page of docs/."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def commands():
    for name in DOCUMENTS:
        for block in blocks("bash", (ROOT / name).read_text(encoding="utf-8")):
            yield from (line for line in block.splitlines() if line.strip())


CALLS = [line for line in commands() if line.startswith("clsp ")]


def test_there_is_nothing_else_to_type():
    others = [line for line in commands() if not line.startswith(("clsp ", "make "))]
    assert {line.partition("[")[0] for line in others} == {"pip install .", "pip install 'clsp"}


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_options_that_a_page_names_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    found = set(re.findall(r"(?<![\w-])--([a-z][a-z_.-]*[a-z])", text))
    known = {option for command in COMMANDS.values() if command.recipe for option in spelled(command)}
    assert found - known - OWN - OTHERS == set()


def spelled(command):
    """All settings of a command, with and without the prefix of its section."""
    names = [name for name, _, _ in options_of(command.settings)]
    names += [name.rpartition(".")[0] for name in names]
    return {*names, *(name.removeprefix(f"{command.section}.") for name in names)}


@pytest.mark.parametrize("line", CALLS)
def test_commands_parse(line, tmp_path, monkeypatch):
    """Names, options and values are right; without running hours of training."""
    for place in ("photos", "new_photos"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path)
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS
    if {"--help", "--help-all"} & set(arguments):
        return
    call = parse_call(name, arguments)
    if call.command.recipe and call.command.task is None:
        load_recipe(call.own.get("recipe") or recipe_for(call.own["data"]), call.overrides)


@pytest.mark.parametrize(
    ("first", "made"),
    [
        ("stages/diffusion", ["stages/shipped/encoder.safetensors", "stages/embeddings.csv"]),
        ("pairs/first", ["pairs/pairs.csv", "pairs/second/encoder.safetensors"]),
    ],
)
def test_commands_of_the_stages_run_as_they_stand(tmp_path, first, made):
    """The block that makes everything stage by stage, and the one that mines pairs, line by line, in one folder."""
    block = next(block for name in ("commands", "comparing") for block in blocks("bash", page(name)) if first in block)
    for line in block.splitlines():
        done = shared().clsp(*shlex.split(line)[1:], folder=tmp_path)
        assert done.status == 0, f"{line}\n{done.err}"
    assert [name for name in made if not (tmp_path / name).is_file()] == []


def test_scripts_run_in_their_order(tmp_path):
    pages = [README, *(page(name) for name in ("python", "extending", "own-loop"))]
    scripts = [block for page in pages for block in blocks("python", page)]
    done = shared().python("\n".join(scripts), tmp_path)
    assert done.status == 0, done.err
    assert "[4, 2, 1, 16, 16]" in done.out
    assert "torch.Size([16, 1, 16, 16]) torch.Size([16, 1, 16, 16]) torch.Size([16]) 16" in done.out
    promised = re.findall(r"^\| `([\w./]+)` \|", README + page("run"), re.MULTILINE)
    assert len(promised) == 4 + 12
    assert [name for name in promised if not (tmp_path / "first-look" / name).exists()] == []
    assert '"similarity"' in (tmp_path / "watched" / "metrics.jsonl").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("line", sorted({line for line in commands() if line.startswith("make ")}))
def test_make_targets_exist(line):
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_tables_name_all_commands_and_recipes():
    assert set(re.findall(r"^\| `clsp (\w+)`", page("commands"), re.MULTILINE)) == set(COMMANDS)
    assert {name for name in recipe_names() if f"`{name}`" not in page("recipes")} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    path = ROOT / name
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("name", [*DOCUMENTS, "Makefile", "pyproject.toml", ".ci/run", *NOTEBOOKS])
def test_no_machine_paths(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"(?<![\w.])/(?:home|work|root|tmp|Users)/\S+", text) == []
