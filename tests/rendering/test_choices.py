"""Lists of choices: side by side if there is room, otherwise one below the other."""

from __future__ import annotations

import random
import re

import pytest

from core.rendering.choices import choice_rows, spoken_rows
from core.rendering.table import Choices, Table
from core.rendering.theme import MONO, NO_STYLE, theme_of
from core.rendering.widths import text_width
from core.safe_text import safe_line

MODELS = Table(("model", "window", "can", "size or price", "note"),
               (("ollama/qwen3:8b", "32k", "tools, thinking", "5.2 GB", "loaded"),
                ("ollama/g", "128k", "images", "3.3 GB", ""),
                ("openai/gpt", "400k", "tools", "$0.25 / $2.00", ""),
                ("groq/", "", "", "", "needs GROQ_API_KEY")),
               choices=Choices(("ollama", "ollama", "openai", "groq"), ("qwen3:8b", "g", "gpt", ""),
                               frozenset((0,)),
                               frozenset((3, 4)), frozenset((1,))))


def rows(width: int, table: Table = MODELS) -> list[str]:
    assert table.choices is not None
    return list(choice_rows(table, table.choices, width, NO_STYLE, "\u203a"))


def test_beside_one_another() -> None:
    assert rows(80) == rows(120) == [
        "ollama",
        "\u203a qwen3:8b    32k   tools, thinking   5.2 GB          loaded",
        "  g          128k   images            3.3 GB",
        "",
        "openai",
        "  gpt        400k   tools             $0.25 / $2.00",
        "",
        "groq",
        "  needs GROQ_API_KEY"]


def test_under_one_another() -> None:
    assert rows(40)[:4] == ["ollama", "\u203a qwen3:8b",
                            "    32k, tools, thinking, 5.2 GB, loaded"[:39], "  g"] or \
        rows(40)[:3] == ["ollama", "\u203a qwen3:8b", "    32k, tools, thinking, 5.2 GB,"]


def test_a_column_in_which_nothing_is_known_is_left_out() -> None:
    table = Table(("model", "window", "note"), (("a/x", "", "loaded"), ("a/yy", "", "")),
                  choices=Choices(("a", "a"), ("x", "yy")))
    assert rows(80, table) == ["a", "  x    loaded", "  yy"]


def test_for_a_screen_reader() -> None:
    assert list(spoken_rows(MODELS)) == [
        "ollama", "qwen3:8b, in use: window 32k; can tools, thinking; size or price 5.2 GB; note "
        "loaded.",
        "g: window 128k; can images; size or price 3.3 GB.", "", "openai",
        "gpt: window 400k; can tools; size or price "
        "$0.25 / $2.00.", "", "groq", "note needs GROQ_API_KEY."]
    assert list(spoken_rows(Table(("key", "what it does"), (("Enter", "sends"), ("Tab", "")),
                                  headings={1: "More"}))) == [
        "Enter: sends.", "", "More", "Tab."]


@pytest.mark.parametrize("theme", [NO_STYLE, MONO, theme_of("dark", "true"), theme_of("light", 16)],
                         ids=str)
def test_no_row_is_wider_than_the_screen_and_all_is_safe(theme: object) -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    letters = "ab \u4e2d\x1b\n\u202e-/"
    for _ in range(200):
        cells = [tuple("".join(dice.choice(letters) for _ in range(dice.randrange(12)))
                       for _ in range(4)) for _ in range(5)]
        table = Table(("a", "b", "c", "d"), tuple(cells), choices=Choices(
            tuple(dice.choice("gh") for _ in cells), tuple(row[0] for row in cells),
            frozenset((2,))))
        width = dice.randrange(20, 130)
        assert table.choices is not None
        names = [safe_line(name) for name in table.choices.names]
        # a theme
        for row in choice_rows(table, table.choices, width, theme, "\u203a"):  # type: ignore[arg-type]
            shown = re.sub(r"\x1b\[[0-9;]*m", "", row)
            assert "\x1b" not in shown and "\n" not in shown and "\u202e" not in shown
            # a name is not split, so that it can be copied
            assert text_width(shown) < width or shown[2:] in names
