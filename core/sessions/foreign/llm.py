"""Imports the message store of llm 0.32 and later, in which threads share messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from core.messages import Part, Role, Text, Thinking, ToolCall, ToolResult
from core.sessions.foreign.conversation import Imported, Node, build, words
from core.sessions.foreign.values import MOST_IMAGE, a_dict, image_of, json_of, moment, utc

ROLES: Mapping[str, Role] = {"assistant": "assistant", "tool": "tool"}  # others: user
Row = Mapping[str, Any]


def read_threads(connection: sqlite3.Connection) -> Iterator[Imported]:
    """Yield a session for each thread, and one for each turn without a thread."""
    names = {row["id"]: row for row in connection.execute("SELECT * FROM threads")}
    keys = "SELECT DISTINCT coalesce(thread_id, id) FROM turns ORDER BY 1"
    for (key,) in connection.execute(keys).fetchall():
        chosen = "SELECT * FROM turns WHERE coalesce(thread_id, id) = ? ORDER BY datetime_utc, id"
        turns = [dict(row) for row in connection.execute(chosen, (key,))]
        reader = _Thread(connection)
        for turn in turns:
            reader.add(turn)
        thread = names.get(key)
        title, tip = (thread["name"], thread["tip_message_hash"]) if thread else ("", "")
        model, nodes = str(turns[-1].get("model") or ""), list(reader.nodes.values())
        updated = nodes[-1].created if nodes else 0.0
        made = build("llm", str(key), title or "", model, 0.0, updated, nodes, tip or "",
                     system=reader.system)
        yield made


def threads_of(connection: sqlite3.Connection, tables: set[str]) -> set[str]:
    """Return the conversations in the message store; earlier tables may contain their beginnings.
    """
    if not {"messages", "parts", "threads", "turns"} <= tables:
        return set()
    return {str(row[0]) for row in connection.execute("SELECT coalesce(thread_id, id) FROM turns")}


class _Thread:
    """The messages of one thread with all its branches."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.nodes: dict[str, Node] = {}
        self.system = ""
        self._run = connection.execute
        self._stands_for: dict[str, str] = {}  # a system prompt is not a message here

    def add(self, turn: Row) -> None:
        """Add the messages of a turn that no earlier turn had."""
        begun = moment(utc(turn.get("datetime_utc")))
        ended = begun + (turn.get("duration_ms") or 0) / 1000
        before = turn.get("parent_message_hash")
        given = False
        chain: dict[str, tuple[Row, bool]] = {}
        at = turn.get("tip_message_hash")
        while at and at not in self.nodes and at not in self._stands_for and at not in chain:
            given = given or at == before
            row = self._run("SELECT * FROM messages WHERE hash = ?", (at,)).fetchone()
            if row is None:
                break
            chain[at] = row, given
            at = row["parent_hash"]
        for row, was_given in reversed(chain.values()):
            self._add(row, begun if was_given else ended, str(turn.get("model") or ""))

    def _add(self, row: Row, created: float, model: str) -> None:
        key, before = str(row["hash"]), str(row["parent_hash"] or "")
        before = self._stands_for.get(before, before)
        before = before if before in self.nodes else ""  # a damaged chain may contain a cycle
        parts = list(self._parts(key))
        if row["role"] == "system":
            said = "".join(part.text for part in parts if isinstance(part, Text))
            self.system, self._stands_for[key] = said or self.system, before
            return
        role = ROLES.get(str(row["role"]), "user")
        self.nodes[key] = Node(key, before, role, parts, created, model * (role == "assistant"))

    def _parts(self, message: str) -> Iterator[Part]:
        rows = self._run("SELECT * FROM parts WHERE message_hash = ? ORDER BY position", (message,))
        for row in rows.fetchall():
            payload = a_dict(json_of(row["payload"]))
            text = row["text"] if row["text"] is not None else self._joined(payload)
            call = str(payload.get("tool_call_id") or "")
            name = str(payload.get("name") or row["tool_name"] or "")
            match row["type"]:
                case "text":
                    yield from words(text)
                case "reasoning" if text:
                    yield Thinking(text)
                case "tool_call":
                    given = payload.get("arguments")
                    yield ToolCall(call, name, given if isinstance(given, dict) else {})
                case "tool_result":
                    failed = bool(payload.get("exception"))
                    yield ToolResult(call, name, str(payload.get("output") or ""), failed)
                    for reference in payload.get("attachments") or ():
                        yield from self._image(reference)
                case "attachment":
                    yield from self._image(payload.get("attachment"))

    def _joined(self, payload: Row) -> str:
        """Return a text with its fragments, which are stored once and referenced."""
        pieces = []
        for piece in payload.get("text_ref") or ():
            if "literal" in piece:
                pieces.append(str(piece["literal"]))
                continue
            found = self._run("SELECT content FROM fragments WHERE id = ?", (piece["fragment"],))
            pieces += [str(row[0]) for row in found]
        return "".join(pieces) or str(payload.get("text") or "")

    def _image(self, reference: object) -> Iterator[Part]:
        if isinstance(reference, dict):
            found = self._run(
                "SELECT content FROM attachments WHERE id = ? AND length(content) < ?",
                (reference.get("id"), MOST_IMAGE),
            ).fetchone()
            image = image_of(bytes(found[0])) if found is not None and found[0] else None
            if image is not None:
                yield image
