"""The menu under the prompt: it opens while the user types, and never gets in the way."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from core.commands.stages import in_stage, stage_of
from core.safe_text import safe_text
from core.terminal.completion import fitting, path_in, short
from core.terminal.keyboard import Sequences
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import ALT_ENTER, CTRL_C, CTRL_D, DOWN, ENTER, ESCAPE, UP, Terminal

Environment = dict[str, str]
ROW = re.compile(r"^  (?:\u203a|  )\s?\S", re.MULTILINE)
RIGHT, TAB, BACKSPACE = "\x1b[C", "\t", "\x7f"


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", "words-50", "think")) as server:
        environment["OLLAMA_HOST"] = server.url
        environment["STREAM_CHAT_STATUS"] = "on"
        yield server


@pytest.fixture
def chat(ollama: FakeOllama, program: list[str], environment: Environment,
         tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "deep.txt").write_text("words of deep.txt")
    (tmp_path / "alone.txt").write_text("words of alone.txt")
    with Terminal([*program, "-m", "words-5"], environment, cwd=tmp_path) as terminal:
        yield terminal
        terminal.send(CTRL_C)
        terminal.wait(r"^\u203a$")
        terminal.send(CTRL_D)
        assert terminal.exit_status() == 0
        terminal.check_restored()


def menu(chat: Terminal) -> list[str]:
    """The rows under the prompt."""
    rows = chat.text().split("\n")
    prompt = max(number for number, row in enumerate(rows) if row.startswith("\u203a"))
    return [row.strip() for row in rows[prompt + 1:]]


def closed(chat: Terminal) -> bool:
    return all(row.startswith("words-5") for row in menu(chat))


def type_keys(chat: Terminal, keys: str, *rows: str) -> None:
    """Type, and wait until the menu has these rows, from its first."""
    chat.send(keys)
    chat.wait_until(lambda: [" ".join(row.split())[:len(wanted)]
                             for row, wanted in zip(menu(chat), rows)] == list(rows),
                    f"the menu {rows}")


def test_it_opens_while_a_command_is_typed_and_enter_sends_what_stands_there(
        chat: Terminal, ollama: FakeOllama) -> None:
    chat.wait_prompt()
    type_keys(chat, "/co", "\u203a /continue", "/copy", "/compare", "/context", "/compact")
    assert len(menu(chat)) <= 6 and menu(chat)[-1].startswith("1 of ")
    type_keys(chat, "mpa", "\u203a /compare", "/compact")
    chat.wait(r"^\u203a /compare$")                 # the rest of the first match is shown dim
    chat.send(ENTER)
    chat.wait("There is no command /compa")
    assert "It may be /compare or /compact." in chat.text() and not ollama.chats
    chat.wait_prompt()
    type_keys(chat, "/compa", "\u203a /compare")
    type_keys(chat, BACKSPACE * 3, "\u203a /continue")
    chat.send(CTRL_C)
    chat.wait_until(lambda: closed(chat), "the end of the menu")


def test_tab_takes_the_first_row_and_the_arrows_another(chat: Terminal) -> None:
    chat.wait_prompt()
    type_keys(chat, "/compa", "\u203a /compare")
    chat.send(TAB)
    chat.wait(r"^\u203a /compare keep$")            # and what can follow it is shown at once
    chat.send(CTRL_C)
    type_keys(chat, "/compa", "\u203a /compare")
    type_keys(chat, DOWN, "/compare", "\u203a /compact")
    type_keys(chat, UP, "\u203a /compare", "/compact")
    type_keys(chat, DOWN, "/compare", "\u203a /compact")
    chat.send(ENTER)
    chat.wait_until(lambda: closed(chat), "the end of the menu")
    assert "/compact" in chat.text() and "summar" not in chat.text()
    chat.send(ENTER)
    chat.wait("There is nothing to summarise yet")


def test_right_takes_the_dim_text(chat: Terminal) -> None:
    chat.wait_prompt()
    type_keys(chat, "/thinki", "\u203a /thinking")
    chat.send(RIGHT)
    chat.wait_until(lambda: closed(chat), "the end of the menu")
    type_keys(chat, " o", "\u203a on", "off")


def test_models_are_asked_for_once_and_shown_when_they_are_known(chat: Terminal,
                                                                 ollama: FakeOllama) -> None:
    chat.wait_prompt()
    type_keys(chat, "/model ", "\u203a words-5:", "words-50:", "think:")
    type_keys(chat, "thi", "\u203a think:")
    asked = [request.path for request in ollama.requests].count("/api/tags")
    chat.send(TAB + ENTER)
    chat.wait("The model is now ollama/think:")
    assert [request.path for request in ollama.requests].count("/api/tags") <= asked + 1


def test_a_path_is_entered_folder_by_folder_and_attached(chat: Terminal,
                                                         ollama: FakeOllama) -> None:
    chat.wait_prompt()
    type_keys(chat, "me@x and @a", '\u203a @"a folder/"', "@alone.txt")
    type_keys(chat, TAB, '\u203a @"a folder/deep.txt"')
    chat.send(TAB)
    chat.wait(r'^\u203a me@x and @"a folder/deep.txt"$')
    chat.send(ENTER)
    chat.wait("w4")
    assert "words of deep.txt" in str(ollama.chats[-1].json)


def test_sessions_are_shown_with_their_titles(chat: Terminal) -> None:
    chat.ask("how do bees fly", "w4")
    chat.wait_prompt()
    chat.send("/session ")
    chat.wait(r"^  \u203a \S+ +how do bees fly$")


def test_history_and_pastes_open_nothing(chat: Terminal) -> None:
    chat.ask("/theme mono", "Theme: mono")
    chat.wait_prompt()
    chat.send(UP)
    chat.wait(r"^\u203a /theme mono\n  words-5")
    chat.send(CTRL_C + "\x1b[200~/co\x1b[201~")
    chat.wait(r"^\u203a /co\n  words-5")
    type_keys(chat, "n", "\u203a /continue")


def test_escape_closes_it_for_this_word(chat: Terminal) -> None:
    chat.wait_prompt()
    type_keys(chat, "/co", "\u203a /continue")
    chat.send(ESCAPE)
    chat.wait_until(lambda: closed(chat), "the end of the menu")
    chat.send("m")
    chat.wait(r"^\u203a /com\n  words-5")
    type_keys(chat, TAB, "\u203a /compare")


def test_escape_closes_it_at_once_and_what_begins_with_it_still_works(chat: Terminal) -> None:
    """At least one of five attempts is not slowed down by other programs."""
    chat.wait_prompt()
    took = []
    for _ in range(5):
        type_keys(chat, "/co", "\u203a /continue")
        began = time.monotonic()
        chat.send(ESCAPE)
        chat.wait_until(lambda: closed(chat), "the end of the menu")
        took.append(time.monotonic() - began)
        chat.send(CTRL_C)
        chat.wait(r"^\u203a\n  words-5")
    assert min(took) < 0.6
    type_keys(chat, "/co", "\u203a /continue")
    chat.send(ALT_ENTER + "x")                      # in one piece: a new line, not Escape and Enter
    chat.wait(r"^\u203a /co\n  x$")
    chat.send(CTRL_C + "ab cd" + "\x1bb" + "X")      # Alt-B: a word back
    chat.wait(r"^\u203a ab Xcd$")


def test_the_rest_of_a_sequence_may_come_late() -> None:
    def keys(text: str) -> list[KeyPress]:
        return [KeyPress(sign, sign) for sign in text]
    sequences = Sequences()
    begun = list(sequences.read([KeyPress(Keys.Escape, "\x1b"), *keys("[")]))
    assert not begun and [key.key for key in sequences.read(keys("A"))] == [Keys.Up]
    assert [key.key for key in sequences.read(keys("x"))] == ["x"]
    alt_enter = [KeyPress(Keys.Escape, "\x1b"), KeyPress(Keys.ControlM, "\r")]
    assert [key.key for key in sequences.read(alt_enter)] == [Keys.ControlJ]


def test_values_of_an_option_are_shown_when_it_is_chosen(chat: Terminal) -> None:
    chat.wait_prompt()
    type_keys(chat, "/set ", "\u203a temperature sampling", "top_p")
    type_keys(chat, "th" + TAB, "\u203a on", "off", "low")
    chat.send(CTRL_C)
    type_keys(chat, "/set temperature ", "\u203a 0", "0.2", "0.7", "1",
              "off back to the provider's own")
    chat.send(DOWN + ENTER)
    chat.wait(r"^\u203a /set temperature 0\.2$")
    chat.send(ENTER)
    chat.wait("temperature is 0.2, from the next answer on")
    type_keys(chat, "/set temperature ", "\u203a 0", "0.2 now")


def test_paths_behind_commands_and_in_lines_for_the_shell(chat: Terminal, tmp_path: Path) -> None:
    chat.wait_prompt()
    type_keys(chat, "/save a", '\u203a "a folder/"', "alone.txt")
    type_keys(chat, TAB, '\u203a "a folder/deep.txt"')
    chat.send(TAB)
    chat.wait(r'^\u203a /save "a folder/deep.txt"$')
    for before in ("/export ", "/export json ", "/context add "):
        chat.send(CTRL_C)
        type_keys(chat, before + "al", "\u203a alone.txt")
    chat.send(CTRL_C)
    type_keys(chat, "!cat a", "\u203a a\\ folder/", "alone.txt")
    type_keys(chat, TAB, "\u203a a\\ folder/deep.txt")
    chat.send(TAB)
    chat.wait(r"^\u203a !cat a\\ folder/deep.txt$")
    chat.send(CTRL_C + "!no-such-pro" + TAB + "gram")
    chat.wait(r"^\u203a !no-such-program\n  words-5")


@pytest.mark.parametrize("terminal", ["plain", "dumb"])
def test_a_plain_screen_has_no_menu(
        terminal: str, ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    own = environment | ({"ACCESSIBLE": "1"} if terminal == "plain" else {"TERM": "dumb"})
    with Terminal([*program, "-m", "words-5"], own) as chat:
        chat.wait(r"^(You:|>)")
        chat.send("/hel")
        chat.wait("/hel")
        chat.send("p\r")
        chat.wait("Ctrl-D leaves")
        assert "explain one" not in chat.text()


def test_no_row_is_wider_than_the_screen_and_names_of_files_are_safe(
        ollama: FakeOllama, program: list[str], environment: Environment, tmp_path: Path) -> None:
    for name in ("x\x1b[31mred", "x" * 200, "x\u202ereversed", "x\u4e2d\u6587" * 20):
        (tmp_path / name).touch()
    with Terminal([*program, "-m", "words-5"], environment, cwd=tmp_path, columns=40,
                  lines=10) as chat:
        chat.wait_prompt()
        chat.send("@x")
        chat.wait(r"^    @x")
        rows = menu(chat)
        assert len(rows) <= 5 and b"\x1b[31mred" not in chat.raw and "\u202e" not in chat.text()
        for width in (100, 20, 60):
            chat.resize(width, 10)
            chat.send("y" + BACKSPACE)
            chat.wait(r"^    @x")
        chat.send(CTRL_C + CTRL_D)
        assert chat.exit_status() == 0


def asked(ollama: FakeOllama) -> list[str]:
    return [message["content"] for request in ollama.chats
            for message in request.json["messages"]]


@pytest.mark.parametrize("way", ["completed", "pasted"])
def test_what_is_not_seen_is_shown_where_it_is_edited(
        ollama: FakeOllama, program: list[str], environment: Environment, tmp_path: Path,
        way: str) -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    chance = random.Random(seed)
    signs = [chr(code) for code in range(0x80, 0xE1000)
             if not 0xD800 <= code < 0xE000 and safe_text(chr(code)) != chr(code)]
    name = "n" + "".join(chance.sample(signs, 6)) + "\u202e\U000e0041z"
    (tmp_path / name).write_text("words in the file")
    with Terminal([*program, "-m", "echo"], environment, cwd=tmp_path, columns=120) as chat:
        chat.wait_prompt()
        if way == "completed":
            chat.send("@n")
            chat.wait("@\"?n<U")
            chat.send(TAB)
        else:
            chat.send(f"\x1b[200~@{name}\x1b[201~")
        chat.wait(re.escape(f"{safe_text(name)}"))
        chat.send("x" + BACKSPACE + ENTER)       # the cursor is at its visible place
        chat.wait_until(lambda: any(asked(ollama)), "the question")
        chat.wait_prompt()
        shown = chat.raw.decode("utf-8", "replace")
        assert not [sign for sign in name if sign in shown and not sign.isprintable()]
    assert any(name in question for question in asked(ollama))


def test_what_fits() -> None:
    assert fitting("B", ["ab", "b", "bc", "b"]) == ["b", "bc", "ab"]
    assert (short("Copy it: /copy, /copy 2") == "Copy it"
            and short("Ask (twice). Then wait") == "Ask")


def test_word_by_word() -> None:
    names = ["top ", "top 1", "top 0.9", "stop ", "stop off", "list"]
    assert in_stage("", names) == ["top ", "stop ", "list"]
    assert stage_of("top 0", names) == "top " and stage_of("to", names) == ""
    assert in_stage("top ", names) == ["top 1", "top 0.9"]


def test_where_a_path_is_expected() -> None:
    from core.commands import all_commands
    commands = all_commands()
    assert path_in(commands["context"], "add src", ["add ", "list"]) == "src"
    assert path_in(commands["export"], "markdown o", ["markdown "]) == "o"
    assert path_in(commands["save"], "o", []) == "o"
    assert path_in(commands["set"], "stop x", ["stop "]) is None
