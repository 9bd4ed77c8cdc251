"""Reads the values at a path of a JSON file of any size, or a summary of it, as a stream.

A path consists of keys and [*], [3] or ["a key"], as in conversations[*].messages[*].content. Any
other filter is interpreted as JMESPath, which needs the whole document.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, BinaryIO

from core.errors import ToolError
from core.safe_text import safe_line
from core.tools import ToolContext, tool
from core.tools.guards.files import open_file
from core.tools.json_document import (CHUNK, Damage, Document, Source, Step, find_values,
                                      parse_path, reason_of)
from core.tools.json_duplicates import Duplicates
from core.tools.limited_process import Job, run_limited

HARMLESS = 1 << 16            # bytes of a document that is read without a child process
MOST_SECONDS = 300
MOST_SHOWN = 40_000           # characters of a result
ENTRY_SHOWN = 8_000           # characters of one entry
WHOLE = 16 << 20              # bytes of a document that may be loaded completely (JMESPath)
OUTLINED = 2_000              # entries that a summary examines


@tool(private=True, safe=True, timeout=MOST_SECONDS)
def read_json_file(
    context: ToolContext,
    path: Annotated[str, "path of a JSON or NDJSON file"],
    filter: Annotated[
        str,
        "which values, such as conversations[*].messages[*].content; "
        "or JMESPath (documents up to 16 MB)",
    ] = "",
    max_entries: Annotated[int, "how many values at most", {"minimum": 1, "maximum": 10_000}] = 50,
    return_summary: Annotated[bool, "structure and counts instead of the values"] = False,
) -> str:
    """Read a JSON or NDJSON file of any size: the values that a filter path leads to, or a summary
    of structure and counts.

    Start with return_summary to learn the structure of a file you do not know.
    """
    steps = parse_path(filter) if filter else ()
    with open_file(context, path) as file:
        _start_of(file, path)
        harmless = steps is not None and os.fstat(file.fileno()).st_size <= HARMLESS
    arguments: dict[str, Any] = {
        "path": path,
        "filter": filter,
        "most": max_entries,
        "summary": return_summary,
        "roots": context.roots,
        "protected": context.protected,
    }
    if harmless:
        return read_json(Job(stop=context.stop), **arguments)
    return str(
        run_limited(
            "core.tools.json_file:read_json", arguments, seconds=MOST_SECONDS, stop=context.stop
        )
    )


def read_json(
    job: Job,
    path: str,
    filter: str,
    most: int,
    summary: bool,
    roots: Sequence[str],
    protected: Sequence[str],
) -> str:
    """The result of read_json_file(); runs in a child process unless the file is small and the
    filter is a plain path.
    """
    context = ToolContext(roots=tuple(roots), protected=tuple(protected), stop=job.stop)
    with open_file(context, path) as file:
        start = _start_of(file, path)
        steps = parse_path(filter) if filter else ()
        if steps is None:
            return _by_jmespath(file, filter, most)
        document = Document(context, file, start)
        return summarize(document, steps) if summary else _values(document, steps, most)


def _values(document: Document, steps: tuple[Step, ...], most: int) -> str:
    if not steps:
        steps = (None,) if document.opening == "[" and not document.many else ()
    shown: list[str] = []
    used = 0
    note = ""
    document.duplicates = duplicates = Duplicates()
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
            return (f"{summarize(document, ())}\n[{problem.message} This is its summary. "
                    f"{problem.hint}]")
        raise
    last = [note or f"[{len(shown)} values]", duplicates.remark()]
    return "\n".join([*shown, *filter(None, last)])


def _as_line(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain_number)
    except (RecursionError, ValueError):
        return "(nested too deeply to be shown)"
    return (
        text
        if len(text) <= ENTRY_SHOWN
        else f"{text[:ENTRY_SHOWN]} [\u2026 {len(text) - ENTRY_SHOWN:,} more characters]"
    )


def _plain_number(value: Any) -> Any:
    """A number of ijson, which returns fractions as Decimal, as int or float."""
    number = float(value)
    return number if math.isfinite(number) else str(value)


def _damage_text(damage: Damage) -> str:
    return f"the file is damaged at byte {damage.offset:,}: {damage.reason}"


# ---- a summary

def summarize(document: Document, steps: tuple[Step, ...]) -> str:
    """The structure and counts of the values at a path; all values are counted, the first ones are
    examined.
    """
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
    """A summary of one large object by parser events, since its values may not fit into memory."""
    counts, note = _count_events(document)
    lines = [f"{document.size:,} bytes, one object:"]
    lines += [f"  {place}: {kinds}" for place, kinds in counts]
    return "\n".join(lines) + note


def _count_events(document: Document) -> tuple[list[tuple[str, str]], str]:
    import ijson
    seen: dict[str, dict[str, int]] = {}
    source = Source(document, "")
    note = ""
    try:
        for prefix, event, _ in ijson.parse(source, buf_size=CHUNK):
            if event in NAMES and (prefix in seen or len(seen) < MOST_PLACES):
                kinds = seen.setdefault(prefix, {})
                kinds[NAMES[event]] = kinds.get(NAMES[event], 0) + 1
    except (ijson.JSONError, ValueError, UnicodeDecodeError) as problem:
        note = f"\n[{_damage_text(document.damage(source, problem))}; counted up to there]"
    return [(_as_path(place), _kinds(kinds)) for place, kinds in seen.items()], note


NAMES = {
    "start_map": "object",
    "start_array": "list",
    "string": "text",
    "number": "number",
    "integer": "number",
    "double": "number",
    "boolean": "true/false",
    "null": "null",
}
MOST_PLACES = 300


def _as_path(prefix: str) -> str:
    return re.sub(r"(^|\.)item(?=\.|$)", "[*]", prefix) or "(root)"


def _kinds(kinds: dict[str, int]) -> str:
    return ", ".join(f"{name} x {count:,}" for name, count in kinds.items())


class Outline:
    """Counts the types of values at each path."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, int]] = {}

    def add(self, place: str, value: Any) -> None:
        """Count a value and everything in it at this path."""
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
                stack += [
                    (f"{place}.{key}" if place else key, item)
                    for key, item in reversed(value.items())
                ]
            elif isinstance(value, list):
                stack += [(f"{place}[*]", item) for item in reversed(value)]

    def text(self) -> str:
        """The outline, one path per line."""
        return "\n".join(
            f"  {safe_line(place, 200) or '(each)'}: {_kinds(kinds)}"
            for place, kinds in self._seen.items()
        )


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
        raise ToolError(
            f"A JMESPath filter needs the whole document, and {size:,} bytes are too many.",
            "Use a plain path such as conversations[*].messages[*].content.",
        )
    try:
        compiled = jmespath.compile(expression)
        check_growth(compiled.parsed)
        file.seek(0)
        duplicates = Duplicates()
        whole = json.loads(file.read(), object_pairs_hook=duplicates.from_pairs)
        found = compiled.search(whole)
    except (JMESPathError, RecursionError) as problem:
        raise ToolError(
            f"The filter is neither a plain path nor JMESPath: {reason_of(problem)}."
        ) from None
    except ValueError as problem:
        raise ToolError(
            f"The file is damaged: {reason_of(problem)}.", "A plain path shows what can be read."
        ) from None
    values = found if isinstance(found, list) else [found]
    lines = [_as_line(value) for value in values[:most]]
    more = len(values) - len(lines)
    last = [f"[{len(values)} values{f', {more} not shown' if more else ''}]", duplicates.remark()]
    return "\n".join([*lines, *filter(None, last)])


def check_growth(tree: Any) -> None:
    """Raise ToolError for an expression that multiplies its input, such as a chain of [@, @]."""
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
    """The offset at which JSON begins, after a UTF-8 byte order mark. Raises ToolError if the file
    is not UTF-8 or is empty.
    """
    head = file.read(1_024)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise ToolError(f"{safe_line(path, 200)!r} is not UTF-8 text, so it is not a JSON file.")
    if not head.strip():
        raise ToolError(f"{safe_line(path, 200)!r} is empty.")
    return 3 if head.startswith(b"\xef\xbb\xbf") else 0
