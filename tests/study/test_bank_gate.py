"""A bank that is noise is never trained on in silence: what a run does with it, and what it says."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import asdict

import pytest

from clsp import files
from clsp.errors import UserError
from clsp.positives.bank import PositiveBank
from clsp.preflight.budget import Budget
from clsp.recipes.arms import Arm, parse_arms
from clsp.recipes.prepare import prepare
from clsp.recipes.recipe import load_recipe
from clsp.recipes.sizing import Extent
from clsp.settings.values import nested
from clsp.study import gate
from clsp.study.clock import BUDGET
from clsp.study.gate import Rows, judged, pass_gate
from clsp.study.onward import find_training
from workshop import shared, stamps

SMALL = ("--data", "digits", "--recipe", "smoke", "--pretrain.epochs", 1, "--evaluate.classifier_epochs", 0)


def run(folder, name, *more):
    return shared().clsp("run", *SMALL, "--out", name, *more, folder=folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run whose generator took 20 steps, and what it said; the others look at what it left."""
    folder = tmp_path_factory.mktemp("gate")
    return folder, run(folder, "r", "--synthesize.gate", "plain")


@pytest.fixture
def bank(plain):
    return PositiveBank.open(plain[0] / "r" / "positives")


def test_a_run_goes_on_without_a_bank_of_noise_and_says_so(plain):
    folder, done = plain
    assert done.status == 0, done.err
    for said in ("the bank fails: ", "look like no real image", "simclr+bank left out", "--diffusion.weights"):
        assert said in done.err
    assert "bank:    it fails" in done.out  # at the end, below the table
    assert [path.name for path in (folder / "r/arms").iterdir()] == ["simclr"]
    assert (folder / "r/encoder/encoder.safetensors").is_file()
    found = files.read_json(folder / "r/comparison.json")
    assert found["gate"]["passed"] is False
    assert found["gate"]["left_out"] == ["simclr+bank"]
    assert found["baseline"] == "simclr"


def test_the_verdict_stands_on_top_of_the_page(plain):
    page = (plain[0] / "r/report.html").read_text()
    top = page[page.index('class="lead"') : page.index("<nav")]
    assert "The bank failed" in top
    assert "left out: simclr+bank" in top
    assert "look like no real image" in top
    assert "--diffusion.steps 60" in top
    assert "Passes with" in top


def test_the_same_command_comes_to_the_same_end_and_makes_nothing_anew(plain):
    folder = plain[0]
    before = stamps(folder / "r", "arms/**/*.safetensors"), (folder / "r/comparison.json").read_bytes()
    again = run(folder, "r", "--synthesize.gate", "plain")
    assert again.status == 0, again.err
    assert "the bank fails" in again.err
    assert (stamps(folder / "r", "arms/**/*.safetensors"), (folder / "r/comparison.json").read_bytes()) == before


def test_a_run_may_stop_there_or_train_on_it_and_say_so(plain):
    folder = plain[0]
    shutil.copytree(folder / "r", folder / "other")
    shutil.rmtree(folder / "other/arms")
    stopped = run(folder, "other", "--synthesize.gate", "stop")
    assert stopped.status == 2
    assert "the bank fails" in stopped.error
    assert "--synthesize.gate plain goes on without it" in stopped.error
    assert not (folder / "other/arms").exists()
    off = run(folder, "other", "--synthesize.gate", "off")
    assert off.status == 0, off.err
    assert "the bank fails" in off.err
    assert [path.name for path in (folder / "other/arms").iterdir()] == ["simclr+bank"]
    assert "trained on all the same" in (folder / "other/report.html").read_text()


def test_the_advice_is_a_command_that_works(plain):
    folder, done = plain
    (line,) = [line for line in done.err.splitlines() if "for a better bank" in line]
    words = shlex.split(line[line.index("clsp run") :])[1:]
    assert words[words.index("--diffusion.steps") + 1] == "60"
    followed = shared().clsp(*words, folder=folder)
    assert followed.status == 0, followed.err
    assert "starts from the weights of r/diffusion" in followed.err
    facts = files.read_json(folder / "r-longer/diffusion/stage.json")["facts"]
    assert facts["before"]["images"] == 20 * 32


