"""Formats search results for a terminal: numbered titles, each with the text around its matches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.rendering.columns import wrapped
from core.rendering.layout import Layout
from core.rendering.marks import styled
from core.rendering.table import Excerpt, Excerpts
from core.rendering.theme import Theme
from core.rendering.widths import PROSE, text_width
from core.safe_text import safe_line

BEHIND = 2          # cells after a number, and between a title and its facts


def excerpt_rows(found: Excerpts, width: int, theme: Theme) -> Iterator[str]:
    """Styled rows, narrower than `width`."""
    limit = min(width - 1, PROSE)
    count, _, noun = found.count.partition(" ")
    what = [(theme.role("bold"), count), ("", f" {noun} "),
            (theme.role("bold underline"), safe_line(found.words))]
    yield from _flowing(what, limit, "")
    hang = len(str(len(found.entries))) + BEHIND
    for number, entry in enumerate(found.entries, 1):
        yield ""
        yield from _entry(f"{number:<{hang}}", entry, limit, theme)


def _entry(number: str, entry: Excerpt, limit: int, theme: Theme) -> Iterator[str]:
    hang, bold = " " * len(number), theme.role("bold")
    title, facts = safe_line(entry.title), safe_line(entry.facts)
    if len(number) + text_width(title) + BEHIND + text_width(facts) <= limit:
        yield f"{number}{styled(title, bold)}{' ' * BEHIND}{styled(facts, theme.dim)}"
    else:
        first, *rest = wrapped(title, limit - len(number))
        yield f"{number}{styled(first, bold)}"
        yield from (hang + styled(row, bold) for row in rest)
        yield from (hang + styled(row, theme.dim) for row in wrapped(facts, limit - len(number)))
    yield from _flowing(_pieces(entry, theme), limit, hang)


def _pieces(entry: Excerpt, theme: Theme) -> Iterator[tuple[str, str]]:
    """The excerpt's text, styled: matches are bold and underlined, the words around them dim."""
    place = 0
    for start, end in entry.marks:
        if start >= place:
            yield theme.dim, safe_line(entry.text[place:start])
            yield theme.role("bold underline"), safe_line(entry.text[start:end])
            place = end
    yield theme.dim, safe_line(entry.text[place:])


def _flowing(pieces: Iterable[tuple[str, str]], limit: int, hang: str) -> list[str]:
    layout = Layout(limit)
    layout.begin([("", hang)] if hang else [], [("", hang)] if hang else [])
    for style, text in pieces:
        layout.text(text, style)
    layout.end_row()
    return [row for row in layout.take().removesuffix("\n").split("\n") if row.strip()]


def spoken_excerpts(found: Excerpts) -> Iterator[str]:
    """Sentences for a screen reader."""
    yield safe_line(f"{found.count} {found.words}.")
    for number, entry in enumerate(found.entries, 1):
        end = "" if entry.title.endswith((".", "!", "?")) else "."
        yield safe_line(f"{number}: {entry.title}{end} {entry.facts}.")
        if entry.text:
            yield safe_line(entry.text)
