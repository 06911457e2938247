"""The page of an image and a text encoder: what finds what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp import files
from clsp.errors import UserError
from clsp.report.confusion import confusion
from clsp.report.folder import mapping
from clsp.report.html import Html, cells, code, element, join, paragraph, table
from clsp.report.numbers import fixed, number
from clsp.report.page import page

_SHOWN = 72
"""Side of a picture on the page in pixels."""


def build_page(folder: Path) -> str:
    """Write the page of the encoders in ``folder``.

    Raises:
        UserError: one of its files is damaged.
    """
    path = folder / "metrics.json"
    found, record = files.read_json(path, dict[str, Any]), files.read_yaml(folder / "recipe.yaml")
    with files.foreign(path, "run 'clsp verify' on the folder", what="holds what no run writes"):
        source = str(mapping(record.get("data")).get("source"))
        facts = {str(name): mapping(one) for name, one in mapping(found["measures"]).items()}
        zero_shot = mapping(found.get("zero_shot"))
        lead = f"Trained on {number(found['pairs'])} images with {found['captions']}."
        head = [
            paragraph([element("span", f"Folder {folder.resolve().name}")], "byline"),
            element("h1", ["Images with text", element("span", [" on ", source])]),
            paragraph(lead, "lead"),
        ]
        names = [str(name) for name in found.get("classes") or ()]
        sections = {
            "Measures": _measures(found, facts),
            "What captions find": _results(folder, mapping(found.get("results"))),
            "What is taken for what": confusion("zero-shot", zero_shot.get("confusion"), names),
            "How it was made": code(str(record.get("command"))),
        }
    body = [element("section", [element("h2", title), content]) for title, content in sections.items() if content]
    return page(f"Images with text on {source}", element("article", [element("header", head), *body]))


def _measures(found: dict[str, Any], facts: dict[str, dict[str, Any]]) -> Html:
    rows, notes = [], []
    for name, about in facts.items():
        one = mapping(found[name])
        more = ", ".join(f"{key} {fixed(one[key], 1)} %" for key in one if key.startswith("recall@"))
        rows.append([str(about["title"]), str(about["quantity"]), f"{fixed(one[str(about['metric'])], 2)} %", more])
        notes.append(paragraph(f"{about['title']}: {one['protocol']}", "caption"))
    return join([table(["", "", "", ""], rows), *notes]) if rows else Html()


def _results(folder: Path, results: dict[str, Any]) -> Html:
    """A line for each caption: the images that it finds."""
    names = [[str(name) for name in line] for line in results.get("names") or ()]
    captions, sheet = [str(text) for text in results.get("captions") or ()], mapping(results.get("sheet"))
    if not names or not sheet:
        return Html()
    try:
        lines = cells(folder / "results.png", names, side=sheet["side"], gap=sheet["gap"], shown=_SHOWN)
    except UserError as error:
        return paragraph(f"results.png cannot be shown: {error}", "absent")
    rows = [
        element("div", [element("p", element("b", text)), element("div", pictures, class_="strip")], class_="cluster")
        for text, pictures in zip(captions, lines, strict=True)
    ]
    return join([paragraph("Captions, and the test images that are most like them.", "names"), *rows])
