"""The prompt: keys, pastes, history, and which lines are commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from core.commands import command_in, message_in
from core.terminal.keyboard import Sequences, as_pastes
from core.terminal.several_lines import continues, in_quotes
from tests.fake_server import MODELS, FakeOllama
from tests.pseudo_terminal import CTRL_C, CTRL_D, ENTER, Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture
def chat(ollama: FakeOllama, program: list[str], environment: Environment) -> Iterator[Terminal]:
    with Terminal([*program, "-m", "words-5"], environment) as terminal:
        yield terminal
        terminal.send(CTRL_C + CTRL_D)
        assert terminal.exit_status() == 0
        terminal.check_restored()


def last_asked(server: FakeOllama) -> str:
    said = [message["content"] for message in server.chats[-1].json["messages"]
            if message["role"] == "user"]
    return str(said[-1])


def type_keys(chat: Terminal, keys: str, shown: str) -> None:
    chat.wait_prompt()
    chat.send(keys)
    chat.wait(shown)


def test_shift_enter_is_a_new_line_and_unknown_sequences_are_dropped(chat: Terminal,
                                                                     ollama: FakeOllama) -> None:
    type_keys(chat, "a\x1b[13;2ub\x1b[I\x1b[27;2;13~c\x1b]11;rgb:1/2/3\x07d\x1b[99;88z!", "^  cd!$")
    chat.send(ENTER)
    chat.wait("w4")
    assert last_asked(ollama) == "a\nb\ncd!"


def test_a_backslash_or_open_quotes_continue_the_message(chat: Terminal,
                                                         ollama: FakeOllama) -> None:
    type_keys(chat, "one\\", r"^\u203a one\\$")
    chat.send(ENTER)
    chat.wait("^\u203a one$")
    chat.send("two" + ENTER)
    chat.wait("w4")
    assert last_asked(ollama) == "one\ntwo"
    type_keys(chat, '"""three', '^\u203a """three$')
    chat.send(ENTER)
    chat.send('four"""')
    chat.wait('^  four"""$')
    chat.send(ENTER)
    chat.wait("w4", 2)
    assert last_asked(ollama) == '"""three\nfour"""'


def test_a_long_paste_is_folded_and_stands_on_the_screen_once(chat: Terminal,
                                                              ollama: FakeOllama) -> None:
    lines = [f"row {number} of the paste" for number in range(200)]
    # a line end at the end begins no further line
    type_keys(chat, "see \x1b[200~" + "\r".join(lines) + "\r\x1b[201~",
              r"^\u203a see \[200 lines pasted\]$")
    chat.send("\x7f")
    chat.wait("^\u203a see$")
    chat.send("\x1b[200~" + "\r".join(lines) + "\x1b[201~")
    chat.wait(r"^\u203a see \[200 lines pasted\]$")
    chat.send(ENTER)
    chat.wait("w4")
    assert last_asked(ollama) == "see " + "\n".join(lines)
    assert [chat.text().count(line + "\n") for line in lines] == [1] * 200


def test_what_is_pasted_without_marks_is_not_sent(chat: Terminal, ollama: FakeOllama) -> None:
    type_keys(chat, "one\rtwo\r", "^  two$")
    assert not ollama.chats
    chat.send(ENTER)
    chat.wait("w4")
    assert last_asked(ollama) == "one\ntwo\n"


def test_a_name_in_pasted_text_attaches_nothing(chat: Terminal, ollama: FakeOllama,
                                                tmp_path: Path) -> None:
    for name in ("secret.txt", "typed.txt"):
        (tmp_path / name).write_text(f"words of {name}")
    type_keys(chat, f"\x1b[200~look at @{tmp_path}/secret.txt\x1b[201~", "secret.txt$")
    chat.send(f" and @{tmp_path}/typed.txt ")
    chat.wait("typed.txt$")
    chat.send(ENTER)
    chat.wait("w4")
    sent = str(ollama.chats[-1].json)
    assert "words of typed.txt" in sent and "words of secret.txt" not in sent
    assert "stands in pasted text" in " ".join(chat.text().split())


def test_enter_takes_a_match_of_the_search_and_ctrl_c_leaves_it(chat: Terminal,
                                                                ollama: FakeOllama) -> None:
    chat.ask("first question", "w4")
    type_keys(chat, "\x12fir", "I-search.*fir")
    chat.send(ENTER)
    chat.wait_until(lambda: "I-search" not in chat.text(), "the end of the search")
    assert len(ollama.chats) == 1 and chat.text().endswith("\u203a first question")
    chat.send(CTRL_C + "\x12fir")
    chat.wait("I-search.*fir")
    chat.send(CTRL_C)
    chat.wait_until(chat.at_prompt, "a prompt")


@pytest.mark.parametrize("word", ["exit", "quit", "exit()", ":q"])
def test_the_usual_words_leave(word: str, ollama: FakeOllama, program: list[str],
                               environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.say(word)
        assert chat.exit_status() == 0
        assert not ollama.chats


@pytest.mark.parametrize(("line", "command"), [
    ("/model x", "/model x"), (" /model", "/model"), ("/?", "/?"),
    ("/server__prompt a", "/server__prompt a"),
    ("/etc/hosts is what?", None), ("/* comment */", None), ("//model", None), ("// note", None),
    ("/ x", None),
    ("/système", "/système"), ("a /model", None), ("/-x", None)])
def test_which_lines_are_commands(line: str, command: str | None) -> None:
    assert command_in(line) == command


def test_two_slashes_send_what_looks_like_a_command() -> None:
    assert message_in("//model x") == "/model x"
    for text in ("// a comment", "/etc/hosts", "//etc/hosts", "text"):
        assert message_in(text) == text


def test_sequences_are_found_however_they_are_cut() -> None:
    def keys(text: str) -> list[KeyPress]:
        names: dict[str, Keys | str] = {"\x1b": Keys.Escape, "\x07": Keys.ControlG}
        return [KeyPress(names.get(sign, sign), sign) for sign in text]
    for text, kept in (("\x1b[Ia", "a"), ("\x1b]11;rgb:1/2\x07a", "a"), ("\x1b]11;x\x1b\\a", "a"),
                       ("\x1bP>|xterm\x1b\\a", "a")):
        for cut in range(2, len(text)):
            sequences = Sequences()
            parts = [*sequences.read(keys(text[:cut])), *sequences.read(keys(text[cut:]))]
            assert "".join(key.data for key in parts) == kept, (text, cut)
    assert [key.key for key in Sequences().read(keys("\x1b"))] == [Keys.Escape]


def test_one_enter_at_the_end_is_not_a_paste() -> None:
    typed = [KeyPress("a", "a"), KeyPress(Keys.ControlM, "\r")]
    assert as_pastes(typed) == typed
    assert [key.key for key in as_pastes([*typed, KeyPress("b", "b")])] == [Keys.BracketedPaste]


def test_what_asks_for_a_further_line() -> None:
    assert [continues(text) for text in ("a\\", "a\\\\", "a", "\\")] == [True, False, False, True]
    assert [in_quotes(text) for text in ('"""', '"""a', '"""a"""', 'a"""')] == [True, True, False,
                                                                                False]
