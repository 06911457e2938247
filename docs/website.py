"""The documentation site is made of the pages of the repository: README, docs/, studies/, and the commands' own help.

``make docs`` calls this file through mkdocs.yml. A link to a page of the repository becomes one to a page of the site;
a link to any other file of the repository becomes its name, as the site can be read without the repository.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "inside.md",
    "CHANGELOG.md": "changelog.md",
    "studies/README.md": "results/index.md",
}
"""Files of the repository outside of docs/ -> pages of the site."""
_FETCHED, _OWN = "https://unpkg.com/iframe-worker/shim", "assets/iframe-worker.js"
"""What the theme's search needs on a page from the disk."""
_DIALOG = 'role="dialog">', 'role="dialog" aria-label="Search">'
"""What a screen reader lacks in the theme."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


@cache
def pages() -> dict[str, str]:
    """All pages by the path in the repository of the file that they are made of."""
    studies = {path.parent.name: path for path in sorted((ROOT / "studies").glob("*/README.md"))}
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    return {
        **PAGES,
        **{f"studies/{name}/README.md": f"results/{name}.md" for name in studies},
        **{path: path.removeprefix("docs/") for path in own},
    }


def on_config(config: Any) -> Any:
    """Put the pages that are made here into the navigation, where mkdocs.yml names their folder."""
    from clsp.cli.table import COMMANDS

    studies = sorted(page for page in pages().values() if page.startswith("results/") and page != "results/index.md")
    inside = {
        "commands/": ["commands.md", *(f"commands/{name}.md" for name in COMMANDS)],
        "results/": ["results/index.md", *studies],
    }
    for entry in config.nav:
        for title, page in entry.items():
            if isinstance(page, str) and page in inside:
                entry[title] = inside[page]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that do not lie in docs/."""
    for source, page in pages().items():
        if not source.startswith("docs/"):
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for name, text in commands().items():
        files.append(File.generated(config, f"commands/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to pages of the site."""
    made = {target: source for source, target in pages().items()}
    source = made.get(page.file.src_uri)
    if source is None:
        return markdown
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _linked(part, source, page.file.src_uri) for part in parts)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take the search's helper from the site itself: nothing is fetched when somebody reads it. Name its dialog."""
    return output.replace(_FETCHED, relpath(_OWN, dirname(page.url) or ".")).replace(*_DIALOG)


def on_post_template(output_content: str, **_: Any) -> str:
    """Likewise for the page of what is not there."""
    return output_content.replace(_FETCHED, _OWN).replace(*_DIALOG)


def _linked(text: str, source: str, page: str) -> str:
    def lead(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return found[0]
        place = normpath(f"{dirname(source)}/{path}" if dirname(source) else path)
        known = pages().get(place) or (place.removeprefix("docs/") if mark and place.startswith("docs/") else None)
        if known:
            return f"{mark}[{words}]({relpath(known, dirname(page) or '.')}{hash_}{anchor})"
        if not (ROOT / place).exists():
            raise ValueError(f"{source} links to {place}, which is not there")
        return words

    return _LINK.sub(lead, text)


def commands() -> dict[str, str]:
    """A page for each command; docs/commands.md lists them."""
    from clsp.cli.table import COMMANDS

    return {name: _command(name, command) for name, command in COMMANDS.items()}


def _command(name: str, command: Any) -> str:
    """What a command does, its own options, and all settings of its recipe."""
    from clsp.cli.help import help_of
    from clsp.cli.table import MEANINGS, METAVARS

    usage = help_of(name).split("\n\n")[0].removeprefix("usage: ")
    own = [f"- **`--{o} {METAVARS[o]}`** {_escaped(MEANINGS[o])}" for o in (*command.required, *command.optional)]
    text = [
        f"# clsp {name}",
        f"{_escaped(command.summary[0].upper() + command.summary[1:])}.",
        f"```text\n{usage}\n```",
    ]
    text += ["\n".join(own)] if own else []
    return "\n\n".join([*text, *(_settings(command) if command.recipe else [])]) + "\n"


def _settings(command: Any) -> list[str]:
    """The options of the recipe by their sections, those of the command's own first."""
    from clsp.recipes.names import recipe_names
    from clsp.settings.describe import describe

    lines = ["## Options of the recipe", f"Recipes: {', '.join(recipe_names(command.task))}, or a YAML file."]
    if command.section:
        lines.append(
            f"Those of the section `{command.section}` may be given without their prefix. Defaults stand behind `=`."
        )
    options = [option for option in describe(command.settings) if not option.name.startswith("about.")]
    sections: dict[str, list[Any]] = {}
    for option in sorted(options, key=lambda option: not option.name.startswith(f"{command.section}.")):
        sections.setdefault(option.section.partition("\n\n")[0], []).append(option)
    for section, some in sections.items():
        lines.append(f"### {_escaped(section).rstrip('.')}")
        lines.append("\n".join(_option(option) for option in some))
    return lines


def _option(option: Any) -> str:
    """A setting with its default, what it means, and what it may be."""
    from clsp.settings.describe import as_text

    text = f"- **`--{option.name}`** `= {as_text(option.default)}`<br>{_escaped(option.meaning)}"
    return f"{text} *({_escaped(option.kind)})*" if option.kind else text


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is, in one line."""
    parts = re.split(r"(`+[^`]*`+)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]|])", r"\\\1", part) for part in parts)
