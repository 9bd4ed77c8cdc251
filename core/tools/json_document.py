"""Streams the values at a path of a JSON or NDJSON document, in memory independent of its size.

Limits of ijson: its prefixes cannot express a key that is named "item" or contains a dot, so the
rest of a path from such a key on is followed in Python; and [*] also matches the key "item" of an
object. With floats instead of Decimals, it rejects integers over 64 bits. yajl parses a long string
again from its start with each piece.
"""

from __future__ import annotations

import json
import os
import re
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from core.errors import ToolError
from core.regex import regex
from core.safe_text import safe_line
from core.tools import ToolContext
from core.tools.json_duplicates import Duplicates

CHUNK = 1 << 16
SLICE = 1 << 10
LONGEST_STRING = 16 << 20
MOST_BLOCKS = 300_000         # Python objects of one entry, about 30 MB
MOST_GROWTH = 40 << 20        # bytes by which the process may grow
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
Step = str | int | None       # a key, an index, or every element

STEP = regex(r"""(?:^|\.)([A-Za-z_$][\w$-]*)   # a key
                      | \[(\d{1,12})\]               # an index
                      | (\[\*\]|\[\])                # every element
                      | \[("(?:[^"\\]|\\.)*")\]      # a key of any characters""", re.X)


class Damage(Exception):
    """The document is damaged at this offset in bytes, for this reason."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


def parse_path(text: str) -> tuple[Step, ...] | None:
    """The steps of a path; None if it is not a plain one."""
    text = text.strip().removeprefix("$").removeprefix(".")
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = STEP.match(text, position)
        if found is None or position and found[1] and text[position] != ".":
            return None
        key, index, every, quoted = found.groups()
        steps.append(
            key
            if key is not None
            else int(index) if index is not None else None if every else str(json.loads(quoted))
        )
        position = found.end()
    return tuple(steps)


# ---- the stream

class Document:
    """A file of one or many JSON values, which can be read several times in pieces."""

    def __init__(self, context: ToolContext, file: BinaryIO, start: int) -> None:
        self.context, self.file, self.start = context, file, start
        self.size = os.fstat(file.fileno()).st_size
        self.duplicates: Duplicates | None = None      # records duplicate keys
        self.many, self.opening = self._look()

    def _look(self) -> tuple[bool, str]:
        """(whether there are several values (NDJSON), the first value's first character). It is
        NDJSON if the first line is complete JSON.
        """
        self.file.seek(self.start)
        head = self.file.read(CHUNK).lstrip()
        first, end, rest = head.partition(b"\n")
        try:
            json.loads(first)
            many = bool(end and rest.strip())
        except (ValueError, RecursionError):
            many = (
                bool(end)
                and first.rstrip().endswith(b"}")
                and re.match(rb'\s*\{\s*"', rest) is not None
            )
        return many, head[:1].decode("latin-1")

    def items(self, prefix: str) -> Iterator[Any]:
        """The values at an ijson prefix. Raises Damage after those that can be read, and ToolError
        for a value that is too large.
        """
        if self.many and not prefix:
            yield from self._lines()
            return
        import ijson
        source = Source(self, prefix)
        objects = self.duplicates.new_object if self.duplicates else None
        try:
            for value in ijson.items(source, prefix, buf_size=CHUNK, multiple_values=self.many,
                                     map_type=objects):
                source.delivered = True
                yield value
        except (ijson.JSONError, ValueError, UnicodeDecodeError) as problem:
            raise self.damage(source, problem) from None

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of the file's pieces. Raises ToolError for a text that is too long."""
        self.file.seek(self.start)
        offset = last_quote = self.start
        while chunk := self.file.read(CHUNK):
            self.context.check_stop()
            last_quote = offset if b'"' in chunk or b"," in chunk else last_quote
            if offset - last_quote > LONGEST_STRING:
                raise ToolError(
                    f"The text at byte {last_quote:,} is longer than {LONGEST_STRING >> 20} MB.",
                    "It is not read.",
                )
            size = SLICE if _may_nest(chunk) else CHUNK
            for begin in range(0, len(chunk), size):
                yield offset + begin, chunk[begin:begin + size]
            offset += len(chunk)

    def _lines(self) -> Iterator[Any]:
        """The values of NDJSON, parsed line by line, so that a damaged line does not affect earlier
        ones.
        """
        self.file.seek(self.start)
        offset = self.start
        parse = json.JSONDecoder(
            object_pairs_hook=self.duplicates.from_pairs if self.duplicates else None).decode
        while line := self.file.readline(MOST_GROWTH):
            if len(line) >= MOST_GROWTH:
                raise ToolError(
                    f"The line at byte {offset:,} is longer than {MOST_GROWTH >> 20} MB.",
                    "Use a filter path.",
                )
            self.context.check_stop()
            if not line.isspace():
                yield _parse_line(line, offset, parse)
            offset += len(line)

    def damage(self, source: Source, problem: Exception) -> Damage:
        """The damage with its exact offset, found by parsing the last piece again byte by byte."""
        import ijson
        if source.ended:
            return Damage(self.size, f"it is truncated ({reason_of(problem)})")
        parser = ijson.basic_parse_coro(_Nothing(), multiple_values=self.many)
        for begin, chunk in self.pieces():
            parts = (
                [chunk]
                if begin < source.offset
                else [chunk[at:at + 1] for at in range(len(chunk))]
            )
            for at, piece in enumerate(parts):
                try:
                    parser.send(piece)
                except (ijson.JSONError, ValueError, UnicodeDecodeError, StopIteration):
                    return Damage(begin + at, reason_of(problem))
        return Damage(self.size, reason_of(problem))


class Source:
    """A document as a file object for ijson, which checks the memory before each piece."""

    def __init__(self, document: Document, prefix: str) -> None:
        self._pieces = document.pieces()
        self._prefix = prefix
        self._watch = _Watch()
        self.offset, self.ended, self.delivered = document.start, False, False

    def read(self, size: int = -1) -> bytes:
        if size == 0:   # ijson checks whether the file is binary
            return b""
        if self.delivered:
            self._watch.reset()
        else:
            self._watch.check(self._prefix)
        self.delivered = False
        self.offset, piece = next(self._pieces, (self.offset, b""))
        self.ended = not piece
        return piece


def _may_nest(chunk: bytes) -> bool:
    """Whether this piece may be deeply nested: ijson keeps a path for each level, so memory grows
    quadratically.

    Such a piece is fed in slices with a memory check after each. Brackets in strings also count,
    which only costs time.
    """
    brackets = chunk.translate(None, NO_BRACKETS)
    opened = brackets.count(b"[") + brackets.count(b"{")
    return opened > 3_000 or 2 * opened > len(brackets) + 200


class _Nothing:
    def send(self, event: Any) -> None: ...


class _Watch:
    """Detects a value that is too large, by the blocks and memory of the whole process, which are
    only approximate.
    """

    def __init__(self) -> None:
        self._memory = memory_used()
        self.reset()

    def reset(self) -> None:
        self._blocks = sys.getallocatedblocks()

    def check(self, prefix: str) -> None:
        """Raise ToolError if the current value is too large."""
        grown = memory_used() - self._memory > MOST_GROWTH
        if grown or sys.getallocatedblocks() - self._blocks > MOST_BLOCKS:
            where = prefix.replace(".item", "[*]").removeprefix("item") or "the document"
            raise ToolError(
                f"The value at {where} is too large, or nested too deep, to be read as a whole.",
                "Use return_summary, or a more specific filter path, such as name[*].",
            )


def memory_used() -> int:
    """The memory of this process in bytes; if unknown, its peak; 0 if that is unknown too."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1_024


def _parse_line(line: bytes, offset: int, parse: Callable[[str], Any]) -> Any:
    """The value of a line. json.loads() would guess the encoding of each, in an eighth of the time.
    """
    try:
        return parse(line.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass"))
    except json.JSONDecodeError as problem:
        before = problem.doc[:problem.pos].encode("utf-8", "surrogatepass")
        start = len(BOM_UTF8) if line.startswith(BOM_UTF8) else 0
        raise Damage(offset + start + len(before), problem.msg) from None
    except UnicodeDecodeError as problem:
        raise Damage(offset + problem.start, "it is not UTF-8") from None
    except (ValueError, RecursionError) as problem:
        raise Damage(offset, reason_of(problem)) from None


def reason_of(problem: BaseException) -> str:
    return safe_line((str(problem).strip().splitlines() or [type(problem).__name__])[0], 120)


# ---- following a path

def split_path(steps: tuple[Step, ...]) -> tuple[str, tuple[Step, ...]]:
    """(ijson prefix of the part found by streaming, the remaining steps inside the values found).
    """
    prefix: list[str] = []
    for number, step in enumerate(steps):
        if (
            isinstance(step, int)
            or isinstance(step, str)
            and (step == "item" or "." in step or not step)
        ):
            return ".".join(prefix), steps[number:]
        prefix.append("item" if step is None else step)
    return ".".join(prefix), ()


def find_values(document: Document, steps: tuple[Step, ...]) -> Iterator[Any]:
    """Every value at the path, in order."""
    prefix, rest = split_path(steps)
    if rest and isinstance(rest[0], int) and "item" not in prefix.split(".") and not document.many:
        wanted = rest[0]   # one array: its elements are counted instead of collected
        for number, value in enumerate(document.items(f"{prefix}.item".lstrip("."))):
            if number == wanted:
                yield from follow(value, rest[1:])
                return
        return
    values = document.items(prefix)
    yield from (found for value in values for found in follow(value, rest)) if rest else values


def follow(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    """The values at the remaining steps of a path within a value."""
    if not steps:
        yield value
        return
    match steps[0], value:
        case None, list():
            for item in value:
                yield from follow(item, steps[1:])
        case int() as index, list() if index < len(value):
            yield from follow(value[index], steps[1:])
        case str() as key, dict() if key in value:
            yield from follow(value[key], steps[1:])
