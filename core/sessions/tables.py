"""Sessions as tables: a list of them, and the results of a search."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core.rendering.table import Choices, Excerpt, Excerpts, Table
from core.sessions.listing import marked, moment_words
from core.store.identity import short_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.sessions.search import Found
    from core.store.rows import SessionRow, Shelf

OPENS = {"open": "--session ID resumes one.", "archived": "--unarchive ID lists one again.",
         "trash": "--undelete ID restores one."}
MORE = "--limit 0 lists all, --list-sessions WORDS those with the words; --session ID resumes one."
LEAST_TITLE = 20        # cells of a title, so that what is known of its session stands beside it


def session_table(rows: Sequence[SessionRow], note: str, group: str = "", used: str = "") -> Table:
    """Titles with their facts, below `group`; the session `used` is marked."""
    now = time.time()
    cells = tuple((marked(row), moment_words(row.updated, now),
                   count_words(row.message_count, "message"), row.model, name)
                  for name, row in zip(short_names([row.name for row in rows]), rows))
    titles = tuple(title or "(no title)" for title, *_ in cells)
    marks = frozenset(number for number, row in enumerate(rows) if row.id == used)
    choices = Choices((group,) * len(rows), titles, marks, frozenset(range(1, 5)), frozenset((2,)),
                      LEAST_TITLE)
    return Table(("title", "last used", "messages", "model", "session"), cells, note,
                 optional=("model",), choices=choices)


def listed_sessions(rows: Sequence[SessionRow], shelf: Shelf, *, more: bool = False) -> Table:
    """The sessions as the shell shows them; the ID that resumes each comes first.

    `more`: there are others that are not listed.
    """
    now = time.time()
    cells = tuple((name, moment_words(row.updated, now), f"{row.message_count:,}", row.model,
                   marked(row) or "(no title)")
                  for name, row in zip(short_names([row.name for row in rows]), rows))
    return Table(("id", "last used", "messages", "model", "title"), cells,
                 f"The {len(rows)} used last. {MORE}" if more else
                 f"{count_words(len(rows), 'session')}. {OPENS[shelf]}",
                 optional=("model", "messages"))


def result_table(results: Sequence[Found], words: str) -> Table:
    """The sessions that contain the words, best first, each with the place where they occur."""
    now = time.time()
    rows = tuple((str(number), moment_words(entry.session.updated, now), entry.session.title,
                  entry.hits[0].snippet if entry.hits else "(title)")
                 for number, entry in enumerate(results, 1))
    holds = "holds" if len(results) == 1 else "hold"
    found = Excerpts(f"{count_words(len(results), 'session')} {holds}", words,
                     tuple(_excerpt(entry, now) for entry in results))
    return Table(("result", "last used", "session", "where"), rows, "/search N opens one.",
                 excerpts=found)


def _excerpt(entry: Found, now: float) -> Excerpt:
    """A match in the title needs no excerpt: the title is shown."""
    row = entry.session
    facts = f"{moment_words(row.updated, now)}, {row.short_name}"
    hit = entry.hits[0] if entry.hits and entry.hits[0].snippet != row.title else None
    text, marks = (hit.snippet, hit.marks) if hit is not None else ("", ())
    return Excerpt(marked(row) or "(no title)", facts, text, marks)


def count_words(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
