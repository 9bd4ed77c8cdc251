"""200 documents in terminals of 40, 80 and 120 columns, checked with an emulator, also with
changing sizes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pyte
import pytest

from core.rendering.markdown import MarkdownStream
from tests.rendering.test_rendering import Terminal, cuts, show

GROUPS, EACH = 10, 20


def words(rng: random.Random, count: Iterator[int], most: int = 30) -> str:
    found = []
    for _ in range(rng.randint(1, most)):
        word = f"w{next(count)}w"
        found.append(rng.choice(["{}"] * 9 + ["**{}**", "*{}*", "`{}`", "~~{}~~",
                                              "[{}](https://a.example/x_y)", "({}),", "流式{}聊天",
                                              "$x^2$ {}", "&amp; {}", "12.50 {}", "\\*{}\\*"])
                     .format(word))
    return " ".join(found)


def block(rng: random.Random, count: Iterator[int]) -> str:
    def few() -> str:
        return words(rng, count, 4)
    match rng.randrange(10):
        case 0:
            return f"{'#' * rng.randint(1, 4)} {few()}"
        case 1:
            return f"{few()}\n{rng.choice(['===', '---'])}"
        case 2:
            return "\n".join(f"{' ' * rng.choice([0, 0, 2])}- {words(rng, count)}"
                             for _ in range(rng.randint(1, 5)))
        case 3:
            return "\n".join(f"{n}. {words(rng, count)}" for n in range(1, rng.randint(2, 12)))
        case 4:
            lines = [f"    w{next(count)}w = 'x'  # note" for _ in range(rng.randint(1, 6))]
            fence = rng.choice(["```", "~~~~"])
            return "\n".join([f"{fence}{rng.choice(['', 'python', 'js'])}", *lines, fence])
        case 5:
            columns = rng.randint(1, 5)
            rows = ["|".join(few() for _ in range(columns)) for _ in range(rng.randint(2, 6))]
            rows.insert(1, "|".join(["---"] * columns))
            return "\n".join(f"|{row}|" for row in rows)
        case 6:
            return "\n".join(f"> {words(rng, count)}" for _ in range(rng.randint(1, 3)))
        case 7:
            return f"$$\nA_{{w{next(count)}w}} = \\unknown\n$$"
        case 8:
            return rng.choice(["---", "[a]: https://a.example/", "<b>html</b>", f"- [x] {few()}"])
    return words(rng, count, 60)


def document(rng: random.Random) -> str:
    count = iter(range(10, 10_000))
    return "\n\n".join(block(rng, count) for _ in range(rng.randint(2, 7))) + "\n"


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_is_on_the_screen_in_the_end(group: int, width: int) -> None:
    written = size = 0
    for number in range(EACH):
        seed = group * EACH + number
        rng = random.Random(seed)
        text = document(rng)
        whole = show([text], width=width, height=24)
        parts = show(cuts(text, rng, 40), width=width, height=24)
        rows = whole.rows()
        assert parts.rows() == rows, seed
        written += len(parts.output.encode())
        size += len(text.encode())
        assert set(re.findall(r"w\d+w", " ".join(rows))) == set(re.findall(r"w\d+w", text)), seed
    assert written <= 2 * size


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_size_changes_on_the_way(group: int) -> None:
    """Text already written stays, later text fits the new size, and nothing is lost or repeated."""
    for number in range(EACH):
        seed = group * EACH + number
        rng = random.Random(seed)
        text = re.sub(r"(?m)^\|.*\n", "", document(rng))
        width = 40
        terminal = Terminal(width, 24)

        def widened() -> int:
            return width
        stream = MarkdownStream(terminal.write, lambda: (widened(), 24))
        pieces = cuts(text, rng, 40)
        for place, piece in enumerate(pieces):
            wanted = (40, 80, 120)[3 * place // len(pieces)]
            if wanted != width:
                width = terminal.width = wanted
                terminal.screen.resize(24, width)
            stream.feed(piece)
        stream.finish()
        shown = re.findall(r"w\d+w", " ".join(terminal.rows()))
        assert set(shown) == set(re.findall(r"w\d+w", text)), seed
        assert isinstance(terminal.screen, pyte.Screen)
