"""Where a screen's output ends, how large the terminal is, and which columns are numbers."""

from __future__ import annotations

import io
import random
import re
import shutil

import pytest

from core.argument_parser import parse_arguments
from core.config.terminal import terminal_size
from core.console.screen import Screen
from core.rendering.listing import table_lines

PIECES = ("word", "m", "7", "\n", "\n", "\n\n", "\r", "\x1b[K", "\x1b[1;36m", "\x1b[0m", "\x1b[2J",
          "\x1b[?25l", "\x1b[", "[1m", "\x1b", "ü", " ", "")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def test_a_gap_is_one_empty_line_whatever_was_written() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    settings = parse_arguments([], {"TERM": "xterm"})
    for _ in range(2_000):
        out = io.StringIO()
        screen, before = Screen(out, settings), "\n\n"     # an empty screen needs no empty line
        for _ in range(chance.randrange(4)):
            text = "".join(chance.choices(PIECES, k=chance.randrange(6)))
            screen.write(text)
            before += SEQUENCE.sub("", text)
        written = out.getvalue()
        screen.gap()
        ends = len(before) - len(before.rstrip("\n"))
        assert out.getvalue() == written + "\n" * max(0, 2 - ends), repr(written)


@pytest.mark.parametrize("columns", [None, "", "100", "0", "-5", "x", " 90 "])
@pytest.mark.parametrize("rows", [None, "30", "0", "1.5"])
def test_the_size_is_the_one_of_the_standard_library(
        monkeypatch: pytest.MonkeyPatch, columns: str | None, rows: str | None) -> None:
    for name, value in (("COLUMNS", columns), ("LINES", rows)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert terminal_size(81, 25) == shutil.get_terminal_size((81, 25))


@pytest.mark.parametrize("number", ["1", "1,024", "$0.02", "\u22483.5", "12 ms", "12ms", "7 %",
                                    "99%", "4 GB", "8k", "3 tokens", "0.5 \u00b5s", "2 bytes"])
def test_columns_of_numbers_are_aligned_right(number: str) -> None:
    lines = list(table_lines(("name", "size"), (("a", number), ("b", "1,000,000,000 tokens")), 60))
    assert "".join(text for text, _ in lines[2]).endswith(f"  {number}")


@pytest.mark.parametrize("words", ["$", ",x", "14 Nov 2023", "v1", "1 of 2", "\u2248", "12  ms",
                                   "%"])
def test_other_columns_are_aligned_left(words: str) -> None:
    lines = list(table_lines(("name", "size"), (("a", words), ("b", "1,000,000,000 tokens")), 60))
    assert f"a      {words}" in "".join(text for text, _ in lines[2])
