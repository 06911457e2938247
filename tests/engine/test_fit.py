"""The loop of all trainings: its order, its log, how it stops, and that a stopped one goes on as if it had not."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from forks import Fork, pair_of
from safetensors.torch import load_file
from torch import nn

from clsp import files
from clsp.engine.course import Course
from clsp.engine.fit import Callback, Fit, NonFiniteLossError, StepOutput, Training
from clsp.engine.hardware import HardwareConfig

STEPS = 24


@dataclass(frozen=True)
class Watched(StepOutput):
    """A step's output with something more for callbacks."""

    batch: torch.Tensor


class Line(Training[Watched]):
    """A line through points that each step draws anew, with dropout, a momentum and a buffer that counts."""

    counted: torch.Tensor

    def __init__(self, *, steps=STEPS, seed=0, story=None):
        super().__init__()
        torch.manual_seed(seed)
        self.course, self.steps_per_epoch, self.gradient_clip, self.seed = Course(steps), 8, None, seed
        self.line, self.story = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)), story
        self.register_buffer("counted", torch.zeros(()))

    def tell(self, event):
        if self.story is not None:
            self.story.append(event)

    def step(self, number):
        self.tell(f"step {number}")
        batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
        terms = {"square": self.line(batch).square().mean(), "size": 0.1 * self.line[0].weight.square().mean()}
        return Watched(terms, batch)

    def optimizer(self):
        chosen = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        chosen.register_step_pre_hook(lambda *_: self.tell("optimizer"))
        return chosen, torch.optim.lr_scheduler.LambdaLR(chosen, lambda step: 1.0 - step / self.steps)

    def after_step(self, number):
        self.tell(f"after {number}")
        self.counted += 1


def fit(folder, *, minutes=1e9, log_every=1, callbacks=(), hardware=None, on_checkpoint=lambda: None):
    return Fit(
        folder=Path(folder),
        title="line",
        precision="32",
        hardware=hardware or HardwareConfig(accelerator="cpu"),
        checkpoint_minutes=minutes,
        on_checkpoint=on_checkpoint,
        log_every=log_every,
        callbacks=callbacks,
    )


def log_of(folder):
    return (Path(folder) / "metrics.jsonl").read_bytes()


