"""Searches sessions: ranked results with snippets of the matching messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from core.dataclass import dataclass
from core.messages import Message, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.store.message_json import dump
from core.store.query import Query, Term, parse_query
from core.store.rows import SessionRow, StoredMessage
from core.store.words import UNSPACED, message_words
from db import Store

LOOKED_AT = 300       # newest matching messages that the ranking is based on
AROUND = 70           # characters of a snippet on each side of the match
SYMBOL = regex(r"[\ue100-\ue1ff]|\ue002[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A matching message. `marks` are the matching parts of the snippet, as (start, end)."""

    message: int
    role: str
    created: float
    snippet: str
    marks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A matching session, with its best hit first; without hits, its title matched."""

    session: SessionRow
    hits: tuple[Hit, ...]
    score: float


def search(store: Store, text: str, *, limit: int = 20, hits: int = 3,
           complete_last: bool = False) -> list[Found]:
    """Return the best sessions for a query, best first, the same in both databases. Raises
    UsageError for an invalid filter.
    """
    query = parse_query(text, complete_last=complete_last)
    if query.empty:
        return [Found(row, (), 0.0) for row in store.sessions(limit, text)] if query.filters else []
    pairs = [] if query.place == "title" else store.find_messages(query, LOOKED_AT)
    titled = store.find_titles(query, limit) if query.place in ("", "title", "branches") else []
    rows = {row.id: row
            for row in (*store.some_sessions(list(dict.fromkeys(session for session, _ in pairs))),
                        *titled)}
    entries = {entry.id: entry for entry in store.some_messages([message for _, message in pairs])}
    scored: dict[str, list[tuple[float, StoredMessage]]] = {row.id: [] for row in titled}
    for place, (session, message) in enumerate(pairs):
        if message in entries and session in rows:
            scored.setdefault(session, []).append(
                (_score(query, entries[message].message) - place / LOOKED_AT, entries[message]))
    named = {row.id for row in titled}
    ranked = sorted(
        (((max((score for score, _ in found), default=0.0) + min(len(found), 10) / 10
           + 3 * (session in named)),
          rows[session].updated, session) for session, found in scored.items()), reverse=True)
    return [Found(rows[session], tuple(_hit(query, entry) for _, entry in
                                       sorted(scored[session],
                                              key=lambda pair: (-pair[0], pair[1].id))[:hits]),
                  score)
            for score, _, session in ranked[:limit]]


def found_sessions(store: Store, text: str) -> list[SessionRow]:
    """Return all matching sessions, oldest first."""
    query = parse_query(text)
    if query.empty:
        return store.sessions(0, text) if query.filters else []
    pairs = [] if query.place == "title" else store.find_messages(query, 0)
    ids = list(dict.fromkeys(session for session, _ in pairs))
    rows = {row.id: row for start in range(0, len(ids), 500)
            for row in store.some_sessions(ids[start:start + 500])}
    rows.update((row.id, row) for row in store.find_titles(query, 1_000_000))
    return sorted(rows.values(), key=lambda row: (row.created, row.id))


def _score(query: Query, message: Message) -> float:
    """Score a message: frequent words in a short text rank higher, text ranks higher than tool
    data.
    """
    said, tools = (f" {words} " for words in message_words(message))
    score = 0.0
    for term in query.wanted:
        words = " " + " ".join(term.words) + ("" if term.begins else " ")
        score += min(said.count(words), 5) + min(tools.count(words), 5) / 4
    return score / (1 + len(said) / 5000)


def _hit(query: Query, entry: StoredMessage) -> Hit:
    snippet, marks = _snippet(query, entry.message)
    return Hit(entry.id, entry.message.role, entry.created, snippet, marks)


def _snippet(query: Query, message: Message) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the first match with its surrounding text on one line, and the matching parts."""
    patterns = [_pattern(term) for term in query.wanted]
    for text in _texts(message):
        folded = _folded(text)
        found = next((match for pattern in patterns if (match := pattern.search(folded))), None)
        if found is not None:
            start, end = (max(0, found.start() - AROUND),
                          min(len(text), max(found.end(), found.start() + 1) + AROUND))
            shown = re.sub(r"\s", " ", text[start:end])
            near = _folded(shown)
            marks = sorted({match.span() for pattern in patterns
                            for match in pattern.finditer(near)})
            left, right = "\u2026" if start else "", "\u2026" if end < len(text) else ""
            return (f"{left}{shown}{right}",
                    tuple((at + len(left), to + len(left)) for at, to in marks))
    text = next(iter(_texts(message)), "")
    return re.sub(r"\s", " ", text[:2 * AROUND]), ()


def _texts(message: Message) -> list[str]:
    texts = []
    for part in message.parts:
        match part:
            case Text(text) | Thinking(text):
                texts.append(text)
            case ToolCall(name=name, arguments=arguments, invalid=invalid):
                texts.append(f"{name} {dump(arguments) if invalid is None else invalid}")
            case ToolResult(name=name, content=content):
                texts.append(f"{name}: {content}")
    return texts


def _pattern(term: Term) -> re.Pattern[str]:
    """Return a pattern that matches a term's words in folded text, with any non-words between them.
    """
    pieces = [re.escape(_shown(word)) for word in term.words]
    first, last = term.words[0], term.words[-1]
    start = r"(?<![^\W_])" if first.isascii() and first.isalnum() else ""
    end = r"(?![^\W_])" if not term.begins and last.isascii() and last.isalnum() else ""
    return re.compile(start + r"[\s\W_]*?".join(pieces) + end)


def _shown(word: str) -> str:
    """Return a word of the index as it appears in text."""
    if not SYMBOL.fullmatch(word):
        return word
    return chr(int(word[1:], 16)) if word[0] == "\ue002" else chr(ord(word) - 0xE100)


_UNSPACED = regex(f"[{UNSPACED}]")


def _folded(text: str) -> str:
    """Remove case and accents without changing the number of characters."""
    if text.isascii():
        return text.lower()
    return "".join(character if _UNSPACED.match(character)
                   else (unicodedata.normalize("NFKD", character).casefold() or " ")[0]
                   for character in text)


def as_objects(found: Sequence[Found]) -> list[dict[str, object]]:
    """Return results as JSON objects; times are seconds since 1970."""
    return [{"id": entry.session.id, "name": entry.session.name, "title": entry.session.title,
             "model": entry.session.model,
             "updated": entry.session.updated, "score": round(entry.score, 3),
             "hits":
             [{"message": f"{hit.message:032x}", "role": hit.role, "created": hit.created,
               "snippet": hit.snippet,
               "marks": [list(mark) for mark in hit.marks]} for hit in entry.hits]}
            for entry in found]
