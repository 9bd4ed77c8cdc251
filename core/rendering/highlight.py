"""Roles for the pieces of code, one line at a time:
the lexer's state is carried from line to line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from core.regex import regex
from core.rendering.layout import Run

# strings and numbers stand out, what is defined is bold, comments are dim
_STYLES: dict[tuple[str, ...], str] = {
    ("Literal", "String"): "accent",
    ("Literal", "Number"): "accent",
    ("Comment",): "dim",
    ("Comment", "Preproc"): "",
    ("Name", "Function"): "bold",
    ("Name", "Class"): "bold",
    ("Name", "Tag"): "bold",
    ("Generic", "Deleted"): "dim",
    ("Generic", "Inserted"): "accent",
    ("Generic", "Heading"): "bold",
    ("Generic", "Subheading"): "bold",
    ("Generic", "Prompt"): "dim",
}
_LINE_BY_LINE = ("JsonLexer", "JsonLdLexer", "YamlLexer", "RubyLexer", "MakefileLexer",
                 "BashSessionLexer",
                 "PythonConsoleLexer", "PowerShellSessionLexer")
# these cannot be part of an alternation of several rules
_OWN_FLAGS = regex(r"\\[1-9]|\(\?[aiLmsux(]")
# flags at the start of a pattern, which can be limited to it: (?i)x becomes (?i:x)
_INLINE_FLAGS = regex(r"\(\?([ims]+)\)")
_COMMENT = _STYLES["Comment",]
Rule = tuple[Any, Any, Any]             # what matches, what it does, how it changes the state
Find = Callable[[str, int], Rule | None]


class Highlighter:
    """Gives each line of one code block its runs, each with a role of the theme.

    An unknown language stays plain.
    """

    __slots__ = ("_lexer", "_stack", "_carries", "_in_comment")

    def __init__(self, language: str) -> None:
        self._lexer: Any
        self._lexer, self._carries = _lexer(language.lower()) if language else (None, False)
        self._stack = ["root"]
        self._in_comment = False

    def line(self, text: str) -> list[Run]:
        if self._lexer is None or not text:
            return [("", text)]
        start = 0
        if self._in_comment:
            start = text.find("*/") + 2
            if start < 2:
                return [(_COMMENT, text)]
            self._in_comment = False
        try:
            runs = self._code(text[start:])
        # a third party's lexer may fail in any way; the code is worth more than its colours
        except Exception:
            self._lexer = None
            return [("", text)]
        return [(_COMMENT, text[:start]), *runs] if start else runs

    def _code(self, text: str) -> list[Run]:
        before = list(self._stack)
        runs = _runs(self._tokens(text), text)
        comment = text.find("/*", text.rfind("*/") + 1) if _has_block_comments(self._lexer) else -1
        if comment < 0 or _style_at(runs, comment):
            return runs
        # most lexers see a block comment only as a whole
        self._stack, self._in_comment = before, True
        return [*_runs(self._tokens(text[:comment]), text[:comment]), (_COMMENT, text[comment:])]

    def _tokens(self, text: str) -> list[tuple[Any, str]]:
        if self._carries:
            return self._carry(text + "\n")
        return [(kind, value) for _, kind, value in self._lexer.get_tokens_unprocessed(text + "\n")]

    def _carry(self, text: str) -> list[tuple[Any, str]]:
        """What RegexLexer.get_tokens_unprocessed does,
        but its stack of states outlives the line.
        """
        found: list[tuple[Any, str]] = []
        pos, idle, end = 0, 0, len(text)
        first_match = _rules(self._lexer, self._stack[-1])
        while pos < end:
            rule = first_match(text, pos)
            if rule is None:
                idle = 1000
            else:
                matched, action, change = rule
                self._act(action, matched, found)
                idle = idle + 1 if matched.end() == pos else 0
                pos = matched.end()
                if change is not None:
                    self._move(change)
                    first_match = _rules(self._lexer, self._stack[-1])
            if idle > 100:
                found.append((None, text[pos]))
                if text[pos] == "\n":
                    self._stack = ["root"]
                    first_match = _rules(self._lexer, "root")
                pos, idle = pos + 1, 0
        return found

    def _act(self, action: Any, matched: Any, found: list[tuple[Any, str]]) -> None:
        if action is None:
            return
        if isinstance(action, tuple):
            found.append((action, matched.group()))
            return
        found.extend((kind, value) for _, kind, value in action(self._lexer, matched))

    def _move(self, change: Any) -> None:
        for step in change if isinstance(change, tuple) else () if change is None else (change,):
            if step == "#pop":
                self._pop(1)
            elif isinstance(step, int):
                self._pop(-step)
            elif step == "#push":
                self._stack.append(self._stack[-1])
            else:
                self._stack.append(step)

    def _pop(self, count: int) -> None:
        del self._stack[max(len(self._stack) - count, 1):]


@lru_cache(maxsize=1024)
def _rules(lexer: Any, state: str) -> Find:
    """What finds the first rule of a lexer's state that matches at a place:
    its match, action and change of state.

    Neighbouring rules are joined to one pattern as far as they can be.
    """
    finders = [_finder(rules) for rules in _joinable(lexer._tokens[state])]
    if len(finders) == 1:
        return finders[0]

    def find(text: str, pos: int) -> Rule | None:
        for finder in finders:
            found = finder(text, pos)
            if found is not None:
                return found
        return None
    return find


def _joinable(rules: Sequence[Rule]) -> list[list[Rule]]:
    """The rules in order, grouped where one pattern can replace several."""
    groups: list[list[Rule]] = []
    group_flags = None      # of the last group; None where nothing can be added to it
    for rule in rules:
        own, body, flags = _parts(rule[0].__self__)
        alone = bool(rule[0].__self__.groupindex) or _OWN_FLAGS.search(body) is not None
        if group_flags is None or alone or flags != group_flags:
            groups.append([])
        groups[-1].append(rule)
        group_flags = None if alone else flags
    return groups


def _parts(pattern: re.Pattern[str]) -> tuple[str, str, int]:
    """The letters of the flags at its start, what follows them, and the other flags."""
    inline = _INLINE_FLAGS.match(pattern.pattern)
    if inline is None:
        return "", pattern.pattern, pattern.flags
    own = sum({getattr(re, letter.upper()) for letter in inline[1]})
    return inline[1], pattern.pattern[inline.end():], pattern.flags & ~own


def _finder(rules: Sequence[Rule]) -> Find:
    patterns = [rule[0].__self__ for rule in rules]
    if len(rules) == 1:
        match_one, *rest = rules[0]
        return lambda text, pos: (found, *rest) if (found := match_one(text, pos)) else None
    places, number = {}, 1
    for (match_at, action, change), pattern in zip(rules, patterns, strict=True):
        # an action that is no token type takes the match of the rule's own pattern apart
        places[number] = None if isinstance(action, tuple) else match_at, action, change
        number += pattern.groups + 1
    parts = list(map(_parts, patterns))
    joined = "|".join(f"((?{own}:{body}))" if own else f"({body})" for own, body, _ in parts)
    match_any = re.compile(joined, parts[0][2] & ~re.DEBUG).match

    def find(text: str, pos: int) -> Rule | None:
        matched = match_any(text, pos)
        if matched is None:
            return None
        match_at, action, change = places[matched.lastindex or 0]
        return matched if match_at is None else match_at(text, pos), action, change
    return find


def _runs(tokens: list[tuple[Any, str]], text: str) -> list[Run]:
    """Styled runs, as few as possible: white space takes the style before it."""
    runs: list[Run] = []
    style, begin, end = "", 0, 0        # of the run so far: its place in the text
    for kind, value in tokens:
        value = value.rstrip("\n")
        if value and not value.isspace() and (other := _style(kind)) != style:
            if end > begin:
                runs.append((style, text[begin:end]))
            style, begin = other, end
        if not text.startswith(value, end):
            return [("", text)]
        end += len(value)
    if end > begin:
        runs.append((style, text[begin:end]))
    return runs if end == len(text) else [("", text)]


def _style_at(runs: list[Run], place: int) -> str:
    for style, text in runs:
        if place < len(text):
            return style
        place -= len(text)
    return ""


@lru_cache(maxsize=32)
def _has_block_comments(lexer: Any) -> bool:
    return next((_style(kind) for _, kind,
                 value in lexer.get_tokens_unprocessed("/* */\n") if value), "") == _COMMENT


@lru_cache(maxsize=512)
def _style(kind: tuple[str, ...] | None) -> str:
    names = tuple(kind or ())
    while names:
        style = _STYLES.get(names)
        if style is not None:
            return style
        names = names[:-1]
    return ""


@lru_cache(maxsize=32)
def _lexer(language: str) -> tuple[Any, bool]:
    """The lexer, and whether its state can be carried over lines."""
    from pygments.lexer import ExtendedRegexLexer, RegexLexer
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return None, False
    if isinstance(lexer, RegexLexer) and not isinstance(lexer, ExtendedRegexLexer):
        return lexer, True
    return (lexer, False) if type(lexer).__name__ in _LINE_BY_LINE else (None, False)
