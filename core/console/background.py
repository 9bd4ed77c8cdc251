"""Asks a terminal for the colour of its background (OSC 11) and what it is capable of (DA1), for at
most a tenth of a second.
"""

from __future__ import annotations

import os
import select
import time
from typing import TextIO

from core.dataclass import dataclass
from core.regex import regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.rendering.theme import Background

PATIENCE = 0.1                      # seconds for the whole answer
# every terminal answers the second question (DA1): if its answer is first, OSC 11 is not supported
QUERY = "\x1b]11;?\x1b\\\x1b[c"
_COLOR = regex(
    rb"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})"
    rb"[^\x07\x1b]*(?:\x07|\x1b\\)")
_FENCE = regex(rb"\x1b\[\?([0-9;]*)c")
SIXEL = b"4"                        # in the answer to DA1: draws SIXEL


@dataclass(frozen=True, slots=True)
class Answered:
    """What the terminal answered, None and False without an answer, and what was typed meanwhile.
    """

    background: Background | None = None
    sixel: bool = False
    typed: bytes = b""


def ask_terminal(source: TextIO, out: TextIO, patience: float = PATIENCE) -> Answered:
    """Ask once, and wait for the answers no longer than `patience` seconds."""
    try:
        import termios
        before = termios.tcgetattr(source.fileno())
    except (ImportError, OSError, ValueError):
        return Answered()
    except termios.error:
        return Answered()
    quiet = [*before[:6], list(before[6])]
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 0, 0
    try:
        termios.tcsetattr(source.fileno(), termios.TCSANOW, quiet)
        out.write(QUERY)
        out.flush()
        answer = _read_until_fence(source.fileno(), patience)
    except (OSError, termios.error):
        return Answered()
    finally:
        termios.tcsetattr(source.fileno(), termios.TCSANOW, before)
    return answered(answer)


def answered(answer: bytes) -> Answered:
    """The answers in what was read; the rest was typed."""
    fence = _FENCE.search(answer)
    sixel = fence is not None and SIXEL in fence[1].split(b";")[1:]
    return Answered(background_of(answer), sixel, _FENCE.sub(b"", _COLOR.sub(b"", answer)))


def _read_until_fence(descriptor: int, patience: float) -> bytes:
    answer, limit = b"", time.monotonic() + patience
    while not _FENCE.search(answer):
        left = limit - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            break
        piece = os.read(descriptor, 4096)
        if not piece:
            break
        answer += piece
    return answer


def background_of(answer: bytes) -> Background | None:
    """Whether the colour in an answer is dark or light; None if there is no colour in it."""
    found = _COLOR.search(answer)
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return "light" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "dark"
