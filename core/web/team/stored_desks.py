"""Desks in the team's database, so that another server process can finish what an ended one left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from core.dataclass import replace
from core.errors import StoreBusy
from core.store.database import Statement
from core.store.postgres.store import PostgresDatabase
from core.web.conversation.desk import ANSWERS, MOST_KEYS, Desk, Desks, desk_of

_PUT = (
    "INSERT INTO desks (session_id, program, data) VALUES (?, ?, ?) "
    "ON CONFLICT (session_id, program, member) DO UPDATE SET data = excluded.data"
)
_HOLDERS = (
    "SELECT program FROM desks WHERE session_id = ? AND program <> ? "
    "AND (data::json ->> 'here') = 'true'"
)
_DELETE = "DELETE FROM desks WHERE session_id = ? AND program = ?"


class StoredDesks(Desks):
    """The desks of one member: each process has its own rows, and adopts those of an ended one."""

    def __init__(
        self, database: PostgresDatabase, reaches: Callable[[str], bool] = lambda program: False
    ) -> None:
        """`reaches`: whether another process can be handed a request."""
        super().__init__("")
        self._database, self._reaches = database, reaches

    def begin(self, session: str) -> None:
        self.write(session, Desk())

    def is_begun(self, session: str) -> bool:
        sql = "SELECT data FROM desks WHERE session_id = ?"
        desks = [_desk(row[0]) for row in self._database.read(sql, (session,))]
        # a desk whose messages were all answered belongs to a session that is gone, or was shared
        return any(desk.running or desk.queue or not desk.keys for desk in desks)

    def knows(self, session: str, key: str) -> bool:
        if super().knows(session, key):
            return True
        rows = self._database.read("SELECT data FROM desks WHERE session_id = ?", (session,))
        return any(key in _desk(row[0]).keys for row in rows)

    def write(self, session: str, desk: Desk) -> None:
        self._database.write([Statement(_PUT, (session, self._database.owner(), _text(desk)))])
        self._kept[session] = desk

    def hold(self, session: str, *, on: bool) -> None:
        desk = replace(self.read(session), here=on)
        own = self._database.owner()
        if not on and session.startswith(ANSWERS):
            self._kept.pop(session, None)
            self._database.write([Statement(_DELETE, (session, own))])
            return
        self._database.write(
            [
                Statement(_PUT, (session, own, _text(desk))),
                Statement("SELECT announce(?)", (session,)),
            ]
        )
        self._kept[session] = desk

    def holder(self, session: str) -> str:
        rows = self._database.read(_HOLDERS, (session, self._database.owner()))
        return next((row[0] for row in rows if self._reaches(row[0])), "")

    def ask_to_stop(self, session: str) -> bool:
        others: list[str] = []
        self._database.write(
            [
                Statement(
                    "UPDATE desks SET stop = 1 WHERE session_id = ? AND program <> ?",
                    (session, self._database.owner()),
                    lambda run: others.append("none"),
                )
            ]
        )
        return not others

    def to_stop(self) -> list[str]:
        own = self._database.owner()
        rows = self._database.read(
            "SELECT session_id FROM desks WHERE program = ? AND stop = 1", (own,)
        )
        self._database.write(
            [
                Statement(
                    "UPDATE desks SET stop = 0 WHERE session_id = ? AND program = ?", (row[0], own)
                )
                for row in rows
            ]
        )
        return [row[0] for row in rows]

    def forget(self, session: str) -> None:
        self._kept.pop(session, None)
        self._database.write([Statement("DELETE FROM desks WHERE session_id = ?", (session,))])

    def all(self) -> Iterator[tuple[str, Desk]]:
        rows = self._database.read(
            "SELECT session_id, data FROM desks WHERE program = ?", (self._database.owner(),)
        )
        found = ((session, _desk(data)) for session, data in rows)
        yield from (
            entry for entry in found if entry[1] != Desk() and not entry[0].startswith(ANSWERS)
        )

    def adopt(self, session: str, program: str) -> Desk:
        """Take over the desk of an ended process; empty if another process was faster."""
        rows = self._database.read(
            "SELECT data FROM desks WHERE session_id = ? AND program = ?", (session, program)
        )
        if not rows:
            return Desk()
        if session.startswith(ANSWERS):  # it ended with the process
            self._database.write([Statement(_DELETE, (session, program))])
            return Desk()
        left, own = _desk(rows[0][0]), self.read(session)
        desk = replace(
            own,
            running=own.running or left.running,
            held=own.held or left.held,
            queue=(*left.queue, *own.queue),
            keys=(*left.keys, *own.keys)[-MOST_KEYS:],
            files=(*left.files, *own.files),
        )

        def unchanged(run: object) -> None:
            raise StoreBusy("Another process took it over at the same moment.")

        try:
            self._database.write(
                [
                    Statement(_DELETE, (session, program), unchanged),
                    Statement(_PUT, (session, self._database.owner(), _text(desk))),
                ]
            )
        except StoreBusy:
            return Desk()
        self._kept[session] = desk
        return left

    def _load(self, session: str) -> Desk:
        rows = self._database.read(
            "SELECT data FROM desks WHERE session_id = ? AND program = ?",
            (session, self._database.owner()),
        )
        return _desk(rows[0][0]) if rows else Desk()


def abandoned(database: PostgresDatabase) -> list[tuple[str, str, str]]:
    """Return (member, session, program) of desks left by ended processes."""
    rows = database.read("SELECT owner, session_id, program FROM open_desks()")
    programs = {program for _, _, program in rows}
    gone = {program for program in programs if database.is_gone(program)}
    return [(member, session, program) for member, session, program in rows if program in gone]


def _text(desk: Desk) -> str:
    return json.dumps(asdict(desk))


def _desk(text: str) -> Desk:
    found: Any = json.loads(text)
    return desk_of(found)
