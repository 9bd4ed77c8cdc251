"""The queries for messages and their chunks, written once for both databases."""

from __future__ import annotations

from core.store.database import Database, Statement
from core.store.identity import made_at
from core.store.matching import newest_matches
from core.store.rows import Chunk, OpenReply, StoredMessage, Unfinished
from core.store.sql.numbers import MOST_MARKS, conflict
from core.store.text import from_database, to_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from core.messages import Message
    from core.store.database import Run
    from core.store.query import Query
    from core.store.rows import State

_MESSAGE = "id, role, state, active, created, model, finish, usage, parts, parent"
_ADD = ("INSERT INTO messages (id, session_id, position, role, state, created, owner, digest, "
        "model, finish, usage, parts, words, tools, parent, active) VALUES (?, ?, {position}, ?, "
        "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING")
_COPIED = "role, state, created, model, finish, usage, parts, words, tools"
# These texts identify a message that replaces others, and one that tool results may follow.
IN_OUTLINES = ('"compacted"', '"type":"tool_call"')
_AT_THE_END = "(SELECT coalesce(max(position), 0) + 1 FROM messages WHERE session_id = ?)"


class Messages:
    """The messages of sessions, and the frames of streaming ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def inserted(self, session_id: str, identity: int, message: Message, state: State,
                 owner: str | None = None,
                 position: str = _AT_THE_END, values: Sequence[object] | None = None, *,
                 parent: int | None = None,
                 created: float | None = None, active: bool = True,
                 then: Statement | None = None) -> Statement:
        """Insert a row. Inserting the same row again changes nothing; a different row with the same
        identity raises StoreConflict.
        """
        from core.store.words import message_words
        key, columns = self._database.key(identity), _columns(message)
        digest = _digest(session_id, message.role, *columns, to_database(message.text))

        def unchanged(run: Run) -> None:
            if not run("SELECT 1 FROM messages WHERE id = ? AND session_id = ? AND role = ? AND "
                       "coalesce(digest, ?) = ?",
                       (key, session_id, message.role, digest, digest)):
                raise conflict("message", f"{identity:x}")
        return Statement(_ADD.format(position=position),
                         (key, session_id, *((session_id,) if values is None else values),
                          message.role, state,
                          made_at(identity) if created is None else created, owner, digest,
                          *columns, *message_words(message),
                          None if parent is None else self._database.key(parent), int(active)),
                         unchanged, then)

    def counted(self, session_id: str) -> Statement:
        """Increment the count of shown messages."""
        return Statement("UPDATE sessions SET message_count = message_count + 1 WHERE id = ?",
                         (session_id,))

    def copied(self, session_id: str, pairs: Sequence[tuple[int, int]]) -> Statement:
        """Copy messages in order, with their states and times. `pairs` are (identity, identity of
        the copy).
        """
        from json import dumps
        key = self._database.key
        old, new = [key(old) for old, _ in pairs], [key(new) for _, new in pairs]
        rows = dumps(list(map("".join, zip(old, new, [key(0), *new]))))
        return Statement(
            f"INSERT INTO messages (id, session_id, position, active, parent, {_COPIED}) "
            f"SELECT new, ?, position, 1, before, {_COPIED} FROM {self._database.triples} AS "
            "copies JOIN messages ON messages.id = old WHERE true ON CONFLICT (id) DO NOTHING",
            (session_id, rows))

    def chunk(self, message_id: int, seq: int, chunk: Chunk) -> Statement:
        """Add a frame to a streaming message."""
        extra = None if chunk.extra is None else to_database(chunk.extra)
        key, text = self._database.key(message_id), to_database(chunk.text)
        return Statement(
            "INSERT INTO chunks (message_id, seq, kind, part, text, extra) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (message_id, seq) DO NOTHING",
            (key, seq, chunk.kind, chunk.part, text, extra))

    def finished(self, message_id: int, message: Message, state: State) -> list[Statement]:
        from core.store.words import message_words
        key = self._database.key(message_id)

        def unchanged(run: Run) -> None:
            raise self._database.session_gone()
        fold = ([] if state == "streaming"
                else [Statement("DELETE FROM chunks WHERE message_id = ?", (key,))])
        return [Statement("UPDATE messages SET state = ?, model = ?, finish = ?, usage = ?, parts "
                          "= ?, words = ?, tools = ? WHERE id = ?",
                          (state, *_columns(message), *message_words(message), key), unchanged),
                *fold]

    def shown(self, message_ids: Sequence[int], *, active: bool) -> list[Statement]:
        """Show messages in the conversation, or hide them."""
        return [Statement("UPDATE messages SET active = ? WHERE id = ?",
                          (int(active), self._database.key(identity)))
                for identity in message_ids]

    def placed(self, session_id: str, hidden: Sequence[int],
               added: Sequence[tuple[int, Message]]) -> list[Statement]:
        """Insert messages at the position of the last hidden one."""
        marks = ", ".join("?" * len(hidden))
        position = f"(SELECT coalesce(max(position), 1) FROM messages WHERE id IN ({marks}))"
        keys = [self._database.key(identity) for identity in hidden]
        before = [None, *(identity for identity, _ in added)]
        return [self.inserted(session_id, identity, message, "complete", None, position, keys,
                              parent=parent)
                for (identity, message), parent in zip(added, before)]

    def find(self, query: Query, limit: int) -> list[tuple[str, int]]:
        if query.empty:
            return []
        rows = self._database.read(*newest_matches(self._database, query, "session_id, messages.id",
                                                   limit))
        if len(rows) < limit and self._database.may_miss(query):
            rows = self._database.read(*newest_matches(self._database, query,
                                                       "session_id, messages.id", limit,
                                                       thorough=True))
        return [(row[0], self._database.identity(row[1])) for row in rows]

    def some(self, identities: Sequence[int]) -> list[StoredMessage]:
        """Return the messages with these identities, in any order."""
        found: list[StoredMessage] = []
        for start in range(0, len(identities), MOST_MARKS):
            keys = [self._database.key(identity)
                    for identity in identities[start:start + MOST_MARKS]]
            marks = ", ".join("?" * len(keys))
            found += map(self._stored,
                         self._database.read(f"SELECT {_MESSAGE} FROM messages WHERE id IN "
                                             f"({marks})", keys))
        return found

    def load(self, session_id: str, *, hidden: bool) -> list[StoredMessage]:
        rows = self._database.read(f"SELECT {_MESSAGE} FROM messages WHERE session_id = ? AND "
                                   "active >= ? ORDER BY position, id",
                                   (session_id, 0 if hidden else 1))
        return [self._stored(row) for row in rows]

    def ids(self, session_id: str, *, hidden: bool) -> list[int]:
        rows = self._database.read("SELECT id FROM messages WHERE session_id = ? AND active >= ? "
                                   "ORDER BY position, id", (session_id, 0 if hidden else 1))
        return [self._database.identity(row[0]) for row in rows]

    def newest(self, session_id: str, limit: int, before: int) -> list[StoredMessage]:
        earlier, values = self._earlier(before)
        end = f"LIMIT {int(limit)}" if limit else ""
        rows = self._database.read(f"SELECT {_MESSAGE} FROM messages WHERE session_id = ? AND "
                                   f"active = 1 {earlier} ORDER BY position DESC, id DESC {end}",
                                   (session_id, *values))
        return [self._stored(row) for row in reversed(rows)]

    def at(self, session_id: str, first: int, count: int) -> list[StoredMessage]:
        rows = self._database.read(
            f"SELECT {_MESSAGE} FROM messages JOIN (SELECT id AS place FROM messages WHERE "
            f"session_id = ? AND active = 1 ORDER BY position, id LIMIT {int(count)} "
            f"OFFSET {int(first)}) AS places ON id = place ORDER BY position, id", (session_id,))
        return [self._stored(row) for row in rows]

    def outline(self, session_id: str) -> list[StoredMessage]:
        from core.messages import Message
        from core.store.message_json import ROLES
        within = self._database.place_of
        rows = self._database.read(
            f"SELECT id, role, state, active, created, model, finish, NULL, CASE WHEN "
            f"{within}(parts, ?) > 0 OR active = 0 AND {within}(parts, ?) > 0 THEN parts "
            "END, parent FROM messages WHERE session_id = ? ORDER BY position, id",
            (*IN_OUTLINES, session_id))
        bare: dict[str, Message] = {role: Message(role, ()) for role in ROLES}
        return [self._stored(row) if row[8] is not None
                else self._bare(row, bare.get(row[1], bare["assistant"])) for row in rows]

    def has_hidden(self, session_id: str) -> bool:
        return bool(self._database.read("SELECT 1 FROM messages WHERE session_id = ? AND "
                                        "active = 0 LIMIT 1", (session_id,)))

    def count_earlier(self, session_id: str, before: int, texts: Sequence[str]) -> tuple[int, int]:
        earlier, values = self._earlier(before)
        holds = " OR ".join(f"{self._database.place_of}(parts, ?) > 0" for _ in texts)
        rows = self._database.read(
            f"SELECT count(*), coalesce(sum(CASE WHEN {holds or '1 = 0'} THEN 1 ELSE 0 END), 0) "
            "FROM messages "
            f"WHERE session_id = ? AND active = 1 {earlier}", (*texts, session_id, *values))
        return int(rows[0][0]), int(rows[0][1])

    def replies(self, session_id: str, before: int) -> list[Message]:
        """Return the model's shown messages before a message, without their parts."""
        from core.store.message_json import read_message
        earlier, values = self._earlier(before)
        rows = self._database.read(
            "SELECT model, finish, usage FROM messages WHERE session_id = ? AND active = 1 "
            f"AND role = 'assistant' {earlier} ORDER BY position, id",
            (session_id, *values),
        )
        return [
            read_message(
                "assistant",
                None if model is None else from_database(model),
                finish,
                None if usage is None else from_database(usage),
                "[]",
            )[0]
            for model, finish, usage in rows
        ]

    def _earlier(self, before: int) -> tuple[str, tuple[str, ...]]:
        """Return the condition for messages before `before` (0: for all). Its first half lets the
        database use an index.
        """
        if not before:
            return "", ()
        key = self._database.key(before)
        return ("AND position <= (SELECT position FROM messages WHERE id = ?) "
                "AND (position, id) < (SELECT position, id FROM messages WHERE id = ?)"), (key, key)

    def unfinished(self) -> list[Unfinished]:
        columns = ", ".join(f"messages.{column}" for column in _MESSAGE.split(", "))
        rows = self._database.read(
            f"SELECT {columns}, session_id, name, owner FROM messages JOIN sessions ON sessions.id "
            f"= session_id WHERE state = 'streaming' AND {self._database.writable} ORDER BY "
            "session_id, position")
        self._database.sweep()
        return [Unfinished(row[-3], row[-2], self._stored(row[:-3]), self._chunks(row[0]))
                for row in rows if self._database.is_gone(row[-1] or "")]

    def open_reply(self, session_id: str, known: int, seen: int) -> OpenReply | None:
        rows = self._database.read("SELECT id, model FROM messages WHERE session_id = ? AND state "
                                   "= 'streaming' AND role = 'assistant' ORDER BY position DESC, "
                                   "id DESC LIMIT 1", (session_id,))
        if not rows:
            return None
        identity, model = self._database.identity(rows[0][0]), rows[0][1]
        start = seen if identity == known else 0
        return OpenReply(identity, "" if model is None else from_database(model), start,
                         self._chunks(rows[0][0], start))

    def _stored(self, row: Any) -> StoredMessage:
        from core.store.message_json import read_message
        identity, role, state, active, created, model, finish, usage, parts, parent = row
        message, unreadable = read_message(role, None if model is None else from_database(model),
                                           finish,
                                           None if usage is None else from_database(usage),
                                           from_database(parts))
        return StoredMessage(self._database.identity(identity), message, state, bool(active),
                             created, unreadable,
                             None if parent is None else self._database.identity(parent))

    def _bare(self, row: Any, message: Message) -> StoredMessage:
        identity, parent = self._database.identity, row[9]
        return StoredMessage(identity(row[0]), message, row[2], bool(row[3]), row[4], "",
                             None if parent is None else identity(parent))

    def _chunks(self, key: object, first: int = 0) -> list[Chunk]:
        rows = self._database.read("SELECT kind, part, text, extra FROM chunks WHERE message_id = "
                                   "? AND seq >= ? ORDER BY seq",
                                   (key, first))
        return [Chunk(kind, part, from_database(text),
                      None if extra is None else from_database(extra))
                for kind, part, text, extra in rows]


def _columns(message: Message) -> tuple[str | None, ...]:
    """Return the columns model, finish, usage and parts."""
    from core.store.message_json import dump, part_to_dict, usage_to_dict
    usage = usage_to_dict(message.usage)
    return (None if message.model is None else to_database(message.model), message.finish,
            None if usage is None else to_database(dump(usage)),
            to_database(dump([part_to_dict(part) for part in message.parts])))


def _digest(*columns: str | None) -> int:
    """Return a checksum that shows whether an existing row equals the one being written."""
    from zlib import crc32
    return crc32("\0".join(column or "" for column in columns).encode())
