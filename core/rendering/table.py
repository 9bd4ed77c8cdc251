"""A table as a value: commands and lists return it, a front end draws it."""

from __future__ import annotations

from collections.abc import Mapping

from core.dataclass import dataclass, field


@dataclass(frozen=True, slots=True)
class Choices:
    """How a table looks in a terminal whose rows are things to choose from: groups under
    headings, the one in use marked.

    `groups` and `names` have an entry for each row; a row without a name says
    something about its group.
    """

    groups: tuple[str, ...]
    names: tuple[str, ...]
    used: frozenset[int] = frozenset()      # rows
    quiet: frozenset[int] = frozenset()     # columns that are dim
    right: frozenset[int] = frozenset()     # columns of numbers


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people; a front end draws it.

    `note` stands under it, and `headings` above the rows of those numbers.

    Where there is little room, the `optional` columns are left out, the first one first. `records`
    are the same rows for programs: numbers, true and false, null for what is not known.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    optional: tuple[str, ...] = ()
    headings: Mapping[int, str] = field(default_factory=dict)
    records: tuple[Mapping[str, object], ...] | None = None
    choices: Choices | None = None
