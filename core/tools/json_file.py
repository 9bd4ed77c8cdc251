"""JSON files of any size: what a path leads to, or an outline, read as a stream so that memory does not grow with the file.

A path is keys and [*], [3] or ["a key"], as in conversations[*].messages[*].content. Anything else is taken for
JMESPath, which needs the whole document.

Facts: ijson's prefixes know no key that is named "item" or holds a dot, so the rest of a path from such a key on is
followed in Python; and [*] also takes the key "item" of an object. With floats instead of Decimals ijson takes whole
numbers over 64 bits for damage. yajl reads a long string again from its start with every piece.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, BinaryIO

from core.errors import ToolError
from core.regex import regex
from core.safe_text import safe_line
from core.tools import ToolContext, tool
from core.tools.guards_files import open_file
from core.tools.limited_process import Job, run_limited

CHUNK = 1 << 16
HARMLESS = 1 << 16            # bytes of a document that is read without a child process
MOST_SECONDS = 300
SLICE = 1 << 10
LONGEST_STRING = 16 << 20
MOST_SHOWN = 40_000           # characters of an answer
ENTRY_SHOWN = 8_000           # characters of one entry
WHOLE = 16 << 20              # bytes of a document that is loaded as a whole (JMESPath)
MOST_BLOCKS = 300_000         # objects that one entry may consist of, about 30 MB
MOST_GROWTH = 40 << 20        # bytes that the process may grow by
OUTLINED = 2_000              # entries that an outline looks into
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
Step = str | int | None       # a key, an index, or every element

STEP = regex(r"""(?:^|\.)([A-Za-z_$][\w$-]*)   # a key
                      | \[(\d{1,12})\]               # an index
                      | (\[\*\]|\[\])                # every element
                      | \[("(?:[^"\\]|\\.)*")\]      # a key of any characters""", re.X)


