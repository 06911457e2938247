from __future__ import annotations

import json
import re

import pytest

from clsp.report import numbers
from clsp.report.charts import Axis, Estimate, interval_chart, scatter
from clsp.report.curves import curve, curve_chart, series_of, smooth
from clsp.report.html import Html, data_block, element


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.8312, "0.831"),
        (0.71, "0.71"),
        (12000, "12,000"),
        (3.2e-5, "3.2e−05"),
        (-1.5, "−1.5"),
        (0, "0"),
        (None, "–"),
    ],
)
def test_numbers_are_short(value: object, written: str) -> None:
    assert numbers.number(value) == written


def test_words_and_text() -> None:
    assert numbers.words("row_diversity") == "Row diversity"
    assert numbers.words("knn_top1") == "kNN top1"
    assert numbers.text({"eta": 0.1, "steps": [1, 2]}) == "eta 0.1, steps 1, 2"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 900), (82.1, 86.9), (1e-7, 2e-7), (0, 25000)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = Axis(low, high, 0, 100).ticks()
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)


@pytest.mark.parametrize(("low", "high"), [(0.02, 1.1), (0.4, 0.6), (1e-6, 1e6), (3, 3.1)])
def test_logarithmic_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = Axis(low, high, 0, 100, log=True).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)


def test_axis_maps_its_ends_and_keeps_to_them() -> None:
    axis = Axis(1, 100, 10, 30, log=True)
    assert (axis(1), axis(10), axis(100), axis(1000)) == (10, 20, 30, 30)


def test_smoothing_keeps_a_constant_and_the_first_value() -> None:
    assert [y for _, y in smooth([(k, 2.0) for k in range(100)], log=True)] == pytest.approx([2.0] * 100)
    assert smooth([(k, float(k)) for k in range(100)])[0] == (0, 0.0)


def test_curve_chart_thins_long_curves_and_keeps_the_last_point() -> None:
    points = [(float(k), 1.0 + k % 7) for k in range(50_000)]
    chart = curve_chart([curve("a", "arm-0", [points])], label="x")
    assert len(chart) < 40_000
    hover = json.loads(re.findall(r'class="hover">(.*?)</script>', chart)[0])
    assert hover[0]["points"][-1][2] == "49,999"


def test_curve_chart_without_points_is_nothing() -> None:
    assert curve_chart([curve("a", "arm-0", [[]])], label="x") == ""
    assert curve_chart([curve("a", "arm-0", [[(0, -1.0)]], log=True)], label="x", log=True) == ""


@pytest.mark.parametrize("log", [False, True])
def test_curve_chart_of_one_point_and_of_equal_values(log: bool) -> None:
    for points in ([(3.0, 2.0)], [(1.0, 2.0), (2.0, 2.0)]):
        assert "nan" not in curve_chart([curve("a", "arm-0", [points], log=log)], label="x", log=log)


def test_interval_chart_holds_every_row_and_the_zero() -> None:
    chart = interval_chart(
        [Estimate("a<b", "arm-1", 2, 1, 3), Estimate("c" * 40, "arm-2", 4, 4, 4)], label="x", zero=True
    )
    assert "a&lt;b" in chart
    assert chart.count("<circle") == 2
    assert 'class="axis"' in chart


def test_scatter_draws_each_row_once() -> None:
    drawn = scatter([0, 0.5, 1], [0, 1, 0.5], [("red", [0, 2]), ("blue", [1])], label="x")
    assert drawn.count("h0") == 3
    assert drawn.count("<path") == 2


def test_series_of_leaves_out_what_is_missing() -> None:
    records = [
        {"step": 1, "loss": 2},
        {"step": 2},
        {"step": 3, "loss": float("nan")},
        {"step": 4, "loss": 1.0},
    ]
    assert series_of(records, "loss") == [(1.0, 2.0), (4.0, 1.0)]


def test_elements_escape_text_and_attributes() -> None:
    made = element("p", ["a < b", Html("<br>")], title='"x"', hidden=True, class_=None)
    assert made == '<p title="&quot;x&quot;" hidden>a &lt; b<br></p>'
    assert "</script><b>" not in data_block({"name": "</script><b>"}, "c")
