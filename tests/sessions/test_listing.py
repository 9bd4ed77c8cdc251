"""Our own text on screens of any width: nothing is wider than the screen, nothing is lost, words
are not split.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable

import pytest

from core.rendering.listing import Line, table_lines, wrap_words
from core.rendering.widths import text_width
from tests.pseudo_terminal import Terminal


def text_of(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


WORDS = ("a", "key", "OPENAI_API_KEY", "or", "\u4f60\u597d", "http://127.0.0.1:8080/v1", "wait",
         "", "\u00e9t\u00e9")


def test_tables_of_any_shape_fit() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(300):
        columns = [f"c{number}" for number in range(chance.randint(1, 7))]
        rows = [[" ".join(chance.choices(WORDS, k=chance.randint(0, 12))).strip() for _ in columns]
                for _ in range(chance.randint(0, 5))]
        width = chance.randint(36, 120)
        lines = text_of(table_lines(columns, rows, width, headings={0: "Head"} if rows else {}))
        assert all(text_width(line) <= width and line == line.rstrip() for line in lines), lines
        letters = Counter("".join("".join(cell for row in rows for cell in row).split()))
        assert letters <= Counter("".join(lines))


def test_optional_columns_go_first() -> None:
    rows = [("openai", "openai", "https://api.openai.com/v1", "a key")]
    columns = ("provider", "dialect", "address", "missing")
    assert "https" in text_of(table_lines(columns, rows, 60, optional=("dialect", "address")))[2]
    assert text_of(table_lines(columns, rows, 30, optional=("dialect", "address"))) == [
        "provider   missing", "\u2500" * 8 + "   " + "\u2500" * 7, "openai     a key"]


def test_a_table_that_does_not_fit_is_a_list() -> None:
    columns, rows = ("id", "last used", "model", "title"), [
        ("csqa", "today 14:17", "qwen3:8b", "Processes and threads"),
        ("4dy2", "yesterday 09:02", "", "Rust")]
    assert text_of(table_lines(columns, rows, 40)) == [
        "csqa", "  last used  today 14:17", "  model      qwen3:8b",
        "  title      Processes and threads", "",
        "4dy2", "  last used  yesterday 09:02", "  title      Rust"]
    wide = list(table_lines(columns, rows, 80))
    assert wide[0] == (("id     last used         model      title", "bold"),)
    assert wide[1][0][1] == "dim"
    assert text_of(wide)[2] == "csqa   today 14:17       qwen3:8b   Processes and threads"


def test_numbers_end_below_one_another() -> None:
    rows = [("a", "7", "5.2 GB"), ("b", "1,204", "812 bytes"), ("c", "", "3 kB")]
    assert text_of(table_lines(("name", "items", "size"), rows, 60))[2:] == [
        "a          7      5.2 GB", "b      1,204   812 bytes", "c                   3 kB"]


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
        assert "dialect" not in shown and len(shown.split("\n\n")) == 4, "the table is in one piece"
