"""The blocks of code in a text that is complete or broke off,
found by the rules by which it is shown.
"""

from __future__ import annotations

from typing import NamedTuple

from core.rendering.parser.blocks import Parser
from core.rendering.parser.grammar import Item
from core.rendering.parser.operations import Close, Open, Span


class CodeBlock(NamedTuple):
    """`info` is what stands after the opening fence, `source` the code exactly as written."""

    info: str
    source: str


def code_blocks(text: str) -> list[CodeBlock]:
    """All blocks of code, also one that the text leaves open."""
    parser = Parser()
    parser.feed(text)
    parser.finish()
    found: list[CodeBlock] = []
    inside = False
    for operation in parser.take():
        match operation:
            case Open("code", detail):
                inside = True
                found.append(CodeBlock(detail, ""))
            case Close("code"):
                inside = False
            case Span(piece) if inside:
                found[-1] = CodeBlock(found[-1].info, found[-1].source + piece)
    return found


def ends_in_code(text: str) -> bool:
    """Whether what follows `text` is inside a fence that it opens."""
    return _read(text).fence is not None


def closing_fence(text: str) -> str:
    """What closes the fence that `text` leaves open, to be put after it;
    nothing if it leaves none open.
    """
    parser = _read(text)
    if parser.fence is None:
        return ""
    prefix = "".join(" " * container.width if isinstance(container, Item) else "> "
                     for container in parser.containers)
    return ("" if text.endswith("\n") else "\n") + prefix + parser.fence.marks


def opening_fence(text: str) -> str:
    """The line that opens again the fence that `text` leaves open;
    nothing if it leaves none open.
    """
    fence = _read(text).fence
    return "" if fence is None else f"{fence.marks}{fence.info}\n"


def _read(text: str) -> Parser:
    parser = Parser()
    if "```" in text or "~~~" in text:
        parser.feed(text)
        parser.feed("" if text.endswith("\n") else "\n")
    return parser
