"""Checks an answer's quotations and `file:line` references against attached texts, without a model.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO

from core.dataclass import dataclass
from core.regex import regex

SHORTEST = 4            # words, or
LONG = 24               # characters: shorter text in quotation marks is a name or an emphasis
NEAR = 80               # characters after a quotation within which its source is looked for
SHOWN = 60              # characters of a quotation that a problem repeats
MOST_PROBLEMS = 5       # problems that are described; others are only counted

_PAIRS = {"\u201c": "\u201d", "\u201e": "\u201c\u201d", "\u00ab": "\u00bb", "\u2018": "\u2019",
          '"': '"'}
_QUOTED = regex("|".join(f"{opening}([^{opening}{closing}\n]{{2,2000}})[{closing}]"
                         for opening, closing in _PAIRS.items()))
_BLOCK = regex(r"(?m)(?:^ {0,3}> ?.*\n?)+")
_FENCE = regex(r"(?ms)^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1[`~]* *$|\Z)")
_ELLIPSIS = regex(r"\s*(?:\[\s*(?:\.\.\.|\u2026)\s*\]|\.\.\.|\u2026)\s*")
_LINES = (r"(?:\s*[:#]\s*L?|,?\s*\(?\s*(?:at\s+|on\s+)?lines?\s+)(\d{1,7})"
          r"(?:\s*(?:-|\u2013|to)\s*L?(\d{1,7}))?")

# Typography that is ignored: quotation marks, dashes, spaces, hyphenation, ligatures (NFKC).
_PLAIN: dict[int, str | None] = {ord(mark): "'" for mark in "\u2018\u2019\u201a\u201b\u2032`"}
_PLAIN |= {ord(mark): '"' for mark in "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033"}
_PLAIN |= {ord(mark): "-" for mark in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"}
_PLAIN |= {ord(mark): None for mark in "\u00ad\u200b\u200c\u200d\u2060\ufeff*"}
_EDGES = " \t.,;:!?\u2026"


@dataclass(frozen=True, slots=True)
class Cited:
    """One reference in an answer: `words` is "" for a bare `file:line`; `name` is "" if no file is
    named.
    """

    words: str
    name: str = ""
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """The result: the number of references, the number of correct ones, and a sentence for each
    other one.
    """

    count: int
    found: int
    problems: tuple[str, ...]

    @property
    def line(self) -> str:
        """The result in one sentence."""
        what = "reference" if self.count == 1 else "references"
        if self.found == self.count:
            return f"{self.count} {what} to the attached files checked: correct."
        shown = "; ".join(self.problems[:MOST_PROBLEMS])
        more = len(self.problems) - MOST_PROBLEMS
        return (f"{self.found} of {self.count} {what} found; "
                f"{shown}{f'; and {more} more' if more > 0 else ''}.")


class Material:
    """One attached text, prepared for many searches. Lines count from 1."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._starts = array("Q")       # a list would take hundreds of MB for millions of lines
        written, length = StringIO(), 0
        for line in _lines(text):
            self._starts.append(length)
            words = plain(line)
            if words:
                length += written.write(words) + written.write(" ")
        self._text = written.getvalue()[:-1]
        self.lines = len(self._starts) - (text.endswith("\n") or not text)

    def places(self, words: str) -> Iterator[tuple[int, int]]:
        """(first line, last line) of each occurrence of these words, as whole words in order."""
        for start, end in self._spans(words):
            yield bisect_right(self._starts, start), bisect_right(self._starts, end - 1)

    def holds(self, quotation: str) -> list[tuple[int, int]]:
        """(first line, last line) of each occurrence of a quotation; its parts around an ellipsis
        must follow each other. Empty if it does not occur.
        """
        parts = [part for part in map(plain, _ELLIPSIS.split(quotation)) if part.strip(_EDGES)]
        if not parts:
            return []
        if len(parts) == 1:
            return list(self.places(parts[0]))
        found: list[tuple[int, int]] = []
        at = 0
        for part in parts:
            span = next(self._spans(part, at), None)
            if span is None:
                return []
            at = span[1]
            found.append((bisect_right(self._starts, span[0]),
                          bisect_right(self._starts, span[1] - 1)))
        return [(found[0][0], found[-1][1])]

    def _spans(self, words: str, start: int = 0) -> Iterator[tuple[int, int]]:
        wanted = words.strip(_EDGES)
        if not wanted:
            return
        # a quotation may begin a sentence, or continue one
        other = wanted[0].swapcase() + wanted[1:]
        for form in dict.fromkeys((wanted, other)):
            at = self._text.find(form, start)
            while at >= 0:
                end = at + len(form)
                if self._is_edge(at, form[0]) and self._is_edge(end, form[-1]):
                    yield at, end
                at = self._text.find(form, at + 1)

    def _is_edge(self, place: int, own: str) -> bool:
        """Whether a word may begin or end at `place`; `own` is the quotation's adjacent character.
        """
        if not own.isalnum() or place <= 0 or place >= len(self._text):
            return True
        before, after = self._text[place - 1], self._text[place]
        return not (before.isalnum() and after.isalnum())


