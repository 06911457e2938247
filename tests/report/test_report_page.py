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
from clsp.report import build_report, build_report_of_several
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
    assert not list(run.rglob(".*.clsp-tmp"))


def test_every_section_and_picture_is_there(run: Path) -> None:
    outline = parse(build_report(run))
    assert set(SECTIONS) <= set(outline.values("id"))
    pictures = [name for tag, name, value in outline.attributes if tag == "img" and name == "alt" and value]
    assert len(pictures) == len(outline.values("src")) == 5


def test_main_result_is_said_in_words(run: Path) -> None:
    text = parse(build_report(run)).text
    assert "In linear accuracy simclr+bank leads with 85.40\u00a0%, 1.90 points above the baseline simclr" in text
    assert "(95\u00a0% interval 0.90 to 2.90, which excludes 0)" in text
    assert "In kNN accuracy simclr+bank leads with 83.90\u00a0%" in text


def test_every_pair_is_there_and_what_its_interval_is(run: Path) -> None:
    text = parse(build_report(run)).text
    assert "+2.10+1.00 to +3.20" in text
    assert "95 % interval over the test images" in text
    assert "does not contain the luck of its initial weights" in text
    assert "Linear, top5" in text


def test_best_of_each_column_is_bold_unless_all_are_equal(run: Path) -> None:
    assert re.findall(r"<strong>(.*?)</strong>", build_report(run).read_text()) == ["85.40", "83.90"]


def test_a_loss_is_said_as_a_loss(copy: Path) -> None:
    rows = json.loads((copy / "comparison.json").read_text())["arms"]
    rows[0]["linear"]["mean"], rows[2]["linear"]["mean"] = 80.0, 80.1
    rows[2]["versus"]["simclr"]["linear"] = {"mean": -0.4, "low": -1.4, "high": 0.6}
    change(copy / "comparison.json", arms=rows)
    text = parse(build_report(copy)).text
    assert (
        "no arm is better than the baseline simclr with 83.50\u00a0%; simclr+view comes nearest, 0.40 points below"
        in text
    )
    assert "(95\u00a0% interval −0.60 to 1.40, which includes 0)." in text


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
    change(copy / "arms/simclr+bank/seed-0/stage.json", facts={evil: evil}, status=evil)
    change(copy / "positives/manifest.json", measures={evil: {"value": evil, "meaning": evil}})
    (copy / "recipe.yaml").write_text(f"recipe: '{evil}'\ncommand: '{evil}'\nversions: {{'{evil}': '{evil}'}}\n")
    outline = parse(build_report(copy))
    assert not [value for _, name, value in outline.attributes if name.startswith("on")]
    assert "x" not in outline.values("src")


@pytest.mark.parametrize(
    ("gone", "sections"),
    [
        ("recipe.yaml", ""),
        ("images.json", "data"),
        ("diffusion", "diffusion"),
        ("positives", "positives"),
        ("arms", "training views"),
        ("evaluation", "neighbours map confusions"),
        ("comparison.json", "measures confusions cost runs protocols"),
        ("encoder/snippet.py", ""),
    ],
)
def test_any_part_may_be_missing(copy: Path, gone: str, sections: str) -> None:
    path = copy / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = parse(build_report(copy))
    assert set(SECTIONS) - set(page.values("id")) == set(sections.split())
    assert ("of an older version" in page.text) == (gone == "comparison.json")


def test_empty_run_says_so(tmp_path: Path) -> None:
    page = parse(build_report(tmp_path))
    assert "Evaluation: not run." in page.text
    assert not set(SECTIONS) & set(page.values("id"))


def test_run_without_labels(copy: Path) -> None:
    change(copy / "comparison.json", measures={}, protocols={}, skipped="linear need labels: skipped")
    change(copy / "images.json", classes=None)
    change(copy / "evaluation/map.json", labels=None, classes=None)
    text = parse(build_report(copy)).text
    assert "Nothing was measured: linear need labels: skipped." in text
    assert "choose a class" not in text


@pytest.mark.parametrize("name", ["positives/sheet.png", "evaluation/map_thumbnails.png", "diffusion/samples.png"])
def test_damaged_picture_is_said_and_left_out(copy: Path, name: str) -> None:
    sheet = copy / name
    sheet.write_bytes(sheet.read_bytes()[:300])
    outline = parse(build_report(copy))
    assert f"{name} cannot be shown" in outline.text
    assert len(outline.values("src")) == 4
    assert "map" in outline.values("id")


def test_a_name_turns_nothing_around_it(copy: Path) -> None:
    evil = "x\u202egnp.exe"
    change(
        copy / "images.json", source=evil, notes=[evil], classes=[evil] * 10, excluded=[{"name": evil, "reason": ""}]
    )
    change(copy / "evaluation/map.json", classes=[evil] * 10, names=[evil])
    text = build_report(copy).read_text(encoding="utf-8")
    assert "\u202e" not in text and "\\u202e" in text
    (data,) = re.findall(r'class="points">(.*?)</script>', text)
    assert json.loads(data)["names"] == ["x\\u202egnp.exe"] == json.loads(data)["classes"][:1]


def test_torn_last_line_of_metrics_is_left_out(copy: Path) -> None:
    path = copy / "arms/simclr+bank/seed-0/metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 901, "lo')
    assert 'class="chart curves"' in build_report(copy).read_text()


def test_metrics_that_are_no_numbers_are_not_drawn(copy: Path) -> None:
    lines = ['{"step": 1, "loss": NaN, "remark": "x"}', '{"step": 2, "loss": 0.5}']
    (copy / "arms/simclr+bank/seed-0/metrics.jsonl").write_text("\n".join(lines))
    text = build_report(copy).read_text().lower()
    assert "nan" not in re.findall(r"[a-z]+", re.sub(r"base64,[^\"]*", "", text))
    assert "remark" not in text


def test_unfinished_stage_is_said(copy: Path) -> None:
    change(copy / "arms/simclr+bank/seed-0/stage.json", status="interrupted")
    assert "interrupted" in parse(build_report(copy)).text


def test_damaged_json_names_the_file(copy: Path) -> None:
    (copy / "images.json").write_text("{")
    with pytest.raises(UserError, match=r"images\.json is no valid JSON"):
        build_report(copy)


def test_missing_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        build_report(tmp_path / "nowhere")


def test_several_runs_on_one_page(run: Path, copy: Path, tmp_path: Path) -> None:
    out = build_report_of_several([run, copy], tmp_path / "both" / "report.html")
    outline = parse(out)
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    assert {"run-1", "run-2", "run-1-map", "run-2-map"} <= set(ids)
    assert {link.removeprefix("#") for link in outline.values("href")} <= set(ids)
    assert "2 runs" in outline.text


def test_a_run_that_is_named_by_a_dot_has_its_link(run: Path, copy: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(copy)
    text = build_report_of_several([Path(), run], tmp_path / "both.html").read_text(encoding="utf-8")
    assert f'<a href="#run-1">{copy.name}</a>' in text


def test_same_run_makes_same_page(run: Path) -> None:
    assert build_report(run).read_bytes() == build_report(run).read_bytes()
