"""The emulator that tests read the screen of shows what pyte's own shows."""

from __future__ import annotations

import random

import pyte
import pytest

from tests import emulator

PARTS = ["word ", "x" * 33, "a long line of several words", "\r\n", "\r", "\n", "\t", "\b", "流式",
         "e\u0301", "👩", "\x1b[31m", "\x1b[1;4m", "\x1b[0m", "\x1b[2A", "\x1b[B", "\x1b[3C",
         "\x1b[5D", "\x1b[K", "\x1b[1K", "\x1b[J", "\x1b[2J", "\x1b[3J", "\x1b[H", "\x1b[2;7H",
         "\x1b[4h", "\x1b[4l", "\x1b[?7l", "\x1b[?7h", "\x1b[2;4r", "\x1b[r", "\x1b[L", "\x1b[M",
         "\x1b[2P", "\x1b[3@", "\x1bM", "\x1b7", "\x1b8", "\x1b[?25l", "\x1b[?25h",
         "\x1b]0;title\x07", "\x1bc", "\x01", "\x7f"]


@pytest.mark.parametrize("columns, lines", [(7, 3), (20, 6), (80, 24)])
def test_it_shows_what_pytes_shows(columns: int, lines: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(12):
        ours = emulator.Screen(columns, lines)
        theirs = pyte.HistoryScreen(columns, lines, history=5_000, ratio=0.01)
        for part in chance.choices(PARTS, k=60):
            for screen in (ours, theirs):
                pyte.Stream(screen).feed(part)
        gone = ["".join(line[column].data for column in range(columns))
                for line in theirs.history.top]
        assert ours.gone == gone
        assert (ours.cursor.x, ours.cursor.y, ours.cursor.hidden) == (
            theirs.cursor.x, theirs.cursor.y, theirs.cursor.hidden)
        assert {y: dict(row) for y, row in ours.buffer.items()} == {
            y: dict(row) for y, row in theirs.buffer.items()}


def test_what_follows_a_joiner_is_shown() -> None:
    screen = emulator.Screen(20, 3)
    pyte.Stream(screen).feed("👩\u200d🚀 and more")
    assert "and more" in screen.display[0]
