"""Sessions in a PostgreSQL database, for several machines or people: in a schema of their own."""

from __future__ import annotations

import os
from contextlib import contextmanager

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreForeign, StoreFull, StoreTooNew
from core.store.database import BUSY_SECONDS, MIGRATION_SECONDS, WAY_OUT, Database, Search
from core.store.schema import migrate_postgres
from core.store.sql_store import SqlStore
from core.store.text import like_words
from core.store.version import SCHEMA_VERSION
from core.store.words import BREAK, POSTGRES_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from core.store.address import Address
    from core.store.database import Statement
    from core.store.query import Query, Term

SCHEMA = "stream_chat"
OUR_TABLES = ("meta", "sessions", "messages", "chunks", "model_calls", "embeddings")
_MIGRATION_LOCK = 7236591
_TABLES_IN = ("SELECT relname::text FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace "
              "WHERE relkind IN ('r', 'p') AND nspname = %s")
_OTHER_TABLES = ("SELECT 1 FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace "
                 "WHERE relkind IN ('r', 'p', 'v', 'm') AND nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema' LIMIT 1")


class PostgresDatabase(Database):
    place_of = "strpos"
    triples = ("(SELECT (value ->> 0)::uuid AS old, (value ->> 1)::uuid AS new, (value ->> 2)::uuid AS before "
               "FROM json_array_elements(?::json))")

    def __init__(self, address: Address, *, share: bool) -> None:
        try:
            import psycopg
        except ImportError as problem:
            raise StoreError("Sessions in PostgreSQL need the package psycopg, which is not installed.",
                             "pip install 'psycopg[binary]'") from problem
        self._psycopg = psycopg
        self.url, self.place = address.url, address.place
        self._share = share
        self._owner_key = 0
        self._connect()

    def _connect(self) -> None:
        try:
            self._connection = self._psycopg.connect(self.url, autocommit=True, connect_timeout=10)
            if self._version() != SCHEMA_VERSION:
                self._migrate()
            self._connection.execute(f"SET search_path = {SCHEMA}")
            self._connection.execute(f"SET lock_timeout = '{int(BUSY_SECONDS * 1000)}ms'")
            if self._owner_key:
                self._connection.execute("SELECT pg_advisory_lock(%s)", (self._owner_key,))
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def _migrate(self) -> None:
        """Only one program at a time. The lock is taken before the transaction: within one, the catalogue may be read stale."""
        run = self._connection.execute
        run(f"SET lock_timeout = '{MIGRATION_SECONDS}s'")
        run("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        try:
            with self._connection.transaction():
                self._bring_up_to_date()
        finally:
            if not self._connection.closed:
                run("SELECT pg_advisory_unlock(%s)", (_MIGRATION_LOCK,))

    def _bring_up_to_date(self) -> None:
        run = self._connection.execute
        earlier = self._tables_of_an_earlier_version()
        applied = self._version(earlier)
        if applied > SCHEMA_VERSION:
            raise StoreTooNew(f"The session database {self.place} was made by a newer version of this program.",
                              "Update the program, or name another database with --database-url.")
        if not applied and not self._share and run(_OTHER_TABLES).fetchone():
            raise StoreForeign(f"{self.place} is the database of another program; nothing in it was changed.",
                               f"To keep sessions in it too, in a schema {SCHEMA}, name it with --database-url.")
        self._make_schema(earlier, applied)

    def _make_schema(self, earlier: str, applied: int) -> None:
        """What is missing of it, after the first `applied` migrations."""
        run = self._connection.execute
        if not run("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone():
            run(f"CREATE SCHEMA {SCHEMA}")
        for table in OUR_TABLES if earlier else ():
            if table in self._tables(earlier):
                run(f'ALTER TABLE "{earlier.replace(chr(34), chr(34) * 2)}".{table} SET SCHEMA {SCHEMA}'.encode())
        run(f"SET LOCAL search_path = {SCHEMA}")
        migrate_postgres(lambda sql, values=(): run(sql.encode(), values), applied)
        run("INSERT INTO meta (key, value) VALUES ('schema_version', %s) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value", (str(SCHEMA_VERSION),))

    def _tables(self, schema: str) -> set[str]:
        return {row[0] for row in self._connection.execute(_TABLES_IN, (schema,)).fetchall()}

    def _tables_of_an_earlier_version(self) -> str:
        """The schema in which a version before 5 made its tables; empty when there are none."""
        row = self._connection.execute("SELECT current_schema()").fetchone()
        schema = str(row[0]) if row and row[0] else ""
        if schema in ("", SCHEMA) or "meta" in self._tables(SCHEMA):
            return ""
        return schema if {"meta", "sessions", "messages", "chunks"} <= self._tables(schema) else ""

    def _version(self, earlier: str = "") -> int:
        schema = earlier or SCHEMA
        if "meta" not in self._tables(schema):
            return 0
        quoted = schema.replace('"', '""')
        row = self._connection.execute(f'SELECT value FROM "{quoted}".meta WHERE key = \'schema_version\''.encode()).fetchone()
        return int(row[0]) if row else 0

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            self._reconnect()
            return self._connection.execute(sql.replace("?", "%s").encode(), values).fetchall()
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def write(self, statements: Sequence[Statement], *, durable: bool = True) -> None:
        try:
            self._reconnect()
            with self._connection.transaction():
                if not durable:
                    self._connection.execute("SET LOCAL synchronous_commit TO off")
                for sql, values, unchanged, then in statements:
                    if self._run(sql, values) == 0:
                        if unchanged is not None:
                            unchanged(self.read)
                    elif then is not None:
                        self._run(then.sql, then.values)
        except self._psycopg.errors.ForeignKeyViolation as problem:
            raise self.session_gone() from problem
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self._reconnect()
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield

    def load(self, batches: Iterable[tuple[str, Sequence[Sequence[object]]]], check: Callable[[], None] = lambda: None) -> None:
        try:
            self._reconnect()
            with self._connection.transaction(), self._connection.cursor() as cursor:
                for sql, rows in batches:
                    cursor.executemany(sql.replace("?", "%s").encode(), rows)
                check()
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def replace(self, aside: str, batches: Iterable[tuple[str, Sequence[Sequence[object]]]]) -> None:
        """Give our schema the name `aside`, and fill a new one, in one transaction."""
        with self._connection.transaction():
            self._connection.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO {aside}".encode())
            self._make_schema("", 0)
            self.load(batches)

    def maintain(self, sql: str) -> None:
        """A statement that may wait for other programs, and that no transaction may hold."""
        try:
            self._reconnect()
            self._connection.execute(f"SET lock_timeout = '{MIGRATION_SECONDS}s'")
            self._connection.execute(sql.encode())
        except self._psycopg.Error as problem:
            raise self._error(problem) from problem

    def _run(self, sql: str, values: Sequence[object]) -> int:
        return self._connection.execute(sql.replace("?", "%s").encode(), values).rowcount

    def _reconnect(self) -> None:
        if self._connection.closed:
            self._connect()

    def identity(self, key: Any) -> int:
        return int(key.int)

    def owner(self) -> str:
        """Held as an advisory lock that ends with the connection."""
        if not self._owner_key:
            key = int.from_bytes(os.urandom(7), "big") + 1
            self.read("SELECT pg_advisory_lock(?)", (key,))
            self._owner_key = key
        return str(self._owner_key)

    def is_gone(self, owner: str) -> bool:
        key = int(owner or 0)
        if not key or key == self._owner_key:
            return not key
        gone = bool(self.read("SELECT pg_try_advisory_lock(?)", (key,))[0][0])
        if gone:
            self.read("SELECT pg_advisory_unlock(?)", (key,))
        return gone

    def search(self, query: Query) -> Search:
        """The index knows which words a message has, not where: phrases, and words in one place, are looked for in its text."""
        conditions, values = ["{words} @@ ?::tsquery".format(words=POSTGRES_WORDS)], [_ts_query(query.wanted)]
        column = {"tool": "tools", "answer": "words", "question": "words"}.get(query.place, "")
        text = f"(' ' || {column} || ' ')" if column else f"(' ' || words || ' {BREAK} ' || tools || ' ')"
        for terms, how in ((query.wanted, "LIKE"), (query.unwanted, "NOT LIKE")):
            for term in terms:
                if len(term.words) > 1 or column or how == "NOT LIKE":
                    conditions.append(f"{text} {how} ? ESCAPE '!'")
                    values.append(like_words(term))
        return Search("messages", " AND ".join(conditions), values, "messages.id")

    def _error(self, problem: Exception) -> StoreError:
        state = getattr(problem, "sqlstate", None) or ""
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        if state in ("55P03", "40P01", "53300"):
            return StoreBusy(f"The session database {self.place} is busy: {reason}", "Try again in a moment.")
        if state in ("53100", "25006", "42501"):
            return StoreFull(f"The session database {self.place} cannot be written: {reason}", WAY_OUT)
        if state.startswith("XX"):
            return StoreDamaged(f"The session database {self.place} is damaged: {reason}", WAY_OUT)
        return StoreError(f"The session database {self.place} failed: {reason}", WAY_OUT)

    def close(self) -> None:
        """Give the lock back first: the server notices a closed connection only a moment later."""
        if self._owner_key and not self._connection.closed:
            try:
                self._connection.execute("SELECT pg_advisory_unlock_all()")
            except self._psycopg.Error:
                pass   # the connection is gone, and the lock with it
        self._connection.close()


def _ts_query(terms: Sequence[Term]) -> str:
    """Words hold letters and digits only, so that quotes are enough."""
    return " & ".join(f"'{word}'" + (":*" if term.begins and place == len(term.words) - 1 else "")
                      for term in terms for place, word in enumerate(term.words))


class PostgresStore(SqlStore):
    """The store of a team."""

    def __init__(self, address: Address, *, share: bool = False) -> None:
        self.postgres = PostgresDatabase(address, share=share)
        super().__init__(self.postgres)
