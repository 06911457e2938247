"""The first screen: what it answers to the three questions, by what was measured."""

from __future__ import annotations

import json
import re

import pytest

from clsp.report.answers import answers
from clsp.report.folder import Folder
from clsp.report.study import Study

HEALTHY = {
    "deviation": 0.9,
    "effective_rank": 40.0,
    "dimensions": 128,
    "self_retrieval": 0.95,
    "tried": 100,
    "pool": 500,
}
COST = {"pretraining_seconds": 60.0, "pretraining_flops": 1e12}
DRAWN = {**COST, "generator_seconds": 120.0, "generator_flops": 2e12}


def gap(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def study(folder, arms, *, state=HEALTHY, gate=None, sizes=(50, 50), better="higher"):
    """A study of these arms: name -> (value, differences to the first arm and the others)."""
    rows = []
    for name, (value, against) in arms.items():
        drawn = "+bank" in name or name == "diffusion"
        versus = {other: {"linear": difference} for other, difference in against.items()}
        row = {"arm": name, "seeds": 1, "linear": gap(value, 1.0), "versus": versus, "cost": DRAWN if drawn else COST}
        rows.append({**row, "sees_labels": "+class" in name})
    measures = {"linear": {"title": "Linear", "quantity": "accuracy", "unit": "%", "better": better, "metric": "top1"}}
    result = {"arms": rows, "baseline": next(iter(arms), ""), "measures": measures if arms else {}, "gate": gate or {}}
    main = next((name for name in arms if "+bank" in name), next(iter(arms), ""))
    confusion = [[size if row == column else 0 for column in range(len(sizes))] for row, size in enumerate(sizes)]
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    (folder / "findings").mkdir()
    (folder / "comparison.json").write_text(json.dumps(result))
    (folder / "evaluation" / "metrics.json").write_text(json.dumps({"arm": main, "linear": {"confusion": confusion}}))
    found = {"state": state, "told": {"headline": "500 images.", "state": ["It is in this state."]}}
    (folder / "findings" / "findings.json").write_text(json.dumps(found))
    return Study(Folder(folder))


def told(made):
    """The verdict below each question, and the commands."""
    page = str(answers(made))
    verdicts = re.findall(r'class="title">([^<]*)</p><p><span class="verdict (\w+)">([^<]*)<', page)
    return {question: (kind, verdict) for question, kind, verdict in verdicts}, re.findall(
        r"<code>([^<]*)</code>", page
    )


@pytest.mark.parametrize(
    ("difference", "view", "expected"),
    [
        (gap(2, 1), gap(2, 1), ("good", "Yes, in these numbers")),
        (gap(2, 1), gap(0.5, 1), ("doubtful", "No more than a third view, as far as can be told")),
        (gap(0.5, 1), gap(2, 1), ("good", "Yes, in these numbers")),
        (gap(0.5, 1), gap(0.5, 1), ("doubtful", "Cannot be told")),
        ({"mean": 3.0}, {"mean": 2.0}, ("doubtful", "Cannot be told")),
        (gap(-2, 1), gap(0.5, 1), ("bad", "No")),
        (gap(-2, 1), gap(2, 1), ("doubtful", "Better in some, worse in others")),
    ],
)
def test_was_the_bank_worth_it(tmp_path, difference, view, expected):
    arms = {
        "simclr": (80, {}),
        "simclr+bank": (82, {"simclr": difference, "simclr+view": view}),
        "simclr+view": (80, {}),
    }
    verdicts, commands = told(study(tmp_path / "run", arms))
    assert verdicts["Was the bank worth it?"] == expected
    assert commands[0].startswith("clsp compare ")


@pytest.mark.parametrize(("difference", "encoder"), [(-2, "run/arms/simclr+view/seed-3"), (2, "run")])
def test_after_a_bank_that_does_harm_another_encoder_is_taken_away(tmp_path, difference, encoder):
    against = {"simclr": gap(difference, 1), "simclr+view": gap(difference, 1)}
    arms = {"simclr": (80, {}), "simclr+bank": (80 + difference, against), "simclr+view": (80, {})}
    for arm in arms:
        (tmp_path / "run" / "arms" / arm / "seed-3").mkdir(parents=True)
    _, commands = told(study(tmp_path / "run", arms))
    assert commands[-1] == f"clsp export --encoder {encoder} --out run-model"


def test_what_stands_in_for_a_bank_that_failed_is_what_is_taken_away(tmp_path):
    arms = {"simclr+nearest": (80, {}), "simclr": (79, {}), "simclr+view": (80, {})}
    for arm in arms:
        (tmp_path / "run" / "arms" / arm / "seed-3").mkdir(parents=True)
    made = study(
        tmp_path / "run", arms, gate={"passed": False, "left_out": ["simclr+bank"], "instead": "simclr+nearest"}
    )
    verdicts, commands = told(made)
    assert verdicts["Was the bank worth it?"] == ("bad", "No: it failed, and was left out")
    assert commands[-1] == "clsp export --encoder run --out run-model"


def test_where_classes_are_unequal_the_balanced_accuracy_stands_alone(tmp_path):
    made = study(tmp_path / "run", {"simclr": (80, {}), "simclr+bank": (82, {"simclr": gap(2, 1)})})
    assert list(made.telling) == ["linear"]
    result = made.result
    for row in result["arms"]:
        row["linear_balanced"] = row["linear"]
    result["measures"]["linear_balanced"] = {**result["measures"]["linear"], "title": "Linear balanced"}
    made.folder.path.joinpath("comparison.json").write_text(json.dumps(result))
    again = Study(made.folder)
    assert (list(again.telling), list(again.measures)) == (["linear_balanced"], ["linear", "linear_balanced"])


def test_less_is_better_where_it_is(tmp_path):
    arms = {"simclr": (80, {}), "simclr+bank": (78, {"simclr": gap(-2, 1)})}
    assert told(study(tmp_path / "run", arms, better="lower"))[0]["Was the bank worth it?"][0] == "good"


def test_an_arm_that_sees_labels_is_no_rival(tmp_path):
    arms = {"simclr": (80, {}), "simclr+bank": (82, {"simclr": gap(2, 1)}), "simclr+class": (95, {})}
    page = str(answers(study(tmp_path / "run", arms)))
    assert "simclr+class" not in page.partition("What next?")[0]


def test_a_bank_alone_and_a_bank_that_failed(tmp_path):
    alone, commands = told(study(tmp_path / "alone", {"simclr+bank": (82, {})}))
    assert alone["Was the bank worth it?"] == ("doubtful", "Not known")
    assert commands[0].endswith("--controls true")
    failed = study(tmp_path / "failed", {"simclr": (80, {})}, gate={"passed": False, "left_out": ["simclr+bank"]})
    assert told(failed)[0]["Was the bank worth it?"] == ("bad", "No: it failed, and was left out")
    assert "Was the bank worth it?" not in told(study(tmp_path / "none", {"simclr": (80, {})}))[0]


def test_without_labels_no_command_tells_what_the_bank_is_worth(tmp_path):
    made = study(tmp_path / "run", {"simclr+bank": (82, {})})
    result = made.result
    result["measures"] = {}
    made.folder.path.joinpath("comparison.json").write_text(json.dumps(result))
    again = Study(made.folder)
    assert "--controls" not in told(again)[1][0]
    assert "these images have none" in str(answers(again))


@pytest.mark.parametrize(
    ("state", "sizes", "value", "expected"),
    [
        ({}, (50, 50), 80, ("good", "Yes")),
        ({"deviation": 0.01}, (50, 50), 80, ("bad", "No: it has collapsed")),
        ({}, (90, 10), 90.5, ("bad", "No: no better than naming one class always")),
        ({"effective_rank": 2.0}, (50, 50), 80, ("doubtful", "Doubtful: it uses few directions")),
        ({"self_retrieval": 0.2}, (50, 50), 80, ("good", "Yes")),
    ],
)
def test_is_the_encoder_good(tmp_path, state, sizes, value, expected):
    verdicts, commands = told(study(tmp_path / "run", {"simclr": (value, {})}, state=HEALTHY | state, sizes=sizes))
    assert verdicts["Is the encoder good?"] == expected
    assert commands[0].startswith("clsp explore")  # of a collapse, more of the same is no help


@pytest.mark.parametrize(("value", "good"), [(82, True), (51, False)])
def test_where_classes_are_unequal_the_balanced_accuracy_decides(tmp_path, value, good):
    """Of 190 and 10 images naming the larger class reaches 95 %, and half of the classes."""
    made = study(tmp_path / "run", {"simclr": (97, {})}, state=HEALTHY, sizes=(190, 10))
    result, folder = made.result, made.folder.path
    for row in result["arms"]:
        row["linear_balanced"] = {"mean": value, "low": value - 8, "high": value + 8}
    result["measures"]["linear_balanced"] = {**result["measures"]["linear"], "title": "Linear balanced"}
    (folder / "comparison.json").write_text(json.dumps(result))
    metrics = json.loads((folder / "evaluation/metrics.json").read_text())
    (folder / "evaluation/metrics.json").write_text(json.dumps(metrics | {"linear_balanced": {"classes": 2}}))
    again = Study(Folder(folder))
    assert told(again)[0]["Is the encoder good?"][0] == ("good" if good else "bad")
    assert "naming one of 2 classes always gives 50.00" in str(answers(again))


def test_an_arm_that_is_no_encoder_was_trained_on_no_bank(tmp_path):
    made = study(tmp_path / "run", {"simclr": (80, {}), "diffusion": (60, {"simclr": gap(-20, 1)})})
    assert "Was the bank worth it?" not in told(made)[0]


def test_commands_name_the_folder_as_the_run_did(tmp_path):
    made = study(tmp_path / "run", {"simclr": (80, {})})
    (made.folder.path / "recipe.yaml").write_text("command: clsp run --data photos --out runs/a\n")
    assert told(Study(Folder(made.folder.path)))[1][0] == "clsp explore runs/a"


def test_without_labels_it_says_no_more_than_it_knows(tmp_path):
    verdicts, _ = told(study(tmp_path / "run", {}))
    assert verdicts == {"Is the encoder good?": ("good", "Sound, as far as that shows without labels")}
    verdicts, commands = told(study(tmp_path / "short", {}, state=HEALTHY | {"self_retrieval": 0.2}))
    assert verdicts == {"Is the encoder good?": ("doubtful", "Doubtful: it hardly tells single images apart")}
    assert commands[0].startswith("clsp continue")


def test_nothing_is_said_before_there_is_a_result(tmp_path):
    assert answers(Study(Folder(tmp_path))) == ""
