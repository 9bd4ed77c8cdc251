"""Formats lists of choices for a terminal: a sign marks the one in use, details stand beside or
below the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.rendering.columns import wrapped
from core.rendering.marks import HANG, styled
from core.rendering.table import Choices, Table
from core.rendering.theme import Theme
from core.rendering.widths import clip, text_width
from core.safe_text import safe_line

GAP = 3         # cells between columns
WIDEST = 48     # cells of a name for which optional columns are dropped; longer names are cut
Row = Sequence[str]


def choice_rows(table: Table, choices: Choices, width: int, theme: Theme,
                sign: str) -> Iterator[str]:
    """Styled rows, narrower than `width`; `sign` marks the ones in use."""
    full = [list(map(safe_line, (name, *row[1:])))
            for name, row in zip(choices.names, table.rows, strict=True)]
    kept, widths, beside = _columns(table, choices, full, width)
    for number, row in enumerate(full):
        if number == 0 or choices.groups[number] != choices.groups[number - 1]:
            yield from ([] if number == 0 else [""])
            if choices.groups[number]:
                yield styled(safe_line(choices.groups[number]), theme.role("bold"))
        mark = sign if number in choices.used else " "
        if not row[0]:
            yield from _about(row, width, theme)
        elif beside:
            yield f"{mark} " + "".join(_cells(choices, row, kept, widths, theme)).rstrip()
        else:
            yield f"{mark} {row[0]}"
            yield from _about(row, width, theme, 2 * HANG)


def _columns(table: Table, choices: Choices, full: Sequence[Row],
             width: int) -> tuple[list[int], list[int], bool]:
    """(columns to show, their widths, whether they fit beside the names).

    Optional columns are dropped first.
    """
    kept = [column for column in range(len(full[0]) if full else 0)
            if column == 0 or any(row[column] for row in full if row[0])]
    optional = [table.columns.index(name) for name in table.optional]
    while True:
        widths = [max((text_width(row[column]) for row in full if row[0]), default=0)
                  for column in kept]
        room = width - 1 - HANG - sum(widths[1:]) - GAP * (len(widths) - 1)
        gone = next((column for column in optional if column in kept), None)
        longest = min(widths[0], WIDEST) if widths and choices.shortest else sum(widths[:1])
        if longest <= room or gone is None:
            break
        kept.remove(gone)
    beside = not widths or room >= min(widths[0], choices.shortest or widths[0])
    return kept, [min(widths[0], room), *widths[1:]] if beside and widths else widths, beside


def _about(row: Row, width: int, theme: Theme, indent: int = HANG) -> Iterator[str]:
    """A row's details, in lines below its name."""
    for line in wrapped(", ".join(filter(None, row[1:])), max(width - 1 - indent, 8)):
        yield " " * indent + styled(line, theme.dim)


def _cells(choices: Choices, row: Row, kept: Sequence[int], widths: Sequence[int],
           theme: Theme) -> Iterator[str]:
    for place, (column, cells) in enumerate(zip(kept, widths, strict=True)):
        cell = row[column]
        if text_width(cell) > cells:
            cell = clip(cell, cells - 1) + "\u2026"
        pad = " " * (cells - text_width(cell))
        text = styled(cell, theme.dim if column in choices.quiet else "")
        yield (" " * GAP if place else "") + (pad + text if column in choices.right else text + pad)


def spoken_rows(table: Table) -> Iterator[str]:
    """For a screen reader: a sentence for each row, and headings on separate lines."""
    choices, heading = table.choices, ""
    for number, row in enumerate(table.rows):
        before, heading = (heading, choices.groups[number] if choices
                           else table.headings.get(number, heading))
        if heading != before:
            yield from ([] if number == 0 else [""])
            yield safe_line(heading)
        name = choices.names[number] if choices else row[0]
        name += ", in use" if choices and number in choices.used else ""
        heads = table.columns[1:] if len(row) > 2 else ("",)
        facts = [cell if head and head.removesuffix("s") in cell else f"{head} {cell}".strip()
                 for head, cell in zip(heads, row[1:], strict=True) if cell]
        yield safe_line(": ".join(filter(None, [name, "; ".join(facts)])).removesuffix(".") + ".")
