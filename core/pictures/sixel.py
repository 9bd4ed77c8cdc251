"""Draws a picture as SIXEL, the oldest way to show pictures in a terminal, in the child process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from core.pictures.redraw import opened
from core.regex import regex
from core.tools.limited_process import Job, LimitedProcess

if TYPE_CHECKING:
    import re

    from PIL import Image as Pillow

MOST_SECONDS = 3.0
MOST_MEMORY = 512 << 20
COLOURS = 256
BAND = 6               # rows of pixels that one character shows
CLEAR = COLOURS        # stands for a transparent pixel
_SAME = regex(r"(.)\1{3,}")


def sixel(data: bytes, width: int, height: int) -> str:
    """The sequence that draws a picture within these pixels. Raises ToolError."""
    with LimitedProcess(MOST_MEMORY) as process:
        arguments = {"width": width, "height": height}
        return str(process.call("core.pictures.sixel:draw", arguments, data, seconds=MOST_SECONDS))


def draw(job: Job, width: int, height: int) -> str:
    """The sequence. Raises ToolError. Runs in the child."""
    picture, _, _ = opened(job.data, max(width, height))
    picture.thumbnail((width, height))
    palette, rows = _indexed(picture)
    head = f'\x1bP0;1;0q"1;1;{picture.width};{picture.height}'
    bands = "".join("".join(_band(rows[top:top + BAND])) + "-"
                    for top in range(0, len(rows), BAND))
    return f"{head}{palette}{bands}\x1b\\"


def _indexed(picture: Pillow.Image) -> tuple[str, list[list[int]]]:
    """(the palette as SIXEL, in percent; rows of numbers of colours)."""
    few = picture.convert("RGB").quantize(COLOURS)
    colours = few.getpalette() or []
    palette = "".join(
        f"#{number};2;" + ";".join(str(round(part * 100 / 255))
                                   for part in colours[number * 3:number * 3 + 3])
        for number in range(len(colours) // 3))
    numbers = list(few.tobytes())
    if picture.mode == "RGBA":
        seen = picture.getchannel("A").tobytes()
        numbers = [number if alpha > 127 else CLEAR
                   for number, alpha in zip(numbers, seen, strict=True)]
    wide = picture.width
    return palette, [numbers[start:start + wide] for start in range(0, len(numbers), wide)]


def _band(rows: Sequence[Sequence[int]]) -> Iterator[str]:
    """Up to six rows: for each colour, a character for each column that says which rows have it."""
    masks: dict[int, list[int]] = {}
    for bit, row in enumerate(rows):
        for column, number in enumerate(row):
            mask = masks.get(number)
            if mask is None:
                mask = masks[number] = [0] * len(row)
            mask[column] |= 1 << bit
    masks.pop(CLEAR, None)
    for number, mask in masks.items():
        line = "".join([chr(63 + bits) for bits in mask]).rstrip("?")
        yield f"#{number}{_SAME.sub(_repeated, line)}$"


def _repeated(found: re.Match[str]) -> str:
    return f"!{len(found[0])}{found[1]}"
