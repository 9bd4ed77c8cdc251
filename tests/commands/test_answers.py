"""Commands for answers and options: /copy, /save, /set, /options, /think."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.chat.conversation import Chat
from core.commands import Done, Edit, Outcome, Say, run_command
from core.config import Settings
from core.errors import UsageError
from core.messages import Image, Message, Text, user_message
from core.model_manager import Providers, Target
from core.session_manager import Session

pytestmark = pytest.mark.processes
ANSWERS = ("first\n", "see\n\n```python\nprint(1)\n```\n\nand\n\n```\ntwo\n```\n")


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    program = tmp_path / "wl-copy"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/clipboard\n")
    program.chmod(0o755)
    settings = Settings({}, environment={"PATH": f"{tmp_path}{os.pathsep}{os.defpath}",
                                         "WAYLAND_DISPLAY": "wayland-0"})
    session = Session(None)
    for answer in ANSWERS:
        session.add_user(user_message("?"))
        session.messages.append(Message("assistant", (Text(answer),), "demo/demo", finish="stop"))
    providers = Providers(settings)
    yield Chat(settings, session, providers, Target("demo", "demo"),
               open_session=lambda name: Session(None))
    asyncio.run(providers.close())


def run(chat: Chat, line: str) -> Outcome:
    return asyncio.run(run_command(chat, line))


def test_an_edited_question_keeps_its_pictures(chat: Chat) -> None:
    picture = Image("image/png", "AAAA", "a.png")
    chat.session.add_user(user_message("whta is this?", (picture,)))
    assert run(chat, "/edit what is this?") == Say("what is this?", (picture,), typed=True)
    assert len(chat.session.messages) == 4
    edit = run(chat, "/edit -1")
    assert isinstance(edit, Edit) and (edit.text, edit.line) == ("?", "/edit -1 ?")


@pytest.mark.parametrize(("line", "copied"), [
    ("/copy", ANSWERS[1]), ("/copy 2", ANSWERS[0]), ("/copy code", "print(1)\n\ntwo\n"),
    ("/copy code 1", "print(1)\n"),
    ("/copy code 2", "two\n")])
def test_what_is_copied(chat: Chat, tmp_path: Path, line: str, copied: str) -> None:
    assert "wl-copy" in str(run(chat, line))
    assert (tmp_path / "clipboard").read_text() == copied


@pytest.mark.parametrize("line",
                         ["/copy 3", "/copy 0", "/copy x", "/copy code 3", "/copy code x",
                          "/save a.md 9", "/save a.md code 9", "/save"])
def test_what_is_not_there_is_refused(chat: Chat, line: str) -> None:
    with pytest.raises(UsageError):
        run(chat, line)


def test_without_a_clipboard_the_way_out_is_said(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "wl-copy").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(UsageError, match="exit status 3") as raised:
        run(chat, "/copy")
    assert "/save" in raised.value.hint


@pytest.mark.parametrize(("words", "saved"), [("code", "print(1)\n\ntwo\n"),
                                              ("code 2", "two\n"), ("2", ANSWERS[0])])
def test_the_code_alone_is_saved(chat: Chat, tmp_path: Path, words: str, saved: str) -> None:
    path = tmp_path / "a.py"
    said = run(chat, f"/save {path} {words}")
    assert path.read_text() == saved
    assert isinstance(said, Done) and ("the code" in said) is words.startswith("code")


def test_an_answer_is_saved_once(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "an answer.md"
    run(chat, f"/save '{path}'")
    assert path.read_text() == ANSWERS[1]
    with pytest.raises(UsageError, match="exists"):
        run(chat, f"/save '{path}' 2")
    run(chat, f"/save '{path}' 2 --force")
    assert path.read_text() == ANSWERS[0]


def test_options_are_set_and_shown(chat: Chat) -> None:
    run(chat, "/set temperature 0.2")
    run(chat, "/set num-ctx 32k")
    assert (chat.options.temperature, chat.options.num_ctx) == (0.2, 32768)
    assert "0.2" in str(run(chat, "/options")) and "0.2" in str(run(chat, "/set temperature"))
    run(chat, "/set temperature off")
    assert chat.options.temperature is None
    run(chat, "/think high")
    assert chat.options.think == "high"
    run(chat, "/think off")
    assert chat.options.think is False


@pytest.mark.parametrize(("line", "hint"),
                         [("/set temprature 1", "temperature"),
                          ("/set temperature 9", "from 0 to 2"),
                          ("/think hgih", "high")])
def test_a_wrong_option_changes_nothing(chat: Chat, line: str, hint: str) -> None:
    before = chat.options
    with pytest.raises(UsageError) as raised:
        run(chat, line)
    assert hint in raised.value.hint and chat.options == before
