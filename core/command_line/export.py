"""--export-session: writes out a session in one of the export formats."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from core.config import Settings
from core.errors import StoreError
from core.safe_text import safe_line, safe_text
from core.session_manager import recover
from core.sessions.export import export_session
from core.setup.store import open_saved

ENDINGS = {".json": "json", ".csv": "csv", ".sql": "sql", ".md": "markdown", ".markdown": "markdown", ".txt": "text"}


def run(settings: Settings) -> int:
    """Returns the exit code."""
    name = settings.export_session
    assert name is not None    # the table of doors leads here only with it
    store = open_saved(settings)
    try:
        with suppress(StoreError):    # what is saved completely can be read all the same
            recover(store)
        export_session(store, name, export_format(settings), settings.output, raw_csv=settings.csv_raw,
                       write=_write_safely if sys.stdout.isatty() else None)
    finally:
        store.close()
    if settings.output:
        print(f"Exported to {safe_line(settings.output)}", file=sys.stderr)
    return 0


def export_format(settings: Settings) -> str:
    """What --format says, else what the ending of the file says."""
    ending = os.path.splitext(settings.output or "")[1].lower()
    return settings.format if "format" in settings.flags else ENDINGS.get(ending, settings.format)


def _write_safely(text: str) -> None:
    """A terminal is shown an export as it is shown everything else; a file and a pipe get it as it is."""
    sys.stdout.write(safe_text(text))