def test_clsp_synthesize_and_pretrain_say_it_too(plain):
    folder = plain[0]
    drawn = shared().clsp(
        "synthesize", "--data", "digits", "--recipe", "smoke", "--diffusion", "r/diffusion", "--out", "b", folder=folder
    )
    assert drawn.status == 0, drawn.err
    assert "the bank fails" in drawn.out
    assert "at most 0.5" in drawn.out
    small = ("pretrain", *SMALL[:-2], "--positives", "b", "--out", "e")
    refused = shared().clsp(*small, "--synthesize.gate", "plain", folder=folder)
    assert refused.status == 2
    assert "the bank fails" in refused.error
    taken = shared().clsp(*small, folder=folder)  # the recipe smoke has the gate off
    assert taken.status == 0, taken.err
    assert "the bank fails" in taken.err


def rows(arms, main=None, baseline=None):
    parsed = parse_arms(arms)
    return Rows(parsed, Arm("simclr", "bank") if main else None, baseline or parsed[0])


def passed(bank, asked, *how, **more):
    prepared = prepare("digits", recipe="smoke", overrides=nested({"synthesize.gate": asked}))
    return pass_gate(prepared, bank, rows(*how, **more), "clsp compare --data digits --out c", model=None)


def test_a_comparison_leaves_out_what_needs_the_bank_and_stops_if_nothing_remains(bank):
    found = passed(bank, "plain", "simclr+bank,nnclr,simclr+noise,diffusion,simclr+view")
    assert [arm.name for arm in found.arms] == ["nnclr", "diffusion", "simclr+view"]
    assert found.baseline.name == "nnclr"
    assert found.gate["left_out"] == ["simclr+bank", "simclr+noise"]
    for only in ("simclr+bank", "simclr+bank,diffusion"):
        with pytest.raises(UserError, match="the bank fails"):
            passed(bank, "plain", only)
    assert len(passed(bank, "off", "simclr+bank,nnclr").arms) == 2


def test_controls_stay_and_the_method_alone_is_what_a_user_takes_away(bank):
    found = passed(bank, "plain", "simclr+bank,simclr,simclr+view", main=True, baseline=Arm("simclr"))
    assert [arm.name for arm in found.arms] == ["simclr", "simclr+view"]
    assert (found.main, found.baseline) == (Arm("simclr"), Arm("simclr"))


def test_a_bank_without_a_verdict_is_judged_where_its_model_is_beside_it(bank, monkeypatch, tmp_path, capsys):
    prepared = prepare("digits", recipe="smoke", overrides=nested({"synthesize.gate": "stop"}))
    given = judged(prepared, bank)
    monkeypatch.setattr(gate, "verdict_of", lambda bank: None)
    anew = judged(prepared, bank)
    assert anew.passed is False
    for name, one in given.measures.items():
        assert anew.measures[name].value == pytest.approx(one.value, abs=0.02)
    shutil.copytree(bank.folder, tmp_path / "alone")
    alone = PositiveBank.open(tmp_path / "alone")
    assert judged(prepared, alone) is None
    same = rows("simclr+bank")
    assert pass_gate(prepared, alone, same, "", model=None) is same
    assert "never judged" in capsys.readouterr().err


def test_missing_steps_are_reckoned_from_the_recipes_own(bank):
    short = {"synthesize.gate": "stop", "diffusion.steps": 5}
    prepared = prepare("digits", recipe="digits", overrides=nested(short))
    with pytest.raises(UserError, match=r"trained for 20 steps; for 680 more.*--diffusion.steps 680 --out .*-longer"):
        pass_gate(prepared, bank, rows("simclr+bank"), "clsp run --out r", model=bank.folder.parent / "diffusion")


