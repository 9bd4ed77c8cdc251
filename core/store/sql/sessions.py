"""The queries for sessions, written once for both databases."""

from __future__ import annotations

import time

from core.errors import SessionAmbiguous, SessionNotFound, StoreForbidden
from core.store.database import Database, Statement
from core.store.matching import newest_matches, of_session, of_title
from core.store.rows import SessionRow
from core.store.sql.numbers import conflict
from core.store.text import ESCAPE, from_database, like_pattern, to_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from core.store.database import Run
    from core.store.query import Query

OF_EACH = 50              # messages per session that a search for a short list reads, on average
MOST_AMBIGUOUS = 9        # sessions that are listed when a name is ambiguous
LATEST = 10_000_000_000   # seconds since 1970 that no time of a session is after
LEAST_IDENTITY = 6        # shortest part of an identity that is searched for
_SESSION = ", ".join(SessionRow._fields)    # of a query that has computed `member` already
_WITHOUT_MEMBER = ", ".join(SessionRow._fields[:-1])


def _imported_use(updated: float) -> int:
    """A negative number that grows with the time in milliseconds."""
    return round(min(max(0.0, updated), LATEST) * 1000) - LATEST * 1000 - 1


class Sessions:
    """Creates, changes, lists, finds and deletes sessions, and records which program runs a turn.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._columns = f"{_WITHOUT_MEMBER}, {database.member} AS member"

    def inserted(self, session_id: str, name: str, title: str, model: str, created: float,
                 parent: str | None,
                 count: int = 0) -> Statement:
        """Insert a row unless the session was deleted. Repeating it changes nothing."""
        def unchanged(run: Run) -> None:
            if run("SELECT 1 FROM deleted_sessions WHERE id = ?", (session_id,)):
                raise self._database.session_gone()
            if not run("SELECT 1 FROM sessions WHERE id = ? AND created = ? AND name = ?",
                       (session_id, created, name)):
                raise conflict("session", session_id)
        return Statement(
            "INSERT INTO sessions (id, name, title, words, model, created, updated, message_count, "
            f"parent, used) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, {self._database.next_use} "
            "WHERE NOT EXISTS (SELECT 1 FROM deleted_sessions WHERE id = ?) ON CONFLICT (id) DO "
            "NOTHING",
            (session_id, name, to_database(title), _title_words(title), to_database(model), created,
             created, count, parent,
             session_id), unchanged)

    def touched(self, session_id: str) -> Statement:
        """Mark a session as the last used. The order is a sequence, since a clock may go back."""
        return Statement(f"UPDATE sessions SET updated = ?, used = {self._database.next_use} WHERE "
                         "id = ?",
                         (time.time(), session_id))

    def recounted(self, session_id: str) -> Statement:
        return Statement("UPDATE sessions SET message_count = (SELECT count(*) FROM messages WHERE "
                         "session_id = ? AND active = 1) WHERE id = ?", (session_id, session_id))

    def used_by(self, message_key: object) -> Statement:
        """Mark the session of a changed message as the last used."""
        return Statement(
            f"UPDATE sessions SET updated = ?, used = {self._database.next_use} "
            "WHERE id = (SELECT session_id FROM messages WHERE id = ?)", (time.time(), message_key))

    def update(self, session_id: str, changes: Mapping[str, str | int | float | None]) -> None:
        title = changes.get("title")
        changes = {**changes, "words": _title_words(title) if isinstance(title, str) else None}

        def unchanged(run: Run) -> None:
            if run("SELECT 1 FROM sessions WHERE id = ?", (session_id,)):
                raise read_only()
        self._database.write([
            Statement(f"UPDATE sessions SET {column} = ? WHERE id = ?",
                      (to_database(value) if isinstance(value, str) else value, session_id),
                      unchanged)
            for column, value in changes.items() if value is not None])

    def described(self, row: SessionRow, settings: str) -> list[Statement]:
        """Restore the properties of an imported session, unless it was used here since. It is
        ordered before all sessions that were used here, and among imported ones by its time.
        """
        return [Statement(
            "UPDATE sessions SET updated = ?, used = ?, settings = ?, pinned = ?, shelf = ?, "
            "tags = ? WHERE id = ? AND updated = created",
            (row.updated, _imported_use(row.updated), to_database(settings), row.pinned, row.shelf,
             to_database(row.tags), row.id))]

    def settings(self, session_id: str) -> str:
        """Return the settings of a session; empty if none were saved."""
        rows = self._database.read("SELECT settings FROM sessions WHERE id = ?", (session_id,))
        text = from_database(rows[0][0] or "") if rows else ""
        return "" if text == "{}" else text

    def rows(self, limit: int, words: str, shelf: str) -> list[SessionRow]:
        """List the sessions on a shelf. With `words`, the newest matches: for common words not
        every message is searched.
        """
        if not words.strip():
            return self._listed("shelf = ?", [shelf], limit)
        from core.store.query import parse_query
        query = parse_query(words, complete_last=True)
        some, found = self._matching(query, limit * OF_EACH, trash=shelf == "trash")
        if query.empty:
            return self._listed(f"shelf = ? AND {some}", [shelf, *found], limit)
        # keep the database from the list's index, which it would read to the end; the few matches
        # are sorted instead
        return _sessions(self._database.read(
            f"SELECT {self._columns} FROM sessions WHERE shelf || '' = ? AND {some} "
            f"ORDER BY pinned + 0 DESC, used DESC {_limited(limit)}", [shelf, *found]))

    def _listed(self, condition: str, values: list[Any], limit: int) -> list[SessionRow]:
        """Return the first sessions of a list, each of its parts read from an index."""
        end, parts = f"ORDER BY pinned DESC, used DESC {_limited(limit)}", self._database.listed
        if len(parts) == 1:
            return _sessions(self._database.read(
                f"SELECT {self._columns} FROM sessions WHERE {condition} {end}", values))
        some = (f"(SELECT {_WITHOUT_MEMBER}, {member} AS member, used FROM sessions "
                f"WHERE {condition} AND {part} {end})" for part, member in parts)
        return _sessions(self._database.read(
            f"SELECT {_SESSION} FROM ({' UNION ALL '.join(some)}) AS listed {end}",
            values * len(parts)))

    def count(self, shelf: str) -> int:
        parts = self._database.listed
        some = " + ".join(f"(SELECT count(*) FROM sessions WHERE shelf = ? AND {part})"
                          for part, _ in parts)
        return int(self._database.read(f"SELECT {some}", [shelf] * len(parts))[0][0])

    def _matching(self, query: Query, most: int, *, trash: bool) -> tuple[str, list[Any]]:
        """Return the condition for a session that has these words in its title or in one of the
        newest `most` matching messages.
        """
        conditions, values = of_session(query)
        if not query.empty:
            title, words = of_title(self._database, query, most, trash=trash)
            titled = f"SELECT id FROM sessions WHERE {title}"
            if query.place == "title":
                conditions, values = [*conditions, f"id IN ({titled})"], [*values, *words]
            else:
                sql, found = newest_matches(self._database, query, "session_id", most,
                                            trash=trash)
                conditions.append(f"id IN ({titled} UNION SELECT session_id FROM ({sql}) AS "
                                  "newest)")
                values = [*values, *words, *found]
        return " AND ".join(conditions) or "1 = 1", values

    def titled(self, query: Query, limit: int) -> list[SessionRow]:
        """Return the sessions with these words in their titles, the last used first."""
        title, words = of_title(self._database, query, limit)
        conditions, values = of_session(query)
        return _sessions(self._database.read(
            f"SELECT {self._columns} FROM sessions WHERE "
            f"{' AND '.join(['shelf <> ?', title, *conditions])} ORDER BY used + 0 DESC LIMIT "
            f"{int(limit)}", ("trash", *words, *values)))

    def of(self, session_ids: Sequence[str]) -> list[SessionRow]:
        if not session_ids:
            return []
        marks = ", ".join("?" * len(session_ids))
        return _sessions(self._database.read(f"SELECT {self._columns} FROM sessions WHERE id IN "
                                             f"({marks})", session_ids))

    def last(self) -> SessionRow | None:
        """Return the last used open session. Pinned and other sessions are two ranges of the index.
        """
        some = (f"SELECT * FROM (SELECT {self._columns}, used FROM sessions WHERE shelf = 'open' "
                f"AND pinned = {pinned} AND {self._database.mine} ORDER BY used DESC LIMIT 1) AS "
                f"p{pinned}" for pinned in (0, 1))
        found = self._database.read(f"SELECT {_SESSION} FROM ({' UNION ALL '.join(some)}) AS "
                                    "newest ORDER BY used DESC LIMIT 1")
        return _sessions(found)[0] if found else None

    def old_trash(self, before: float) -> list[str]:
        """Return the identities of sessions put into the trash before `before`."""
        return [row[0] for row in self._database.read(
            "SELECT id FROM sessions WHERE shelf = 'trash' AND trashed < ? AND "
            f"{self._database.mine}", (before,))]

    def unused(self, before: float) -> list[SessionRow]:
        """Return the sessions that are not pinned and were last used before `before`, oldest first.
        """
        return _sessions(self._database.read(f"SELECT {self._columns} FROM sessions WHERE shelf <> "
                                             "'trash' AND pinned = 0 AND updated < ? AND "
                                             f"{self._database.mine} ORDER BY used", (before,)))

    def find(self, name: str) -> SessionRow:
        """Find a session by identity, by name, or by a part of either.

        Raises SessionNotFound and SessionAmbiguous.
        """
        wanted = to_database(name.strip().lower())
        found = self._where("id = ?", wanted) or self._where("name = ?", wanted)
        if wanted and not found:
            pattern = like_pattern(wanted)
            ends = (pattern + "%", "%" + pattern)
            columns = ("name", "id") if len(wanted) >= LEAST_IDENTITY else ("name",)
            where = " OR ".join(f"{column} LIKE ? ESCAPE '!' OR {column} LIKE ? ESCAPE '!'"
                                for column in columns)
            found = self._where(where, *ends * len(columns))
        if len(found) == 1:
            return found[0]
        if not found:
            raise SessionNotFound(f"There is no session {name!r}.",
                                  "List the sessions with /sessions or --list-sessions.")
        raise _ambiguous(name, found)

    def _where(self, condition: str, *values: str) -> list[SessionRow]:
        return _sessions(self._database.read(
            f"SELECT {self._columns} FROM sessions WHERE {condition} ORDER BY used DESC LIMIT "
            f"{MOST_AMBIGUOUS}", values))

    def delete(self, session_ids: Sequence[str]) -> None:
        """Delete permanently: programs that still have a session open cannot restore it."""
        for row in self.of(session_ids):
            if row.member:
                raise StoreForbidden(f"Session {row.short_name} belongs to {row.member}, and only "
                                     "its owner can delete it.", "")
        for session_id in session_ids:
            self._database.write([
                Statement("INSERT INTO deleted_sessions (id) SELECT id FROM sessions WHERE id = ? "
                          "ON CONFLICT (id) DO NOTHING",
                          (session_id,)),
                Statement("DELETE FROM sessions WHERE id = ?", (session_id,))])
        self._database.scrub()


def read_only() -> StoreForbidden:
    """Return the error for a write to a session that is shared for reading."""
    return StoreForbidden("This session is shared with you for reading only; nothing was changed.",
                          "Use /fork or --fork to continue in a copy of your own.")


def _title_words(title: str) -> str:
    from core.store.words import words_of
    return " ".join(words_of(title))


def _ambiguous(name: str, found: Sequence[SessionRow]) -> SessionAmbiguous:
    """Return the error for an ambiguous name. Sessions of the same name are listed with the end of
    the identity.
    """
    names = [row.name for row in found]
    listed = ", ".join(f"{row.name if names.count(row.name) == 1 else row.id[-8:]} "
                       f"({_short(row.title, 25)})" for row in found)
    return SessionAmbiguous(f"{name!r} could be several sessions: "
                            f"{listed}" + (" ..." if len(found) == MOST_AMBIGUOUS else "."),
                            "Type more of the name, or the text in front of the title.")


def _sessions(rows: list[Any]) -> list[SessionRow]:
    """Convert rows of the columns in _SESSION. Only the few that need decoding are rebuilt."""
    return [row if ESCAPE not in row.title and ESCAPE not in row.model
            else row._replace(title=from_database(row.title), model=from_database(row.model))
            for row in map(SessionRow._make, rows)]


def _limited(limit: int) -> str:
    """Return the clause for this many rows; 0 means all."""
    return f"LIMIT {int(limit)}" if limit else ""


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "\u2026"
