"""Prepares a database for a team: the members' group role, login roles and their rights."""

from __future__ import annotations

import secrets
from contextlib import closing, contextmanager

from core.errors import StoreForbidden
from core.store.postgres.errors import NO_RIGHT, store_error
from core.store.postgres.schema import (MEMBERS_ROLE, SCHEMA, bring_up_to_date, get_meta, grant,
                                        quoted, set_meta)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from psycopg import Connection

    from core.store.address import Address

LONGEST_NAME = 63  # bytes of an identifier in PostgreSQL


def prepare(address: Address, members: Sequence[str], servers: Sequence[str]) -> dict[str, str]:
    """Create the schema and the roles; return the passwords of new roles by name. Repeating it
    changes nothing.

    `servers` are members too, and may act for all others. Raises StoreError.
    """
    import psycopg

    with _errors(address):
        with closing(
            psycopg.connect(address.url, autocommit=True, connect_timeout=10)
        ) as connection:
            bring_up_to_date(connection, address.place, share=True)
            with connection.transaction():
                role = _members_role(connection)
                made = {
                    name: _make_role(connection, name)
                    for name in (*members, *servers)
                    if not _exists(connection, name)
                }
                for name in dict.fromkeys((*members, *servers)):
                    connection.execute(f"GRANT {quoted(role)} TO {quoted(name)}".encode())
                for name in servers:
                    connection.execute(
                        f"INSERT INTO {SCHEMA}.servers (role) VALUES (%s) ON CONFLICT DO NOTHING",
                        (name,),
                    )
                grant(connection, role)
                return made


@contextmanager
def _errors(address: Address) -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as problem:
        if getattr(problem, "sqlstate", None) == NO_RIGHT:
            raise StoreForbidden(
                f"This role may not prepare {address.place} for a team:"
                f" {str(problem).splitlines()[0]}",
                "The role must own the database and have CREATEROLE, or be a superuser.",
            ) from problem
        raise store_error(problem, address.place) from problem


def _members_role(connection: Connection[Any]) -> str:
    """Return the role that holds the rights of all members, creating it at the first call."""
    role = get_meta(connection, MEMBERS_ROLE)
    if role and _exists(connection, role):
        return role
    row = connection.execute(
        "SELECT current_database(), current_user, usesuper FROM pg_user "
        "WHERE usename = current_user"
    ).fetchone()
    assert row is not None
    role = f"{SCHEMA}_{row[0]}".encode()[:LONGEST_NAME].decode("utf-8", "ignore")
    if not _exists(connection, role):
        connection.execute(f"CREATE ROLE {quoted(role)} NOLOGIN".encode())
    if not row[2]:
        connection.execute(
            f"GRANT {quoted(role)} TO {quoted(row[1])}".encode()
        )  # an administrator chats as a member
    set_meta(connection, MEMBERS_ROLE, role)
    return role


def _exists(connection: Connection[Any], role: str) -> bool:
    return (
        connection.execute(
            "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (role,)
        ).fetchone()
        is not None
    )


def _make_role(connection: Connection[Any], name: str) -> str:
    """Create a login role and return its password, which reaches the server only as a hash."""
    password = secrets.token_urlsafe(18)
    hashed = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(f"CREATE ROLE {quoted(name)} LOGIN PASSWORD '{hashed}'".encode())
    return password
