"""Imports exports of Open WebUI and LibreChat."""

from __future__ import annotations

import html
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from core.messages import Part, Role, ToolResult
from core.regex import regex
from core.sessions.foreign.conversation import Imported, Node, build, left_out, thinking, words
from core.sessions.foreign.values import (
    UNREADABLE, a_dict, a_list, a_text, call_of, image_of_base64, image_parts, is_legible, moment,
    output_text)

Asset = Callable[[str], bytes | None]
Row = Mapping[str, Any]


# ---- Open WebUI: a list of chats, each with a history

def read_openwebui(data: Any, _asset: Asset) -> Iterator[Imported]:
    for entry in map(a_dict, a_list(data)):
        chat = a_dict(entry.get("chat")) or entry
        history, notes = a_dict(chat.get("history")), list[str]()
        nodes = [
            _webui_node(str(key), a_dict(value), notes)
            for key, value in a_dict(history.get("messages")).items()
        ]
        models = a_list(chat.get("models"))
        title = a_text(entry.get("title") or chat.get("title"))
        made = build(
            "openwebui",
            a_text(entry.get("id") or chat.get("id")) or a_text(chat.get("title")),
            title,
            a_text(models[0]) if models else "",
            moment(entry.get("created_at") or chat.get("timestamp")),
            moment(entry.get("updated_at")),
            nodes,
            a_text(history.get("currentId")),
            tags=_webui_tags(entry, chat),
            pinned=entry.get("pinned") is True,
            archived=entry.get("archived") is True,
            system=a_text(a_dict(chat.get("params")).get("system")) or a_text(chat.get("system")),
        )
        made.notes += notes
        yield made


def _webui_tags(entry: Row, chat: Row) -> str:
    tags = a_list(a_dict(entry.get("meta")).get("tags")) or a_list(chat.get("tags"))
    return " ".join(tag.replace(" ", "-") for tag in tags if isinstance(tag, str))


def _webui_node(key: str, value: Row, notes: list[str]) -> Node:
    role: Role = "user" if a_text(value.get("role")).lower() == "user" else "assistant"
    if a_text(value.get("role")).lower() == "system":
        role = "system"
    parts = _webui_output(value.get("output"), notes)
    parts = parts or _webui_content(value.get("content"), role, notes)
    notes += [] if parts or is_legible(value) else [UNREADABLE]
    for file in map(a_dict, a_list(value.get("files"))):
        image = image_of_base64(file.get("url"), a_text(file.get("name")))
        name = a_text(file.get("name")) or a_text(file.get("url"))[:60] or "unnamed"
        parts += [image] if image is not None else []
        notes += [] if image is not None else [f"the file {name} is not in the export"]
    return Node(
        key, a_text(value.get("parentId")), role, parts, moment(value.get("timestamp")),
        a_text(value.get("model")),
    )


def _webui_output(output: object, notes: list[str]) -> list[Part]:
    """Read what newer versions store beside the text: thinking, calls, results and text in order.
    """
    found: list[Part] = []
    names: dict[str, str] = {}
    for item in map(a_dict, a_list(output)):
        identity = a_text(item.get("call_id"))
        match item.get("type"):
            case "message":
                found += words(output_text(item.get("content")))
            case "reasoning":
                thoughts = a_list(item.get("summary")) or a_list(item.get("content"))
                found += thinking(output_text(thoughts))
            case "function_call":
                call = call_of(identity, item.get("name"), item.get("arguments"))
                names[identity] = call.name
                found.append(call)
            case "function_call_output":
                content = output_text(item.get("output"))
                found.append(ToolResult(identity, names.get(identity, ""), content))
            case kind:
                notes.append(left_out(a_text(kind)))
    return found


def _webui_content(content: object, role: Role, notes: list[str]) -> list[Part]:
    """Read the text of a message. In a reply, thinking and calls are <details> elements in it."""
    if isinstance(content, str):
        return list(_pieces(content)) if role == "assistant" else words(content)
    found: list[Part] = []
    for piece in map(a_dict, a_list(content)):
        found += words(piece.get("text"))
        if "image_url" in piece:
            found += image_parts(a_dict(piece["image_url"]).get("url"))
        elif "text" not in piece:
            notes.append(left_out(a_text(piece.get("type"))))
    return found


_ATTRIBUTE = regex(r'(\w+)="([^"]*)"')
_END = "</details>"


def _pieces(text: str) -> Iterator[Part]:
    """Yield the parts of a reply whose thinking and calls are <details> elements."""
    at = kept = 0
    while (start := text.find('<details type="', at)) >= 0:
        end = text.find(_END, start)
        if end < 0:
            break
        head, _, body = text[start:end].partition(">")
        at = end + len(_END)
        found = _details(dict(_ATTRIBUTE.findall(head)), body.partition("</summary>")[2].strip())
        if found:
            yield from words(text[kept:start].strip("\n"))
            yield from found
            kept = at
    yield from words(text[kept:].strip("\n") if kept else text)


