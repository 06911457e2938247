"""The grid trains every arm with the settings of its method."""

from __future__ import annotations

import json
from contextlib import nullcontext
from threading import Timer
from types import SimpleNamespace

import pytest

from clsp import files
from clsp.comparison import compare, grid
from clsp.comparison.arms import parse_arms
from clsp.errors import InUseError, UserError
from clsp.recipes.options import parse_recipe
from clsp.training import pretrain as training
from clsp.workflow import Prepared


def test_an_arm_has_its_methods_settings(monkeypatch, make_images, tmp_path):
    seen = {}

    def noted(images, config, hardware, *, folder, positives, **rest):
        seen[folder.parent.name] = (config.method, config.lr, config.batch_size, config.optimizer, positives)
        raise StopIteration  # before anything is trained

    monkeypatch.setattr(training, "pretrain", noted)
    recipe = parse_recipe("cifar10", ["--pretrain.batch_size", "8"])
    arms = parse_arms("simclr,moco,moco+view,nnclr")
    cells = grid.Grid(Prepared(recipe, "cifar10", make_images()), tmp_path, arms, [0], arms[0], None)
    for arm in arms:
        try:
            compare._cell(cells, arm, 0)
        except StopIteration:
            continue
    assert json.loads(json.dumps(seen)) == {
        "simclr": ["simclr", 0.5, 8, "sgd", "none"],
        "moco": ["moco", 0.3, 8, "sgd", "none"],
        "moco+view": ["moco", 0.3, 8, "sgd", "view"],
        "nnclr": ["nnclr", 0.4, 8, "lars", "none"],
    }


def test_a_given_bank_says_how_many_anchors_there_are(monkeypatch, make_images, tmp_path):
    """The recipe's number of anchors is for a bank that is drawn here."""
    sizes = ("--synthesize.anchors", "20", "--pretrain.images", "40", "--pretrain.batch_size", "8")
    prepared = Prepared(parse_recipe("smoke", list(sizes)), "smoke", make_images(60))
    arms = parse_arms("simclr+bank")
    with pytest.raises(UserError, match=r"more than the 20 anchors"):
        compare._check_fit(prepared, arms, None)
    for anchors, refused in ((50, False), (30, True)):
        monkeypatch.setattr(compare.PositiveBank, "open", lambda place, anchors=anchors: range(anchors))
        with pytest.raises(UserError, match=r"more than the 30") if refused else nullcontext():
            compare._check_fit(prepared, arms, tmp_path)


def test_of_several_processes_none_leaves_a_cell_that_the_others_have_begun(make_images, tmp_path, monkeypatch):
    """The first alone sees that a cell is in use; with another one than the others' it would train for ever."""

    def in_use(grid, arm, seed):
        raise InUseError("seed 0 is in use")

    arms = parse_arms("simclr")
    cells = grid.Grid(Prepared(parse_recipe("smoke", []), "smoke", make_images()), tmp_path, arms, [0], arms[0], None)
    monkeypatch.setattr(compare, "_cell", in_use)
    monkeypatch.setattr(compare.distributed, "world_size", lambda: 2)
    with pytest.raises(InUseError):
        compare._work(cells)


def test_the_first_process_rates_and_the_others_wait_for_it(monkeypatch, make_images, tmp_path):
    """They share a folder; only the first one's rating is kept."""
    arms, rated = parse_arms("simclr"), []
    cells = grid.Grid(Prepared(parse_recipe("smoke", []), "smoke", make_images()), tmp_path, arms, [0], arms[0], None)

    def rate(task):
        rated.append(len(task.train))
        return SimpleNamespace(record=lambda: {"linear": 1})

    path = tmp_path / "rating" / "stage.json"
    compare._rate(cells, tmp_path, "a", rate)
    assert (files.read_json(path)["facts"], rated) == ({"linear": 1}, [48])
    record = files.read_json(path)
    path.unlink()
    monkeypatch.setenv("RANK", "1")
    later = Timer(0.5, files.write_json, (path, record))
    later.start()
    compare._rate(cells, tmp_path, "a", rate)
    assert path.exists()
    assert len(rated) == 1
    later.join()
