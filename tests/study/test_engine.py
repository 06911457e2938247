"""The grid trains every arm with the settings of its method."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from clsp import files
from clsp.errors import InUseError, UserError
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.evaluators import EVALUATORS
from clsp.evaluation.measure import Measure
from clsp.recipes.arms import parse_arms
from clsp.recipes.prepare import Prepared
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import nested
from clsp.study import engine, evaluation
from clsp.study.evaluation import evaluate_cell
from clsp.study.study import Study


def test_an_arm_has_its_methods_settings(monkeypatch, make_images, tmp_path):
    seen = {}

    def noted(images, config, hardware, *, folder, **rest):
        source = config.positive.source
        seen[folder.parent.name] = (config.method, config.lr, config.batch_size, config.optimizer, source)
        raise StopIteration  # before anything is trained

    monkeypatch.setattr(engine, "pretrain", noted)
    recipe = load_recipe("cifar10", {"pretrain": {"batch_size": 8}})
    arms = parse_arms("simclr,moco,moco+view,nnclr")
    cells = Study(Prepared(recipe, "cifar10", make_images()), tmp_path, arms, [0], arms[0], arms[0], [], None)
    for arm in arms:
        try:
            engine._cell(cells, arm, 0)
        except StopIteration:
            continue
    assert json.loads(json.dumps(seen)) == {
        "simclr": ["simclr", 0.5, 8, "sgd", None],
        "moco": ["moco", 0.3, 8, "sgd", None],
        "moco+view": ["moco", 0.3, 8, "sgd", "view"],
        "nnclr": ["nnclr", 0.4, 8, "lars", None],
    }


def test_a_given_bank_says_how_many_anchors_there_are(monkeypatch, make_images, tmp_path):
    """The recipe's number of anchors is for a bank that is drawn here."""
    sizes = nested({"synthesize.anchors": 20, "pretrain.images": 40, "pretrain.batch_size": 8})
    prepared = Prepared(load_recipe("smoke", sizes), "smoke", make_images(60))
    arms = parse_arms("simclr+bank")
    with pytest.raises(UserError, match=r"more than the 20 anchors"):
        engine._require_fit(prepared, arms, None, tmp_path / "diffusion")
    for anchors, refused in ((50, False), (30, True)):
        monkeypatch.setattr(engine.PositiveBank, "open", lambda place, anchors=anchors: range(anchors))
        with pytest.raises(UserError, match=r"more than the 30") if refused else nullcontext():
            engine._require_fit(prepared, arms, tmp_path, None)


def smoke(images, folder):
    arms = parse_arms("simclr")
    return Study(Prepared(load_recipe("smoke"), "smoke", images), folder, arms, [0], arms[0], arms[0], [], None)


def test_of_several_processes_none_leaves_a_cell_that_the_others_have_begun(make_images, tmp_path, monkeypatch):
    """The first alone sees that a cell is in use; with another one than the others' it would train for ever."""

    def in_use(study, arm, seed):
        raise InUseError("seed 0 is in use")

    monkeypatch.setattr(engine, "_cell", in_use)
    monkeypatch.setattr(engine.distributed, "world_size", lambda: 2)
    with pytest.raises(InUseError):
        engine._work(smoke(make_images(), tmp_path), shared=True)


def test_a_run_that_is_in_use_is_refused(make_images, tmp_path, monkeypatch):
    def in_use(study, arm, seed):
        raise InUseError("seed 0 is in use")

    monkeypatch.setattr(engine, "_cell", in_use)
    with pytest.raises(InUseError):
        engine._work(smoke(make_images(), tmp_path), shared=False)


@pytest.fixture
def counted(monkeypatch):
    """An evaluator that takes no time, in place of all."""

    class Count(Evaluator):
        asked = 0

        def __call__(self, trained, data):
            Count.asked += 1
            return [Measure(name="count", title="count", value=1.0, protocol="p", each=np.ones(3))]

    monkeypatch.setattr(EVALUATORS, "_members", {"count": Count}, raising=False)
    monkeypatch.setattr(Study, "trained", lambda study, arm, seed: SimpleNamespace(note=""))
    monkeypatch.setattr(Study, "identity", lambda study, arm, seed: ("a", True))
    return Count


def evaluated(study):
    evaluate_cell(study, study.main, 0)
    return study.folder(study.main, 0) / "evaluation"


def test_the_first_process_evaluates_and_the_others_wait_for_it(monkeypatch, make_images, tmp_path, counted):
    """They share a folder; only what the first one finds is kept."""
    study = smoke(make_images(), tmp_path)
    folder = evaluated(study)
    path = folder / "stage.json"
    assert files.read_json(folder / "metrics.json")["count"] == {"top1": 1.0, "protocol": "p"}
    assert (files.read_json(path)["facts"], counted.asked) == ({"evaluators": ["count"]}, 1)
    path.unlink()
    monkeypatch.setattr(evaluation.distributed, "rank", lambda: 1)
    evaluated(study)
    assert counted.asked == 1


def test_an_evaluator_that_came_since_is_asked_and_what_was_measured_before_is_kept(
    monkeypatch, make_images, tmp_path, counted
):
    class Later(Evaluator):
        needs = ()

        def __call__(self, trained, data):
            return [Measure(name="later", title="later", value=2.0, protocol="q", better="lower")]

    study = smoke(make_images(), tmp_path)
    evaluated(study)
    monkeypatch.setattr(EVALUATORS, "_members", {"count": counted, "later": Later}, raising=False)
    evaluated(study)
    folder = evaluated(study)
    found = files.read_json(folder / "metrics.json")
    assert (found["count"]["top1"], found["later"]["top1"], counted.asked) == (1.0, 2.0, 1)
    assert set(found["measures"]) == {"count", "later"}
    assert files.read_json(folder / "stage.json")["status"] == "finished"


def test_what_changes_no_number_does_not_identify_an_evaluation(make_images, tmp_path, counted):
    study = smoke(make_images(), tmp_path)
    evaluated(study)
    study.prepared.recipe.evaluate.batch_size = 7
    study.prepared.recipe.evaluate.classifier_epochs = 3
    evaluated(study)
    study.prepared.recipe.evaluate.retrieval_queries = 7
    with pytest.raises(UserError, match="retrieval_queries 10000 -> 7"):
        evaluated(study)
