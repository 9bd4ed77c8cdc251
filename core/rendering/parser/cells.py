"""The cells of a table's rows and what its delimiter row says, as GFM has them."""

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
    """Of each column, if `line` is a delimiter row for `header`; otherwise nothing."""
    if _DELIMITER.fullmatch(line) is None:
        return []
    cells = cells_of(line)
    return [_alignment(cell) for cell in cells] if len(cells) == len(cells_of(header)) else []


def _alignment(cell: str) -> Alignment:
    if cell.endswith(":"):
        return "center" if cell.startswith(":") else "right"
    return "left" if cell.startswith(":") else ""


def cells_of(line: str, count: int = 0) -> list[str]:
    """The cells of a row, exactly `count` of them if that is given.

    If there are more, pipes in code do not separate: models forget to escape them. What is left
    over stays in the last cell.
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
