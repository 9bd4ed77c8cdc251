"""Where sessions are kept: one Store, in SQLite by default, in PostgreSQL by URL.

Listing sessions starts here, so nothing that costs time is imported at module level (measured: `typing` 6 ms,
`dataclasses` 10 ms, sqlite_utils 70 ms; sqlite3 is 4 ms).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import namedtuple

from core.errors import (SessionAmbiguous, SessionGone, SessionNotFound, StoreBusy, StoreDamaged, StoreError, StoreFull, StoreGone,
                         StoreTooNew, UsageError)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal, NamedTuple, Protocol

    from core.messages import Message

    State = Literal["streaming", "complete", "interrupted", "truncated", "failed"]
else:
    Protocol = object

SCHEMA_VERSION = 4        # the number of migrations in core/store/schema.py
MOST_MARKS = 500          # values in one query
BUSY_SECONDS = 1.0        # how long a write waits for another program before it counts as locked
_ESCAPE = "\x1a"          # stands before the four hexadecimal digits of a character that a database cannot hold
_SURROGATES = range(0xD800, 0xE000)


if TYPE_CHECKING:
    class SessionRow(NamedTuple):
        """A session as lists show it; times are seconds since 1970."""

        id: str
        title: str
        model: str
        created: float
        updated: float
        message_count: int

    class CallRow(NamedTuple):
        """The numbers of one model call; None where they are not known. `first` and `seconds` are the times to the first
        content and in all, `speed` is tokens per second, `cost` dollars, `error` an error's kind."""

        created: float
        session: str
        provider: str
        model: str
        host: str
        first: float | None
        seconds: float
        input_tokens: int | None
        output_tokens: int | None
        cached_tokens: int | None
        speed: float | None
        cost: float | None
        retries: int
        fallbacks: int
        finish: str | None
        error: str | None
else:
    # The same without `typing`. A tuple, because 10,000 of them are made for one list.
    SessionRow = namedtuple("SessionRow", "id title model created updated message_count")
    CallRow = namedtuple("CallRow", "created session provider model host first seconds input_tokens output_tokens cached_tokens "
                                    "speed cost retries fallbacks finish error")


class StoredMessage:
    """A message and what the store knows of it. Replaced replies stay, with `active` false."""

    __slots__ = ("id", "message", "state", "active", "created")

    def __init__(self, id: int, message: Message, state: State, active: bool, created: float) -> None:
        self.id, self.message, self.state, self.active, self.created = id, message, state, active, created


class Chunk:
    """One frame of a reply: `kind` is text or thinking, `extra` JSON."""

    __slots__ = ("kind", "part", "text", "extra")

    def __init__(self, kind: str, part: int, text: str, extra: str | None = None) -> None:
        self.kind, self.part, self.text, self.extra = kind, part, text, extra


class Unfinished:
    """A message that a program which is gone left half-written."""

    __slots__ = ("session_id", "stored", "chunks")

    def __init__(self, session_id: str, stored: StoredMessage, chunks: list[Chunk]) -> None:
        self.session_id, self.stored, self.chunks = session_id, stored, chunks


