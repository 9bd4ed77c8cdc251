"""Two terminals in one session: each shows what the other wrote,
and what is being typed stays at the prompt.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.fake_server import MODELS, FakeOllama
from tests.pseudo_terminal import CTRL_C, CTRL_D, ENTER, Terminal
from tests.waiting import wait_until

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", "words-200@25", "words-900", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture
def terminals(ollama: FakeOllama, program: list[str],
              environment: Environment) -> Iterator[tuple[Terminal, Terminal]]:
    with Terminal([*program, "-m", "words-5"], environment) as one:
        one.ask("begin", "w4")
        with Terminal([*program, "--continue"], environment) as two:
            two.wait("Resumed")
            yield one, two
            for terminal in (one, two):
                terminal.send(CTRL_C + CTRL_D)
                assert terminal.exit_status() == 0
                terminal.check_restored()


def asked(server: FakeOllama) -> list[str]:
    return [message["content"] for message in server.chats[-1].json["messages"]
            if message["role"] == "user"]


def test_each_shows_what_the_other_wrote(terminals: tuple[Terminal, Terminal],
                                         ollama: FakeOllama) -> None:
    one, two = terminals
    one.wait_prompt()
    one.send("half a quest")
    one.wait("half a quest")
    two.ask("from the second", "w4", 2)
    one.wait("Another program added")
    one.wait("^\u203a from the second$")
    one.wait("w4", 2)
    one.wait("^\u203a half a quest$")      # at the prompt still
    one.send("ion" + ENTER)
    two.wait("^\u203a half a question$")
    two.wait("w4", 3)
    assert asked(ollama) == ["begin", "from the second", "half a question"]


def test_enter_sends_while_the_other_ones_reply_is_being_shown(
        terminals: tuple[Terminal, Terminal], ollama: FakeOllama) -> None:
    """The terminal is not read, so the program stands still in the middle of the reply."""
    one, two = terminals
    one.wait_prompt()
    one.send("typed before")
    one.wait("^\u203a typed before$")
    two.say("/model words-900")
    two.ask("a long one", "w899")
    assert wait_until(lambda: _unread(one) > 2_000)
    one.send(ENTER)
    one.wait("w899")
    two.wait("^\u203a typed before$")
    assert wait_until(lambda: asked(ollama)[-1] == "typed before")
    assert asked(ollama) == ["begin", "a long one", "typed before"]


def _unread(terminal: Terminal) -> int:
    """The number of bytes that a program wrote to its terminal and nobody has read."""
    return int.from_bytes(fcntl.ioctl(terminal.master, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_message_waits_for_the_other_turn_and_is_not_lost_when_it_is_stopped(
        terminals: tuple[Terminal, Terminal], ollama: FakeOllama) -> None:
    one, two = terminals
    two.say("/model words-200@25")
    two.wait("words-200@25")
    two.say("a long one")
    two.wait("w1 ")
    one.wait("^\u203a a long one$")
    one.say("meanwhile")
    one.wait("your message waits")
    one.send(CTRL_C)
    one.wait("Your message was not sent")
    one.wait("^\u203a meanwhile$", 2)      # at the prompt again
    two.wait("w199")
    one.wait("w199")
    one.send(ENTER)
    two.wait("^\u203a meanwhile$")
    assert wait_until(lambda: asked(ollama)[-1] == "meanwhile")
    assert asked(ollama) == ["begin", "a long one", "meanwhile"]
