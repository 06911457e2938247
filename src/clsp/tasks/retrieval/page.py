"""The page of an index, and the page of what a search found."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clsp import files
from clsp.errors import UserError
from clsp.images.decode import UnreadableImage, decode_file
from clsp.images.sheet import visible
from clsp.report.folder import mapping
from clsp.report.html import Html, cells, code, element, figure, join, paragraph, table
from clsp.report.numbers import fixed, number
from clsp.report.page import page

_SHOWN = 72
"""Side of a picture on the page in pixels."""
_FOUND = 128


def build_page(folder: Path) -> str:
    """Write the page of the index in ``folder``.

    Raises:
        UserError: one of its files is damaged.
    """
    path = folder / "metrics.json"
    found, record = files.read_json(path, dict[str, Any]), files.read_yaml(folder / "recipe.yaml")
    with files.foreign(path, "run 'clsp verify' on the folder", what="holds what no run writes"):
        source = str(mapping(record.get("data")).get("source"))
        measures = {str(name): mapping(found[name]) for name in mapping(found["measures"])}
        head = [
            paragraph([element("span", f"Folder {folder.resolve().name}")], "byline"),
            element("h1", ["An index", element("span", [" of ", source])]),
            paragraph(_lead(found, measures), "lead"),
        ]
        sections = {
            "What is found": _measures(found, measures),
            "Queries and what they find": _results(folder, mapping(found.get("results"))),
            "How it was made": code(str(record.get("command"))),
        }
    body = [element("section", [element("h2", title), content]) for title, content in sections.items() if content]
    return page(f"An index of {source}", element("article", [element("header", head), *body]))


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


def _results(folder: Path, results: dict[str, Any]) -> Html:
    """A line for each query: the image, and what it finds."""
    names = [[str(name) for name in line] for line in results.get("names") or ()]
    sheet = mapping(results.get("sheet"))
    if not names or not sheet:
        return Html()
    try:
        lines = cells(folder / "results.png", names, side=sheet["side"], gap=sheet["gap"], shown=_SHOWN)
    except UserError as error:
        return paragraph(f"results.png cannot be shown: {error}", "absent")
    rows = [
        element(
            "div", [element("p", element("b", line[0])), element("div", pictures, class_="strip")], class_="cluster"
        )
        for line, pictures in zip(names, lines, strict=True)
    ]
    return join([paragraph("The query first, then the images with the highest scores.", "names"), *rows])


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
    colours = np.broadcast_to(visible(pixels[None]), (1, 3, _FOUND, _FOUND))[0].transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, format="PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return element("img", src=f"data:image/png;base64,{data}", alt=path.name, width=_FOUND, height=_FOUND)
