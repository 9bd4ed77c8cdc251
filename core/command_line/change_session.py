"""--undo, --fork, --rename and the like: changes to a saved session, without a chat."""

from __future__ import annotations

import sys
import time

from core.config import Settings
from core.console.questions import says_yes, somebody_types
from core.errors import UsageError
from core.safe_text import safe_line
from core.session_manager import Session, open_session
from core.sessions.listing import find_session, local_minutes
from core.sessions.sharing import share, shared_with
from core.sessions.shelves import changed_tags, find_in_trash
from core.setup.saved import open_saved, spool_places
from core.stats.report import read_since
from core.store.rows import SessionRow
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run(settings: Settings) -> int:
    """Make the change; return the exit code."""
    store = open_saved(settings)
    try:
        if settings.prune:
            return _prune(settings, store)
        name = settings.undelete or settings.session or "last"
        row = find_in_trash(store, name) if settings.undelete else find_session(store, name)
        for action, change in ROWS.items():
            if getattr(settings, action):
                print(safe_line(change(settings, store, row)), file=sys.stderr)
                return 0
        session = open_session(store, spool_places(settings), name=row.id)
        try:
            for action, act in CONVERSATIONS.items():
                if getattr(settings, action):
                    act(settings, session)
                    return 0
        finally:
            session.close()
    finally:
        store.close()
    raise AssertionError("called only with one of these options")


def _rename(settings: Settings, store: Store, row: SessionRow) -> str:
    title = safe_line(" ".join((settings.rename or "").split()), 200)
    store.update_session(row.id, title=title)
    return f"Session {row.short_name} is now called: {title}"


def _tag(settings: Settings, store: Store, row: SessionRow) -> str:
    tags = changed_tags(row.tags, settings.tag)
    store.update_session(row.id, tags=tags)
    return f"Tags of session {row.short_name}: {tags or 'none'}"


def _pin(settings: Settings, store: Store, row: SessionRow) -> str:
    store.update_session(row.id, pinned=settings.pin_session)
    pinned = "pinned" if settings.pin_session else "no longer pinned"
    return f"Session {row.short_name} is {pinned}."


def _archive(settings: Settings, store: Store, row: SessionRow) -> str:
    store.shelve_session(row.id, "archived")
    return f"Session {row.short_name} is archived."


def _open(settings: Settings, store: Store, row: SessionRow) -> str:
    store.shelve_session(row.id, "open")
    return f"Session {row.short_name} is in the lists again."


def _share(settings: Settings, store: Store, row: SessionRow) -> str:
    for name in settings.share:
        share(store, row, name)
    return shared_with(store, row)


def _unshare(settings: Settings, store: Store, row: SessionRow) -> str:
    for name in settings.unshare:
        store.unshare_session(row.id, name)
    return shared_with(store, row)


ROWS: dict[str, Callable[[Settings, Store, SessionRow], str]] = {
    "rename": _rename, "tag": _tag, "pin_session": _pin, "unpin_session": _pin, "archive": _archive,
    "unarchive": _open,
    "undelete": _open, "share": _share, "unshare": _unshare}


def _undo(settings: Settings, session: Session) -> None:
    session.undo()
    print(f"Undone in session {session.short_name}; redo it with --redo.", file=sys.stderr)


def _redo(settings: Settings, session: Session) -> None:
    session.redo()
    print(f"Redone in session {session.short_name}.", file=sys.stderr)


def _fork(settings: Settings, session: Session) -> None:
    """Fork the session. Prints the new session's identity on standard output, for scripts."""
    made = session.fork(session.exchange_end(settings.at))
    print(made.name)
    made.close()


def _branches(settings: Settings, session: Session) -> None:
    found = session.branches()
    if settings.json:
        import json
        rows = [{"branch": number, "shown": branch.shown, "messages": branch.length,
                 "shared": branch.shared,
                 "created": branch.last.created, "model": branch.last.message.model,
                 "ends_with": branch.last.message.text}
                for number, branch in enumerate(found, 1)]
        print(json.dumps(rows, indent=1))
        return
    times = local_minutes(branch.last.created for branch in found)
    for number, (branch, moment) in enumerate(zip(found, times), 1):
        text = safe_line(" ".join(branch.last.message.text.split()), 60)
        print(f"{'*' if branch.shown else ' '} {number:>3}  {moment}  {branch.length:>5}  {text}")


def _branch(settings: Settings, session: Session) -> None:
    found = session.branches()
    number = settings.branch or 0
    if not 1 <= number <= len(found):
        raise UsageError(f"Session {session.short_name} has no branch {number}.",
                         f"List its {len(found)} branches with --branches.")
    session.show(found[number - 1].end)
    print(f"Session {session.short_name} continues with branch {number} of {len(found)}.",
          file=sys.stderr)


CONVERSATIONS: dict[str, Callable[[Settings, Session], None]] = {
    "undo": _undo, "redo": _redo, "fork": _fork, "branches": _branches, "branch": _branch}


def _prune(settings: Settings, store: Store) -> int:
    """Move unused sessions to the trash, or delete them with --forever."""
    before = read_since(settings.prune or "", time.time())
    rows = store.unused_sessions(before)
    if not rows:
        print("No session is that old.", file=sys.stderr)
        return 0
    where = "delete them permanently" if settings.forever else "move them to the trash"
    if not settings.yes and not somebody_types():
        raise UsageError(f"{len(rows)} sessions were not used since then. Cannot ask "
                         f"whether to {where}.",
                         "Add --yes to do it without asking. Pinned sessions stay.")
    if not settings.yes and not says_yes(f"{len(rows)} sessions were not used since then: {where}? "
                                         "[y/N] "):
        print("Nothing was changed.", file=sys.stderr)
        return 1
    for row in rows:
        if settings.forever:
            store.delete_session(row.id)
        else:
            store.shelve_session(row.id, "trash")
    print(f"{len(rows)} sessions are "
          f"{'deleted' if settings.forever else 'in the trash for 30 days'}.", file=sys.stderr)
    return 0
