"""Intervals of means and of differences."""

import numpy as np
import pytest
from scipy import stats

from clsp.evaluation.statistics import welch


def test_the_interval_of_two_means_is_welch_s():
    first, second = [84.1, 85.0, 84.4, 85.2], [82.0, 83.9, 82.2]
    found, told = welch(first, second), stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((told.low, told.high), abs=2e-3)
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second), abs=1e-3)
    assert welch([1.0, 1.0], [0.5, 0.5]).record() == {"mean": 0.5, "low": 0.5, "high": 0.5}
