"""What the encoder found in the images, with labels or without: its state, clusters, near-duplicates, outliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsp.errors import UserError
from clsp.report.folder import mapping
from clsp.report.html import Html, cells, details, element, figure, join, paragraph, unshown
from clsp.report.numbers import fixed, is_number, number
from clsp.report.study import Study

_THUMBNAIL, _PICTURE = 64, 96
"""Sides of pictures on the page in pixels: of clusters, and of pairs and outliers."""
_MOST = 200
"""Lines or pictures of a kind that are shown at most."""

UNLABELLED = (
    "Without labels nothing says how well classes can be told apart; with a labelled folder, "
    "'clsp evaluate --encoder RUN --data FOLDER' does."
)
FILES = (
    "All of it by name: findings/clusters.csv, findings/duplicates.csv and findings/outliers.csv; the embedding of "
    "every image: embeddings.parquet."
)


def findings(study: Study) -> Html:
    """The section; nothing where nothing was searched."""
    found = study.folder.json("findings/findings.json")
    if not found:
        return Html()
    told = mapping(found.get("told"))
    state = [element("li", str(line)) for line in told.get("state") or ()]
    blocks = [
        _block("Clusters", told.get("clusters"), _clusters(study, mapping(found.get("clusters")))),
        _block("Near-duplicates", told.get("duplicates"), _duplicates(study, mapping(found.get("duplicates")))),
        _block("Outliers", told.get("outliers"), _outliers(study, mapping(found.get("outliers")))),
    ]
    rules = [
        paragraph([element("b", f"{title}: "), str(mapping(found.get(title.lower())).get("rule") or "")], "names")
        for title in ("Clusters", "Duplicates", "Outliers")
    ]
    notes = [str(told.get("limits") or ""), FILES, "" if study.measures else UNLABELLED]
    return join(
        [
            element("ul", state),
            *blocks,
            paragraph(" ".join(filter(None, notes)), "caption"),
            details("How this was searched", rules),
        ]
    )


def summary(study: Study) -> str:
    """The findings in a sentence; nothing where nothing was searched."""
    return str(mapping(study.folder.json("findings/findings.json").get("told")).get("headline") or "")


def _block(title: str, told: object, content: Html) -> Html:
    parts = [element("p", title, class_="title"), paragraph(str(told or ""), "names"), content]
    return element("div", parts, class_="found")


def _clusters(study: Study, found: dict[str, Any]) -> Html:
    """A row of typical images for each cluster, the largest cluster first."""
    shown = [mapping(one) for one in found.get("shown") or ()][:_MOST]
    counts = [int(count) for count in mapping(found.get("sheet")).get("pictures") or ()]
    places = [range(1, min(count, _MOST) + 1) for count in counts[: len(shown)]]
    alts = [[f"Image {place} of cluster {line}" for place in inside] for line, inside in enumerate(places, 1)]
    lines, damaged = _cells(study, "clusters", found, alts, _THUMBNAIL)
    rows = []
    for line, (one, pictures) in enumerate(zip(shown, lines), 1):
        parts = [element("p", _cluster(line, one)), element("div", pictures, class_="strip")]
        rows.append(element("div", parts, class_="cluster"))
    return join([*rows, damaged])


def _cluster(place: int, one: dict[str, Any]) -> Html:
    size = one.get("size")
    told: list[str] = [element("b", f"{place}"), f" {number(size)} {'image' if size == 1 else 'images'}"]
    if one.get("label") is not None and is_number(one.get("fraction")):
        told.append(element("small", f"most often {one['label']} ({100 * one['fraction']:.0f} %)"))
    return join(told)


def _duplicates(study: Study, found: dict[str, Any]) -> Html:
    """The closest pair of each group, side by side."""
    shown = [mapping(one) for one in found.get("shown") or ()][:_MOST]
    names = [[str(name) for name in (one.get("names") or ())[:2]] for one in shown]
    lines, damaged = _cells(study, "duplicates", found, names, _PICTURE)
    drawn = [
        figure(element("div", pictures, class_="strip"), [*_lines(pair), _alike(one)])
        for one, pair, pictures in zip(shown, names, lines)
    ]
    more = int(found.get("groups") or 0) - len(drawn)
    note = paragraph(f"Shown: the closest pair of each group; {more:,} further groups are in the file.", "caption")
    return join([element("div", drawn, class_="pairs"), note if drawn and more > 0 else "", damaged])


def _alike(one: dict[str, Any]) -> str:
    """How near a pair is, and that it lies in two parts where it does."""
    parts = [str(part) for part in one.get("parts") or ()]
    across = f", {' and '.join(parts)}" if len(set(parts)) > 1 else ""
    return f"cosine {fixed(one.get('cosine'), 3)}{across}"


def _outliers(study: Study, found: dict[str, Any]) -> Html:
    """The farthest images, with their names."""
    shown = [mapping(one) for one in found.get("shown") or ()][:_MOST]
    names = [str(one.get("name")) for one in shown]
    lines, damaged = _cells(study, "outliers", found, [names] if names else [], _PICTURE)
    stand = int(found.get("count") or 0)
    drawn = []
    for place, (one, name, image) in enumerate(zip(shown, names, lines[0] if lines else ())):
        told = element("b" if place < stand else "span", f"distance {fixed(one.get('distance'), 3)}")
        drawn.append(figure(image, [*_lines([name]), told]))
    return join([element("div", drawn, class_="singles"), damaged])


def _lines(names: Sequence[str]) -> list[Html]:
    return [element("span", name, class_="file") for name in names]


def _cells(
    study: Study, name: str, found: dict[str, Any], alts: list[list[str]], shown: int
) -> tuple[list[list[Html]], Html]:
    """The pictures of a sheet, or none and a line that says why."""
    path, sheet = study.folder.path / "findings" / f"{name}.png", mapping(found.get("sheet"))
    if not sheet or not alts or not path.is_file():
        return [], Html()
    try:
        return cells(path, alts, side=int(sheet["side"]), gap=int(sheet["gap"]), shown=shown), Html()
    except UserError as error:
        return [], unshown(path, error)
