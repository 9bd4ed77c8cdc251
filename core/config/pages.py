"""The pages of the documentation: in a clone they are in docs/,
an installed copy carries them beside it.
"""

from __future__ import annotations

import os
import sys

from core.regex import regex

_HERE = regex(r"\[([^\]\n]+)\]\(#[\w-]+\)")
_LINK = regex(r"\[([^\]\n]+)\]\(([\w-]+)\.md(?:#[\w-]+)?\)")


def page_names() -> list[str]:
    """The names of the pages, sorted; none where the documentation was left
    out of the installation.
    """
    directory = _directory()
    names = sorted(os.listdir(directory)) if directory else []
    return [name.removesuffix(".md") for name in names if name.endswith(".md")]


def page_title(name: str) -> str:
    """The heading of a page."""
    return read_page(name).split("\n", 1)[0].removeprefix("# ")


def read_page(name: str) -> str:
    """A page as Markdown, in which links to other pages name their topics."""
    with open(os.path.join(_directory(), f"{name}.md"), encoding="utf-8") as file:
        text = file.read()
    return _LINK.sub(lambda link: f"{link[1]} (`--help {link[2]}`)", _HERE.sub(r"\1", text))


def _directory() -> str:
    """Where the pages are: beside core/, or in the prefix of the installation.

    "" where they are missing.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    share = os.path.join("share", "doc", "stream-chat")
    # above lib/python3.x/site-packages
    prefix = os.path.normpath(os.path.join(root, "..", "..", ".."))
    places = (os.path.join(root, "docs"),
              *(os.path.join(above, share) for above in (root, prefix, sys.prefix)))
    return next((place for place in places
                 if os.path.isfile(os.path.join(place, "first-steps.md"))), "")