def test_the_advice_to_a_run_that_had_a_time_gives_it_as_much_more(bank, tmp_path):
    """Where the clock ran, the longer training would be cut, and another time might choose another size of images."""
    shutil.copytree(bank.folder.parent / "diffusion", tmp_path / "r" / "diffusion")
    record = files.read_json(tmp_path / "r/diffusion/stage.json")
    files.write_json(tmp_path / "r/diffusion/stage.json", files.sealed({**record, "seconds": 100.0}))
    planned = {"diffusion": 300.0, "bank": 100.0, "simclr+bank": 400.0, "rest": 100.0}
    budget = Budget(900.0, 400, 8, Extent(400, 20, 1), False, False, planned, ())
    files.write_json(tmp_path / "r" / BUDGET, {**asdict(budget), "spent": 500.0})
    prepared = prepare("digits", recipe="smoke", overrides=nested({"synthesize.gate": "stop"}))
    command = "clsp run --data digits --hours 0.25 --images.size 8 --out r"
    with pytest.raises(UserError) as error:  # 60 steps of 5 s in place of 20 are 200 s more
        pass_gate(prepared, bank, rows("simclr+bank"), command, model=tmp_path / "r" / "diffusion")
    words = shlex.split(str(error.value).partition(": clsp run ")[2])
    told = dict(zip(words[::2], words[1::2]))
    size = str(prepared.images.size)
    assert (told["--hours"], told["--images.size"], told["--diffusion.steps"]) == ("19m", size, "60")
    assert len(words) == 2 * len(told)  # no option twice


def test_the_gate_is_incidental_and_off_may_stand_in_yaml_without_quotes(tmp_path):
    from clsp.settings.identity import identity

    files.write_text(tmp_path / "r.yaml", "synthesize: {gate: off}\n")
    recipe = load_recipe(str(tmp_path / "r.yaml"))
    assert recipe.synthesize.gate == "off"
    assert "gate" not in identity(recipe.synthesize)
    assert load_recipe("folder").synthesize.gate == "plain"


def test_near_images_stand_in_for_the_candidates_of_a_run(plain):
    folder = plain[0]
    shutil.copytree(folder / "r", folder / "near")
    shutil.rmtree(folder / "near/arms")
    done = run(
        folder, "near", "--synthesize.gate", "near", "--controls", "true", "--pretrain.positive.objective", "nt_xent"
    )
    assert done.status == 0, done.err
    assert "simclr+bank left out; near images stand in for its candidates: simclr+nearest" in done.out
    assert {path.name for path in (folder / "near/arms").iterdir()} == {"simclr+nearest", "simclr", "simclr+view"}
    found = files.read_json(folder / "near/comparison.json")
    assert (found["gate"]["instead"], found["baseline"]) == ("simclr+nearest", "simclr")
    assert "Near images stood in for its candidates: simclr+nearest." in (folder / "near/report.html").read_text()
    taken, trained = folder / "near/encoder/encoder.safetensors", folder / "near/arms/simclr+nearest/seed-0"
    assert files.file_hash(taken) == files.file_hash(trained / "encoder.safetensors")
    went_on = find_training(folder / "near")
    assert (went_on.training, went_on.positives) == (trained, "nearest")
    onward = shared().clsp("continue", "near", "--epochs", "1", "--out", "on", folder=folder)
    assert onward.status == 0, onward.err


def test_what_stands_in_has_the_placement_and_the_objective_that_were_asked_for(bank):
    arms = "byol+bank+host,byol"
    prepared = prepare("digits", recipe="smoke", overrides=nested({"synthesize.gate": "near"}))
    parsed = parse_arms(arms)
    found = pass_gate(prepared, bank, Rows(parsed, parsed[0], parsed[1]), "clsp run --data digits --out c", model=None)
    assert [arm.name for arm in found.arms] == ["byol+nearest+host", "byol"]
    extra = Rows([Arm("simclr", extra=True)], Arm("simclr", extra=True), Arm("simclr", extra=True))
    assert [arm.name for arm in pass_gate(prepared, bank, extra, "clsp run", model=None).arms] == ["simclr"]
