"""SQLite: file modes, forms of addresses, and errors from really damaged or blocked databases."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreFull, StoreTooNew, UsageError
from core.messages import user_message
from core.store.identity import new_message_id
from core.store.schema import MIGRATIONS
from core.store.sqlite.store import SqliteStore
from core.store.version import SCHEMA_VERSION
from db import open_store

ROOT = Path(__file__).resolve().parent.parent.parent


def assert_readable(error: StoreError) -> None:
    lines = [error.message, error.hint]
    assert all(line and "\n" not in line and "Traceback" not in line for line in lines)


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    os.umask(0o022)
    store = open_store(str(tmp_path / "a" / "s.db"))
    store.create_session("s1", "t", "m", 1.0)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o700
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in (tmp_path / "a").iterdir()} == {0o600}
    store.close()


def test_what_is_deleted_is_in_no_file_any_more(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    store.create_session("s1", "The rhubarb", "m", 1.0)
    store.add_message("s1", new_message_id(), user_message("the zeppelin"), "complete")
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"rhubarb" in files and b"zeppelin" in files
    store.delete_session("s1")
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"rhubarb" not in files and b"zeppelin" not in files
    store.close()


def test_what_a_program_that_was_killed_left_beside_the_file_goes(tmp_path: Path) -> None:
    store, left = open_store(str(tmp_path / "s.db")), tmp_path / "s.db-live-0123456789abcdef"
    store.create_session("s1", "t", "m", 1.0)
    store.begin_turn("s1")
    left.touch()
    (own,) = set(tmp_path.glob("s.db-live-*")) - {left}
    assert store.unfinished() == [] and own.exists() and not left.exists()
    store.close()


def test_forms_of_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    forms = (("a.db", "a.db"), ("sqlite:///b.db", "b.db"), (f"sqlite:///{tmp_path}/c.db", "c.db"),
             ("~/d.db", "home/d.db"))
    for url, path in forms:
        open_store(url).close()
        assert (tmp_path / path).exists(), url
    for url in ("mysql://x/y", ":memory:", "sqlite:///:memory:", "file:x.db?mode=ro", "sqlite://",
                ""):
        with pytest.raises(UsageError) as caught:
            open_store(url)
        assert repr(url)[1:-1] in caught.value.message or url.startswith("mysql")
    assert not (tmp_path / ":memory:").exists() and not list(tmp_path.glob("file*"))


def test_an_open_database_is_current_and_checked() -> None:
    assert SCHEMA_VERSION == len(MIGRATIONS)


def test_programs_that_start_at_once_make_one_schema(tmp_path: Path) -> None:
    def start(number: int) -> None:
        store = open_store(str(tmp_path / "s.db"))
        store.create_session(f"s{number}", "t", "m", 1.0)
        store.close()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(start, range(8)))
    assert len(open_store(str(tmp_path / "s.db")).sessions()) == 8


def test_locked(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"), busy_seconds=0.05)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy) as caught:
        store.create_session("s1", "t", "m", 1.0)
    assert_readable(caught.value)
    assert store.sessions() == [], "reading goes on"
    other.execute("ROLLBACK")
    store.create_session("s1", "t", "m", 1.0)


def test_full(tmp_path: Path) -> None:
    """A limit on the size of files simulates a full disk."""
    import resource
    store = open_store(str(tmp_path / "s.db"))
    store.create_session("s1", "t", "m", 1.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(StoreFull) as caught:
            store.add_message("s1", new_message_id(), user_message("x" * 900_000), "complete")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_readable(caught.value)
    assert store.load_messages("s1") == []


@pytest.mark.parametrize("place", ["/proc/nowhere/s.db", "/dev/null/s.db"])
def test_a_place_that_takes_no_file(place: str) -> None:
    with pytest.raises(StoreFull) as caught:
        open_store(place)
    assert_readable(caught.value)


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreFull) as caught:
        open_store(str(tmp_path))
    assert_readable(caught.value)


def test_a_turn_begins_when_the_file_is_free(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    with closing(open_store(path)) as store, closing(sqlite3.connect(path)) as other:
        store.create_session("s1", "t", "m", 1.0)
        other.execute("BEGIN IMMEDIATE")
        with store.hurried():
            assert store.begin_turn("s1") is False
        other.rollback()
        assert store.begin_turn("s1") is True
        with closing(open_store(store.url)) as again:
            assert again.place == store.place == path
            assert again.begin_turn("s1") is False      # the first one has it


def test_damaged(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is no database, " * 500)
    with pytest.raises(StoreDamaged) as caught:
        open_store(str(tmp_path / "s.db"))
    assert_readable(caught.value)


def test_damaged_inside(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_store(str(path)).close()
    data = bytearray(path.read_bytes())
    data[200:] = b"\xa5" * (len(data) - 200)
    path.write_bytes(data)
    with pytest.raises(StoreDamaged) as caught:
        store = open_store(str(path))
        store.create_session("s1", "t", "m", 1.0)
    assert_readable(caught.value)


def test_newer_than_the_program(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_store(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreTooNew) as caught:
        open_store(str(path))
    assert_readable(caught.value)


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE messages (x)")
    with pytest.raises(StoreError) as caught:
        open_store(str(path))
    assert_readable(caught.value)
    with sqlite3.connect(path) as connection:
        assert (connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                == [("messages",)])


@pytest.mark.processes
def test_opening_loads_little(tmp_path: Path) -> None:
    """An up-to-date database is opened and listed without sqlite_utils, dataclasses, typing,
    json or asyncio; a new one is made without sqlite_utils.
    """
    new = ("import sys, db; db.open_store(sys.argv[1]).close(); print('sqlite_utils' in "
           "sys.modules)")
    made = subprocess.run([sys.executable, "-S", "-c", new, str(tmp_path / "new.db")], cwd=ROOT,
                          capture_output=True, text=True)
    assert (made.stdout.strip(), made.stderr) == ("False", "")
    open_store(str(tmp_path / "s.db")).close()
    code = ("import sys, db, core.sessions.listing as l; s = db.open_store(sys.argv[1]); "
            "list(l.session_lines(s)); s.close(); print(*sorted("
            "{'sqlite_utils', 'dataclasses', 'typing', 'json', 'asyncio', 're', 'core.messages'} & "
            "set(sys.modules)))")
    done = subprocess.run([sys.executable, "-S", "-c", code, str(tmp_path / "s.db")], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.stdout.strip() == "" and done.stderr == ""
