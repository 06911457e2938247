"""The section of the page that shows what was found in the images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from demo_run import HOSTILE, digits
from test_report_page import change, parse

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.embeddings import embed_all
from clsp.evaluation.findings.search import search
from clsp.evaluation.task import make_task
from clsp.evaluation.trained import Trained
from clsp.images.config import AugmentConfig
from clsp.images.imageset import Images, Split
from clsp.report import build_report


class Pixels(Trained):
    kind = "pixels"

    def features(self, images):
        return F.adaptive_avg_pool2d(torch.from_numpy(images[:]).float() / 255.0, 4).flatten(1)


@pytest.fixture(scope="module")
def searched(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic run with the findings in 60 digits, of which one is there twice, under a name that is markup."""
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("searched") / "R"))
    pictures, labels = digits()
    names = [f"{number}.png" for number in range(60)]
    pixels, names[7] = np.concatenate([pictures[:60], pictures[7:8]]), HOSTILE
    train = Split(images=pixels, names=[*names, "again.png"], labels=labels[[*range(60), 7]])
    images = Images(source="digits", train=train, classes=tuple("0123456789"))
    trained = Pixels(folder, make_task(images, EvaluateConfig(), seed=0))
    search(trained, embed_all(trained, images), AugmentConfig(), seed=0).save(folder / "findings")
    return folder


@pytest.fixture
def copy(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "R"))


def unlabel(folder: Path) -> None:
    change(folder / "comparison.json", measures={}, protocols={}, skipped="linear need labels: skipped")


def test_pictures_names_and_words_are_there(searched: Path) -> None:
    page = parse(build_report(searched))
    told = json.loads((searched / "findings/findings.json").read_text())["told"]
    assert page.values("id")[0] == "findings"
    for line in (*told["state"], told["clusters"], told["duplicates"], told["outliers"]):
        assert line in page.text
    assert HOSTILE in page.text and "again.png" in page.text
    assert {HOSTILE, "again.png", "Image 1 of cluster 1"} <= set(page.values("alt"))
    assert all(value.startswith("data:image/png") for value in page.values("src"))
    assert "<b>bold" not in (searched / "report.html").read_text()


def test_with_labels_a_cluster_says_what_most_of_it_is_and_accuracy_comes_first(searched: Path) -> None:
    text = parse(build_report(searched)).text
    shown = json.loads((searched / "findings/findings.json").read_text())["clusters"]["shown"]
    assert f"{shown[0]['size']} imagesmost often {shown[0]['label']} ({100 * shown[0]['fraction']:.0f} %)" in text
    assert "In linear accuracy simclr+bank leads" in text and "'clsp evaluate" not in text


def test_without_labels_the_findings_are_the_main_result(copy: Path) -> None:
    unlabel(copy)
    text = parse(build_report(copy)).text
    told = json.loads((copy / "findings/findings.json").read_text())["told"]
    assert text.index(told["headline"]) < text.index("Your images")
    assert "Nothing was measured" not in text and "Without labels nothing says" in text


@pytest.mark.parametrize("name", ["clusters", "duplicates", "outliers"])
def test_a_damaged_sheet_is_said_and_left_out(copy: Path, name: str) -> None:
    whole = len(parse(build_report(copy)).values("src"))
    sheet = copy / "findings" / f"{name}.png"
    sheet.write_bytes(sheet.read_bytes()[:200])
    page = parse(build_report(copy))
    assert f"findings/{name}.png cannot be shown" in page.text
    assert len(page.values("src")) < whole


def test_a_record_that_tells_of_more_pictures_than_there_are_is_no_error(copy: Path) -> None:
    found = json.loads((copy / "findings/findings.json").read_text())
    found["clusters"]["sheet"]["side"] = 5000
    (copy / "findings/findings.json").write_text(json.dumps(found))
    assert "it has fewer pictures than were made" in parse(build_report(copy)).text


def test_markup_in_the_record_is_text(copy: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    found = json.loads((copy / "findings/findings.json").read_text())
    found["told"] = dict.fromkeys(found["told"], evil) | {"state": [evil]}
    found["clusters"]["shown"][0]["label"] = found["outliers"]["shown"][0]["name"] = evil
    found["outliers"]["rule"] = evil
    (copy / "findings/findings.json").write_text(json.dumps(found))
    unlabel(copy)
    page = parse(build_report(copy))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")] and "x" not in page.values("src")
