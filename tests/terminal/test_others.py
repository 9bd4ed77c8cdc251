"""What another program writes to the session is shown meanwhile, each paragraph once."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from core.argument_parser import parse_arguments
from core.chat.conversation import Chat
from core.console.screen import Screen
from core.messages import Message, Text, user_message
from core.session_manager import Session, open_session
from core.store.identity import new_message_id
from core.store.rows import Chunk
from core.terminal.others import Following, newest, paragraphs_end
from db import Store, open_store

PIECES = ("First", " paragraph.\n", "\nSecond one", ".\n\n```\n", "a = 1\n\nb = 2\n",
          "```\n\n1. one\n\n",
          "2. two\n\nlast", " words")
STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """One database, opened twice."""
    path = str(tmp_path / "sessions.db")
    one, other = open_store(path), open_store(path)
    yield one, other
    one.close()
    other.close()


def begun(store: Store) -> Session:
    """A session whose turn is that of this program."""
    session = Session(store, model="ollama/m")
    session.add_user(user_message("question"))

    async def begin() -> None:
        async for _ in session.begin_turn():
            pass
    asyncio.run(begin())
    return session


def screen_of() -> Screen:
    return Screen(io.StringIO(), parse_arguments([], {"TERM": "xterm-256color", "NO_COLOR": "1"}))


def written(screen: Screen) -> str:
    return STYLE.sub("", cast(io.StringIO, screen.out).getvalue())


def look(following: Following) -> None:
    show = following.news()
    if show is not None:
        show()


def test_paragraphs_come_one_after_the_other_and_the_rest_with_the_message(
        stores: tuple[Store, Store]) -> None:
    ours, theirs = stores
    session = begun(ours)
    watching = open_session(theirs, name=session.id)
    screen = screen_of()
    following = Following(cast(Chat, SimpleNamespace(session=watching)), screen)
    reply = new_message_id()
    ours.add_message(session.id, reply, Message("assistant", (), "ollama/m"), "streaming")
    for number, piece in enumerate(PIECES):
        ours.append_chunk(reply, number, Chunk("text", 0, piece))
        look(following)
        shown = written(screen)
        assert shown.count("First paragraph.") == (number >= 2), piece
        assert shown.count("b = 2") == (number >= 5), "a block of code comes whole"
    assert following.tail == "last words"
    whole = Message("assistant", (Text("".join(PIECES)),), "ollama/m", None, "stop")
    ours.finish_message(reply, whole, "complete")
    look(following)
    shown = written(screen)
    for words in ("First paragraph.", "Second one.", "a = 1", "1. one", "2. two", "last words"):
        assert words in shown, (words, shown)
    assert (shown.count("First") == shown.count("Second") == shown.count("a = 1")
            == shown.count("1. one") == 1)
    assert "\n\n\n" not in shown
    assert following.tail == "" and screen.begun_reply == ""


@pytest.mark.parametrize(("text", "end"), [
    ("", 0), ("one", 0), ("one\n\n", 5), ("one\n\ntwo", 5), ("```\na\n\nb", 0),
    ("x\n\n```\na\n\nb\n```\n\n", 17),
    ("x\n\n```\na\n\n", 3)])
def test_where_the_last_complete_paragraph_ends(text: str, end: int) -> None:
    assert paragraphs_end(text) == end


@pytest.mark.parametrize(("text", "cells", "kept"),
                         [("", 9, ""), ("one two", 9, "one two"), ("one two three", 9, "two three"),
                          ("\u4e2d\u6587 ok", 6, "ok"), ("longer-than-the-row", 5, "")])
def test_the_newest_words_fit_on_a_row(text: str, cells: int, kept: str) -> None:
    assert newest(text, cells + 1) == kept
