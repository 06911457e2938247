"""The report of a run: one HTML page that carries its pictures, styles and script, and needs no network."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from clsp import files
from clsp.errors import UserError
from clsp.report import sections
from clsp.report.folder import Folder
from clsp.report.html import Html, element, join, paragraph
from clsp.report.maps import embedding_map
from clsp.report.results import overview, results, sentence

SECTIONS: dict[str, tuple[str, Callable[[Folder], Html]]] = {
    "data": ("The data", sections.data),
    "positives": ("Anchors and candidates", sections.positives),
    "views": ("Views", sections.views),
    "diffusion": ("Diffusion model", sections.diffusion),
    "training": ("Pretraining", sections.training),
    "neighbours": ("Nearest neighbours", sections.neighbours),
    "map": ("Map of the embeddings", embedding_map),
    "settings": ("Settings", sections.settings),
}
"""What follows the results, in order: the anchor, the title and the function that writes it."""


def build_report(run: Path) -> Path:
    """Write the report of a run.

    Args:
        run: the folder of the run; stages that are missing in it are said to be missing.

    Returns:
        ``run/report.html``.

    Raises:
        UserError: there is no such folder, or one of its files is damaged.
    """
    run = Path(run)
    folder = _open(run)
    title = f"{folder.arm} on {folder.title}"
    out = run / "report.html"
    files.write_text(out, page(title, _article(folder, "", "h1", "h2")))
    return out


def build_report_of_runs(runs: Sequence[Path], out: Path) -> Path:
    """Write one page for several runs: a table of all, then the report of each.

    Args:
        runs: the folders of the runs.
        out: the HTML file to write.

    Returns:
        ``out``.

    Raises:
        UserError: one of the folders does not exist, or one of their files is damaged.
    """
    folders = [_open(Path(run)) for run in runs]
    title = f"{len(folders)} runs"
    anchors = [f"run-{index}" for index in range(1, len(folders) + 1)]
    head = element("header", [element("h1", title), overview(folders, anchors)])
    pairs = zip(folders, anchors, strict=True)
    articles = [_article(folder, f"{anchor}-", "h2", "h3") for folder, anchor in pairs]
    files.write_text(Path(out), page(title, [head, *articles]))
    return Path(out)


def _open(run: Path) -> Folder:
    if not run.is_dir():
        raise UserError(f"there is no run at '{run}'; give the folder that 'clsp run --out' wrote")
    return Folder(run)


def _article(folder: Folder, prefix: str, title_tag: str, section_tag: str) -> Html:
    """The whole report of one run; ``prefix`` keeps the anchors of several runs apart."""
    body, links = [], []
    for name, (title, write) in SECTIONS.items():
        heading, content = element(section_tag, title), write(folder)
        if content:
            links.append(element("a", title, href=f"#{prefix}{name}"))
            body.append(element("section", [heading, content], id=prefix + name))
        else:
            body.append(element("section", [heading, paragraph("not run", "absent")], class_="missing"))
    head = [
        paragraph(byline(folder, "Run", folder.finished), "byline"),
        element(title_tag, [folder.arm, element("span", [" on ", folder.title])]),
        paragraph(sentence(folder), "lead"),
        results(folder),
        element("nav", links, aria_label="Sections"),
    ]
    return element("article", [element("header", head), *body], id=prefix.rstrip("-") or None)


def byline(folder: Folder, kind: str, finished: float | None) -> Html:
    """Recipe, folder (a ``kind`` of folder) and date (``finished`` seconds since the epoch)."""
    recipe = folder.recipe.get("recipe")
    parts = [f"Recipe {recipe}"] if recipe else []
    parts.append(f"{kind} {folder.path.resolve().name}")
    if finished is not None:
        day = datetime.datetime.fromtimestamp(finished)
        parts.append(f"{day.day} {day:%B %Y, %H:%M}")
    return join(element("span", part) for part in parts)


def page(title: str, content: Html | Sequence[Html]) -> str:
    """Put ``content`` into the skeleton, with the styles and the script written into it."""
    assets = resources.files("clsp.report")
    skeleton, css, js = (assets.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    return Template(skeleton).substitute(title=join(title), css=css, js=js, body=join(content))
