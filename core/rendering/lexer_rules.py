"""Compiles the rules of a Pygments lexer state by state, when they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from core.regex import regex

# these cannot be part of an alternation of several rules
_ALONE = regex(r"\\[1-9]|\(\?[aiLmsuxP(]")
# flags at the start of a pattern, which can be limited to it: (?i)x becomes (?i:x)
_INLINE_FLAGS = regex(r"\(\?([ims]+)\)")
# Replacements for Pygments' patterns of the characters that begin and continue a name, each of
# which takes 17 ms to compile. They include a few more characters, which valid code does not have.
_NAME_BEGIN = r"[^\W\d]"
_NAME_REST = (r"[\w\xb7\u0300-\u1fff\u203f-\u218f\u2cef-\u2dff\u3005-\u30ff\ua66f-\uabff"
              r"\ufe00-\ufe4f\ufb1e\uff3f\U00010000-\U000e01ef]")
_LONG = 1000          # characters from which a pattern may contain such a list
Rule = tuple[Any, Any, Any]             # match function, action, change of state
Find = Callable[[str, int], Rule | None]


class _Pattern:
    """The match function of a rule: a pattern that is compiled on first use."""

    __slots__ = ("pattern", "flags", "_match")

    def __init__(self, pattern: str, flags: int) -> None:
        self.pattern, self.flags = pattern, flags
        self._match: Callable[[str, int], re.Match[str] | None] | None = None

    def __call__(self, text: str, pos: int) -> re.Match[str] | None:
        if self._match is None:
            self._match = re.compile(self.pattern, self.flags).match
        return self._match(text, pos)


class _States(dict[str, Any]):
    """The rules of a lexer by their states; those of a state are read when it is looked up."""

    def __init__(self, lexer: Any) -> None:
        self._lexer, self._written = lexer, lexer.get_tokendefs()

    def __missing__(self, state: str) -> Any:
        return self._lexer._process_state(self._written, self, state)


def lexer_by_states(found: Any) -> Any:
    """A lexer of this class that compiles the patterns of a state when it comes to it.

    Pygments compiles those of all states when a lexer is made: for Python that is 437 patterns. A
    class that has several sets of states chooses one itself.
    """
    if getattr(found, "token_variants", False):
        return found()

    def pattern(regex_or_later: Any, flags: int, state: str) -> _Pattern:
        written = regex_or_later if isinstance(regex_or_later, str) else regex_or_later.get()
        return _Pattern(_shortened(written), flags)
    lazy = type(found)(found.__name__, (found,), {"_process_regex": staticmethod(pattern),
                                                  "_all_tokens": {}, "_tmpname": 0})
    lazy._tokens = _States(lazy)
    return lazy()


def _shortened(pattern: str) -> str:
    if len(pattern) < _LONG:
        return pattern
    from pygments.unistring import xid_continue, xid_start
    return (pattern.replace(f"[{xid_start}]", _NAME_BEGIN)
            .replace(f"[{xid_continue}]", _NAME_REST))


@lru_cache(maxsize=1024)
def first_rule(lexer: Any, state: str) -> Find:
    """A function that finds the first matching rule of a lexer's state at a position, as (match,
    action, change of state).

    Neighbouring rules are joined to one pattern where possible.
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
    group_flags = None      # the last group's flags; None if no rule can be added to it
    for rule in rules:
        _, body, flags = _parts(rule[0])
        alone = _ALONE.search(body) is not None
        if group_flags is None or alone or flags != group_flags:
            groups.append([])
        groups[-1].append(rule)
        group_flags = None if alone else flags
    return groups


def _parts(match: Any) -> tuple[str, str, int]:
    """(letters of the flags at the start of a rule's pattern, the rest of it, the other flags).

    Pygments itself compiles the pattern of a rule that always matches.
    """
    pattern = match if isinstance(match, _Pattern) else match.__self__
    inline = _INLINE_FLAGS.match(pattern.pattern)
    if inline is None:
        return "", pattern.pattern, pattern.flags
    own = sum({getattr(re, letter.upper()) for letter in inline[1]})
    return inline[1], pattern.pattern[inline.end():], pattern.flags & ~own


def _finder(rules: Sequence[Rule]) -> Find:
    if len(rules) == 1:
        match_one, *rest = rules[0]
        return lambda text, pos: (found, *rest) if (found := match_one(text, pos)) else None
    parts = [_parts(rule[0]) for rule in rules]
    joined = "|".join(f"(?P<r{number}>{f'(?{own}:{body})' if own else body})"
                      for number, (own, body, _) in enumerate(parts))
    any_rule = re.compile(joined, parts[0][2] & ~re.DEBUG)
    match_any, places = any_rule.match, {}
    for number, (match_at, action, change) in enumerate(rules):
        # an action that is not a token type needs the match of the rule's own pattern
        taken_apart = None if isinstance(action, tuple) else match_at
        places[any_rule.groupindex[f"r{number}"]] = taken_apart, action, change

    def find(text: str, pos: int) -> Rule | None:
        matched = match_any(text, pos)
        if matched is None:
            return None
        match_at, action, change = places[matched.lastindex or 0]
        return matched if match_at is None else match_at(text, pos), action, change
    return find
