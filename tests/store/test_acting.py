"""For which member a statement in PostgreSQL runs: attacks on it, and page servers that act for
many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from core.messages import user_message
from core.store.address import parse_address
from core.store.identity import new_message_id
from core.store.postgres.roles import prepare
from core.store.postgres.store import PostgresStore
from db import open_store
from tests import postgres

pytestmark = pytest.mark.processes
ACT_FOR = "SELECT set_config('stream_chat.member', %s, false)"
SEEN = "SELECT id FROM stream_chat.sessions ORDER BY id"


@pytest.fixture
def url(postgres_url: str) -> str:
    """A database of ana, ben and the server `page`, in which ana and ben have a session each."""
    made = postgres.new_database(postgres_url)
    prepare(parse_address(made), ["ana", "ben"], ["page"])
    for member in ("ana", "ben"):
        with closing(open_store(url_of(made, member))) as store:
            store.create_session(f"s-{member}", f"of {member}", "demo/m", 1.0,
                                 (new_message_id(), user_message("a secret")), name=f"s-{member}")
    return made


def url_of(url: str, role: str) -> str:
    return url.replace("//chat@", f"//{role}@")


@pytest.fixture
def ben(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url_of(url, "ben"), autocommit=True) as connection:
        yield connection


def seen(connection: psycopg.Connection[Any], *, prepared: bool = False) -> list[str]:
    return [row[0] for row in connection.execute(SEEN, prepare=prepared or None).fetchall()]


def test_a_member_cannot_act_for_another_one(ben: psycopg.Connection[Any]) -> None:
    """Neither with the setting nor with objects of his own that our functions might use."""
    for statement in (
        "SET stream_chat.member = 'ana'",
        "CREATE TEMP TABLE servers AS SELECT 'ben'::text AS role",
        "CREATE FUNCTION pg_temp.may_act() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE FUNCTION pg_temp.acting_for() RETURNS text LANGUAGE sql AS $$ SELECT 'ana' $$",
        "CREATE FUNCTION pg_temp.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT true'",
        "CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql"
        " AS $$ SELECT 'ana' $$",
        "SET search_path = pg_temp, stream_chat, pg_catalog",
        "SET plan_cache_mode = force_generic_plan",
    ):
        ben.execute(statement.encode())
        for prepared in (False, True):
            assert seen(ben, prepared=prepared) == ["s-ben"], statement
        assert ben.execute("SELECT stream_chat.current_member(), stream_chat.acting_for(),"
                           " stream_chat.may_act()").fetchone() == ("ben", "ben", False), statement
    added = ben.execute("INSERT INTO stream_chat.sessions (id, title, model, created, updated,"
                        " member) VALUES ('s-new', 't', 'm', 1, 1, 'ana') RETURNING member")
    assert added.fetchone() == ("ben",)


def test_functions_and_operators_of_a_member_do_not_replace_postgresqls(
    url: str, ben: psycopg.Connection[Any]
) -> None:
    """Where members may create objects, as in the schema `public` before PostgreSQL 15."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA own AUTHORIZATION ben")
        owner.execute("INSERT INTO stream_chat.shares VALUES ('s-ana', 'ben', 1)")
    for kind, name in (("text, text", "eq"), ("text, text", "ne"), ("oid", "row_security_active")):
        ben.execute(f"CREATE FUNCTION own.{name}({kind}) RETURNS boolean LANGUAGE sql"
                    f" AS 'SELECT {str(name == 'eq').lower()}'".encode())
    for operator, name in (("=", "eq"), ("<>", "ne")):
        ben.execute(f"CREATE OPERATOR own.{operator} (FUNCTION = own.{name}, LEFTARG = text,"
                    " RIGHTARG = text)".encode())
    ben.execute("CREATE FUNCTION own.current_setting(text, boolean) RETURNS text LANGUAGE sql"
                " AS $$ SELECT 'ana'::pg_catalog.text $$")
    ben.execute("CREATE TYPE pg_temp.text AS ENUM ('ana')")
    ben.execute("SET search_path = own, pg_catalog")
    assert ben.execute("SELECT stream_chat.current_member()").fetchone() == ("ben",)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ben.execute("UPDATE stream_chat.sessions SET shelf = 'trash' WHERE id LIKE 's-ana'")
    ben.execute("UPDATE stream_chat.sessions SET settings = 'x', title = 'ours'")
    assert ben.execute("INSERT INTO stream_chat.sessions (id, title, model, created, updated,"
                       " member) VALUES ('s-new', 't', 'm', 1, 1, 'ana') RETURNING member"
                       ).fetchone() == ("ben",)
    assert ben.execute("INSERT INTO stream_chat.messages (id, session_id, position, role, state,"
                       " created, parts, words) VALUES (gen_random_uuid(), 's-ana', 9, 'user',"
                       " 'complete', 1, '[]', '') RETURNING member").fetchone() == ("ana",)
    with psycopg.connect(url, autocommit=True) as owner:
        assert owner.execute("SELECT member, shelf, settings, title FROM stream_chat.sessions WHERE"
                             " id = 's-ana'").fetchone() == ("ana", "open", "{}", "ours")