class Damage(Exception):
    """Where a document broke, in bytes from its start, and why."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


@tool(private=True, safe=True, timeout=MOST_SECONDS)
def read_json_file(
    context: ToolContext,
    path: Annotated[str, "path of a JSON or NDJSON file"],
    filter: Annotated[str, "which values, such as conversations[*].messages[*].content; or JMESPath (documents up to 16 MB)"] = "",
    max_entries: Annotated[int, "how many values at most", {"minimum": 1, "maximum": 10_000}] = 50,
    return_summary: Annotated[bool, "structure and counts instead of the values"] = False,
) -> str:
    """Read a JSON or NDJSON file of any size: the values that a filter path leads to, or a summary of structure and counts.

    Start with return_summary to learn the structure of a file you do not know.
    """
    steps = parse_path(filter) if filter else ()
    with open_file(context, path) as file:
        _start_of(file, path)
        harmless = steps is not None and os.fstat(file.fileno()).st_size <= HARMLESS
    arguments: dict[str, Any] = {"path": path, "filter": filter, "most": max_entries, "summary": return_summary,
                                 "roots": context.roots, "protected": context.protected}
    if harmless:
        return read_json(Job(stop=context.stop), **arguments)
    return str(run_limited("core.tools.json_file:read_json", arguments, seconds=MOST_SECONDS, stop=context.stop))


def read_json(job: Job, path: str, filter: str, most: int, summary: bool, roots: Sequence[str], protected: Sequence[str]) -> str:
    """The same; runs in a child process unless the file is small and the filter a plain path."""
    context = ToolContext(roots=tuple(roots), protected=tuple(protected), stop=job.stop)
    with open_file(context, path) as file:
        start = _start_of(file, path)
        steps = parse_path(filter) if filter else ()
        if steps is None:
            return _by_jmespath(file, filter, most)
        document = Document(context, file, start)
        return summarize(document, steps) if summary else _values(document, steps, most)


def parse_path(text: str) -> tuple[Step, ...] | None:
    """The steps of a path, or None when it is no plain one."""
    text = text.strip().removeprefix("$").removeprefix(".")
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = STEP.match(text, position)
        if found is None or position and found[1] and text[position] != ".":
            return None
        key, index, every, quoted = found.groups()
        steps.append(key if key is not None else int(index) if index is not None else None if every else str(json.loads(quoted)))
        position = found.end()
    return tuple(steps)


# ---- the stream

class Document:
    """A file of one or many JSON values, read in pieces as often as is asked."""

    def __init__(self, context: ToolContext, file: BinaryIO, start: int) -> None:
        self.context, self.file, self.start = context, file, start
        self.size = os.fstat(file.fileno()).st_size
        self.many, self.opening = self._look()

    def _look(self) -> tuple[bool, str]:
        """Whether there is more than one value (NDJSON), and what the first begins with. A line that is whole JSON tells."""
        self.file.seek(self.start)
        head = self.file.read(CHUNK).lstrip()
        first, end, rest = head.partition(b"\n")
        try:
            json.loads(first)
            many = bool(end and rest.strip())
        except (ValueError, RecursionError):
            many = bool(end) and first.rstrip().endswith(b"}") and re.match(rb'\s*\{\s*"', rest) is not None
        return many, head[:1].decode("latin-1")

    def items(self, prefix: str) -> Iterator[Any]:
        """The values at an ijson prefix. Raises Damage after those that can be read, and ToolError for one that is too large."""
        if self.many and not prefix:
            yield from self._lines()
            return
        import ijson
        source = _Source(self, prefix)
        try:
            for value in ijson.items(source, prefix, buf_size=CHUNK, multiple_values=self.many):
                source.delivered = True
                yield value
        except (ijson.JSONError, ValueError, UnicodeDecodeError) as problem:
            raise self.damage(source, problem) from None

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        self.file.seek(self.start)
        offset = last_quote = self.start
        while chunk := self.file.read(CHUNK):
            self.context.check_stop()
            last_quote = offset if b'"' in chunk or b"," in chunk else last_quote
            if offset - last_quote > LONGEST_STRING:
                raise ToolError(f"The text at byte {last_quote:,} is longer than {LONGEST_STRING >> 20} MB.", "It is not read.")
            size = SLICE if _may_nest(chunk) else CHUNK
            for begin in range(0, len(chunk), size):
                yield offset + begin, chunk[begin:begin + size]
            offset += len(chunk)

    def _lines(self) -> Iterator[Any]:
        """NDJSON by the line: a line that is broken does not spoil those before it."""
        self.file.seek(self.start)
        offset = self.start
        while line := self.file.readline(MOST_GROWTH):
            if len(line) >= MOST_GROWTH:
                raise ToolError(f"The line at byte {offset:,} is longer than {MOST_GROWTH >> 20} MB.", "Use a filter path.")
            self.context.check_stop()
            if not line.isspace():
                yield _parse_line(line, offset)
            offset += len(line)

    def damage(self, source: _Source, problem: Exception) -> Damage:
        """What broke, and where: parse again up to the last piece, then byte by byte."""
        import ijson
        if source.ended:
            return Damage(self.size, f"it ends too early ({_reason(problem)})")
        parser = ijson.basic_parse_coro(_Nothing(), multiple_values=self.many)
        for begin, chunk in self.pieces():
            parts = [chunk] if begin < source.offset else [chunk[at:at + 1] for at in range(len(chunk))]
            for at, piece in enumerate(parts):
                try:
                    parser.send(piece)
                except (ijson.JSONError, ValueError, UnicodeDecodeError, StopIteration):
                    return Damage(begin + at, _reason(problem))
        return Damage(self.size, _reason(problem))


class _Source:
    """A document as a file for ijson: it is asked for the next piece, and looks at memory before it gives one."""

    def __init__(self, document: Document, prefix: str) -> None:
        self._pieces = document.pieces()
        self._prefix = prefix
        self._watch = _Watch()
        self.offset, self.ended, self.delivered = document.start, False, False

    def read(self, size: int = -1) -> bytes:
        if size == 0:   # ijson looks first what kind of file this is
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
    """Whether nesting may deepen a lot in this piece: ijson keeps a path for every level, so memory grows with its square.

    Then the piece is fed in slices, with a look at memory after each. Brackets in strings count too; that costs only time.
    """
    brackets = chunk.translate(None, NO_BRACKETS)
    opened = brackets.count(b"[") + brackets.count(b"{")
    return opened > 3_000 or 2 * opened > len(brackets) + 200


class _Nothing:
    def send(self, event: Any) -> None: ...


class _Watch:
    """Notices that one value grows without end. Blocks and memory of the whole process are counted: neither is exact."""

    def __init__(self) -> None:
        self._memory = memory_used()
        self.reset()

    def reset(self) -> None:
        self._blocks = sys.getallocatedblocks()

    def check(self, prefix: str) -> None:
        grown = memory_used() - self._memory > MOST_GROWTH
        if grown or sys.getallocatedblocks() - self._blocks > MOST_BLOCKS:
            where = prefix.replace(".item", "[*]").removeprefix("item") or "the document"
            raise ToolError(f"The value at {where} is too large, or nested too deep, to be read as a whole.",
                            "Ask for return_summary, or for a filter path that goes deeper, such as name[*].")


def memory_used() -> int:
    """Bytes that this process holds now; where the system does not say, the most it has held; 0 where it says nothing."""
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


def _parse_line(line: bytes, offset: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as problem:
        raise Damage(offset + len(problem.doc[:problem.pos].encode()), problem.msg) from None
    except UnicodeDecodeError as problem:
        raise Damage(offset + problem.start, "it is not UTF-8") from None
    except (ValueError, RecursionError) as problem:
        raise Damage(offset, _reason(problem)) from None


def _reason(problem: BaseException) -> str:
    return safe_line((str(problem).strip().splitlines() or [type(problem).__name__])[0], 120)


# ---- following a path

def split_path(steps: tuple[Step, ...]) -> tuple[str, tuple[Step, ...]]:
    """The part that the stream finds, as an ijson prefix, and the rest, which is followed inside the values found."""
    prefix: list[str] = []
    for number, step in enumerate(steps):
        if isinstance(step, int) or isinstance(step, str) and (step == "item" or "." in step or not step):
            return ".".join(prefix), steps[number:]
        prefix.append("item" if step is None else step)
    return ".".join(prefix), ()


def find_values(document: Document, steps: tuple[Step, ...]) -> Iterator[Any]:
    """Every value at the path, in order."""
    prefix, rest = split_path(steps)
    if rest and isinstance(rest[0], int) and "item" not in prefix.split(".") and not document.many:
        wanted = rest[0]   # one array: its elements are counted, not collected
        for number, value in enumerate(document.items(f"{prefix}.item".lstrip("."))):
            if number == wanted:
                yield from follow(value, rest[1:])
                return
        return
    values = document.items(prefix)
    yield from (found for value in values for found in follow(value, rest)) if rest else values


def follow(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
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


def _values(document: Document, steps: tuple[Step, ...], most: int) -> str:
    if not steps:
        steps = (None,) if document.opening == "[" and not document.many else ()
    shown: list[str] = []
    used = 0
    note = ""
    try:
        for number, value in enumerate(find_values(document, steps)):
            if number >= most or used > MOST_SHOWN:
                note = f"[stopped after {len(shown)} values; there are more]"
                break
            shown.append(_as_line(value))
            used += len(shown[-1])
    except Damage as damage:
        note = f"[{_damage_text(damage)}; {len(shown)} values were read before it]"
    except ToolError as problem:
        if not steps and not shown:
            return f"{summarize(document, ())}\n[{problem.message} This is its summary. {problem.hint}]"
        raise
    return "\n".join([*shown, note or f"[{len(shown)} values]"])


def _as_line(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain_number)
    except (RecursionError, ValueError):
        return "(nested too deep to be shown)"
    return text if len(text) <= ENTRY_SHOWN else f"{text[:ENTRY_SHOWN]} [\u2026 {len(text) - ENTRY_SHOWN:,} more characters]"


def _plain_number(value: Any) -> Any:
    """ijson gives fractions as Decimal."""
    number = float(value)
    return number if math.isfinite(number) else str(value)


def _damage_text(damage: Damage) -> str:
    return f"the file is damaged at byte {damage.offset:,}: {damage.reason}"


# ---- a summary

def summarize(document: Document, steps: tuple[Step, ...]) -> str:
    """Structure and counts of what the path leads to. Every value is counted; the first ones are looked into."""
    if not steps and not document.many and document.opening == "{":
        return _summarize_object(document)
    if not steps and document.opening == "[" and not document.many:
        steps = (None,)
    outline = Outline()
    count = 0
    note = ""
    try:
        for value in find_values(document, steps):
            count += 1
            if count <= OUTLINED:
                outline.add("", value)
    except Damage as damage:
        note = f"\n[{_damage_text(damage)}; counted up to there]"
    kind = "lines of JSON" if document.many and not steps else "values"
    looked = f"; structure of the first {OUTLINED:,}" if count > OUTLINED else ""
    return f"{document.size:,} bytes, {count:,} {kind}{looked}:\n{outline.text()}{note}"


def _summarize_object(document: Document) -> str:
    """The keys of one large object, by events: its values may be larger than memory."""
    counts, note = _count_events(document)
    lines = [f"{document.size:,} bytes, one object:"]
    lines += [f"  {place}: {kinds}" for place, kinds in counts]
    return "\n".join(lines) + note


def _count_events(document: Document) -> tuple[list[tuple[str, str]], str]:
    import ijson
    seen: dict[str, dict[str, int]] = {}
    source = _Source(document, "")
    note = ""
    try:
        for prefix, event, _ in ijson.parse(source, buf_size=CHUNK):
            if event in NAMES and (prefix in seen or len(seen) < MOST_PLACES):
                kinds = seen.setdefault(prefix, {})
                kinds[NAMES[event]] = kinds.get(NAMES[event], 0) + 1
    except (ijson.JSONError, ValueError, UnicodeDecodeError) as problem:
        note = f"\n[{_damage_text(document.damage(source, problem))}; counted up to there]"
    return [(_as_path(place), _kinds(kinds)) for place, kinds in seen.items()], note


NAMES = {"start_map": "object", "start_array": "list", "string": "text", "number": "number", "integer": "number",
         "double": "number", "boolean": "true/false", "null": "null"}
MOST_PLACES = 300


def _as_path(prefix: str) -> str:
    return re.sub(r"(^|\.)item(?=\.|$)", "[*]", prefix) or "(root)"


def _kinds(kinds: dict[str, int]) -> str:
    return ", ".join(f"{name} x {count:,}" for name, count in kinds.items())


class Outline:
    """Which places hold what, how often."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, int]] = {}

    def add(self, place: str, value: Any) -> None:
        stack = [(place, value)]
        while stack:
            place, value = stack.pop()
            kinds = self._seen.get(place)
            if kinds is None:
                if len(self._seen) >= MOST_PLACES:
                    continue
                kinds = self._seen[place] = {}
            name = _kind_name(value)
            kinds[name] = kinds.get(name, 0) + 1
            if isinstance(value, dict):
                stack += [(f"{place}.{key}" if place else key, item) for key, item in reversed(value.items())]
            elif isinstance(value, list):
                stack += [(f"{place}[*]", item) for item in reversed(value)]

    def text(self) -> str:
        return "\n".join(f"  {safe_line(place, 200) or '(each)'}: {_kinds(kinds)}" for place, kinds in self._seen.items())


