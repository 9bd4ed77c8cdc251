"""--import: adds the sessions of a file."""

from __future__ import annotations

import sys

from core.config import Settings
from core.safe_text import safe_line
from core.sessions.importing import import_file
from core.setup.saved import open_saved

MOST_NOTES = 20


def run(settings: Settings) -> int:
    """Import the file and report the result; return the exit code."""
    path = settings.import_file
    assert path is not None    # called only with --import
    store = open_saved(settings)
    try:
        report = import_file(store, path, settings.from_)
    finally:
        store.close()
    known = f", {report.known:,} were already imported" if report.known else ""
    print(f"{safe_line(path)} ({report.kind}): {report.added:,} sessions with {report.messages:,} "
          f"messages added{known}.",
          file=sys.stderr)
    if report.asking:
        print(f"{report.asking:,} of them have files, tools or options; you are asked before "
              "these are used.", file=sys.stderr)
    for note in report.notes[:MOST_NOTES]:
        print(safe_line(note), file=sys.stderr)
    if len(report.notes) > MOST_NOTES:
        print(f"... and {len(report.notes) - MOST_NOTES} more.", file=sys.stderr)
    return 0
