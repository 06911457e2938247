"""How the report writes numbers: few digits, a true minus sign, a dash for what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from clsp import console

MISSING = "–"
SPELLED = {
    "knn": "kNN",
    "nce": "NCE",
    "infonce": "InfoNCE",
    "ema": "EMA",
    "cpu": "CPU",
    "gpu": "GPU",
    "cuda": "CUDA",
}


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number (booleans are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: object, digits: int = 3) -> str:
    """Write ``value`` with about ``digits`` significant digits: ``0.834``, ``12,000``, ``3.2e−05``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return MISSING if value is None else str(value)
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}".replace("-", "−")
    if 1e-3 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        written = f"{value:,.{decimals}f}".replace("-", "−")
        return written.rstrip("0").rstrip(".") if decimals else written
    return f"{value:.{max(digits - 2, 0)}e}".replace("-", "−")


def fixed(value: object, decimals: int = 2) -> str:
    """Write ``value`` with exactly ``decimals`` decimals; what is rounded to 0 has no sign."""
    if not isinstance(value, int | float):
        return MISSING
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def signed(value: object, decimals: int = 2) -> str:
    """Write a difference with its sign: ``+1.30``."""
    above = isinstance(value, int | float) and round(value, decimals) > 0
    return ("+" if above else "") + fixed(value, decimals)


def interval(result: Mapping[str, Any]) -> str:
    """Write ``low–high``, or nothing where the result has no interval."""
    low, high = result.get("low"), result.get("high")
    return f"{fixed(low)}–{fixed(high)}" if is_number(low) and is_number(high) else ""


def against(name: str, gap: Mapping[str, Any], *, unit: str = "%", alone: str = "") -> str:
    """Write a difference in words: ``1.90 points above simclr (95 % interval 0.90 to 2.90, which excludes 0)``.

    Args:
        name: what is compared with.
        gap: its ``mean``, and ``low`` and ``high`` where there is an interval.
        unit: of the measure; differences of percents are points.
        alone: what stands in brackets where there is no interval.
    """
    mean, low, high = float(gap["mean"]), gap.get("low"), gap.get("high")
    sign = 1 if mean >= 0 else -1
    points = "points " if unit == "%" else f"{unit} " if unit else ""
    told = f"{fixed(abs(mean))} {points}{'above' if sign > 0 else 'below'} {name}"
    if not (is_number(low) and is_number(high)):
        return f"{told} ({alone})" if alone else told
    low, high = sorted((sign * low, sign * high))
    doubt = "includes" if low <= 0 <= high else "excludes"
    return f"{told} (95\u00a0% interval {fixed(low)} to {fixed(high)}, which {doubt} 0)"


def duration(seconds: object) -> str:
    """Write a duration; a number is never parted from its unit at the end of a line."""
    if not is_number(seconds):
        return MISSING
    return re.sub(r"(\d) ([a-z])", "\\1\u00a0\\2", console.duration(seconds))


def words(name: str) -> str:
    """Turn an identifier into words: ``row_diversity`` becomes ``Row diversity``."""
    first, *rest = [SPELLED.get(word, word) for word in name.replace("_", " ").split()] or [""]
    return " ".join([first if first in SPELLED.values() else first[:1].upper() + first[1:], *rest])


def text(value: object) -> str:
    """Write any value of a recipe or a manifest on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value) or MISSING
    return number(value)
