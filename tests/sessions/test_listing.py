"""Our own words on screens of any width: nothing is wider than the screen, nothing is lost,
words stay whole.
"""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from core.rendering.listing import table_lines, wrap_words
from core.rendering.widths import text_width
from tests.pseudo_terminal import Terminal

WORDS = ("a", "key", "OPENAI_API_KEY", "or", "\u4f60\u597d", "http://127.0.0.1:8080/v1", "wait", "",
         "\u00e9t\u00e9")


def test_tables_of_any_shape_fit() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(300):
        columns = [f"c{number}" for number in range(chance.randint(1, 7))]
        rows = [[" ".join(chance.choices(WORDS, k=chance.randint(0, 12))).strip() for _ in columns]
                for _ in range(chance.randint(0, 5))]
        width = chance.randint(36, 120)
        lines = [line for line, _ in table_lines(columns, rows, width,
                                                 headings={0: "Head"} if rows else {})]
        assert all(text_width(line) <= width and line == line.rstrip() for line in lines), lines
        letters = Counter("".join("".join(cell for row in rows for cell in row).split()))
        assert letters <= Counter("".join(lines))


def test_optional_columns_go_first() -> None:
    rows = [("openai", "openai", "https://api.openai.com/v1", "a key")]
    columns = ("provider", "dialect", "address", "missing")
    assert "https" in list(table_lines(columns, rows, 60, optional=("dialect", "address")))[1][0]
    assert list(table_lines(columns, rows, 30, optional=("dialect", "address"))) == [
        ("provider  missing", True), ("openai    a key", False)]


def test_lines_break_between_words() -> None:
    assert wrap_words("one two  three\n  four five six", 10) == ["one two", "three", "  four",
                                                                 "  five six"]
    assert wrap_words("see https://example.org/a/long/path now",
                      12) == ["see", "https://example.org/a/long/path", "now"]


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_no_word_is_cut_in_a_chat(program: list[str], environment: dict[str, str],
                                  columns: int) -> None:
    with Terminal([*program, "-p", "demo"], environment, columns=columns, lines=40) as chat:
        shown = chat.ask("/help all", "Ctrl-D leaves")
        assert "Chat\n" in shown and "Models\n" in shown
        assert {"conversation", "session", "summarised"} <= set(re.findall(r"\w+", shown))
        shown = chat.ask("/providers", "--help providers")
        assert ("dialect" not in shown
                and not any(not line for line in shown.rstrip("\u203a \n").split("\n")[2:]))
