"""Databases of earlier versions are migrated completely and in order, even if the program is killed
at any statement.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from core.errors import StoreForeign
from core.messages import user_message
from core.store.identity import new_message_id
from core.store.query import parse_query
from core.setup.database_care import open_care
from core.store.schema import MIGRATIONS, make_sqlite
from core.store.version import SCHEMA_VERSION
from db import Store, open_store

ROOT = Path(__file__).resolve().parent.parent.parent
OLD_IDS = (1, 77, 909_000_000_000_000_000, 909_000_000_000_000_001)

# What version 4 made, with two sessions: statements for both databases.
KEY = {"sqlite": "integer", "postgresql": "bigint"}
OLD_TABLES = (
    "CREATE TABLE sessions (id text PRIMARY KEY, title text NOT NULL, model text NOT NULL, created "
    "double precision NOT NULL, updated double precision NOT NULL, message_count integer NOT NULL "
    "DEFAULT 0, parent text, settings text NOT NULL DEFAULT '{{}}')",
    "CREATE INDEX sessions_listed ON sessions (updated)",
    "CREATE TABLE messages (id {key} PRIMARY KEY, session_id text NOT NULL REFERENCES sessions "
    "(id) ON DELETE CASCADE, position integer NOT NULL, role text NOT NULL, state text NOT NULL, "
    "active integer NOT NULL DEFAULT 1, model text, created double precision NOT NULL, finish "
    "text, usage text, parts text NOT NULL, text text NOT NULL, owner text)",
    "CREATE INDEX messages_session ON messages (session_id, position)",
    "CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming'",
    "CREATE TABLE chunks (message_id {key} NOT NULL REFERENCES messages (id) ON DELETE CASCADE, "
    "seq integer NOT NULL, kind text NOT NULL, part integer NOT NULL, text text NOT NULL, extra "
    "text, PRIMARY KEY (message_id, seq))",
    "CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)",
    "CREATE TABLE model_calls (id {key} PRIMARY KEY, created double precision NOT NULL, session_id "
    "text NOT NULL, provider text NOT NULL, model text NOT NULL, host text NOT NULL, first_seconds "
    "double precision, seconds double precision NOT NULL, input_tokens {key}, output_tokens {key}, "
    "cached_tokens {key}, speed double precision, cost double precision, retries integer NOT NULL, "
    "fallbacks integer NOT NULL, finish text, error text)",
    "CREATE INDEX model_calls_created ON model_calls (created)",
    "CREATE TABLE embeddings (id {key} PRIMARY KEY, model text NOT NULL, hash text NOT NULL, "
    "vector {bytes} NOT NULL, UNIQUE (model, hash))",
)
OLD_ROWS = (
    "INSERT INTO sessions (id, title, model, created, updated, message_count) VALUES "
    "('20260101-1000-aaaa', 'first', 'm', 1.0, 30.0, 2), ('20260202-1000-bbbb', 'second', 'm', "
    "2.0, 20.0, 1)",
    *("INSERT INTO messages (id, session_id, position, role, state, created, parts, text) VALUES "
      f"({identity}, '{session}', {position}, 'user', '{state}', 1.0, "
      f"'[{{{{\"type\":\"text\",\"text\":\"needle {identity}\"}}}}]', "
      f"'needle {identity}')"
      for identity, session, position, state in zip(
          OLD_IDS, ("20260101-1000-aaaa", "20260202-1000-bbbb", "20260101-1000-aaaa",
                    "20260101-1000-aaaa"), (1, 1, 2, 2),
          ("complete", "complete", "complete", "streaming"))),
    f"INSERT INTO chunks VALUES ({OLD_IDS[3]}, 0, 'text', 0, 'half', NULL)",
    "INSERT INTO model_calls VALUES (5, 10.0, 's', 'p', 'm', 'h', NULL, 1.5, 1, 2, 3, NULL, NULL, "
    "0, 0, 'stop', NULL)",
)


def make_old_sqlite(path: str) -> None:
    from sqlite_utils import Database
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in OLD_TABLES:
            connection.execute(statement.format(key="integer", bytes="blob"))
        Database(connection)["messages"].enable_fts(  # type: ignore[union-attr]
            ["text"], tokenize="unicode61 remove_diacritics 2", create_triggers=True)
        for statement in OLD_ROWS:
            connection.execute(statement.format())
        connection.execute("CREATE TABLE _sqlite_migrations "
                           "(id integer PRIMARY KEY, migration_set text, name text, "
                           "applied_at text)")
        connection.executemany("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
                               "VALUES ('stream_chat', ?, '')",
                               [(name,) for name, _ in MIGRATIONS[:4]])
        connection.execute("PRAGMA user_version = 4")


def make_old_postgres(url: str) -> None:
    import psycopg
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (*OLD_TABLES, "CREATE INDEX messages_text ON messages USING gin "
                          "(to_tsvector('simple', left(text, 200000)))", *OLD_ROWS):
            connection.execute(statement.format(key="bigint", bytes="bytea").encode())
        connection.execute("INSERT INTO meta VALUES ('schema_version', '4')")


def check_new(store: Store) -> None:
    """Everything is available, in its old order, under its old IDs, and works with new features."""
    assert [(row.id, row.name, row.title) for row in store.sessions()] == [
        ("20260101-1000-aaaa", "20260101-1000-aaaa", "first"),
        ("20260202-1000-bbbb", "20260202-1000-bbbb", "second")]
    session = store.find_session("aaaa").id
    assert [entry.id for entry in store.load_messages(session)] == [OLD_IDS[0], *OLD_IDS[2:]]
    (left,) = store.unfinished()
    assert left.stored.id == OLD_IDS[3] and [chunk.text for chunk in left.chunks] == ["half"]
    assert ({identity for _, identity in store.find_messages(parse_query("needle"), 9)}
            == set(OLD_IDS))
    assert store.find_messages(parse_query("needle 77"), 9) == [("20260202-1000-bbbb", 77)]
    assert [call.seconds for call in store.calls()] == [1.5]
    added = new_message_id()
    store.add_message(session, added, user_message("newer needle"), "complete")
    store.finish_message(OLD_IDS[0], user_message("changed"), "complete")
    assert [entry.id for entry in store.load_messages(session)] == [OLD_IDS[0], *OLD_IDS[2:], added]
    assert ({identity for _, identity in store.find_messages(parse_query("needle"), 9)}
            == {*OLD_IDS[1:], added})
    store.add_vectors("p/m", {"a": b"1234"}, 10)
    store.delete_session(session)
    assert {identity for _, identity in store.find_messages(parse_query("needle"), 9)} == {77}


def new_database(server: str, name: str) -> str:
    import psycopg
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.removesuffix("postgres") + name


def test_an_old_sqlite_database(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    make_old_sqlite(path)
    with closing(open_store(path)) as store:
        check_new(store)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO messages_fts (messages_fts) VALUES ('integrity-check')")


def test_an_old_postgresql_database(postgres_url: str) -> None:
    url = new_database(postgres_url, "old")
    make_old_postgres(url)
    with closing(open_store(url)) as store:
        check_new(store)
    import psycopg
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = "
                                  "'public'").fetchone() == (0,)


def start_and_kill(path: Path, last: int) -> int:
    """Open the database in a process that is killed before its n-th statement; how many
    there were when it is not.

    It forks, since starting so many interpreters would take minutes.
    """
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        with os.fdopen(read) as told:
            said = told.read()
        os.waitpid(process, 0)
        return int(said or -1)
    seen = 0

    def count(statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    try:
        sqlite3.connect = traced     # type: ignore[assignment]
        open_store(str(path)).close()
        os.write(write, str(seen).encode())
    finally:
        os._exit(0)


def tables_of(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()
        return [version,
                *connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name")
                .fetchall(),
                *(connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                  for table in ("sessions", "messages", "chunks"))]


@pytest.mark.processes
def test_killed_at_each_statement_of_the_migration_on_sqlite(tmp_path: Path) -> None:
    """Either nothing has happened, or everything."""
    first = tmp_path / "whole.db"
    make_old_sqlite(str(first))
    before = tables_of(first)

    statements = start_and_kill(first, 0)
    after = tables_of(first)
    assert statements > 40 and after != before
    path = tmp_path / "s.db"
    make_old_sqlite(str(path))
    for last in range(1, statements + 1):
        assert start_and_kill(path, last) == -1
        found = tables_of(path)
        assert found in (before, after), f"killed at statement {last} of {statements}"
        if found == after:
            for file in tmp_path.glob("s.db*"):
                file.unlink()
            make_old_sqlite(str(path))
    with closing(open_store(str(path))) as store:
        check_new(store)


class KillingProxy:
    """Forwards a client's messages to PostgreSQL and cuts the connection before the n-th one."""

    def __init__(self, url: str) -> None:
        self._server = ("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.left = self.passed = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listening.accept()
            threading.Thread(target=self._talk,
                             args=(client, socket.create_connection(self._server)),
                             daemon=True).start()

    def _talk(self, client: socket.socket, server: socket.socket) -> None:
        threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
        while data := client.recv(65536):
            self.passed += 1
            if self.passed == self.left:
                break
            server.sendall(data)
        for side in (client, server):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass

    def cut_after(self, messages: int) -> None:
        self.passed, self.left = 0, messages


def snapshot(url: str) -> str:
    import psycopg
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT table_schema, table_name, column_name, data_type FROM "
                                  "information_schema.columns WHERE table_schema IN ('public', "
                                  "'stream_chat') ORDER BY 1, 2, 3").fetchall()
    return json.dumps(rows)


