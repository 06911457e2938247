"""The two-dimensional map of the test embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsp.errors import UserError
from clsp.report.charts import scatter
from clsp.report.folder import Folder, mapping
from clsp.report.html import Html, data_block, element, figure, inline_image, join, unshown
from clsp.report.numbers import is_number
from clsp.report.study import Study
from clsp.text import upright

PALETTE = (
    "#3f7fbf #d9822b #4a9b62 #c4504b #8b6bb8 #8c6d57 #cf77b0 #7d8288 #a9a23a #3ba7b8".split()  # noqa: SIM905
)
"""Ten hues of middle lightness, readable on white and on black."""
READING = "One dot is one image; near dots have similar embeddings, while distances between far groups mean little."


def class_colours(count: int) -> list[str]:
    """One colour per class: the palette, or a wheel of hues in three shades where it is too small."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [f"hsl({360 * k / count:.1f} {(62, 45, 75)[k % 3]}% {(52, 42, 62)[k % 3]}%)" for k in range(count)]


def embedding_map(study: Study) -> Html:
    """The scatter with its legend and, for the page's script, the data behind it."""
    folder = study.folder
    content = folder.json("evaluation/map.json")
    xs, ys = _unit(content.get("x"), content.get("y"))
    if not xs:
        return Html()
    labels = content.get("labels") if len(content.get("labels") or ()) == len(xs) else None
    classes = [upright(str(name)) for name in content.get("classes") or ()]
    if labels is not None:
        classes += [f"class {k}" for k in range(len(classes), 1 + max(labels))]
    colours = class_colours(len(classes)) if labels is not None else ["var(--accent)"]
    groups: list[tuple[str, list[int]]] = [(colour, []) for colour in colours]
    for row in range(len(xs)):
        groups[labels[row] if labels is not None else 0][1].append(row)
    drawn = scatter(xs, ys, groups, label="Map of the test images; images with similar embeddings are near")
    block = data_block({"x": xs, "y": ys, "labels": labels, "classes": classes, **_extras(content)}, "points")
    legend = _legend(classes, colours) if labels is not None else Html()
    caption = _caption(str(content.get("method") or "A projection of the test embeddings"), labels is not None)
    return figure(join([drawn, legend, _sprite(folder), block]), caption, "embedding")


def _caption(method: str, labelled: bool) -> str:
    pointing = "Point at a dot to see what it is"
    choosing = "; choose a class to bring it out" if labelled else ""
    return f"{method.rstrip('.')}. {READING} {pointing}{choosing}."


def _unit(xs: Any, ys: Any) -> tuple[list[float], list[float]]:
    """Bring the coordinates into [0, 1], centred and with one scale; nothing if they are none."""
    xs, ys = list(xs or ()), list(ys or ())
    if not xs or len(xs) != len(ys) or not all(is_number(value) for value in (*xs, *ys)):
        return [], []
    # The plot is 584 x 484 pixels: one unit upwards is shorter than one unit across.
    scale = max((max(xs) - min(xs)) / 584, (max(ys) - min(ys)) / 484) or 1.0
    return _centred(xs, scale * 584), _centred(ys, scale * 484)


def _centred(values: Sequence[float], length: float) -> list[float]:
    middle = (max(values) + min(values)) / 2
    return [round(0.5 + (value - middle) / length, 4) for value in values]


def _extras(content: dict[str, Any]) -> dict[str, Any]:
    """The names of the images and the layout of their thumbnails, where they are given."""
    names = [upright(str(name)) for name in content.get("names") or ()]
    sprite = mapping(content.get("sprite"))
    return {"names": names, "sprite": sprite if {"columns", "size"} <= sprite.keys() else None}


def _legend(classes: Sequence[str], colours: Sequence[str]) -> Html:
    chips = []
    for k, name in enumerate(classes):
        dot = element("span", class_="swatch", style=f"--c:{colours[k]}")
        chips.append(element("button", [dot, name], type="button", data_class=k, aria_pressed="false"))
    return element("div", chips, class_="chips")


def _sprite(folder: Folder) -> Html:
    """The thumbnails in one hidden picture, from which the script cuts the one under the pointer.

    Of a damaged file a line says so; the map does without.
    """
    path = folder.picture("evaluation/map_thumbnails.png")
    if not path:
        return Html()
    try:
        image = inline_image(path, alt="Thumbnails of the test images")
    except UserError as error:
        return unshown(path, error)
    return element("div", image, class_="sprite", hidden=True)
