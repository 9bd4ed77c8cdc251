"""What a chat shows and accepts while a model answers: Ctrl-O, messages typed ahead, the title, the
speed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from core.rendering.thinking import ThinkingStream
from tests.fake_server import (Answer, FakeOllama, FakeServer, Hold, Received, chat_line, done_line,
                               json_answer,
                               json_line, lines_answer)
from tests.pseudo_terminal import CTRL_D, ENTER, Terminal

Environment = dict[str, str]
CTRL_O = "\x0f"


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("think", "words-60@40")) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.mark.processes
def test_ctrl_o_keeps_the_thinking_on_the_screen(program: list[str],
                                                 environment: Environment) -> None:
    opened = threading.Event()

    def script(request: Received) -> Answer:
        if request.path != "/api/chat":
            return json_answer({"models": [{"name": "m"}],
                                "capabilities": ["completion", "thinking"]})
        thoughts = [chat_line("m", thinking=f"thought{number} ") for number in range(5)]
        rest = [chat_line("m", thinking="last"), chat_line("m", "done"), done_line("m")]
        return lines_answer(thoughts, Hold(opened), *map(json_line, rest))
    with FakeServer(script) as server, \
            Terminal([*program, "-m", "m", "--base-url", server.url], environment) as chat:
        chat.say("why?")
        chat.wait(r"^~ Thinking, [\s\S]*thought4")
        chat.send(CTRL_O)
        chat.wait(r"^~ Thinking\n  thought0 thought1")
        opened.set()
        chat.wait(r"thought4 last\n~ Thought for ")
        chat.wait_prompt()
        assert "Thinking, " not in chat.text() and chat.text().count("thought0") == 1
        chat.ask("again?", r"^~ Thinking\n  thought0", 2)


def test_what_was_thought_before_is_shown_once() -> None:
    written: list[str] = []
    stream = ThinkingStream(written.append, lambda: 60, folded=True, color=False, rows=3)
    for word in "one two three four".split():
        stream.feed(f"{word} ")
    stream.unfold()
    stream.unfold()
    before = len("".join(written))
    stream.feed("five ")
    stream.finish()
    shown = "".join(written)
    final = shown[shown.rindex("~ Thinking\n"):]
    assert [final.count(word) for word in ("one", "two", "three", "four", "five")] == [1] * 5
    assert "Thought for" in shown[before:]


@pytest.mark.processes
def test_messages_typed_ahead_are_counted(ollama: FakeOllama, program: list[str],
                                          environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@40"], environment, lines=50) as chat:
        chat.say("one")
        for message, word in (("two", "w5 "), ("three", "w20 "), ("four", "w35 ")):
            chat.wait(word)
            chat.send(message + ENTER)
        chat.wait(r"^\u203a two\n\u00b7 2 more messages wait; Ctrl-C stops this one and keeps them "
                  r"at the prompt\.")
        chat.wait(r"^\u203a three\n\u00b7 1 more message waits")
        chat.wait(r"^\u203a four")


@pytest.mark.processes
def test_the_title_says_what_is_talked_about_and_is_given_back(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@40"], environment) as chat:
        chat.ask("the tides", "w59")
        chat.wait_until(lambda: "the tides \u00b7 words-60@40".encode() in chat.raw, "the title")
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
    assert chat.raw.count(b"\x1b[22;2t") == chat.raw.count(b"\x1b[23;2t") == 1
    for off in ({"STREAM_CHAT_TITLE": "off"}, {"TERM": "dumb"}, {"ACCESSIBLE": "1"}):
        with Terminal([*program, "-m", "words-60@40"], environment | off) as chat:
            chat.wait("Ctrl-D leaves")
            chat.send("/exit" + ENTER)
            assert chat.exit_status() == 0 and b"\x1b]2;" not in chat.raw


@pytest.mark.processes
def test_the_status_line_says_how_fast_it_was(ollama: FakeOllama, program: list[str],
                                              environment: Environment) -> None:
    with Terminal([*program, "-m", "words-60@40"],
                  environment | {"STREAM_CHAT_STATUS": "on"}) as chat:
        chat.ask("go", "w59")
        chat.wait(r"^\u203a\n  words-60@40 .* \d+ tokens/s$")
        chat.say("/model echo")         # whose speed is not known yet
        chat.wait("anyway")
        chat.send("y" + ENTER)
        chat.wait("The model is now")
        chat.wait(r"^\u203a\n  echo [^\n]* tokens$")