def test_our_functions_cannot_be_replaced(ben: psycopg.Connection[Any]) -> None:
    for statement in (
        "CREATE OR REPLACE FUNCTION stream_chat.may_act() RETURNS boolean LANGUAGE sql"
        " AS 'SELECT true'",
        "CREATE OR REPLACE FUNCTION stream_chat.acting_for() RETURNS text LANGUAGE sql"
        " AS $$ SELECT 'ana' $$",
        "CREATE FUNCTION stream_chat.acting_for(integer) RETURNS text LANGUAGE sql"
        " AS $$ SELECT 'ana' $$",
        "ALTER FUNCTION stream_chat.acting_for() SET search_path = pg_temp",
        "ALTER ROLE ben BYPASSRLS",
        "SET SESSION AUTHORIZATION ana",
    ):
        with pytest.raises(psycopg.Error):
            ben.execute(statement.encode())
    assert seen(ben) == ["s-ben"]


def test_a_prepared_statement_of_a_server_shows_each_member_only_their_own(url: str) -> None:
    """The plan is kept; whom it is for is asked at each execution."""
    with psycopg.connect(url_of(url, "page"), autocommit=True) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        for _ in range(3):
            for member in ("ana", "ben", "nobody"):
                connection.execute(ACT_FOR, (member,))
                own = [] if member == "nobody" else [f"s-{member}"]
                assert seen(connection, prepared=True) == own
        connection.execute(ACT_FOR, ("",))
        assert seen(connection, prepared=True) == []    # the server's own


def test_a_server_that_loses_its_right_sees_nothing_more_at_once(url: str) -> None:
    with (
        psycopg.connect(url, autocommit=True) as owner,
        psycopg.connect(url_of(url, "page"), autocommit=True) as connection,
    ):
        connection.execute(ACT_FOR, ("ana",))
        for _ in range(8):
            assert seen(connection, prepared=True) == ["s-ana"]
        owner.execute("DELETE FROM stream_chat.servers")
        assert seen(connection, prepared=True) == []


def test_a_list_says_who_shared_a_session(url: str) -> None:
    """Over a connection of a server, where own and shared sessions are read from two indexes."""
    with closing(open_store(url_of(url, "page"))) as page:
        assert isinstance(page, PostgresStore)
        ana, ben = page.for_user("ana"), page.for_user("ben")
        ana.share_session("s-ana", "ben", write=False)
        for limit in (0, 1, 9):
            listed = [(row.id, row.member) for row in ben.sessions(limit)]
            assert listed == [("s-ben", ""), ("s-ana", "ana")][:limit or 9]
            assert [(row.id, row.member) for row in ana.sessions(limit)] == [("s-ana", "")]
