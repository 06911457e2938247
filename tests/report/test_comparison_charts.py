from __future__ import annotations

import re
from pathlib import Path

import pytest
from comparison_reading import arms_of, chart, circles
from demo_comparison import SIXTEEN, write_comparison
from test_report_browser import CHROMIUM
from test_report_browser import dump as browse

from clsp.evaluation.statistics import interval
from clsp.report import build_report
from clsp.report.costs import flops, short_time
from clsp.report.curves import curve, extent
from clsp.report.labels import HEIGHT, overlap, place
from clsp.report.numbers import signed


def test_zero_stands_where_the_differences_change_sign(many: Path) -> None:
    drawing = chart(build_report(many), "Linear accuracy of each arm minus")
    zero = float(re.search(r'<line x1="([\d.]+)"[^>]*class="axis"', drawing)[1])
    for arm, (x, _) in circles(drawing, "dot").items():
        gap = arms_of(many)[arm].get("versus", {}).get("simclr", {}).get("linear", {"mean": 0.0})["mean"]
        assert (x - zero) * gap >= 0


@pytest.mark.parametrize(("unit", "label"), [("flops", "FLOP"), ("seconds", "time")])
def test_order_of_dots_is_that_of_the_costs(many: Path, unit: str, label: str) -> None:
    drawing, rows = chart(build_report(many), f"Linear accuracy of each arm against {label}"), arms_of(many)
    dots, hollow = circles(drawing, "dot"), circles(drawing, "hollow")
    assert set(dots) == set(SIXTEEN)

    def total(arm: str) -> float:
        return rows[arm]["cost"][f"pretraining_{unit}"] + rows[arm]["cost"][f"generator_{unit}"]

    for one in SIXTEEN:
        for other in SIXTEEN:
            if total(one) < total(other):
                assert dots[one][0] <= dots[other][0]
            if rows[one]["linear"]["mean"] < rows[other]["linear"]["mean"]:
                assert dots[one][1] >= dots[other][1]
    assert set(hollow) == {arm for arm in SIXTEEN if rows[arm]["cost"][f"generator_{unit}"]}
    for arm, (x, y) in hollow.items():
        assert x < dots[arm][0]
        assert y == dots[arm][1]


def test_arms_without_a_generator_have_no_hollow_dot(tmp_path: Path) -> None:
    page = build_report(write_comparison(tmp_path / "R", ["simclr", "moco"], 2))
    assert not circles(chart(page, "Linear accuracy of each arm against FLOP"), "hollow")
    assert "Hollow" not in page.read_text()


def test_names_find_places_that_do_not_overlap() -> None:
    dots = [(100.0 + 3 * (k % 2), 60.0 + 7 * k) for k in range(12)]
    taken = [((x - 6, y - 6, x + 6, y + 6), 20.0) for x, y in dots]
    boxes = [found.box for found in place(dots, [70.0] * 12, taken, (0, 0, 400, 300))]
    for index, box in enumerate(boxes):
        assert box[3] - box[1] == HEIGHT
        assert overlap(box, (0, 0, 400, 300)) == pytest.approx(70 * HEIGHT)
        assert all(overlap(box, other) == 0 for other in boxes[:index])


def test_band_is_the_interval_of_three_seeds_and_the_range_of_two() -> None:
    curves = [[(1.0, 5.0), (2.0, 8.0), (3.0, 0.0)], [(1.0, 6.0), (2.0, 9.0)], [(1.0, 7.0), (2.0, 13.0)]]
    three, two, one = curve("a", "base", curves), curve("a", "base", curves[:2]), curve("a", "base", curves[:1])
    assert [level.step for level in three.levels] == [1, 2]  # the steps that all have
    known = interval([8.0, 9.0, 13.0])
    assert (three.levels[1].mean, three.levels[1].low, three.levels[1].high) == (known.mean, known.low, known.high)
    assert (two.levels[1].mean, two.levels[1].low, two.levels[1].high) == (8.5, 8, 9)
    assert (one.levels[1].low, one.levels[1].high) == (8, 8)
    assert curve("a", "base", []).levels == []
    assert extent([curve("a", "base", [])]) is None


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (950, "950"), (1.036e10, "10.4 G"), (4.65e14, "465 T"), (2.37e15, "2.37 P"), (1e27, "1,000 Y")],
)
def test_flops_are_short(value: float, written: str) -> None:
    assert flops(value).replace("\u00a0", " ") == written


def test_small_numbers_are_short_and_zero_has_no_sign() -> None:
    times = [short_time(seconds).replace("\u00a0", " ") for seconds in (1.5, 600, 5400, 172800)]
    assert times == ["1.5 s", "10 min", "1.5 h", "2 d"]
    assert [signed(value) for value in (-0.004, 0.004, 0.006, -1)] == ["0.00", "0.00", "+0.01", "−1.00"]


LOOK = """<script>
setTimeout(() => {
  const hits = [];
  document.querySelectorAll("svg").forEach(svg => {
    const boxes = [...svg.querySelectorAll("text.label")].map(text => [text.textContent, text.getBBox()]);
    boxes.forEach(([name, a], k) => boxes.slice(k + 1).forEach(([other, b]) => {
      const across = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
      const down = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
      if (across > 0 && down > 2) hits.push(name + "/" + other);
    }));
  });
  const svg = document.querySelector(".curves"), box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.right - 20, clientY: box.top + 30}));
  document.body.dataset.curve = document.getElementById("tip").textContent;
  document.body.dataset.hits = hits.join(" ");
  document.body.dataset.labels = document.querySelectorAll("text.label").length;
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
}, 200);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize(("which", "width"), [("many", 500), ("many", 1280), ("few", 1280)])
def test_browser_shows_it_whole(which: str, width: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(which)
    page = tmp_path / "looked.html"
    page.write_text(build_report(folder).read_text().replace("</body>", LOOK))
    dom, console = browse(page, tmp_path / "profile", width)
    body = dom[dom.index("<body") :].split(">", 1)[0]
    told = dict(re.findall(r'data-(\w+)="(.*?)"', body))
    assert told["hits"] == ""
    assert told["labels"] == str(2 * len(arms_of(folder)))
    assert re.search(r"^step 1,\d+simclr\d+(\.\d)? \(", told["curve"])
    assert told["wide"] == "false"
    assert told["broken"] == "0"
    assert console == ""