class Store(Protocol):
    """Keeps sessions. Synchronous; every write is one transaction and may be repeated without effect.

    Methods raise a StoreError when the database does not do its part. `durable` writes survive a power cut.
    """

    place: str     # for people
    url: str       # for open_store(): another connection to the same place; may hold a password

    def create_session(self, session_id: str, title: str, model: str, created: float,
                       first: tuple[int, Message] | None = None) -> None: ...

    def update_session(self, session_id: str, *, title: str | None = None, model: str | None = None) -> None: ...

    def add_message(self, session_id: str, message_id: int, message: Message, state: State) -> None:
        """Append a message; `message_id` comes from new_message_id()."""

    def append_chunk(self, message_id: int, seq: int, chunk: Chunk, *, durable: bool = False) -> None:
        """Add a frame to a message that is streaming. `seq` counts from 0."""

    def finish_message(self, message_id: int, message: Message, state: State) -> None:
        """Replace what a message holds; its chunks are folded away unless it is still streaming. Raises SessionGone when it
        is not there (any more)."""

    def hide_messages(self, session_id: str, message_ids: Sequence[int]) -> None:
        """Take messages out of the conversation and keep them stored."""

    def replace_messages(self, session_id: str, hidden: Sequence[int], added: Sequence[tuple[int, Message]]) -> None:
        """Hide messages and put others in the place of the last of them; `added` are (new_message_id(), message)."""

    def restore_messages(self, session_id: str, shown: Sequence[int], hidden: Sequence[int]) -> None:
        """The reverse: show hidden messages again, at their old places, and hide others."""

    def find_messages(self, words: str, limit: int) -> list[tuple[str, int]]:
        """(session ID, message ID) of the messages that hold all words, the newest first."""
        ...

    def load_messages(self, session_id: str, *, hidden: bool = False) -> list[StoredMessage]: ...

    def sessions(self, limit: int = 0, words: str = "") -> list[SessionRow]:
        """Newest first; with `words`, those whose title or messages hold them all. 0 means no limit."""
        ...

    def find_session(self, name: str) -> SessionRow:
        """The session with this ID, or the only one whose ID starts or ends so. Raises SessionNotFound."""
        ...

    def unfinished(self) -> list[Unfinished]:
        """Messages left streaming by programs that have ended."""
        ...

    def delete_session(self, session_id: str) -> None: ...

    def create_branch(self, parent: str, session_id: str, title: str, model: str, created: float,
                      messages: Sequence[tuple[int, Message]]) -> None:
        """A session that begins with these messages (new_message_id() and message) of its parent, in one transaction."""

    def add_calls(self, calls: Sequence[tuple[int, CallRow]]) -> None:
        """Keep the numbers of model calls; each has an ID from new_message_id()."""

    def calls(self, since: float = 0.0) -> list[CallRow]:
        """The numbers of the model calls since then, the oldest first."""
        ...

    def add_vectors(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
        """Keep embeddings by the hash of their text, in place of older ones; beyond `most` in all, the oldest go."""

    def vectors(self, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """The embeddings that are kept of these texts."""
        ...

    def close(self) -> None: ...


def open_store(url: str) -> Store:
    """Open `url`: a file, sqlite:///FILE or postgresql://... Creates and migrates what is missing. Raises StoreError."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return SqliteStore(url)
    if scheme == "sqlite":
        return SqliteStore(rest.removeprefix("/"))
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return PostgresStore(f"postgresql://{rest}")
    raise UsageError(f"Sessions cannot be kept in {scheme}://.", "Use a file name, sqlite:///FILE or postgresql://USER@HOST/NAME.")


def new_session_id(now: float) -> str:
    """Sortable by time and short enough to type: 20261121-0412-k3f9."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return time.strftime("%Y%m%d-%H%M-", time.localtime(now)) + "".join(letters[byte % 32] for byte in os.urandom(4))


def new_message_id() -> int:
    """63 bits: milliseconds since 2020, then chance. Known before the row is stored, so that storing can be repeated."""
    return (int(time.time() * 1000) - 1_577_836_800_000 << 22 | int.from_bytes(os.urandom(3), "big") >> 2) & (1 << 63) - 1


def to_database(text: str) -> str:
    """Write NUL and lone surrogates in a form that both databases hold; other text stays as it is."""
    if "\0" not in text and _ESCAPE not in text:
        if text.isascii():
            return text
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            pass
    return "".join(f"{_ESCAPE}{ord(c):04X}" if c in ("\0", _ESCAPE) or ord(c) in _SURROGATES else c for c in text)


def from_database(text: str) -> str:
    """The reverse of to_database()."""
    if _ESCAPE not in text:
        return text
    import re
    return re.sub(_ESCAPE + "([0-9A-F]{4})", lambda match: chr(int(match[1], 16)), text)


def try_lock(descriptor: int) -> bool:
    """Lock a whole file for this open file, until it is closed or the process ends; False when another holds it."""
    try:
        if os.name == "nt":
            import msvcrt
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # Windows only
        else:
            import fcntl
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class _SqlStore:
    """The queries, written once. `?` stands for a value; the databases differ in how they run and search."""

    place = url = ""
    words_match = ""
    messages_match = ""

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def _write(self, *statements: tuple[str, Sequence[Any]], durable: bool = True, changes: bool = False) -> None:
        """All statements or none. `changes`: the first one has to find its row. Raises StoreError."""
        raise NotImplementedError

    def _gone(self) -> SessionGone:
        return SessionGone(f"This session was deleted from {self.place} by another program.")

    def _owner(self) -> str:
        raise NotImplementedError

    def _is_gone(self, owner: str) -> bool:
        raise NotImplementedError

    def _search_words(self, words: list[str], more: str = "*") -> str:
        raise NotImplementedError

    def create_session(self, session_id: str, title: str, model: str, created: float,
                       first: tuple[int, Message] | None = None) -> None:
        """With its first message, if one is given, in one step: a program that is killed leaves both or neither."""
        self._write(("INSERT INTO sessions (id, title, model, created, updated) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                     (session_id, to_database(title), to_database(model), created, created)),
                    *(self._added(session_id, *first, "complete") if first else ()))

    def update_session(self, session_id: str, *, title: str | None = None, model: str | None = None) -> None:
        changes = {"title": title, "model": model}
        self._write(*((f"UPDATE sessions SET {column} = ? WHERE id = ?", (to_database(value), session_id))
                      for column, value in changes.items() if value is not None))

    def add_message(self, session_id: str, message_id: int, message: Message, state: State) -> None:
        self._write(*self._added(session_id, message_id, message, state))

    def _added(self, session_id: str, message_id: int, message: Message, state: State) -> list[tuple[str, Sequence[Any]]]:
        owner = self._owner() if state == "streaming" else None
        return [
            ("INSERT INTO messages (id, session_id, position, role, state, created, owner, model, finish, usage, parts, text) "
             "VALUES (?, ?, (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE session_id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?) "
             "ON CONFLICT (id) DO NOTHING",
             (message_id, session_id, session_id, message.role, state, time.time(), owner, *_columns(message))),
            *_touch(session_id)]

    def append_chunk(self, message_id: int, seq: int, chunk: Chunk, *, durable: bool = False) -> None:
        self._write(("INSERT INTO chunks (message_id, seq, kind, part, text, extra) VALUES (?, ?, ?, ?, ?, ?) "
                     "ON CONFLICT (message_id, seq) DO NOTHING",
                     (message_id, seq, chunk.kind, chunk.part, to_database(chunk.text),
                      None if chunk.extra is None else to_database(chunk.extra))), durable=durable)

    def finish_message(self, message_id: int, message: Message, state: State) -> None:
        fold = () if state == "streaming" else (("DELETE FROM chunks WHERE message_id = ?", (message_id,)),)
        self._write(("UPDATE messages SET state = ?, model = ?, finish = ?, usage = ?, parts = ?, text = ? WHERE id = ?",
                     (state, *_columns(message), message_id)), *fold,
                    ("UPDATE sessions SET updated = ? WHERE id = (SELECT session_id FROM messages WHERE id = ?)",
                     (time.time(), message_id)), changes=True)

    def hide_messages(self, session_id: str, message_ids: Sequence[int]) -> None:
        self._write(*(("UPDATE messages SET active = 0 WHERE id = ?", (identity,)) for identity in message_ids),
                    *_touch(session_id))

    def replace_messages(self, session_id: str, hidden: Sequence[int], added: Sequence[tuple[int, Message]]) -> None:
        marks = ", ".join("?" * len(hidden))
        self._write(
            *(("INSERT INTO messages (id, session_id, position, role, state, created, model, finish, usage, parts, text) "
               f"VALUES (?, ?, (SELECT coalesce(max(position), 1) FROM messages WHERE id IN ({marks})), ?, 'complete', "
               "?, ?, ?, ?, ?, ?) "
               "ON CONFLICT (id) DO NOTHING",
               (identity, session_id, *hidden, message.role, time.time(), *_columns(message))) for identity, message in added),
            *(("UPDATE messages SET active = 0 WHERE id = ?", (identity,)) for identity in hidden), *_touch(session_id))

    def restore_messages(self, session_id: str, shown: Sequence[int], hidden: Sequence[int]) -> None:
        self._write(*(("UPDATE messages SET active = 1 WHERE id = ?", (identity,)) for identity in shown),
                    *(("UPDATE messages SET active = 0 WHERE id = ?", (identity,)) for identity in hidden), *_touch(session_id))

    def find_messages(self, words: str, limit: int) -> list[tuple[str, int]]:
        wanted = words.split()
        if not wanted:
            return []
        # Beginnings of words are looked for only when whole words are not enough: for a common one that takes 100 times longer.
        found = self._read(self.messages_match, (self._search_words(wanted, ""), limit))
        if len(found) < limit:
            found = self._read(self.messages_match, (self._search_words(wanted), limit))
        return [(row[0], row[1]) for row in found]

    def load_messages(self, session_id: str, *, hidden: bool = False) -> list[StoredMessage]:
        rows = self._read(f"SELECT {_MESSAGE} FROM messages WHERE session_id = ? AND active >= ? ORDER BY position, id",
                          (session_id, 0 if hidden else 1))
        return [_stored_message(row) for row in rows]

    def sessions(self, limit: int = 0, words: str = "") -> list[SessionRow]:
        wanted = words.split()
        where = f"WHERE {self.words_match} OR lower(title) LIKE ? ESCAPE '!'" if wanted else ""
        values = (self._search_words(wanted), f"%{_like(to_database(words.strip().lower()))}%") if wanted else ()
        end = f"LIMIT {int(limit)}" if limit else ""
        return _sessions(self._read(f"SELECT {_SESSION} FROM sessions {where} ORDER BY updated DESC {end}", values))

    def find_session(self, name: str) -> SessionRow:
        wanted = to_database(name.strip().lower())
        pattern = _like(wanted)
        sql = f"SELECT {_SESSION} FROM sessions WHERE id LIKE ? ESCAPE '!' OR id LIKE ? ESCAPE '!' ORDER BY id DESC LIMIT 9"
        rows = self._read(f"SELECT {_SESSION} FROM sessions WHERE id = ?", (wanted,))
        if wanted and not rows:
            rows = self._read(sql, (pattern + "%", "%" + pattern))
        found = [row for row in rows if row[0] == wanted] or rows
        if len(found) == 1:
            return _sessions(found)[0]
        if not found:
            raise SessionNotFound(f"There is no session {name!r}.", "/sessions, or --list-sessions, shows those there are.")
        listed = ", ".join(f"{row[0]} ({_short(from_database(row[1]), 25)})" for row in found)
        raise SessionAmbiguous(f"{name!r} could be several sessions: {listed}" + (" ..." if len(found) == 9 else "."),
                               "Type more of the ID.")

    def unfinished(self) -> list[Unfinished]:
        rows = self._read(f"SELECT {_MESSAGE}, session_id, owner FROM messages WHERE state = 'streaming' "
                          "ORDER BY session_id, position")
        gone = [row for row in rows if self._is_gone(row[-1] or "")]
        return [Unfinished(row[-2], _stored_message(row[:-2]), self._chunks(row[0])) for row in gone]

    def _chunks(self, message_id: int) -> list[Chunk]:
        rows = self._read("SELECT kind, part, text, extra FROM chunks WHERE message_id = ? ORDER BY seq", (message_id,))
        return [Chunk(kind, part, from_database(text), None if extra is None else from_database(extra))
                for kind, part, text, extra in rows]

    def delete_session(self, session_id: str) -> None:
        self._write(("DELETE FROM sessions WHERE id = ?", (session_id,)))

    def create_branch(self, parent: str, session_id: str, title: str, model: str, created: float,
                      messages: Sequence[tuple[int, Message]]) -> None:
        self._write(
            ("INSERT INTO sessions (id, title, model, created, updated, message_count, parent) VALUES (?, ?, ?, ?, ?, ?, ?) "
             "ON CONFLICT (id) DO NOTHING",
             (session_id, to_database(title), to_database(model), created, created, len(messages), parent)),
            *(("INSERT INTO messages (id, session_id, position, role, state, created, model, finish, usage, parts, text) "
               "VALUES (?, ?, ?, ?, 'complete', ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
               (identity, session_id, position, message.role, created, *_columns(message)))
              for position, (identity, message) in enumerate(messages, 1)))

    def add_calls(self, calls: Sequence[tuple[int, CallRow]]) -> None:
        marks = ", ".join("?" * (len(CallRow._fields) + 1))
        self._write(*((f"INSERT INTO model_calls (id, {_CALL}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING",
                       (identity, *(to_database(value) if isinstance(value, str) else value for value in call)))
                      for identity, call in calls), durable=False)

    def calls(self, since: float = 0.0) -> list[CallRow]:
        rows = self._read(f"SELECT {_CALL} FROM model_calls WHERE created >= ? ORDER BY created, id", (since,))
        return [CallRow._make(from_database(value) if isinstance(value, str) else value for value in row) for row in rows]

    def add_vectors(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
        name = to_database(model)
        self._write(
            *(("INSERT INTO embeddings (id, model, hash, vector) VALUES (?, ?, ?, ?) "
               "ON CONFLICT (model, hash) DO UPDATE SET id = excluded.id, vector = excluded.vector",
               (new_message_id(), name, digest, vector)) for digest, vector in vectors.items()),
            ("DELETE FROM embeddings WHERE id <= (SELECT id FROM embeddings ORDER BY id DESC LIMIT 1 OFFSET ?)", (most,)),
            durable=False)

    def vectors(self, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(hashes), MOST_MARKS):
            some = hashes[start:start + MOST_MARKS]
            marks = ", ".join("?" * len(some))
            rows = self._read(f"SELECT hash, vector FROM embeddings WHERE model = ? AND hash IN ({marks})",
                              (to_database(model), *some))
            found.update((digest, bytes(vector)) for digest, vector in rows)
        return found


_SESSION = "id, title, model, created, updated, message_count"
_MESSAGE = "id, role, state, active, created, model, finish, usage, parts"
_CALL = ("created, session_id, provider, model, host, first_seconds, seconds, input_tokens, output_tokens, cached_tokens, speed, "
         "cost, retries, fallbacks, finish, error")


def _sessions(rows: list[Any]) -> list[SessionRow]:
    """Rows of the columns in _SESSION; only the few that need it are taken apart."""
    return [row if _ESCAPE not in row.title and _ESCAPE not in row.model
            else row._replace(title=from_database(row.title), model=from_database(row.model))
            for row in map(SessionRow._make, rows)]


def _stored_message(row: Any) -> StoredMessage:
    import json

    from core.store.message_json import message_from_dict
    identity, role, state, active, created, model, finish, usage, parts = row
    message = message_from_dict({"role": role, "model": None if model is None else from_database(model), "finish": finish,
                                 "usage": None if usage is None else json.loads(from_database(usage)),
                                 "parts": json.loads(from_database(parts))})
    return StoredMessage(identity, message, state, bool(active), created)


def _columns(message: Message) -> tuple[str | None, ...]:
    """model, finish, usage, parts, text"""
    from core.store.message_json import dump, part_to_dict, usage_to_dict
    usage = usage_to_dict(message.usage)
    return (None if message.model is None else to_database(message.model), message.finish,
            None if usage is None else to_database(dump(usage)),
            to_database(dump([part_to_dict(part) for part in message.parts])), to_database(message.text))


def _touch(session_id: str) -> tuple[tuple[str, Sequence[Any]], ...]:
    return (("UPDATE sessions SET updated = ?, message_count = "
             "(SELECT count(*) FROM messages WHERE session_id = ? AND active = 1) WHERE id = ?",
             (time.time(), session_id, session_id)),)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "\u2026"


def _identity(path: str) -> tuple[int, int] | None:
    """Which file stands there; None for none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


class SqliteStore(_SqlStore):
    """Sessions in one SQLite file, readable by its owner only."""

    words_match = ("id IN (SELECT session_id FROM messages WHERE id IN "
                   "(SELECT rowid FROM messages_fts WHERE messages_fts MATCH ?))")
    # By row number, which grows with time: SQLite stops at the limit instead of sorting all that it finds.
    messages_match = ("SELECT session_id, messages.id FROM messages_fts JOIN messages ON messages.id = messages_fts.rowid "
                      "WHERE messages_fts MATCH ? AND active = 1 ORDER BY messages_fts.rowid DESC LIMIT ?")

    def __init__(self, path: str) -> None:
        self.place = self.url = os.path.abspath(os.path.expanduser(path))
        self._synced = False
        self._identity: tuple[int, int] | None = None    # of the file that is open
        self._lock_file: tuple[str, int] | None = None
        self.unwritable = ""       # why it can only be read; each write tries again
        try:
            self._connection = self._connect()
        except StoreFull as error:
            readable = _connect_to_read(self.place)
            if readable is None:
                raise
            self._connection, self.unwritable = readable, error.message

    def _connect(self) -> sqlite3.Connection:
        try:
            _create_private(self.place)
            connection = sqlite3.connect(self.place, timeout=BUSY_SECONDS, isolation_level=None)
        except OSError as problem:
            raise StoreFull(f"The session database {self.place} cannot be opened: {problem.strerror}.", _WAY_OUT) from problem
        except sqlite3.Error as problem:
            raise _sqlite_error(problem, self.place) from problem
        try:
            self._prepare(connection)
        except sqlite3.Error as problem:
            connection.close()
            raise _sqlite_error(problem, self.place) from problem
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        run = connection.execute
        version = run("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreTooNew(f"The session database {self.place} was made by a newer version of this program.",
                              "Update the program, or name another file with --database-url.")
        if version < SCHEMA_VERSION:
            run("PRAGMA journal_mode = WAL")
            from core.store.schema import migrate_sqlite
            migrate_sqlite(connection, SCHEMA_VERSION)
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA foreign_keys = ON")
        self._synced = False
        self._identity = _identity(self.place)

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as problem:
            raise _sqlite_error(problem, self.place) from problem

    def _write(self, *statements: tuple[str, Sequence[Any]], durable: bool = True, changes: bool = False) -> None:
        if self.unwritable:
            readable, self._connection = self._connection, self._connect()
            readable.close()
            self.unwritable = ""
        if durable:
            self._check_still_there()
        run = self._connection.execute
        try:
            if durable is not self._synced:
                run("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
                self._synced = durable
            run("BEGIN IMMEDIATE")
            for number, (sql, values) in enumerate(statements):
                if run(sql, values).rowcount == 0 and changes and number == 0:
                    raise self._gone()
            run("COMMIT")
        except BaseException as problem:
            self._roll_back()
            if getattr(problem, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                raise self._gone() from problem
            if isinstance(problem, sqlite3.Error):
                raise _sqlite_error(problem, self.place) from problem
            raise

    def _check_still_there(self) -> None:
        """SQLite writes on into a file that was deleted, and nobody would ever see it. The next write starts a new one."""
        if self._identity is not None and self._identity != _identity(self.place):
            self._identity = None
            self.unwritable = "gone"
            raise StoreGone(f"The session database {self.place} was deleted or moved away.")

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass   # the first problem is the one to tell of; closing the connection rolls back too

    def session_lines(self, limit: int = 0) -> list[tuple[str]]:
        """What core/sessions/listing.py makes of sessions(limit), made by SQLite itself in half the time; not yet safe to show."""
        end = f"LIMIT {int(limit)}" if limit else ""
        return self._read(
            "SELECT printf('%-18s  %s  %4d  %-!*s  %s', id, substr(datetime(updated, 'unixepoch', 'localtime'), 1, 16), "
            "message_count, (SELECT min(max(length(model)), 28) FROM sessions), "
            "CASE WHEN length(model) > 28 THEN substr(model, 1, 27) || '\u2026' ELSE model END, "
            "CASE WHEN length(title) > 80 THEN substr(title, 1, 79) || '\u2026' ELSE title END) "
            f"FROM sessions ORDER BY updated DESC {end}")

    def _owner(self) -> str:
        """A name for this program's run, held as a file lock: the kernel lets go of it when the process dies, however it dies."""
        while self._lock_file is None:
            name = os.urandom(8).hex()
            path = f"{self.place}-live-{name}"
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            except OSError as problem:
                raise StoreFull(f"No file can be made beside {self.place}: {problem.strerror}.", _WAY_OUT) from problem
            if try_lock(descriptor) and os.path.exists(path):
                self._lock_file = name, descriptor
            else:
                os.close(descriptor)   # another program took it for a left one, between our two steps
        return self._lock_file[0]

    def unfinished(self) -> list[Unfinished]:
        found = super().unfinished()
        directory, base = os.path.split(self.place)
        for name in os.listdir(directory):
            if name.startswith(f"{base}-live-"):
                self._is_gone(name.removeprefix(f"{base}-live-"))
        return found

    def _is_gone(self, owner: str) -> bool:
        path = f"{self.place}-live-{owner}"
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            gone = try_lock(descriptor)
            if gone and os.name != "nt":   # Windows takes no open file away; there it stays, empty and without meaning
                os.unlink(path)
        except FileNotFoundError:
            pass   # another program was quicker
        finally:
            os.close(descriptor)
        return gone

    def _search_words(self, words: list[str], more: str = "*") -> str:
        return " ".join('"' + to_database(word).replace('"', '""') + '"' + more for word in words)

    def close(self) -> None:
        self._connection.close()
        if self._lock_file is not None:
            name, descriptor = self._lock_file
            self._lock_file = None
            os.close(descriptor)
            try:
                os.unlink(f"{self.place}-live-{name}")
            except OSError:
                pass   # without its lock the file means nothing, and the next start takes it away


_WAY_OUT = "Use --database-url FILE for another place, or --no-save to chat without saving."


def _create_private(path: str) -> None:
    """Make the file and its directory, for the owner's eyes only. SQLite gives its side files the same mode."""
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _connect_to_read(path: str) -> sqlite3.Connection | None:
    """The database where nothing can be written (a full disk, a read-only one); None when that does not work either.

    SQLite's side files cannot be made there. Without a log the file is taken as it is; a log that a killed program left
    is read in a copy elsewhere.
    """
    import shutil
    import tempfile
    from urllib.request import pathname2url
    copy = ""
    try:
        if os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):
            copy = tempfile.mkdtemp(prefix="stream-chat-")
            for end in ("", "-wal"):
                shutil.copyfile(f"{path}{end}", os.path.join(copy, f"sessions{end}"))
            connection = sqlite3.connect(os.path.join(copy, "sessions"), isolation_level=None)
        else:
            connection = sqlite3.connect(f"file:{pathname2url(path)}?immutable=1", uri=True, isolation_level=None)
        if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            connection.execute("SELECT count(*) FROM sessions").fetchone()
            return connection
        connection.close()
    except (OSError, sqlite3.Error):
        pass   # why it cannot be written is what the person is told
    finally:
        if copy:
            shutil.rmtree(copy, ignore_errors=True)   # the connection keeps the open files
    return None


def _sqlite_error(problem: sqlite3.Error, place: str) -> StoreError:
    code = (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"Another program holds the session database {place}.", "Wait for it or end it, then try again.")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"There is no room left for the session database {place}.", "Free some space on that disk.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return StoreFull(f"The session database {place} cannot be written: {problem}.", _WAY_OUT)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"{place} is damaged or is not a session database: {problem}.",
                            "Move it away to start a new one; sqlite3's .recover command may save what is in it.")
    return StoreError(f"The session database {place} failed: {problem}.", _WAY_OUT)


class PostgresStore(_SqlStore):
    """Sessions in a PostgreSQL database, for several machines or people."""

    words_match = ("id IN (SELECT session_id FROM messages WHERE to_tsvector('simple', left(text, 200000)) "
                   "@@ to_tsquery('simple', ?))")
    messages_match = ("SELECT session_id, id FROM messages WHERE to_tsvector('simple', left(text, 200000)) "
                      "@@ to_tsquery('simple', ?) AND active = 1 ORDER BY id DESC LIMIT ?")

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as problem:
            raise StoreError("Sessions in PostgreSQL need the package psycopg, which is not installed.",
                             "pip install 'psycopg[binary]'") from problem
        self._psycopg = psycopg
        self.url = url
        self.place = "postgresql://" + url.partition("://")[2].rpartition("@")[2].partition("?")[0]
        self._owner_key = 0
        self._connect()

    def _connect(self) -> None:
        try:
            self._connection = self._psycopg.connect(self.url, autocommit=True, connect_timeout=10)
            self._connection.execute(f"SET lock_timeout = '{int(BUSY_SECONDS * 1000)}ms'")
            self._migrate()
            if self._owner_key:
                self._connection.execute("SELECT pg_advisory_lock(%s)", (self._owner_key,))
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def _migrate(self) -> None:
        run = self._connection.execute
        if self._version() == SCHEMA_VERSION:
            return
        with self._connection.transaction():
            run("SELECT pg_advisory_xact_lock(7236591)")
            applied = self._version()
            if applied > SCHEMA_VERSION:
                raise StoreTooNew(f"The session database {self.place} was made by a newer version of this program.",
                                  "Update the program, or name another database with --database-url.")
            from core.store.schema import migrate_postgres
            migrate_postgres(lambda sql: run(sql.encode()), applied)
            run("INSERT INTO meta (key, value) VALUES ('schema_version', %s) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value", (str(SCHEMA_VERSION),))

    def _version(self) -> int:
        found = self._connection.execute("SELECT to_regclass('meta')").fetchone()
        if found is None or found[0] is None:
            return 0
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        return int(row[0]) if row else 0

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            self._reconnect()
            return self._connection.execute(sql.replace("?", "%s").encode(), values).fetchall()
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def _write(self, *statements: tuple[str, Sequence[Any]], durable: bool = True, changes: bool = False) -> None:
        try:
            self._reconnect()
            with self._connection.transaction():
                if not durable:
                    self._connection.execute("SET LOCAL synchronous_commit TO off")
                for number, (sql, values) in enumerate(statements):
                    if self._connection.execute(sql.replace("?", "%s").encode(), values).rowcount == 0 and changes and number == 0:
                        raise self._gone()
        except self._psycopg.errors.ForeignKeyViolation as problem:
            raise self._gone() from problem
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def _reconnect(self) -> None:
        if self._connection.closed:
            self._connect()

    def _owner(self) -> str:
        """A name for this program's run, held as an advisory lock that ends with the connection."""
        if not self._owner_key:
            key = int.from_bytes(os.urandom(7), "big") + 1
            self._read("SELECT pg_advisory_lock(?)", (key,))
            self._owner_key = key
        return str(self._owner_key)

    def _is_gone(self, owner: str) -> bool:
        key = int(owner or 0)
        if key == self._owner_key:
            return False
        gone = bool(self._read("SELECT pg_try_advisory_lock(?)", (key,))[0][0])
        if gone:
            self._read("SELECT pg_advisory_unlock(?)", (key,))
        return gone

    def _search_words(self, words: list[str], more: str = "*") -> str:
        quoted = (to_database(word).replace("\\", "\\\\").replace("'", "''") for word in words)
        return " & ".join(f"'{word}'" + (":*" if more else "") for word in quoted)

    def _error(self, problem: Exception) -> StoreError:
        state = getattr(problem, "sqlstate", None) or ""
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        if state in ("55P03", "40P01", "53300"):
            return StoreBusy(f"The session database {self.place} is busy: {reason}", "Try again in a moment.")
        if state in ("53100", "25006", "42501"):
            return StoreFull(f"The session database {self.place} cannot be written: {reason}", _WAY_OUT)
        if state.startswith("XX"):
            return StoreDamaged(f"The session database {self.place} is damaged: {reason}", _WAY_OUT)
        return StoreError(f"The session database {self.place} failed: {reason}", _WAY_OUT)

    def close(self) -> None:
        """Give the lock back first: the server notices a closed connection only a moment later."""
        if self._owner_key and not self._connection.closed:
            try:
                self._connection.execute("SELECT pg_advisory_unlock_all()")
            except self._psycopg.Error:
                pass   # the connection is gone, and the lock with it
        self._connection.close()
