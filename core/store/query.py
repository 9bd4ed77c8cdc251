"""A parsed search query: words and filters, the same for both databases."""

from __future__ import annotations

import re
import time

from core.dataclass import dataclass, replace
from core.errors import UsageError
from core.regex import regex
from core.store.words import words_of

PLACES = ("title", "tool", "answer", "question", "branches")
FILTERS = ("model", "provider", "tag", "after", "before", "in")
_TERMS = regex(r'(-?)(?:(?:(%s):)?"([^"]*)"?|(\S+))' % "|".join(FILTERS))
_FILTER = regex(r"(%s):(.+)" % "|".join(FILTERS), re.IGNORECASE)
LEAST_PREFIX = 2      # shortest word that is completed while it is typed


@dataclass(frozen=True, slots=True)
class Term:
    """A phrase. With `begins`, its last word may be the beginning of a longer one."""

    words: tuple[str, ...]
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """Matches a message or title that contains all of `wanted` and none of `unwanted`.

    Times are seconds since 1970.
    """

    wanted: tuple[Term, ...] = ()
    unwanted: tuple[Term, ...] = ()
    place: str = ""            # one of PLACES; "branches" includes hidden messages
    model: str = ""
    provider: str = ""
    tags: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None

    def beginnings(self) -> Query:
        """Return the same query with every word matched as a prefix."""
        return replace(self, wanted=tuple(Term(term.words, len(term.words[-1]) >= LEAST_PREFIX)
                                          for term in self.wanted))

    @property
    def filters(self) -> bool:
        """Whether it restricts the sessions."""
        return (bool(self.model or self.provider or self.tags) or self.after is not None
                or self.before is not None)

    @property
    def empty(self) -> bool:
        """Whether it has neither words nor filters."""
        return not self.wanted


def parse_query(text: str, *, complete_last: bool = False) -> Query:
    """Parse words, "phrases", -excluded words, prefixes* and filters such as model:llama
    after:2026-01-31 in:title. With `complete_last`, the last word is still being typed. Raises
    UsageError for an invalid filter value.
    """
    wanted: list[Term] = []
    unwanted: list[Term] = []
    named: dict[str, str] = {}
    tags: list[str] = []
    for minus, name, phrase, word in _TERMS.findall(text):
        found = _FILTER.fullmatch(word) if word and not minus else None
        if name and not minus or found:
            key, value = ((name, phrase) if name else (found[1].lower(), found[2]) if found
                          else ("", ""))
            tags += [value.lower()] if key == "tag" else []
            named[key] = value
            continue
        begins = word.endswith("*")
        words = tuple(words_of(phrase or word.rstrip("*")))
        if words:
            (unwanted if minus
             else wanted).append(Term(words, begins and len(words[-1]) >= LEAST_PREFIX))
    if (complete_last and wanted and text[-1:].isalnum()
        and len(wanted[-1].words[-1]) >= LEAST_PREFIX):
        wanted[-1] = Term(wanted[-1].words, True)
    place = (named.get("in", "").lower().rstrip("s") if named.get("in", "").lower() != "branches"
             else "branches")
    if place and place not in PLACES:
        raise UsageError(f"in:{named['in']} is not a valid place to search.",
                         f"Use one of {', '.join(f'in:{name}' for name in PLACES)}.")
    return Query(tuple(wanted), tuple(unwanted), place, named.get("model", "").lower(),
                 named.get("provider", "").lower(),
                 tuple(tags), _moment("after", named), _moment("before", named))


def _moment(name: str, named: dict[str, str]) -> float | None:
    text = named.get(name)
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})([hdwmy])", text.lower())
    if found:
        return time.time() - int(found[1]) * {"h": 3600, "d": 86400, "w": 604800, "m": 30 * 86400,
                                              "y": 365 * 86400}[found[2]]
    for form in ("%Y-%m-%d", "%Y-%m", "%Y"):
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    raise UsageError(f"{name}:{text} is not a date.",
                     f"Write {name}:2026-01-31, {name}:2026-01, {name}:2026, or {name}:30d.")