def _kind_name(value: Any) -> str:
    if isinstance(value, bool):
        return "true/false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, dict) else "list" if isinstance(value, list) else "number"


# ---- JMESPath, and how a file begins

def _by_jmespath(file: BinaryIO, expression: str, most: int) -> str:
    import jmespath
    from jmespath.exceptions import JMESPathError
    size = os.fstat(file.fileno()).st_size
    if size > WHOLE:
        raise ToolError(f"A JMESPath filter needs the whole document, and {size:,} bytes are too many.",
                        "Use a plain path such as conversations[*].messages[*].content.")
    try:
        compiled = jmespath.compile(expression)
        check_growth(compiled.parsed)
        file.seek(0)
        found = compiled.search(json.loads(file.read()))
    except (JMESPathError, RecursionError) as problem:
        raise ToolError(f"The filter is neither a plain path nor JMESPath: {_reason(problem)}.") from None
    except ValueError as problem:
        raise ToolError(f"The file is damaged: {_reason(problem)}.", "A plain path shows what can be read.") from None
    values = found if isinstance(found, list) else [found]
    lines = [_as_line(value) for value in values[:most]]
    more = len(values) - len(lines)
    return "\n".join([*lines, f"[{len(values)} values{f', {more} not shown' if more else ''}]"])


def check_growth(tree: Any) -> None:
    """Refuse an expression that multiplies its input: [@, @] doubles it, and so on in a chain."""
    factor, quotings = 1, 0
    stack = [tree]
    while stack:
        node = stack.pop()
        children = node.get("children") or []
        if node.get("type") in ("multi_select_list", "multi_select_dict"):
            factor *= max(1, len(children))
        quotings += node.get("value") in ("to_string", "map", "join")
        stack += [child for child in _nodes(children)]
    if factor > 64 or quotings > 3:
        raise ToolError("The filter would multiply the document.", "Ask for less at a time.")


def _nodes(children: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (child for child in children if isinstance(child, dict))


def _start_of(file: BinaryIO, path: str) -> int:
    """The byte at which JSON begins: after a UTF-8 mark. Raises ToolError for what is no UTF-8 JSON at all."""
    head = file.read(1_024)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise ToolError(f"{safe_line(path, 200)!r} is not UTF-8 text, so it is no JSON file.")
    if not head.strip():
        raise ToolError(f"{safe_line(path, 200)!r} is empty.")
    return 3 if head.startswith(b"\xef\xbb\xbf") else 0
