from __future__ import annotations

from pathlib import Path

import pytest
from demo_run import write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole synthetic run; tests that change it copy it first."""
    return write_run(tmp_path_factory.mktemp("runs") / "digits-0")
