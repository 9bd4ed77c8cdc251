"""A reply that stops in the middle: a line below the text tells the user, and it appears nowhere
else.
"""

from __future__ import annotations

import io
import json
import random
import re
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyte
import pytest

from core.rendering.markdown import MarkdownStream
from core.rendering.plain import PlainStream
from core.rendering.thinking import ThinkingStream
from core.rendering.widths import last_row
from tests import emulator
from tests.fake_server import (Answer, FakeServer, Pause, Received, Stall, Step, chat_line,
                               done_line, json_answer, json_line)
from tests.pseudo_terminal import Terminal

SAID = r"! No text for \d s\. Connection open; cut off after 300 s\.   Ctrl-C stops"
MARKDOWN = ("# Title\n\nSome **bold words that\n\n* one\n* two `code\n\n```python\nx = 1\n```\n\n"
            "| a | b |\n|---|---|\n| 1 | 2 |\n\nend **of it")


def speaker(*steps: Step) -> FakeServer:
    def script(request: Received) -> Answer:
        return Answer(steps) if request.path == "/api/chat" else json_answer({"models": []})
    return FakeServer(script)


def line(content: str = "", **message: Any) -> bytes:
    return json_line(chat_line("m", content, **message))


END = json_line(done_line("m"))


def command(program: list[str], server: FakeServer, *words: str) -> list[str]:
    return [*program, "-m", "m", "--base-url", server.url, "--silence-notice", "0.5", *words]


def saved(environment: Mapping[str, str]) -> list[str]:
    path = Path(environment["HOME"]) / ".local/share/stream-chat/sessions.db"
    rows = sqlite3.connect(path).execute("SELECT parts FROM messages WHERE role = 'assistant' "
                                         "ORDER BY id")
    return ["".join(part["text"] for part in json.loads(parts) if part["type"] == "text")
            for parts, in rows]


@pytest.mark.parametrize("words", [(), ("--no-markdown",), ("--color", "never")], ids=" ".join)
def test_a_person_is_told_and_the_text_goes_on(words: Sequence[str], program: list[str],
                                               environment: dict[str, str]) -> None:
    """It also works at the bottom of the screen, and if the text has just filled a row."""
    before, after = ("".join(f"line {number}\n\n" for number in range(9)) + "x" * 59 + " y",
                     "z goes **on** now.\n\nThe end.")
    with (speaker(line(before), Pause(1.4), line(after), Pause(1.4), END) as server,
          Terminal(command(program, server, *words), environment, columns=60, lines=12) as person):
        person.say("hello")
        person.wait(rf"^y?x* ?y\n{SAID[:20]}")
        person.wait(r"The end\.")
        person.wait(rf"The end\.\n{SAID[:20]}")
        person.wait_prompt()
        shown = person.text().split("\u203a hello\n")[1]
        assert "No text" not in shown and "Ctrl-C" not in shown
        assert re.search(r"x{59}\n?y?z? ?y?z goes \S*on\S* now\.\n\nThe end\.\n\n\u203a",
                         shown), shown
    assert saved(environment) == [before + after]


@pytest.mark.parametrize("words", [(), ("--no-show-thinking",)], ids=["shown", "folded"])
def test_also_while_it_thinks(words: Sequence[str], program: list[str],
                              environment: dict[str, str]) -> None:
    with (speaker(line(thinking="so let me see"), Pause(1.4), line("yes"), END) as server,
          Terminal(command(program, server, *words), environment) as person):
        person.say("hello")
        person.wait(SAID)
        person.wait("^yes$")
        person.wait_prompt()
        assert "No text" not in person.text()
    assert saved(environment) == ["yes"]


@pytest.mark.parametrize("columns", [100, 30])
def test_ctrl_c_stops_it_and_the_line_goes(columns: int, program: list[str],
                                           environment: dict[str, str]) -> None:
    with (speaker(line("so it is"), Stall()) as server,
          Terminal(command(program, server), environment, columns=columns) as person):
        person.say("hello")
        person.wait(r"! No text for 1 s\. Connect")
        person.interrupt()
        person.wait_prompt()
        assert ("so it is\n\n\u00b7 Stopped. Part" in person.text()
                and "No text" not in person.text())
    assert saved(environment) == ["so it is"]


def test_what_cuts_it_off_is_what_was_said(program: list[str], environment: dict[str, str]) -> None:
    with (speaker(line("so it is"), Stall()) as server,
          Terminal(command(program, server, "--idle-timeout", "2.5", "--no-resume"),
                   environment) as person):
        person.say("hello")
        person.wait(r"cut off after 2\.5 s\.")
        person.wait(r"has sent nothing for 2\.5 s")
        person.wait_prompt()
        assert "No text" not in person.text()


