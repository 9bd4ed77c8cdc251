"""Finds the code blocks in a text, complete or not, by the rules that display it."""

from __future__ import annotations

from typing import NamedTuple

from core.rendering.parser.blocks import Parser
from core.rendering.parser.grammar import Item
from core.rendering.parser.operations import Close, Open, Span


class CodeBlock(NamedTuple):
    """A code block: `info` is the text after the opening fence, `source` the code as written."""

    info: str
    source: str


def code_blocks(text: str) -> list[CodeBlock]:
    """All code blocks, including one that is not closed."""
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
    """Whether `text` ends inside a code block."""
    return _read(text).fence is not None


def closing_fence(text: str) -> str:
    """The line that closes the code block in which `text` ends; "" if it ends in none."""
    parser = _read(text)
    if parser.fence is None:
        return ""
    prefix = "".join(" " * container.width if isinstance(container, Item) else "> "
                     for container in parser.containers)
    return ("" if text.endswith("\n") else "\n") + prefix + parser.fence.marks


def opening_fence(text: str) -> str:
    """The line that reopens the code block in which `text` ends; "" if it ends in none."""
    fence = _read(text).fence
    return "" if fence is None else f"{fence.marks}{fence.info}\n"


def _read(text: str) -> Parser:
    parser = Parser()
    if "```" in text or "~~~" in text:
        parser.feed(text)
        parser.feed("" if text.endswith("\n") else "\n")
    return parser
