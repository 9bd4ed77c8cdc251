"""Converts a Jupyter notebook to the text of its cells and outputs, without pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def notebook_text(text: str) -> tuple[str, str]:
    """(text of the cells in order, note on what was left out); other text is returned unchanged."""
    try:
        document = json.loads(text)
        cells = document["cells"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return text, ""
    if not isinstance(cells, list):
        return text, ""
    counted = [0]
    lines = [line for number, cell in enumerate(cells, 1) if isinstance(cell, dict)
             for line in _cell(number, cell, counted)]
    note = (f"{counted[0]} pictures or other outputs that are not text were left out" if counted[0]
            else "")
    return "\n".join(lines) + "\n", note


def _cell(number: int, cell: dict[str, Any], left: list[int]) -> Iterator[str]:
    yield (f"[cell {number}, "
           f"{cell.get('cell_type') if isinstance(cell.get('cell_type'), str) else 'unknown'}]")
    yield _joined(cell.get("source"))
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        said = _output(output) if isinstance(output, dict) else ""
        if said:
            yield f"[output of cell {number}]\n{said}"
        else:
            left[0] += 1


def _output(output: dict[str, Any]) -> str:
    """The text of an output; "" for a picture, whose text form only names its class."""
    if output.get("output_type") == "error":
        return f"{output.get('ename')}: {output.get('evalue')}"
    data = output.get("data")
    if not isinstance(data, dict):
        return _joined(output.get("text"))
    pictures = any(isinstance(kind, str) and kind.startswith("image/") for kind in data)
    return "" if pictures else _joined(data.get("text/markdown") or data.get("text/plain"))


def _joined(source: object) -> str:
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str)).rstrip("\n")
    return source.rstrip("\n") if isinstance(source, str) else ""