def test_cut_off_at_each_statement_of_the_migration_on_postgresql(postgres_url: str) -> None:
    url = new_database(postgres_url, "cut")
    make_old_postgres(url)
    before = snapshot(url)
    proxy = KillingProxy(url)
    through = f"postgresql://chat@127.0.0.1:{proxy.port}/cut?sslmode=disable&gssencmode=disable"
    cuts = 0
    for last in range(2, 200):
        proxy.cut_after(last)
        try:
            store = open_store(through)
        except Exception as error:
            assert type(error).__name__.startswith("Store"), error
            cuts += 1
            if snapshot(url) != before:
                break     # the connection was cut after the commit
            continue
        store.close()
        break
    assert cuts > 15 and snapshot(url) != before
    with closing(open_store(url)) as store:
        check_new(store)


# ---- first starts, and databases of others

def everything_in(connection: sqlite3.Connection) -> tuple[object, ...]:
    """All that a database is made of, and its rows but for the times of migrations."""
    made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master "
                              "ORDER BY type, name").fetchall()
    tables = [name for type, name, *_ in made
              if type == "table" and not name.startswith("messages_fts_")]
    rows = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
    rows["_sqlite_migrations"] = [row[:3] for row in rows["_sqlite_migrations"]]
    return connection.execute("PRAGMA user_version").fetchone(), made, rows


