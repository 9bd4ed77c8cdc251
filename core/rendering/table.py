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
    # Cells to which a name may be cut, so that the rest fits beside it; 0: it is never cut.
    shortest: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One result of a search. `marks` are the parts of the text that matched, as (start, end)."""

    title: str
    facts: str
    text: str
    marks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Excerpts:
    """How a table of results of a search looks in a terminal.

    `count` says how many hold the `words`.
    """

    count: str
    words: str
    entries: tuple[Excerpt, ...]


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
    excerpts: Excerpts | None = None
