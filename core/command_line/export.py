"""--export-session: exports a session in one of the formats."""

from __future__ import annotations

import sys
from contextlib import suppress

from core.config import Settings
from core.errors import StoreError
from core.safe_text import safe_line, safe_text
from core.session_manager import recover
from core.sessions.export import BYTE_ORDER_MARK, STANDARD_OUTPUT, export_session, format_of
from core.setup.saved import open_saved


def run(settings: Settings) -> int:
    """Export the session; return the exit code."""
    name = settings.export_session
    assert name is not None    # called only with --export-session
    store = open_saved(settings)
    try:
        with suppress(StoreError):    # export what is saved even if recovery fails
            recover(store)
        export_session(store, name, export_format(settings), settings.output,
                       raw_csv=settings.csv_raw,
                       write=_write_safely if sys.stdout.isatty() else None, force=settings.force)
    finally:
        store.close()
    if settings.output and settings.output not in STANDARD_OUTPUT:
        print(f"Exported to {safe_line(settings.output)}", file=sys.stderr)
    return 0


def export_format(settings: Settings) -> str:
    """Return the format from --format, or else from the file's ending."""
    if settings.output is None or "format" in settings.flags:
        return settings.format
    return format_of(settings.output, settings.format)


def _write_safely(text: str) -> None:
    """Write an export; make it safe for a terminal, and leave it unchanged for a file or pipe."""
    if text != BYTE_ORDER_MARK:
        sys.stdout.write(safe_text(text))
