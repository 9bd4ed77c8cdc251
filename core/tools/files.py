"""Tools that read, list and search the user's files in the allowed places."""

from __future__ import annotations

import fnmatch
import io
import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO

from core.errors import ToolError
from core.safe_text import safe_line
from core.text_encoding import GUESSED, UTF8, NotText, encoding_of
from core.tools import ToolContext, tool
from core.tools.guards.files import Entry, open_file, shown_path, walk_files

MOST_CHARACTERS = 40_000     # characters of one result
LONGEST_LINE = 2_000
SEARCHED = 20 << 20          # bytes of a file that are searched
SKIPPED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv",
                     ".mypy_cache", ".tox"})
Path = Annotated[str, "path, relative to the working directory or absolute"]
Glob = Annotated[str, "only names like this, such as *.py", {"maxLength": 200}]


@tool(private=True, safe=True)
def read_file(context: ToolContext, path: Path,
              start_line: Annotated[int, "first line, counted from 1", {"minimum": 1}] = 1,
              lines: Annotated[int, "how many lines",
                               {"minimum": 1, "maximum": 5_000}] = 500) -> str:
    """Read a text file, or some of its lines. Says how much there is."""
    taken: list[str] = []
    size = number = 0
    with open_text(context, path) as text:
        encoding = text.encoding
        for number, line in enumerate(_lines(text, context), 1):
            if start_line <= number < start_line + lines and size < MOST_CHARACTERS:
                taken.append(line)
                size += len(line) + 1
    if not taken:
        return ("(the file is empty)" if number == 0
                else f"(the file has {number} lines, none from {start_line} on)")
    end = start_line + len(taken) - 1
    whole = start_line == 1 and end == number
    said = f"{number} lines" if whole else f"lines {start_line} to {end} of {number}"
    guessed = "" if encoding in (UTF8, "utf-16", "utf-32") else f", not UTF-8, read as {encoding}"
    head = f"[{said}{guessed}]"
    return head + "\n" + "\n".join(taken)


@tool(private=True, safe=True)
def list_files(context: ToolContext, path: Path = ".", pattern: Glob = "*",
               depth: Annotated[int, "levels of directories", {"minimum": 1, "maximum": 20}] = 1,
               max_entries: Annotated[int, "", {"minimum": 1, "maximum": 2_000}] = 300) -> str:
    """List a directory: names, sizes in bytes; directories end in /."""
    found: list[str] = []
    more = 0
    for entry in walk_files(context, path, depth):
        if not fnmatch.fnmatch(os.path.basename(entry.path), pattern):
            continue
        if len(found) < max_entries:
            found.append(_listed(context, entry))
        else:
            more += 1
    if not found:
        return "(nothing)"
    return "\n".join(found) + (f"\n[{more} more are not shown]" if more else "")


@tool(private=True, safe=True, timeout=60)
def search_files(context: ToolContext,
                 text: Annotated[str, "plain text to find in lines",
                                 {"minLength": 1, "maxLength": 500}],
                 path: Path = ".", pattern: Glob = "*", ignore_case: bool = True,
                 max_matches: Annotated[int, "", {"minimum": 1, "maximum": 1_000}] = 100) -> str:
    """Find lines that contain a text (no regular expression) in the files below a directory:
    file:line: text.
    """
    found: list[str] = []
    searched = unread = 0
    for entry in walk_files(context, path, 30):
        name = os.path.basename(entry.path)
        if entry.is_directory or _is_skipped(context, entry.path) or not fnmatch.fnmatch(name,
                                                                                         pattern):
            continue
        try:
            found.extend(_matches(context, entry, text, ignore_case=ignore_case,
                                  most=max_matches - len(found)))
            searched += 1
        except ToolError:
            context.check_stop()
            unread += 1
        if len(found) >= max_matches:
            return "\n".join(found) + f"\n[stopped at {max_matches} matches; there may be more]"
    note = (f"[{len(found)} matches in {searched} files"
            + (f"; {unread} binary or unreadable files left out]" if unread else "]"))
    return "\n".join([*found, note])


def open_text(context: ToolContext, path: str) -> io.TextIOWrapper:
    """A file opened as text, in the encoding of its beginning; bytes that cannot be decoded become
    U+FFFD. Raises ToolError for binary files.
    """
    file = open_file(context, path)
    try:
        encoding = _encoding(file, path)
    except BaseException:
        file.close()
        raise
    return io.TextIOWrapper(file, encoding, errors="replace", newline=None)


def _encoding(file: BinaryIO, path: str) -> str:
    start = file.read(GUESSED)
    file.seek(0)
    try:
        return encoding_of(start, cut=len(start) == GUESSED)[0]
    except NotText as problem:
        if not problem.binary:
            return UTF8
        raise ToolError(f"{safe_line(path, 200)!r} is a binary file.") from None


def _lines(text: io.TextIOWrapper, context: ToolContext) -> Iterator[str]:
    """Lines without their ends; long lines are cut, with a note."""
    while True:
        line = text.readline(LONGEST_LINE + 1)
        if not line:
            return
        context.check_stop()
        left_out = 0
        while not line.endswith("\n") and (more := text.readline(1 << 16)):
            left_out += len(more)
            if more.endswith("\n"):
                break
        yield line.rstrip("\n") + (f" [\u2026 {left_out} more characters in this line]" if left_out
                                   else "")


def _matches(context: ToolContext, entry: Entry, wanted: str, *, ignore_case: bool,
             most: int) -> list[str]:
    needle = wanted.lower() if ignore_case else wanted
    found = []
    if entry.size > SEARCHED:
        raise ToolError("too large")
    with open_text(context, entry.path) as text:
        for number, line in enumerate(_lines(text, context), 1):
            if needle in (line.lower() if ignore_case else line):
                found.append(f"{shown_path(context, entry.path)}:{number}: {line.strip()[:300]}")
                if len(found) >= most:
                    break
    return found


def _is_skipped(context: ToolContext, path: str) -> bool:
    return not SKIPPED.isdisjoint(shown_path(context, path).split(os.sep))


def _listed(context: ToolContext, entry: Entry) -> str:
    name = shown_path(context, entry.path)
    return f"{name}/" if entry.is_directory else f"{name}  {entry.size}"
