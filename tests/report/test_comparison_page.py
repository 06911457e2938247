from __future__ import annotations

import json
import re
import shutil
from html import escape, unescape
from pathlib import Path

import pytest
from comparison_reading import arms_of, chart, circles
from demo_comparison import FOUR, SIXTEEN, write_comparison
from test_report_page import change, parse

from clsp.cli.main import dispatch
from clsp.errors import UserError
from clsp.report import build_report
from clsp.report.numbers import fixed, signed

HOSTILE = "<i>\"x\" & 'y'"
NUMBER = r"[+−]?\d+\.\d+"


@pytest.fixture
def copy(few: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(few, tmp_path / "R"))


def lead(page: Path) -> str:
    return unescape(re.search(r'class="lead">(.*?)</p>', page.read_text())[1]).replace("\u00a0", " ")


def test_page_needs_nothing_but_itself(many: Path) -> None:
    page = build_report(many)
    assert page == many / "report.html"
    outline = parse(page)
    ids = outline.values("id")
    for value in outline.values("src") + outline.values("href"):
        assert value.startswith("data:image/png;base64,") or value.removeprefix("#") in ids
    text = page.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"@import|url\((?!\$)|https?://|<link", text)
    assert "NaN" not in text
    assert build_report(many).read_text() == page.read_text()


def test_headline_says_best_arm_difference_and_doubt(few: Path) -> None:
    gap = arms_of(few)["simclr+bank"]["versus"]["simclr"]["linear"]
    limits = f"(95 % interval {fixed(gap['low'])} to {fixed(gap['high'])}, which"
    doubt = "includes 0)" if gap["low"] <= 0 <= gap["high"] else "excludes 0)"
    told = lead(build_report(few))
    assert "In linear accuracy simclr+bank leads with" in told
    assert f"{fixed(gap['mean'])} points above the baseline simclr {limits} {doubt}" in told


@pytest.mark.parametrize(("low", "high", "doubt"), [(-0.2, 1.4, "includes 0"), (0.2, 1.0, "excludes 0")])
def test_headline_takes_doubt_from_the_interval(copy: Path, low: float, high: float, doubt: str) -> None:
    rows = arms_of(copy)
    rows["simclr+bank"]["versus"]["simclr"]["linear"] = {"mean": 0.6, "low": low, "high": high}
    change(copy / "comparison.json", arms=list(rows.values()))
    assert f"0.60 points above the baseline simclr (95 % interval {fixed(low)} to {fixed(high)}, which {doubt})" in (
        lead(build_report(copy))
    )


def test_headline_when_the_baseline_is_best(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "R", FOUR, 3, baseline="simclr+bank")
    rows = arms_of(folder)
    told = lead(build_report(folder))
    assert "In linear accuracy no arm is better than the baseline simclr+bank with" in told
    nearest = max((arm for arm in FOUR if arm != "simclr+bank"), key=lambda arm: rows[arm]["linear"]["mean"])
    gap = rows[nearest]["versus"]["simclr+bank"]["linear"]
    assert f"{nearest} comes nearest, {fixed(-gap['mean'])} points below the baseline simclr+bank" in told
    assert f"(95 % interval {fixed(-gap['high'])} to {fixed(-gap['low'])}" in told


def test_arms_that_see_the_labels_are_bounds_and_no_rivals(many: Path, tmp_path: Path) -> None:
    page, rows = build_report(many), arms_of(many)
    assert max(rows, key=lambda arm: rows[arm]["linear"]["mean"]) == "simclr+class"
    reached = fixed(rows["simclr+class"]["linear"]["mean"])
    best = max((arm for arm in rows if arm != "simclr+class"), key=lambda arm: rows[arm]["linear"]["mean"])
    told = lead(page)
    assert f"In linear accuracy {best} leads with {fixed(rows[best]['linear']['mean'])} %" in told
    assert f"; simclr+class, which sees the labels, reaches {reached} %." in told
    assert f"<strong>{fixed(rows[best]['linear']['mean'])}</strong>" in page.read_text()
    assert f"<strong>{reached}" not in page.read_text()
    alone = lead(build_report(write_comparison(tmp_path / "R", ["simclr", "supcon"], 2)))
    assert re.match(r"simclr reaches [\d.]+ % linear accuracy; supcon, which sees the labels, reaches", alone)


@pytest.mark.parametrize("score", ["linear", "knn"])
def test_table_and_chart_hold_the_differences_of_the_json(many: Path, score: str) -> None:
    page, rows = build_report(many), arms_of(many)
    table = re.search(r"<tbody>(.*?)</tbody>", page.read_text())[1]
    title = {"linear": "Linear", "knn": "kNN"}[score]
    drawing = chart(page, f"{title} accuracy of each arm minus that of simclr")
    for arm, shown in zip(SIXTEEN, table.split("</tr>"), strict=False):
        told = re.findall(NUMBER, re.sub(r"<.*?>", " ", shown.replace("<small>", " ")))
        gap = rows[arm].get("versus", {}).get("simclr", {}).get(score)
        if gap:
            written = [signed(gap[key]) for key in ("mean", "low", "high")]
            assert re.search(" ".join(map(re.escape, written)), " ".join(told))
            assert f">{written[0]}</text>" in drawing
            whole = f"{arm}: {fixed(gap['mean'])} ({fixed(gap['low'])} to {fixed(gap['high'])})"
            assert f"<title>{whole}</title>" in drawing


