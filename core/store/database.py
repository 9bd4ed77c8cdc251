"""What the queries need of a database: run statements, name this program's run, search."""

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
        """What a search reads from, the condition for a message, its values,
        and what grows with time.
        """

        table: str
        condition: str
        values: Sequence[object]
        order: str

    Run = Callable[[str, Sequence[object]], list[Any]]

    class Statement(NamedTuple):
        """A statement of a transaction; `?` stands for a value.

        `unchanged` is called when it changed no row, with a function that reads in the same
        transaction. It returns when that is right and raises a StoreError otherwise, which undoes
        the transaction. `then` is another statement that runs only when this one changed a row.
        """

        sql: str
        values: Sequence[object] = ()
        unchanged: Callable[[Run], None] | None = None
        then: Any = None
else:
    Search = namedtuple("Search", "table condition values order")
    Statement = namedtuple("Statement", "sql values unchanged then", defaults=((), None, None))

# how long a write waits for another program before the database counts as locked
BUSY_SECONDS = 1.0
MIGRATION_SECONDS = 60    # how long a start waits for another one that makes the tables
NOTHING_WAITS = nullcontext()
WAY_OUT = "Use --database-url FILE for another place, or --no-save to chat without saving."


class Database:
    """One connection.

    `place` is for people; `url` opens another connection to the same place and may hold a password.
    """

    place = url = ""
    _beats = 0
    place_of = "instr"       # the function that finds a text in another one; 0 when it is not in it
    # the condition for a session of the user who asks, and for one that this user may write
    mine = "1 = 1"
    writable = "1 = 1"
    member = "''"            # who shared a session with this user; empty for one's own
    next_use = "(SELECT coalesce(max(used), 0) + 1 FROM sessions)"
    vector_key = "model, hash"
    # a table (old, new, before) of identities, made of one value: a JSON list of the three joined
    triples = ""

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        raise NotImplementedError

    def write(self, statements: Sequence[Statement], *, durable: bool = True) -> None:
        """All statements or none.

        `durable`: a power cut does not take them back. Raises StoreError.
        """
        raise NotImplementedError

    def snapshot(self) -> AbstractContextManager[None]:
        """Within it, all reads see the database as it was at the first one."""
        raise NotImplementedError

    def load(self, batches: Iterable[tuple[str, Sequence[Sequence[object]]]],
             check: Callable[[], None] = lambda: None) -> None:
        """Run each statement once for each of its rows, all in one transaction, which `check` may
        refuse at its end by raising a StoreError. Raises StoreError.
        """
        raise NotImplementedError

    def ready(self, *, durable: bool) -> AbstractAsyncContextManager[None]:
        """Wait, while the event loop runs on, until the next write need not wait; within it,
        that write is done at once.

        After the longest wait, that write is refused at once.
        """
        return NOTHING_WAITS

    def hurried(self) -> AbstractContextManager[None]:
        """Within it, a write waits for other programs only a moment."""
        return nullcontext()

    def overlapping(self, *, soon: bool) -> AbstractContextManager[None]:
        """Within it, writes may return before a power cut cannot take them back any more.

        They are on the disk when settled() or settle() returns; without those at once, or `soon`:
        within less than 250 ms.
        """
        return nullcontext()

    async def settled(self) -> None:
        """Wait, while the event loop runs on, until the disk has all writes. Raises StoreError."""

    def settle(self) -> None:
        """The same, at once."""

    def key(self, identity: int) -> str:
        """A 128-bit identity as both databases take it: 32 hexadecimal digits,
        which sort like the numbers.

        In SQLite that costs 18 bytes a row more than a blob and is as quick; it can be read, and
        written in portable SQL.
        """
        return f"{identity:032x}"

    def identity(self, key: Any) -> int:
        """The reverse of key()."""
        raise NotImplementedError

    def owner(self) -> str:
        """A name for this program's run, locked until it ends."""
        raise NotImplementedError

    def is_gone(self, owner: str) -> bool:
        """Whether the program with that name has ended."""
        raise NotImplementedError

    def pulse(self) -> int:
        """Another number when another connection may have written something since the last call."""
        self._beats += 1
        return self._beats

    def sweep(self) -> None:
        """Remove the names of programs that have ended."""

    def scrub(self) -> None:
        """Remove what deleted rows leave behind in indexes and logs, as far as the database can."""

    def search(self, query: Query, most: int = 0) -> Search:
        """How messages with these words are found; the query is not empty.

        `most`: of how many, the newest, it is enough to look at where looking at all
        costs much; 0 means all.
        """
        raise NotImplementedError

    def indexed_titles(self, query: Query, most: int, *,
                       trash: bool) -> tuple[list[str], list[object]]:
        """Conditions for a session that an index answers and each title with these words meets,
        with their values; none where there is no such index. `most` and `trash` as in search().
        """
        return [], []

    def close(self) -> None:
        raise NotImplementedError

    def session_gone(self) -> SessionGone:
        return SessionGone(f"This session was deleted from {self.place} by another program.")