def _details(attributes: Mapping[str, str], body: str) -> list[Part]:
    """Read an element; return no parts for another kind, which stays text."""
    if attributes.get("type") == "reasoning":
        lines = html.unescape(body).split("\n")
        return thinking("\n".join(line.removeprefix(">").removeprefix(" ") for line in lines))
    if attributes.get("type") != "tool_calls" or not attributes.get("name"):
        return []
    identity = attributes.get("id") or f"call_{attributes['name']}"
    arguments = _json(attributes.get("arguments", ""))
    call = call_of(identity, html.unescape(attributes["name"]), arguments)
    result = output_text(_json(attributes.get("result") or body))
    return [call, ToolResult(identity, call.name, result)]


def _json(text: str) -> object:
    """Parse escaped JSON; return the text itself if it is not JSON."""
    plain = html.unescape(text)
    try:
        read: object = json.loads(plain)
    except (ValueError, RecursionError):
        return plain
    return read


# ---- LibreChat: one conversation with a flat or nested list of messages

def read_librechat(data: Any, _asset: Asset) -> Iterator[Imported]:
    for entry in map(a_dict, data if isinstance(data, list) else [data]):
        notes: list[str] = []
        shared = a_text(entry.get("shareId"))
        nodes = _librechat_nodes(entry, bool(shared), notes)
        title = a_text(entry.get("title"))
        options = a_dict(entry.get("options"))
        made = build(
            "librechat",
            shared or a_text(entry.get("conversationId")) or title,
            title,
            _model(entry.get("endpoint"), options.get("model")),
            moment(entry.get("createdAt") or entry.get("exportAt")),
            0.0,
            nodes,
            system=a_text(options.get("promptPrefix")) or a_text(options.get("system")),
        )
        made.notes += notes
        yield made


def _librechat_nodes(entry: Row, shared: bool, notes: list[str]) -> list[Node]:
    """Read the messages. Shared conversations have new identifiers each time, so positions are used
    instead.
    """
    nodes: list[Node] = []
    held = a_list(entry.get("messages")) or a_list(entry.get("messagesTree"))
    held = held or a_list(a_dict(entry.get("messages")).get("children"))
    waiting = deque((message, "") for message in held)
    places = {
        a_text(a_dict(message).get("messageId")): f"#{place}"
        for place, (message, _) in enumerate(waiting)
    }
    while waiting:
        message, above = waiting.popleft()
        message = a_dict(message)
        notes += [] if is_legible(message) else [UNREADABLE]
        name = a_text(message.get("messageId"))
        before = a_text(message.get("parentMessageId")) or above
        key, parent = name or f"#{len(nodes)}", before
        if shared:
            key, parent = places.get(name, key), places.get(before, before)
        mine = message.get("isCreatedByUser") is True or a_text(message.get("sender")) == "User"
        nodes.append(Node(
            key, parent, "user" if mine else "assistant", _librechat_parts(message, key, notes),
            moment(message.get("createdAt")),
            "" if mine else _model(entry.get("endpoint"), message.get("model")),
            message.get("unfinished") is True,
        ))
        waiting += [(child, key) for child in a_list(message.get("children"))]
    return nodes


# The fields of a LibreChat part that are read here.
PARTS = frozenset({"text", "think", "error", "tool_call", "image_url", "image_file"})


def _librechat_parts(message: Row, key: str, notes: list[str]) -> list[Part]:
    parts = words(message.get("text"))
    for number, part in enumerate(map(a_dict, a_list(message.get("content")))):
        if not PARTS & part.keys():
            notes.append(left_out(a_text(part.get("type"))))
        parts += thinking(_value(part.get("think"))) + words(_value(part.get("text")))
        if part.get("type") == "error":
            parts += words(part.get("error"))
        if isinstance(part.get("tool_call"), dict):
            parts += _librechat_call(part["tool_call"], f"{key}_{number}")
        elif "tool_call" in part:
            notes.append("a tool call that cannot be read was left out")
        if isinstance(part.get("image_url"), dict):
            parts += image_parts(part["image_url"].get("url"))
        if isinstance(part.get("image_file"), dict):
            notes.append(f"the file {_file_name(part['image_file'])} is not in the export")
    notes += [
        f"the file {_file_name(file)} is not in the export"
        for file in map(a_dict, a_list(message.get("files")))
    ]
    return parts


def _file_name(file: Row) -> str:
    return a_text(file.get("filename")) or a_text(file.get("file_id")) or "unnamed"


def _librechat_call(entry: Row, key: str) -> list[Part]:
    """Read a call and its result, as assistants, agents and tools write them."""
    inner = a_dict(entry.get("function")) or a_dict(entry.get("code_interpreter")) or entry
    identity = a_text(entry.get("id")) or key
    given = [inner[name] for name in ("arguments", "args", "input") if name in inner]
    arguments: object = given[0] if given else {}
    name = a_text(inner.get("name")) or a_text(entry.get("type")) or "tool"
    if not isinstance(arguments, dict) and "input" in inner:
        arguments = {"input": arguments}
    call = call_of(identity, name, arguments)
    output = inner["output"] if "output" in inner else inner.get("outputs")
    return [call, ToolResult(identity, name, output_text(output))]


def _value(text: object) -> str:
    """Return text that may be wrapped in an object."""
    return a_text(text) or a_text(a_dict(text).get("value"))


def _model(endpoint: object, name: object) -> str:
    provider, text = a_text(endpoint).lower(), a_text(name)
    return text if not text or "/" in text or not provider else f"{provider}/{text}"
