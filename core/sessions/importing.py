"""Imports sessions from a file: recognises its format, reads it within limits, and adds each
session completely or not at all.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, BinaryIO

from core.dataclass import dataclass, field
from core.errors import SessionGone, StoreConflict, UsageError
from core.safe_text import safe_line
from core.sessions.fetched_file import fetched
from core.sessions.foreign.conversation import Imported, made_identity
from core.sessions.foreign.databases import read_llm, read_oterm, tables_of
from core.sessions.foreign.kinds import Asset, read_aichat, read_chatgpt, read_claude
from core.sessions.foreign.ollama import is_manifest, read_app, read_saved, saved_chat
from core.sessions.foreign.pages import read_librechat, read_openwebui
from core.sessions.foreign.tables import read_postgres, read_sqlite
from core.sessions.foreign.values import MOST_IMAGE
from core.sessions.portable import FORMAT, linked, session_from_dict, stored_from_dict
from core.sessions.sharing import held_back, is_waiting
from core.store.rows import StoredMessage
from core.store.sqlite.connection import connect
from core.tools.json_duplicates import Duplicates
from db import Store

MOST_BYTES = 2_000_000_000     # bytes of a file, or of its unpacked content
MOST_ENTRIES = 200_000         # files in a zip
MOST_RATIO = 200               # highest compression ratio; text compresses about 10 times
MISSHAPEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
SQLITE = b"SQLite format 3\0"
JSON_KINDS: dict[str, Callable[[Any, Asset], Iterator[Imported]]] = {
    "chatgpt": read_chatgpt, "claude": read_claude, "openwebui": read_openwebui,
    "librechat": read_librechat, "aichat": read_aichat, "ollama": read_saved}
KNOWN = ("You can import exports of this program, and chats of ChatGPT, Claude, Open WebUI, "
         "LibreChat, aichat, llm, oterm and Ollama.")
DATABASE_KINDS = {"llm": read_llm, "oterm": read_oterm, "ollama": read_app}


@dataclass(slots=True)
class Report:
    """The result of an import."""

    kind: str = ""
    added: int = 0
    known: int = 0
    messages: int = 0
    asking: int = 0      # sessions with settings that the user must approve first
    notes: list[str] = field(default_factory=list)


def import_file(store: Store, path: str, kind: str | None = None) -> Report:
    """Add the new sessions of a file, of an http address, or of the predecessor's PostgreSQL
    database.

    It can be repeated. Raises UsageError when the source cannot be read, and StoreError.
    """
    report = Report()
    scheme = path.partition("://")[0].lower()
    if scheme in ("http", "https"):
        with fetched(path) as file:
            return import_file(store, file, kind)
    if scheme in ("postgresql", "postgres"):
        report.kind, sessions = "conversations", read_postgres(path)
    else:
        sessions = _sessions_of(path, kind, report)
    for made in sessions:
        _add(store, made, report)
    if not report.kind:
        raise UsageError(f"{path} contains no sessions in a known format.",
                         f"{KNOWN} --from NAME names the format.")
    return report


def _add(store: Store, made: Imported, report: Report) -> None:
    title = safe_line(made.row.title, 40)
    report.notes += [f"{title}: {note}" for note in dict.fromkeys(made.notes)]
    if not made.messages:
        report.notes.append(f"{title}: not added, since it has no messages")
        return
    before = _count(store, made.row.id)
    if before and made.undated:
        stored = store.some_sessions([made.row.id])[0]
        made.row = made.row._replace(created=stored.created, name=stored.name)
    settings = store.session_settings(made.row.id) if before else held_back(made.settings)
    try:
        store.import_session(made.row, settings, made.messages)
    except SessionGone:
        report.notes.append(f"{title}: not added, since it was deleted here")
        return
    except StoreConflict as error:
        report.notes.append(f"{title}: not added, since it differs from what is stored here "
                            f"({error.message})")
        return
    added = _count(store, made.row.id) - before
    report.messages += added
    report.asking += bool(added and is_waiting(settings))
    report.added, report.known = report.added + (added > 0), report.known + (added == 0)


def _count(store: Store, session: str) -> int:
    return len(store.load_messages(session, hidden=True))


def _sessions_of(path: str, kind: str | None, report: Report) -> Iterator[Imported]:
    try:
        kind_of_file = os.stat(os.path.expanduser(path)).st_mode
        if not (stat.S_ISREG(kind_of_file) or stat.S_ISDIR(kind_of_file)):
            # it may have no end, or never begin, and its parts are read twice
            raise UsageError(f"{path} is a device or a pipe, not a file.",
                             "Write its content into a file first.")
        with open(os.path.expanduser(path), "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise UsageError(f"{path} is too large to import (more than "
                                 f"{MOST_BYTES // 10**9} GB).")
            head = file.read(16)
            file.seek(0)
            if head == SQLITE:
                yield from _of_database(os.path.abspath(os.path.expanduser(path)), kind, report)
            elif head[:4] == b"PK\x03\x04":
                yield from _of_zip(file, path, kind, report)
            else:
                yield from _of_text(file, path, kind, report, lambda name: None)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror or problem}.") from problem
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError,
            sqlite3.Error) as problem:
        raise UsageError(f"{path} is damaged or cannot be read: {problem}.") from problem


def _of_zip(file: BinaryIO, path: str, kind: str | None, report: Report) -> Iterator[Imported]:
    """Read the sessions in a zip. Nothing is unpacked to the disk; each needed file is read up to
    the size that the zip states.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise UsageError(f"{path} contains {len(entries):,} files, more than any "
                             "export does; nothing was read.")
        found = [entry for entry in entries
                 if entry.filename.rpartition("/")[2] == "conversations.json"]
        if len(found) != 1:
            raise UsageError(f"{path} contains {len(found) or 'no'} conversations.json; "
                             "an export contains one.")
        by_name = {entry.filename.rpartition("/")[2]: entry for entry in entries}

        def asset(name: str) -> bytes | None:
            entry = next((entry for start, entry in by_name.items()
                          if name and start.startswith(name)), None)
            return (_unpacked(archive, entry, MOST_IMAGE, path)
                    if entry is not None and entry.file_size <= MOST_IMAGE else None)
        data = _unpacked(archive, found[0], MOST_BYTES, path)
        yield from _of_json(_parsed(data, path, report), kind, report, path, asset)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, path: str) -> bytes:
    if (entry.file_size > most or entry.file_size > 1_000_000
        and entry.file_size > MOST_RATIO * max(entry.compress_size, 1)):
        raise UsageError(f"{path} is not read: {entry.file_size:,} bytes are packed into "
                         f"{entry.compress_size:,}.",
                         "Exports compress to about a tenth of their size; this may be a zip bomb.")
    with archive.open(entry) as opened:
        data = opened.read(entry.file_size + 1)
    if len(data) > entry.file_size:
        raise UsageError(f"{path} is damaged: a file in it is larger than stated.")
    return data


