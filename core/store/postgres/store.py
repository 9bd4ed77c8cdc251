"""Sessions in a PostgreSQL database, in a schema of their own, for several machines or users."""

from __future__ import annotations

import copy
from contextlib import contextmanager

from core.config.installed import install_command
from core.errors import StoreError
from core.store.address import url_for
from core.store.database import MIGRATION_SECONDS, Database, Search
from core.store.matching import BEFORE_FILTERS
from core.store.postgres.errors import store_error
from core.store.postgres.link import Link
from core.store.postgres.schema import make_anew
from core.store.sharing import Shares
from core.store.sql.store import SqlStore
from core.store.text import like_words
from core.store.title_index import TITLE_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from core.store.address import Address
    from core.store.database import Statement
    from core.store.query import Query, Term
    from core.store.sharing import Share

    Batches = Iterable[tuple[str, Sequence[Sequence[object]]]]

_USED = (
    "SELECT setval('sessions_use', greatest((SELECT last_value FROM sessions_use), "
    "(SELECT coalesce(max(used), 0) + 1 FROM sessions)))"
)


class PostgresDatabase(Database):
    """One user's view of the database. `acting_for` returns another user's over the same
    connection.
    """

    place_of = "strpos"
    mine = "member = (SELECT current_member())"
    writable = (
        f"(sessions.{mine} OR sessions.id = ANY ((SELECT shared_sessions(true))::text[]))"
    )
    member = "CASE WHEN member = (SELECT current_member()) THEN '' ELSE member END"
    next_use = "nextval('sessions_use')"
    vector_key = "member, model, hash"
    triples = (
        "(SELECT left(value, 32)::uuid AS old, substr(value, 33, 32)::uuid AS new, "
        "substr(value, 65)::uuid AS before FROM json_array_elements_text(?::json))"
    )

    def __init__(
        self, address: Address, *, share: bool, user: str = "", whole: bool = False
    ) -> None:
        try:
            import psycopg
        except ImportError as problem:
            raise StoreError(
                "Sessions in PostgreSQL need the package psycopg, which is not installed.",
                f"Install it: {install_command('psycopg[binary]')}",
            ) from problem
        self._psycopg = psycopg
        self.url, self.place = address.url, address.place
        self._link = Link(psycopg, address, share=share, whole=whole)
        self._user = ""
        if user:
            self._act_for(user)

    def acting_for(self, user: str) -> PostgresDatabase:
        """Return the view of another user. Raises StoreForbidden if our role may not act for
        others.
        """
        view = copy.copy(self)
        view._act_for(user)
        return view

    def _act_for(self, user: str) -> None:
        with self._errors():
            self._link.check_user(user)
        self._user, self.url = user, url_for(self._link.address.url, user)
        self.place = (  # spooled data belongs to this user alone
            f"{self._link.address.place} ({user})"
        )

    @property
    def server_url(self) -> str:
        """The address with which our role connects to the server."""
        return self._link.address.url

    def may_act(self) -> bool:
        """Whether our role may act for others."""
        return bool(self.read("SELECT may_act()")[0][0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.errors.ForeignKeyViolation as problem:
            raise self.session_gone() from problem
        except self._psycopg.Error as problem:
            raise store_error(problem, self.place, self._link.role) from problem

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._errors():
            return self._link.again(lambda: self._read(_marked(sql), values))

    def _read(self, sql: bytes, values: Sequence[object]) -> list[Any]:
        if not self._user and not self._link.pooled:
            return self._link.connection.execute(sql, values).fetchall()
        with self._link.transaction(self._user, durable=None) as connection:
            return connection.execute(sql, values).fetchall()

    def write(self, statements: Sequence[Statement], *, durable: bool = True) -> None:
        with self._errors():
            self._link.again(lambda: self._write(statements, durable))

    def _write(self, statements: Sequence[Statement], durable: bool) -> None:
        match statements:
            case [(sql, values, None, None)]:
                self._link.run_alone(self._user, _marked(sql), values, durable=durable)
                return
        with self._link.transaction(self._user, durable=durable):
            for sql, values, unchanged, then in statements:
                if self._run(sql, values) == 0:
                    if unchanged is not None:
                        unchanged(self.read)
                elif then is not None:
                    self._run(then.sql, then.values)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._link.transaction(
            self._user,
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            durable=None,
        ):
            yield

    def load(self, batches: Batches, check: Callable[[], None] = lambda: None) -> None:
        with (
            self._errors(),
            self._link.transaction(self._user) as connection,
            connection.cursor() as cursor,
        ):
            for sql, rows in batches:
                cursor.executemany(_marked(sql), rows)
            cursor.execute(_USED)
            check()

    def replace(self, aside: str, batches: Batches) -> None:
        """Rename our schema to `aside` and fill a new one, in one transaction."""
        with self._errors(), self._link.transaction(self._user) as connection:
            make_anew(connection, aside)
            self.load(batches)

    def maintain(self, sql: str) -> None:
        """Run a statement that must be outside a transaction and may wait for other programs."""
        with self._errors():
            self._link.connection.execute(f"SET lock_timeout = '{MIGRATION_SECONDS}s'")
            self._link.connection.execute(sql.encode())

    def _run(self, sql: str, values: Sequence[object]) -> int:
        return self._link.connection.execute(_marked(sql), values).rowcount

    def identity(self, key: Any) -> int:
        return int(key.int)

    def owner(self) -> str:
        """Return the name of this process, held as an advisory lock that ends with the connection.
        """
        with self._errors():
            return str(self._link.take_owner_key())

    def is_gone(self, owner: str) -> bool:
        key = int(owner or 0)
        if not key or key == self._link.owner_key:
            return not key
        return bool(self.read("SELECT pg_try_advisory_xact_lock(?)", (key,))[0][0])

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        if not self._link.guarded:
            return super().listed
        return (self.mine, "''"), (f"was_shared = 1 AND NOT {self.mine}", "member")

    def search(self, query: Query, limit: int = 0, *, trash: bool = False) -> Search:
        """Search through a function: with policies, the index of words cannot be used, and without
        them it is not used where it should be.

        The function looks for words in one place (in:tool) anywhere; their place is tested after.
        """
        text, whole = _text_of(query), not self.may_miss(query)
        wanted = [like_words(term) for term in query.wanted]
        unwanted = [like_words(term) for term in query.unwanted]
        found = "matching" if self._link.guarded else "matching_everything"
        found = f"{found}(?::tsquery, ?::text[], ?::text[], ?, ?, ?)"
        values: list[object] = [
            _ts_query(query.wanted),
            [] if text else wanted,
            [] if text else unwanted,
            query.place == "branches",
            trash,
            (limit if whole else limit * BEFORE_FILTERS) or None,
        ]
        if whole:
            return Search(f"{found} AS messages", "true", values, "messages.id", whole=True)
        conditions = [f"messages.id IN (SELECT id FROM {found})"]
        if text:
            conditions += [f"{text} LIKE ? ESCAPE '!'"] * len(wanted)
            conditions += [f"{text} NOT LIKE ? ESCAPE '!'"] * len(unwanted)
            values += wanted + unwanted
        return Search("messages", " AND ".join(conditions), values, "messages.id")

    def may_miss(self, query: Query) -> bool:
        return query.filters or query.place not in ("", "branches")

    def indexed_titles(
        self, query: Query, most: int, *, trash: bool
    ) -> tuple[list[str], list[object]]:
        wanted = _ts_query(query.wanted)
        if not self._link.guarded:
            return [f"{TITLE_WORDS} @@ ?::tsquery"], [wanted]
        return ["sessions.id IN (SELECT titled(?::tsquery, ?, ?))"], [wanted, trash, most or None]

    def close(self) -> None:
        self._link.close()


def _marked(sql: str) -> bytes:
    """Replace `?` with the driver's placeholders."""
    return sql.replace("?", "%s").encode()


def _text_of(query: Query) -> str:
    """Return the text in which a query restricted to a place searches; empty for all."""
    columns = {"tool": "tools", "answer": "words", "question": "words"}
    return f"(' ' || {columns[query.place]} || ' ')" if query.place in columns else ""


def _ts_query(terms: Sequence[Term]) -> str:
    """Return a tsquery. Words contain only letters and digits, so quoting them is enough."""
    return " & ".join(
        f"'{word}'" + (":*" if term.begins and place == len(term.words) - 1 else "")
        for term in terms
        for place, word in enumerate(term.words)
    )


class PostgresStore(SqlStore):
    """The store of a team. `user` is the member it is opened for, if the role may act for others;
    `whole` shows all members' sessions, as far as the role may see them.
    """

    def __init__(
        self, address: Address, *, share: bool = False, user: str = "", whole: bool = False
    ) -> None:
        self._take(PostgresDatabase(address, share=share, user=user, whole=whole))

    def _take(self, database: PostgresDatabase) -> None:
        self.postgres = database
        self._shares = Shares(database)
        super().__init__(database)

    def for_user(self, user: str) -> PostgresStore:
        """Return the store of another member over the same connection; do not close it."""
        store = PostgresStore.__new__(PostgresStore)
        store._take(self.postgres.acting_for(user))
        return store

    def share_session(self, session_id: str, reader: str, *, write: bool) -> None:
        self._shares.add(session_id, reader, write=write)

    def unshare_session(self, session_id: str, reader: str) -> None:
        self._shares.remove(session_id, reader)

    def shares(self, session_id: str) -> list[Share]:
        return self._shares.of(session_id)
