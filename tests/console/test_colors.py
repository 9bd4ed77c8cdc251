"""Which colours are used in a terminal, and how its background is determined."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from core.argument_parser import parse_arguments
from core.console.background import Answered, answered, ask_terminal, background_of
from core.console.colors import depth_of, theme_for
from core.rendering.theme import MONO, NO_STYLE, UNKNOWN, theme_of


@pytest.mark.parametrize("words, environment, expected", [
    ("", {"TERM": "xterm"}, UNKNOWN),
    ("", {"TERM": "xterm", "NO_COLOR": "1"}, MONO),
    ("", {"TERM": "xterm", "CLICOLOR": "0"}, NO_STYLE),
    ("", {"TERM": "xterm", "FORCE_COLOR": "0"}, NO_STYLE),
    ("", {"TERM": "dumb"}, NO_STYLE),
    ("", {"TERM": "dumb", "FORCE_COLOR": "1"}, UNKNOWN),
    ("--color never", {"TERM": "xterm", "FORCE_COLOR": "3"}, NO_STYLE),
    ("--theme dark", {"TERM": "xterm"}, theme_of("dark", 16)),
    ("--theme dark", {"TERM": "xterm", "NO_COLOR": "1"}, theme_of("dark", 16)),
    ("--theme light", {"TERM": "xterm-256color"}, theme_of("light", 256)),
    ("--theme light", {"TERM": "xterm", "COLORTERM": "truecolor"}, theme_of("light", "true")),
    ("--theme mono", {"TERM": "xterm"}, MONO),
    ("", {"TERM": "xterm", "COLORFGBG": "15;0"}, theme_of("dark", 16)),
    ("", {"TERM": "xterm", "COLORFGBG": "0;default;15"}, theme_of("light", 16)),
    ("", {"TERM": "xterm", "COLORFGBG": "what;ever"}, UNKNOWN),
    ("", {"TERM": "xterm", "COLORFGBG": "15;0", "FORCE_COLOR": "2"}, theme_of("dark", 256)),
], ids=str)
def test_the_first_word_wins(words: str, environment: dict[str, str], expected: object,
                             tmp_path: Path) -> None:
    settings = parse_arguments(words.split(), environment | {"HOME": str(tmp_path)})
    assert theme_for(settings, dumb=environment["TERM"] == "dumb") == expected


def test_the_depth() -> None:
    assert (depth_of({"TERM": "xterm-direct"}) == "true"
            and depth_of({"TERM": "screen-256color"}) == 256)
    assert depth_of({"TERM": "no-such-terminal"}) == 16 and depth_of({}) == 16


@pytest.mark.parametrize("answer, expected", [
    (b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\", "light"), (b"\x1b]11;rgb:1e/1e/1e\x07", "dark"),
    (b"\x1b]11;rgba:0000/0000/0000/ffff\x07", "dark"), (b"\x1b]11;rgb:f/f/c\x07", "light"),
    (b"", None), (b"\x1b[?6c", None), (b"\x1b]11;red\x07", None),
    (b"\x1b]11;rgb:12345/0/0\x07", None)])
def test_what_a_terminal_answers(answer: bytes, expected: str | None) -> None:
    assert background_of(answer) == expected


@pytest.mark.parametrize("answers, expected, typed", [
    (b"\x1b]11;rgb:ffff/ffff/ffff\x07\x1b[?62;22c", "light", b""),
    (b"he\x1b]11;rgb:0/0/0\x1b\\llo\x1b[?6c", "dark", b"hello"),
    (b"\x1b[?6c", None, b""),
    (b"only typed", None, b"only typed")])
def test_what_is_typed_meanwhile_is_kept(answers: bytes, expected: str | None,
                                         typed: bytes) -> None:
    master, slave = os.openpty()
    try:
        with os.fdopen(slave, "r+b", buffering=0) as terminal:
            source, out = (open(terminal.fileno(), closefd=False),
                           open(os.dup(terminal.fileno()), "w"))

            def reply() -> None:
                asked = b""
                while not asked.endswith(b"\x1b[c"):
                    asked += os.read(master, 100)
                os.write(master, answers)
            replying = threading.Thread(target=reply)
            replying.start()
            patience = 30.0 if b"c" in answers[-1:] else 1.0
            found = ask_terminal(source, out, patience)
            assert (found.background, found.typed) == (expected, typed)
            replying.join()
            out.close()
    finally:
        os.close(master)


def test_no_terminal_is_not_asked(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+") as file:
        assert ask_terminal(file, file) == Answered() and file.tell() == 0


@pytest.mark.parametrize("answer, sixel", [
    (b"\x1b[?62;4;22c", True), (b"\x1b[?62;22;4c", True), (b"\x1b[?62;22c", False),
    (b"\x1b[?4c", False), (b"\x1b[?64;14;40c", False), (b"", False), (b"\x1b[?c", False)])
def test_a_terminal_reports_that_it_draws_sixel(answer: bytes, sixel: bool) -> None:
    assert answered(b"hel" + answer + b"lo") == Answered(None, sixel, b"hello")
