"""Lists saved sessions without loading what a chat needs, so that 10,000 sessions list instantly.
"""

from __future__ import annotations

import time

from core.errors import SessionNotFound, UsageError
from core.safe_text import safe_line
from core.store.identity import short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from core.store.rows import SessionRow, Shelf
    from db import Store

DAY = 86_400
LATEST = 253_402_000_000    # seconds since 1970, in the year 9999; larger values are not times


class Column:
    """A column of the list. `cells` returns the stored text of all rows at once; `most` is the
    greatest width shown, in columns.
    """

    __slots__ = ("heading", "cells", "most", "right", "optional")

    def __init__(self, heading: str, cells: Callable[[Sequence[SessionRow]], list[str]],
                 most: int = 0, *, right: bool = False,
                 optional: bool = False) -> None:
        self.heading, self.cells, self.most, self.right, self.optional = (heading, cells, most,
                                                                          right, optional)

    def shown(self, rows: Sequence[SessionRow]) -> list[str]:
        """Return the cells, safe to show on one line and at most `most` wide."""
        cells, most = self.cells(rows), self.most
        # check all cells at once: most lists need no escaping
        if not "".join(cells).isprintable():
            cells = [cell if cell.isprintable() else safe_line(cell) for cell in cells]
        return ([cell if len(cell) <= most else safe_line(cell, most) for cell in cells] if most
                else cells)


# The columns of every list of sessions, in order: --list-sessions, /sessions and the pickers.
COLUMNS = (
    Column("session", lambda rows: [row.name for row in rows], 40),
    Column("last used", lambda rows: local_minutes(row.updated for row in rows)),
    Column("messages", lambda rows: [str(row.message_count) for row in rows], right=True,
           optional=True),
    Column("model", lambda rows: [row.model for row in rows], 28, optional=True),
    Column("title",
           lambda rows: [row.title if not row.pinned and not row.tags and not row.member
                         else marked(row)
                         for row in rows], 80),
)


def marked(row: SessionRow) -> str:
    """Return a session's title with marks for pinned, tags and the member who shared it."""
    tags = ("".join(f" #{tag}" for tag in row.tags.split())
            + (f" (from {safe_line(row.member, 30)})" if row.member else ""))
    title = safe_line(row.title, 76 - len(tags)) if len(tags) < 60 else row.title
    return f"{'* ' if row.pinned else ''}{title}{tags}"


def list_sessions(store: Store, limit: int = 0, words: str = "") -> list[SessionRow]:
    """List sessions, last used first; with `words`, those whose title or messages contain all of
    them. A `limit` of 0 means none.
    """
    return store.sessions(limit, words)


def format_session_lines(rows: Sequence[SessionRow]) -> Iterator[str]:
    """Yield one line per session, safe to show."""
    made = []
    for column in COLUMNS:
        cells = column.shown(rows)
        if column is not COLUMNS[-1]:
            width = max(map(len, cells), default=0)
            pad = f"%{'' if column.right else '-'}{width}s"
            cells = (cells if min(map(len, cells), default=0) == width
                     else [pad % cell for cell in cells])
        made.append(cells)
    return map("  ".join, zip(*made))


def session_lines(store: Store, limit: int = 0, words: str = "",
                  shelf: Shelf = "open") -> list[str]:
    """Return the lines of format_session_lines() for list_sessions()."""
    return list(format_session_lines(store.sessions(limit, words, shelf=shelf)))


def local_minutes(times: Iterable[float]) -> list[str]:
    """Format times like 2026-11-29 16:05, in local time.

    The time zone's offset is computed once per day of the list, which keeps 10,000 times fast.
    """
    offsets: dict[int, int | None] = {}
    dates: dict[int, str] = {}
    minutes: dict[int, str] = {}
    made = []
    for moment in times:
        if not 0 <= moment <= LATEST:
            made.append("?")
            continue
        second = int(moment // 1)
        day = second // DAY
        if day not in offsets:
            first, last = (time.localtime(edge).tm_gmtoff
                           for edge in (day * DAY, day * DAY + DAY - 1))
            offsets[day] = first if first == last else None  # None: the offset changes on that day
        offset = offsets[day]
        if offset is None:
            made.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(second)))
            continue
        date, rest = divmod(second + offset, DAY)
        if date not in dates:
            dates[date] = time.strftime("%Y-%m-%d ", time.gmtime(date * DAY))
        minute = rest // 60
        if minute not in minutes:
            minutes[minute] = f"{minute // 60:02}:{minute % 60:02}"
        made.append(dates[date] + minutes[minute])
    return made


def moment_words(moment: float, now: float) -> str:
    """Format a time like "today 14:17", "yesterday 09:02", "21 Nov 17:40" or "21 Nov 2025", in
    local time.
    """
    then, today = time.localtime(moment), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("today %H:%M", then)
    if then[:3] == time.localtime(now - DAY)[:3]:
        return time.strftime("yesterday %H:%M", then)
    form = "%d %b %H:%M" if then.tm_year == today.tm_year else "%d %b %Y"
    return time.strftime(form, then).lstrip("0")


def spoken_session(row: SessionRow, now: float) -> str:
    """Return a session as a screen reader should say it: what it is about comes first."""
    count = "1 message" if row.message_count == 1 else f"{row.message_count:,} messages"
    return ", ".join((safe_line(marked(row)), moment_words(row.updated, now), count,
                      safe_line(short_name(row.name), 40)))


def session_objects(store: Store, limit: int = 0, words: str = "",
                    shelf: Shelf = "open") -> list[dict[str, object]]:
    """Return list_sessions() as JSON objects; times are seconds since 1970."""
    return [{"id": row.id, "name": row.name, "title": row.title, "model": row.model,
             "created": row.created,
             "updated": row.updated, "messages": row.message_count, "parent": row.parent,
             "pinned": bool(row.pinned), "tags": row.tags.split(), "shelf": row.shelf,
             **({"owner": row.member} if row.member else {})}
            for row in store.sessions(limit, words, shelf=shelf)]


def find_session(store: Store, name: str) -> SessionRow:
    """Find a session by its name or ID or a unique part of one; `last` is the last used session.

    Raises SessionNotFound.
    """
    newest = store.last_session() if is_newest(name) else None
    return newest or store.find_session(name)


def is_newest(name: str) -> bool:
    return name.strip().lower() == "last"


def select_session(store: Store, ask: Callable[[str], str], write: Callable[[str], None],
                   page: int = 20, words: str = "") -> SessionRow:
    """Let the user choose with a number, a name, or words to search for; `words` are searched for
    first.

    Raises UsageError when nothing is chosen.
    """
    rows = words and store.sessions(page, words) or store.sessions(page)
    if not rows:
        raise SessionNotFound("There are no saved sessions.",
                              "Start a chat; it is saved by default.")
    while True:
        for number, row in enumerate(rows, 1):
            write(f"{number:>3}  {spoken_session(row, time.time())}")
        try:
            answer = ask("Number, ID or words to search for (empty to cancel): ").strip()
        except EOFError:
            answer = ""
        if not answer:
            raise UsageError("No session was chosen.", "--session ID opens one directly.")
        chosen = _chosen(store, rows, answer)
        if chosen is not None:
            return chosen
        found = store.sessions(page, answer)
        if not found:
            write(f"No session contains {safe_line(answer, 60)!r}.")
        rows = found or rows


def _chosen(store: Store, rows: Sequence[SessionRow], answer: str) -> SessionRow | None:
    if answer.isdecimal() and 1 <= int(answer) <= len(rows):
        return rows[int(answer) - 1]
    try:
        return store.find_session(answer)
    except SessionNotFound:
        return None
