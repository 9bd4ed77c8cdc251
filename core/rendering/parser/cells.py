"""Parses a table's rows and its delimiter row, following GFM."""

from __future__ import annotations

from typing import Literal

from core.regex import regex

Alignment = Literal["", "left", "center", "right"]
_DELIMITER = regex(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_CODE = regex(r"(`+)[^`]+\1")
_PIPE = regex(r"(?<!\\)\|")


def may_be_delimiter(text: str) -> bool:
    """Whether `text` is, or may become, a delimiter row."""
    return not text.strip("|:- \t")


def alignments(line: str, header: str) -> list[Alignment]:
    """The alignment of each column if `line` is a delimiter row for `header`; otherwise empty."""
    if _DELIMITER.fullmatch(line) is None:
        return []
    cells = cells_of(line)
    return [_alignment(cell) for cell in cells] if len(cells) == len(cells_of(header)) else []


def _alignment(cell: str) -> Alignment:
    if cell.endswith(":"):
        return "center" if cell.startswith(":") else "right"
    return "left" if cell.startswith(":") else ""


def cells_of(line: str, count: int = 0) -> list[str]:
    """The cells of a row, exactly `count` of them if given.

    If there are more, pipes within code do not separate cells, since models forget to escape them.
    Surplus cells are joined to the last one.
    """
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    cells = _PIPE.split(line)
    if len(cells) > count > 0:
        cells = _PIPE.split(_CODE.sub(lambda code: _PIPE.sub(r"\\|", code.group()), line))
    cells = [cell.strip().replace("\\|", "|").replace("\t", " ") for cell in cells]
    if count:
        if len(cells) > count:
            cells[count - 1:] = [" | ".join(cells[count - 1:])]
        cells += [""] * (count - len(cells))
    return cells
