"""--delete-session: moves a session to the trash, or deletes it permanently."""

from __future__ import annotations

import sys

from core.config import Settings
from core.console.questions import says_yes, somebody_types
from core.errors import UsageError
from core.safe_text import safe_line
from core.sessions.listing import find_session
from core.sessions.shelves import delete_session
from core.setup.saved import open_saved


def run(settings: Settings) -> int:
    """Delete after asking; without a terminal only with --yes. Return the exit code."""
    name = settings.delete_session
    assert name is not None    # called only with --delete-session
    store = open_saved(settings)
    try:
        row = find_session(store, name)
        if not settings.yes and not somebody_types():
            raise UsageError("Cannot ask: standard input is not a terminal.",
                             "Add --yes to delete without asking.")
        how = " permanently" if settings.forever else ""
        told = (f"Delete session {row.short_name} ({safe_line(row.title, 60)}; "
                f"{row.message_count} messages){how}? [y/N] ")
        if not settings.yes and not says_yes(told):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        said = delete_session(store, row, forever=settings.forever)
    finally:
        store.close()
    print(said.replace("/undelete", "--undelete"), file=sys.stderr)
    return 0
