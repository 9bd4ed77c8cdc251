"""Formats the table of sessions for a terminal: all, or the newest that fit on a screen."""

from __future__ import annotations

from collections.abc import Sequence

from core.sessions.tables import listed_sessions
from core.console.screen import Screen
from core.rendering.listing import table_lines
from core.rendering.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import SessionRow, Shelf

BELOW = 5        # screen rows for the note below the table and the shell's prompt
LEAST = 5        # sessions shown on the smallest screen


def listed_on(screen: Screen, rows: Sequence[SessionRow], shelf: Shelf, *,
              fits_screen: bool) -> Table:
    """Return the table; with `fits_screen`, of as many sessions as fit on the screen."""
    if not fits_screen or screen.plain:
        return listed_sessions(rows, shelf)
    room = screen.height() - BELOW
    count = min(len(rows), max(room, LEAST))
    while True:
        table = listed_sessions(rows[:count], shelf, more=count < len(rows))
        if count <= LEAST or _height(screen, table) <= room:
            return table
        count -= 1


def _height(screen: Screen, table: Table) -> int:
    return sum(1 for _ in table_lines(table.columns, table.rows, screen.width() - 1,
                                      optional=table.optional))
