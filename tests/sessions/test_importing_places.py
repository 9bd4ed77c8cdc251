"""Importing sessions from addresses and from the predecessor's table, completely or not at all if
the import is killed.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConnectFailed, StoreError, UsageError
from core.messages import Text, ToolCall, ToolResult, user_message
from core.session_manager import Session
from core.sessions.export import export_many
from core.sessions.importing import import_file
from db import Store, open_store
from tests import postgres

ONE_A_ROW = (
    "CREATE TABLE conversations (id integer PRIMARY KEY, session_id text, role text, content text, "
    "model text, created_at text)",
    "INSERT INTO conversations VALUES (1, 'a', 'system', 'be brief', 'llama3', '2024-01-01 "
    "10:00:00')",
    "INSERT INTO conversations VALUES (2, 'a', 'user', 'why?', 'llama3', '2024-01-01 10:00:01')",
    "INSERT INTO conversations VALUES (3, 'b', 'user', 'other', 'mistral', '2024-01-02 10:00:00')",
    "INSERT INTO conversations VALUES (4, 'a', 'assistant', 'because', 'llama3', '2024-01-01 "
    "10:00:02')")
PAIRS = (
    "CREATE TABLE conversations (id integer PRIMARY KEY, user_input text, response text, model "
    "text, timestamp text)",
    "INSERT INTO conversations VALUES (1, 'one', 'first', 'llama3', '2024-01-01 10:00:00')",
    "INSERT INTO conversations VALUES (2, 'two', 'second', 'llama3', '2024-01-01 11:00:00')",
    "INSERT INTO conversations VALUES (3, 'three', NULL, NULL, '2024-01-02 10:00:00')")
MESSAGES = json.dumps([
    {"role": "user", "content": "look"},
    {"role": "assistant", "content": "", "thinking": "hm",
     "tool_calls": [{"function": {"name": "clock", "arguments": {"a": 1}}}]},
    {"role": "tool", "content": "noon", "tool_name": "clock"},
    {"role": "assistant", "content": [{"type": "text", "text": "It is noon."}]}, 7,
    {"role": 3, "content": {"x": 1}}])
WHOLE = (
    "CREATE TABLE conversations (id text PRIMARY KEY, title text, model text, messages {json}, "
    "created_at {time})",
    f"INSERT INTO conversations VALUES ('x', 'Clocks', 'llama3', '{MESSAGES}', '2024-01-01 "
    "10:00:00')",
    "INSERT INTO conversations VALUES ('y', NULL, NULL, NULL, NULL)")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "s.db"))) as made:
        yield made


def said(store: Store) -> dict[str, list[str]]:
    return {row.title: [entry.message.text for entry in store.load_messages(row.id)]
            for row in store.sessions()}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes the table; returns where it is."""
    kinds: Mapping[str, str] = {"json": "jsonb", "time": "timestamptz"}

    def make(statements: tuple[str, ...]) -> str:
        if request.param == "sqlite":
            path = str(tmp_path / "old.db")
            with closing(sqlite3.connect(path)) as connection:
                for statement in statements:
                    connection.execute(statement.replace("{json}", "text")
                                       .replace("{time}", "text"))
                connection.commit()
            return path
        import psycopg
        url = postgres.new_database(request.getfixturevalue("postgres_url"))
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                for name, kind in kinds.items():
                    statement = statement.replace(f"{{{name}}}", kind)
                connection.execute(statement.encode())
        return url
    return make


def test_a_message_in_each_row(table: Any, store: Store) -> None:
    place = table(ONE_A_ROW)
    report = import_file(store, place)
    assert (report.kind, report.added, report.notes) == ("conversations", 2, [])
    assert said(store) == {"be brief": ["be brief", "why?", "because"], "other": ["other"]}
    assert {row.model for row in store.sessions()} == {"ollama/llama3", "ollama/mistral"}
    assert {entry.created for row in store.sessions() for entry in store.load_messages(row.id)} == {
        1704103200.0, 1704103201.0, 1704103202.0, 1704189600.0}
    again = import_file(store, place)
    assert (again.added, again.known) == (0, 2)


def test_a_question_and_its_answer_in_each_row(table: Any, store: Store) -> None:
    assert import_file(store, table(PAIRS)).added == 2
    assert said(store) == {"one": ["one", "first", "two", "second"], "three": ["three"]}


