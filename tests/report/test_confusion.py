"""The page shows what is taken for what, of any measure that wrote it down and of few classes."""

import os

import pytest

from clsp import files
from clsp.report.confusion import confusions
from clsp.report.folder import Folder
from clsp.report.study import Study


def study(path, matrix, classes):
    facts = {"title": "mine", "quantity": "accuracy", "unit": "%", "better": "higher", "metric": "top1"}
    row = {"arm": "simclr", "seeds": 1, "any": {"mean": 50.0}}
    files.write_json(path / "comparison.json", {"measures": {"any": facts}, "arms": [row], "baseline": "simclr"})
    files.write_json(
        path / "evaluation" / "metrics.json", {"arm": "simclr", "any": {"top1": 50.0, "confusion": matrix}}
    )
    files.write_json(path / "images.json", {"classes": classes})
    return Study(Folder(path))


def test_a_matrix_of_few_classes(tmp_path):
    page = confusions(study(tmp_path, [[8, 2], [5, 0]], ["common", os.fsdecode(b"r\xe9re <b>")]))
    assert "Mine, simclr" in page
    assert "<b>8</b>" in page and "<span>5</span>" in page
    assert "80 %" in page and ">0 %" in page
    assert "&lt;b&gt;" in page
    files.write_text(tmp_path / "page.html", page)
    assert "r\\xe9re" in (tmp_path / "page.html").read_bytes().decode()


@pytest.mark.parametrize("matrix", [None, [], [[1]], [[1, 2]], [[1, "x"], [2, 3]], [[0] * 21] * 21, {"a": 1}])
def test_nothing_else_is_drawn(tmp_path, matrix):
    assert confusions(study(tmp_path, matrix, ["a", "b"])) == ""
