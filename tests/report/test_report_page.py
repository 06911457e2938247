from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from demo_run import HOSTILE

from clsp.errors import UserError
from clsp.report import build_report, build_report_of_runs
from clsp.report.page import SECTIONS

VOID = {"img", "br", "meta", "link"}


class Outline(HTMLParser):
    """Checks that tags are closed in order, and keeps all attributes, ids and the visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value or "" for _, attribute, value in self.attributes if attribute == name]


def parse(page: Path) -> Outline:
    outline = Outline()
    outline.feed(page.read_text(encoding="utf-8"))
    assert not outline.open
    return outline


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / run.name))


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_page_needs_nothing_but_itself(run: Path) -> None:
    page = build_report(run)
    assert page == run / "report.html"
    outline = parse(page)
    for value in outline.values("src") + outline.values("href"):
        assert value.startswith(("data:image/png;base64,", "#"))
    assert not [1 for tag, name, _ in outline.attributes if tag == "script" and name == "src"]
    assert "link" not in {tag for tag, _, _ in outline.attributes}
    assert not re.search(r"@import|url\((?!\$)|https?://", page.read_text().replace("http://www.w3.org/2000/svg", ""))
    assert not list(run.glob(".*.tmp"))


def test_every_section_and_picture_is_there(run: Path) -> None:
    outline = parse(build_report(run))
    assert set(SECTIONS) <= set(outline.values("id"))
    assert "not run" not in outline.text
    pictures = [name for tag, name, value in outline.attributes if tag == "img" and name == "alt" and value]
    assert len(pictures) == len(outline.values("src")) == 5


def test_main_result_is_one_sentence(run: Path) -> None:
    text = parse(build_report(run)).text
    assert "simclr+bank reaches 85.4 % linear accuracy, 1.9 points above simclr (95\u00a0% interval" in text
    assert "interval 0.9 to 2.9, which excludes 0) and 2.1 points" in text
    assert "and 2.1 points above simclr+view (95\u00a0% interval 1.0 to 3.2, which excludes 0)." in text


def test_best_of_each_column_is_bold_unless_all_are_equal(run: Path) -> None:
    assert re.findall(r"<strong>(.*?)</strong>", build_report(run).read_text()) == ["85.4", "83.9"]


def test_a_loss_is_said_as_a_loss(copy: Path) -> None:
    gap = {"simclr": {"linear": {"mean": -0.4, "low": -1.4, "high": 0.6}}}
    change(copy / "evaluation/metrics.json", differences=gap)
    text = parse(build_report(copy)).text
    assert "0.4 points below simclr (95\u00a0% interval −0.6 to 1.4, which includes 0)." in text


def test_samples_that_do_not_come_from_noise_alone_are_called_so(run: Path, copy: Path) -> None:
    change(copy / "diffusion/stage.json", settings={"max_strength": 0.5})
    page = parse(build_report(copy))
    assert "Images noised to 0.5 of the noise levels" in page.text
    assert [alt for alt in page.values("alt") if "from noised images" in alt]
    assert [alt for alt in parse(build_report(run)).values("alt") if "from noise alone" in alt]


def test_names_are_text_and_never_markup(run: Path) -> None:
    page = build_report(run).read_text()
    assert "<b>bold" not in page
    assert html.escape(HOSTILE) in page
    assert "\\u003cb>bold\\u003c/b>" in page  # in the data of the map
    assert HOSTILE in parse(run / "report.html").text


def test_markup_in_every_text_is_escaped(copy: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    change(copy / "images.json", source=evil, notes=[evil], classes=[evil] * 10, fingerprint=evil)
    change(copy / "evaluation/map.json", classes=[evil] * 10, method=evil)
    change(copy / "encoder/stage.json", facts={evil: evil}, status=evil)
    change(copy / "positives/manifest.json", measures={evil: {"value": evil, "meaning": evil}})
    (copy / "recipe.yaml").write_text(f"recipe: '{evil}'\ncommand: '{evil}'\nversions: {{'{evil}': '{evil}'}}\n")
    outline = parse(build_report(copy))
    assert not [value for _, name, value in outline.attributes if name.startswith("on")]
    assert "x" not in outline.values("src")


@pytest.mark.parametrize(
    "gone",
    [
        "recipe.yaml",
        "images.json",
        "diffusion",
        "positives",
        "encoder",
        "controls",
        "evaluation",
        "encoder/snippet.py",
    ],
)
def test_any_part_may_be_missing(copy: Path, gone: str) -> None:
    path = copy / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = parse(build_report(copy)).text
    absent = {"images.json": 1, "diffusion": 1, "positives": 1, "encoder": 1, "evaluation": 2}.get(gone, 0)
    assert text.count("not run") >= absent


def test_empty_run_says_what_is_missing(tmp_path: Path) -> None:
    text = parse(build_report(tmp_path)).text
    assert text.count("not run") == len(SECTIONS) + 1


def test_run_without_labels(copy: Path) -> None:
    (copy / "evaluation/metrics.json").write_text('{"arm": "simclr+bank", "skipped": "the images have no labels"}')
    change(copy / "images.json", classes=None)
    change(copy / "evaluation/map.json", labels=None, classes=None)
    text = parse(build_report(copy)).text
    assert "The encoder was not measured: the images have no labels." in text
    assert "choose a class" not in text


def test_damaged_picture_is_said_and_left_out(copy: Path) -> None:
    sheet = copy / "positives/sheet.png"
    sheet.write_bytes(sheet.read_bytes()[:300])
    outline = parse(build_report(copy))
    assert "positives/sheet.png cannot be shown" in outline.text
    assert len(outline.values("src")) == 4


def test_torn_last_line_of_metrics_is_left_out(copy: Path) -> None:
    path = copy / "encoder/metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 901, "lo')
    assert 'class="chart curves"' in build_report(copy).read_text()


def test_metrics_that_are_no_numbers_are_not_drawn(copy: Path) -> None:
    lines = ['{"step": 1, "loss": NaN, "remark": "x"}', '{"step": 2, "loss": 0.5}']
    (copy / "encoder/metrics.jsonl").write_text("\n".join(lines))
    text = build_report(copy).read_text().lower()
    assert "nan" not in re.findall(r"[a-z]+", re.sub(r"base64,[^\"]*", "", text))
    assert "remark" not in text


def test_unfinished_stage_is_said(copy: Path) -> None:
    change(copy / "encoder/stage.json", status="interrupted")
    assert "interrupted" in parse(build_report(copy)).text


def test_damaged_json_names_the_file(copy: Path) -> None:
    (copy / "images.json").write_text("{")
    with pytest.raises(UserError, match=r"images\.json is no valid JSON"):
        build_report(copy)


def test_missing_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        build_report(tmp_path / "nowhere")


def test_several_runs_on_one_page(run: Path, copy: Path, tmp_path: Path) -> None:
    out = build_report_of_runs([run, copy], tmp_path / "both" / "report.html")
    outline = parse(out)
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    assert {"run-1", "run-2", "run-1-map", "run-2-map"} <= set(ids)
    assert {link.removeprefix("#") for link in outline.values("href")} <= set(ids)
    assert "2 runs" in outline.text


def test_same_run_makes_same_page(run: Path) -> None:
    assert build_report(run).read_bytes() == build_report(run).read_bytes()