def _of_text(file: BinaryIO, path: str, kind: str | None, report: Report,
             asset: Asset) -> Iterator[Imported]:
    first = file.readline(10_000_000)
    line = _parsed_or_none(first, Report())
    if (isinstance(line, dict) and line.get("format") == FORMAT and kind in (None, "stream-chat")
        and "messages" not in line):
        report.kind = "stream-chat"
        file.seek(0)
        yield from _of_lines(file, report)
        return
    data = first + file.read()
    if kind == "aichat" or kind is None and path.endswith((".yaml", ".yml")):
        import yaml
        try:
            found = yaml.safe_load(data.decode("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
            raise UsageError(f"{path} is not valid YAML.") from problem
        if isinstance(found, dict):
            name = os.path.splitext(os.path.basename(path))[0]
            found |= {"name": name, "file_time": os.path.getmtime(os.path.expanduser(path))}
        yield from _of_json(found, "aichat", report, path, asset)
        return
    parsed = _parsed(data, path, report)
    if is_manifest(parsed) and kind in (None, "ollama"):
        try:
            parsed, kind = saved_chat(parsed, os.path.expanduser(path)), "ollama"
        except ValueError as problem:
            raise UsageError(f"The chat saved in {path} cannot be read: {problem}.") from problem
    yield from _of_json(parsed, kind, report, path, asset)


def _of_lines(file: BinaryIO, report: Report) -> Iterator[Imported]:
    """Read our jsonl, in which a session ends where the next one begins. A line that cannot be read
    is skipped.
    """
    current: Imported | None = None
    for number, line in enumerate(file, 1):
        row = _parsed_or_none(line, report)
        try:
            if not isinstance(row, dict):
                raise ValueError("it is damaged")
            if row.get("format") == FORMAT:
                if current is not None:
                    yield current
                current = None
                session, settings = session_from_dict(row)
                current = Imported(session, [], settings)
            elif current is not None and row.get("session") == current.row.id:
                current.messages.append(stored_from_dict(row))
            else:
                raise ValueError("no session precedes it")
        except MISSHAPEN as problem:
            if line.strip():
                report.notes.append(f"line {number} was left out: {problem}")
    if current is not None:
        yield current


def _of_json(data: Any, kind: str | None, report: Report, path: str,
             asset: Asset) -> Iterator[Imported]:
    found = kind or _kind_of(data)
    if found == "stream-chat":
        report.kind = found
        yield _own(data, path)
    elif found in JSON_KINDS:
        report.kind = found
        yield from JSON_KINDS[found](data, asset)


def _own(data: Any, path: str) -> Imported:
    try:
        session, settings = session_from_dict(data)
        notes: list[str] = []
        messages: list[StoredMessage] = []
        for number, row in enumerate(data["messages"], 1):
            try:
                messages.append(stored_from_dict(_identified(row, data["id"], number)))
            except MISSHAPEN as problem:
                notes.append(f"message {number} was left out: {problem}")
    except MISSHAPEN as problem:
        raise UsageError(f"{path} is not a session of this program: {problem}.") from problem
    return Imported(session, linked(messages), settings, notes)


def _identified(row: dict[str, Any], session: str, number: int) -> dict[str, Any]:
    """Return a message of version 1 with an identity, which that version lacked; the same file
    always gets the same ones.
    """
    if "id" in row:
        return row
    return {**row,
            "id":
            f"{made_identity(f'{session}/{number}', float(row['created']) + number / 1000):032x}"}


def _kind_of(data: Any) -> str:
    """Return the name of the program that wrote the data; empty if unknown."""
    first = data[0] if isinstance(data, list) and data else data
    if not isinstance(first, dict):
        return ""
    if first.get("format") == FORMAT:
        return "stream-chat"
    if first is not data and isinstance(first.get("role"), str):
        return "ollama"
    if isinstance(first.get("chat"), dict) or isinstance(first.get("history"), dict):
        return "openwebui"
    marks = {"mapping": "chatgpt", "chat_messages": "claude", "conversationId": "librechat"}
    other = "aichat" if "model" in first and "messages" in first else ""
    return next((kind for mark, kind in marks.items() if mark in first), other)


def _of_database(path: str, kind: str | None, report: Report) -> Iterator[Imported]:
    from urllib.request import pathname2url
    with closing(connect(f"file:{pathname2url(path)}?mode=ro")) as connection:
        connection.row_factory = sqlite3.Row
        tables = tables_of(connection)
        known = {"llm": {"responses", "conversations"}, "oterm": {"chat", "message"},
                 "ollama": {"chats", "messages", "tool_calls"},
                 "conversations": {"conversations"}}
        found = kind or next((name for name, needed in known.items() if needed <= tables), "")
        if found == "conversations":
            report.kind = found
            yield from read_sqlite(connection, path)
        elif found in DATABASE_KINDS:
            report.kind = found
            yield from DATABASE_KINDS[found](connection)


def _loaded(text: str | bytes, report: Report) -> Any:
    """Parse JSON, and report duplicate keys."""
    duplicates = Duplicates()
    found = json.loads(text, object_pairs_hook=duplicates.from_pairs)
    remark = duplicates.remark().strip("[]")
    if remark and remark not in report.notes:
        report.notes.append(remark)
    return found


def _parsed(data: bytes, path: str, report: Report) -> Any:
    try:
        return _loaded(data, report)
    except (ValueError, RecursionError) as problem:
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
            raise UsageError(f"{path} is not a chat export.", KNOWN) from problem
        if isinstance(problem, UnicodeDecodeError):
            problem = ValueError(f"byte {problem.start:,} is not UTF-8")
        raise UsageError(f"{path} is not valid JSON: {problem}.") from problem


def _parsed_or_none(line: bytes, report: Report) -> Any:
    try:
        return _loaded(line.decode("utf-8", "surrogatepass"), report)
    except (ValueError, RecursionError):
        return None
