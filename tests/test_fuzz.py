"""Every reader meets damaged files: it reads, or says one line; no traceback, no hang, no file outside.

The long form is ``python experiments/fuzz.py --each 20000``; the list of readers stands in ``experiments/readers.py``.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import clsp

EXPERIMENTS, SOURCE = Path(__file__).parents[1] / "experiments", Path(clsp.__file__).parent
sys.path.insert(0, str(EXPERIMENTS))

from fuzz import Bench, memory  # noqa: E402
from readers import COVERED, READERS  # noqa: E402

EACH = 1000
"""Damaged inputs of every reader; of those that build networks fewer files are read to the end."""


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_end_in_one_line(monkeypatch, name):
    place = Path(tempfile.mkdtemp(prefix="clsp-fuzz-", dir=memory()))
    monkeypatch.chdir(place)
    bench, seen = Bench(name, place / "place"), set()

    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**40))
    def attempt(number):
        what, outcome, words = bench.attempt(number)
        seen.add(outcome)
        assert outcome in ("read", "line"), f"{what}: {outcome}: {words}"

    try:
        attempt()
    finally:
        shutil.rmtree(place)
    assert "line" in seen or name in ("verify", "pictures", "store", "features", "rates")  # those answer in another way


# --- no reader is left out -------------------------------------------------------------------------------------------

BOUNDARY = {
    "foreign", "read_array", "read_bytes", "read_header", "read_json", "read_jsonl",
    "read_tensors", "read_text", "read_yaml",
}  # fmt: skip


def functions():
    """All functions of the package, as ``module.name``, with their trees."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{place}.{node.name}", node


def calls(tree):
    """Dotted names of what a function calls."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_every_function_that_reads_foreign_files_is_covered_by_a_reader():
    found = {name for name, tree in functions() if {f"files.{reader}" for reader in BOUNDARY} & calls(tree)}
    assert found - set(COVERED) == set(), "name them in experiments/readers.py, with the reader that meets them"
    assert set(COVERED) - found == set(), "they call the boundary no more"
    assert set(COVERED.values()) <= {*READERS, ""}


READS = (
    "json.load", "json.loads", "yaml.safe_load", "np.load", "load_file", "safe_open", "torch.load", "Image.open",
    "open", "os.open", "csv.reader", "csv.DictReader", "zipfile.ZipFile", "gzip.open", "tarfile.open",
)  # fmt: skip
ALLOWED = {
    "__main__.main": "no file of a user: the terminal has gone",
    "cores._limit": "the system's",
    "cores.quota": "the system's",
    "preflight.rates.named": "what was just written",
    "engine.checkpoint.load_checkpoint": "the header of what files.read_tensors read",
    "engine.stage.as_stored": "what was just written",
    "memory._limit": "the system's",
    "engine.peers._line": "what another process of this run says",
    "engine.peers.read": "what another process of this run says",
    "explorer.found._lines": "the text that files.read_text read",
    "explorer.page._page": "the package's own",
    "faults.point": "a log for tests",
    "images.cache._remove": "a name in the cache: what cannot be read is removed",
    "images.named.blue_marble._pixels": "a file of an installed package",
    "images.named.openclipart._said": "a file of an installed package",
    "images.named.pictures.read": "the package's own",
    "images.npz._data_of": "called within files.foreign, by open_arrays",
    "images.npz.arrays_in": "called within files.foreign, by open_arrays",
    "images.npz.read": "called within files.foreign, by open_arrays",
    "images.opening._stream": "a boundary of its own: every exception is an UnreadableImage",
    "images.opening.opened": "a boundary of its own: every exception is an UnreadableImage",
    "images.store._followed": "a name in the cache: one that leads nowhere is no store",
    "images.tables._of_json": "the text that read_table read, each error a line",
    "images.tables._of_text": "the text that read_table read, each error a line",
    "positives.sources.pairs.read_pairs": "the text that files.read_text read",
    "positives.shown._from_sheet": "the bytes that files.read_bytes read, within files.foreign",
    "provenance._cpu_name": "the system's",
    "publish.export.export_encoder": "Encoder.open reads through files",
    "report.html._opened": "the bytes that files.read_bytes read",
    "report.page.page": "the package's own",
    "tasks.correspondence.keypoints.read_pairs": "the text that files.read_text read",
    "settings.values._read": "a value of the command line",
    "study.verify._listed_images": "what cannot be read is a finding",
}
"""Functions that open or parse by themselves, and why they may."""


def opens(call):
    """Whether what is called by a dotted name opens or parses a file."""
    own = call.startswith("files.read_") or call == "PositiveBank.open"
    return not own and (call in READS or call.endswith((".open", ".read_text", ".get_single_data")))


def test_nothing_is_opened_or_parsed_outside_of_the_boundary():
    found = {name for name, tree in functions() if not name.startswith("files.") and any(map(opens, calls(tree)))}
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set()


WRITES = (
    r"\bopen\([^)]*[\"'][wax]b?[\"']",
    r"\.write_(text|bytes)\(",
    r"\bsave_file\(",
    r"\bnp\.save\w*\(",
    r"\.mkstemp\(",
)
"""Ways to write around the files module; an .npz goes into a file that files.atomic opened."""


def test_nothing_is_written_outside_of_the_files_module():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith("files/") or place == "faults.py":
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            plain = re.sub(r"files\.write_\w+\(", "", line)
            if any(re.search(pattern, plain) for pattern in WRITES) and "np.savez(file," not in plain:
                found.append(f"{place}: {line.strip()}")
    assert found == []
