"""Code fences: when a line closes one, and the indent of its code."""

from __future__ import annotations

from typing import NamedTuple


class Fence(NamedTuple):
    """An open code fence: its marks, the spaces before them, and its info string."""

    marks: str
    indent: int
    info: str

    def closed_by(self, code: str) -> bool:
        """Whether a line closes the fence: at most three spaces, at least as many of the same
        marks, nothing after them.
        """
        bare = code.rstrip(" \t")
        marks = bare.lstrip(" ")
        return (
            len(bare) - len(marks) < 4
            and len(marks) >= len(self.marks)
            and not marks.strip(self.marks[0])
        )


def dedented(line: str, indent: int) -> str:
    """The line without up to `indent` leading spaces, the number before its fence."""
    margin = 0
    while margin < indent and line.startswith(" ", margin):
        margin += 1
    return line[margin:]
