"""What every task has: a recipe that fits any data, a page in the documentation, damaged files that it survives."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from readers import READERS  # of experiments/

from clsp import files
from clsp.cli.table import COMMANDS
from clsp.errors import UserError
from clsp.positives.sources import SOURCES
from clsp.recipes.names import recipe_names
from clsp.settings.values import build

ROOT = Path(__file__).parents[2]
SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
MORE = {"classify": {"consistency.weight": 0.3}, "text": {"progressive.last": 0.5}}
"""What a task has of its own that a kill should leave alone."""
WITH_POSITIVES = {"classify": {"consistency.weight": 0.3}, "correspondence": {"cycle.other": "candidate"}}
"""What asks a task to use the images that --positives gives."""
TASKS = {command.task: name for name, command in COMMANDS.items() if command.task}


def test_every_folder_of_a_task_has_a_command():
    there = {path.parent.name for path in (ROOT / "src/clsp/tasks").glob("*/config.py")}
    assert there == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_s_recipe_fits_few_and_many_images_on_any_machine(task):
    kind = COMMANDS[TASKS[task]].settings
    assert "folder" in recipe_names(task)
    for count in (2, 7, 300, 1_000_000):
        for accelerated in (False, True):
            made = build(kind, kind.sized(count, accelerated=accelerated))
            section = getattr(made, COMMANDS[TASKS[task]].section)
            assert 2 <= section.batch_size <= max(count, 2)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_a_page_that_shows_its_command_and_readers_of_what_it_made(task):
    pages = [path.read_text() for path in (ROOT / "docs/tasks").glob("*.md")]
    assert any(f"\nclsp {TASKS[task]} --" in page for page in pages)
    made = import_module(f"clsp.tasks.{task}.run").TASK
    assert (made.name, made.command) == (task, TASKS[task]) and made.recipe is COMMANDS[TASKS[task]].settings
    assert task in READERS


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_was_killed_and_resumed_is_the_run_that_was_not(tmp_path, monkeypatch, task):
    made, section = import_module(f"clsp.tasks.{task}.run").TASK, COMMANDS[TASKS[task]].section
    own = {"epochs": 3, "batch_size": 64, "checkpoint_minutes": 0, "backbone.args": SMALL, **MORE.get(task, {})}
    settings = {"images.limit": 200, **{f"{section}.{name}": value for name, value in own.items()}}
    made.run("digits", tmp_path / "straight", settings=settings)
    monkeypatch.setenv("CLSP_FAULT", "step:7:eio")
    with pytest.raises(OSError, match="Input/output"):
        made.run("digits", tmp_path / "killed", settings=settings)
    monkeypatch.delenv("CLSP_FAULT")
    made.run("digits", tmp_path / "killed", settings=settings)
    tensors = sorted(path.name for path in (tmp_path / "straight").glob("*.safetensors"))
    assert "encoder.safetensors" in tensors
    for name in (*tensors, made.measures):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains_with_the_positives_that_it_is_given_and_refuses_those_that_need_more(tmp_path, task):
    made, section = import_module(f"clsp.tasks.{task}.run").TASK, COMMANDS[TASKS[task]].section
    own = {"epochs": 1, "batch_size": 64, "log_every": 1, "backbone.args": SMALL, **WITH_POSITIVES.get(task, {})}
    settings = {"images.limit": 200, **{f"{section}.{name}": value for name, value in own.items()}}
    losses = {}
    for source in ("view", "nearest"):
        made.run("digits", tmp_path / source, positives=source, settings=settings)
        losses[source] = [line["loss"] for line in files.read_jsonl(tmp_path / source / "metrics.jsonl")]
        assert made.run("digits", tmp_path / source, positives=source, settings=settings) == tmp_path / source
    assert losses["view"] != losses["nearest"]  # what it was given is what it sees
    for name, source in SOURCES.items():
        if not source.plain() or source.needs_bank:
            with pytest.raises(UserError, match=f"--positives '?{name}"):
                made.run("digits", tmp_path / "refused", positives=name, settings=settings)


@pytest.mark.parametrize("task", TASKS)
def test_another_test_part_is_measured_anew(tmp_path, task):
    made, section = import_module(f"clsp.tasks.{task}.run").TASK, COMMANDS[TASKS[task]].section
    own = {"epochs": 1, "batch_size": 32, "log_every": 1, "backbone.args": SMALL}
    settings = {f"{section}.{name}": value for name, value in own.items()}
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    arrays = {"x_train": rng.integers(0, 256, (60, 16, 16, 1), np.uint8), "y_train": labels}
    measures = []
    for seed in (1, 1, 2):
        other = np.random.default_rng(seed)
        test = {"x_test": other.integers(0, 256, (30, 16, 16, 1), np.uint8), "y_test": other.integers(0, 3, 30)}
        np.savez(tmp_path / "set.npz", **arrays, **test)
        made.run(str(tmp_path / "set.npz"), tmp_path / "out", settings=settings)
        measures.append((tmp_path / "out" / made.measures).read_bytes())
    assert measures[0] == measures[1] != measures[2]
