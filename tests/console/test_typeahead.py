"""Text typed while a reply streams is not shown, not lost, and reported when the prompt is back."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.console.terminal_modes import echoed
from core.console.typeahead import Typeahead, Typed, readable
from tests.fake_server import (MODELS, Answer, FakeOllama, FakeServer, Received, chat_line,
                               done_line, json_answer,
                               lines_answer)
from tests.pseudo_terminal import CTRL_C, CTRL_D, ENTER, Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def asked(server: FakeOllama) -> list[str]:
    """The user's texts in the last request."""
    chats = server.chats
    return [message["content"] for message in chats[-1].json["messages"]
            if message["role"] == "user"]


def send(chat: Terminal, keys: str) -> None:
    """Type it, and wait until the program has read it, so that it is not read together with what
    follows.
    """
    chat.send(keys)
    time.sleep(0.1)      # until it has gone through the terminal
    chat.wait_until(lambda: not unread(chat), "a program that reads what is typed")


def unread(chat: Terminal) -> int:
    return int.from_bytes(fcntl.ioctl(chat.slave, termios.FIONREAD, bytes(4)), sys.byteorder)


def echoes(chat: Terminal) -> bool:
    return bool(chat.modes()[3] & termios.ECHO)


def test_lines_typed_in_a_reply_are_the_next_messages(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@50"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        assert not echoes(chat)
        for typed in ("second\n", "third\n", "beg"):
            send(chat, typed)
        chat.wait("w59", 3)
        chat.wait("^\u203a beg$")
        shown = chat.text()
        assert shown.count("second") == shown.count("third") == 1
        assert "\n\u203a second\n" in shown and "\n\u203a third\n" in shown
        assert asked(ollama) == ["go", "second", "third"]
        chat.send("un" + ENTER)
        chat.wait("w59", 4)
        assert asked(ollama) == ["go", "second", "third", "begun"]
        chat.wait_prompt()
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        chat.check_restored()


def test_a_command_typed_in_a_reply_is_a_command(ollama: FakeOllama, program: list[str],
                                                 environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@50"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        chat.send("/exit" + ENTER)
        assert chat.exit_status() == 0
        assert "w59" in chat.text()
        chat.check_restored()


def test_after_a_stop_nothing_is_sent_by_itself(ollama: FakeOllama, program: list[str],
                                                environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@50"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        send(chat, "second\n")
        send(chat, "third\n")
        chat.wait(r"^\u203a second\n(\u00b7 .*\n)?(\n)?w0 w1")
        chat.interrupt()
        chat.wait("Stopped")
        chat.wait("^\u203a third$")
        time.sleep(0.2)
        assert asked(ollama) == ["go", "second"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_reply_leaves_the_terminal_as_it_was(
        ollama: FakeOllama, program: list[str], environment: Environment, number: int) -> None:
    with Terminal([*program, "-m", "slow"], environment) as chat:
        chat.say("go")
        chat.wait("^w0")
        assert not echoes(chat)
        chat.child.send_signal(number)
        assert chat.exit_status() == 128 + number
        chat.check_restored()


def test_ctrl_c_just_after_a_reply_is_asked_about(ollama: FakeOllama, program: list[str],
                                                  environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.ask("go", "^w0 w1 w2 w3 w4$")
        chat.send(CTRL_C)
        chat.wait("Ctrl-C again leaves")
        chat.send(CTRL_C)
        assert chat.exit_status() == 0
        chat.check_restored()


def test_keys_that_are_no_characters_are_left_out() -> None:
    assert readable("a\x1b[A\x1b[12;40Rb\x1bOP\r\x00c\x7f") == ([Typed("ab")], Typed(""))
    assert readable("x\x1b]11;rgb:1/2/3\x07\x1b[Iy\x1b[13;2uz\x1b\r!") == ([], Typed("xy\nz\n!"))


@pytest.mark.parametrize(("before", "typed", "lines", "left"), [
    ("", "abc\x7f\x08d", [], "ad"), ("ab", "c\x7f\x7f\x7f\x7f\x7fd", [], "d"), ("", "\x7f", [], ""),
    ("a", "\x7fb\n", ["b"], ""), ("two ", "three\x15four\nfive\x15", ["four"], ""),
    ("one two", " \x17three", [], "one three"), ("", "b\x17\x17c", [], "c"),
    ("", "é漢\x7f!", [], "é!")])
def test_what_is_typed_ahead_can_be_taken_back(before: str, typed: str, lines: list[str],
                                               left: str) -> None:
    """The terminal's own line mode is off during a reply: it would truncate a line after 4,095
    bytes.
    """
    ended, rest = readable(typed, Typed(before))
    assert ([line.text for line in ended], rest.text) == (lines, left)


@pytest.mark.parametrize(("burst", "text"), [
    ("one\rtwo\r", "one\ntwo\n"), ("one\r\ntwo", "one\ntwo"), ("one\n\ntwo", "one\n\ntwo"),
    ("\x1b[200~one\rtwo\r\x1b[201~", "one\ntwo\n"), ("\x1b[200~one\r\x1b[201~", "one\n"),
    ("\x1b[200~cut\roff", "cut\noff")])
def test_a_paste_ends_no_line(burst: str, text: str) -> None:
    assert readable(burst) == ([], Typed(text, (text,)))


def test_an_enter_after_a_paste_ends_it() -> None:
    pasted = "one\ntwo"
    assert readable("\x1b[200~one\rtwo\x1b[201~\r") == ([Typed(pasted, (pasted,))], Typed(""))
    assert readable("\r", Typed(pasted, (pasted,))) == ([Typed(pasted, (pasted,))], Typed(""))


@pytest.mark.parametrize(("typed", "kept"),
                         [("my next thought", "my next thought"), ("second\n", "second"),
                          ("a\nb\x7fb\nc", "a\n  b\n  c")])
def test_what_was_typed_is_there_after_ctrl_c(
        typed: str, kept: str, ollama: FakeOllama, program: list[str],
        environment: Environment) -> None:
    """It has not been read yet when Ctrl-C is pressed, which would make the terminal discard it."""
    with Terminal([*program, "-m", "words-60@20"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        chat.send(typed)
        chat.interrupt()
        chat.wait("Stopped")
        chat.wait(f"^\u203a {kept}$")
        assert asked(ollama) == ["go"]


@pytest.mark.parametrize("ended", ["in the reply", "at the prompt"])
def test_a_long_line_is_whole(ended: str, ollama: FakeOllama, program: list[str],
                              environment: Environment) -> None:
    text = "x" * 6000 + "é" * 3000 + "END"
    with Terminal([*program, "-m", "words-60@20"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        chat.send(text + (ENTER if ended == "in the reply" else ""))
        if ended == "at the prompt":
            chat.wait("éEND$")
            chat.send(ENTER)
        chat.wait("w59", 2)
    assert asked(ollama) == ["go", text]


def test_ctrl_c_is_heard_behind_a_long_text(ollama: FakeOllama, program: list[str],
                                            environment: Environment) -> None:
    with Terminal([*program, "-m", "slow"], environment) as chat:
        chat.say("go")
        chat.wait("^w0")
        chat.send("y" * 12_000 + CTRL_C)
        chat.wait("Stopped")
        chat.wait("yyyy$")
        chat.send(CTRL_C + CTRL_D)
        assert chat.exit_status() == 0
        chat.check_restored()


def test_bytes_that_are_no_text_are_kept_and_a_cut_is_said(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@20"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        chat.send(b"caf\xe9\n")
        chat.wait("w59", 2)
        assert asked(ollama) == ["go", "caf\ufffd"]
    with Terminal([*program, "-m", "words-5"], environment | {"TERM": "dumb"}) as chat:
        for typed, heard in ((b"caf\xe9\n", "caf\ufffd"), (b"z" * 4094 + b"\n", "z" * 4094),
                             (b"y" * 6000 + b"\n", "y" * 4095)):
            count = chat.text().count("w4")
            chat.wait("^>$", 1)
            chat.send(typed)
            chat.wait("w4", count + 1)
            chat.wait_until(lambda: chat.text().endswith("\n>"), "a prompt")
            assert asked(ollama)[-1] == heard
            assert ("4,095 bytes" in chat.text()) == (len(heard) == 4095)


def test_an_enter_that_comes_just_before_the_prompt_is_one() -> None:
    """Text not read yet is read by the prompt, for which a line feed is a new line instead of
    Enter.
    """
    master, slave = os.openpty()
    try:
        with Typeahead(slave).quiet():
            os.write(master, b"q1\r")
            assert os.read(slave, 100) == b"q1\r"
            with echoed(slave):
                os.write(master, b"y\r")
                assert os.read(slave, 100) == b"y\n"
    finally:
        os.close(master)
        os.close(slave)


def test_what_was_typed_before_a_question_does_not_answer_it(program: list[str],
                                                             environment: Environment) -> None:
    """It is kept for the prompt, and the answer to the question is visible while it is typed."""
    source = Path(environment["HOME"], "own.py")
    source.write_text("from core.tools import tool\n\n@tool(kind='write')\ndef note(text: str) -> "
                      "str:\n    'Write a note.'\n    return 'noted ' + text\n")
    call = {"function": {"name": "note", "arguments": {"text": "x"}}}
    answers = [lines_answer([chat_line("m", "one moment"), chat_line("m", tool_calls=[call]),
                             done_line("m")], delay=0.5),
               lines_answer([chat_line("m", "well, then"), done_line("m")]),
               lines_answer([chat_line("m", "and more"), done_line("m")])]
    asked: list[Received] = []

    def respond(request: Received) -> Answer:
        if request.path != "/api/chat":
            return json_answer({}, 404)
        asked.append(request)
        return answers[len(asked) - 1]
    with FakeServer(respond) as server:
        environment["OLLAMA_HOST"] = server.url
        with Terminal([*program, "-m", "m", "--tools-file", str(source)], environment) as chat:
            chat.say("go")
            chat.wait("^one moment")
            chat.send("yes" + ENTER)
            chat.wait("^  \u203a$")
            time.sleep(0.2)
            assert len(asked) == 1 and echoes(chat)
            assert not chat.modes()[3] & termios.NOFLSH
            chat.send("n" + ENTER)
            chat.wait("well, then")
            chat.wait("^\u203a yes$")
            chat.wait("and more")
            assert [message["content"] for message in asked[-1].json["messages"]
                    if message["role"] == "user"] == ["go", "yes"]


PASTED = "\r".join(f"line {number}" for number in range(10))


@pytest.mark.parametrize("sent", [PASTED, PASTED + "\r", f"\x1b[200~{PASTED}\x1b[201~"])
def test_text_pasted_in_a_reply_sends_nothing(
        sent: str, ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@50"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        send(chat, sent)
        chat.wait("^\u203a line 0$")
        chat.wait("^  line 9$")
        assert asked(ollama) == ["go"]
        chat.send(ENTER)
        chat.wait("w59", 2)
        assert asked(ollama) == ["go", PASTED.replace("\r", "\n")]


def test_the_modes_of_a_reply_are_set_again_when_the_program_is_resumed(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    """A shell sets its own terminal modes while the program is suspended."""
    with Terminal([*program, "-m", "words-60@50"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2")
        chat.child.send_signal(signal.SIGSTOP)
        termios.tcsetattr(chat.slave, termios.TCSANOW, chat.modes_before)
        assert echoes(chat)
        chat.child.send_signal(signal.SIGCONT)
        chat.wait_until(lambda: not echoes(chat), "the modes of a reply")
        chat.send("kept")
        chat.interrupt()
        chat.wait("Stopped")
        chat.wait("^\u203a kept$")
        chat.send(CTRL_C + CTRL_D)
        assert chat.exit_status() == 0
        chat.check_restored()


def test_suspended_in_a_reply_by_a_shell(ollama: FakeOllama, program: list[str],
                                         environment: Environment) -> None:
    """Ctrl-Z restores the terminal for the shell; after fg the reply continues, and nothing typed
    is lost or echoed.
    """
    command = " ".join(shlex.quote(word) for word in [*program, "-m", "words-60@50"])
    with Terminal(["bash", "--norc", "--noediting", "-i"],
                  environment | {"PS1": "shell: "}) as chat:
        chat.wait("^shell:")
        chat.send(command + ENTER)
        chat.wait_prompt()
        chat.say("go")
        chat.wait("^w0 w1 w2")
        chat.send("\x1a")
        chat.wait("Stopped")
        chat.send("echo again" + ENTER)
        chat.wait("^again")
        chat.send("fg" + ENTER)
        chat.wait_until(lambda: not echoes(chat), "the modes of a reply")
        chat.send("typed" + "\x1b\r" + "ahead")
        chat.wait("^\u203a typed\n  ahead$")
        assert chat.text().count("typed") == 1
        chat.send(CTRL_C + CTRL_D)
        chat.wait("^shell:$")
        chat.send("exit" + ENTER)
        assert chat.exit_status() == 0
