"""Finds the terms of a question and where they occur: words, inflections, parts of identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from core.dataclass import dataclass
from core.regex import regex

STOP_WORDS = frozenset(
    "a about an and any are as at be but by can could do does for from get give had has have he "
    "her his how i if in into is it its just like make me more my no not of on one or our out "
    "please say she should show so some tell than that the their them then there these they this "
    "to us use used was we were what when where which who why will with would you your der die das "
    "und ist wie wo was ein eine zu von mit auf für im in den dem nicht".split())
# Words that say little about what a text is about; they count, but not much.
WEAK_WORDS = frozenset(
    "actually already also although among anybody anyone anything around because been being both "
    "come comes did doing done during either else enough especially even ever every everything "
    "exactly far go goes going good got had happen happened happens having here however instead "
    "kann let like likely long lot made makes making may maybe mean means might more most much "
    "must need needed needs nobody nor nothing now off often once only onto otherwise ought over "
    "own perhaps possible probably quite rather real really said say says see seem seems shall "
    "since somebody someone something sometimes still such sure thing things think those though "
    "through thus together too toward towards until upon usual usually very via want wants way "
    "ways well whatever whenever whether while whom whose within yes yet".split())
# Tried from the longest on; at least three letters of the word must remain.
SUFFIXES = ("ations", "ation", "ings", "ions", "ing", "ion", "ies", "ied", "ers", "ors", "er", "or",
            "ed", "es", "ly", "s", "e", "y")
TAILS = frozenset((*SUFFIXES, "", "able", "al", "ment", "ments", "ys", "t", "ts"))
FEW = 2    # a question of at most so many words is assumed to refer to the previous one
# weight of the previous question after such a question and after others, and the factor for each
# earlier one
FOLLOWED, EARLIER, DECAY = 0.8, 0.3, 0.5
MOST_EARLIER = 4
STEM, INFLECTED = 3, 0.8  # least letters of a stem; weight of another form of a word
OTHER = 0.5               # weight of a synonym
WEAK = 0.4                # weight of a weak word
_SMALL, _LARGE = regex("[a-z]*"), regex("[A-Z]*")
_WIDE = regex("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff]{2,}")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the question in lower case, its stem, its weight, and its synonyms."""

    word: str
    stem: str
    weight: float = 1.0
    others: tuple[Term, ...] = ()

    @property
    def is_inside(self) -> bool:
        """Whether it may be part of a word: in scripts without spaces between words."""
        return bool(_WIDE.fullmatch(self.word))


def words_of(text: str) -> list[str]:
    """The words of a question in lower case, without stop words but with parts of identifiers."""
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W_]+(?:[_.][^\W_]+)*", text):
        wide = _WIDE.findall(word)
        pairs = [run[place:place + 2] for run in wide for place in range(len(run) - 1)]
        for part in pairs or (word, *re.split(r"[_.]|(?<=[a-z0-9])(?=[A-Z])", word)):
            small = lowered(part)
            if len(small) > 1 and small not in STOP_WORDS:
                found[small] = None
    return list(found)


def terms_of(text: str, weight: float = 1.0) -> list[Term]:
    """The terms of a text; forms of the same word become one term."""
    found: dict[str, Term] = {}
    for word in words_of(text):
        share = WEAK if word in WEAK_WORDS else 1.0
        found.setdefault(stem_of(word), Term(word, stem_of(word), weight * share))
    return list(found.values())


def terms_of_all(questions: Sequence[str]) -> list[Term]:
    """The terms of the last question and, with less weight, of the previous ones.

    A question of few words ("why is that?") is assumed to refer to the previous question.
    """
    if not questions:
        return []
    newest = terms_of(questions[-1])
    weight = EARLIER if len(newest) > FEW else FOLLOWED
    found = {term.stem: term for term in newest}
    for question in reversed(questions[-1 - MOST_EARLIER:-1]):
        for term in terms_of(question, weight):
            found.setdefault(term.stem, term)
        weight *= DECAY
    return list(found.values())


def stem_of(word: str) -> str:
    """The word without its ending; unchanged if it is short or has other characters than letters.
    """
    if not (word.isascii() and word.isalpha()):
        return word
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= STEM:
            stem = word[:-len(suffix)]
            doubled = (len(stem) > STEM and stem[-1] == stem[-2] and stem[-1] not in "lsz"
                       and suffix in ("ed", "ing", "er"))
            return stem[:-1] if doubled else stem
    return word


def lowered(text: str) -> str:
    """The text in lower case, with the same length."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)


def find(term: Term, text: str, small: str) -> Iterator[tuple[int, float]]:
    """(position, weight) of each occurrence of a term in a text; `small` is lowered(text)."""
    stem, size, inside = term.stem, len(term.stem), term.is_inside
    place = small.find(stem)
    while place >= 0:
        if inside:
            yield place, 1.0
        elif _begins(text, small, place):
            value = _value(term, text, small, place + size)
            if value:
                yield place, value
        place = small.find(stem, place + size)


def _begins(text: str, small: str, place: int) -> bool:
    """Whether a word or part of an identifier begins at `place`."""
    if not place:
        return True
    before = small[place - 1]
    if not before.isalnum():
        return True
    if small[place].isdigit():
        return before.isalpha()
    return before.isdigit() or text[place].isupper() and text[place - 1].islower()


def _value(term: Term, text: str, small: str, end: int) -> float:
    """The weight of a match: 1 for the word itself, less for another form, 0 for another word with
    the same beginning.
    """
    if end < len(small) and small[end - 1].isdigit() and small[end].isdigit():
        return 0.0
    letters = (_LARGE if text[end - 1].isupper() and text[end - 2:end].isupper()
               else _SMALL).match(text, end)
    tail = letters.group().lower() if letters else ""
    if term.stem + tail == term.word:
        return 1.0
    if tail and term.stem == term.word and tail not in ("s", "es") and len(term.stem) < 4:
        return 0.0
    if tail in TAILS or tail[:1] == term.stem[-1:] and tail[1:] in TAILS:
        return INFLECTED
    return 0.0


def find_others(term: Term, text: str, small: str) -> Iterator[tuple[int, float]]:
    """(position, weight) of each synonym of a term in a text."""
    for other in term.others:
        for place, value in find(other, text, small):
            yield place, value * OTHER


def in_name(terms: Sequence[Term], name: str) -> list[float]:
    """The weight of each term's occurrence in a path."""
    small = lowered(name)
    return [max((value for _, value in chain(find(term, name, small),
                                             find_others(term, name, small))), default=0.0)
            for term in terms]
