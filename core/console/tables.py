"""Shows tables: drawn in a terminal, aligned in a pipe, as JSON for a program."""

from __future__ import annotations

import sys

from core.config import Settings
from core.console.screen import Screen
from core.rendering.choices import choice_rows, spoken_rows
from core.rendering.excerpts import excerpt_rows, spoken_excerpts
from core.rendering.listing import table_lines
from core.rendering.marks import styled
from core.rendering.table import Table
from core.safe_text import safe_line


def show(settings: Settings, table: Table) -> None:
    """Print to standard output in the form that suits a terminal, a pipe or a program."""
    if settings.json:
        import json     # 2 ms that a table does without
        print(json.dumps(_records(table), ensure_ascii=False, indent=1))
    elif sys.stdout.isatty():
        show_table(Screen(sys.stdout, settings), table)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in aligned(table)))


def _records(table: Table) -> list[dict[str, object]]:
    if table.records is not None:
        return [dict(record) for record in table.records]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def show_table(screen: Screen, table: Table) -> None:
    """Print a table as wide as it needs, at most as wide as the screen."""
    if screen.plain:
        rows = spoken_rows(table) if table.excerpts is None else spoken_excerpts(table.excerpts)
        screen.write("".join(f"{line}\n" for line in rows))
    elif table.excerpts is not None:
        for row in excerpt_rows(table.excerpts, screen.width(), screen.theme):
            screen.write(f"{row}\n")
        screen.gap()
    elif table.choices is not None:
        for line in choice_rows(table, table.choices, screen.width(), screen.theme,
                                screen.sign("user")):
            screen.write(f"{line}\n")
        screen.gap()
    else:
        _show_rows(screen, table)
    if table.note:
        screen.note(table.note)


def _show_rows(screen: Screen, table: Table) -> None:
    rows = [[safe_line(cell) for cell in row] for row in table.rows]
    lines = table_lines(table.columns, rows, screen.width() - 1, optional=table.optional,
                        headings=table.headings, rule="\u2500" if screen.unicode else "-")
    pieces = (styled(text, screen.theme.role(role) if role else "")
              for line in lines for text, role in (*line, ("\n", "")))
    screen.write("".join(pieces))
    screen.gap()


def aligned(table: Table) -> list[str]:
    """Lines of columns as wide as they need, two spaces apart; each row is one line.
    """
    rows = [table.columns,
            *(tuple(safe_line(" ".join(cell.split())) for cell in row) for row in table.rows)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows]
