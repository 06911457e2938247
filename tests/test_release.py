"""What a release says of itself."""

import re
import subprocess
import sys
from pathlib import Path

import yaml
from packaging.requirements import Requirement

import clsp
import clsp.api

ROOT = Path(__file__).parents[1]


def test_one_version_stands_everywhere():
    newest = re.search(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert newest
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], str(cited["date-released"])) == newest.groups()
    assert clsp.__version__ == cited["version"]


def test_every_stage_of_the_python_interface_is_a_name_of_the_package():
    stages = {name for name, one in vars(clsp.api).items() if getattr(one, "__module__", "") == "clsp.api"}
    stages = {name for name in stages if not name.startswith("_") and name != "Made"}
    assert stages and stages <= set(clsp.__all__) and all(getattr(clsp, name) for name in stages)


def test_the_lowest_versions_are_those_of_the_dependencies():
    """`make test-lowest` installs them: each is a floor that pyproject.toml names, and every dependency has one."""
    told = subprocess.run([sys.executable, ROOT / "docs" / "lowest.py"], check=True, capture_output=True, text=True)
    pinned = {one.name: one for one in map(Requirement, told.stdout.split())}
    assert len(pinned) == len(told.stdout.split()), "a package has two floors"
    for line in re.findall(r'^  "(.+)",$', (ROOT / "pyproject.toml").read_text(), flags=re.M):
        if ">=" in line:
            asked = Requirement(line)
            assert str(pinned[asked.name].specifier) == str(asked.specifier).replace(">=", "=="), line
