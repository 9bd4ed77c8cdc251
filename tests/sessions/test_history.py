"""The history of a session is a tree: undone, edited and retried messages stay, on disk and in an
unsaved chat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import UsageError
from core.messages import Message, Text, user_message
from core.session_manager import Session, open_session
from db import Store, open_store
from tests import postgres

Make = Callable[[], Session]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes),
                        "unsaved"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    store: Store | None = None
    if request.param != "unsaved":
        url = str(tmp_path / "s.db")
        if request.param == "postgresql":
            url = postgres.new_database(request.getfixturevalue("postgres_url"))
        store = open_store(url)
    made = Session(store, str(tmp_path / "spool"), model="demo/m")
    yield made
    made.close()
    if store is not None:
        store.close()


def answer(text: str) -> Message:
    return Message("assistant", (Text(text),), "demo/m", None, "stop")


def say(session: Session, *texts: str) -> None:
    """A question and its answer for each text."""
    for text in texts:
        session.add_user(user_message(text))
        session.add_reply(answer(f"re {text}"))
        session.end_turn()


def texts(session: Session) -> list[str]:
    """What is shown, and the same when it is opened again."""
    shown = [message.text for message in session.messages]
    if session.store is not None and shown:
        again = open_session(session.store, name=session.id)
        assert [message.text for message in again.messages] == shown
        assert again.ids == session.ids
    return shown


def test_undo_and_redo_walk_along_the_branch(session: Session) -> None:
    say(session, "a", "b", "c")
    assert session.undo().text == "c"
    assert session.undo().text == "b"
    assert texts(session) == ["a", "re a"]
    assert session.redo().text == "b"
    assert texts(session) == ["a", "re a", "b", "re b"]
    assert session.redo().text == "c"
    assert texts(session) == ["a", "re a", "b", "re b", "c", "re c"]
    with pytest.raises(UsageError, match="nothing to redo"):
        session.redo()
    for _ in range(3):
        session.undo()
    assert texts(session) == []
    with pytest.raises(UsageError, match="nothing to undo"):
        session.undo()
    assert session.redo().text == "a"


def test_whether_something_is_hidden(session: Session) -> None:
    say(session, "a", "b")
    assert not session.has_hidden()
    session.undo()
    assert session.has_hidden()
    session.redo()
    assert not session.has_hidden()
    session.retry()
    session.add_reply(answer("another"))
    session.end_turn()
    assert session.has_hidden()


def test_an_edited_message_makes_a_branch_and_the_old_one_can_be_shown(session: Session) -> None:
    say(session, "a", "b", "c")
    session.rewind(session.question_place(2))
    say(session, "B")
    assert texts(session) == ["a", "re a", "B", "re B"]
    found = session.branches()
    assert [(branch.last.message.text, branch.shown, branch.length, branch.shared)
            for branch in found] == [
        ("re c", False, 6, 2), ("re B", True, 4, 4)]
    versions = session.versions(2)
    assert len(versions.ids) == 2 and versions.at == 1
    session.show_version(versions.ids[0])
    assert texts(session) == ["a", "re a", "b", "re b", "c", "re c"]
    session.show(found[1].end)
    assert texts(session) == ["a", "re a", "B", "re B"]
    with pytest.raises(UsageError, match="Only your own"):
        session.rewind(1)


def test_another_answer_is_a_version_of_the_first(session: Session) -> None:
    say(session, "a")
    question = session.retry()
    assert question is not None and question.text == "a"
    session.add_reply(answer("second"))
    session.end_turn()
    versions = session.versions(1)
    assert (len(versions.ids), versions.at) == (2, 1)
    session.show_version(versions.ids[0])
    assert texts(session) == ["a", "re a"]
    assert session.versions(1).at == 0


def test_a_fork_has_copies_with_state_and_time_and_the_parent_stays(session: Session) -> None:
    say(session, "a", "b")
    session.add_user(user_message("c"))
    session.add_reply(Message("assistant", (Text("half"),), "demo/m", None, "interrupted"))
    session.end_turn()
    if session.store is None:
        with pytest.raises(UsageError, match="not saved"):
            session.fork(2)
        return
    store = session.store
    fork = session.fork(session.exchange_end(None))
    old, new = store.load_messages(session.id), store.load_messages(fork.id)
    assert [(row.message, row.state, row.created)
            for row in old] == [(row.message, row.state, row.created) for row in new]
    assert not {row.id for row in old} & {row.id for row in new}
    say(fork, "d")
    assert texts(session)[-1] == "half" and texts(fork)[-1] == "re d"
    assert store.find_session(fork.id).parent == session.id
    assert store.find_session(fork.id).message_count == 8
    short = session.fork(session.exchange_end(1))
    assert texts(short) == ["a", "re a"]
    fork.close()
    short.close()


def test_random_changes_lose_nothing_that_was_ever_said(session: Session) -> None:
    """120 steps, compared with a model of the tree; every message is reachable."""
    seed = random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    said: set[str] = set()
    for step in range(120):
        act = dice.choice(("say", "say", "say", "undo", "redo", "retry", "edit", "show"))
        try:
            if act == "say" or not session.messages:
                say(session, f"q{step}")
                said |= {f"q{step}", f"re q{step}"}
            elif act == "undo":
                session.undo()
            elif act == "redo":
                session.redo()
            elif act == "retry":
                session.retry()
                session.add_reply(answer(f"other {step}"))
                session.end_turn()
                said.add(f"other {step}")
            elif act == "edit":
                places = [place for place, message in enumerate(session.messages)
                          if message.role == "user"]
                session.rewind(dice.choice(places))
                say(session, f"e{step}")
                said |= {f"e{step}", f"re e{step}"}
            else:
                session.show(dice.choice(session.branches()).end)
        except UsageError:
            assert act in ("undo", "redo")
        roles = [message.role for message in session.messages]
        assert roles == [("user", "assistant")[place % 2] for place in range(len(roles))]
    texts(session)
    found: set[str] = set()
    for branch in session.branches():
        session.show(branch.end)
        shown = texts(session)
        assert len(shown) == branch.length
        found |= set(shown)
    assert found == said
