"""--list-sessions: the saved sessions, a line each, or one array with --json."""

from __future__ import annotations

import os
import sys

from core.config import Settings
from core.sessions.listing import session_lines, session_objects
from core.setup.saved import open_saved


NOTHING = {"open": "There are no saved sessions yet.", "archived": "No session is archived.",
           "trash": "The trash is empty."}
BELOW = 2        # rows of a screen that are left for the note and the shell's prompt
LEAST = 5        # sessions that are shown on the smallest screen


def run(settings: Settings) -> int:
    """Returns the exit code."""
    rows, columns = _screen(settings)
    store = open_saved(settings)
    try:
        if settings.json:
            import json    # 8 ms that the plain list does not need
            print(json.dumps(session_objects(store, settings.limit, settings.prompt,
                                             settings.shelf), indent=1))
            return 0
        lines = session_lines(store, rows + 1 if rows else settings.limit, settings.prompt,
                              settings.shelf)
    finally:
        store.close()
    if not lines:
        print("No saved session holds these words." if settings.prompt else NOTHING[settings.shelf],
              file=sys.stderr)
    shown = _screenful(lines, rows, columns) if rows else lines
    sys.stdout.write("".join(f"{line}\n" for line in shown))
    if len(shown) < len(lines):
        sys.stdout.flush()
        print(f"These are the {len(shown)} used last. `--limit 200` shows more, `--limit 0` all, "
              "words after `--list-sessions` those with these words.", file=sys.stderr)
    return 0


def _screen(settings: Settings) -> tuple[int, int]:
    """The rows for the list and the columns of the terminal; no rows where all is listed."""
    if settings.json or "limit" in settings.flags or not sys.stdout.isatty():
        return 0, 0
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return 0, 0
    return (max(rows - BELOW, LEAST), max(columns, 1)) if rows else (0, 0)


def _screenful(lines: list[str], rows: int, columns: int) -> list[str]:
    """The first lines that fit; a long one takes several rows."""
    place = 0
    while place < len(lines) and rows > 0:
        rows -= -(-len(lines[place]) // columns)
        place += 1
    return lines[:max(place - (rows < 0), LEAST)]
