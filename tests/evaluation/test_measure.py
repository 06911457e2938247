"""What holds for every measure, whoever measures it; and a new evaluator, which is one new file."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from measuring import Given

from clsp import files
from clsp.errors import UserError
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluate import evaluate
from clsp.evaluation.evaluators import EVALUATORS
from clsp.evaluation.measure import difference, records
from clsp.evaluation.task import make_task
from clsp.images.imageset import Split, split_fingerprint
from clsp.study.table import document, text
from workshop import ENVIRONMENT

CONFIG = EvaluateConfig(regularisation=[1.0], neighbours=[1, 5], temperatures=[0.07], label_fractions=[0.1, 0.5])


@pytest.fixture
def task(make_images):
    return make_task(make_images(120, 60), CONFIG, seed=0)


@pytest.fixture
def given(task):
    generator = torch.Generator().manual_seed(0)
    parts = tuple(torch.randn(len(part), 5, generator=generator) for part in (task.train, task.test))
    return Given(task, parts)


@pytest.mark.parametrize("name", EVALUATORS.names())
def test_every_measure_says_what_it_is(name, task, given):
    measures = EVALUATORS[name].of(name, CONFIG)(given, task)
    assert measures
    assert len({one.name for one in measures}) == len(measures)
    for one in measures:
        assert one.title and one.unit and one.quantity and one.limits
        assert one.better in ("higher", "lower")
        assert len(one.protocol) > 40
        assert one.low is None or one.low <= one.value <= one.high
        if one.each is not None:
            assert one.value == pytest.approx(100 * one.each.mean(), abs=0.006)
            assert difference(one.each, one.each) == {"mean": 0, "low": 0, "high": 0}
    found = json.loads(json.dumps(records(measures)))
    for one in measures:
        assert found[one.name][found["measures"][one.name]["metric"]] == one.value
        assert f"{one.value:.2f} {one.unit}" in str(one)


def test_what_lacks_its_column_is_left_out_and_what_does_not_is_asked(task, given, monkeypatch):
    kinds = dict(EVALUATORS.items())
    needy = type("Needy", (kinds["linear"],), {"needs": ("label", "noisy_label")})
    monkeypatch.setitem(EVALUATORS._members, "needy", needy)
    assert "needy" not in evaluate(given, task, CONFIG).record()["measures"]
    monkeypatch.setattr(EVALUATORS, "_members", {"needy": needy})
    told = evaluate(given, task, CONFIG).skipped
    assert told == "needy need noisy labels, and this source has none: skipped"


def test_columns_go_with_their_images_and_name_the_data():
    images = np.arange(48, dtype=np.uint8).reshape(6, 1, 2, 4)
    plain = Split(images=images, names=list("abcdef"))
    split = Split(images=images, names=list("abcdef"), columns={"caption": list("uvwxyz"), "time": np.arange(6)})
    some = split.rows(np.array([1, 4]))
    assert some.column("caption").tolist() == ["v", "y"]
    assert some.column("time").tolist() == [1, 4]
    assert (split.has("caption"), split.has("label"), plain.has("caption")) == (True, False, False)
    with pytest.raises(UserError, match="no column 'pair'; known: caption, time"):
        split.column("pair")
    prints = {split_fingerprint(one) for one in (plain, split, split.rows(np.arange(6)))}
    assert len(prints) == 2


def study_of(better):
    def row(arm, mean):
        cost = {"pretraining_seconds": 1.0, "generator_seconds": 0.0}
        found = {"mean": mean, "low": mean - 1, "high": mean + 1, "limits": "95 % interval over the seeds"}
        return {"arm": arm, "seeds": 2, "error": found, "cost": cost, "versus": {}, "runs": {}}

    facts = {"title": "error", "quantity": "rate", "unit": "px", "better": better, "metric": "mean"}
    return {
        "baseline": "simclr", "measures": {"error": facts}, "protocols": {"error": "p"}, "compared": [],
        "arms": [row("simclr", 3.0), row("moco", 2.0)],
    }  # fmt: skip


@pytest.mark.parametrize(("better", "best"), [("higher", "3.00"), ("lower", "2.00")])
def test_tables_say_and_honour_which_is_better(better, best, tmp_path):
    from clsp.report import build_report

    result = study_of(better)
    for told in (text(result), document(result)):
        assert ("error, px, lower is better" in told) == (better == "lower")
        assert "error, px" in told
    files.write_json(tmp_path / "comparison.json", result)
    page = build_report(tmp_path).read_text()
    assert f"<strong>{best}</strong>" in page
    assert ("Error rate, px, lower is better" in page) == (better == "lower")
    leads = "moco leads with 2.00" if better == "lower" else "no arm is better than the baseline simclr with 3.00"
    assert leads in page


OFFERED = '''
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure
from clsp.settings import Fraction, settings

@settings
class Settings:
    part: Fraction = 1.0
    """Part of the test images that count."""

class Spread(Evaluator):
    """How far the test images' features lie from their mean."""
    Settings = Settings
    needs = ()

    def __call__(self, trained, data):
        features = trained.test[: int(self.settings.part * len(data.test))]
        each = (features - features.mean(dim=0)).norm(dim=1).numpy()
        return [Measure(name="spread", title="spread", quantity="of features", unit="units", better="lower",
                        metric="mean", value=round(float(each.mean()), 4), protocol="mean distance", each=each)]
'''


def test_a_new_evaluator_is_one_file_and_reaches_json_table_and_page(tmp_path):
    offered = tmp_path / "offered"
    (offered / "made_here-1.0.dist-info").mkdir(parents=True)
    (offered / "made_here.py").write_text(OFFERED)
    (offered / "made_here-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: made-here\nVersion: 1.0\n"
    )
    (offered / "made_here-1.0.dist-info" / "entry_points.txt").write_text(
        "[clsp.evaluation.evaluators]\nspread = made_here:Spread\n"
    )
    call = ["run", "--data", "digits", "--recipe", "smoke", "--controls", "--pretrain.epochs", "1", "--out", "r"]
    call += ["--evaluate.classifier_epochs", "0", "--evaluate.spread.part", "0.5"]
    done = with_offer(tmp_path, *call)
    assert done.returncode == 0, done.stderr
    metrics = files.read_json(tmp_path / "r" / "evaluation" / "metrics.json")
    result = files.read_json(tmp_path / "r" / "comparison.json")
    assert metrics["spread"]["mean"] > 0
    assert set(metrics["differences"]["simclr"]) == {"linear", "knn", "retrieval", "spread"}
    assert {row["arm"]: row["runs"]["spread"] for row in result["arms"]}
    assert "spread, units, lower is better" in done.stdout
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Spread of features, units, lower is better" in page
    assert '<summary>Spread</summary><p class="names">mean distance.</p></details>' in page
    for wrong, told in (("prat", "did you mean '--evaluate.spread.part'"), ("part", "must be at most 1")):
        assert told in with_offer(tmp_path, *call, f"--evaluate.spread.{wrong}", "7").stderr


def with_offer(folder, *words):
    """`clsp` in a fresh process, in which the package of ``folder`` is installed."""
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(folder / "offered"), ENVIRONMENT["PYTHONPATH"]])}
    command = [sys.executable, "-m", "clsp", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
