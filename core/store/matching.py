"""Search conditions as SQL for both databases."""

from __future__ import annotations

from core.store.database import Database
from core.store.text import like_pattern, to_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from core.store.query import Query


# candidates per wanted message that are read first when filters apply
BEFORE_FILTERS = 10


def newest_matches(database: Database, query: Query, columns: str, limit: int, *,
                   thorough: bool = False, trash: bool = False) -> tuple[str, list[Any]]:
    """Return the statement that finds matching messages, newest first, and its values. A `limit` of
    0 means none. Unless `thorough`, it may find fewer than `limit` although more exist. With
    `trash`, only messages in the trash are found; otherwise all others.
    """
    search = database.search(query, 0 if thorough else limit, trash=trash)
    conditions, values = [search.condition], list(search.values)
    if not search.whole:
        of_message, more = _of_message(query)
        of_it, others = of_session(query, times=False)
        inside = " AND ".join([f"shelf {'=' if trash else '<>'} 'trash'", *of_it])
        conditions += [*of_message, "EXISTS (SELECT 1 FROM sessions WHERE sessions.id = "
                                    f"messages.session_id AND {inside})"]
        values += [*more, *others]
    end = f"ORDER BY {search.order} DESC LIMIT {int(limit)}" if limit else ""
    return f"SELECT {columns} FROM {search.table} WHERE {' AND '.join(conditions)} {end}", values


def _of_message(query: Query) -> tuple[list[str], list[Any]]:
    """Return the conditions and values that a query imposes on a message besides its words."""
    conditions: list[str] = []
    values: list[Any] = []
    if query.place != "branches":
        conditions.append("messages.active = 1")
    if query.place in ("answer", "question"):
        conditions.append(f"messages.role = '{'assistant' if query.place == 'answer' else 'user'}'")
    for moment, sign in ((query.after, ">="), (query.before, "<")):
        if moment is not None:
            conditions.append(f"messages.created {sign} ?")
            values.append(moment)
    return conditions, values


def of_session(query: Query, *, times: bool = True) -> tuple[list[str], list[Any]]:
    """Return the conditions and values that a query's filters impose on a session."""
    conditions: list[str] = []
    values: list[Any] = []
    for pattern, text in (("%{}%", query.model), ("{}/%", query.provider)):
        if text:
            conditions.append("lower(sessions.model) LIKE ? ESCAPE '!'")
            values.append(pattern.format(like_pattern(to_database(text))))
    for tag in query.tags:
        conditions.append("(' ' || tags || ' ') LIKE ? ESCAPE '!'")
        values.append(f"% {like_pattern(to_database(tag))} %")
    for moment, sign, column in ((query.after, ">=", "updated"), (query.before, "<", "created")):
        if times and moment is not None:
            conditions.append(f"sessions.{column} {sign} ?")
            values.append(moment)
    return conditions, values


def of_title(database: Database, query: Query, limit: int, *,
             trash: bool = False) -> tuple[str, list[object]]:
    """Return the condition for a matching title, of which `limit` are wanted; 0 means all.

    Its first, cheap test of the letters alone rejects most titles.
    """
    place = database.place_of
    exact = (not query.unwanted and not query.filters
             and all(len(term.words) == 1 for term in query.wanted))
    conditions, values = database.indexed_titles(query, limit * BEFORE_FILTERS if exact else 0,
                                                 trash=trash)
    for term in query.wanted:
        words = " ".join(term.words)
        conditions += [f"{place}(words, ?) > 0", f"{place}(' ' || words || ' ', ?) > 0"]
        values += [words, f" {words}{'' if term.begins else ' '}"]
    for term in query.unwanted:
        conditions.append(f"{place}(' ' || words || ' ', ?) = 0")
        values.append(f" {' '.join(term.words)}{'' if term.begins else ' '}")
    return " AND ".join(conditions), values
