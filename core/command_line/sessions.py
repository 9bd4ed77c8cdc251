"""What the command line does with saved sessions: list, count, export, delete."""

from __future__ import annotations

import os
import sys

from core.config import Settings
from core.errors import StoreError, UsageError
from core.safe_text import safe_text
from core.setup.store import open_saved

ENDINGS = {".json": "json", ".csv": "csv", ".sql": "sql", ".md": "markdown", ".markdown": "markdown", ".txt": "text"}


def act_on_sessions(settings: Settings) -> int:
    """Do the one thing that was asked for."""
    if settings.list_sessions:
        return show_sessions(settings)
    if settings.stats:
        return show_stats(settings)
    return export(settings) if settings.export_session else delete(settings)


def show_sessions(settings: Settings) -> int:
    """The list, a line each; with --json, as one array."""
    from core.sessions.listing import session_lines, session_objects
    store = open_saved(settings)
    try:
        if settings.json:
            import json
            print(json.dumps(session_objects(store, settings.limit, settings.prompt), indent=1))
            return 0
        lines = session_lines(store, settings.limit, settings.prompt)
    finally:
        store.close()
    if not lines:
        print("No saved session holds these words." if settings.prompt else "There are no saved sessions yet.", file=sys.stderr)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def show_stats(settings: Settings) -> int:
    """The numbers of the model calls so far; with --json, as one object."""
    import time

    from core.stats.report import read_since, summarise
    now = time.time()
    since = read_since(settings.since or "", now)
    store = open_saved(settings)
    try:
        entries = summarise(store.calls(since))
    finally:
        store.close()
    if settings.json:
        import json
        print(json.dumps({"since": since or None, "models": [entry.to_dict() for entry in entries]}, ensure_ascii=False, indent=1))
        return 0
    from core.command_line.providers import show
    from core.commands.stats import stats_table
    table = stats_table(entries, since, now)
    if isinstance(table, str):
        print(table, file=sys.stderr)
    else:
        show(settings, table)
    return 0


def export(settings: Settings) -> int:
    from core.safe_text import safe_line
    from core.session_manager import recover
    from core.sessions.export import export_session
    store = open_saved(settings)
    try:
        try:
            recover(store)
        except StoreError:
            pass   # what is whole can be read all the same
        export_session(store, settings.export_session, export_format(settings), settings.output, raw_csv=settings.csv_raw,
                       write=_write_safely if sys.stdout.isatty() else None)
    finally:
        store.close()
    if settings.output:
        print(f"Exported to {safe_line(settings.output)}", file=sys.stderr)
    return 0


def export_format(settings: Settings) -> str:
    """What --format says, else what the ending of the file says."""
    ending = os.path.splitext(settings.output or "")[1].lower()
    return str(settings.format if "format" in settings.flags else ENDINGS.get(ending, settings.format))


def delete(settings: Settings) -> int:
    """Delete a session for ever, after a question where somebody can be asked, else only with --yes."""
    from core.safe_text import safe_line
    from core.sessions.listing import find_session
    store = open_saved(settings)
    try:
        row = find_session(store, settings.delete_session)
        if not settings.yes and not (sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError("Nobody can be asked whether to delete it: standard input is not a terminal.",
                             "--yes deletes it unasked.")
        told = f"Delete session {row.id} ({safe_line(row.title, 60)}; {row.message_count} messages) for ever? [y/N] "
        if not settings.yes and not _says_yes(told):
            print("Nothing is changed.", file=sys.stderr)
            return 1
        store.delete_session(row.id)
    finally:
        store.close()
    print(f"Session {row.id} is deleted.", file=sys.stderr)
    return 0


def _says_yes(question: str) -> bool:
    from core.terminal.line_input import ask
    try:
        return ask(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _write_safely(text: str) -> None:
    """A terminal is shown an export as it is shown everything else; a file and a pipe get it as it is."""
    sys.stdout.write(safe_text(text))
