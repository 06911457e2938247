"""What a notebook shows: those of this repository from top to bottom, results as tables, banks as pictures, bars."""

from __future__ import annotations

import base64
import builtins
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsp import console, tabular
from clsp.errors import UserError
from clsp.evaluation.evaluate import Result
from clsp.evaluation.measure import Measure
from clsp.images.sheet import save_sheet
from clsp.positives.bank import PositiveBank
from clsp.study.result import StudyResult
from workshop import ENVIRONMENT, shared

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "notebooks"))
sys.path.insert(0, str(ROOT / "tests" / "positives"))

from execute import executed, light  # noqa: E402
from test_bank import write_bank  # noqa: E402

ROW = {
    "arm": "simclr", "seeds": 2, "linear": {"mean": 90.5, "low": 89.0, "high": 92.0},
    "runs": {"linear": {"0": 90, "1": 91}}, "versus": {},
    "cost": {"pretraining_seconds": 3.0, "generator_seconds": 0.0},
}  # fmt: skip
FACTS = {"title": "linear", "unit": "%", "better": "higher", "quantity": "accuracy", "metric": "top1", "limits": ""}


def result(**changes):
    comparison = {"arms": [ROW], "measures": {"linear": FACTS}, "compared": [], "baseline": "simclr", "protocols": {}}
    return StudyResult(Path("R"), {"linear": {"top1": 90.0}}, comparison | changes)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path, tmp_path, monkeypatch):
    for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setitem(os.environ, name, ENVIRONMENT[name])
    made = executed(path, tmp_path)
    kept = light(made)
    assert [cell.execution_count for cell in kept.cells if cell.cell_type == "code"] == list(
        range(1, 1 + sum(cell.cell_type == "code" for cell in kept.cells))
    )
    assert len(json.dumps(kept)) < 200_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept_is_light_and_whole(path):
    assert path.stat().st_size < 200_000
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] == number for number, cell in enumerate(cells, 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) or "<img" in str(output) for output in outputs)


def test_the_page_of_the_notebooks_runs(tmp_path):
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    done = shared().python(script, tmp_path)
    assert done.status == 0, done.err
    assert re.search(r"^simclr\+view +2 +[\d.]+ \(", done.out, re.MULTILINE)
    assert re.search(r"^simclr\+view minus simclr +[+-]", done.out, re.MULTILINE)
    assert "Name: linear" in done.out
    read = StudyResult.read(tmp_path / "grid")
    assert set(read) == set(read.comparison) == set(json.loads((tmp_path / "grid" / "comparison.json").read_text()))
    assert read.frame().arm.tolist() == ["simclr", "simclr+view"]


def test_a_result_is_a_mapping_a_table_and_a_frame():
    known = result()
    assert known["linear"]["top1"] == 90.0
    assert dict(known) == {"linear": {"top1": 90.0}}
    assert str(known).splitlines()[1].split() == ["simclr", "2", "90.50", "(89.00", "to", "92.00)", "3", "s", "0", "s"]
    assert "<td>90.50 (89.00 to 92.00)</td>" in known._repr_html_()
    frame = known.frame()
    assert frame.loc[0, ["arm", "linear", "linear_low", "pretraining_seconds"]].tolist() == ["simclr", 90.5, 89.0, 3.0]
    runs = known.frame(runs=True)
    assert runs[["seed", "linear"]].values.tolist() == [[0, 90], [1, 91]]


def test_a_result_without_measures_says_why():
    known = result(measures={}, skipped="linear needs labels, and this source has <none>: skipped")
    assert str(known).startswith("linear needs labels")
    assert known._repr_html_() == "<p>linear needs labels, and this source has &lt;none&gt;: skipped</p>"


def test_an_evaluation_is_a_table_and_a_frame():
    one = Measure(name="linear", title="<b>linear", value=90.0, low=89.0, high=91.0, protocol="p")
    two = Measure(name="map", title="retrieval", value=40.0, protocol="q", quantity="mAP")
    found = Result((one, two))
    assert str(found).splitlines()[2].split() == ["retrieval", "mAP", "40.00", "%"]
    assert "&lt;b&gt;linear accuracy</td><td>90.00 %</td><td>89.00 to 91.00" in found._repr_html_()
    assert found.frame().set_index("name").value.tolist() == [90.0, 40.0]
    assert Result((), "knn needs labels: skipped")._repr_html_() == "<p>knn needs labels: skipped</p>"


def test_without_pandas_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"^a frame needs pandas: pip install pandas$"):
        result().frame()


def picture(html):
    return Image.open(io.BytesIO(base64.b64decode(re.search(r'base64,([^"]+)"', html)[1])))


def test_a_bank_shows_the_first_rows_of_its_sheet_and_without_one_its_candidates(tmp_path):
    folder = write_bank(tmp_path)
    alone = PositiveBank.open(folder)._repr_html_()
    assert picture(alone).size == (2 + 4 * 66, 2 + 6 * 66)
    assert "7 anchors x 4 candidates, drawn from made. Each row: the candidates of an anchor." in alone
    rows = np.zeros((16, 5, 1, 2, 2), np.uint8)
    rows[12:] = 255
    save_sheet(folder / "sheet.png", rows, separate_first=True)
    shown = PositiveBank.open(folder)._repr_html_()
    assert "Left in each group: an anchor." in shown
    assert picture(shown).height == 2 + 6 * 66
    assert np.asarray(picture(shown)).max() < 255  # two stand abreast, and those below the sixth line are white
    (folder / "sheet.png").write_bytes(b"no picture")
    assert PositiveBank.open(folder)._repr_html_() == alone
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["source"] = "<script>"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "<script>" not in PositiveBank.open(folder)._repr_html_()


def test_tables_are_escaped_and_empty_ones_are_nothing():
    assert tabular.as_html(["a"], []) == tabular.plain(["a"], []) == ""
    assert tabular.as_html(["<"], [["&"]]).count("&lt;") == 1
    assert "&amp;" in tabular.as_html(["<"], [["&"]])


def test_a_bar_is_redrawn_below_the_cell(monkeypatch):
    shown = []

    class Handle:
        def update(self, table, metadata):
            shown.append((table, metadata))

    import IPython.display

    monkeypatch.setattr(IPython.display, "display", lambda table, **_: Handle())
    bar = console._InNotebook("encoder", 10, "steps", 0)
    bar.advance(10, loss=1.5)
    bar.close()
    table, metadata = shown[-1]
    assert metadata == {"progress": True}
    html = table._repr_mimebundle_([], [])["text/html"]
    assert "encoder" in html
    assert "loss 1.5" in html


def test_bars_are_for_terminals_and_notebooks_alone(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert console._kind() is console.Progress
    monkeypatch.setitem(sys.modules, "ipykernel", object())  # imported, but no notebook
    assert console._kind() is console.Progress
    import rich

    monkeypatch.setattr(rich.get_console(), "is_jupyter", True)
    assert console._kind() is console._InNotebook
