"""Sessions: everything is stored before it is sent or shown, an interrupted turn stays valid, and a
failing store loses no text.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sqlite3
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.chat.turn import run_chat_turn
from core.config import Settings
from core.config.directories import data_directory
from core.errors import SessionNotFound, StreamBroken, UsageError
from core.events import (Event, Finished, MessageAdded, ModelChanged, Notice, TextDelta,
                         ThinkingDelta, ToolCallDelta, ToolFinished)
from core.messages import Message, Text, Thinking, ToolCall, ToolResult, tool_message, user_message
from core.providers import Request
from core.session_manager import Session, answer_calls, open_session, recover
from core.sessions.listing import format_session_lines, list_sessions, select_session, session_lines
from core.sessions.opening import INTERRUPTED
from core.sessions.spool import drain_spool
from core.setup.store import OpenedStore
from core.store.message_json import MOST_TOKENS, message_to_dict, usage_from_dict
from core.store.sqlite.store import SqliteStore
from core.store.text import from_database
from db import Store, open_store
from tests.one_model import one_model

Script = Sequence[Any]     # deltas; a float sleeps, an exception is raised


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "s.db")


@pytest.fixture
def spool(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "spool")


def responder(*scripts: Script) -> Any:
    left = list(scripts)

    async def respond(request: Request) -> AsyncGenerator[Any, None]:
        for item in left.pop(0):
            match item:
                case float():
                    await asyncio.sleep(item)
                case Exception():
                    raise item
                case _:
                    yield item
    return one_model(respond)


async def slow_tool(call: ToolCall) -> ToolFinished:
    await asyncio.sleep(0 if call.name == "quick" else 60)
    return ToolFinished(ToolResult(call.id, call.name, "done"), 0.0)


def run(session: Session, *scripts: Script, stop_after: int | None = None,
        cancel: bool = False) -> list[Event]:
    """One turn through record(); stopped after that many events,
    by cancelling the task or by closing the generator.
    """
    seen: list[Event] = []

    async def consume() -> None:
        request = Request("x", tuple(session.messages))
        events = session.record(run_chat_turn(responder(*scripts), request, slow_tool,
                                              model="demo/x"))
        try:
            async for event in events:
                seen.append(event)
                if len(seen) == stop_after and not cancel:
                    break
        finally:
            await events.aclose()

    async def main() -> None:
        task = asyncio.ensure_future(consume())
        while cancel and not task.done() and len(seen) < (stop_after or 0):
            await asyncio.sleep(0.001)
        if cancel:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
    asyncio.run(main())
    return seen


def stored(store: Store, session: Session) -> list[tuple[Message, str]]:
    return [(entry.message, entry.state) for entry in store.load_messages(session.id)]


def reply(*parts: Any, finish: Any = "stop") -> Message:
    return Message("assistant", parts, "demo/x", None, finish)


def test_a_turn_is_stored(database: str, spool: str) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    assert store.sessions() == [], "an empty chat leaves nothing"
    session.add_user(user_message("\n  why?\nmore"))
    run(session, [ThinkingDelta("hm"), TextDelta("be"), TextDelta("cause"), Finished("stop")])
    expected = [(user_message("\n  why?\nmore"), "complete"),
                (reply(Thinking("hm"), Text("because")), "complete")]
    assert stored(store, session) == expected and session.saved
    assert session.messages == [message for message, _ in expected]
    assert (store.sessions()[0].title, store.sessions()[0].message_count) == ("why?", 2)
    assert not os.path.exists(spool)


def test_every_frame_is_stored_before_it_is_yielded(database: str, spool: str) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))

    async def consume() -> None:
        painted = ""
        events = run_chat_turn(
            responder([TextDelta("a"), TextDelta("b\0"), TextDelta("\ud800"), Finished("stop")]),
            Request("x", ()), model="demo/x")
        async for event in session.record(events):
            if isinstance(event, TextDelta):
                painted += event.text
                other = open_store(database)
                (row,) = sqlite3.connect(database).execute("SELECT id FROM messages WHERE state = "
                                                           "'streaming'").fetchall()
                chunks = sqlite3.connect(database).execute("SELECT text FROM chunks WHERE "
                                                           "message_id = ? ORDER BY seq", row)
                assert "".join(from_database(text) for (text,) in chunks) == painted
                other.close()
    asyncio.run(consume())
    # half a character is replaced
    assert stored(store, session)[1] == (reply(Text("ab\0\ufffd")), "complete")


@pytest.mark.parametrize("cancel", [True, False])
def test_an_interrupted_reply_is_kept(database: str, spool: str, cancel: bool) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    run(session, [TextDelta("half"), 60.0], stop_after=1, cancel=cancel)
    assert session.messages[-1] == reply(Text("half"), finish="interrupted")
    assert stored(store, session)[-1] == (session.messages[-1], "interrupted")
    run(session, [ThinkingDelta(""), 0.05, 60.0], stop_after=0, cancel=True)
    assert len(session.messages) == 2, "nothing came, nothing is added"


@pytest.mark.parametrize("cancel", [True, False])
def test_interrupted_tools_leave_a_valid_conversation(database: str, spool: str,
                                                      cancel: bool) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    calls = [ToolCallDelta(0, "1", "slow", "{}"), ToolCallDelta(1, "2", "quick", "{}")]
    seen = run(session, [*calls, Finished("tool_calls")], stop_after=4, cancel=cancel)
    assert isinstance(seen[-1], ToolFinished)
    results = tool_message((ToolResult("1", "slow", "Interrupted before it finished.", True),
                            ToolResult("2", "quick", "done")))
    assert session.messages[-1] == results
    assert stored(store, session)[-1] == (results, "complete")


def test_a_round_of_tools_takes_three_transactions(database: str, spool: str) -> None:
    """For the calls, for their first result, and for all results."""
    store = open_store(database)
    assert isinstance(store, SqliteStore)
    session, done = Session(store, spool, model="demo/x"), []
    store._database._connection.set_trace_callback(done.append)
    commits = []
    for rounds in (1, 1, 2, 3):      # the first one is the session's first turn
        session.add_user(user_message("q"))
        done.clear()
        call = [ToolCallDelta(0, "1", "quick", "{}"), Finished("tool_calls")]
        run(session, *[call] * rounds, [TextDelta("a"), Finished("stop")])
        commits.append(done.count("COMMIT"))
    assert [commits[2] - commits[1], commits[3] - commits[2]] == [3, 3]
    assert [message.role for message in session.messages[-7:]] == ["assistant", "tool"] * 3 + [
        "assistant"]


def test_broken_replies(database: str, spool: str) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    for script, finish in (([TextDelta("a")], "truncated"),
                           ([TextDelta("b"), RuntimeError("bug")], "error")):
        session.add_user(user_message("q"))
        with pytest.raises((StreamBroken, RuntimeError)):
            run(session, script)
        assert session.messages[-1].finish == finish
    assert [state for _, state in stored(store, session)] == ["complete", "truncated", "complete",
                                                              "failed"]


def test_calls_that_are_only_reported_are_answered_before_the_next_question(database: str,
                                                                            spool: str) -> None:
    session = Session(open_store(database), spool, model="demo/x")
    session.add_user(user_message("q"))
    call = reply(ToolCall("1", "look", {}), finish="tool_calls")

    async def turn() -> AsyncGenerator[Event, None]:
        yield MessageAdded(call)

    async def consume() -> None:
        assert [event async for event in session.record(turn())] == [MessageAdded(call)]
    asyncio.run(consume())
    session.add_user(user_message("and?"))
    assert [message.role for message in session.messages] == ["user", "assistant", "tool", "user"]


def test_results_with_the_same_id() -> None:
    calls = reply(ToolCall("1", "a", {}), ToolCall("1", "a", {}), finish="tool_calls")
    answered = answer_calls([calls], [ToolResult("1", "a", "x")])
    assert answered is not None and [result.is_error for result in answered.tool_results] == [False,
                                                                                              True]


def test_the_model_that_answered_signs_the_reply(database: str, spool: str) -> None:
    session = Session(open_store(database), spool, model="demo/x")
    session.add_user(user_message("q"))
    run(session, [ModelChanged("demo/x", "demo/y", "overloaded"), TextDelta("a"), 60.0],
        stop_after=2, cancel=True)
    assert session.messages[-1].model == "demo/y" and session.model == "demo/x"


def test_retry_hides_the_old_reply(database: str, spool: str) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    assert session.retry() is None
    session.add_user(user_message("q"))
    run(session, [TextDelta("one"), Finished("stop")])
    assert session.retry() == user_message("q") and session.messages == [user_message("q")]
    run(session, [TextDelta("two"), Finished("stop")])
    again = open_session(store, spool, newest=True)
    assert ([message.text for message in again.messages] == ["q", "two"]
            == [message.text for message in session.messages])
    assert ([entry.message.text for entry in store.load_messages(session.id, hidden=True)]
            == ["q", "one", "two"])


def test_without_saving_nothing_is_written(tmp_path: Path) -> None:
    session = Session(None, str(tmp_path / "spool"), model="demo/x")
    session.add_user(user_message("q"))
    run(session, [TextDelta("half"), 60.0], stop_after=1, cancel=True)
    session.set_model("demo/y")
    session.retry()
    session.close()
    assert session.messages == [user_message("q")] and not session.saved
    assert list(tmp_path.iterdir()) == []


def test_sessions_are_opened_by_name(database: str, spool: str) -> None:
    store = open_store(database)
    with pytest.raises(SessionNotFound):
        open_session(store, spool, newest=True)
    first = open_session(store, spool, model="demo/x")
    first.add_user(user_message("q"))
    store.update_session(first.id, title="better")
    second = open_session(store, spool, name=first.name[-3:])
    assert (second.id, second.title, second.model, second.messages) == (first.id, "better",
                                                                        "demo/x", first.messages)
    second.add_user(user_message("r"))
    assert len(store.sessions()) == 1 and store.sessions()[0].message_count == 2
    with pytest.raises(SessionNotFound):
        open_session(None, newest=True)


# ---- a store in trouble

@pytest.mark.parametrize("point", range(6))
def test_a_locked_database_costs_nothing(database: str, spool: str, point: int) -> None:
    """Locked from the `point`-th step on, for one turn; the next turn saves it all, once."""
    store, other = (SqliteStore(database, busy_seconds=0.01),
                    sqlite3.connect(database, isolation_level=None))
    session = Session(store, spool, model="demo/x")
    notices: list[str] = []

    async def turn() -> AsyncGenerator[Event, None]:
        for number in range(1, 5):
            if number == point:
                other.execute("BEGIN IMMEDIATE")
            yield TextDelta(f"{number}\0\ud800 ")
        if point == 5:
            other.execute("BEGIN IMMEDIATE")
        yield MessageAdded(reply(Text("".join(f"{number}\0\ud800 " for number in range(1, 5)))))

    async def consume() -> None:
        async for event in session.record(turn()):
            notices.extend([event.text] if isinstance(event, Notice) else [])
    if point == 0:
        other.execute("BEGIN IMMEDIATE")
    session.add_user(user_message("q\ud800"))
    asyncio.run(consume())
    assert (len(notices) == 1 and notices[0].startswith("NOT SAVED: ") and spool in notices[0]
            and not session.saved)
    (path,) = Path(spool).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert drain_spool(store, spool) == [], "another start leaves it to us"
    other.execute("ROLLBACK")
    session.add_user(user_message("r"))
    assert (session.saved and session.take_news()
            == ["Saved again: the session database accepted the pending messages."])
    assert ([message for message, _ in stored(store, session)] == session.messages
            and len(session.messages) == 3)
    assert list(Path(spool).iterdir()) == []


def test_the_next_start_saves_what_was_left(database: str, spool: str) -> None:
    store, other = (SqliteStore(database, busy_seconds=0.01),
                    sqlite3.connect(database, isolation_level=None))
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    other.execute("BEGIN IMMEDIATE")
    run(session, [TextDelta("one"), TextDelta(" two"), Finished("stop")])
    session.close()
    assert not session.lost and "the next start saves it" in session.last_words
    store.close()
    (path,) = Path(spool).iterdir()
    path.write_bytes(path.read_bytes() + b'{"do": "chu')
    store = open_store(database)
    assert recover(store, spool) == [] and path.exists(), "still locked"
    other.execute("ROLLBACK")
    recover(store, spool)
    assert stored(store, session) == [(user_message("q"), "complete"),
                                      (reply(Text("one two")), "complete")]
    assert not path.exists() and recover(store, spool) == []


def test_no_spool_either(database: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store, other = (SqliteStore(database, busy_seconds=0.01),
                    sqlite3.connect(database, isolation_level=None))
    other.execute("BEGIN IMMEDIATE")
    session = Session(store, str(tmp_path / "file" / "spool"), model="demo/x")
    session.add_user(user_message("q"))
    assert ("memory only" in session.take_news()[0] and session.lost
            and "neither" in session.last_words)
    other.execute("ROLLBACK")
    session.add_user(user_message("r"))
    assert session.saved and [message for message, _ in stored(store, session)] == session.messages


def test_a_full_disk(database: str, spool: str) -> None:
    """Neither the database nor the spool can grow; when there is room again, everything is saved.
    """
    import resource
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        session.add_user(user_message("x" * 400_000))
        run(session, [TextDelta("still here"), Finished("stop")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not session.saved and session.messages[-1].text == "still here"
    session.add_user(user_message("r"))
    assert session.saved and [message for message, _ in stored(store, session)] == session.messages
    assert (list(Path(spool).iterdir()) == []
            and sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone() == ("ok",))


# ---- recovery

def test_recovery_folds_what_a_gone_program_left(database: str, spool: str) -> None:
    store, other = open_store(database), open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    calls = reply(ToolCall("1", "a", {}), ToolCall("2", "b", {}), finish="tool_calls")
    session._keep(MessageAdded(calls), "demo/x")
    session._keep(ToolFinished(ToolResult("2", "b", "done"), 0.1), "demo/x")
    session2 = Session(store, spool, model="demo/x")
    session2.add_user(user_message("q"))
    session2._keep(ThinkingDelta("hm", 0, {"anthropic": {"signature": "s"}}), "demo/x")
    session2._keep(TextDelta("half"), "demo/x")
    assert recover(other, spool) == [], "its program runs"
    store.close()
    found = {one.session_id: one.message for one in recover(other, spool)}
    thinking = Thinking("hm", {"anthropic": {"signature": "s"}})
    assert found == {
        session.id:
        tool_message((ToolResult("1", "a", "Interrupted before it finished.", True),
                      ToolResult("2", "b", "done"))),
        session2.id: reply(thinking, Text("half"), finish="interrupted")}
    assert stored(other, session2)[-1] == (found[session2.id], "interrupted")
    assert recover(other, spool) == []


# ---- lists

def test_lists_are_safe_and_the_same_from_both_makers(database: str) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    store = open_store(database)
    for number in range(40):
        letters = "abc \u00e9\u4e2d\0\x1a\x1b\n\t\u202e\ud800"
        title = "".join(chance.choices(letters, k=chance.choice((5, 79, 80, 81, 200))))
        model = chance.choice(("m", "x" * 40))
        store.create_session(f"20260101-1000-{number:04}", title if number else "plain", model,
                             number * 1e6)
    lines = list(session_lines(store))
    assert all(line.isprintable() for line in lines)
    assert set(lines) & set(format_session_lines(list_sessions(store))), (
        "those without strange letters are the same")
    assert (lines[-1] == list(format_session_lines(list_sessions(store)))[-1]
            and lines[-1].endswith("plain"))
    assert len(list(session_lines(store, 3))) == 3 == len(list_sessions(store, 3))
    assert [line[:18] for line in lines] == [row.name for row in list_sessions(store)]


def test_a_list_to_choose_from_says_first_what_a_session_is_about(database: str) -> None:
    store, shown = open_store(database), list[str]()
    for number, words in enumerate(("red apples", "green pears", "")):
        session = Session(store, "", model="m")
        session.name = f"20260101-100{number}-aaa{number}"
        session.add_user(user_message(words))
    today = r"today \d\d:\d\d, 1 message, "
    for words, rows in (("", ["  1  (no text), {}aaa2", "  2  green pears, {}aaa1",
                              "  3  red apples, {}aaa0"]),
                        ("apples", ["  1  red apples, {}aaa0"])):
        shown.clear()
        select_session(store, lambda prompt: "1", shown.append, words=words)
        assert [re.sub(today, "{}", row) for row in shown] == rows
    shown.clear()
    select_session(store, lambda prompt: "1", shown.append, words="zebra")
    assert len(shown) == 3, "all, where no session contains the words"


def test_the_picker(database: str) -> None:
    store = open_store(database)
    answers: list[str] = []

    def choose(*given: str) -> str:
        answers[:] = given
        return select_session(store, lambda prompt: answers.pop(0), lambda line: None).name
    with pytest.raises(SessionNotFound):
        choose("1")
    for number, words in enumerate(("red apples", "green pears")):
        session = Session(store, "", model="m")
        session.name = f"20260101-100{number}-aaa{number}"
        session.add_user(user_message(words))
    assert choose("2") == choose("apples", "1") == choose("9", "nonsense",
                                                          "aaa0") == "20260101-1000-aaa0"
    for leave in (("",), ("zzz", "")):
        with pytest.raises(UsageError):
            choose(*leave)


def test_spooled_lines_are_json(database: str, spool: str) -> None:
    store, other = (SqliteStore(database, busy_seconds=0.01),
                    sqlite3.connect(database, isolation_level=None))
    other.execute("BEGIN IMMEDIATE")
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    session.close()
    (path,) = Path(spool).iterdir()
    writes = [json.loads(line) for line in path.read_text().splitlines()]
    assert ([write["do"] for write in writes] == ["for", "create", "create"]
            and writes[0]["place"] == database)
    assert writes[-1]["first"][1]["parts"] == [{"type": "text", "text": "q"}]


def test_a_damaged_spool_never_stops_a_start(tmp_path: Path) -> None:
    """A full disk truncated the last line in the middle of a character; other lines are invalid."""
    spool = tmp_path / "spool"
    spool.mkdir()
    good = [{"do": "create", "session": "s1", "title": "t", "model": "m", "created": 1.0},
            {"do": "add", "session": "s1", "id": 7, "state": "complete",
             "message": message_to_dict(user_message("kept"))}]
    bad = ['{"do": "add", "session": "s1", "id": 8, "state": "complete", "message": {"role": '
           '"user"}}', "[" * 100_000,
           '{"do": "create", "session": ["x"], "title": 3}', '{"do": "nonsense"}']
    text = "\n".join([*map(json.dumps, good), *bad]) + "\n"
    (spool / "s1-aa.jsonl").write_bytes(text.encode()
                                        + '{"do": "add", "text": "\u00e9'.encode()[:-1])
    store = SqliteStore(str(tmp_path / "sessions.db"))
    try:
        drain_spool(store, str(spool))
        assert [entry.message.text for entry in store.load_messages("s1")] == ["kept"]
    finally:
        store.close()
    assert [path.name for path in spool.iterdir()] == ["s1-aa.jsonl.unreadable"]


def line(do: str, **fields: Any) -> bytes:
    return json.dumps({"do": do, "session": "s1", **fields}).encode() + b"\n"


def spooled(number: int, text: str) -> bytes:
    return line("add", id=number, state="complete", message=message_to_dict(user_message(text)))


@pytest.mark.parametrize("content", [
    line("note", id=7, text="PRECIOUS"),  # of a newer version
    line("add", id=7, state="complete", msg={"role": "user", "text": "PRECIOUS"}),
    line("add", id=7, state="new", message=message_to_dict(user_message("PRECIOUS"))),
    line("add", id=7, state="complete",
         message={"role": None, "parts": [{"type": "text", "text": "PRECIOUS"}]}),
    line("chunk", id=7, seq={}, chunk=["text", 0, "PRECIOUS", None]),
    # of a message that is not there
    line("chunk", id=7, seq=0, chunk=["text", 0, "PRECIOUS", None]),
    line("finish", id=7, state="complete", message=message_to_dict(user_message("PRECIOUS"))),
    line("add", id=7, state="complete", message=message_to_dict(user_message("PRECIOUS")))
    .replace(b"s1", b"deleted"),
    spooled(7, "PRECIOUS")[:-9] + b"\n",
    spooled(7, "PRECIOUS")[:-9] + spooled(8, "glued to it"),
    b"\0" * 512 + b"PRECIOUS\n",
    b'"PRECIOUS"\n',
])
def test_what_cannot_be_read_in_a_spool_file_is_kept_and_told(tmp_path: Path,
                                                              content: bytes) -> None:
    """It does not stop the entries after it."""
    place = line("for", place=str(tmp_path / "sessions.db"))
    whole = place + line("create", title="t", model="m",
                         created=1.0) + spooled(1, "a") + content + spooled(9, "z")
    (tmp_path / "s1-aa.jsonl").write_bytes(whole + b'{"do": "add", "cut by a k')
    store = SqliteStore(str(tmp_path / "sessions.db"))
    news: list[str] = []
    assert recover(store, str(tmp_path), news) == []
    assert [entry.message.text for entry in store.load_messages("s1")] == ["a", "z"]
    kept = tmp_path / "s1-aa.jsonl.unreadable"
    assert kept.read_bytes().startswith(whole) and not (tmp_path / "s1-aa.jsonl").exists()
    assert len(news) == 1 and str(kept) in news[0] and "\n" not in news[0]
    assert recover(store, str(tmp_path), news) == [] and len(news) == 1
    store.close()


def test_a_spool_file_that_stays_is_told(database: str, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path),
                   "LOCALAPPDATA": str(tmp_path), "TMPDIR": str(tmp_path)}
    path = Path(data_directory(environment), "spool", "s1-aa.jsonl")
    path.parent.mkdir(parents=True)
    path.write_bytes(line("for", place=database) + line("create", title="t", model="m", created=1.0)
                     + spooled(1, "a"))
    SqliteStore(database).close()
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened = OpenedStore(Settings({"database_url": database}, environment=environment))
    (news,) = opened.news
    assert (news.startswith("NOT SAVED still: ") and str(path) in news
            and "Another program is using" in news and path.exists())
    opened.close()
    other.close()


def test_a_database_deleted_in_the_middle_of_a_chat(tmp_path: Path) -> None:
    """SQLite would continue to write into the deleted file.

    It is reported, and the new file contains the complete conversation.
    """
    path = tmp_path / "sessions.db"
    store = SqliteStore(str(path))
    session = Session(store, str(tmp_path / "spool"), model="m")
    session.add_user(user_message("first"))
    for file in tmp_path.glob("sessions.db*"):
        file.unlink()
    session.add_user(user_message("second"))
    assert any("NOT SAVED" in news and "deleted" in news for news in session.take_news())
    session.add_user(user_message("third"))
    assert session.saved
    session.close()
    store.close()
    fresh = SqliteStore(str(path))
    texts = [entry.message.text for entry in fresh.load_messages(session.id)]
    assert texts == ["first", "second", "third"]
    fresh.close()


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("point", range(7))
def test_a_session_deleted_by_another_program_stays_deleted(database: str, spool: str, point: int,
                                                            tools: bool) -> None:
    """Deleted before the `point`-th step of the second turn.

    The chat says so and continues unsaved; /keep saves it anew.
    """
    store, other = open_store(database), open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("first"))
    run(session, [TextDelta("answer"), Finished("stop")])
    old = session.id
    results = (ToolResult("1", "quick", "done"), ToolResult("2", "quick", "done"))
    calls = tuple(ToolCall(result.id, "quick", {}) for result in results)
    steps: list[Event] = [ThinkingDelta("hm", 1, {"a": 1}), TextDelta("one"), TextDelta(" two"),
                          TextDelta(" three")]
    last = reply(Thinking("hm", {"a": 1}), Text("one two three"))
    if tools:
        steps = [TextDelta("look"), MessageAdded(reply(Text("look"), *calls, finish="tool_calls")),
                 *(ToolFinished(result, 0.1) for result in results)]
        last = tool_message(results)

    async def turn() -> AsyncGenerator[Event, None]:
        for number, step in enumerate([*steps, MessageAdded(last)], 1):
            if number == point:
                other.delete_session(old)
            yield step

    async def consume() -> list[str]:
        return [event.text async for event in session.record(turn()) if isinstance(event, Notice)]
    if point == 0:
        other.delete_session(old)
    session.add_user(user_message("second"))
    notices = asyncio.run(consume())
    if point == 6:
        other.delete_session(old)
    session.add_user(user_message("third"))
    notices += session.take_news()
    assert len(notices) == 1 and "deleted" in notices[0] and "/keep" in notices[0]
    assert not session.saved and not session.lost and session.last_words == ""
    assert other.sessions() == [] == other.load_messages(old) and session.messages[-2] == last
    session.keep()
    session.add_user(user_message("fourth"))
    assert session.saved and session.id != old
    assert [message for message, _ in stored(other, session)] == session.messages
    with pytest.raises(UsageError):
        session.keep()
    session.close()
    store.close()
    assert (recover(other, spool) == [] and not os.path.exists(spool)
            and [row.id for row in other.sessions()] == [session.id])
    other.close()


def test_a_session_deleted_while_its_store_is_locked(database: str, spool: str) -> None:
    """Its text in the spool is deleted too."""
    store = SqliteStore(database, busy_seconds=0.01)
    deleter, other = open_store(database), sqlite3.connect(database, isolation_level=None)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("first"))

    async def turn() -> AsyncGenerator[Event, None]:
        yield TextDelta("one")
        other.execute("BEGIN IMMEDIATE")
        yield TextDelta(" two")
        yield MessageAdded(reply(Text("one two")))

    async def consume() -> None:
        async for _ in session.record(turn()):
            pass
    asyncio.run(consume())
    other.execute("COMMIT")
    assert len(os.listdir(spool)) == 1
    deleter.delete_session(session.id)
    session.close()
    assert not session.saved and store.sessions() == [] and os.listdir(spool) == []
    for opened in (store, deleter, other):
        opened.close()


# ---- where a spool file is drained

def spool_a_question(database: str, spool: str, text: str) -> Session:
    """A question that the locked database rejected."""
    store, other = (SqliteStore(database, busy_seconds=0.01),
                    sqlite3.connect(database, isolation_level=None))
    other.execute("BEGIN IMMEDIATE")
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message(text))
    session.close()
    store.close()
    other.close()
    return session


def test_a_spool_file_is_drained_only_where_it_belongs(tmp_path: Path, spool: str) -> None:
    mine, shared = str(tmp_path / "mine.db"), str(tmp_path / "shared.db")
    SqliteStore(mine).close()
    session = spool_a_question(mine, spool, "private")
    news: list[str] = []
    with closing(SqliteStore(shared)) as store:
        assert drain_spool(store, spool, news) == [] == news and store.sessions() == []
    assert len(os.listdir(spool)) == 1
    with closing(SqliteStore(mine)) as store:
        assert drain_spool(store, spool, news) == [] == news
        assert [entry.message.text for entry in store.load_messages(session.id)] == ["private"]
    assert os.listdir(spool) == []


def test_a_spool_file_of_an_earlier_version_goes_to_its_session_or_the_usual_store(
        tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    content = line("create", title="t", model="m", created=1.0) + spooled(1, "a")
    (spool / "s1-aa.jsonl").write_bytes(content)
    with closing(SqliteStore(str(tmp_path / "other.db"))) as store:
        drain_spool(store, str(spool))
        assert store.sessions() == []
        store.create_session("s1", "t", "m", 1.0)
        drain_spool(store, str(spool))
        assert len(store.load_messages("s1")) == 1 and os.listdir(spool) == []
    (spool / "s1-aa.jsonl").write_bytes(content)
    with closing(SqliteStore(str(tmp_path / "sessions.db"))) as store:
        drain_spool(store, str(spool))
        assert len(store.load_messages("s1")) == 1 and os.listdir(spool) == []


# ---- one turn at a time

def test_a_second_program_waits_for_the_turn_of_the_first(database: str, spool: str) -> None:
    """Each answer follows its question, and the second one sees the first exchange."""
    store, other = open_store(database), open_store(database)
    first = Session(store, spool, model="demo/x")
    first.add_user(user_message("one"))
    second = open_session(other, spool, newest=True)
    notices: list[str] = []

    async def ask() -> None:
        async for notice in second.begin_turn():
            notices.append(notice.text)
            if "waits" in notice.text:
                assert [row.message_count for row in other.sessions()] == [1]
                async for _ in first.record(answer("one's answer")):
                    pass
        second.add_user(user_message("two"))
        async for event in second.record(answer("two's answer")):
            notices.extend([event.text] if isinstance(event, Notice) else [])
    asyncio.run(ask())
    texts = ["one", "one's answer", "two", "two's answer"]
    assert ([message.text for message, _ in stored(store, first)] == texts
            == [message.text for message in second.messages])
    assert len(notices) == 2 and "waits" in notices[0] and "added 1 message" in notices[1]

    async def go_on() -> None:
        assert ([notice.text async for notice in first.begin_turn()]
                == ["Another program added 2 messages to this conversation."])
    asyncio.run(go_on())
    assert [message.text for message in first.messages] == texts
    first.close()
    store.close()
    other.close()


async def answer(text: str) -> AsyncGenerator[Event, None]:
    yield TextDelta(text)
    yield MessageAdded(reply(Text(text)))


def test_live_calls_are_not_answered_by_another_program(database: str, spool: str) -> None:
    """Three tools run in the first program and one has finished when it is killed; then the second
    program starts.
    """
    store, other = open_store(database), open_store(database)
    first = Session(store, spool, model="demo/x")
    first.add_user(user_message("q"))
    calls = reply(*(ToolCall(name, "slow", {}) for name in "abc"), finish="tool_calls")

    async def turn() -> AsyncGenerator[Event, None]:
        yield MessageAdded(calls)
        yield ToolFinished(ToolResult("b", "slow", "done"), 0.1)
        await asyncio.sleep(3600)

    async def work() -> None:
        events = first.record(turn())
        await anext(events)
        await anext(events)
        assert recover(other, spool) == []
        second = open_session(other, spool, newest=True)
        with pytest.raises(UsageError):
            second.retry()
        begun = second.begin_turn()
        assert "waits" in (await anext(begun)).text
        # as when its program is killed: the lock is gone, and nothing is closed in the session
        store.close()
        assert ([notice.text async for notice in begun]
                == ["Another program added 1 message to this conversation."])
        second.add_user(user_message("next"))
        results = [(result.id, result.content) for message in second.messages
                   for result in message.tool_results]
        assert results == [("a", INTERRUPTED), ("b", "done"), ("c", INTERRUPTED)]
        assert [message for message, _ in stored(other, second)] == second.messages
    asyncio.run(work())
    other.close()


# ---- rows that cannot be read

@pytest.mark.parametrize("parts", [
    "{not json", "null", "[1]", "7", '"text"', "{}", '[{"type":"text"}]',
    '[{"type":"text","text":7}]',
    '[{"type":"hologram","x":1}]',
    '[{"type":"tool_call","id":"1","name":"a","arguments":[]}]', "[" * 100_000, ""])
@pytest.mark.parametrize("role", ["user", "assistant", "tool", "oracle"])
def test_the_rest_of_a_session_opens_when_a_row_cannot_be_read(database: str, spool: str,
                                                               parts: str, role: str) -> None:
    store = open_store(database)
    session = Session(store, spool, model="demo/x")
    session.add_user(user_message("q"))
    run(session, [ToolCallDelta(0, "1", "quick", "{}"), Finished("tool_calls")],
        [TextDelta("so"), Finished("stop")])
    session.add_user(user_message("more"))
    session.close()
    with closing(sqlite3.connect(database)) as connection:
        known = role if role != "oracle" else "assistant"
        (row,) = connection.execute("SELECT max(number) FROM messages WHERE role = ?",
                                    (known,)).fetchone(),
        connection.execute("UPDATE messages SET parts = ?, role = ? WHERE number = ?",
                           (parts, role, row[0]))
        connection.commit()
    opened = open_session(store, spool, newest=True)
    (note,) = opened.take_news()
    assert note.startswith("1 message of this session cannot be read") and "kept" in note
    called = [call.id for message in opened.messages for call in message.tool_calls]
    assert called == [result.id for message in opened.messages
                      for result in message.tool_results] == ["1"]
    opened.add_user(user_message("again"))
    assert opened.messages[-1].text == "again" and opened.take_news() == []
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT parts FROM messages WHERE number = ?",
                                  (row[0],)).fetchone() == (parts,)
    store.close()


@pytest.mark.parametrize("value, known", [
    (0, 0), (7, 7), (MOST_TOKENS - 1, MOST_TOKENS - 1), (MOST_TOKENS, None), (-1, None),
    (True, None), (1.5, None), ("7", None), (None, None), ([7], None)])
def test_a_stored_count_is_a_number_of_tokens_or_unknown(value: object, known: int | None) -> None:
    found = usage_from_dict({"input_tokens": value, "details": value})
    assert found is not None and found.input_tokens == known and found.details is None