def test_a_conversation_in_each_row(table: Any, store: Store) -> None:
    report = import_file(store, table(WHOLE))
    assert report.added == 1 and len(report.notes) == 1
    (row,) = store.sessions()
    messages = [entry.message for entry in store.load_messages(row.id)]
    assert row.title == "Clocks" and messages[0] == user_message("look")
    assert any(isinstance(part, ToolCall) for part in messages[1].parts)
    assert [part.content for part in messages[2].parts if isinstance(part, ToolResult)] == ["noon"]
    assert messages[3].parts[0] == Text("It is noon.")


def test_a_table_that_says_nothing_is_refused(table: Any, store: Store) -> None:
    with pytest.raises(UsageError, match="unknown columns: x, y"):
        import_file(store, table(("CREATE TABLE conversations (x integer, y integer)",)))
    assert store.sessions() == []


@pytest.mark.processes
def test_a_database_without_the_table_or_none_at_all(store: Store, postgres_url: str) -> None:
    with pytest.raises(UsageError, match="no table conversations"):
        import_file(store, postgres.new_database(postgres_url))
    with pytest.raises(StoreError):
        import_file(store, "postgresql://nobody@127.0.0.1:1/x")


# ---- addresses

@contextmanager
def serving(pages: Mapping[str, tuple[int, str, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = pages.get(self.path, (404, "text/plain", b""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SHARED = {"shareId": "abc", "title": "Shared", "conversationId": "anonymous-1", "messages": [
    {"messageId": "m1", "parentMessageId": "0", "isCreatedByUser": True, "text": "why?",
     "createdAt": "2024-01-01T10:00:00Z"},
    {"messageId": "m2", "parentMessageId": "m1", "isCreatedByUser": False, "text": "because",
     "createdAt": "2024-01-01T10:00:01Z"}]}


def test_a_shared_conversation_and_a_file_at_an_address(store: Store, tmp_path: Path) -> None:
    other = json.dumps(SHARED).replace("m1", "n1").replace("m2", "n2").replace("anonymous-1",
                                                                               "anonymous-2")
    pages = {"/share/abc": (200, "text/html; charset=utf-8", b"<html>"),
             "/api/share/abc": (200, "application/json", json.dumps(SHARED).encode()),
             "/export.json": (200, "application/octet-stream",
                              json.dumps([SHARED | {"shareId": "def"}]).encode())}
    with serving(pages) as address:
        assert import_file(store, f"{address}/share/abc").added == 1
        assert said(store) == {"Shared": ["why?", "because"]}
        # the server gives new names each time
        pages["/api/share/abc"] = 200, "application/json", other.encode()
        assert import_file(store, f"{address}/share/abc").known == 1
        assert import_file(store, f"{address}/export.json").added == 1


def test_what_is_no_file_of_sessions_is_said(store: Store) -> None:
    with serving({"/chat": (200, "text/html", b"<html>"),
                  "/private": (401, "text/plain", b"")}) as address:
        with pytest.raises(UsageError, match="is a web page"):
            import_file(store, f"{address}/chat")
        with pytest.raises(UsageError, match="status 401"):
            import_file(store, f"{address}/private")
    with pytest.raises(ConnectFailed):
        import_file(store, "http://127.0.0.1:1/x.json")


# ---- killed

@pytest.mark.processes
def test_an_import_that_is_killed_adds_sessions_whole_or_not_at_all(
        tmp_path: Path, program: list[str], environment: dict[str, str]) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, place = random.Random(seed), str(tmp_path / "all.jsonl")
    with closing(open_store(str(tmp_path / "from.db"))) as source:
        for number in range(60):
            session = Session(source, str(tmp_path / "spool"), model="demo/x")
            for step in range(5):
                session.add_user(
                    user_message(f"{number} {step} " + "long " * chance.randrange(2000)))
            session.close()
        export_many(source, source.sessions(), "jsonl", place)
    target = str(tmp_path / "to.db")
    counts = []
    for _ in range(6):
        child = subprocess.Popen([*program, "--database-url", target, "--import", place],
                                 env=environment,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            child.wait(timeout=chance.uniform(0.2, 1.2))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        with closing(open_store(target)) as store:
            counts.append(len(store.sessions()))
            assert all(row.message_count == len(store.load_messages(row.id)) == 5
                       for row in store.sessions())
    assert counts == sorted(counts)
    with closing(open_store(target)) as store:
        import_file(store, place)
        assert len(store.sessions()) == 60