def checkpoint_of(folder):
    return (Path(folder) / "checkpoints/last.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A training that nothing stopped."""
    folder = tmp_path_factory.mktemp("straight")
    fit(folder).run(Line())
    return folder


# --- order -----------------------------------------------------------------------------------------------------------


class Teller(Callback[Watched]):
    """Tells what it sees."""

    def on_step(self, training, number, output):
        training.tell(f"seen {number}")
        assert output.batch.shape == (4, 3)
        assert set(output.terms) == {"square", "size"}
        assert all(p.grad is not None for p in training.parameters())
        return {"seen": float(output.loss.detach())}

    def on_step_end(self, training, number):
        training.tell(f"end {number}")
        assert all(p.grad is None for p in training.parameters())
        return {"at_end": 7.0} if number == 3 else {}


def test_callbacks_see_what_a_step_computed_before_the_optimiser_takes_it(tmp_path):
    story = []
    fit(tmp_path, log_every=2, callbacks=(Teller(),)).run(Line(steps=4, story=story))
    one = ["step 0", "optimizer", "after 0", "end 1"]
    two = ["step 1", "seen 1", "optimizer", "after 1", "end 2"]
    three = ["step 2", "optimizer", "after 2", "end 3"]
    four = ["step 3", "seen 3", "optimizer", "after 3", "end 4"]
    assert story == [*one, *two, *three, *four]
    lines = files.read_jsonl(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 3, 4]
    assert [line["seen"] == pytest.approx(line["loss"]) for line in lines if "seen" in line] == [True, True]
    assert lines[1]["at_end"] == 7.0


def test_a_line_of_the_log_has_loss_terms_gradient_rate_and_epoch(straight):
    lines = files.read_jsonl(straight / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert set(lines[0]) == {"step", "loss", "square", "size", "gradient_norm", "lr", "epoch"}
    assert all(line["loss"] == pytest.approx(line["square"] + line["size"]) for line in lines)
    assert [line["epoch"] for line in lines] == [0] * 8 + [1] * 8 + [2] * 8


def test_the_gradient_is_clipped_where_it_is_asked_for(tmp_path):
    training = Line(steps=1)
    training.gradient_clip = 1e-3
    before = [p.detach().clone() for p in training.parameters()]
    fit(tmp_path).run(training)
    moved = torch.cat([(p - old).flatten() for p, old in zip(training.parameters(), before)])
    assert float(moved.norm()) == pytest.approx(1e-4, rel=0.01)
    assert files.read_jsonl(tmp_path / "metrics.jsonl")[0]["gradient_norm"] > 0.1  # what is logged is the whole


def test_a_checkpoint_is_written_when_it_is_due_and_the_stage_hears_of_it(tmp_path):
    written = []
    fit(tmp_path / "often", minutes=0, on_checkpoint=lambda: written.append(1)).run(Line(steps=5))
    assert len(written) == 5
    fit(tmp_path / "once", on_checkpoint=lambda: written.append(2)).run(Line(steps=5))
    assert written[5:] == [2]


def test_a_finished_training_runs_no_step_again(straight):
    story, before = [], checkpoint_of(straight)
    fit(straight).run(Line(story=story))
    assert story == []
    assert checkpoint_of(straight) == before


# --- what is not finite ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_nan_ends_in_one_line_that_names_the_term_also_on_a_logged_step(tmp_path, log_every):
    class Broken(Line):
        def step(self, number):
            output = super().step(number)
            if number != 4:
                return output
            return Watched({**output.terms, "square": output.terms["square"] * torch.nan}, output.batch)

    def look(training, number, output):
        assert number != 4, "a callback saw what is not finite"
        return {}

    watch = Callback()
    watch.on_step = look
    words = r"^the loss term square became non-finite at step 4; the last checkpoint is intact; start anew"
    with pytest.raises(NonFiniteLossError, match=words) as error:
        fit(tmp_path, minutes=0, log_every=log_every, callbacks=(watch,)).run(Broken())
    assert "\n" not in str(error.value)
    saved = load_file(tmp_path / "checkpoints/last.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.values() if tensor.is_floating_point())


@pytest.mark.parametrize(
    ("fault", "what"), [("loss:3:nan", "loss term square and size"), ("gradient:3:nan", "gradient norm")]
)
def test_what_is_not_finite_is_named(tmp_path, monkeypatch, fault, what):
    monkeypatch.setenv("CLSP_FAULT", fault)
    with pytest.raises(NonFiniteLossError, match=rf"^the {what} became non-finite at step 2;"):
        fit(tmp_path).run(Line())


# --- stopping and going on -------------------------------------------------------------------------------------------


class Slow(Callback[Watched]):
    """Says what is done, and lets the next step wait."""

    def __init__(self, fork, pause):
        self.fork, self.pause = fork, pause

    def on_step_end(self, training, number):
        self.fork.say(number)
        time.sleep(self.pause)
        return {}


def trained(folder, *, pause=0.0, hardware=None, **options):
    """The training in a process of its own."""
    return lambda fork: fit(folder, callbacks=(Slow(fork, pause),), hardware=hardware, **options).run(Line())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_the_rerun_ends_with_the_same_bytes(tmp_path, straight, number, status):
    process = Fork(trained(tmp_path, pause=0.05))
    process.hear(7)
    process.signal(number)
    assert process.end() == status, process.told
    lines = files.read_jsonl(tmp_path / "metrics.jsonl")
    assert 7 <= len(lines) < STEPS  # it stopped at once, and every line of its steps is there
    assert (tmp_path / "checkpoints/last.safetensors").exists()
    fit(tmp_path).run(Line())
    assert log_of(tmp_path) == log_of(straight)
    assert checkpoint_of(tmp_path) == checkpoint_of(straight)


def test_the_handlers_of_signals_are_what_they_were_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fit(tmp_path).run(Line(steps=2))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("log_every", [1, 5])
@pytest.mark.parametrize("step", [1, 2, 13, 22, 23, 24])
def test_no_line_of_the_log_is_lost_and_none_is_there_twice_after_a_kill(tmp_path, straight, step, log_every):
    fault = {"CLSP_FAULT": f"step:{step}:kill"}
    process = Fork(trained(tmp_path, minutes=0 if step % 2 else 1e9, log_every=log_every), fault)
    assert process.end() == -signal.SIGKILL, process.told
    fit(tmp_path, log_every=log_every).run(Line())
    assert checkpoint_of(tmp_path) == checkpoint_of(straight)
    whole = log_of(straight).splitlines()
    assert log_of(tmp_path).splitlines() == [line for at, line in enumerate(whole, 1) if at % log_every == 0]


def test_a_torn_last_line_of_a_killed_run_does_not_spoil_the_next_one(tmp_path, straight):
    process = Fork(trained(tmp_path, minutes=0), {"CLSP_FAULT": "step:6:kill"})
    assert process.end() == -signal.SIGKILL, process.told
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')
    fit(tmp_path).run(Line())
    assert log_of(tmp_path) == log_of(straight)


# --- two processes ---------------------------------------------------------------------------------------------------

TWO = HardwareConfig(accelerator="cpu", devices=2)


@pytest.mark.parametrize("told", [0, 1])
def test_two_processes_stop_after_the_same_step_when_one_is_told_to(tmp_path, told):
    """Each asks the other now and then; whichever got the signal, both leave with a checkpoint."""
    pair = pair_of(trained(tmp_path, pause=0.02, hardware=TWO))
    pair[told].hear(3)
    pair[told].signal(signal.SIGTERM)
    assert [process.end() for process in pair] == [143, 143], [process.told for process in pair]
    steps = [line["step"] for line in files.read_jsonl(tmp_path / "metrics.jsonl")]
    assert steps in ([*range(1, 11)], [*range(1, 21)])


def test_a_signal_in_the_last_steps_is_not_lost(tmp_path):
    """After the 20th step nobody would ask again before the end."""
    pair = pair_of(trained(tmp_path, pause=0.2, hardware=TWO))
    pair[1].hear(21)
    pair[1].signal(signal.SIGTERM)
    assert [process.end() for process in pair] == [143, 143], [process.told for process in pair]
    assert len(files.read_jsonl(tmp_path / "metrics.jsonl")) == STEPS
