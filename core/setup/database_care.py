"""Opens a database for maintenance, and copies everything from one database to another."""

from __future__ import annotations

from contextlib import closing

from core.errors import UsageError
from core.store.address import parse_address
from core.store.care import Care
from core.store.copying import copy_all
from core.store.database import Database
from core.store.postgres.care import PostgresCare
from core.store.sqlite.care import SqliteCare
from db import Store, open_store


def open_care(url: str) -> Care:
    """Open a database for maintenance; it may be damaged. Raises UsageError."""
    address = parse_address(url)
    if address.kind == "postgresql":

        return PostgresCare(address)

    return SqliteCare(address.place)


def move(source: str, target: str) -> dict[str, int]:
    """Copy everything to another, empty database and compare; return each table's row count.

    Raises UsageError and StoreError.
    """
    if parse_address(source).place == parse_address(target).place:
        raise UsageError("Source and target are the same database.")
    with (closing(open_store(source, whole=True)) as one,
          closing(open_store(target, share=True, whole=True)) as other):
        return copy_all(_database(one), _database(other))


def _database(store: Store) -> Database:
    database = getattr(store, "database", None)
    assert isinstance(database, Database)
    return database
