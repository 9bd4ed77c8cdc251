"""Imports Ollama's own chats: those of its app, and those saved in a model with `/save`."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from core.messages import Part, ToolCall, ToolResult
from core.sessions.foreign.conversation import Imported, Node, build, thinking, words
from core.sessions.foreign.values import (MOST_IMAGE, a_dict, a_list, a_text, call_of, image_of,
                                          image_parts, moment, output_text, utc)

MESSAGES = "application/vnd.ollama.image.messages"  # the layers of a saved model
SYSTEM = "application/vnd.ollama.image.system"
MOST_BLOB = 200_000_000  # bytes of a saved chat
Row = Mapping[str, Any]


class _Talk:
    """The messages of one chat in order; tool results follow the message with the calls."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.system = ""
        self._open: dict[str, ToolCall] = {}  # calls without a result so far
        self._kept: Mapping[str, str] = {}  # results stored with the calls

    def add(
        self,
        key: str,
        role: str,
        parts: list[Part],
        at: float,
        model: str = "",
        results: Mapping[str, str] | None = None,
    ) -> None:
        self.end()
        if role == "system":
            self.system = "\n\n".join(filter(None, [self.system, *map(_text_of, parts)]))
            return
        self._append(key, "user" if role == "user" else "assistant", parts, at, model)
        self._open = {part.id: part for part in parts if isinstance(part, ToolCall)}
        self._kept = results or {}

    def answer(self, key: str, text: str, at: float, name: str = "", call: str = "") -> None:
        """Add the result of a call: the named one, or the next one without a result."""
        asked = self._open.get(call) or next(iter(self._open.values()), None)
        if asked is not None:
            del self._open[asked.id]
        known = (asked.id, name or asked.name) if asked is not None else (call, name)
        result = ToolResult(*known, text)
        if self.nodes and self.nodes[-1].role == "tool":
            self.nodes[-1].parts.append(result)
        else:
            self._append(key, "tool", [result], at)

    def end(self) -> None:
        """Give calls without a result message the results that were stored with them."""
        for call in list(self._open.values()):
            last = self.nodes[-1]
            if call.id in self._kept or last.role == "tool":
                result = self._kept.get(call.id, "")
                self.answer(f"{last.key}:r", result, last.created, call=call.id)
        self._open = {}

    def _append(self, key: str, role: Any, parts: list[Part], at: float, model: str = "") -> None:
        parent = self.nodes[-1].key if self.nodes else ""
        self.nodes.append(Node(key, parent, role, parts, at, model))


def _text_of(part: Part) -> str:
    return a_text(getattr(part, "text", ""))


def _named(model: object) -> str:
    return f"ollama/{model}" if isinstance(model, str) and model else ""


# ---- the app: db.sqlite

def read_app(connection: sqlite3.Connection) -> Iterator[Imported]:
    chats = connection.execute("SELECT * FROM chats ORDER BY created_at, id").fetchall()
    for chat in map(dict, chats):
        talk, notes, model, changed = _Talk(), list[str](), "", 0.0
        chosen = "SELECT * FROM messages WHERE chat_id = ? ORDER BY id"
        rows = connection.execute(chosen, (chat["id"],))
        for row in map(dict, rows.fetchall()):
            _add_row(connection, talk, row, notes)
            model = _named(row.get("model_name")) or model
            changed = max(changed, moment(utc(row.get("updated_at"))))
        talk.end()
        made = build(
            "ollama",
            str(chat["id"]),
            a_text(chat.get("title")),
            model,
            moment(utc(chat.get("created_at"))),
            changed,
            talk.nodes,
            system=talk.system,
        )
        made.notes += notes
        yield made


def _add_row(connection: sqlite3.Connection, talk: _Talk, row: Row, notes: list[str]) -> None:
    key, at, role = str(row["id"]), moment(utc(row.get("created_at"))), a_text(row.get("role"))
    content = a_text(row.get("content"))
    if role == "tool":
        talk.answer(key, content or a_text(row.get("tool_result")), at)
        return
    parts = [*thinking(a_text(row.get("thinking"))), *words(content)]
    parts += _attachments(connection, row["id"], notes)
    results: dict[str, str] = {}
    for call, result in _calls(connection, row["id"]):
        parts.append(call)
        if result is not None:
            results[call.id] = result
    talk.add(key, role, parts, at, _named(row.get("model_name")), results)


