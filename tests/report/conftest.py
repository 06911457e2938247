from __future__ import annotations

from pathlib import Path

import pytest
from demo_comparison import FOUR, SIXTEEN, write_comparison
from demo_run import write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole synthetic run; tests that change it copy it first."""
    return write_run(tmp_path_factory.mktemp("runs") / "digits-0")


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("many") / "R", SIXTEEN, 5)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("few") / "R", FOUR, 3)


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("single") / "R", FOUR, 1)