def test_a_new_database_is_what_all_migrations_make(tmp_path: Path) -> None:
    """Where this fails after a change of the tables: `make docs`."""
    open_store(str(tmp_path / "new.db")).close()
    with (closing(sqlite3.connect(tmp_path / "new.db")) as new,
          closing(sqlite3.connect(tmp_path / "migrated.db", isolation_level=None)) as migrated):
        make_sqlite(migrated, SCHEMA_VERSION)
        assert everything_in(new) == everything_in(migrated)
        times = [time for time, in new.execute("SELECT applied_at FROM _sqlite_migrations")]
        assert len(times) == SCHEMA_VERSION and all(map(datetime.fromisoformat, times))
        assert new.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


START = "import sys; from db import open_store; open_store(sys.argv[1]).close()"


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_twenty_first_starts_at_once(kind: str, tmp_path: Path,
                                     request: pytest.FixtureRequest) -> None:
    url = (str(tmp_path / "s.db") if kind == "sqlite"
           else new_database(request.getfixturevalue("postgres_url"), "twenty"))
    command = [sys.executable, "-c", START, url]
    children = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
                for _ in range(20)]
    errors = [child.communicate(timeout=300)[1] for child in children]
    assert ([error for error in errors if error] == []
            and all(child.returncode == 0 for child in children))


