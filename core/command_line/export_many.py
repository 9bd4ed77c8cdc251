"""--export-all and --export-found: exports several sessions."""

from __future__ import annotations

import sys
from contextlib import suppress

from core.config import Settings
from core.errors import StoreError
from core.safe_text import safe_line, safe_text
from core.session_manager import recover
from core.sessions.export import STANDARD_OUTPUT, export_many, format_of
from core.sessions.search import found_sessions
from core.setup.saved import open_saved
from core.store.rows import SessionRow
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import Shelf

SHELVES: tuple[Shelf, ...] = ("open", "archived")    # the trash is not exported


def run(settings: Settings) -> int:
    """Export the sessions; return the exit code, 1 if there are none."""
    store = open_saved(settings)
    try:
        with suppress(StoreError):
            recover(store)
        rows = _chosen(settings, store)
        if not rows:
            print("There are no sessions to export.", file=sys.stderr)
            return 1
        count = export_many(store, rows, _format(settings), settings.output, force=settings.force,
                            write=_write_safely if sys.stdout.isatty() else None)
    finally:
        store.close()
    if settings.output and settings.output not in STANDARD_OUTPUT:
        sessions = "1 session" if count == 1 else f"{count:,} sessions"
        print(f"Exported {sessions} to {safe_line(settings.output)}", file=sys.stderr)
    return 0


def _chosen(settings: Settings, store: Store) -> list[SessionRow]:
    if settings.export_found is not None:
        return found_sessions(store, settings.export_found)
    rows = [row for shelf in SHELVES for row in store.sessions(shelf=shelf)]
    return sorted(rows, key=lambda row: (row.created, row.id))


def _format(settings: Settings) -> str:
    if "format" in settings.flags:
        return settings.format
    output = settings.output or ""
    return "jsonl" if not output or output.endswith("/") else format_of(output.rstrip("/"), "jsonl")


def _write_safely(text: str) -> None:
    sys.stdout.write(safe_text(text))
