"""Maintenance of sessions in PostgreSQL; the server itself is left to PostgreSQL's own tools."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from core.errors import StoreError, StoreForbidden
from core.store.address import Address
from core.store.care import Problem, Report, common_problems, repairable, summary
from core.store.copying import RECOUNT, all_rows, counts
from core.store.postgres.schema import SCHEMA
from core.store.postgres.store import PostgresDatabase, PostgresStore
from core.store.sqlite.care import copy_into_file, prepared_backup
from core.store.sqlite.store import SqliteStore

_INVALID = (
    "SELECT indexrelid::regclass::text FROM pg_catalog.pg_index "
    "JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid "
    f"WHERE relnamespace = '{SCHEMA}'::regnamespace AND NOT indisvalid"
)
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_catalog.pg_class "
    f"WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind = 'r'"
)


_OWNER = ("SELECT pg_has_role(session_user, relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid "
          f"= '{SCHEMA}.sessions'::regclass")


def _require_owner(database: PostgresDatabase) -> None:
    """Raise StoreForbidden unless this role owns the tables; PostgreSQL would skip them silently.
    """
    if not database.read(_OWNER)[0][0]:
        raise StoreForbidden(f"Only the owner of {database.place} can repair, restore or shrink "
                             "it; nothing was changed.")


class PostgresCare:
    """Implements care.Care, which describes the methods."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.place = address.place

    @contextmanager
    def _database(self) -> Iterator[PostgresDatabase]:
        with closing(PostgresStore(self._address, share=True, whole=True)) as store:
            yield store.postgres

    def check(self) -> Report:
        with self._database() as database:
            problems = [
                Problem("index", f"The index {row[0]} is not valid.")
                for row in database.read(_INVALID)
            ]
            problems += common_problems(database)
            size = f"{int(database.read(_SIZE)[0][0]) / 1e6:,.1f} MB"
            return Report(f"{self.place}: {summary(counts(database))}, {size}", tuple(problems))

    def repair(self) -> list[str]:
        if not repairable(self.check().problems):
            return []
        with self._database() as database:
            _require_owner(database)
            database.load([(RECOUNT, [()])])
            database.maintain(f"REINDEX SCHEMA {SCHEMA}")
        return ["The indexes and counts were rebuilt; no message was changed."]

    def backup(self, path: str) -> None:
        with closing(PostgresStore(self._address, share=True, whole=True)) as store:
            copy_into_file(store, path)

    def restore(self, path: str) -> str:
        """Rename the old schema in the same transaction that fills the new one."""
        if not os.path.exists(path):
            raise StoreError(f"File not found: {path}.", "Nothing was changed.")
        aside = f"{SCHEMA}_before_{time.strftime('%Y%m%d_%H%M%S')}"

        with (
            prepared_backup(path) as prepared,
            closing(SqliteStore(prepared)) as source,
            self._database() as database,
        ):
            _require_owner(database)
            with source.database.snapshot():
                database.replace(aside, all_rows(source.database))
        return f"schema {aside}"

    def shrink(self) -> tuple[int, int]:
        with self._database() as database:
            _require_owner(database)
            before = int(database.read(_SIZE)[0][0])
            for table in (
                "messages",
                "sessions",
                "chunks",
                "model_calls",
                "embeddings",
                "deleted_sessions",
            ):
                database.maintain(f"VACUUM (FULL, ANALYZE) {SCHEMA}.{table}")
            return before, int(database.read(_SIZE)[0][0])
