"""Results of a search: numbered, with the words around each match, never wider than the screen."""

from __future__ import annotations

import random
import re

from core.rendering.excerpts import excerpt_rows, spoken_excerpts
from core.rendering.table import Excerpt, Excerpts
from core.rendering.theme import MONO, NO_STYLE
from core.rendering.widths import text_width

FOUND = Excerpts("2 sessions hold", "thread", (
    Excerpt("Processes and threads", "today 14:17, csqa",
            "\u2026memory; a thread is cheap to start\u2026", ((11, 17),)),
    Excerpt("Threads", "yesterday 09:02, 4dy2", "")))


def test_as_the_screen_shows_them() -> None:
    assert list(excerpt_rows(FOUND, 80, NO_STYLE)) == [
        "2 sessions hold thread", "", "1  Processes and threads  today 14:17, csqa",
        "   \u2026memory; a thread is cheap to start\u2026", "",
        "2  Threads  yesterday 09:02, 4dy2"]
    assert list(excerpt_rows(FOUND, 34, NO_STYLE)) == [
        "2 sessions hold thread", "", "1  Processes and threads", "   today 14:17, csqa",
        "   \u2026memory; a thread is cheap to", "   start\u2026", "",
        "2  Threads  yesterday 09:02, 4dy2"]


def test_what_was_found_needs_no_colour() -> None:
    shown = "".join(excerpt_rows(FOUND, 80, MONO))
    assert "\x1b[1;4mthread\x1b[" in shown.replace("\x1b[0;1;4m", "\x1b[1;4m")


def test_any_text_fits_and_is_safe() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)

    def text(most: int) -> str:
        return "".join(dice.choices("ab  \u4e2d\x1b\n\u202e-/", k=dice.randrange(1, most)))
    for _ in range(200):
        entries = []
        for _ in range(dice.randrange(1, 12)):
            body = text(200)
            places = sorted(dice.randrange(len(body) + 1) for _ in range(2 * dice.randrange(3)))
            entries.append(Excerpt(text(90), text(40), body, tuple(zip(places[::2], places[1::2]))))
        found = Excerpts(f"{len(entries)} sessions hold", text(30), tuple(entries))
        width = dice.randrange(24, 130)
        rows = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in excerpt_rows(found, width, MONO)]
        assert all(text_width(row) < width for row in rows), (seed, rows)
        shown = "".join(rows)
        assert not {"\x1b", "\n", "\u202e"} & set(shown + "".join(spoken_excerpts(found)))
        for entry in entries:
            assert entry.text.count("a") <= shown.count("a")


def test_for_a_screen_reader() -> None:
    assert list(spoken_excerpts(FOUND)) == [
        "2 sessions hold thread.", "1: Processes and threads. today 14:17, csqa.",
        "\u2026memory; a thread is cheap to start\u2026", "2: Threads. yesterday 09:02, 4dy2."]