def _calls(
    connection: sqlite3.Connection, message: object
) -> Iterator[tuple[ToolCall, str | None]]:
    """Yield a message's calls, which have no identity there, with the results stored with them."""
    chosen = "SELECT * FROM tool_calls WHERE message_id = ? ORDER BY id"
    for row in map(dict, connection.execute(chosen, (message,)).fetchall()):
        kept = row.get("function_result")
        call = call_of(f"call_{row['id']}", row.get("function_name"), row.get("function_arguments"))
        yield call, a_text(kept) if kept else None


def _attachments(
    connection: sqlite3.Connection, message: object, notes: list[str]
) -> Iterator[Part]:
    sql = "SELECT name FROM sqlite_master WHERE name = 'attachments'"
    if connection.execute(sql).fetchone() is None:  # before version 3 of the schema
        return
    rows = connection.execute(
        "SELECT filename, substr(data, 1, ?) FROM attachments WHERE message_id = ? ORDER BY id",
        (MOST_IMAGE, message),
    )
    for name, data in rows.fetchall():
        held = data.encode() if isinstance(data, str) else bytes(data or b"")
        image = image_of(held, a_text(name))
        if image is not None:
            yield image
            continue
        try:
            yield from words(f"[{a_text(name)}]\n{held.decode()}")
        except UnicodeDecodeError:
            notes.append(f"the file {a_text(name)} was left out: it is neither text nor a picture")


# ---- /save: messages in a layer of the model

def read_saved(data: Any, _asset: object) -> Iterator[Imported]:
    """Read a list of messages, alone or with the model data from saved_chat()."""
    entry = {"messages": data} if isinstance(data, list) else a_dict(data)
    talk, at = _Talk(), moment(entry.get("file_time"))
    talk.system = a_text(entry.get("system"))
    model = _named(entry.get("model"))
    for place, message in enumerate(map(a_dict, a_list(entry.get("messages")))):
        key, role = f"#{place}", a_text(message.get("role")) or "assistant"
        content = output_text(message.get("content"))
        if role == "tool":
            name = a_text(message.get("tool_name")) or a_text(message.get("name"))
            talk.answer(key, content, at, name, a_text(message.get("tool_call_id")))
        else:
            talk.add(key, role, _saved_parts(message, content, place), at, model)
    talk.end()
    yield build(
        "ollama",
        a_text(entry.get("key")) or json.dumps(entry, default=str)[:500],
        a_text(entry.get("model")),
        model,
        at,
        at,
        talk.nodes,
        system=talk.system,
    )


def _saved_parts(message: Row, content: str, place: int) -> list[Part]:
    parts = [*thinking(a_text(message.get("thinking"))), *words(content)]
    for image in a_list(message.get("images")):
        parts += image_parts(image)
    for number, entry in enumerate(map(a_dict, a_list(message.get("tool_calls")))):
        function = a_dict(entry.get("function"))
        identity = a_text(entry.get("id")) or f"call_{place}_{number}"
        parts.append(call_of(identity, function.get("name"), function.get("arguments")))
    return parts


def is_manifest(data: object) -> bool:
    """Return whether this is a model manifest, as Ollama keeps it under `manifests`."""
    return isinstance(data, dict) and isinstance(data.get("layers"), list)


def saved_chat(manifest: Row, path: str) -> dict[str, Any]:
    """Return the chat saved in a model, whose messages are in another of Ollama's files.

    A model without a saved chat has no messages. Raises OSError and ValueError.
    """
    path = os.path.abspath(path)
    folder, found, name = path.rpartition(f"{os.sep}manifests{os.sep}")
    digests = {
        a_text(layer.get("mediaType")): a_text(layer.get("digest"))
        for layer in map(a_dict, manifest["layers"])
    }
    *_, model, tag = ["", "", *name.split(os.sep)]
    entry: dict[str, Any] = {
        "model": model if tag == "latest" else f"{model}:{tag}",
        "key": digests.get(MESSAGES, ""),
        "messages": [],
        "file_time": os.path.getmtime(path),
    }
    if found and digests.get(MESSAGES):
        entry["messages"] = json.loads(_blob(folder, digests[MESSAGES]))
        system = digests.get(SYSTEM)
        entry["system"] = _blob(folder, system).decode("utf-8", "replace") if system else ""
    return entry


def _blob(folder: str, digest: str) -> bytes:
    kind, _, number = digest.partition(":")
    if kind != "sha256" or not number.isalnum():
        raise ValueError(f"{digest!r} does not name a file")
    with open(os.path.join(folder, "blobs", f"sha256-{number}"), "rb") as file:
        return file.read(MOST_BLOB)
