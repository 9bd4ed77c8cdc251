"""Highlights code one line at a time, carrying the lexer's state from line to line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from core.rendering.layout import Run
from core.rendering.lexer_rules import first_rule, lexer_by_states

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
# a page has more colours
_PAGE_STYLES = {**_STYLES,
                ("Keyword",): "keyword",
                ("Keyword", "Type"): "type",
                ("Operator", "Word"): "keyword",
                ("Name", "Class"): "type",
                ("Literal", "Number"): "number",
                ("Generic", "Deleted"): "deleted",
                ("Generic", "Inserted"): "inserted"}
_LINE_BY_LINE = ("JsonLexer", "JsonLdLexer", "YamlLexer", "RubyLexer", "MakefileLexer",
                 "BashSessionLexer",
                 "PythonConsoleLexer", "PowerShellSessionLexer")
_COMMENT = _STYLES["Comment",]


class Highlighter:
    """Splits each line of one code block into runs with styles of the theme or of a page; code in
    an unknown language is not highlighted.
    """

    __slots__ = ("_lexer", "_stack", "_carries", "_in_comment", "_style")

    def __init__(self, language: str, *, page: bool = False) -> None:
        self._style = _page_style if page else _style
        self._lexer: Any
        self._lexer, self._carries = _lexer(language.lower()) if language else (None, False)
        self._stack = ["root"]
        self._in_comment = False

    def line(self, text: str) -> list[Run]:
        """The runs of one line of code."""
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
        # a lexer may raise anything; then the code is shown without highlighting
        except Exception:
            self._lexer = None
            return [("", text)]
        return [(_COMMENT, text[:start]), *runs] if start else runs

    def _code(self, text: str) -> list[Run]:
        before = list(self._stack)
        runs = _runs(self._tokens(text), text, self._style)
        comment = text.find("/*", text.rfind("*/") + 1) if _has_block_comments(self._lexer) else -1
        if comment < 0 or _style_at(runs, comment):
            return runs
        # most lexers recognise a block comment only if it is complete
        self._stack, self._in_comment = before, True
        code = _runs(self._tokens(text[:comment]), text[:comment], self._style)
        return [*code, (_COMMENT, text[comment:])]

    def _tokens(self, text: str) -> list[tuple[Any, str]]:
        if self._carries:
            return self._carry(text + "\n")
        return [(kind, value) for _, kind, value in self._lexer.get_tokens_unprocessed(text + "\n")]

    def _carry(self, text: str) -> list[tuple[Any, str]]:
        """Like RegexLexer.get_tokens_unprocessed(), but keeps the stack of states between lines."""
        found: list[tuple[Any, str]] = []
        pos, idle, end = 0, 0, len(text)
        first_match = first_rule(self._lexer, self._stack[-1])
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
                    first_match = first_rule(self._lexer, self._stack[-1])
            if idle > 100:
                found.append((None, text[pos]))
                if text[pos] == "\n":
                    self._stack = ["root"]
                    first_match = first_rule(self._lexer, "root")
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


def _runs(tokens: list[tuple[Any, str]], text: str, style_of: Callable[[Any], str]) -> list[Run]:
    """Styled runs, as few as possible: white space takes the style before it."""
    runs: list[Run] = []
    style, begin, end = "", 0, 0        # the current run and its position in the text
    for kind, value in tokens:
        value = value.rstrip("\n")
        if value and not value.isspace() and (other := style_of(kind)) != style:
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
    return _nearest(_STYLES, kind)


@lru_cache(maxsize=512)
def _page_style(kind: tuple[str, ...] | None) -> str:
    return _nearest(_PAGE_STYLES, kind)


def _nearest(styles: Mapping[tuple[str, ...], str], kind: tuple[str, ...] | None) -> str:
    """The style of a kind of token, or of the nearest kind that includes it."""
    names = tuple(kind or ())
    while names:
        style = styles.get(names)
        if style is not None:
            return style
        names = names[:-1]
    return ""


@lru_cache(maxsize=32)
def _lexer(language: str) -> tuple[Any, bool]:
    """(lexer, whether its state can be carried from line to line)."""
    from pygments.lexer import ExtendedRegexLexer, RegexLexer
    from pygments.lexers import find_lexer_class_by_name
    from pygments.util import ClassNotFound
    try:
        found = find_lexer_class_by_name(language)
    except ClassNotFound:
        return None, False
    if issubclass(found, RegexLexer) and not issubclass(found, ExtendedRegexLexer):
        return lexer_by_states(found), True
    return (found(), False) if found.__name__ in _LINE_BY_LINE else (None, False)
