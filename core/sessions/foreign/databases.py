"""Imports databases of other programs: the logs of llm, and oterm's chats."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from core.messages import Part, Role, ToolCall, ToolResult
from core.sessions.foreign.conversation import Imported, Node, build, words
from core.sessions.foreign.llm import read_threads, threads_of
from core.sessions.foreign.values import (MOST_IMAGE, a_dict, a_list, a_text, image_of,
                                          image_of_base64, json_of, moment, utc)

# Its names of providers that have other names here.
OTERM_PROVIDERS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "google": "gemini",
    "google-gla": "gemini",
}


def tables_of(connection: sqlite3.Connection) -> set[str]:
    return {row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def read_llm(connection: sqlite3.Connection) -> Iterator[Imported]:
    """Read llm's logs. Each response is a question and its answer; one without a conversation
    becomes its own session.
    """
    tables = tables_of(connection)
    stored = threads_of(connection, tables)
    if stored:
        yield from read_threads(connection)
    names = {row["id"]: (row["name"] or "", row["model"] or "")
             for row in connection.execute("SELECT * FROM conversations")}
    keys = [row[0]
            for row in connection.execute("SELECT DISTINCT coalesce(conversation_id, id) FROM "
                                          "responses ORDER BY 1")]
    for key in keys:
        if str(key) in stored:  # its message store has the complete conversation
            continue
        rows = connection.execute("SELECT * FROM responses WHERE coalesce(conversation_id, id) = ? "
                                  "ORDER BY datetime_utc, id",
                                  (key,))
        nodes: list[Node] = []
        system = model = ""
        for row in map(dict, rows):
            at, system, model = (moment(utc(row.get("datetime_utc"))), row.get("system") or system,
                                 row.get("model") or model)
            question: list[Part] = [*words(row.get("prompt")),
                                    *_images(connection, tables, row["id"])]
            results = _results(connection, tables, row["id"])
            before = nodes[-1].key if nodes else ""
            if results:
                nodes.append(Node(f"{row['id']}:r", before, "tool", results, at))
                before = f"{row['id']}:r"
            if question or not results:
                nodes.append(Node(f"{row['id']}:q", before, "user", question, at))
                before = f"{row['id']}:q"
            nodes.append(Node(f"{row['id']}:a", before, "assistant",
                              [*words(row.get("response")), *_calls(connection, tables, row["id"])],
                              at + (row.get("duration_ms") or 0) / 1000, row.get("model") or ""))
        name, first_model = names.get(key, ("", ""))
        made = build("llm", str(key), name, model or first_model, 0.0,
                     nodes[-1].created if nodes else 0.0, nodes, system=system or "")
        yield made


def _images(connection: sqlite3.Connection, tables: set[str], response: str) -> list[Part]:
    if not {"attachments", "prompt_attachments"} <= tables:
        return []
    rows = connection.execute(
        "SELECT content FROM attachments JOIN prompt_attachments ON attachment_id = attachments.id "
        'WHERE response_id = ? AND length(content) < ? ORDER BY "order"', (response, MOST_IMAGE))
    return [image for row in rows
            if row[0] is not None and (image := image_of(bytes(row[0]))) is not None]


def _calls(connection: sqlite3.Connection, tables: set[str], response: str) -> list[Part]:
    if "tool_calls" not in tables:
        return []
    rows = connection.execute("SELECT tool_call_id, name, arguments FROM tool_calls WHERE "
                              "response_id = ? ORDER BY id", (response,))
    return [ToolCall(str(row[0]), str(row[1]), a_dict(json_of(row[2]))) for row in rows]


def _results(connection: sqlite3.Connection, tables: set[str], response: str) -> list[Part]:
    if "tool_results" not in tables:
        return []
    rows = connection.execute("SELECT tool_call_id, name, output FROM tool_results WHERE "
                              "response_id = ? ORDER BY id", (response,))
    return [ToolResult(str(row[0]), str(row[1]), str(row[2] or "")) for row in rows]


def read_oterm(connection: sqlite3.Connection) -> Iterator[Imported]:
    for chat in map(dict, connection.execute("SELECT * FROM chat ORDER BY id").fetchall()):
        nodes: list[Node] = []
        chosen = "SELECT * FROM message WHERE chat_id = ? ORDER BY id"
        rows = connection.execute(chosen, (chat["id"],))
        for row in map(dict, rows):
            who = str(row.get("role") or row.get("author") or "")
            pictures = [image_of_base64(picture) for picture in a_list(json_of(row.get("images")))]
            parts = [*words(row.get("text")), *filter(None, pictures)]
            role: Role = "user" if who in ("user", "me") else "assistant"
            before, at = nodes[-1].key if nodes else "", moment(row.get("created_at"))
            nodes.append(Node(str(row["id"]), before, role, parts, at))
        name, model = str(chat.get("name") or ""), str(chat.get("model") or "")
        provider = OTERM_PROVIDERS.get(str(chat.get("provider") or ""), chat.get("provider"))
        if model and "/" not in model:
            model = f"{provider or 'ollama'}/{model}"
        at = moment(chat.get("created_at"))
        made = build("oterm", str(chat["id"]) + name, name, model, at, 0.0, nodes,
                     system=a_text(chat.get("system")))
        yield made
