"""The page of a classifier: what it is worth, and the labels that are probably wrong, with their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp.errors import UserError
from clsp.report.confusion import confusion
from clsp.report.folder import mapping
from clsp.report.html import Html, cells, definitions, element, figure, join, paragraph
from clsp.report.numbers import fixed
from clsp.tasks.task import Article, Found

_SHOWN = 96
"""Side of a picture on the page in pixels."""


def article(found: Found, record: Found, folder: Path) -> Article:
    """What the page says of the classifier in ``folder``."""
    accuracy, listed = mapping(found["accuracy"]), mapping(found["suspects"])
    names = [str(name) for name in found["classes"]]
    sections = {
        "Labels that are probably wrong": _suspects(folder, listed),
        "What is taken for what": confusion("on the test images", accuracy.get("confusion"), names),
        "Settings": _facts(found, record),
    }
    return Article("A classifier", _lead(accuracy, listed), sections)


def _lead(accuracy: dict[str, Any], listed: dict[str, Any]) -> str:
    return (
        f"{fixed(accuracy['top1'], 1)} % of the test images are classified rightly (95 % interval "
        f"{fixed(accuracy['low'], 1)} to {fixed(accuracy['high'], 1)}). {int(listed['count']):,} of "
        f"{int(listed['of']):,} labels are probably wrong."
    )


def _suspects(folder: Path, listed: dict[str, Any]) -> Html:
    """The first of the list, each with its image, its label and the suggestion."""
    shown = [mapping(one) for one in listed.get("shown") or ()]
    rated = mapping(listed.get("rated"))
    parts = [paragraph(str(listed.get("rule") or ""), "names")]
    if listed.get("by_heart"):
        parts.append(paragraph(str(listed["by_heart"])))
    if rated:
        facts = {
            "Labels that are wrong": _percent(rated.get("wrong")),
            "Of the list are wrong (precision)": _percent(rated.get("precision")),
            "Of the wrong ones are listed (recall)": _percent(rated.get("recall")),
            "Average precision of the order": fixed(rated.get("average_precision"), 3),
        }
        parts.append(definitions(facts))
    names = [str(one.get("name")) for one in shown]
    if names:
        sheet = mapping(listed.get("sheet"))
        try:
            (line,) = cells(folder / "suspects.png", [names], side=sheet["side"], gap=sheet["gap"], shown=_SHOWN)
        except UserError as error:
            return join([*parts, paragraph(f"suspects.png cannot be shown: {error}", "absent")])
        drawn = [figure(image, _told(one)) for image, one in zip(line, shown, strict=True)]
        parts.append(element("div", drawn, class_="singles"))
    parts.append(paragraph("All of them: suspects.csv.", "caption"))
    return join(parts)


def _told(one: dict[str, Any]) -> list[Html]:
    name, label, suggested = str(one.get("name")), str(one.get("label")), str(one.get("suggested"))
    sure = one.get("confidence")
    return [
        element("span", name, class_="file"),
        element("span", [element("s", label), " ", element("b", suggested), f" {_percent(sure)}"]),
    ]


def _percent(value: Any) -> str:
    return "-" if value is None else f"{100 * float(value):.1f} %"


def _facts(found: dict[str, Any], record: dict[str, Any]) -> Html:
    settings = mapping(record.get("classify"))
    noise, consistency = mapping(settings.get("noise")), mapping(settings.get("consistency"))
    made = noise.get("kind") != "none"
    return definitions(
        {
            "Tested on": str(found.get("test")),
            "Epochs": str(settings.get("epochs")),
            "Neighbour consistency": str(consistency.get("weight") or "none"),
            "Labels made wrong": f"{noise['kind']}, {_percent(noise['rate'])}" if made else "none",
        }
    )
