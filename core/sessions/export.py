"""Exports sessions; each export format is one function decorated with @exporter."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from core.errors import UsageError
from core.messages import Attached, Image, Message, Part, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.rendering.parser.code_blocks import closing_fence, opening_fence
from core.safe_text import without_surrogates
from core.sessions.listing import find_session
from core.sessions.output import refuse_existing, write_whole
from core.sessions.portable import local_time, session_to_dict, stored_to_dict
from core.sessions.reading import read_messages
from core.store.message_json import dump, message_to_dict
from core.store.rows import SessionRow, StoredMessage
from core.store.text import to_database
from db import Store

Exporter = Callable[[SessionRow, Iterable[StoredMessage]], Iterator[str]]
STANDARD_OUTPUT = ("-", "/dev/stdout")
BYTE_ORDER_MARK = "\ufeff"
EXPORTERS: dict[str, Exporter] = {}
COMPLETE: set[str] = set()      # the formats that contain all branches
HALVES = regex("[\ud800-\udbff][\udc00-\udfff]")
ENDINGS: dict[str, str] = {}    # file ending -> format


def exporter(name: str, endings: Sequence[str] = (), *,
             complete: bool = False) -> Callable[[Exporter], Exporter]:
    """Register a function that yields a session and its messages as pieces of text; its docstring
    is its help.

    Flag, completion, help and the endings of --output are derived from it (after `make docs`). With
    `complete`, it receives all branches, not only the shown one.
    """
    def register(write: Exporter) -> Exporter:
        EXPORTERS[name] = write
        ENDINGS.update(dict.fromkeys(endings, name))
        if complete:
            COMPLETE.add(name)
        return write
    return register


@exporter("json", endings=(".json",), complete=True)
def export_json(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """Everything that is stored, without loss, including all branches."""
    return json_pieces(session, messages, "")


def json_pieces(session: SessionRow, messages: Iterable[StoredMessage],
                settings: str) -> Iterator[str]:
    yield _json_text(session_to_dict(session, settings), indent=1)[:-2] + ',\n "messages": ['
    for number, stored in enumerate(messages):
        yield (",\n  " if number else "\n  ") + _json_text(stored_to_dict(stored),
                                                           exact=stored.message)
    yield "\n ]\n}\n"


@exporter("jsonl", endings=(".jsonl", ".ndjson"), complete=True)
def export_jsonl(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """The same as JSON, with one line for the session and one for each message; files can be
    concatenated.
    """
    return jsonl_pieces(session, messages, "")


def jsonl_pieces(session: SessionRow, messages: Iterable[StoredMessage],
                 settings: str) -> Iterator[str]:
    yield _json_text(session_to_dict(session, settings)) + "\n"
    for stored in messages:
        yield _json_text({"session": session.id, **stored_to_dict(stored)},
                         exact=stored.message) + "\n"


@exporter("html", endings=(".html", ".htm"))
def export_html(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """One file that looks like the web page, without scripts."""
    from core.sessions.html_page import html_pieces
    return map(without_surrogates, html_pieces(session, messages))


def _json_text(row: dict[str, Any], indent: int | None = None, *,
               exact: Message | None = None) -> str:
    """Return JSON with readable non-ASCII letters, escaped only where UTF-8 cannot encode them.

    A JSON parser joins escaped surrogate halves into one character; in that case the message
    `exact` is added once more in our own encoding.
    """
    text = dump(row) if indent is None else json.dumps(row, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        if exact is not None and HALVES.search(text):
            text = dump({**row, "exact": to_database(dump(message_to_dict(exact)))})
        return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    return text


@exporter("csv", endings=(".csv",))
def export_csv(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """One row per part, for spreadsheets, with a byte order mark; formulas are prefixed with an
    apostrophe.
    """
    yield BYTE_ORDER_MARK
    yield from _csv_rows(session, messages, raw=False)


def export_raw_csv(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """The same for programs, with unchanged cells: a spreadsheet may run formulas in them."""
    return _csv_rows(session, messages, raw=True)


def _csv_rows(session: SessionRow, messages: Iterable[StoredMessage], *,
              raw: bool) -> Iterator[str]:
    yield csv_line(("session", "number", "time", "role", "model", "state", "kind", "name",
                    "content"), raw=raw)
    for number, stored in enumerate(messages, 1):
        message = stored.message
        for part in message.parts:
            kind, name, content = _flat(part)
            yield csv_line((session.name, str(number), local_time(stored.created, "T"),
                            message.role, message.model or "", stored.state,
                            kind, name, content), raw=raw)


def csv_line(cells: Iterable[str], *, raw: bool) -> str:
    """Return a line of CSV (RFC 4180) with every cell quoted."""
    made = (cell if raw else harmless_cell(cell) for cell in cells)
    return ",".join('"' + without_surrogates(cell).replace('"', '""') + '"'
                    for cell in made) + "\r\n"


def harmless_cell(cell: str) -> str:
    """Return a cell that spreadsheets do not treat as a formula (OWASP, CSV Injection)."""
    start = cell.lstrip(" \u00a0\u3000\ufeff\0")[:1]
    return "'" + cell if start and start in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20|%" else cell


@exporter("text", endings=(".txt", ".text"))
def export_text(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """The conversation as plain text."""
    yield (f"{without_surrogates(session.title)}\n"
           f"{session.name}  {local_time(session.created)}\n")
    for stored in messages:
        yield f"\n[{_speaker(stored.message)}]{_remark(stored)}\n"
        for part in stored.message.parts:
            kind, name, content = _flat(part)
            label = ("" if kind == "text"
                     else f"({kind.replace('_', ' ')}{' ' + name if name else ''}) ")
            yield without_surrogates(f"{label}{'' if kind in ('image', 'attached') else content}\n")


@exporter("markdown", endings=(".md", ".markdown"))
def export_markdown(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """The conversation as Markdown; answers stay unchanged."""
    yield (f"# {without_surrogates(session.title)}\n\n"
           f"*{session.name}, {local_time(session.created)}*\n")
    broken = ""
    for stored in messages:
        message = stored.message
        yield f"\n## {_speaker(message)}{_remark(stored)}\n"
        for part in message.parts:
            yield "\n" + without_surrogates(
                _markdown_part(part, broken if message.role == "assistant" else "")) + "\n"
            broken = "" if isinstance(part, Text) else broken
        broken = message.text if message.role == "assistant" and stored.state != "complete" else ""


def _markdown_part(part: Part, broken: str) -> str:
    """Return the Markdown of a part. A code fence left open in the text is closed; if the text
    continues a reply that broke off inside a fence, the fence is opened again.
    """
    kind, name, content = _flat(part)
    match part:
        case Text():
            content = opening_fence(broken) + content
            return content + closing_fence(content)
        case Thinking():
            return "\n".join(f"> {line}" for line in content.split("\n"))
        case Image():
            return f"*(image {name})*"
        case Attached():
            return f"*(attached: {name})*"
    label = f"{kind.replace('_', ' ').capitalize()} `{name.replace('`', '')}`"
    return f"{label}\n\n{fenced(content)}"


def fenced(text: str) -> str:
    """Return a code block whose fence is longer than any run of backticks in `text`."""
    longest, run = 2, 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}"


@exporter("sql", endings=(".sql",))
def export_sql(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """SQL statements for SQLite and PostgreSQL; loading them twice changes nothing."""
    yield ("-- NUL, U+001A and lone surrogates are written as U+001A and four hexadecimal digits.\n"
           "BEGIN;\n"
           "CREATE TABLE IF NOT EXISTS sessions (id text PRIMARY KEY, title text NOT NULL, model "
           "text NOT NULL,\n  created double precision NOT NULL, updated double precision NOT "
           "NULL);\nCREATE TABLE IF NOT EXISTS messages (id text PRIMARY KEY, session_id text NOT "
           "NULL, position integer NOT NULL,\n  role text NOT NULL, state text NOT NULL, model "
           "text, created double precision NOT NULL, finish text,\n  usage text, parts text NOT "
           "NULL, text text NOT NULL);\n")
    yield _insert("sessions", "id, title, model, created, updated",
                  (session.id, session.title, session.model, session.created, session.updated))
    for position, stored in enumerate(messages, 1):
        row = message_to_dict(stored.message)
        usage = dump(row["usage"]) if "usage" in row else None
        yield _insert("messages", "id, session_id, position, role, state, model, created, finish, "
                      "usage, parts, text",
                      (f"{stored.id:032x}", session.id, position, row["role"], stored.state,
                       row.get("model"), stored.created,
                       row.get("finish"), usage, dump(row["parts"]), stored.message.text))
    yield "COMMIT;\n"


def _insert(table: str, columns: str, values: Iterable[str | float | None]) -> str:
    return (f"INSERT INTO {table} ({columns}) VALUES ({', '.join(map(_literal, values))}) ON "
            "CONFLICT (id) DO NOTHING;\n")


def _literal(value: str | float | None) -> str:
    """Return a literal of standard SQL: only quotes are escaped, by doubling; backslashes are
    literal (PostgreSQL since 9.1, SQLite always).
    """
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + to_database(value).replace("'", "''") + "'"
    return repr(value)


def _flat(part: Part) -> tuple[str, str, str]:
    """Return the kind, name and content of a part."""
    match part:
        case Text(text):
            return "text", "", text
        case Thinking(text):
            return "thinking", "", text
        case ToolCall(name=name, arguments=arguments, invalid=invalid):
            return "tool_call", name, dump(arguments) if invalid is None else invalid
        case ToolResult(name=name, content=content, is_error=is_error):
            return "tool_error" if is_error else "tool_result", name, content
        case Image(media_type, data, name):
            return "image", name or media_type, data
        case Attached(text, shown):
            return "attached", ", ".join(entry.name for entry in shown), text


def _speaker(message: Message) -> str:
    names = {"user": "You", "system": "System", "tool": "Tools"}
    model = f" ({without_surrogates(message.model)})" if message.model else ""
    return names.get(message.role) or f"Assistant{model}"


def _remark(stored: StoredMessage) -> str:
    unreadable = f" - cannot be read completely: {stored.unreadable}" if stored.unreadable else ""
    return (("" if stored.state == "complete" else f" - {stored.state}")
            + without_surrogates(unreadable))


def export_session(store: Store, name: str, format: str, output: str | None = None, *,
                   raw_csv: bool = False,
                   write: Callable[[str], object] | None = None, force: bool = True) -> str:
    """Export the session called `name`, or the last used one for "last": to the file `output`,
    completely or not at all, or else through `write` or to standard output (also named `-`).
    Without `force`, an existing file is an error.

    Returns the session's full ID. Raises UsageError, SessionNotFound or StoreError.
    """
    find_exporter(format)
    to_file = output is not None and output not in STANDARD_OUTPUT
    if output is not None and to_file and not force:
        refuse_existing(output)
    session = find_session(store, name)
    pieces = session_pieces(store, session, format, raw_csv=raw_csv)
    if output is not None and to_file:
        write_whole(output, pieces, force=force)
    else:
        for piece in pieces:
            (write or sys.stdout.write)(piece)
    return session.id


def session_pieces(store: Store, session: SessionRow, format: str, *,
                   raw_csv: bool = False) -> Iterator[str]:
    """Yield a stored session in a format, as pieces of text."""
    if format in COMPLETE:
        make = json_pieces if format == "json" else jsonl_pieces
        return make(session, read_messages(store, session.id, hidden=True),
                    store.session_settings(session.id))
    exporter = export_raw_csv if format == "csv" and raw_csv else find_exporter(format)
    return exporter(session, read_messages(store, session.id))


def export_many(store: Store, sessions: Sequence[SessionRow], format: str, output: str | None, *,
                force: bool = False,
                write: Callable[[str], object] | None = None) -> int:
    """Export several sessions: as jsonl to one file or standard output, otherwise each to its own
    file in the directory `output`. Return how many. Raises UsageError and StoreError.
    """
    if format == "jsonl" and not (output and os.path.isdir(output)):
        pieces = (piece for session in sessions for piece in session_pieces(store, session, format))
        if output is None or output in STANDARD_OUTPUT:
            for piece in pieces:
                (write or sys.stdout.write)(piece)
        else:
            if not force:
                refuse_existing(output)
            write_whole(output, pieces, force=force)
        return len(sessions)
    if not output or output in STANDARD_OUTPUT:
        raise UsageError(f"Exporting several sessions as {format} needs a directory.",
                         "Name one with --output DIR/, or use --format jsonl.")
    os.makedirs(output, mode=0o700, exist_ok=True)
    ending = next(ending for ending, name in ENDINGS.items() if name == format)
    for session in sessions:
        name = re.sub("[^0-9A-Za-z_-]", "_", session.name)
        path = os.path.join(output, f"{name}-{session.id[-8:]}{ending}")
        if not force:
            refuse_existing(path)
        write_whole(path, session_pieces(store, session, format), force=force)
    return len(sessions)


def format_of(path: str, default: str = "markdown") -> str:
    """Return the format for the ending of a file; `default` for a file without one.

    Raises UsageError.
    """
    ending = os.path.splitext(path)[1].lower()
    if not ending or path in STANDARD_OUTPUT:
        return default
    if ending not in ENDINGS:
        raise UsageError(f"There is no export format for files ending in {ending}.",
                         f"Known: {', '.join(ENDINGS)}. --format {default} writes that format to "
                         "any file.")
    return ENDINGS[ending]


def find_exporter(format: str) -> Exporter:
    """Return an exporter by name. Raises UsageError, with a suggestion if a known name is similar.
    """
    if format not in EXPORTERS:
        close = (ENDINGS.get(f".{format.lower()}")
                 or next(iter(get_close_matches(format.lower(), EXPORTERS, n=1)), ""))
        meant = f"Did you mean {close}? " if close else ""
        names = ", ".join(EXPORTERS)
        raise UsageError(f"There is no format {format!r}. Available: {names}.",
                         f"{meant}Formats: {names}.")
    return EXPORTERS[format]
