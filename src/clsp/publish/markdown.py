"""Markdown of the cards: text from outside stays text, whatever shows it."""

from __future__ import annotations

import html
import re
from typing import Any

import yaml

from clsp.console import shown
from clsp.text import portable

_SIGNS = re.compile(r"([\\`*_\[\]|~#$])")


def plain(text: object) -> str:
    """Return text from outside in one line, so that no Markdown and no HTML in it counts."""
    line = " ".join(shown(portable(str(text))).split())
    return _SIGNS.sub(r"\\\1", html.escape(line, quote=False))


def listed(settings: Any) -> str:
    """Return settings as a block of YAML."""
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return code(shown(portable(text), lines=True).rstrip(), "yaml")


def code(text: str, language: str) -> str:
    """Return a fenced block; the fence is longer than any in the text."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def section(title: str, *parts: str) -> str:
    """Return a section; nothing where it has no parts."""
    told = [part for part in parts if part]
    return "\n\n".join([f"## {title}", *told]) if told else ""


def document(front: str, *parts: str) -> str:
    """Join the front matter (YAML) and what follows it."""
    return f"---\n{front.strip()}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"
