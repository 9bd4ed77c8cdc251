"""Reads the documentation's pages: from docs/ in a clone, or from the installation's share/doc."""

from __future__ import annotations

import os
import sys

from core.regex import regex

_HERE = regex(r"\[([^\]\n]+)\]\(#[\w-]+\)")
_LINK = regex(r"\[([^\]\n]+)\]\(([\w-]+)\.md(?:#[\w-]+)?\)")


def page_names() -> list[str]:
    """The names of the pages, sorted; empty if the documentation is not installed."""
    directory = _directory()
    names = sorted(os.listdir(directory)) if directory else []
    return [name.removesuffix(".md") for name in names if name.endswith(".md")]


def page_title(name: str) -> str:
    """The heading of a page."""
    return read_page(name).split("\n", 1)[0].removeprefix("# ")


def read_page(name: str) -> str:
    """A page as Markdown; links to other pages name the `--help` topic."""
    with open(os.path.join(_directory(), f"{name}.md"), encoding="utf-8") as file:
        text = file.read()
    return _LINK.sub(lambda link: f"{link[1]} (`--help {link[2]}`)", _HERE.sub(r"\1", text))


def _directory() -> str:
    """The directory of the pages: beside core/ or in the installation's prefix; "" if missing."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    share = os.path.join("share", "doc", "stream-chat")
    # above lib/python3.x/site-packages
    prefix = os.path.normpath(os.path.join(root, "..", "..", ".."))
    places = (os.path.join(root, "docs"),
              *(os.path.join(above, share) for above in (root, prefix, sys.prefix)))
    return next((place for place in places
                 if os.path.isfile(os.path.join(place, "first-steps.md"))), "")
