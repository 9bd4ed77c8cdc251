"""Keys typed while the line editor is being loaded work as at the prompt."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.fake_server import MODELS, FakeOllama
from tests.pseudo_terminal import CTRL_C, CTRL_D, ENTER, Terminal

Environment = dict[str, str]
SHOWN = b"\x1b[?2004h"       # its beginning: the prompt is shown, the editor is not loaded yet
LEFT, HOME, PASTE = "\x1b[D", "\x01", "\x1b[200~two\nlines\x1b[201~"


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def asked(server: FakeOllama) -> list[str]:
    return [message["content"] for message in server.chats[-1].json["messages"]
            if message["role"] == "user"] if server.chats else []


@pytest.mark.parametrize("keys, expected", [
    ("hello", "hello"), (f"ad{LEFT}b{LEFT}{LEFT}c", "cabd"), (f"bc{HOME}a", "abc"),
    (PASTE, "two\nlines"), ("/no-such\t\x15left", "left"), ("grüße 三", "grüße 三"),
])
def test_keys_before_the_editor_is_there_are_edited(
        keys: str, expected: str, ollama: FakeOllama, program: list[str],
        environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_until(lambda: SHOWN in chat.raw, "the first prompt")
        chat.send(keys + ENTER)
        chat.wait("w4")
        assert asked(ollama) == [expected]
        chat.wait_prompt()
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        chat.check_restored()


def test_ctrl_c_and_ctrl_d_before_the_editor_is_there(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_until(lambda: SHOWN in chat.raw, "the first prompt")
        chat.send(CTRL_C)
        chat.wait("Ctrl-C again leaves")
        chat.ask("hello", "w4")
        chat.wait_prompt()
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_until(lambda: SHOWN in chat.raw, "the first prompt")
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        chat.check_restored()


def test_at_any_moment_of_the_start_no_letter_is_lost_or_doubled(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(3):
        with Terminal([*program, "-m", "words-5"], environment) as chat:
            for letter in "abcdefghijkl":
                chat.send(letter)
                time.sleep(chance.random() * chance.choice((0.02, 0.1)))
            chat.wait("\u203a abcdefghijkl$")
            chat.send(ENTER)
            chat.wait("w4")
            assert asked(ollama) == ["abcdefghijkl"]
            chat.wait_prompt()
            chat.send(CTRL_D)
            assert chat.exit_status() == 0
