"""Formats database rows as CSV, with limits to their number and the size of cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

MOST_CELL = 1_000           # characters of a cell


def as_csv(names: Sequence[str], rows: Iterable[Sequence[Any]], most: int) -> str:
    """At most `most` rows as CSV with a header, and a line with their number."""
    rows = iter(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for row in islice(rows, most):
        writer.writerow([_cell(value) for value in row])
        count += 1
    more = next(rows, None) is not None
    out.write(f"[{count} rows{', there are more' if more else ''}]")
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return "NULL"
    if isinstance(value, (bytes, memoryview)):
        return f"<{len(value)} bytes>"
    text = str(value)
    return (text if len(text) <= MOST_CELL
            else f"{text[:MOST_CELL]} [\u2026 {len(text) - MOST_CELL:,} more characters]")