def _lines(text: str) -> Iterator[str]:
    """The lines of split("\\n"), one at a time."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def plain(text: str) -> str:
    """The text without differences in spacing and typography."""
    return " ".join(unicodedata.normalize("NFKC", text.translate(_PLAIN)).translate(_PLAIN).split())


def check_answer(answer: str, materials: Sequence[Material]) -> Checked:
    """Check all quotations and references of an answer."""
    cited = list(references(answer, [material.name for material in materials]))
    known = {material.name: material for material in materials}
    problems = [problem for each in cited if (problem := _problem(each, known))]
    return Checked(len(cited), len(cited) - len(problems), tuple(problems))


# ---- what an answer refers to

def references(answer: str, names: Sequence[str]) -> Iterator[Cited]:
    """The quotations and references in an answer, in no particular order; fenced code is skipped.
    """
    text = _FENCE.sub("\n", answer)
    taken: list[tuple[int, int]] = []
    places = list(_places(text, names))
    for start, end, words in _quotations(text):
        near = next((place for place in places if end <= place[0] <= end + NEAR
                     and "\n\n" not in text[end:place[0]]), None)
        if near is None:
            before = [place for place in places if place[1] <= start and start - place[1] <= NEAR
                      and "\n" not in text[place[1]:start]]
            near = before[-1] if before else None
        if near is not None:
            taken.append(near[:2])
            yield Cited(words, *near[2:])
        else:
            yield Cited(words)
    for start, end, name, first, last in places:
        if first and (start, end) not in taken:
            yield Cited("", name, first, last)


def _quotations(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, words) of each quotation."""
    blocks: list[tuple[int, int]] = []
    for match in _BLOCK.finditer(text):
        words = " ".join(line.lstrip().removeprefix(">") for line in match[0].splitlines()).strip()
        words = words.strip("\u201c\u201d\" ")
        blocks.append(match.span())
        if _is_quotation(words):
            yield match.start(), match.end(), words
    for match in _QUOTED.finditer(text):
        words = next(group for group in match.groups() if group is not None)
        if _is_quotation(words) and not any(start <= match.start() < end for start, end in blocks):
            yield match.start(), match.end(), words


def _is_quotation(words: str) -> bool:
    return len(words.split()) >= SHORTEST or len(words.strip()) >= LONG


def _places(text: str, names: Sequence[str]) -> Iterator[tuple[int, int, str, int, int]]:
    """(start, end, full name, first line, last line) of each reference to a file; lines are 0 if
    not given.
    """
    forms = _forms(names)
    if not forms:
        return
    written = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    for match in re.finditer(rf"(?<![\w/.-])`?({written})`?(?:{_LINES})?(?![\w])", text):
        first = int(match[2] or 0)
        yield match.start(), match.end(), forms[match[1]], first, int(match[3] or first)


def _forms(names: Sequence[str]) -> Mapping[str, str]:
    """{form: full name} of how an answer may write names: in full, or by the last part if that is
    unique.
    """
    forms: dict[str, str] = {}
    last: dict[str, list[str]] = {}
    for name in names:
        forms[name] = name
        last.setdefault(name.replace("\\", "/").rpartition("/")[2], []).append(name)
    for short, owners in last.items():
        if len(owners) == 1 and len(short) >= 3:
            forms.setdefault(short, owners[0])
    return forms


# ---- what is wrong with a reference

def _problem(cited: Cited, known: Mapping[str, Material]) -> str:
    """What is wrong with a reference, as a clause; "" if it is correct."""
    material = known.get(cited.name)
    if not cited.words:
        if material is None or cited.last <= material.lines and cited.first <= cited.last:
            return ""
        return f"{cited.name} has {material.lines:,} lines, not {max(cited.first, cited.last):,}"
    shown = _shortened(cited.words)
    if material is None:
        return ("" if any(each.holds(cited.words) for each in known.values())
                else f"{shown} is not in the attached files")
    places = material.holds(cited.words)
    if not places:
        elsewhere = next((each.name for each in known.values() if each.holds(cited.words)), "")
        differs = f" (line {cited.first} differs)" if cited.first else ""
        return f"{shown} is not in {cited.name}{f' but in {elsewhere}' if elsewhere else differs}"
    if not cited.first or any(first <= cited.last and last >= cited.first
                              for first, last in places):
        return ""
    return f"{shown} is in line {places[0][0]} of {cited.name}, not in line {cited.first}"


def _shortened(words: str) -> str:
    line = " ".join(words.split())
    return f"\u201c{line if len(line) <= SHOWN else line[:SHOWN - 1] + chr(0x2026)}\u201d"