def test_another_programs_sqlite_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    for pragma in ("user_version = 0", f"user_version = {SCHEMA_VERSION}", "application_id = 7"):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS customers (x)")
            connection.execute(f"PRAGMA {pragma}")
        content = path.read_bytes()
        with pytest.raises(StoreForeign) as caught:
            open_store(str(path))
        assert str(path) in caught.value.message and "--database-url" in caught.value.hint
        assert (path.read_bytes() == content
                and [file.name for file in tmp_path.iterdir()] == ["s.db"])


def test_another_programs_postgresql_database_gets_a_schema_only_when_asked_for(
        postgres_url: str) -> None:
    import psycopg
    url = new_database(postgres_url, "foreign_one")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions (id integer, mine text)")
    before = snapshot(url)
    with pytest.raises(StoreForeign) as caught:
        open_store(url)
    assert ("foreign_one" in caught.value.message and "--database-url" in caught.value.hint
            and snapshot(url) == before)
    for share in (True, False):
        with closing(open_store(url, share=share)) as store:
            store.create_session(f"s{share}", "t", "m", 1.0)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM public.sessions").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM stream_chat.sessions").fetchone() == (2,)


def lose_head(data: bytearray) -> None:
    data[:4096] = bytes(4096)


def lose_a_page(data: bytearray) -> None:
    """The first page of the table of sessions, which is known by its rows."""
    at = data.index(b"20260101-1000-aaaafirst") // 4096 * 4096
    data[at:at + 4096] = bytes(4096)


@pytest.mark.parametrize("damage", [lose_head, lose_a_page])
@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_damaged_file_of_any_version_is_recovered(tmp_path: Path, version: int,
                                                    damage: Callable[[bytearray], None]) -> None:
    """All messages are recovered and migrated; those of a session whose row is lost, under its
    identity.
    """
    path = str(tmp_path / "s.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        make_sqlite(connection, version)
        for statement in OLD_ROWS[:2 + len(OLD_IDS)]:
            connection.execute(in_version(statement.format(), version))
        if version > 5:
            connection.execute("UPDATE sessions SET name = id, used = 1")
    data = bytearray(Path(path).read_bytes())
    damage(data)
    Path(path).write_bytes(data)
    done = open_care(path).repair()
    assert "Recovered" in done[0], done
    with closing(open_store(path)) as store:
        found = {row.id: [entry.message.text for entry in store.load_messages(row.id)]
                 for row in store.sessions()}
        assert store.find_messages(parse_query("needle"), 10)
    assert found == {"20260101-1000-aaaa":
                     [f"needle {identity}" for identity in (OLD_IDS[0], *OLD_IDS[2:])],
                     "20260202-1000-bbbb": [f"needle {OLD_IDS[1]}"]}
    assert Path(glob(f"{path}.set-aside-*")[0]).read_bytes() == bytes(data)


def in_version(statement: str, version: int) -> str:
    """A row of version 4 as it is written in another one."""
    if "INTO messages" not in statement:
        return statement
    for identity in OLD_IDS if version >= 5 else ():
        statement = statement.replace(f"VALUES ({identity},", f"VALUES ('{identity:032x}',")
    return statement.replace("parts, text)", "parts, words)") if version >= 7 else statement