@pytest.mark.parametrize("dumb", [False, True])
def test_never_in_a_pipe_and_never_where_lines_cannot_be_taken_back(dumb: bool, program: list[str],
                                                                    environment: dict[str,
                                                                                      str]) -> None:
    with speaker(line("so "), Pause(1.2), line("it is"), END) as server:
        if dumb:
            with Terminal(command(program, server, "hello"),
                          environment | {"TERM": "dumb"}) as person:
                assert (person.exit_status() == 0 and person.text() == "so it is"
                        and b"\x1b" not in person.raw)
            return
        plain, events = (subprocess.run(command(program, server, *words), env=environment,
                                        capture_output=True, text=True)
                         for words in (("hello",), ("hello", "--json")))
        assert (plain.stdout, plain.stderr) == ("so it is\n", "")
        assert "No text" not in events.stdout + events.stderr and "so " in events.stdout


def test_it_can_be_switched_off(program: list[str], environment: dict[str, str]) -> None:
    with (speaker(line("so "), Pause(1.2), line("it is"), END) as server,
          Terminal(command(program, server, "--silence-notice", "0", "hello"),
                   environment) as person):
        assert (person.exit_status() == 0 and b"No text" not in person.raw
                and person.text() == "so it is")


# ---- by itself

Stream = MarkdownStream | PlainStream | ThinkingStream


def shown(make: Callable[[Callable[[str], None]], Stream], pieces: Sequence[str],
          statuses: Sequence[bool], width: int,
          height: int) -> list[str]:
    """The screen after the pieces, with a status after some of them."""
    screen = emulator.Screen(width, height)
    terminal = pyte.Stream(screen)
    stream = make(lambda text: terminal.feed(text.replace("\n", "\r\n")))
    for piece, told in zip(pieces, statuses, strict=True):
        stream.feed(piece)
        if told:
            stream.status("no text for 10 s")
            stream.status("no text for 11 s; and so on, for longer than the screen is wide")
    stream.finish()
    return screen.rows()


@pytest.mark.parametrize("kind", ["markdown", "markdown without colour", "plain", "thinking"])
def test_no_status_changes_what_is_shown(kind: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(40):
        width, height = chance.choice([20, 31, 60]), chance.choice([6, 24])

        def make(write: Callable[[str], None], width: int = width, height: int = height) -> Stream:
            if kind.startswith("markdown"):
                return MarkdownStream(write, lambda: (width, height), color="out" not in kind)
            if kind == "plain":
                return PlainStream(write, lambda: width, color=True)
            return ThinkingStream(write, lambda: width, folded=False, clock=lambda: 0.0)
        text = chance.choice([MARKDOWN, "word " * 60, "x" * 150 + "\tdone\n", "wide 漢字 " * 12,
                              "a\n\nb\n" * 20])
        pieces = []
        while text:
            size = chance.randint(1, 25)
            pieces.append(text[:size])
            text = text[size:]
        told = [chance.random() < 0.4 for _ in pieces]
        assert shown(make, pieces, told, width,
                     height) == shown(make, pieces, [False] * len(pieces), width, height)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 4)])
@pytest.mark.parametrize("before", ["```\n", "- ```\n  ", "> ```\n> ", "```json\n\t{\t"],
                         ids=["alone", "item", "quote", "tabs"])
def test_a_code_line_of_many_rows_can_fall_silent(before: str, width: int, height: int) -> None:
    """The text may stop anywhere in the row, also at its end, and with characters that do not fit
    there.
    """
    def make(write: Callable[[str], None]) -> Stream:
        return MarkdownStream(write, lambda: (width, height))
    for size in (7 * width - 7, *range(8 * width - 4, 8 * width + 1), 830):
        for letters in ("x" * size, "x" + "漢" * (size // 2), "x" * size + "e\u0301" * 99):
            pieces = [before + letters, "yyy", "\n```\nend"]
            assert shown(make, pieces, [True, True, False], width,
                         height) == shown(make, pieces, [False] * 3, width, height)


def test_without_a_width_nothing_is_said() -> None:
    out = io.StringIO()
    stream = PlainStream(out.write)
    stream.feed("a")
    stream.status("no text")
    stream.finish()
    assert out.getvalue() == "a\n"


@pytest.mark.parametrize(("text", "row"), [
    ("", ""), ("abc", "abc"), ("abcd", "abcd"), ("abcde", "e"), ("abcdefghi", "i"), ("漢字", "漢字"),
    ("a漢字", "字"), ("\tab", "b")])
def test_the_last_row_of_a_line(text: str, row: str) -> None:
    assert last_row(text, 4) == row
