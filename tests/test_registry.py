"""A method, a source, an objective and an evaluator of another package: one file each, found by an entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clsp.errors import UserError
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.positives.sources import SOURCES
from clsp.registry import Registry
from workshop import ENVIRONMENT

FILES = {
    "method.py": '''
from clsp.methods.base import Method, Output, Views, pair
from clsp.objectives.alignment import alignment
from clsp.settings import Positive, settings


@settings
class PullSettings:
    """Pull alone."""

    strength: Positive = 1.5
    """How strongly views attract."""


class Pull(Method):
    """Two views attract; nothing repels."""

    Settings = PullSettings

    def forward(self, views: Views) -> Output:
        z1, z2, z3 = self.embed(views)
        return Output({"pull": self.settings.strength * alignment(z1, z2)}, z1, z2, pair(z1, z3))
''',
    "source.py": '''
from clsp.positives.source import Positive, Source
from clsp.settings import settings
from clsp.settings.types import Fraction


@settings
class Darker(Source):
    """The anchor, darker."""

    light: Fraction = 0.5
    """What is left of its light."""

    def build(self, material, *, seed, device):
        return lambda positions, anchors, step: Positive((anchors * self.light).to(anchors.dtype))
''',
    "objective.py": '''
from typing import ClassVar

from clsp.objectives.base import Objective, weighted_mean
from clsp.settings import NonNegative, settings


@settings
class Square(Objective):
    """Squared distance."""

    margin: NonNegative = 0.0
    """Distance that costs nothing."""
    negatives: ClassVar[bool] = False

    def __call__(self, anchors, positives, *, weights=None, ignore=None):
        distance = (anchors - positives).square().sum(dim=1) - self.margin
        return weighted_mean(distance.clamp_min(0.0), weights)
''',
    "evaluator.py": '''
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure
from clsp.settings import Positive, settings


@settings
class LengthSettings:
    """Length of features."""

    scale: Positive = 1.0
    """What the length is multiplied by."""


class Length(Evaluator):
    """The mean length of features."""

    Settings = LengthSettings
    needs = ()

    def __call__(self, trained, data):
        each = self.settings.scale * trained.test.norm(dim=1).double().numpy()
        told = {"quantity": "length", "metric": "mean", "unit": "", "protocol": "of the test images"}
        return [Measure(name="length", title="feature length", value=float(each.mean()), each=each, **told)]
''',
}
ENTRIES = {"methods": ("pull", "method:Pull"), "positives.sources": ("darker", "source:Darker"),
           "objectives": ("square", "objective:Square"),
           "evaluation.evaluators": ("length", "evaluator:Length")}  # fmt: skip


def install(folder: Path, files=FILES, entries=ENTRIES, package="my_plugin"):
    """Put a package with its metadata into ``folder``, as pip would."""
    for name, text in {"__init__.py": "", **files}.items():
        path = folder / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups = (f"[clsp.{group}]\n{name} = {package}.{value}\n" for group, (name, value) in entries.items())
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


WHOLE = """
import json, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import conftest
from pathlib import Path
from clsp import files
from clsp.cli.help import help_of
from clsp.engine.hardware import HardwareConfig
from clsp.recipes.arms import parse_arm
from clsp.recipes.recipe import load_recipe
from clsp.training.pretrain import pretrain
positive = {"darker": {"light": "0.25"}, "square": {"margin": "0.1"}}
recipe = load_recipe("smoke", {"pretrain": {"pull": {"strength": "2"}, "positive": positive}})
chosen = recipe.pretraining(parse_arm("pull+darker+square"))
config = conftest.pretrain_config(method="pull", positive=chosen.positive, pull=chosen.pull, epochs=1)
folder = Path(sys.argv[2])
facts = pretrain(conftest.images_of(), config, HardwareConfig(accelerator="cpu"), seed=0, folder=folder).facts
print(json.dumps({
    "help": help_of("pretrain", ["--help-all"]),
    "facts": facts,
    "identity": files.read_json(folder / "stage.json")["settings"],
    "log": files.read_jsonl(folder / "metrics.jsonl")[0],
}))
"""


def test_a_method_a_source_and_an_objective_of_another_package_are_found_set_listed_and_trained(tmp_path):
    path = f"{ENVIRONMENT['PYTHONPATH']}:{install(tmp_path / 'site')}"
    command = [sys.executable, "-c", WHOLE, str(Path(__file__).parent), str(tmp_path / "encoder")]
    environment = {**ENVIRONMENT, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    text = " ".join(found["help"].split())
    assert "--pretrain.pull.strength 1.5 How strongly views attract. (a number above 0)" in text
    assert "--pretrain.positive.darker.light 0.5 What is left of its light. (a number from 0 to 1)" in text
    assert "--pretrain.positive.square.margin 0.0 Distance that costs nothing. (a number of at least 0)" in text
    assert "vicreg, pull)" in text
    assert found["facts"]["arm"] == "pull+darker"
    assert found["identity"]["pull"] == {"strength": 2.0}
    positive = found["identity"]["positive"]
    assert (positive["darker"], positive["square"]) == ({"light": 0.25}, {"margin": 0.1})
    assert {"pull", "positive", "loss"} <= set(found["log"])
    assert (tmp_path / "encoder/encoder.safetensors").exists()


def test_a_whole_run_is_made_of_members_of_another_package(tmp_path):
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{install(tmp_path / 'site')}"}
    chosen = {"pretrain.method": "pull", "pretrain.positive.source": "darker", "pretrain.positive.objective": "square",
              "evaluate.length.scale": "2"}  # fmt: skip
    options = [word for name, value in chosen.items() for word in (f"--{name}", value)]
    command = ["run", "--data", "digits", "--recipe", "smoke", *options, "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "clsp", *command], capture_output=True, text=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "run/comparison.json").read_text())["arms"]
    assert row["arm"] == "pull+darker"
    assert row["length"]["mean"] > 0
    assert "feature length" in done.stdout
    assert "feature length" in (tmp_path / "run/report.html").read_text().lower()


def fresh(folder, monkeypatch):
    """The registry of methods as a new process sees it, with ``folder`` among the installed packages."""
    monkeypatch.syspath_prepend(str(folder))
    return Registry("method", "clsp.methods", "clsp.methods.base:Method")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nothing_of_this_name", "cannot be loaded: ModuleNotFoundError"),
        ("raise RuntimeError('a\\nb')", "cannot be loaded: RuntimeError"),
        ("def torn(:", "cannot be loaded: SyntaxError"),
        ("Other = 3", "cannot be loaded: AttributeError"),
        ("Pull = 3", "is no clsp.methods.base.Method"),
        ("class Pull: ...", "is no clsp.methods.base.Method"),
    ],
)
def test_a_broken_plugin_is_one_line_that_names_it(tmp_path, monkeypatch, code, words):
    package = f"broken_{abs(hash(code))}"
    install(tmp_path, {"method.py": code}, {"methods": ("pull", "method:Pull")}, package)
    registry = fresh(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=words) as error:
        registry.names()
    assert str(error.value).startswith("method 'pull'")
    assert f"{package}.method:Pull" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_is_refused_without_loading_what_is_offered(tmp_path, monkeypatch):
    install(tmp_path, {"method.py": "raise RuntimeError"}, {"methods": ("pull", "method:Pull")}, "not_loaded")
    registry = fresh(tmp_path, monkeypatch)
    registry.require("simclr")
    registry.require("pull")
    with pytest.raises(UserError, match=r"method 'pul' is not one of all4one, .*, vicreg, pull; did you mean 'pull'\?"):
        registry.require("pul")
    with pytest.raises(UserError, match="'base' is not one of all4one, aps, barlow"):
        registry.require("base")


def test_a_plugin_does_not_take_the_name_of_a_member_of_the_package(tmp_path, monkeypatch):
    install(tmp_path, {"method.py": FILES["method.py"]}, {"methods": ("simclr", "method:Pull")}, "taking")
    with pytest.raises(UserError, match=r"method 'simclr' of taking.method:Pull: there is one of this name already"):
        fresh(tmp_path, monkeypatch).names()


@pytest.mark.parametrize(("registry", "some"), [(METHODS, "simclr"), (SOURCES, "class"), (OBJECTIVES, "nt_xent")])
def test_members_are_known_by_name(registry, some):
    assert some in registry
    assert "base" not in registry
    assert list(registry.names()) == [name for name, _ in registry.items()]
    with pytest.raises(UserError, match=rf"^{registry.kind} '{some}x' is not one of .*did you mean '{some}'\?"):
        registry[f"{some}x"]


def test_a_method_of_this_package_is_one_file():
    folder = Path(sys.modules["clsp.methods"].__file__).parent
    assert sorted(METHODS.names()) == sorted(p.stem for p in folder.glob("*.py") if p.stem not in ("__init__", "base"))
