"""The connection to a PostgreSQL server, shared by all users that a process acts for."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from core.errors import StoreForbidden
from core.store.database import BUSY_SECONDS
from core.store.postgres.errors import store_error
from core.store.postgres.schema import MEMBERS_ROLE, SCHEMA, bring_up_to_date, version_of
from core.store.version import SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeVar

    from psycopg import Connection

    from core.store.address import Address

    Result = TypeVar("Result")

_ABOUT = (
    f"SELECT pg_backend_pid(), session_user::text, row_security_active('{SCHEMA}.sessions'), "
    f"(SELECT value FROM {SCHEMA}.meta WHERE key = '{MEMBERS_ROLE}')"
)
_SCOPE = (
    "SELECT set_config('search_path', %s, true), set_config('lock_timeout', %s, true), "
    "set_config('role', %s, true), set_config('stream_chat.member', %s, true)"
)
_NOT_DURABLE = b", set_config('synchronous_commit', 'off', true)"


class Link:
    """Connects, and reconnects when the connection is lost.

    Each transaction names its user, because one server connection may serve many users: ours, or
    those of a connection pooler. With `whole`, it sees the sessions of all members, as far as the
    role may.
    """

    def __init__(self, psycopg: Any, address: Address, *, share: bool, whole: bool) -> None:
        self._psycopg, self.address = psycopg, address
        self._share, self._whole = share, whole
        self.pooled = False  # whether a pooler such as pgbouncer is in between
        self.guarded = False  # whether row-level security applies to our queries
        self.role = self._members = ""
        self._depth = 0
        self._waits = True  # whether commits on the connection wait for the disk
        self._presence: Connection[Any] | None = None  # holds our lock behind a pooler
        self.owner_key = 0
        self._connect()

    @property
    def connection(self) -> Connection[Any]:
        """Return a connection that is open as far as known, connecting if needed."""
        if self._connection.closed and not self._depth:
            self._connect()
        connection: Connection[Any] = self._connection
        return connection

    def _connect(self) -> None:
        try:
            self._connection = self._psycopg.connect(
                self.address.url, autocommit=True, connect_timeout=10
            )
            self._waits = True
            if version_of(self._connection) != SCHEMA_VERSION:
                bring_up_to_date(self._connection, self.address.place, share=self._share)
            self._look_around()
            if self.owner_key:
                self._take_lock()
        except self._psycopg.Error as problem:
            raise store_error(
                problem, self.address.place, self.role or _role_in(self._connection_or_none())
            ) from problem

    def _connection_or_none(self) -> Connection[Any] | None:
        return getattr(self, "_connection", None)

    def _look_around(self) -> None:
        found = self._connection.execute(_ABOUT).fetchone()
        assert found is not None
        pid, self.role, self.guarded, members = found
        self.pooled = pid != self._connection.info.backend_pid
        if members and not self.guarded and not self._whole:
            self._members, self.guarded = members, True  # an administrator chats as a member
        if self.pooled:
            self._connection.prepare_threshold = None
        else:
            self._connection.execute(
                "SELECT set_config('search_path', %s, false), set_config('lock_timeout', %s,"
                " false), set_config('role', %s, false), set_config('stream_chat.member', '',"
                " false)",
                self._scope("")[:3],
            )

    def _scope(self, user: str) -> tuple[str, str, str, str]:
        return SCHEMA, f"{int(BUSY_SECONDS * 1000)}ms", self._members or "none", user

    @contextmanager
    def transaction(
        self, user: str, first: str = "", *, durable: bool | None = True
    ) -> Iterator[Connection[Any]]:
        """Run a transaction for this user. `first` is a statement that must come first. `durable`:
        it survives a power cut; None if nothing is written.
        """
        connection = self.connection
        if durable is not None and not self.pooled:
            self._wait_for_disk(durable)
        with connection.transaction():
            self._depth += 1
            try:
                if first:
                    connection.execute(first.encode())
                if user or self.pooled:
                    connection.execute(_SCOPE, self._scope(user))
                if self.pooled and durable is False:
                    connection.execute(b"SELECT 1" + _NOT_DURABLE)
                yield connection
            finally:
                self._depth -= 1

    def run_alone(
        self, user: str, sql: bytes, values: Sequence[object], *, durable: bool
    ) -> None:
        """Run one statement as a transaction, in a single round trip. If the user must be named
        first, both are sent as one message with the values inlined.
        """
        connection = self.connection
        if not self.pooled:
            self._wait_for_disk(durable)
        if not user and not self.pooled:
            connection.execute(sql, values)
            return
        setting = b"" if durable or not self.pooled else _NOT_DURABLE
        scope = _SCOPE.encode() + setting
        cursor = self._psycopg.ClientCursor(connection)
        cursor.execute(scope + b"; " + sql, (*self._scope(user), *values))

    def _wait_for_disk(self, on: bool) -> None:
        if on is not self._waits and not self._depth:
            value = b"DEFAULT" if on else b"off"
            self.connection.execute(b"SET synchronous_commit TO " + value)
            self._waits = on

    def again(self, act: Callable[[], Result]) -> Result:
        """Call `act`, and call it once more if the connection was lost; it must be repeatable."""
        try:
            return act()
        except self._psycopg.OperationalError:
            if self._depth or not self._connection.closed:
                raise
        return act()

    def check_user(self, user: str) -> None:
        """Raise StoreForbidden if our role may not act for this user."""
        with self.transaction(user) as connection:
            row = connection.execute("SELECT current_member()").fetchone()
        if row is None or row[0] != user:
            raise StoreForbidden(
                f"The role {self.role!r} may not act for {user!r} in {self.address.place}.",
                f"The database's owner can allow it with --db-init --server {self.role}.",
            )

    # ---- the lock that shows that this program runs

    def take_owner_key(self) -> int:
        if not self.owner_key:
            self.owner_key = int.from_bytes(os.urandom(7), "big") + 1
            try:
                self._take_lock()
            except BaseException:
                self.owner_key = 0
                raise
        return self.owner_key

    def _take_lock(self) -> None:
        """Take the lock on our connection; behind a pooler in a transaction that stays open, which
        reserves a server connection for us.
        """
        if not self.pooled:
            self.connection.execute("SELECT pg_advisory_lock(%s)", (self.owner_key,))
            return
        if self._presence is not None:
            self._presence.close()
        presence: Connection[Any] = self._psycopg.connect(
            self.address.url, connect_timeout=10, prepare_threshold=None
        )
        presence.execute("SELECT pg_advisory_xact_lock(%s)", (self.owner_key,))
        self._presence = presence

    def close(self) -> None:
        """Close the connection, releasing the lock first: the server notices a closed connection
        late.
        """
        with suppress(self._psycopg.Error):  # the connection is lost, and the lock with it
            if self._presence is not None:
                self._presence.rollback()
                self._presence.close()
            elif self.owner_key and not self._connection.closed:
                self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._connection.close()


def _role_in(connection: Connection[Any] | None) -> str:
    return connection.info.user if connection is not None else ""
