"""SQL that only reads, and the search in earlier sessions."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import ToolError
from core.messages import ToolCall, user_message
from core.store.sqlite.store import SqliteStore
from core.tool_executor import Toolbox
from core.tools import ToolContext, get_tools
from core.tools import postgres_reading
from core.tools.database import PRAGMAS, open_sqlite, query_database
from core.tools.limited_process import Job
from tests.postgres import reader_url, running_server, why_not

pytestmark = pytest.mark.processes      # queries run in a child process


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL, "
                           "picture BLOB)")
        connection.executemany("INSERT INTO items (name, price, picture) VALUES (?, ?, ?)",
                               [("tea, green", 2.5, None), ('"cup"', 4, b"\x89PNG"),
                                ("pot\nblue", 19, b"")])
        connection.execute("CREATE VIEW cheap AS SELECT name FROM items WHERE price < 5")
    connection.close()
    return ToolContext(roots=(str(tmp_path),))


def test_rows_as_csv(context: ToolContext) -> None:
    assert query_database(context, "shop.db",
                          "SELECT name, price, picture FROM items ORDER BY id") == (
        'name,price,picture\n"tea, green",2.5,NULL\n"""cup""",4.0,<4 bytes>\n"pot\nblue",19.0,<0 '
        'bytes>\n[3 rows]')
    assert query_database(context, "shop.db", "SELECT id FROM items",
                          2) == "id\n1\n2\n[2 rows, there are more]"
    assert query_database(context, "shop.db", "WITH x AS (SELECT count(*) AS n FROM cheap) SELECT "
                          "n FROM x") == "n\n2\n[1 rows]"


def test_without_a_query_the_tables_are_shown(context: ToolContext) -> None:
    said = query_database(context, "shop.db")
    assert "CREATE TABLE items" in said and "CREATE VIEW cheap" in said
    assert "name,TEXT" in query_database(context, "shop.db", "PRAGMA table_info(items)")


@pytest.mark.parametrize("sql", [
    "DELETE FROM items", "UPDATE items SET price = 0", "INSERT INTO items (name) VALUES ('x')",
    "DROP TABLE items", "VACUUM",
    "CREATE TABLE x (a)", "CREATE TEMP TABLE x (a)", "ATTACH DATABASE '/etc/passwd' AS other",
    "ATTACH '{dir}/new.db' AS other",
    "VACUUM INTO '{dir}/copy.db'", "PRAGMA query_only = OFF", "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = ON",
    "SELECT load_extension('x')", "SELECT readfile('/etc/passwd')", "SELECT 1; DELETE FROM items",
    "BEGIN", "SELECT * FROM nowhere",
    "SELECT fts3_tokenizer('simple')", "PRAGMA database_list", "not sql",
    "SELECT zeroblob(1000000000)",
    "SELECT randomblob(999999999)", "DETACH main", "SAVEPOINT x", "ANALYZE",
    "SELECT '\0'; DROP TABLE items",
])
def test_everything_else_is_refused_and_changes_nothing(context: ToolContext, tmp_path: Path,
                                                        sql: str) -> None:
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.glob("*.db"))
    with pytest.raises(ToolError):
        query_database(context, "shop.db", sql.replace("{dir}", str(tmp_path)))
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.glob("*.db")) == before


def test_no_pragma_changes_anything_and_no_statement_writes(context: ToolContext,
                                                            tmp_path: Path) -> None:
    """Every pragma that this SQLite knows, in every form; every statement after any beginning."""
    def content() -> list[tuple[str, bytes]]:
        return sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()
                      if not path.name.endswith("-shm"))
    with sqlite3.connect(":memory:") as memory:
        known = [row[0] for row in memory.execute("PRAGMA pragma_list")]
    memory.close()
    tried = [form.format(name) for name in known if name not in PRAGMAS
             for form in ("PRAGMA {}", "PRAGMA {} = 1", "PRAGMA main.{}(1)", "pragma {}='x'",
                          "SELECT * FROM pragma_{}", "EXPLAIN PRAGMA {} = 1")]
    tried += [f"{begin}{rest}" for begin in ("", "/* x */ ", "WITH y AS (SELECT 1) ")
              for rest in ("INSERT INTO items (name) SELECT 'x'", "DELETE FROM items",
                           "UPDATE items SET price = 0 RETURNING id",
                           "REPLACE INTO items (id) VALUES (1)")]
    tried += ["CREATE VIRTUAL TABLE temp.x USING fts5(a)", "END", "ROLLBACK",
              "CREATE TRIGGER temp.t AFTER INSERT ON items BEGIN SELECT 1; END",
              "ALTER TABLE items ADD x", "SELECT * FROM fsdir('/')", "SELECT edit('x')",
              "SELECT writefile('x', 'y')", "ATTACH ':memory:' AS m",
              "ATTACH 'file:x?mode=rwc' AS m"]
    with open_sqlite(context, "shop.db"):
        before = content()
    for sql in tried:
        try:
            with open_sqlite(context, "shop.db") as connection:
                connection.execute(sql).fetchall()
        except ToolError:
            continue
        raise AssertionError(f"not refused: {sql}")
    assert content() == before


@pytest.mark.parametrize("sql", [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "SELECT count(*) FROM " + ", ".join(f"items {letter}"
                                        for letter in "abcdefghijklmnopqrstuvwxyz"),
])
def test_a_query_without_end_is_stopped(context: ToolContext, sql: str) -> None:
    with pytest.raises(ToolError, match="took longer than (0.1|2.1) s"):   # the query, its process
        query_database(replace(context, seconds=0.1), "shop.db", sql)


def test_a_query_that_nobody_waits_for_is_stopped(context: ToolContext) -> None:
    threading.Timer(0.1, context.stop.set).start()
    started = time.monotonic()
    with pytest.raises(ToolError):
        query_database(context, "shop.db", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + "
                       "1 FROM n) SELECT count(*) FROM n")
    assert time.monotonic() - started < 15   # the query's own limit is 20 s


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "a server can be started")
def test_postgresql_is_read_and_nothing_else(tmp_path: Path) -> None:
    import psycopg
    with running_server() as owner:
        url = reader_url(owner)
        with psycopg.connect(owner) as connection:
            connection.execute("CREATE TABLE items (id int, name text)")
            connection.execute("INSERT INTO items VALUES (1, 'tea'), (2, NULL)")
        context = ToolContext(databases={"shop": url}, seconds=30.0)
        assert (query_database(context, "shop", "SELECT * FROM items ORDER BY id")
                == "id,name\n1,tea\n2,NULL\n[2 rows]")
        assert "public,items,name,text" in query_database(context, "shop")
        assert query_database(context, "shop", "-- why\nWITH x AS (SELECT 1 AS n) TABLE x",
                              1) == "n\n1\n[1 rows]"
        many = query_database(context, "shop", "SELECT n FROM generate_series(1, 100000) AS n", 1)
        assert many == "n\n1\n[1 rows, there are more]"
        for sql in ("DELETE FROM items", "SELECT 1; DELETE FROM items",
                    "WITH x AS (DELETE FROM items RETURNING id) SELECT * FROM x",
                    "COPY items TO PROGRAM 'true'",
                    "SELECT pg_read_file('/etc/passwd')", "SET transaction_read_only = off",
                    "SELECT set_config('transaction_read_only', 'off', false)",
                    "SELECT lo_import('/etc/passwd')", "oops",
                    "EXPLAIN ANALYZE DELETE FROM items",
                    "SELECT * INTO copy_of FROM items"):
            with pytest.raises(ToolError):
                query_database(context, "shop", sql)
        with pytest.raises(ToolError):
            query_database(replace(context, seconds=1.0), "shop",
                           "SELECT count(*) FROM generate_series(1, 2000000000)")
        assert query_database(context, "shop", "SELECT count(*) FROM items") == "count\n2\n[1 rows]"
        check_roles(owner)
    with pytest.raises(ToolError, match="The database says"):
        query_database(context, "shop", "SELECT 1")


READS_A_FILE = (r"""select U&"pg\005fread_file"('/etc/passwd',0,40)""",
                "select pg_catalog.pg_read_file('/etc/passwd')")


def check_roles(owner: str) -> None:
    """Every predefined role except read-only ones, and every powerful attribute, own or inherited,
    is rejected.
    """
    import psycopg
    with psycopg.connect(owner, autocommit=True) as connection:
        named = [row[0] for row
                 in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'pg\\_%'")]
        strong = [name for name in named if name not in postgres_reading.HARMLESS]
        assert {"pg_read_server_files", "pg_write_server_files",
                "pg_execute_server_program"} <= set(strong)
        makers = {f"r{number}": f"IN ROLE {name}" for number, name in enumerate(strong)} | {
            "s1": "SUPERUSER", "s2": "REPLICATION", "s3": "CREATEROLE",
            "s4": "IN ROLE s1 NOINHERIT", "s5": "IN ROLE r0"}
        for role, how in makers.items():
            connection.execute(f"CREATE ROLE {role} LOGIN {how}")
        for role, how in makers.items():
            for sql in (*READS_A_FILE, "SELECT 1"):
                with pytest.raises(ToolError,
                                   match="can do more than read|Only reading is allowed"):
                    postgres_reading.read_postgres(Job(), owner.replace("//chat@", f"//{role}@"),
                                                   sql, 10, 20.0)
        check_granted_functions(owner, connection)
        insisting = ToolContext(databases={"shop": owner + "?allow_superuser=yes"})
        assert query_database(insisting, "shop", "SELECT 1 AS n") == "n\n1\n[1 rows]"
        for sql in (*READS_A_FILE, "select pg_stat_reset()", "select pg_notify('a', 'b')",
                    "DELETE FROM items"):
            with pytest.raises(ToolError):
                query_database(insisting, "shop", sql)


def check_granted_functions(owner: str, connection: Any) -> None:
    """The right to call a restricted function is more than reading, whether the role or one of its
    groups has it.
    """
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    kept = [row[0] for row in connection.execute(
        "SELECT oid::regprocedure::text FROM pg_proc p WHERE proacl IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM aclexplode(proacl) WHERE grantee = 0) ORDER BY 1")]
    assert len(kept) > 30
    for number, function in enumerate(random.Random(seed).sample(kept, 4)):
        connection.execute(f"CREATE ROLE group{number}; CREATE ROLE g{number} LOGIN "
                           f"{'NOINHERIT ' if number % 2 else ''}IN ROLE group{number}; "
                           f"GRANT EXECUTE ON FUNCTION {function} TO group{number}".encode())
        name = function.partition("(")[0]
        with pytest.raises(ToolError, match=f"may call {name}.* more than read"):
            postgres_reading.read_postgres(Job(), owner.replace("//chat@", f"//g{number}@"),
                                           "SELECT 1", 10, 20.0)
    connection.execute("CREATE ROLE monitoring LOGIN IN ROLE pg_monitor")
    assert postgres_reading.read_postgres(
        Job(), owner.replace("//chat@", "//monitoring@"), "SELECT 1 AS n", 10, 20.0).startswith("n")


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"garbage" * 500])
def test_what_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(ToolError):
        query_database(ToolContext(roots=(str(tmp_path),)), "x.db", "SELECT 1")


def test_earlier_sessions_are_found(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "sessions.db"))
    try:
        for number, words in enumerate(
                ("We baked rye bread", "The bread and the butter", "Something else")):
            store.create_session(f"s{number}", f"Title {number}", "demo/demo",
                                 1_700_000_000.0 + number)
            store.add_message(f"s{number}", number + 1, user_message(words), "complete")
        context = ToolContext(store=store, session="s1")
        box = Toolbox(get_tools(["search_sessions"]), context)
        result = asyncio.run(
            box.execute_tool_call(ToolCall("1", "search_sessions", {"words": "bread"})))
        assert not result.is_error and box.private
        lines = result.content.split("\n")
        assert (lines[0].startswith("s0 ") and lines[0].endswith(" Title 0")
                and lines[1:] == ["  user: We baked rye bread"])
        result = asyncio.run(
            box.execute_tool_call(ToolCall("1", "search_sessions", {"words": "nowhere"})))
        assert result.content == "No earlier session has these words."
    finally:
        store.close()


def test_without_saved_sessions_that_is_said() -> None:
    box = Toolbox(get_tools(["search_sessions"]))
    assert ("not saved in this run"
            in asyncio.run(box.execute_tool_call(ToolCall("1", "search_sessions", {"words": "xx"})))
            .content)
