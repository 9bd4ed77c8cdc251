"""The rows of the session picker: titles with their facts, and where the search words occur.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.console.screen import Screen
from core.rendering.marks import HANG, styled
from core.rendering.widths import clip, shorten, text_width
from core.safe_text import safe_line
from core.sessions.listing import marked, moment_words
from core.sessions.search import Found
from core.store.rows import SessionRow

GAP = 3                 # cells between columns
WIDEST = 48             # cells of a title
WIDE = 100              # columns from which the model is also shown
NARROW = 60             # below so many columns, facts go under the title
ROWS = 12               # rows of the list, and at most what fits on the screen


def heading(screen: Screen) -> str:
    dot = " \u00b7 " if screen.unicode else ", "
    keys = dot.join(("Enter opens", "Esc leaves", "Ctrl-X d deletes"))
    shown = "" if screen.width() < NARROW else "   " + styled(keys, screen.theme.dim)
    return styled("Resume a session", screen.theme.role("bold")) + shown


def session_rows(found: Sequence[Found], at: int, screen: Screen, now: float) -> list[str]:
    """Styled rows around the marked session, narrower than the screen."""
    room = max(min(ROWS, screen.height() - 6), 3)
    entries = [list(_entry(one, number == at, screen, now, found))
               for number, one in _around(found, at, room)]
    rows = [row for entry in entries for row in entry]
    place = sum(
        map(len,
            entries[:next((number for number, entry in enumerate(entries)
                           if _is_marked(entry, screen)), 0)]))
    first = max(0, min(place - room // 2, len(rows) - room))
    return rows[first:first + room]


def _around(found: Sequence[Found], at: int, room: int) -> Iterator[tuple[int, Found]]:
    for number in range(max(0, at - room), min(len(found), at + room + 1)):
        yield number, found[number]


def _is_marked(entry: Sequence[str], screen: Screen) -> bool:
    return entry[0].startswith(screen.sign("user"))


def _entry(one: Found, is_at: bool, screen: Screen, now: float,
           found: Sequence[Found]) -> Iterator[str]:
    theme, room = screen.theme, screen.width() - 1 - HANG
    facts = _facts(one.session, screen.width(), now)
    narrow = screen.width() < NARROW
    column = room if narrow else min(WIDEST, room - text_width(facts) - GAP,
                                     max(text_width(_title(each.session)) for each in found[:200]))
    title = shorten(_title(one.session), column)
    pad = "" if narrow else " " * (column - text_width(title) + GAP)
    name = styled(title, theme.role("bold") if is_at else "")
    yield (f"{screen.sign('user') if is_at else ' '} "
           f"{name}{pad}{'' if narrow else styled(facts.rstrip(), theme.dim)}")
    if narrow:
        yield " " * HANG + styled(shorten(facts, room), theme.dim)
    if one.hits and one.hits[0].snippet != one.session.title:
        hit = one.hits[0]
        yield " " * (2 * HANG) + _snippet(hit.snippet, hit.marks, room - HANG, screen)


def _title(row: SessionRow) -> str:
    return marked(row) if row.title else f"({row.short_name})"


def _facts(row: SessionRow, width: int, now: float) -> str:
    """When it was last used, its length and, where there is room, the model."""
    count = f"{row.message_count:,} message" + ("s" if row.message_count != 1 else " ")
    if width < NARROW:
        return f"{moment_words(row.updated, now)}, {count.strip()}"
    words = f"{moment_words(row.updated, now):<15}{' ' * GAP}{count:>14}"
    return words if width < WIDE else f"{words}{' ' * GAP}{safe_line(row.model, 28)}"


def _snippet(text: str, marks: Sequence[tuple[int, int]], room: int, screen: Screen) -> str:
    """The part of a snippet around its first match that fits,
    with the matches bold and underlined.
    """
    begin = max(0, (marks[0][0] if marks else 0) - room // 3) if text_width(text) > room else 0
    left = "\u2026" if begin and screen.unicode else ""
    shown = clip(text[begin:].replace("\t", " "), room - len(left) - 2)
    row, place = styled(left, screen.theme.dim), 0
    for start, end in ((max(start - begin, 0), end - begin) for start, end in marks):
        if place <= start < len(shown):
            row += styled(safe_line(shown[place:start]), screen.theme.dim)
            row += styled(safe_line(shown[start:end]), screen.theme.role("bold underline"))
            place = min(end, len(shown))
    return row + styled(safe_line(shown[place:]), screen.theme.dim)
