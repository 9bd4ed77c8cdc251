"""--list-sessions: a table in a terminal, one line per session in a pipe, or one array with --json.
"""

from __future__ import annotations

import sys

from core.config import Settings
from core.sessions.listing import format_session_lines, session_objects
from core.setup.saved import open_saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.store.rows import SessionRow

NOTHING = {"open": "There are no saved sessions yet.", "archived": "No session is archived.",
           "trash": "The trash is empty."}
MOST = 200       # default limit of the table; no screen shows more


def run(settings: Settings) -> int:
    """Print the list; return the exit code."""
    fits_screen = not settings.json and "limit" not in settings.flags and sys.stdout.isatty()
    store = open_saved(settings)
    try:
        if settings.json:
            import json    # takes 8 ms, which the plain list does not need
            print(json.dumps(session_objects(store, settings.limit, settings.prompt,
                                             settings.shelf), indent=1))
            return 0
        rows = store.sessions(MOST if fits_screen else settings.limit, settings.prompt,
                              shelf=settings.shelf)
    finally:
        store.close()
    if not rows:
        print("No session contains these words." if settings.prompt else NOTHING[settings.shelf],
              file=sys.stderr)
    elif sys.stdout.isatty():
        _show_table(settings, rows, fits_screen=fits_screen)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in format_session_lines(rows)))
    return 0


def _show_table(settings: Settings, rows: Sequence[SessionRow], *, fits_screen: bool) -> None:
    """Show all rows, or the newest that fit on one screen."""
    from core.command_line.session_screen import listed_on   # not needed for a pipe
    from core.console.screen import Screen
    from core.console.tables import show_table
    screen = Screen(sys.stdout, settings)
    show_table(screen, listed_on(screen, rows, settings.shelf, fits_screen=fits_screen))