def test_costs_that_were_not_counted_have_no_panel(copy: Path) -> None:
    rows = arms_of(copy)
    for row in rows.values():
        row["cost"] |= {"pretraining_flops": 0.0, "generator_flops": 0.0}
    change(copy / "comparison.json", arms=list(rows.values()))
    text = build_report(copy).read_text()
    assert "accuracy of each arm against FLOP" not in text
    assert "accuracy of each arm against time" in text


def test_many_arms_have_one_small_chart_each_on_common_scales(many: Path) -> None:
    text = build_report(many).read_text()
    charts = re.findall(r'<svg [^>]*aria-label="Online kNN accuracy, % of (\S+) and of simclr.*?</svg>', text)
    assert charts == SIXTEEN[1:]
    blocks = [json.loads(block) for block in re.findall(r'class="hover">(.*?)</script>', text)]
    assert len(blocks) == 45  # online kNN, effective rank and loss
    assert all([one["name"] for one in block] == ["simclr", arm] for block, arm in zip(blocks, 3 * SIXTEEN[1:]))
    assert all(block[0]["points"] == blocks[0][0]["points"] for block in blocks[:15])
    assert len(set(re.findall(r'class="swatch (\S+?)"', text))) == 3


def test_few_arms_share_a_chart_in_colours_of_their_own(few: Path) -> None:
    text = build_report(few).read_text()
    blocks = [json.loads(block) for block in re.findall(r'class="hover">(.*?)</script>', text)]
    assert [[one["name"] for one in block] for block in blocks] == [FOUR] * 3
    assert [one["colour"] for one in blocks[0]] == ["base", "arm-0", "arm-1", "arm-2"]


def test_curves_that_are_missing_are_left_out(copy: Path, tmp_path: Path) -> None:
    for path in copy.glob("arms/nnclr/*/metrics.jsonl"):
        path.unlink()
    (copy / "arms/simclr/seed-0/metrics.jsonl").unlink()
    blocks = re.findall(r'class="hover">(.*?)</script>', build_report(copy).read_text())
    assert [[one["name"] for one in json.loads(block)] for block in blocks] == [FOUR[:3]] * 3
    bare = parse(build_report(write_comparison(tmp_path / "bare", FOUR, 2, curves=False)))
    assert "training" not in bare.values("id")
    assert {"measures", "protocols", "cost", "runs", "settings"} <= set(bare.values("id"))


def test_one_seed_has_dots_and_no_intervals(single: Path) -> None:
    page = build_report(single)
    assert "points above the baseline simclr (one seed, so no interval)." in lead(page)
    text = page.read_text()
    assert 'class="interval' not in text
    assert 'class="spread' not in text
    assert 'class="band' not in text
    assert "95 % interval" not in parse(page).text
    assert set(circles(chart(page, "Linear accuracy of each arm against FLOP"), "dot")) == set(FOUR)


def test_one_arm_alone(tmp_path: Path) -> None:
    page = build_report(write_comparison(tmp_path / "R", ["simclr"], 3))
    assert lead(page).startswith("simclr reaches")
    assert "minus simclr" not in parse(page).text


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "R", ["simclr", HOSTILE], 2)
    change(folder / "comparison.json", data="</script><img src=x onerror=alert(1)>")
    text = build_report(folder).read_text()
    assert "<i>" not in text
    assert escape(HOSTILE) in text
    assert "\\u003ci>" in text  # in the data of the curves
    outline = parse(folder / "report.html")
    assert not [value for _, name, value in outline.attributes if name.startswith("on")]
    assert "x" not in outline.values("src")


def test_every_run_and_the_settings_are_there(few: Path) -> None:
    outline, rows = parse(build_report(few)), arms_of(few)
    for row in rows.values():
        for runs in row["runs"].values():
            assert all(fixed(value) in outline.text for value in runs.values())
    assert "clsp compare --data fashion-mnist --methods simclr,simclr+view,simclr+bank,nnclr" in outline.text
    assert "Linearlogistic regression, C = 0.1." in outline.text
    assert "kNNcosine, k = 20." in outline.text
    assert "epochs: 40" in outline.text


def test_report_command_knows_a_comparison(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["report", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str((copy / "report.html").resolve())
    assert dispatch(["report", str(copy), "--out", str(tmp_path / "page.html")]) == 0
    assert "4 arms" in (tmp_path / "page.html").read_text()
    assert dispatch(["report", str(copy), str(copy), "--out", str(tmp_path / "both.html")]) == 0
    assert "2 runs" in (tmp_path / "both.html").read_text()


def test_damaged_comparison_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(UserError, match="is no valid JSON"):
        build_report(tmp_path)
