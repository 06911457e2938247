"""The report of a study: one HTML page that carries its pictures, styles and script, and needs no network."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from string import Template

from clsp import files
from clsp.errors import UserError
from clsp.report import sections
from clsp.report.answers import answers
from clsp.report.bank import bank_verdict
from clsp.report.confusion import confusions
from clsp.report.findings import findings, summary
from clsp.report.folder import Folder
from clsp.report.html import Html, element, join, paragraph
from clsp.report.learning import learning
from clsp.report.maps import embedding_map
from clsp.report.results import against_cost, measured, overview, protocols, results, runs
from clsp.report.study import Study, headline

SECTIONS: dict[str, tuple[str, Callable[[Study], Html]]] = {
    "measures": ("Measures", measured),
    "confusions": ("What is taken for what", confusions),
    "cost": ("Against cost", against_cost),
    "runs": ("Single runs and pairs", runs),
    "data": ("The data", sections.data),
    "positives": ("Anchors and candidates", sections.positives),
    "views": ("Views", sections.views),
    "diffusion": ("Diffusion model", sections.diffusion),
    "training": ("Pretraining", learning),
    "neighbours": ("Nearest neighbours", sections.neighbours),
    "map": ("Map of the embeddings", embedding_map),
    "protocols": ("Protocols", protocols),
    "settings": ("Settings", sections.settings),
}
"""What follows the findings, in order: anchor, title, and the function that writes it; what is empty is left out."""


FOUND: dict[str, tuple[str, Callable[[Study], Html]]] = {"findings": ("Your images", findings)}
"""What comes first: it takes the table's place where there are no labels."""


def build_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run or a comparison.

    Args:
        folder: what ``clsp run --out`` or ``clsp compare --out`` wrote; what is missing in it is left out.
        out: the HTML file to write; default ``folder/report.html``.

    Returns:
        The file.

    Raises:
        UserError: there is no such folder, or one of its files is damaged.
    """
    study = _open(Path(folder))
    out = study.folder.path / "report.html" if out is None else Path(out)
    with _of_what_is_there(study):
        written = page(f"{_what(study)} on {study.folder.title}", _article(study, "", "h1", "h2"))
    files.write_text(out, written)
    return out


def build_report_of_several(folders: Sequence[Path], out: Path) -> Path:
    """Write one page for several runs or comparisons: a table of all, then the report of each.

    Args:
        folders: what ``clsp run --out`` or ``clsp compare --out`` wrote.
        out: the HTML file to write.

    Returns:
        ``out``.

    Raises:
        UserError: one of the folders does not exist, or one of their files is damaged.
    """
    studies = [_open(Path(folder)) for folder in folders]
    title = f"{len(studies)} runs"
    anchors = [f"run-{index}" for index in range(1, len(studies) + 1)]
    head = element("header", [element("h1", title), overview(studies, anchors)])
    pairs = zip(studies, anchors, strict=True)
    articles = []
    for study, anchor in pairs:
        with _of_what_is_there(study):
            articles.append(_article(study, f"{anchor}-", "h2", "h3"))
    files.write_text(Path(out), page(title, [head, *articles]))
    return Path(out)


def _of_what_is_there(study: Study) -> AbstractContextManager[None]:
    """Say in one line that a page cannot be made, where a file reads well but holds what no stage writes."""
    path = study.folder.path
    return files.foreign(path, f"'clsp verify {path}' names the file", what="holds what no run writes")


def _open(folder: Path) -> Study:
    if not folder.is_dir():
        raise UserError(f"there is no run at '{folder}'; give the folder that 'clsp run --out' wrote")
    return Study(Folder(folder))


def _what(study: Study) -> str:
    """The arm, or how many there are of them."""
    return study.main or "A run" if len(study.rows) < 2 else f"{len(study.rows)} arms"


def _article(study: Study, prefix: str, title_tag: str, section_tag: str) -> Html:
    """The whole report of one study; ``prefix`` keeps the anchors of several apart."""
    written = {name: (title, write(study)) for name, (title, write) in {**FOUND, **SECTIONS}.items()}
    shown = {name: (title, content) for name, (title, content) in written.items() if content}
    links = [element("a", title, href=f"#{prefix}{name}") for name, (title, _) in shown.items()]
    head = [
        paragraph(_byline(study), "byline"),
        element(title_tag, [_what(study), element("span", [" on ", study.folder.title])]),
        paragraph(_lead(study), "lead"),
        answers(study),
        bank_verdict(study),
        results(study),
        element("nav", links, aria_label="Sections"),
    ]
    body = [
        element("section", [element(section_tag, title), content], id=prefix + name)
        for name, (title, content) in shown.items()
    ]
    return element("article", [element("header", head), *body], id=prefix.rstrip("-") or None)


def _lead(study: Study) -> str:
    """The main result in words: of a run without labels, what was found in its images."""
    found = summary(study)
    return found if found and study.result and not study.measures else headline(study)


def _byline(study: Study) -> Html:
    """Recipe, folder and date."""
    folder, recipe = study.folder, study.folder.recipe.get("recipe")
    parts = [f"Recipe {recipe}"] if recipe else []
    parts.append(f"Folder {folder.path.resolve().name}")
    if (time := folder.finished) is not None:
        day = datetime.datetime.fromtimestamp(time)
        parts.append(f"{day.day} {day:%B %Y, %H:%M}")
    return join(element("span", part) for part in parts)


def page(title: str, content: Html | Sequence[Html]) -> str:
    """Put ``content`` into the skeleton, with the styles and the script written into it."""
    assets = resources.files("clsp.report")
    skeleton, css, js = (assets.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    return Template(skeleton).substitute(title=join(title), css=css, js=js, body=join(content))
