"""Maintenance of a database: damage is found and repaired, backups can be restored, and a kill
loses nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreFull, ToolError, UsageError
from core.messages import Message, Text, Thinking, ToolCall, ToolResult, tool_message, user_message
from core.sessions.importing import import_file
from core.setup.database_care import move, open_care
from core.store.copying import copy_all, fingerprint
from core.store.identity import new_message_id, new_session_id
from core.store.rows import CallRow, Chunk
from core.store.sqlite.backups import backups_of, keep_newest, new_backup
from core.store.sqlite.store import SqliteDatabase, SqliteStore
from core.tools import ToolContext
from core.tools.database import open_sqlite
from db import Store, open_store
from tests import postgres

DELETED = "never to be seen again"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "sessions.db")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def place(request: pytest.FixtureRequest, path: str) -> str:
    if request.param == "sqlite":
        return path
    return postgres.new_database(request.getfixturevalue("postgres_url"))


def fill(url: str, sessions: int = 12, seed: int = 1) -> dict[str, list[str]]:
    """Sessions of all kinds; returns the texts of each."""
    chance = random.Random(seed)
    said: dict[str, list[str]] = {}
    with closing(open_store(url)) as store:
        for number in range(sessions):
            session = new_session_id()
            store.create_session(session, f"title {number} \ud800 \0", "demo/x", 1000.0 + number,
                                 name=f"name-{number}")
            said[session] = [add(store, session, chance, step)
                             for step in range(chance.randrange(1, 12))]
        gone = new_session_id()
        store.create_session(gone, "gone", "demo/x", 1.0, (new_message_id(), user_message(DELETED)))
        store.delete_session(gone)
        first, second, *_ = said
        store.shelve_session(first, "archived")
        store.update_session(second, pinned=True, tags="a b", settings='{"system": "s"}')
        call = CallRow(1.5, first, "p", "m", "h", None, 2.5, 1, 2, None, 3.25, None, 0, 0, "stop",
                       None)
        store.add_calls([(new_message_id(), call)])
        store.add_vectors("m", {"h1": b"\0\xff" * 600, "h2": b""}, 10)
    return said


def add(store: Store, session: str, chance: random.Random, step: int) -> str:
    text = (f"{session} {step} "
            + chance.choice(["short", "\u4e2d\u6587 \0 \ud800", "long " * chance.randrange(5000)]))
    message = chance.choice([
        user_message(text),
        Message("assistant", (Thinking("hm"), Text(text)), "demo/x", None, "stop"),
        Message("assistant", (Text(text), ToolCall("1", "clock", {"a": 1})), "demo/x", None,
                "tool_calls"),
        tool_message((ToolResult("1", "clock", text),))])
    identity = new_message_id()
    store.add_message(session, identity, message, "complete")
    if chance.random() < 0.2:
        store.hide_messages(session, [identity])
    return repr(message.parts)


def held(url: str) -> dict[str, list[str]]:
    with closing(open_store(url)) as store:
        rows = [*store.sessions(), *store.sessions(shelf="archived")]
        return {row.id: [repr(entry.message.parts)
                         for entry in store.load_messages(row.id, hidden=True)] for row in rows}


def prints(url: str) -> dict[str, tuple[int, int]]:
    with closing(open_store(url)) as store, store.database.snapshot():  # type: ignore[attr-defined]
        return fingerprint(store.database)  # type: ignore[attr-defined]


def aside(path: str) -> list[str]:
    directory, name = os.path.split(path)
    return sorted(os.path.join(directory, each) for each in os.listdir(directory)
                  if each.startswith(f"{name}.set-aside-") and not each.endswith(("-wal", "-shm")))


def test_a_sound_database(place: str) -> None:
    fill(place)
    care = open_care(place)
    report = care.check()
    assert report.problems == () and "12 sessions" in report.about
    assert care.repair() == []
    before, after = care.shrink()
    assert 0 < after and 0 < before and care.check().problems == ()


def test_a_backup_comes_back(place: str, tmp_path: Path) -> None:
    said = fill(place)
    before, file = prints(place), str(tmp_path / "copy.db")
    open_care(place).backup(file)
    assert prints(file) == before and os.stat(file).st_mode & 0o077 == 0
    with closing(open_store(place)) as store:
        for session in said:
            store.delete_session(session)
    assert held(place) == {}
    kept = open_care(place).restore(file)
    assert held(place) == said and prints(place) == before
    if "schema" not in kept:
        assert held(kept) == {}
    assert open_care(place).check().problems == ()


def test_everything_moves_and_comes_back(path: str, tmp_path: Path, postgres_url: str) -> None:
    said = fill(path)
    before, url = prints(path), postgres.new_database(postgres_url)
    assert move(path, url)["sessions"] == 12
    assert prints(url) == before and held(url) == said
    with pytest.raises(StoreError, match="not empty"):
        move(path, url)
    back = str(tmp_path / "back.db")
    move(url, back)
    assert prints(back) == before and open_care(back).check().problems == ()
    with pytest.raises(UsageError):
        move(back, f"sqlite:///{back}")


def test_a_streaming_reply_moves_and_is_completed(path: str, tmp_path: Path) -> None:
    from core.session_manager import recover
    with closing(open_store(path)) as store:
        store.create_session("s1", "t", "m", 1.0, (new_message_id(), user_message("q")))
        streaming = new_message_id()
        store.add_message("s1", streaming, Message("assistant", (), "m"), "streaming")
        store.append_chunk(streaming, 0, Chunk("text", 0, "half"))
        move(path, str(tmp_path / "other.db"))
    with closing(open_store(str(tmp_path / "other.db"))) as store:
        recover(store)
        assert [entry.message.text for entry in store.load_messages("s1")] == ["q", "half"]


# ---- damage

def zero_head(data: bytearray, chance: random.Random) -> None:
    data[:100] = bytes(100)


def zero_first_page(data: bytearray, chance: random.Random) -> None:
    data[:4096] = bytes(4096)


def noise_in_page(data: bytearray, chance: random.Random) -> None:
    at = 4096 * chance.randrange(len(data) // 4096)
    data[at:at + 4096] = chance.randbytes(4096)


def flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(20):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut_tail(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) // 3, len(data)):]


@pytest.mark.parametrize("damage", [zero_head, zero_first_page, noise_in_page, flip_bits, cut_tail])
def test_what_can_be_read_of_a_damaged_file_is_recovered(
        damage: Callable[[bytearray, random.Random], None], path: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    said = fill(path, 20, seed)
    whole = Path(path).read_bytes()
    for _ in range(4):
        data = bytearray(whole)
        damage(data, chance)
        Path(path).write_bytes(data)
        open_and_say(path)
        care = open_care(path)
        if not care.check().problems:
            continue
        done = care.repair()
        assert all(problem.kind == "unreadable" for problem in care.check().problems), done
        texts = {text for texts in held(path).values() for text in texts}
        lost = {text for texts in said.values() for text in texts} - texts
        assert DELETED not in str(texts)
        if damage in (zero_head, zero_first_page):
            assert not lost
        assert len(lost) < sum(map(len, said.values())) or damage == cut_tail
        kept = aside(path)
        if kept:        # an index can be rebuilt in place
            assert Path(kept[-1]).read_bytes() == bytes(data)
        for name in kept:
            os.unlink(name)


def open_and_say(path: str) -> None:
    """A damaged database gives an error that says what to do, or still works."""
    try:
        with closing(open_store(path)) as store:
            store.sessions()
    except StoreError as error:
        assert "--db-repair" in error.hint and len(error.message.splitlines()) == 1


def test_a_damaged_schema_is_quoted_on_one_line(path: str) -> None:
    """SQLite's error quotes the schema with its line ends; here a quotation mark is not closed."""
    fill(path)
    data = Path(path).read_bytes()
    assert data.count(b"position integer NOT NULL") > 0
    Path(path).write_bytes(data.replace(b"position integer NOT", b'position integer"NOT'))
    with pytest.raises(StoreDamaged) as caught:
        open_store(path).sessions()
    assert "--db-repair" in caught.value.hint and len(caught.value.message.splitlines()) == 1
    problems = open_care(path).check().problems
    assert problems and not any("\n" in problem.text for problem in problems)


