"""HTML that is escaped unless it says otherwise: plain strings are text, ``Html`` strings are markup.

Text from outside is shown with its letters in their order: a name of a file cannot turn the rest of its line.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from clsp import files
from clsp.errors import UserError
from clsp.text import upright

_MOST_PIXELS = 64_000_000
"""Pixels of a picture on the page; more are not decoded."""

Content = str | Iterable[str] | None
"""A plain string (escaped), ``Html`` (kept), several of both, or nothing."""


class Html(str):
    """Markup that is safe to put on the page as it is. Only this room makes it."""

    __slots__ = ()


def join(content: Content) -> Html:
    """Concatenate ``content``, escaping whatever is not ``Html``."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return _escaped(content)
    return Html("".join(join(part) for part in content))


def _escaped(text: str) -> Html:
    """Text from outside as markup that shows it; it turns nothing around, neither itself nor what follows it."""
    return Html(html.escape(upright(text)))


def element(tag: str, content: Content = None, **attributes: object) -> Html:
    """Write ``<tag attributes>content</tag>``.

    Args:
        tag: the element's name.
        content: what is inside; text is escaped.
        **attributes: a trailing underscore is dropped (``class_``), other underscores become hyphens;
            ``True`` writes the bare name; ``None`` and ``False`` write nothing.
    """
    written = []
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {name}")
        elif value is not None and value is not False:
            written.append(f' {name}="{_escaped(str(value))}"')
    start = f"<{tag}{''.join(written)}>"
    return Html(start if tag in {"img", "br", "meta"} else f"{start}{join(content)}</{tag}>")


def paragraph(content: Content, class_: str | None = None) -> Html:
    """A paragraph."""
    return element("p", content, class_=class_)


def details(summary: str, content: Content, *, open_: bool = False) -> Html:
    """A block that unfolds on a click."""
    return element("details", [element("summary", summary), join(content)], open=open_)


def code(text: str) -> Html:
    """A block of code, with a button that copies it (the page's script reveals the button)."""
    button = element("button", "Copy", type="button", class_="copy", hidden=True)
    return element("div", [element("pre", element("code", text)), button], class_="code")


def definitions(pairs: Mapping[str, Content]) -> Html:
    """A definition list in two columns: name, value."""
    rows = [element("div", [element("dt", name), element("dd", value)]) for name, value in pairs.items()]
    return element("dl", rows, class_="facts")


def table(
    head: Sequence[Content], rows: Iterable[Sequence[Content]], *, caption: Content = None, class_: str = ""
) -> Html:
    """A table in a box that scrolls sideways on narrow screens; the first cell of a row is its header."""
    head_row = element("tr", [element("th", cell, scope="col") for cell in head])
    body = []
    for first, *rest in rows:
        cells = [element("td", cell) for cell in rest]
        body.append(element("tr", [element("th", first, scope="row"), *cells]))
    parts = [element("thead", head_row) if any(head) else "", element("tbody", body)]
    note = element("p", caption, class_="caption") if caption else ""
    named = ", ".join(cell for cell in head if cell and type(cell) is str) or "Table"
    # A keyboard can scroll only what can have the focus.
    scroll = element("div", element("table", parts), class_="scroll", role="region", tabindex="0", aria_label=named)
    return element("div", [scroll, note], class_=f"table {class_}".strip())


def figure(content: Content, caption: Content, class_: str | None = None) -> Html:
    """A figure with its caption."""
    return element("figure", [join(content), element("figcaption", caption)], class_=class_)


def panel(title: str, chart: Html, caption: str) -> Html:
    """A chart between its title and its caption."""
    return figure(join([element("p", title, class_="title"), chart]), caption)


def picture(path: Path, alt: str, caption: Content) -> Html:
    """A figure whose PNG is written into the page; one line of text in its place if the file is damaged."""
    try:
        image = inline_image(path, alt=alt)
    except UserError as error:
        return unshown(path, error)
    return figure(image, caption, "picture")


def unshown(path: Path, error: UserError) -> Html:
    """A line in the place of a picture whose file is damaged."""
    said = str(error).replace(str(path), "it")
    return paragraph(f"{path.parent.name}/{path.name} cannot be shown: {said}", "absent")


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=("PNG",))  # whatever it is named: nothing else is shown
    except UnidentifiedImageError as error:
        raise ValueError("it is no PNG") from error


def inline_image(path: Path, *, alt: str) -> Html:
    """An ``img`` that carries its PNG in itself.

    Args:
        path: the PNG.
        alt: what the picture shows, for those who do not see it.

    Raises:
        UserError: the file is no complete PNG, or not the one that was made.
    """
    data = files.read_bytes(path)
    with files.foreign(path), _opened(data) as image:
        width, height = _loaded(image).size
    # Below this width a picture is shown at its own size or larger, and smoothing would blur its pixels.
    class_ = "pixels" if width <= 700 else None
    return element("img", src=_source(data), alt=alt, width=width, height=height, class_=class_)


def cells(path: Path, alts: Sequence[Sequence[str]], *, side: int, gap: int, shown: int) -> list[list[Html]]:
    """Single pictures of a sheet, as ``img`` elements that carry them.

    Args:
        path: the PNG: lines of square cells.
        alts: what each cell of each line shows; a line may have fewer than the sheet.
        side: height and width of a cell in the sheet, in pixels.
        gap: pixels between the cells, and around them.
        shown: height and width on the page.

    Raises:
        UserError: the file is no complete PNG, not the one that was made, or has fewer cells.
    """
    data = files.read_bytes(path)
    with files.foreign(path), _opened(data) as image:
        sheet, step = _loaded(image), side + gap
        size = max(map(len, alts), default=0) * step, len(alts) * step
        if side < 1 or gap < 0 or size[0] > sheet.width or size[1] > sheet.height:
            raise ValueError("it has fewer pictures than were made")
        made = []
        for line, texts in enumerate(alts):
            corners = [(gap + step * column, gap + step * line) for column in range(len(texts))]
            parts = [sheet.crop((left, top, left + side, top + side)) for left, top in corners]
            made.append([thumbnail(part, text, shown) for part, text in zip(parts, texts, strict=True)])
    return made


def thumbnail(picture: Image.Image, alt: str, shown: int) -> Html:
    """A picture as an ``img`` that carries it, ``shown`` pixels high and wide."""
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    class_ = "pixels" if 2 * picture.width <= shown else None
    return element("img", src=_source(file.getvalue()), alt=alt, width=shown, height=shown, class_=class_)


def _loaded(image: Image.Image) -> Image.Image:
    """The picture with its pixels, unless there are too many of them."""
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"more than {_MOST_PIXELS:,} pixels")
    image.load()
    return image


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def data_block(value: Any, class_: str) -> Html:
    """JSON for the page's script. ``<`` is written as an escape, so that no text can end the block."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return element("script", Html(text), type="application/json", class_=class_)
