"""Says at the end what is not saved, and offers to write what would be lost to a file."""

from __future__ import annotations

import os
import sys
import time

from core.config import Settings
from core.console.line_input import ask
from core.console.report import print_error
from core.console.screen import Screen
from core.errors import StoreFull, UsageError
from core.rendering.event_lines import notice_line
from core.safe_text import safe_line, safe_text
from core.session_manager import Session
from core.sessions.export import find_exporter, format_of
from core.sessions.output import refuse_existing, write_whole
from core.store.rows import SessionRow, StoredMessage


def warn_unsaved(session: Session, settings: Settings, *, again: bool) -> None:
    """Say what is not saved and, if a user can be asked, offer to write what would be lost.
    `again`: repeat also what is safe in a file.
    """
    words = session.last_words
    if not words or not session.lost and not again:
        return
    if sys.stderr.isatty():
        Screen(sys.stderr, settings).show(notice_line(words))
    else:
        print(safe_text(words), file=sys.stderr)
    if session.lost and sys.stdin is not None and sys.stdin.isatty():
        rescue(session, settings)


def rescue(session: Session, settings: Settings) -> None:
    """Write a conversation that could not be stored to a file that the user names; its ending
    decides the format.
    """
    now = time.time()
    row = SessionRow(session.id, session.name, session.title, session.model, now, now,
                     len(session.messages))
    stored = [StoredMessage(number, message, "complete", True, now)
              for number, message in enumerate(session.messages)]
    while True:
        try:
            path = os.path.expanduser(ask("Write it to which file? (Enter alone: to none) ")
                                      .strip())
        except (EOFError, KeyboardInterrupt):
            return
        if not path:
            return
        try:
            refuse_existing(path)
            write_whole(path, find_exporter(format_of(path))(row, stored), force=False)
        except (UsageError, StoreFull) as error:
            print_error(error, settings)
            continue
        print(f"The conversation is in {safe_line(path)}.", file=sys.stderr)
        return
