"""Lists of saved sessions, without loading what a chat needs: listing 10,000 of them has to feel like nothing."""

from __future__ import annotations

import time

from core.errors import SessionNotFound, UsageError
from core.safe_text import safe_line
from db import from_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from db import SessionRow, Store


def list_sessions(store: Store, limit: int = 0, words: str = "") -> list[SessionRow]:
    """Newest first; with `words`, those whose title or messages hold them all. 0 means no limit."""
    return store.sessions(limit, words)


def format_session_lines(rows: Sequence[SessionRow]) -> Iterator[str]:
    """One line a session: ID, when it was last used, messages, model, title. Safe to show."""
    width = min(max((len(row.model) for row in rows), default=0), 28)
    show, local = time.strftime, time.localtime
    for identity, title, model, _, updated, count in rows:
        # What is printable throughout is safe on one line; asking that here saves 10,000 calls.
        if not (len(title) <= 80 and len(model) <= 28 and title.isprintable() and model.isprintable() and identity.isprintable()):
            identity, title, model = safe_line(identity), safe_line(title, 80), safe_line(model, 28)
        yield f"{identity:<18}  {show('%Y-%m-%d %H:%M', local(updated))}  {count:>4}  {model:<{width}}  {title}"


def session_objects(store: Store, limit: int = 0, words: str = "") -> list[dict[str, object]]:
    """list_sessions() for programs; times are seconds since 1970."""
    return [{"id": row.id, "title": row.title, "model": row.model, "created": row.created, "updated": row.updated,
             "messages": row.message_count} for row in list_sessions(store, limit, words)]


def find_session(store: Store, name: str) -> SessionRow:
    """The session of this ID, or of a part of it that only one has; `last` is the newest. Raises SessionNotFound."""
    newest = store.sessions(1) if is_newest(name) else []
    return newest[0] if newest else store.find_session(name)


def is_newest(name: str) -> bool:
    return name.strip().lower() == "last"


def session_lines(store: Store, limit: int = 0, words: str = "") -> list[str]:
    """The lines of format_session_lines() for list_sessions(); faster where the store can make them."""
    made = getattr(store, "session_lines", None)
    if made is None or words.strip():
        return list(format_session_lines(store.sessions(limit, words)))
    return [line if line.isprintable() else safe_line(from_database(line)) for (line,) in made(limit)]


def select_session(store: Store, ask: Callable[[str], str], write: Callable[[str], None], page: int = 20) -> SessionRow:
    """Let the person choose with a number, an ID, or words to look for. Raises UsageError when nothing is chosen."""
    rows = store.sessions(page)
    if not rows:
        raise SessionNotFound("There are no saved sessions.", "Start a chat; it is saved by default.")
    while True:
        for number, line in enumerate(format_session_lines(rows), 1):
            write(f"{number:>3}  {line}")
        try:
            answer = ask("Number, ID or words to look for (nothing to leave): ").strip()
        except EOFError:
            answer = ""
        if not answer:
            raise UsageError("No session was chosen.", "--session ID opens one directly.")
        chosen = _chosen(store, rows, answer)
        if chosen is not None:
            return chosen
        found = store.sessions(page, answer)
        if not found:
            write(f"Nothing holds {safe_line(answer, 60)!r}.")
        rows = found or rows


def _chosen(store: Store, rows: Sequence[SessionRow], answer: str) -> SessionRow | None:
    if answer.isdecimal() and 1 <= int(answer) <= len(rows):
        return rows[int(answer) - 1]
    try:
        return store.find_session(answer)
    except SessionNotFound:
        return None
