"""The interface between the queries and a database: statements, transactions, search, ownership."""

from __future__ import annotations

from collections import namedtuple
from contextlib import nullcontext

from core.errors import SessionGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Any, NamedTuple

    from core.store.query import Query

    class Search(NamedTuple):
        """The FROM clause of a search, its condition and values, and a column that grows with time.
        `whole`: the condition is all that the query asks for.
        """

        table: str
        condition: str
        values: Sequence[object]
        order: str
        whole: bool = False

    Run = Callable[[str, Sequence[object]], list[Any]]

    class Statement(NamedTuple):
        """A statement of a transaction; `?` stands for a value. When it changes no row, `unchanged`
        is called with a function that reads in the same transaction. It returns if that is
        expected; otherwise it raises a StoreError, which rolls the transaction back. `then` is a
        statement that runs only if this one changed a row.
        """

        sql: str
        values: Sequence[object] = ()
        unchanged: Callable[[Run], None] | None = None
        then: Any = None
else:
    Search = namedtuple("Search", "table condition values order whole", defaults=(False,))
    Statement = namedtuple("Statement", "sql values unchanged then", defaults=((), None, None))

# a write that waits longer for other programs fails with StoreBusy
BUSY_SECONDS = 1.0
MIGRATION_SECONDS = 60    # a start waits this long for another one that creates the tables
NOTHING_WAITS = nullcontext()
WAY_OUT = "Use --database-url FILE for another database, or --no-save to chat without saving."


class Database:
    """One connection. `place` is shown to users; `url` opens another connection to the same
    database and may contain a password.
    """

    place = url = ""
    _beats = 0
    place_of = "instr"       # the SQL function that finds a text in another; 0 when absent
    # conditions: the session belongs to this user; this user may write to it
    mine = "1 = 1"
    writable = "1 = 1"
    member = "''"            # who shared a session with this user; empty for the user's own
    next_use = "(SELECT max(0, coalesce(max(used), 0)) + 1 FROM sessions)"
    vector_key = "model, hash"
    # a table (old, new, before) of identities from one value: a JSON list of the three joined
    triples = ""

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        raise NotImplementedError

    def write(self, statements: Sequence[Statement], *, durable: bool = True) -> None:
        """Run all statements or none. `durable` ones survive a power cut. Raises StoreError."""
        raise NotImplementedError

    def snapshot(self) -> AbstractContextManager[None]:
        """Make all reads within it see the database as it was at the first one."""
        raise NotImplementedError

    def load(self, batches: Iterable[tuple[str, Sequence[Sequence[object]]]],
             check: Callable[[], None] = lambda: None) -> None:
        """Run each statement once for each of its rows, all in one transaction. `check` runs last
        and may roll it back by raising a StoreError. Raises StoreError.
        """
        raise NotImplementedError

    def ready(self, *, durable: bool) -> AbstractAsyncContextManager[None]:
        """Wait, without blocking the event loop, until the next write can begin; within it, that
        write does not wait. If the wait times out, that write fails at once.
        """
        return NOTHING_WAITS

    def hurried(self) -> AbstractContextManager[None]:
        """Shorten the time that writes within it wait for other programs."""
        return nullcontext()

    def overlapping(self, *, soon: bool) -> AbstractContextManager[None]:
        """Let writes within it return before they would survive a power cut. They are on the disk
        when settled() or settle() returns. Without those the disk is synced at once, or with `soon`
        in less than 250 ms.
        """
        return nullcontext()

    async def settled(self) -> None:
        """Wait, without blocking the event loop, until all writes are on the disk. Raises
        StoreError.
        """

    def settle(self) -> None:
        """Block until all writes are on the disk. Raises StoreError."""

    def key(self, identity: int) -> str:
        """Return a 128-bit identity as both databases accept it: 32 hexadecimal digits, which sort
        like the numbers. In SQLite that takes 18 bytes a row more than a blob and is as fast; it is
        readable, and portable SQL can write it.
        """
        return f"{identity:032x}"

    def identity(self, key: Any) -> int:
        """The reverse of key()."""
        raise NotImplementedError

    def owner(self) -> str:
        """Return the name of this process, which stays locked until the process ends."""
        raise NotImplementedError

    def is_gone(self, owner: str) -> bool:
        """Return whether the process with that name has ended."""
        raise NotImplementedError

    def pulse(self) -> int:
        """Return a number that changes when another connection may have written something."""
        self._beats += 1
        return self._beats

    def sweep(self) -> None:
        """Remove the names of processes that have ended."""

    def scrub(self) -> None:
        """Remove traces of deleted rows from indexes and logs, as far as the database allows."""

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        """Conditions that divide the sessions this user may see so that a list of each part is read
        from an index; with each, what `member` computes for its sessions.
        """
        return (("1 = 1", self.member),)

    def search(self, query: Query, limit: int = 0, *, trash: bool = False) -> Search:
        """Return how to find the messages that match a non-empty query, of which `limit` are
        wanted; 0 means all. `trash` is whether those in the trash are found, or all others.
        """
        raise NotImplementedError

    def may_miss(self, query: Query) -> bool:
        """Whether a search with a limit may find fewer messages than that although more match."""
        return False

    def indexed_titles(self, query: Query, most: int, *,
                       trash: bool) -> tuple[list[str], list[object]]:
        """Conditions for a session that an index answers and each title with these words meets,
        with their values; none where there is no such index. `most` limits them to the last used
        ones; `trash` as in search().
        """
        return [], []

    def close(self) -> None:
        raise NotImplementedError

    def session_gone(self) -> SessionGone:
        return SessionGone(f"This session was deleted from {self.place} by another program.")
