"""Lists of saved sessions, without loading what a chat needs:
listing 10,000 of them has to feel like nothing.
"""

from __future__ import annotations

import time

from core.errors import SessionNotFound, UsageError
from core.safe_text import safe_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from core.store.rows import SessionRow, Shelf
    from db import Store

DAY = 86_400
LATEST = 253_402_000_000    # seconds since 1970, in the year 9999: what is later is not a time


class Column:
    """A column of the list: `cells` makes the text of all rows at once, as it is stored;
    `most` is the widest that is shown.
    """

    __slots__ = ("heading", "cells", "most", "right", "optional")

    def __init__(self, heading: str, cells: Callable[[Sequence[SessionRow]], list[str]],
                 most: int = 0, *, right: bool = False,
                 optional: bool = False) -> None:
        self.heading, self.cells, self.most, self.right, self.optional = (heading, cells, most,
                                                                          right, optional)

    def shown(self, rows: Sequence[SessionRow]) -> list[str]:
        """The cells, safe on a line and not wider than `most`."""
        cells, most = self.cells(rows), self.most
        # one look at all: most lists hold nothing that has to be made safe
        if not "".join(cells).isprintable():
            cells = [cell if cell.isprintable() else safe_line(cell) for cell in cells]
        return ([cell if len(cell) <= most else safe_line(cell, most) for cell in cells] if most
                else cells)


# What a list of sessions shows, in this order; --list-sessions, /sessions and the choosers
# all read it from here.
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
    """The title of a session that is pinned, has tags, or is shared by somebody else."""
    tags = ("".join(f" #{tag}" for tag in row.tags.split())
            + (f" (from {safe_line(row.member, 30)})" if row.member else ""))
    title = safe_line(row.title, 76 - len(tags)) if len(tags) < 60 else row.title
    return f"{'* ' if row.pinned else ''}{title}{tags}"


def list_sessions(store: Store, limit: int = 0, words: str = "") -> list[SessionRow]:
    """The last used first; with `words`, those whose title or messages hold them all.

    0 means no limit.
    """
    return store.sessions(limit, words)


def format_session_lines(rows: Sequence[SessionRow]) -> Iterator[str]:
    """One line a session. Safe to show."""
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
    """The lines of format_session_lines() for list_sessions()."""
    return list(format_session_lines(store.sessions(limit, words, shelf=shelf)))


def local_minutes(times: Iterable[float]) -> list[str]:
    """Local times as 2026-11-29 16:05.

    The zone's offset is asked once a day, which makes 10,000 of them quick.
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
            offsets[day] = first if first == last else None  # None: the clocks change on that day
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
    """As in "today 14:17", "yesterday 09:02", "21 Nov 17:40" and "21 Nov 2025", in local time."""
    then, today = time.localtime(moment), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("today %H:%M", then)
    if then[:3] == time.localtime(now - DAY)[:3]:
        return time.strftime("yesterday %H:%M", then)
    form = "%d %b %H:%M" if then.tm_year == today.tm_year else "%d %b %Y"
    return time.strftime(form, then).lstrip("0")


def session_objects(store: Store, limit: int = 0, words: str = "",
                    shelf: Shelf = "open") -> list[dict[str, object]]:
    """list_sessions() for programs; times are seconds since 1970."""
    return [{"id": row.id, "name": row.name, "title": row.title, "model": row.model,
             "created": row.created,
             "updated": row.updated, "messages": row.message_count, "parent": row.parent,
             "pinned": bool(row.pinned), "tags": row.tags.split(), "shelf": row.shelf,
             **({"owner": row.member} if row.member else {})}
            for row in store.sessions(limit, words, shelf=shelf)]


def find_session(store: Store, name: str) -> SessionRow:
    """The session of this name or ID, or of a part of it that only one has;
    `last` is the one used last.

    Raises SessionNotFound.
    """
    newest = store.last_session() if is_newest(name) else None
    return newest or store.find_session(name)


def is_newest(name: str) -> bool:
    return name.strip().lower() == "last"


def select_session(store: Store, ask: Callable[[str], str], write: Callable[[str], None],
                   page: int = 20) -> SessionRow:
    """Let the user choose with a number, a name, or words to search for.

    Raises UsageError when nothing is chosen.
    """
    rows = store.sessions(page)
    if not rows:
        raise SessionNotFound("There are no saved sessions.",
                              "Start a chat; it is saved by default.")
    while True:
        for number, line in enumerate(format_session_lines(rows), 1):
            write(f"{number:>3}  {line}")
        try:
            answer = ask("Number, ID or words to look for (nothing to leave): ").strip()
        except EOFError:
            answer = ""
        if not answer:
            raise UsageError("No session was chosen.", "--session ID opens one directly.")
        chosen = _chosen(store, rows, answer)
        if chosen is not None:
            return chosen
        found = store.sessions(page, answer)
        if not found:
            write(f"Nothing holds {safe_line(answer, 60)!r}.")
        rows = found or rows


def _chosen(store: Store, rows: Sequence[SessionRow], answer: str) -> SessionRow | None:
    if answer.isdecimal() and 1 <= int(answer) <= len(rows):
        return rows[int(answer) - 1]
    try:
        return store.find_session(answer)
    except SessionNotFound:
        return None
