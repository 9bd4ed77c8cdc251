"""Tables as values, which commands and lists return and front ends draw."""

from __future__ import annotations

from collections.abc import Mapping

from core.dataclass import dataclass, field


@dataclass(frozen=True, slots=True)
class Choices:
    """How a table of choices looks in a terminal: groups below headings, with the choice in use
    marked.

    `groups` and `names` have an entry for each row; a row without a name describes its group.
    """

    groups: tuple[str, ...]
    names: tuple[str, ...]
    used: frozenset[int] = frozenset()      # rows in use
    quiet: frozenset[int] = frozenset()     # columns that are dim
    right: frozenset[int] = frozenset()     # columns of numbers
    # Cells to which a name may be cut so that the rest fits beside it; 0: names are never cut.
    shortest: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One search result. `marks` are the matching parts of the text, as (start, end)."""

    title: str
    facts: str
    text: str
    marks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Excerpts:
    """How a table of search results looks in a terminal; `count` says how many match `words`."""

    count: str
    words: str
    entries: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table for users.

    `note` is shown below it, and `headings` above the rows with those numbers. If there is little
    room, `optional` columns are dropped in order. `records` are the same rows as JSON values for
    programs; null means not known.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    optional: tuple[str, ...] = ()
    headings: Mapping[int, str] = field(default_factory=dict)
    records: tuple[Mapping[str, object], ...] | None = None
    choices: Choices | None = None
    excerpts: Excerpts | None = None
