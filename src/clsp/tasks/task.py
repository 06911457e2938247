"""A task: a command that trains something on an encoder, with what stands around the result: record, page, hashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from clsp import distributed, files
from clsp.positives.named import named_positives
from clsp.report.folder import mapping
from clsp.report.html import Html, code, element, join, paragraph
from clsp.report.page import page
from clsp.settings.values import merge, nested
from clsp.study.record import command_line, describe, write_record
from clsp.study.seal import seal, unseal
from clsp.tasks.job import Job, R
from clsp.tasks.prepare import prepare_task
from clsp.text import quoted

Place = str | Path
Found = dict[str, Any]
"""What a file of measures holds."""
_FIX = "run 'clsp verify' on the folder"


@dataclass(frozen=True)
class Article:
    """What a task's page says."""

    title: str
    """What was made, such as ``A classifier``; the data follow."""
    lead: str
    sections: Mapping[str, Html]
    """By their titles; empty ones are left out."""


@dataclass(frozen=True)
class Task(Generic[R]):
    """One task."""

    command: str
    """The command of ``clsp`` that trains it."""
    name: str
    """Of its folder and of its recipes."""
    recipe: type[R]
    """The class of its settings."""
    make: Callable[[Job[R]], object]
    """Trains and measures."""
    lines: Callable[[Found, Path], list[str]]
    """What came out, a line each, of what the measures say and of the folder."""
    article: Callable[[Found, Found, Path], Article]
    """The page, of what the measures and the recipe say and of the folder."""
    following: str
    """The command that goes on, with ``{}`` for the folder."""
    measures: str = "metrics.json"
    """The file of what was measured."""

    def run(
        self,
        data: Place,
        out: Place,
        *,
        encoder: Place | None = None,
        positives: Place | None = None,
        recipe: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **more: Place | None,
    ) -> Path:
        """Do the task; a second call goes on where a first one stopped.

        Args:
            data: a SOURCE.
            out: the result's folder.
            encoder: a pretrained encoder's folder, a run, ``timm``, or None for random weights.
            positives: a bank's folder, the name of a source, or ``NAME:BANK``.
            recipe: a recipe of the task or a file; None: the SOURCE's own, else ``folder``.
            settings: nested, or by their dotted names.
            more: the task's further options.

        Returns:
            ``out``.

        Raises:
            UserError: the data, the encoder or the bank cannot be read, or a setting is wrong.
        """
        folder = Path(out)
        overrides = merge(self.recipe, *(nested({name: value}) for name, value in (settings or {}).items()))
        own = {"encoder": encoder, "data": data, "out": out, "positives": positives, "recipe": recipe, **more}
        given = {name: None if value is None else str(value) for name, value in own.items()}
        command = command_line(self.command, given, overrides, config=self.recipe)
        wanted: dict[str, Any] = {"recipe": recipe, "overrides": overrides, "encoder": given["encoder"]}
        prepared = prepare_task(self.name, self.recipe, str(data), store=folder / "images", **wanted)
        describe(prepared.images, folder / "images.json")
        named = None if positives is None else named_positives(str(positives))
        further = {name: given[name] for name in more}
        self.make(Job(prepared.images, prepared.recipe, folder, given["encoder"], named, further))
        unseal(folder)
        write_record(folder, prepared, str(data), command)
        if distributed.rank() == 0:
            files.write_text(folder / "report.html", self.page(folder))
        seal(folder, command)
        return folder

    def told(self, folder: Path) -> list[str]:
        """What came out, and what to do next, a line each.

        Raises:
            UserError: the measures are damaged.
        """
        path = folder / self.measures
        found = files.read_json(path, dict[str, Any])
        with files.foreign(path, _FIX, what="holds what no run writes"):
            lines = self.lines(found, folder)
        following = f"next:     {self.following.format(quoted(str(folder)))}"
        return [*lines, following, f"report:   {(folder / 'report.html').resolve()}"]

    def page(self, folder: Path) -> str:
        """Write the page of what lies in ``folder``.

        Raises:
            UserError: one of its files is damaged.
        """
        path = folder / self.measures
        found, record = files.read_json(path, dict[str, Any]), files.read_yaml(folder / "recipe.yaml")
        with files.foreign(path, _FIX, what="holds what no run writes"):
            article, source = self.article(found, record, folder), str(mapping(record.get("data")).get("source"))
            head = [
                paragraph([element("span", f"Folder {folder.resolve().name}")], "byline"),
                element("h1", [article.title, element("span", [" on ", source])]),
                paragraph(article.lead, "lead"),
            ]
            sections = {**article.sections, "How it was made": code(str(record.get("command")))}
            body = [element("section", [element("h2", name), content]) for name, content in sections.items() if content]
        return page(f"{article.title} on {source}", element("article", join([element("header", head), *body])))
