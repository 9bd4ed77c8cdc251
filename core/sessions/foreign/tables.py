"""Imports a table `conversations` in PostgreSQL or SQLite, recognising its columns by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from core.config.installed import install_command
from core.errors import StoreError, UsageError
from core.messages import Part, Role, ToolCall, ToolResult
from core.safe_text import safe_line
from core.sessions.foreign.conversation import Imported, Node, build, thinking, words
from core.sessions.foreign.values import moment
from core.store.address import parse_address

TABLE = "conversations"
# Possible names of each column, most likely first.
SESSION = ("conversation_id", "session_id", "chat_id", "thread_id", "session", "conversation")
ROLE = ("role", "sender", "author", "speaker")
CONTENT = ("content", "message", "text", "body")
QUESTION = ("user_message", "user_input", "prompt", "question", "query", "user")
ANSWER = (
    "assistant_message",
    "assistant_response",
    "ai_response",
    "response",
    "answer",
    "assistant",
    "reply",
)
MESSAGES = ("messages", "history", "conversation_json", "data")
TIME = ("created_at", "timestamp", "created", "time", "date", "updated_at")
MODEL = ("model", "model_name")
TITLE = ("title", "name", "topic", "subject")
SYSTEM = ("system", "system_prompt")
ROLES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "you": "user",
    "me": "user",
    "system": "system",
    "tool": "tool",
    "function": "tool",
}


def read_table(
    columns: Sequence[str], rows: Iterator[Mapping[str, Any]], where: str
) -> Iterator[Imported]:
    """Yield sessions from rows in the order of writing. Raises UsageError for unknown columns."""
    have = {column.lower(): column for column in columns}

    def column(names: Sequence[str]) -> str:
        return next((have[name] for name in names if name in have), "")

    named = {
        what: column(names)
        for what, names in (
            ("id", ("id",)),
            ("session", SESSION),
            ("role", ROLE),
            ("content", CONTENT),
            ("question", QUESTION),
            ("answer", ANSWER),
            ("messages", MESSAGES),
            ("time", TIME),
            ("model", MODEL),
            ("title", TITLE),
            ("system", SYSTEM),
        )
    }
    if named["messages"]:
        yield from (_whole(row, named, where, place) for place, row in enumerate(rows))
    elif named["role"] and named["content"] or named["question"] and named["answer"]:
        yield from _of_rows(rows, named, where)
    else:
        raise UsageError(
            f"The table {TABLE} in {where} has unknown columns: "
            f"{safe_line(', '.join(columns), 200)}.",
            "It needs the columns role and content, or question and answer, or messages.",
        )


def _of_rows(
    rows: Iterator[Mapping[str, Any]], named: Mapping[str, str], where: str
) -> Iterator[Imported]:
    """Read rows that contain a message, or a question and its answer."""
    sessions: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = str(row[named["session"]]) if named["session"] else _day(row, named)
        sessions.setdefault(key, []).append(row)
    for key, found in sessions.items():
        nodes: list[Node] = []
        for place, row in enumerate(found):
            name = str(row[named["id"]]) if named["id"] else str(place)
            for number, (role, parts) in enumerate(_said(row, named)):
                _append(
                    nodes,
                    f"{name}:{number}",
                    role,
                    parts,
                    _time(row, named),
                    _text(row, named, "model"),
                )
        yield _built(where, key, found[0], named, nodes)


def _day(row: Mapping[str, Any], named: Mapping[str, str]) -> str:
    """Return the day of a row: without session identifiers, the rows of one day form a session."""
    return str(row[named["time"]])[:10] if named["time"] else "all"


def _said(row: Mapping[str, Any], named: Mapping[str, str]) -> Iterator[tuple[str, list[Part]]]:
    if named["role"] and named["content"]:
        yield str(row[named["role"]] or ""), _parts(row[named["content"]])
        return
    yield "user", _parts(row[named["question"]])
    yield "assistant", _parts(row[named["answer"]])


def _whole(row: Mapping[str, Any], named: Mapping[str, str], where: str, place: int) -> Imported:
    """Read a row that contains a complete conversation as a list of messages."""
    found = _json(row[named["messages"]])
    entries = found.get("messages") if isinstance(found, dict) else found
    nodes: list[Node] = []
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict):
            continue
        parts = thinking(str(entry.get("thinking") or "")) + _parts(entry.get("content"))
        at = moment(_iso(entry.get("timestamp") or entry.get("created_at"))) or _time(row, named)
        _append(
            nodes,
            str(number),
            str(entry.get("role") or ""),
            [*parts, *_calls(entry)],
            at,
            _text(row, named, "model"),
            entry,
        )
    key = (
        str(row[named["session"] or named["id"]]) if named["session"] or named["id"] else str(place)
    )
    return _built(where, key, row, named, nodes)


def _append(
    nodes: list[Node],
    key: str,
    role: str,
    parts: list[Part],
    at: float,
    model: str,
    entry: Mapping[str, Any] | None = None,
) -> None:
    known = ROLES.get(role.lower(), "assistant")
    if known == "tool":
        before = nodes[-1] if nodes else None
        asked = (
            [part for part in before.parts if isinstance(part, ToolCall)]
            if before is not None
            else []
        )
        name = str(
            (entry or {}).get("tool_name")
            or (entry or {}).get("name")
            or (asked[0].name if asked else "tool")
        )
        identity = str((entry or {}).get("tool_call_id") or (asked[0].id if asked else ""))
        text = "".join(getattr(part, "text", "") for part in parts)
        parts = [ToolResult(identity, name, text)]
    nodes.append(
        Node(
            key,
            nodes[-1].key if nodes else "",
            known,
            parts,
            at,
            _target(model) if known == "assistant" else "",
        )
    )


def _calls(entry: Mapping[str, Any]) -> list[Part]:
    """Read tool calls in the formats of Ollama and OpenAI."""
    made: list[Part] = []
    for number, call in enumerate(_json(entry.get("tool_calls")) or ()):
        asked = call.get("function") if isinstance(call, dict) else None
        if isinstance(asked, dict):
            arguments = _json(asked.get("arguments"))
            made.append(
                ToolCall(
                    str(call.get("id") or f"call-{number}"),
                    str(asked.get("name") or ""),
                    arguments if isinstance(arguments, dict) else {},
                )
            )
    return made


def _built(
    where: str, key: str, row: Mapping[str, Any], named: Mapping[str, str], nodes: list[Node]
) -> Imported:
    times = [node.created for node in nodes]
    return build(
        "conversations",
        f"{where}\0{key}",
        _text(row, named, "title"),
        _target(_text(row, named, "model")),
        min(filter(None, times), default=0.0),
        max(times, default=0.0),
        nodes,
        system=_text(row, named, "system"),
    )


def _text(row: Mapping[str, Any], named: Mapping[str, str], what: str) -> str:
    return str(row[named[what]] or "") if named[what] else ""


def _target(model: str) -> str:
    """Return a model with its provider; the predecessor used only Ollama."""
    return f"ollama/{model}" if model and "/" not in model else model


def _time(row: Mapping[str, Any], named: Mapping[str, str]) -> float:
    return moment(_iso(row[named["time"]])) if named["time"] else 0.0


def _iso(value: object) -> object:
    """Return a PostgreSQL date as ISO text; without a time zone it is taken as UTC."""
    if hasattr(value, "isoformat"):
        value = value.isoformat()
    if isinstance(value, str) and len(value) >= 19 and not value.endswith("Z") and "+" not in value:
        return f"{value}+00:00"
    return value


def _parts(value: object) -> list[Part]:
    """Read text, or a list of parts with text."""
    found = _json(value) if isinstance(value, str) and value[:1] in "[{" else value
    if isinstance(found, list) and all(isinstance(piece, dict) for piece in found):
        return [part for piece in found for part in words(piece.get("text"))]
    if isinstance(found, dict) and isinstance(found.get("content"), str):
        return words(found["content"])
    return words(
        value
        if isinstance(value, str)
        else None if value is None else json.dumps(value, ensure_ascii=False)
    )


def _json(value: object) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def read_postgres(url: str) -> Iterator[Imported]:
    """Read the table in a PostgreSQL database without writing to it. Raises UsageError and
    StoreError.
    """
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError as problem:
        raise StoreError(
            "PostgreSQL needs the package psycopg, which is not installed.",
            f"Install it: {install_command('psycopg[binary]')}",
        ) from problem

    place = parse_address(url).place
    try:
        with closing(psycopg.connect(url, connect_timeout=10)) as connection:
            connection.read_only = True
            yield from _of_postgres(connection, dict_row, place)
    except psycopg.Error as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise StoreError(
            f"{place} cannot be read: {reason}", "No more sessions were added."
        ) from problem


def _of_postgres(connection: Any, dict_row: Any, place: str) -> Iterator[Imported]:
    found = connection.execute(
        "SELECT table_schema, column_name FROM information_schema.columns WHERE table_name = %s "
        "AND table_schema NOT IN ('pg_catalog', 'information_schema') "
        "ORDER BY table_schema, ordinal_position",
        (TABLE,),
    ).fetchall()
    if not found:
        raise UsageError(
            f"There is no table {TABLE} in {place}.", "--db-move copies a database of this program."
        )
    from psycopg import sql

    schema = found[0][0]
    columns = [name for owner, name in found if owner == schema]
    order = [column for column in columns if column.lower() in (*TIME[:5], "id")]
    order.sort(key=lambda column: column.lower() == "id")
    query = sql.SQL("SELECT * FROM {}.{}").format(sql.Identifier(schema), sql.Identifier(TABLE))
    if order:
        query += sql.SQL(" ORDER BY ") + sql.SQL(", ").join(map(sql.Identifier, order))
    with connection.cursor("import", row_factory=dict_row) as cursor:
        cursor.execute(query)
        yield from read_table(columns, iter(cursor), place)


def read_sqlite(connection: Any, where: str) -> Iterator[Imported]:
    """Read the table in a SQLite file; rows must be sqlite3.Row."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")]
    rows = (dict(row) for row in connection.execute(f"SELECT * FROM {TABLE} ORDER BY rowid"))
    yield from read_table(columns, rows, where)
