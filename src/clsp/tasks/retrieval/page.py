"""The page of an index, and the page of what a search found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp.images.decode import UnreadableImage, decode_file
from clsp.images.sheet import contact_sheet
from clsp.report.folder import mapping
from clsp.report.html import Html, element, figure, join, paragraph, table, thumbnail
from clsp.report.numbers import fixed, number
from clsp.report.page import page
from clsp.tasks.pictures import strips
from clsp.tasks.task import Article, Found

_FOUND = 128
"""Side of a picture of what a search found, in pixels."""


def article(found: Found, record: Found, folder: Path) -> Article:
    """What the page says of the index in ``folder``."""
    measures, results = (
        {str(name): mapping(found[name]) for name in mapping(found["measures"])},
        mapping(found["results"]),
    )
    titles = [str(line[0]) for line in results.get("names") or ()]
    note = "The query first, then the images with the highest scores."
    sections = {
        "What is found": _measures(found, measures),
        "Queries and what they find": strips(folder / "results.png", results, titles, note),
    }
    return Article("An index", _lead(found, measures), sections)


def _lead(found: dict[str, Any], measures: dict[str, dict[str, Any]]) -> str:
    said = f"{number(found['images'])} images, each by a code of {int(found['bits'])} bits."
    if "codes" in measures:
        said += f" Their mean average precision is {fixed(measures['codes']['map'], 1)} %."
    return said


def _measures(found: dict[str, Any], measures: dict[str, dict[str, Any]]) -> Html:
    if not measures:
        return paragraph("Without labels of train and test images nothing says whether the right ones are found.")
    at = [key for key in next(iter(measures.values())) if key.startswith("precision@")]
    quantity = next(iter(mapping(found["measures"]).values()))["quantity"]
    rows = [
        [name, f"{fixed(one['map'], 2)} %", *(f"{fixed(one[key], 2)} %" for key in at)]
        for name, one in measures.items()
    ]
    notes = [paragraph(f"{name}: {one['protocol']}", "caption") for name, one in measures.items()]
    return join([table(["searched by", str(quantity), *at], rows), *notes])


def found_page(query: Path, names: list[str], scores: list[float], source: Path) -> str:
    """Write what a search found, with the pictures of those images whose files are there.

    Args:
        query: the image that searched.
        names: of the images found.
        scores: theirs.
        source: the folder that was indexed.
    """
    drawn = [figure(_picture(query), [element("span", str(query), class_="file"), element("b", "the query")])]
    for name, score in zip(names, scores, strict=True):
        said = [element("span", name, class_="file"), element("span", f"score {fixed(score, 3)}")]
        drawn.append(figure(_picture(source / name), said))
    head = element("header", [element("h1", ["What is like", element("span", f" {query.name}")])])
    return page(f"What is like {query.name}", element("article", [head, element("div", drawn, class_="singles")]))


def _picture(path: Path) -> Html:
    """An image file as it was indexed, or a line in its place."""
    try:
        pixels = decode_file(path, size=_FOUND).pixels
    except (UnreadableImage, OSError):
        return paragraph("no picture", "absent")
    return thumbnail(contact_sheet(pixels[None, None], scale=1, gap=0), path.name, _FOUND)
