"""Decides which files the .gitignore files of a folder and of those above it leave out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MOST_BYTES = 1 << 20         # bytes of one .gitignore that are read
_NAME = "^(?:.+/)?"          # how the library begins a pattern that holds in every folder
_DIRECTORY = "(?:/)"         # how it ends one for directories only
_END = "(?:(?:/)|$)"         # how it ends the others
_ANYTHING = "[^/]*"          # an asterisk


class Quick(NamedTuple):
    """A test of files' names that finds all that patterns may match, and few others.

    Most patterns are a name or an ending, which are looked up. `inside` matches the other patterns
    of a name, `path` those of a path relative to the folder of the .gitignore.
    """

    names: frozenset[str]
    endings: tuple[str, ...]
    inside: re.Pattern[str] | None
    path: re.Pattern[str] | None


class Rules(NamedTuple):
    """One .gitignore: its folder, tests that reject most names, and the exact rules.

    `top` is the length of its folder's path, including the separator. `any` matches what some
    pattern matches, `quick` does so for files in folders that `any` does not match.
    """

    top: int
    any: re.Pattern[str]
    quick: Quick
    spec: GitIgnoreSpec


def is_ignored(path: str, rules: tuple[Rules, ...], *, folder: bool = False) -> bool:
    """Whether a path is ignored; the nearest .gitignore with a matching rule decides."""
    for top, some, _, spec in reversed(rules):
        name = path[top:] + "/" if folder else path[top:]
        if some.match(name):
            said = spec.check_file(name).include
            if said is not None:
                return said
    return False


def ignored_names(folder: str, names: list[str], rules: tuple[Rules, ...]) -> set[str]:
    """Those of the files of a folder that are ignored."""
    doubtful: set[str] = set()
    for top, some, quick, _ in rules:
        inner = folder[top:] + "/" if len(folder) > top else ""
        doubtful.update(names if inner and some.match(inner) else _doubtful(names, inner, quick))
    return {name for name in doubtful if is_ignored(os.path.join(folder, name), rules)}


def _doubtful(names: list[str], inner: str, quick: Quick) -> Iterator[str]:
    """The names that may match a pattern; `inner` is the path of their folder."""
    yield from quick.names.intersection(names)
    for test in filter(None, (quick.inside, quick.path)):
        begin = inner if test is quick.path else ""
        yield from [name for name in names if test.match(begin + name)]
    if quick.endings:
        yield from [name for name in names if name.endswith(quick.endings)]


def with_rules(rules: tuple[Rules, ...], folder: str) -> tuple[Rules, ...]:
    """The rules with those of this folder's .gitignore."""
    try:
        with open(os.path.join(folder, ".gitignore"), encoding="utf-8", errors="replace") as file:
            lines = file.read(MOST_BYTES).splitlines()
    except OSError:
        return rules
    from pathspec import GitIgnoreSpec
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError:
        spec = GitIgnoreSpec.from_lines([line for line in lines if _is_pattern(line)])
    sources = [re.sub(r"[(][?]P<[^>]*>", "(?:", pattern.regex.pattern)
               for pattern in spec.patterns if pattern.regex is not None]
    some = _one_of(sources)
    if some is None:
        return rules
    return (*rules, Rules(len(folder.rstrip(os.sep)) + 1, some, _quick(sources), spec))


def _quick(sources: list[str]) -> Quick:
    """The test of names for these regular expressions of patterns."""
    names, endings, inside, path = [], [], [], []
    for source in sources:
        body = source.removeprefix(_NAME).removesuffix(_END)
        if source.endswith(_DIRECTORY):
            continue       # matches no file, except in a folder that it matches
        if len(body) != len(source) - len(_NAME) - len(_END) or "/" in body.replace("[^/]", ""):
            path.append(source)
        elif _is_literal(body):
            names.append(_literal(body))
        elif body.startswith(_ANYTHING) and _is_literal(body[len(_ANYTHING):]):
            endings.append(_literal(body[len(_ANYTHING):]))
        else:
            inside.append(f"^{body}$")
    return Quick(frozenset(names), tuple(endings), _one_of(inside), _one_of(path))


def _one_of(sources: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{source})" for source in sources)) if sources else None


def _is_literal(source: str) -> bool:
    return re.escape(_literal(source)) == source


def _literal(source: str) -> str:
    return re.sub(r"\\(.)", r"\1", source)


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def outer_rules(top: str) -> tuple[Rules, ...]:
    """The rules of the parent folders up to the repository's root; none outside a repository."""
    above: list[str] = []
    folder = top
    while not os.path.lexists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return ()
        folder = parent
        above.append(folder)
    rules: tuple[Rules, ...] = ()
    for folder in reversed(above):
        rules = with_rules(rules, folder)
    return rules
