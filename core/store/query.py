"""What is searched for: the words of a query and its filters, the same for both databases."""

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
LEAST_PREFIX = 2      # letters of a word that is completed


@dataclass(frozen=True, slots=True)
class Term:
    """Words that follow one another. `begins`: the last one may go on."""

    words: tuple[str, ...]
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """All of `wanted` and none of `unwanted` are in a message, or in a title.

    Times are seconds since 1970.
    """

    wanted: tuple[Term, ...] = ()
    unwanted: tuple[Term, ...] = ()
    place: str = ""            # one of PLACES; branches: what is not shown counts too
    model: str = ""
    provider: str = ""
    tags: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None

    def beginnings(self) -> Query:
        """The same with every word as the beginning of one."""
        return replace(self, wanted=tuple(Term(term.words, len(term.words[-1]) >= LEAST_PREFIX)
                                          for term in self.wanted))

    @property
    def filters(self) -> bool:
        """Whether it says anything about sessions beside the words."""
        return (bool(self.model or self.provider or self.tags) or self.after is not None
                or self.before is not None)

    @property
    def empty(self) -> bool:
        """Whether it names nothing to look for."""
        return not self.wanted


def parse_query(text: str, *, complete_last: bool = False) -> Query:
    """Words in any order, "phrases", -without, begin*, and filters such as model:llama
    after:2026-01-31 in:title.

    `complete_last`: the last word is still being typed. Raises UsageError for a filter with a
    value that makes no sense.
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
        raise UsageError(f"in:{named['in']} is not a place to search.",
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
