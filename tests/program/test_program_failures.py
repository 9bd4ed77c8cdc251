"""A failing store loses no text: it is reported once, the chat continues, and rejected text is
saved at the next start.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_server import FakeOllama, fake_words
from tests.pseudo_terminal import CTRL_D, Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
        environment["OLLAMA_MODEL"] = "words-5"
        yield server


@pytest.fixture
def data(environment: Environment) -> Path:
    path = Path(environment["HOME"], ".local/share/stream-chat")
    path.mkdir(parents=True)
    return path


def run(program: list[str], environment: Environment, *arguments: str,
        **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *arguments], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=60, **more)


def saved(data: Path) -> list[tuple[str, str]]:
    rows = sqlite3.connect(data / "sessions.db").execute("SELECT role, parts FROM messages "
                                                         "ORDER BY id").fetchall()
    return [(role, "".join(part.get("text", "") for part in json.loads(parts)))
            for role, parts in rows]


def check_answered(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (0, fake_words(5) + "\n"), done.stderr
    assert ("Traceback" not in done.stderr and done.stderr.count("NOT SAVED") <= 1
            and len(done.stderr.splitlines()) <= 4)


def make(program: list[str], environment: Environment) -> None:
    assert run(program, environment, "before").returncode == 0


def test_a_damaged_database(ollama: FakeOllama, program: list[str], environment: Environment,
                            data: Path) -> None:
    (data / "sessions.db").write_bytes(b"this is no database, and it is long enough to be read "
                                       b"as one" * 99)
    done = run(program, environment, "q")
    check_answered(done)
    assert "NOT SAVED" in done.stderr
    listed = run(program, environment, "--list-sessions")
    assert (listed.returncode == 1 and len(listed.stderr.splitlines()) <= 3
            and "Traceback" not in listed.stderr)
    (data / "sessions.db").unlink()
    run(program, environment, "next")
    assert ("user", "q") in saved(data) and ("assistant",
                                             fake_words(5)) in saved(data), "the spool is drained"
    assert not list((data / "spool").glob("*.jsonl"))


def test_a_database_of_a_newer_program(ollama: FakeOllama, program: list[str],
                                       environment: Environment, data: Path) -> None:
    make(program, environment)
    connection = sqlite3.connect(data / "sessions.db")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    done = run(program, environment, "q")
    check_answered(done)
    assert "newer" in done.stderr
    assert run(program, environment, "--list-sessions").returncode == 1
    connection = sqlite3.connect(data / "sessions.db")
    assert (connection.execute("SELECT count(*) FROM messages").fetchone()
            == (2,)), "it was not touched"
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    run(program, environment, "next")
    assert ("user", "q") in saved(data)


def test_a_directory_that_cannot_be_made(ollama: FakeOllama, program: list[str],
                                         environment: Environment) -> None:
    Path(environment["HOME"], ".local").write_text("a file where a directory should be")
    check_answered(run(program, environment, "q"))
    with Terminal(program, environment) as chat:
        chat.ask("one", "w4")
        chat.ask("two", "w4", 2)
        assert (chat.text().count("NOT SAVED") == 2
                and "Traceback" not in chat.text()), "said again while it lasts"
        assert len(ollama.chats[-1].json["messages"]) == 3


def test_a_database_that_is_a_directory(ollama: FakeOllama, program: list[str],
                                        environment: Environment, data: Path) -> None:
    (data / "sessions.db").mkdir()
    check_answered(run(program, environment, "q"))


def test_a_locked_database(ollama: FakeOllama, program: list[str], environment: Environment,
                           data: Path) -> None:
    make(program, environment)
    holder = sqlite3.connect(data / "sessions.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with Terminal(program, environment) as chat:
        chat.ask("one", "w4")
        assert chat.text().count("NOT SAVED") == 1
        chat.ask("two", "w4", 2)
        assert chat.text().count("NOT SAVED") == 2 and "Traceback" not in chat.text()
        holder.execute("ROLLBACK")
        holder.close()
        chat.ask("three", "w4", 3)
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
    assert [text for role, text in saved(data) if role == "user"] == ["before", "one", "two",
                                                                      "three"]


def test_no_room_left(ollama: FakeOllama, program: list[str], environment: Environment,
                      data: Path) -> None:
    """A limit on the size of files simulates a full disk: neither the database nor its log can
    grow.
    """
    make(program, environment)
    size = (data / "sessions.db").stat().st_size

    def limit() -> None:
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 4, size // 4))
    done = run(program, environment | {"OLLAMA_MODEL": "words-20000"}, "q", preexec_fn=limit)
    assert done.stdout == fake_words(20000) + "\n", done.stderr
    assert ("NOT SAVED" in done.stderr and "Traceback" not in done.stderr
            and len(done.stderr.splitlines()) <= 5)
    assert run(program, environment, "next").returncode == 0
    assert ("user", "next") in saved(data)
    assert (sqlite3.connect(data / "sessions.db").execute("PRAGMA integrity_check").fetchone()
            == ("ok",))


@pytest.fixture
def small_disk(environment: Environment, tmp_path: Path) -> Iterator[Path]:
    """A home of 600 KiB, and a temporary directory elsewhere."""
    home = tmp_path / "small"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(home)],
                      capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    (tmp_path / "temporary").mkdir()
    environment.update(HOME=str(home), TMPDIR=str(tmp_path / "temporary"))
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return


def test_a_full_disk(program: list[str], environment: Environment, small_disk: Path) -> None:
    """The text shown is written to the temporary directory, and saved by the first start that finds
    room.
    """
    data = small_disk / ".local/share/stream-chat"
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.ask("echo before", "before", 2)
        fill(small_disk)
        chat.ask("long 150 words", "word150$")
        chat.ask("echo after", "NOT SAVED still")
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        shown = "".join(chat.text().split())      # rows break anywhere, also at a space
        assert "thenextstartsavesit" in shown
    (path,) = Path(environment["TMPDIR"]).glob("stream-chat-*.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600 and not list((data / "spool").glob("*.jsonl"))
    run(program, environment, "-p", "demo", "echo full still")
    assert path.exists()
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    run(program, environment, "-p", "demo", "echo free")
    texts = [text for _, text in saved(data)]
    assert ([text for text in texts if text.endswith("word150")]
            and {"before", "after", "full still", "free"} <= set(texts))
    assert not list(Path(environment["TMPDIR"]).iterdir())


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_sessions_are_read_where_nothing_can_be_written(program: list[str],
                                                        environment: Environment, small_disk: Path,
                                                        how: str,
                                                        log: bool) -> None:
    data = small_disk / ".local/share/stream-chat"
    program = [*program, "-p", "demo"]
    subprocess.run(["mount", "-o", "remount,size=1200k", str(small_disk)], check=True)
    assert run(program, environment, "echo remembered").returncode == 0
    if log:
        other = sqlite3.connect(data / "sessions.db")
        other.execute("UPDATE sessions SET title = title")
        other.commit()
        log_left = (data / "sessions.db-wal").read_bytes()
        other.close()
        (data / "sessions.db-wal").write_bytes(log_left)
    if how == "full":
        fill(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    listed = run(program, environment, "--list-sessions")
    assert (listed.returncode, listed.stdout.count("remembered")) == (0, 1), listed.stderr
    exported = run(program, environment, "--export-session", listed.stdout.split()[0])
    assert exported.returncode == 0 and "remembered" in exported.stdout, exported.stderr
    on = run(program, environment, "-c", "echo and on")
    assert (on.returncode, on.stdout) == (0, "and on\n"), on.stderr
    assert (on.stderr.count("new messages cannot be saved") == on.stderr.count("NOT SAVED") == 1
            and "Traceback" not in on.stderr), on.stderr
    subprocess.run(["mount", "-o", "remount,rw,size=9m", str(small_disk)], check=True)
    assert run(program, environment, "-c", "echo mended").returncode == 0
    assert [text for role, text in saved(data) if role == "assistant"] == ["remembered", "and on",
                                                                           "mended"]


def test_nothing_can_be_written_anywhere(program: list[str], environment: Environment,
                                         small_disk: Path, tmp_path: Path) -> None:
    environment["TMPDIR"] = str(small_disk)
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.ask("echo before", "before", 2)
        fill(small_disk)
        chat.ask("long 150 words", "word150$")
        chat.ask("echo more", "NOT SAVED still")
        chat.send(CTRL_D)
        chat.wait("Write it to which file")
        chat.send(f"{small_disk}/none/x.md\r")
        chat.wait("its directory does not exist")
        chat.send(f"{tmp_path}/kept.md\r")
        assert chat.exit_status() == 0
    kept = (tmp_path / "kept.md").read_text()
    assert "word150" in kept and "echo more" in kept


def test_a_spool_that_was_cut_by_a_kill(ollama: FakeOllama, program: list[str],
                                        environment: Environment, data: Path) -> None:
    (data / "sessions.db").write_bytes(b"damaged" * 999)
    run(program, environment, "q")
    (spool,) = (data / "spool").glob("*.jsonl")
    with spool.open("ab") as file:
        file.write(b'{"do": "add", "session"')
    (data / "sessions.db").unlink()
    assert run(program, environment, "next").returncode == 0
    assert [text for role, text in saved(data) if role == "user"] == ["q", "next"]


@pytest.mark.parametrize("url",
                         ["postgresql://nobody@127.0.0.1:1/none", "sqlite:////proc/nothing/x.db",
                          "mysql://x"])
def test_a_database_that_is_not_there(ollama: FakeOllama, program: list[str],
                                      environment: Environment, url: str) -> None:
    done = run(program, environment | {"DATABASE_URL": url}, "q")
    assert (done.returncode in (0, 2) and "Traceback" not in done.stderr
            and len(done.stderr.splitlines()) <= 4)
    assert "DATABASE_URL: " in done.stderr      # it may be meant for another program
    if done.returncode == 0:
        check_answered(done)


def test_a_secret_in_a_database_s_address_is_not_told(ollama: FakeOllama, program: list[str],
                                                      environment: Environment) -> None:
    done = run(program, environment | {"DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/none"},
               "q")
    assert "hunter2" not in done.stderr + done.stdout


def test_a_model_of_another_provider_and_one_to_fetch(ollama: FakeOllama, program: list[str],
                                                      environment: Environment) -> None:
    other = run(program, environment | {"OLLAMA_HOST": "http://127.0.0.1:1"}, "-m",
                "claude-haiku-4-5", "hi")
    assert (other.returncode == 1
            and "Did you mean anthropic/claude-haiku-4-5?" in other.stderr), other.stderr
    fetched = run(program, environment, "--pull", "words-9", "-p", "ollama")
    assert ((fetched.returncode, fetched.stdout) == (0, "")
            and "Pulled words-9" in fetched.stderr), fetched.stderr
