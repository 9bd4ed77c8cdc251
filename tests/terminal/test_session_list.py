"""The rows of the session picker at every width, with and without colours."""

from __future__ import annotations

import io
import random
import re
import time

import pytest

from core.argument_parser import parse_arguments
from core.console.screen import Screen
from core.rendering.widths import text_width
from core.sessions.search import Found, Hit
from core.store.rows import SessionRow
from core.sessions.listing import moment_words
from core.terminal.session_list import heading, session_rows

NOW = time.mktime((2026, 11, 29, 15, 0, 0, 0, 0, -1))
BEFORE = (0.0, 86_400.0, 8 * 86_400.0, 400 * 86_400.0)
SNIPPET = ("\u2026moved into the closure, so the thread owns the value and what it holds until the "
           "end of the thread\u2026")


class Out(io.StringIO):
    encoding = "utf-8"


def screen(width: int, monkeypatch: pytest.MonkeyPatch, theme: str = "mono",
           height: int = 24) -> Screen:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    settings = parse_arguments(["--theme", theme, "--color", "always"],
                               {"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    return Screen(Out(), settings)


def found(number: int, hit: bool = False, title: str = "") -> Found:
    row = SessionRow(f"{number:032x}", f"2026-{number}", title or f"Session number {number}",
                     "ollama/qwen3:8b", 0.0,
                     NOW - BEFORE[number % 4], number + 1)
    places = tuple(match.span() for match in re.finditer("thread", SNIPPET))
    return Found(row, (Hit(1, "user", 0.0, SNIPPET, places),) if hit else (), 1.0)


def plain(rows: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in rows]


def test_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = session_rows([found(number, hit=number == 1) for number in range(3)], 1,
                         screen(80, monkeypatch), NOW)
    assert plain(shown) == [
        "  Session number 0   today 15:00           1 message",
        "\u203a Session number 1   yesterday 15:00       2 messages",
        "    \u2026into the closure, so the thread owns the value and what it holds until t",
        "  Session number 2   21 Nov 15:00          3 messages"]
    assert "\x1b[1;4mthread\x1b[0m" in shown[2] and shown[1].count("\x1b[1m") == 2


def test_at_120_and_40_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = screen(120, monkeypatch)
    assert plain(session_rows([found(3)], 0, wide, NOW)) == [
        "\u203a Session number 3   25 Oct 2025           4 messages   ollama/qwen3:8b"]
    assert "Ctrl-X d deletes" in heading(wide)
    narrow = screen(40, monkeypatch)
    assert plain(session_rows([found(3)], 0, narrow, NOW)) == ["\u203a Session number 3",
                                                               "  25 Oct 2025, 4 messages"]
    assert plain([heading(narrow)]) == ["Resume a session"]


@pytest.mark.parametrize("theme", ["dark", "light", "mono"])
def test_nothing_is_wider_than_the_screen_and_the_marked_one_is_shown(
        theme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(100):
        titles = ["".join(dice.choice("ab\u4e2d \x1b\u202e") for _ in range(dice.randrange(1, 90)))
                  + "x" for _ in range(50)]
        all_found = [found(number, dice.random() < 0.5, title)
                     for number, title in enumerate(titles)]
        at, width, height = dice.randrange(50), dice.randrange(30, 150), dice.randrange(8, 50)
        rows = plain(session_rows(all_found, at, screen(width, monkeypatch, theme, height), NOW))
        assert sum(row.startswith("\u203a") for row in rows) == 1
        assert all(text_width(row) < width and "\x1b" not in row and "\u202e" not in row
                   for row in rows), (seed, rows)
        assert len(rows) <= max(3, height - 6)


def test_when() -> None:
    assert [moment_words(NOW - before, NOW) for before in BEFORE] == [
        "today 15:00", "yesterday 15:00", "21 Nov 15:00", "25 Oct 2025"]
