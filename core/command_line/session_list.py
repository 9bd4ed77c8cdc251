"""--list-sessions: the saved sessions, a line each, or one array with --json."""

from __future__ import annotations

import sys

from core.config import Settings
from core.sessions.listing import session_lines, session_objects
from core.setup.saved import open_saved


NOTHING = {"open": "There are no saved sessions yet.", "archived": "No session is archived.",
           "trash": "The trash is empty."}


def run(settings: Settings) -> int:
    """Returns the exit code."""
    store = open_saved(settings)
    try:
        if settings.json:
            import json    # 8 ms that the plain list does not need
            print(json.dumps(session_objects(store, settings.limit, settings.prompt,
                                             settings.shelf), indent=1))
            return 0
        lines = session_lines(store, settings.limit, settings.prompt, settings.shelf)
    finally:
        store.close()
    if not lines:
        print("No saved session holds these words." if settings.prompt else NOTHING[settings.shelf],
              file=sys.stderr)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
