"""A Store over any database that runs our queries; each method is one transaction."""

from __future__ import annotations

import time

from core.errors import StoreBusy, UsageError
from core.store.database import Database, Statement
from core.store.sql.messages import Messages
from core.store.sql.numbers import Calls, Vectors
from core.store.sql.sessions import Sessions, read_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from core.messages import Message
    from core.store.database import Run
    from core.store.query import Query
    from core.store.rows import (CallRow, Chunk, OpenReply, SessionRow, Shelf, State, StoredMessage,
                                 Unfinished)
    from core.store.sharing import Share

_NOT_SHARED = UsageError("Only sessions in PostgreSQL can be shared.",
                         "--help teams describes a database for a team; --db-move copies the "
                         "sessions into it.")


class SqlStore:
    """Implements db.Store, which describes the methods."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions, self._messages = Sessions(database), Messages(database)
        self._calls, self._vectors = Calls(database), Vectors(database)

    @property
    def place(self) -> str:
        return self._database.place

    @property
    def url(self) -> str:
        return self._database.url

    def ready(self, *, durable: bool = True) -> AbstractAsyncContextManager[None]:
        return self._database.ready(durable=durable)

    def hurried(self) -> AbstractContextManager[None]:
        return self._database.hurried()

    def overlapping(self, *, soon: bool = False) -> AbstractContextManager[None]:
        return self._database.overlapping(soon=soon)

    async def settled(self) -> None:
        await self._database.settled()

    def settle(self) -> None:
        self._database.settle()

    @property
    def database(self) -> Database:
        """The database, for maintenance (core/store/care.py)."""
        return self._database

    def close(self) -> None:
        self._database.close()

    # ---- sessions

    def create_session(self, session_id: str, title: str, model: str, created: float,
                       first: tuple[int, Message] | None = None, *, name: str = "") -> None:
        statements = [self._sessions.inserted(session_id, name or session_id, title, model, created,
                                              None)]
        if first is not None:
            statements += [self._messages.inserted(session_id, *first, "complete", parent=0,
                                                   then=self._messages.counted(session_id)),
                           self._sessions.touched(session_id)]
        self._database.write(statements)

    def create_branch(self, parent: str, session_id: str, title: str, model: str, created: float,
                      messages: Sequence[tuple[int, Message]], *, name: str = "") -> None:
        self._database.write([
            self._sessions.inserted(session_id, name or session_id, title, model, created, parent,
                                    len(messages)),
            *(self._messages.inserted(session_id, identity, message, "complete", None, "?",
                                      (position,), parent=before)
              for position, ((identity, message), before)
              in enumerate(zip(messages, (0, *(entry[0] for entry in messages))), 1))])

    def copy_session(self, source: str, session_id: str, title: str, model: str, created: float,
                     pairs: Sequence[tuple[int, int]], *, name: str = "") -> None:
        self._database.write([
            self._sessions.inserted(session_id, name or session_id, title, model, created, source),
            self._messages.copied(session_id, pairs), self._sessions.recounted(session_id)])

    def import_session(self, row: SessionRow, settings: str,
                       messages: Sequence[StoredMessage]) -> None:
        self._database.write([
            self._sessions.inserted(row.id, row.name, row.title, row.model, row.created,
                                    row.parent),
            *(self._messages.inserted(row.id, entry.id, entry.message, entry.state, None, "?",
                                      (position,), parent=entry.parent,
                                      created=entry.created, active=entry.active)
              for position, entry in enumerate(messages, 1)),
            *self._sessions.described(row, settings), self._sessions.recounted(row.id)])

    def update_session(self, session_id: str, *, title: str | None = None, model: str | None = None,
                       settings: str | None = None, pinned: bool | None = None,
                       tags: str | None = None) -> None:
        self._sessions.update(session_id,
                              {"title": title, "model": model, "settings": settings, "tags": tags,
                               "pinned": None if pinned is None else int(pinned)})

    def shelve_session(self, session_id: str, shelf: Shelf) -> None:
        self._sessions.update(session_id,
                              {"shelf": shelf, "trashed": time.time() if shelf == "trash"
                               else None})

    def last_session(self) -> SessionRow | None:
        return self._sessions.last()

    def unused_sessions(self, before: float) -> list[SessionRow]:
        return self._sessions.unused(before)

    def empty_trash(self, before: float) -> int:
        old = self._sessions.old_trash(before)
        if old:
            self._sessions.delete(old)
        return len(old)

    def session_settings(self, session_id: str) -> str:
        return self._sessions.settings(session_id)

    def sessions(self, limit: int = 0, words: str = "", *,
                 shelf: Shelf = "open") -> list[SessionRow]:
        return self._sessions.rows(limit, words, shelf)

    def count_sessions(self, shelf: Shelf) -> int:
        return self._sessions.count(shelf)

    def share_session(self, session_id: str, reader: str, *, write: bool) -> None:
        raise _NOT_SHARED

    def unshare_session(self, session_id: str, reader: str) -> None:
        raise _NOT_SHARED

    def shares(self, session_id: str) -> list[Share]:
        return []

    def find_session(self, name: str) -> SessionRow:
        return self._sessions.find(name)

    def delete_session(self, session_id: str) -> None:
        self._sessions.delete([session_id])

    def begin_turn(self, session_id: str) -> bool:
        owner = self._database.owner()
        rows = self._database.read("SELECT turn FROM sessions WHERE id = ? AND shelf <> 'trash'",
                                   (session_id,))
        if not rows:
            raise self._database.session_gone()
        before = rows[0][0] or ""
        if before == owner:
            return True
        if before and not self._database.is_gone(before):
            return False

        def unchanged(run: Run) -> None:
            if run("SELECT 1 FROM sessions WHERE id = ? AND coalesce(turn, '') = ?",
                   (session_id, before)):
                raise read_only()
            raise StoreBusy("Another program began a turn in this session at the same moment.")
        try:
            self._database.write(
                [Statement("UPDATE sessions SET turn = ? WHERE id = ? AND coalesce(turn, '') = ?",
                           (owner, session_id, before), unchanged)], durable=False)
        except StoreBusy:
            return False
        return True

    def end_turn(self, session_id: str) -> None:
        self._database.write([Statement("UPDATE sessions SET turn = NULL WHERE id = ? AND turn = ?",
                                        (session_id, self._database.owner()))], durable=False)

    # ---- messages

    def add_message(self, session_id: str, message_id: int, message: Message, state: State, *,
                    parent: int | None = None, first: Chunk | None = None) -> None:
        owner = self._database.owner() if state == "streaming" else None
        counted = self._messages.counted(session_id)
        added = self._messages.inserted(session_id, message_id, message, state, owner,
                                        parent=parent, then=counted)
        frame = [] if first is None else [self._messages.chunk(message_id, 0, first)]
        self._database.write([added, self._sessions.touched(session_id), *frame])

    def append_chunk(self, message_id: int, seq: int, chunk: Chunk, *,
                     durable: bool = False) -> None:
        self._database.write([self._messages.chunk(message_id, seq, chunk)], durable=durable)

    def finish_message(self, message_id: int, message: Message, state: State) -> None:
        self._database.write([*self._messages.finished(message_id, message, state),
                              self._sessions.used_by(self._database.key(message_id))])

    def hide_messages(self, session_id: str, message_ids: Sequence[int]) -> None:
        self._database.write([*self._messages.shown(message_ids, active=False),
                              self._sessions.touched(session_id),
                              self._sessions.recounted(session_id)])

    def replace_messages(self, session_id: str, hidden: Sequence[int],
                         added: Sequence[tuple[int, Message]]) -> None:
        self._database.write([*self._messages.placed(session_id, hidden, added),
                              *self._messages.shown(hidden, active=False),
                              self._sessions.touched(session_id),
                              self._sessions.recounted(session_id)])

    def restore_messages(self, session_id: str, shown: Sequence[int],
                         hidden: Sequence[int]) -> None:
        self._database.write([*self._messages.shown(shown, active=True),
                              *self._messages.shown(hidden, active=False),
                              self._sessions.touched(session_id),
                              self._sessions.recounted(session_id)])

    def find_messages(self, query: Query, limit: int) -> list[tuple[str, int]]:
        return self._messages.find(query, limit)

    def find_titles(self, query: Query, limit: int) -> list[SessionRow]:
        return self._sessions.titled(query, limit)

    def some_messages(self, message_ids: Sequence[int]) -> list[StoredMessage]:
        return self._messages.some(message_ids)

    def some_sessions(self, session_ids: Sequence[str]) -> list[SessionRow]:
        return self._sessions.of(session_ids)

    def load_messages(self, session_id: str, *, hidden: bool = False) -> list[StoredMessage]:
        return self._messages.load(session_id, hidden=hidden)

    def message_ids(self, session_id: str, *, hidden: bool = False) -> list[int]:
        return self._messages.ids(session_id, hidden=hidden)

    def newest_messages(self, session_id: str, limit: int, before: int = 0) -> list[StoredMessage]:
        return self._messages.newest(session_id, limit, before)

    def messages_at(self, session_id: str, first: int, count: int) -> list[StoredMessage]:
        return self._messages.at(session_id, first, count)

    def outline(self, session_id: str) -> list[StoredMessage]:
        return self._messages.outline(session_id)

    def has_hidden(self, session_id: str) -> bool:
        return self._messages.has_hidden(session_id)

    def count_earlier(self, session_id: str, before: int, texts: Sequence[str]) -> tuple[int, int]:
        return self._messages.count_earlier(session_id, before, texts)

    def replies(self, session_id: str, before: int) -> list[Message]:
        return self._messages.replies(session_id, before)

    def open_reply(self, session_id: str, known: int = 0, seen: int = 0) -> OpenReply | None:
        return self._messages.open_reply(session_id, known, seen)

    def pulse(self) -> int:
        return self._database.pulse()

    def unfinished(self) -> list[Unfinished]:
        return self._messages.unfinished()

    # ---- statistics and embeddings

    def add_calls(self, calls: Sequence[tuple[int, CallRow]]) -> None:
        self._calls.add(calls)

    def calls(self, since: float = 0.0) -> list[CallRow]:
        return self._calls.since(since)

    def add_vectors(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
        self._vectors.add(model, vectors, most)

    def vectors(self, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
        return self._vectors.find(model, hashes)
