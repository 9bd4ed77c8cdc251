"""Sharing of sessions: who may read or write another member's session."""

from __future__ import annotations

from collections import namedtuple

from core.errors import StoreForbidden, UsageError
from core.store.database import Database, Statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Share(NamedTuple):
        """A member with access to a session, and whether this member may write."""

        reader: str
        write: bool

else:
    Share = namedtuple("Share", "reader write")


class Shares:
    """The shares of this user's sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session_id: str, reader: str, *, write: bool) -> None:
        """Share a session. Raises UsageError for an unknown member and StoreForbidden for a session
        of another member.
        """
        self._require_own(session_id)
        if not self._database.read("SELECT is_member(?)", (reader,))[0][0]:
            raise UsageError(
                f"There is no member {reader!r}.",
                "A member is a database role or an account of the web page.",
            )
        self._database.write(
            [
                Statement(
                    "INSERT INTO shares (session_id, reader, may_write) VALUES (?, ?, ?) "
                    "ON CONFLICT (session_id, reader) DO UPDATE SET may_write = excluded.may_write",
                    (session_id, reader, int(write)),
                )
            ]
        )

    def remove(self, session_id: str, reader: str) -> None:
        """Stop sharing a session. Raises UsageError when it is not shared with this member."""
        self._require_own(session_id)

        def unchanged(run: object) -> None:
            raise UsageError(f"The session is not shared with {reader!r}.")

        self._database.write(
            [
                Statement(
                    "DELETE FROM shares WHERE session_id = ? AND reader = ?",
                    (session_id, reader),
                    unchanged,
                )
            ]
        )

    def of(self, session_id: str) -> list[Share]:
        rows = self._database.read(
            "SELECT reader, may_write FROM shares WHERE session_id = ? ORDER BY reader",
            (session_id,),
        )
        return [Share(reader, bool(write)) for reader, write in rows]

    def _require_own(self, session_id: str) -> None:
        rows = self._database.read(
            f"SELECT {self._database.mine} FROM sessions WHERE id = ?", (session_id,)
        )
        if not rows:
            raise self._database.session_gone()
        if not rows[0][0]:
            raise StoreForbidden("Only the owner of a session can share it.")
