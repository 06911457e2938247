"""The page of an image and a text encoder: what finds what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsp.report.confusion import confusion
from clsp.report.folder import mapping
from clsp.report.html import Html, join, paragraph, table
from clsp.report.numbers import fixed, number
from clsp.tasks.pictures import strips
from clsp.tasks.task import Article, Found


def article(found: Found, record: Found, folder: Path) -> Article:
    """What the page says of the encoders in ``folder``."""
    facts = {str(name): mapping(one) for name, one in mapping(found["measures"]).items()}
    names, results = [str(name) for name in found.get("classes") or ()], mapping(found.get("results"))
    captions, note = results.get("captions") or (), "Captions, and the test images that are most like them."
    sections = {
        "Measures": _measures(found, facts),
        "What captions find": strips(folder / "results.png", results, [str(text) for text in captions], note),
        "What is taken for what": confusion("zero-shot", mapping(found.get("zero_shot")).get("confusion"), names),
    }
    lead = f"Trained on {number(found['pairs'])} images with {found['captions']}."
    return Article("Images with text", lead, sections)


def _measures(found: dict[str, Any], facts: dict[str, dict[str, Any]]) -> Html:
    rows, notes = [], []
    for name, about in facts.items():
        one = mapping(found[name])
        more = ", ".join(f"{key} {fixed(one[key], 1)} %" for key in one if key.startswith("recall@"))
        rows.append([str(about["title"]), str(about["quantity"]), f"{fixed(one[str(about['metric'])], 2)} %", more])
        notes.append(paragraph(f"{about['title']}: {one['protocol']}", "caption"))
    return join([table(["", "", "", ""], rows), *notes]) if rows else Html()