@pytest.mark.parametrize("act", ["open", "check", "import", "tool", "restore"])
def test_a_damaged_schema_may_be_quoted_in_any_bytes(act: str, path: str, tmp_path: Path) -> None:
    """SQLite's error quotes the bytes unchanged, which Python cannot decode."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    fill(path)
    bad = b'position integer"' + bytes(chance.randrange(0x80, 0x100) for _ in range(3))
    data = Path(path).read_bytes().replace(b"position integer NOT", bad)
    assert bad in data
    Path(path).write_bytes(data)
    if act == "open":
        with pytest.raises(StoreDamaged):
            open_store(path).sessions()
    elif act == "check":
        assert open_care(path).check().problems
    elif act == "import":
        with (closing(open_store(str(tmp_path / "other.db"))) as other,
              pytest.raises(UsageError, match="is damaged or cannot be read")):
            import_file(other, path)
    elif act == "tool":
        context = ToolContext(roots=(os.path.dirname(path),))
        with pytest.raises(ToolError), open_sqlite(context, path):
            pass
    else:
        other = str(tmp_path / "other.db")
        held_before = fill(other)
        with pytest.raises(StoreDamaged):
            open_care(other).restore(path)
        assert held(other) == held_before


def test_the_log_is_read_too_and_a_lost_log_is_no_damage(path: str, tmp_path: Path) -> None:
    fill(path)
    copy = str(tmp_path / "copy.db")
    with closing(open_store(path)) as store:
        store.create_session("s1", "in the log", "m", 1.0,
                             (new_message_id(), user_message("only in the log")))
        for end in ("", "-wal"):
            shutil.copyfile(path + end, copy + end)
    shutil.copyfile(copy, str(tmp_path / "without.db"))
    assert open_care(str(tmp_path / "without.db")).check().problems == ()
    with open(copy, "r+b") as file:
        file.write(bytes(100))
    open_care(copy).repair()
    assert held(copy) == held(path) and "s1" in held(copy)


def test_the_log_of_a_lost_file_is_set_aside(path: str) -> None:
    fill(path, 2)
    store = open_store(path)
    store.create_session("s1", "t", "m", 1.0)
    log = Path(f"{path}-wal").read_bytes()
    os.unlink(path)
    with closing(open_store(path)) as other:
        assert other.sessions() == []
    (kept,) = Path(path).parent.glob("*.set-aside-*-wal")
    assert log and kept.read_bytes() == log
    store.close()


@pytest.mark.parametrize("content", [b"", b"not a database at all " * 500, bytes(50_000)])
def test_nothing_is_made_of_what_is_no_database(content: bytes, path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(content)
    if not content:
        assert open_care(path).check().problems == ()
        return
    with pytest.raises(StoreError, match="No session data can be read"):
        open_care(path).repair()
    assert (Path(path).read_bytes() == content
            and os.listdir(os.path.dirname(path)) == ["sessions.db"])


def test_another_programs_database_is_left_alone(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (x)")
        connection.commit()
    before = Path(path).read_bytes()
    care = open_care(path)
    for act in (care.check, care.repair, care.shrink):
        with pytest.raises(StoreError):
            act()
    assert Path(path).read_bytes() == before


def test_counts_and_the_index_are_made_anew_in_place(place: str) -> None:
    said = fill(place)
    with closing(open_store(place)) as store:
        database = store.database  # type: ignore[attr-defined]
        database.load([("UPDATE sessions SET message_count = 99 WHERE name = 'name-3'", [()])])
        if place.endswith(".db"):
            database.load([("INSERT INTO messages_fts (messages_fts, rowid, words, tools) "
                            "VALUES ('delete', 1, 'never', 'there')", [()])])
    kinds = {problem.kind for problem in open_care(place).check().problems}
    assert "counts" in kinds and (not place.endswith(".db") or "index" in kinds)
    assert len(open_care(place).repair()) == 1
    assert open_care(place).check().problems == () and held(place) == said


def test_a_message_that_cannot_be_read_is_reported_and_kept(place: str) -> None:
    fill(place)
    with closing(open_store(place)) as store:
        store.database.load([("UPDATE messages SET parts = '{' WHERE position = 1", [()])])  # type: ignore[attr-defined]
    (problem,) = open_care(place).check().problems
    assert problem.kind == "unreadable" and open_care(place).repair() == []


def test_the_newest_backup_is_tried(path: str) -> None:
    said = fill(path)
    directory = os.path.join(os.path.dirname(path), "backups")
    backup = new_backup(directory, "sessions")
    open_care(path).backup(backup)
    with closing(open_store(path)) as store:
        store.delete_session(next(iter(said)))
    assert open_care(path).check().problems == ()     # what was deleted is not missing
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM messages WHERE number = (SELECT max(number) FROM messages "
                           "WHERE active = 1)")
        connection.commit()
    assert "counts" in {problem.kind for problem in open_care(path).check().problems}
    assert "backup" in {problem.kind for problem in open_care(path).check().problems}
    Path(backup).write_bytes(Path(backup).read_bytes()[:5000])
    assert any("cannot be restored" in problem.text for problem in open_care(path).check().problems)


def test_seven_backups_are_kept(path: str, tmp_path: Path) -> None:
    fill(path, 2)
    for _ in range(9):
        open_care(path).backup(new_backup(str(tmp_path), "sessions"))
        keep_newest(str(tmp_path), "sessions")
    assert len(backups_of(str(tmp_path), "sessions")) == 7


def test_a_damaged_backup_is_refused(path: str, tmp_path: Path) -> None:
    fill(path)
    file, before = tmp_path / "copy.db", Path(path).read_bytes()
    open_care(path).backup(str(file))
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(StoreError, match="damaged"):
        open_care(path).restore(str(file))
    assert Path(path).read_bytes() == before and aside(path) == []


def test_a_chat_that_has_the_file_open_saves_into_the_restored_one(path: str,
                                                                   tmp_path: Path) -> None:
    from core.session_manager import Session
    said = fill(path)
    file = str(tmp_path / "copy.db")
    open_care(path).backup(file)
    store = open_store(path)
    session = Session(store, str(tmp_path / "spool"), model="demo/x")
    session.add_user(user_message("before"))
    open_care(path).restore(file)
    session.add_user(user_message("after"))
    session.add_user(user_message("and later"))
    session.close()
    store.close()
    with closing(open_store(path)) as store:
        texts = [entry.message.text for entry in store.load_messages(session.id)]
    assert texts == ["before", "after", "and later"] and set(said) < set(held(path))


# ---- no room, other programs, kills

@contextmanager
def small_disk(most: int) -> Iterator[None]:
    """A limit on the size of files simulates a full disk."""
    import resource
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_changes_nothing(path: str, tmp_path: Path) -> None:
    said = fill(path, 40)
    file = str(tmp_path / "copy.db")
    open_care(path).backup(file)
    size = os.path.getsize(path)
    for act in (lambda: open_care(path).backup(str(tmp_path / "more.db")),
                lambda: open_care(path).restore(file),
                lambda: move(path, str(tmp_path / "moved.db"))):
        with small_disk(size // 2), pytest.raises((StoreError, StoreFull)) as caught:
            act()
        assert caught.value.hint
    assert not os.path.exists(tmp_path / "more.db") and held(path) == said and aside(path) == []
    with open(path, "r+b") as opened:
        opened.write(bytes(100))
    damaged = Path(path).read_bytes()
    with small_disk(size // 2), pytest.raises(StoreError):
        open_care(path).repair()
    assert Path(path).read_bytes() == damaged and not os.path.exists(f"{path}.partial")
    open_care(path).repair()
    assert held(path) == said


def test_what_is_written_while_everything_moves_undoes_the_move(path: str, tmp_path: Path) -> None:
    """Otherwise the copy would lack it. The other program writes as soon as the target contains
    something.
    """
    fill(path)
    target = str(tmp_path / "moved.db")

    class Watched(SqliteDatabase):
        def load(self, *arguments: Any) -> None:
            super().load(*arguments)
            if not written:
                written.append(True)
                other.create_session(new_session_id(), "meanwhile", "m", 1.0)
    written: list[bool] = []
    other = open_store(path)
    with closing(SqliteStore(path)) as source:
        filled = Watched(target, 1.0)
        with pytest.raises(StoreBusy, match="meanwhile"):
            copy_all(source.database, filled)
        filled.close()
    assert held(target) == {}
    other.close()
    move(path, target)
    assert prints(target) == prints(path)


@pytest.mark.parametrize("stage", range(5))
def test_a_swap_that_was_killed_is_finished_by_the_next_program(stage: int, path: str,
                                                                tmp_path: Path) -> None:
    said = fill(path)
    file = str(tmp_path / "copy.db")
    open_care(path).backup(file)
    with closing(open_store(path)) as store:
        store.create_session(new_session_id(), "later", "m", 1.0)
    shutil.copyfile(file, f"{path}.new")
    name = f"{path}.set-aside-20200101-000000"
    if stage >= 1:
        os.link(path, name)
    if stage >= 2:
        Path(f"{path}-wal").write_bytes(b"old log")
    if stage >= 3:
        os.rename(f"{path}-wal", f"{name}-wal")
    if stage >= 4:
        os.unlink(path)
    assert held(path) == said
    assert not os.path.exists(f"{path}.new") and aside(path)


@pytest.mark.processes
@pytest.mark.parametrize("act",
                         ["--db-repair", "--db-restore", "--db-backup", "--db-move", "--db-shrink"])
def test_a_kill_at_any_moment_loses_nothing(
        act: str, path: str, tmp_path: Path, program: list[str],
        environment: dict[str, str]) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, said = random.Random(seed), fill(path, 20)
    file = str(tmp_path / "copy.db")
    open_care(path).backup(file)
    whole = Path(file).read_bytes()
    words = {"--db-restore": [act, file, "--yes"], "--db-move": [act, str(tmp_path / "moved.db")],
             "--db-backup": [act, "--output", str(tmp_path / "new.db"), "--force"]}.get(act, [act])
    for _ in range(6):
        if act == "--db-repair" and not any(os.path.exists(path + end) for end in (".new", "-wal")):
            with open(path, "r+b") as opened:
                opened.write(bytes(100))
        child = subprocess.Popen([*program, "--database-url", path, *words], env=environment,
                                 stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(timeout=chance.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        if (act == "--db-repair" and Path(path).read_bytes()[:100] == bytes(100)
            and not os.path.exists(f"{path}.new")):
            continue      # still the damaged one, with all that it holds
        assert held(path) == said
        for made in ("new.db", "moved.db"):
            if os.path.exists(tmp_path / made):
                assert held(str(tmp_path / made)) in ({}, said)
    assert Path(file).read_bytes() == whole
    open_care(path).repair()
    assert held(path) == said


def test_of_an_earlier_version_a_backup_is_made_first(path: str) -> None:
    from tests.store.test_migrations import make_old_sqlite
    os.makedirs(os.path.dirname(path))
    make_old_sqlite(path)
    with closing(SqliteStore(path)) as store:
        assert len(store.sessions()) == 2
    (backup,) = backups_of(os.path.join(os.path.dirname(path), "backups"), "sessions")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (4,)


@pytest.mark.processes
def test_a_chat_begins_a_backup_once_a_day(path: str, program: list[str],
                                           environment: dict[str, str]) -> None:
    from tests.waiting import wait_until
    directory = os.path.join(os.path.dirname(path), "backups")

    def ask() -> None:
        done = subprocess.run([*program, "-p", "demo", "--database-url", path, "hello"],
                              env=environment, timeout=120,
                              stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode == 0
    ask()
    ask()
    assert os.listdir(directory) == []
    os.utime(directory, (1, 1))
    ask()
    assert wait_until(lambda: len(backups_of(directory, "sessions")) == 1)
    assert len(held(backups_of(directory, "sessions")[0])) == 3


@pytest.mark.parametrize("kind,words", [("newer", "newer version"), ("foreign", "another program")])
def test_what_is_not_ours_is_not_called_damaged(tmp_path: Path, kind: str, words: str) -> None:
    """It is not saved as a backup either, nor does it replace the sessions."""
    path, other = str(tmp_path / "s.db"), str(tmp_path / "other.db")
    fill(path, 2, 1)
    if kind == "newer":
        fill(other, 2, 1)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA user_version = 99" if kind == "newer"
                           else "CREATE TABLE messages (mine text)")
    before, said = Path(other).read_bytes(), held(path)
    for act in (lambda: open_care(other).backup(str(tmp_path / "copy.db")),
                lambda: open_care(path).restore(other)):
        with pytest.raises(StoreError) as caught:
            act()
        assert words in caught.value.message and "damaged" not in caught.value.message
    assert (Path(other).read_bytes() == before and held(path) == said
            and not (tmp_path / "copy.db").exists())
