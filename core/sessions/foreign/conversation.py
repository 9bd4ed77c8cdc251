"""Converts other programs' conversations to our sessions (tree, times, models) with stable
identities.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from hashlib import sha256

from core.dataclass import dataclass, field
from core.messages import Message, Part, Role, Text, Thinking, ToolCall, ToolResult
from core.safe_text import safe_line
from core.sessions.titles import LONGEST, title_of_text
from core.store.identity import identity_text, name_letters
from core.store.rows import SessionRow, StoredMessage

EARLIEST = 86_400.0      # earliest plausible time, in seconds since 1970


@dataclass(slots=True)
class Node:
    """A message of another program. `key` and `parent` are identifiers of that program."""

    key: str
    parent: str
    role: Role
    parts: list[Part]
    created: float
    model: str = ""
    broken: bool = False


@dataclass(slots=True)
class Imported:
    """A session that was read, and notes about what could not be imported. `undated`: the file says
    nothing about its time, and it is the present.
    """

    row: SessionRow
    messages: list[StoredMessage]
    settings: str = ""
    notes: list[str] = field(default_factory=list)
    undated: bool = False


def build(kind: str, key: str, title: str, model: str, created: float, updated: float,
          nodes: Iterable[Node], current: str = "",
          *, tags: str = "", pinned: bool = False, archived: bool = False,
          system: str = "") -> Imported:
    """Build a session from nodes. The branch that ends with `current`, or with the last node, is
    shown. `system` is the system prompt. The identities of an undated session do not depend on the
    present, so that it is not added twice.
    """
    known, stands_for = _joined([part for node in _distinct(nodes) for part in _split(node)])
    times = [node.created for node in known if node.created > EARLIEST]
    undated = created <= EARLIEST and not times
    created = created if created > EARLIEST else min(times, default=time.time())
    since = EARLIEST if undated else created
    updated = max(updated, created)
    ids, before = {}, 0
    for node in known:
        at = node.created if node.created > EARLIEST else since
        ids[node.key] = before = max(made_identity(f"{kind}\0{key}\0{node.key}", at), before + 1)
    shown = _path(known, stands_for.get(current, current))
    messages = [StoredMessage(ids[node.key], _message(node, model),
                              "truncated" if node.broken else "complete", node.key in shown,
                              node.created if node.created > EARLIEST else created, "",
                              ids.get(node.parent, 0))
                for node in known]
    number = made_identity(f"{kind}\0{key}", since)
    name = time.strftime("%Y%m%d-%H%M-",
                         time.localtime(created)) + name_letters(number.to_bytes(16, "big")[-4:])
    text = safe_line(" ".join(title.split()), LONGEST) or title_of_text(
        next((part.text for node in known for part in node.parts
              if isinstance(part, Text) and part.text.strip()), ""))
    row = SessionRow(identity_text(number), name, text or "(no text)", model, created, updated, 0,
                     None, int(pinned), "archived" if archived else "open", tags)
    settings = json.dumps({"system": system}, ensure_ascii=False) if system else ""
    return Imported(row, messages, settings, undated=undated)


def left_out(kind: str) -> str:
    """Return the note about a part of an unknown kind."""
    return f"a part of the kind {safe_line(kind, 60) or 'unknown'} was left out"


def made_identity(key: str, at: float) -> int:
    """Return an identity that is always the same for a key and time, so that nothing is added
    twice. It sorts by time like ours.
    """
    chance = int.from_bytes(sha256(key.encode("utf-8", "surrogatepass")).digest()[:10], "big")
    return (int(at * 1000) << 80 | 0x7 << 76 | (chance >> 62 & 0xFFF) << 64 | 0b10 << 62 | chance
            & (1 << 62) - 1)


def _message(node: Node, model: str) -> Message:
    if node.role != "assistant":
        return Message(node.role, tuple(node.parts))
    calls = any(isinstance(part, ToolCall) for part in node.parts)
    return Message("assistant", tuple(node.parts), node.model or model or None, None,
                   "truncated" if node.broken else "tool_calls" if calls else "stop")


def _distinct(nodes: Iterable[Node]) -> list[Node]:
    """Give a message that has the identifier of another one an identifier of its own; the same
    message a second time is left out. Messages after it follow the newest of that identifier.
    """
    first: dict[str, Node] = {}
    newest: dict[str, str] = {}
    found: list[Node] = []
    for node in nodes:
        same = first.setdefault(node.key, node)
        if same is not node and (same.role, same.parts) == (node.role, node.parts):
            continue
        node.parent = newest.get(node.parent, node.parent)
        if same is not node:
            node.key = newest[same.key] = f"{same.key}~{len(found)}"
        found.append(node)
    return found


def _split(node: Node) -> list[Node]:
    """Split a message that contains both calls and results into our separate messages."""
    if node.role != "assistant" or not any(isinstance(part, ToolResult) for part in node.parts):
        return [node]
    groups: list[tuple[Role, list[Part]]] = []
    for part in node.parts:
        role: Role = "tool" if isinstance(part, ToolResult) else "assistant"
        if not groups or groups[-1][0] != role:
            groups.append((role, []))
        groups[-1][1].append(part)
    made, parent = [], node.parent
    for number, (role, parts) in enumerate(groups):
        key = node.key if number == len(groups) - 1 else f"{node.key}#{number}"
        made.append(Node(key, parent, role, parts, node.created, node.model,
                         node.broken and key == node.key))
        parent = key
    return made


def _joined(nodes: list[Node]) -> tuple[list[Node], dict[str, str]]:
    """Return the nodes with parents first, and for each key the message that now contains it.

    Consecutive replies (such as thinking and text) are merged, empty messages are left out, and
    calls and results that do not match become text.
    """
    by_key = {node.key: node for node in nodes}
    children: dict[str, list[Node]] = {}
    for node in by_key.values():
        children.setdefault(node.parent if node.parent in by_key and node.parent != node.key
                            else "", []).append(node)
    stands_for: dict[str, str] = {}
    found: dict[str, Node] = {}
    # Roots first, then nodes on cycles, which no root leads to.
    waiting = list(reversed([*children.get("", ()), *by_key.values()]))
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.key in seen:
            continue
        seen.add(node.key)
        waiting += reversed(children.get(node.key, ()))
        parent = stands_for.get(node.parent, "")
        before = found.get(parent)
        _pair_results(node, before)
        alone = len(children.get(node.parent, ())) == 1
        if not node.parts:
            stands_for[node.key] = parent
        elif (before is not None and before.role == node.role == "assistant" and alone
              and not _calls(before)):
            before.parts += node.parts
            before.model, before.broken = node.model or before.model, node.broken
            stands_for[node.key] = parent
        else:
            node.parent = parent
            found[node.key] = node
            stands_for[node.key] = node.key
    _unpaired(found)
    return list(found.values()), stands_for


def _calls(node: Node) -> list[ToolCall]:
    return [part for part in node.parts if isinstance(part, ToolCall)]


def _pair_results(node: Node, before: Node | None) -> None:
    """Match results with the calls just before them; others become text."""
    asked = {call.id for call in _calls(before)} if before is not None else set()
    if node.role == "tool" and not (asked
                                    and {part.id for part in node.parts
                                         if isinstance(part, ToolResult)} == asked):
        node.parts = [Text(f"[{part.name}] {part.content}") if isinstance(part, ToolResult)
                      else part for part in node.parts]
        node.role = "assistant"


def _unpaired(found: dict[str, Node]) -> None:
    """Turn calls without results into text, since no provider accepts them."""
    answered = {node.parent for node in found.values() if node.role == "tool"}
    for node in found.values():
        if _calls(node) and node.key not in answered:
            node.parts = [Text(f"[{part.name} was called: {part.arguments or part.invalid or ''}]")
                          if isinstance(part, ToolCall) else part for part in node.parts]


def _path(nodes: Sequence[Node], current: str) -> set[str]:
    by_key = {node.key: node for node in nodes}
    at = current if current in by_key else nodes[-1].key if nodes else ""
    shown: set[str] = set()
    while at in by_key and at not in shown:
        shown.add(at)
        at = by_key[at].parent
    return shown


def thinking(text: str) -> list[Part]:
    return [Thinking(text)] if text.strip() else []


def words(text: object) -> list[Part]:
    return [Text(text)] if isinstance(text, str) and text.strip() else []
