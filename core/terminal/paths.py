"""Completes a path that is being typed: after a command, or in a line for the shell."""

from __future__ import annotations

import os
from collections.abc import Iterator

from core.dataclass import dataclass
from core.regex import regex

MOST = 200              # most names that are offered
_PLAIN = regex(r"[^\s\"'\\]*")
_SPECIAL = regex(r"[^\w@%+=:,./~^-]")       # to a shell
_BREAKS = " \t;|&()<>"                      # between words of a shell


@dataclass(frozen=True, slots=True)
class Word:
    """The word at the end of what was typed: as written, its value, and the quote it is in."""

    written: str
    meant: str
    quote: str
    is_first: bool      # it is the first word of its command


def last_word(text: str) -> Word:
    """Read quotes and backslashes as a shell does."""
    start, meant, quote, is_first, began = 0, "", "", True, False
    place = 0
    while place < len(text):
        sign = text[place]
        if quote:
            if sign == "\\" and quote == '"' and text[place + 1:place + 2] in ('"', "\\", "$", "`"):
                place += 1
                meant += text[place:place + 1]
            elif sign == quote:
                quote = ""
            else:
                meant += sign
        elif sign in _BREAKS:
            is_first = sign not in " \t<>" or is_first and not began
            start, meant, began = place + 1, "", False
        elif sign in "\"'":
            quote, began = sign, True
        else:
            place += sign == "\\"
            meant += text[place:place + 1]
            began = True
        place += 1
    return Word(text[start:], meant, quote, is_first)


def path_matches(typed: str) -> Iterator[str]:
    """Completions of a command's argument, in quotes where they contain spaces or quotes."""
    quote = typed[:1] if typed[:1] in ("'", '"') else ""
    begun = typed[1:] if quote else last_word(typed).meant if "\\" in typed else typed
    for path in _paths(begun):
        yield path if not quote and _PLAIN.fullmatch(path) else _quoted(path, quote or '"')


def shell_matches(line: str, path: str, *, asked: bool) -> tuple[int, list[str]]:
    """How many characters of a shell's line are completed, and their completions. Programs (in the
    folders of `path`) and empty words are completed only when `asked` for.
    """
    word = last_word(line)
    is_program = word.is_first and "/" not in word.meant
    if not asked and (is_program or not word.meant):
        return 0, []
    if is_program:
        return len(word.written), _programs(word.meant, path)
    return len(word.written), [_written(name, word) for name in _paths(word.meant)]


def _paths(typed: str) -> Iterator[str]:
    """Names that begin with it; folders end with /, hidden names are listed only when asked for."""
    folder, begun = os.path.split(typed)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries
                           if entry.name.lower().startswith(begun.lower())
                           and "\n" not in entry.name
                           and (begun or not entry.name.startswith(".")))
    except OSError:
        return
    for name, is_folder in found[:MOST]:
        yield os.path.join(folder, name) + ("/" if is_folder else "")


def _programs(begun: str, path: str) -> list[str]:
    """The programs in the folders of `path` that begin with it."""
    found = set[str]()
    for folder in filter(None, path.split(os.pathsep)):
        try:
            with os.scandir(folder) as entries:
                found.update(entry.name for entry in entries
                             if entry.name.startswith(begun) and os.access(entry.path, os.X_OK))
        except OSError:
            continue
    return [f"{name} " for name in sorted(found)[:MOST]] if begun else []


def _quoted(path: str, quote: str) -> str:
    """In quotes that it does not contain: the reader may not support escapes."""
    fitting = [mark for mark in (quote, '"', "'") if mark not in path]
    kept = next((mark for mark in fitting if mark == "'" or "\\" not in path), (*fitting, quote)[0])
    return f"{kept}{path}{kept}"


def _written(name: str, word: Word) -> str:
    """As a shell reads it: in the quotes that were opened, or with backslashes."""
    quote, begun = word.quote, word.meant
    if quote == "'":
        return quote + name.replace("'", "'\\''") + quote
    if quote:
        return quote + "".join(f"\\{sign}" if sign in '"\\$`' else sign for sign in name) + quote
    written = "".join(f"\\{sign}" if sign.isascii() and _SPECIAL.match(sign) else sign
                      for sign in name)
    return f"\\{written}" if name.startswith("~") and not begun.startswith("~") else written
