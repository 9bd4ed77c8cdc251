"""What other programs export: one reader for each,
which takes what was read of a file and gives the sessions in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from core.messages import Image, Part, Role, ToolCall, ToolResult
from core.sessions.foreign import Imported, Node, build, thinking, words

Asset = Callable[[str], bytes | None]    # the file of an export whose name begins so
MOST_ASSET = 20_000_000       # bytes of a picture
KINDS_OF_IMAGE = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif",
                  b"RIFF": "image/webp"}


def moment(value: object) -> float:
    """Seconds since 1970 of a number (also of milliseconds or more) or an ISO date;
    0 for what is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
        while seconds > 1e11:
            seconds /= 1000
        return seconds if seconds > 0 else 0.0
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        except (ValueError, OverflowError):
            return 0.0
    return 0.0


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


# ---- ChatGPT: conversations.json, a list of trees

def read_chatgpt(data: Any, asset: Asset) -> Iterator[Imported]:
    for entry in map(_dict, _list(data)):
        notes: list[str] = []
        nodes = [node for key, value in _dict(entry.get("mapping")).items()
                 for node in [_chatgpt_node(str(key), _dict(value), asset, notes)]
                 if node is not None]
        made = build("chatgpt", _text(entry.get("conversation_id") or entry.get("id"))
                     or _text(entry.get("title")),
                     _text(entry.get("title")), _model("openai", entry.get("default_model_slug")),
                     moment(entry.get("create_time")),
                     moment(entry.get("update_time")), nodes, _text(entry.get("current_node")),
                     archived=entry.get("is_archived") is True)
        made.notes += notes
        yield made


def _chatgpt_node(key: str, value: dict[str, Any], asset: Asset, notes: list[str]) -> Node:
    message = _dict(value.get("message"))
    role = _text(_dict(message.get("author")).get("role"))
    hidden = _dict(message.get("metadata")).get("is_visually_hidden_from_conversation") is True
    parts = ([] if hidden or role == "system"
             else _chatgpt_parts(_dict(message.get("content")), asset, notes))
    recipient = _text(message.get("recipient"))
    if role == "assistant" and recipient not in ("", "all") and parts:
        text = "".join(getattr(part, "text", "") for part in parts)
        parts = [ToolCall(key, recipient, {"input": text})]
    if role == "tool":
        text = "".join(getattr(part, "text", "") for part in parts)
        name = _text(_dict(message.get("author")).get("name"))
        parts = [ToolResult(_text(value.get("parent")), name, text)] if text or not parts else parts
    return Node(key, _text(value.get("parent")), _role(role), parts,
                moment(message.get("create_time")),
                _model("openai", _dict(message.get("metadata")).get("model_slug")),
                message.get("status") == "in_progress")


def _chatgpt_parts(content: dict[str, Any], asset: Asset, notes: list[str]) -> list[Part]:
    kind = _text(content.get("content_type"))
    if kind == "thoughts":
        return thinking("\n\n".join(_text(_dict(entry).get("content"))
                                    for entry in _list(content.get("thoughts"))))
    if kind in ("reasoning_recap", "user_editable_context", "model_editable_context"):
        return []
    found: list[Part] = []
    for part in _list(content.get("parts")) or [content.get("text")]:
        found += words(part)
        pointer = _text(_dict(part).get("asset_pointer"))
        if pointer:
            image = image_of(asset(pointer.rpartition("/")[2]) or b"", pointer.rpartition("/")[2])
            found += [image] if image else []
            notes += [] if image else ["an attachment is not in the file "
                                       f"({_text(_dict(part).get('content_type')) or 'unknown'})"]
        elif isinstance(part, dict):
            found += words(part.get("text"))
    return found


def image_of(data: bytes, name: str = "") -> Image | None:
    """An image part of the bytes of a picture; None for other bytes."""
    kind = next((kind for start, kind in KINDS_OF_IMAGE.items() if data.startswith(start)), None)
    return Image(kind, base64.b64encode(data).decode(), name) if kind else None


# ---- Claude: conversations.json, a list with chat_messages

def read_claude(data: Any, asset: Asset) -> Iterator[Imported]:
    for entry in map(_dict, _list(data)):
        notes: list[str] = []
        nodes: list[Node] = []
        for message in map(_dict, _list(entry.get("chat_messages"))):
            parent = message.get("parent_message_uuid")
            before = _text(parent) if parent is not None else nodes[-1].key if nodes else ""
            nodes.append(Node(_text(message.get("uuid")) or f"#{len(nodes)}", before,
                              _role(_text(message.get("sender"))),
                              _claude_parts(message, notes), moment(message.get("created_at"))))
        made = build("claude", _text(entry.get("uuid")), _text(entry.get("name")),
                     _model("anthropic", entry.get("model")),
                     moment(entry.get("created_at")), moment(entry.get("updated_at")), nodes,
                     _text(entry.get("current_leaf_message_uuid")))
        made.notes += notes
        yield made


def _claude_parts(message: dict[str, Any], notes: list[str]) -> list[Part]:
    found: list[Part] = []
    for number, part in enumerate(map(_dict, _list(message.get("content")))):
        match part.get("type"):
            case "text":
                found += words(part.get("text"))
            case "thinking":
                found += thinking(_text(part.get("thinking")))
            case "tool_use":
                identity = _text(part.get("id")) or f"call_{number}"
                found.append(ToolCall(identity, _text(part.get("name")), _dict(part.get("input"))))
            case "tool_result":
                last = next((call.id for call in reversed(found) if isinstance(call, ToolCall)), "")
                pieces = [_text(_dict(piece).get("text")) for piece in _list(part.get("content"))]
                content = "\n".join(pieces) or _text(part.get("content"))
                found.append(ToolResult(_text(part.get("tool_use_id")) or last,
                                        _text(part.get("name")), content,
                                        part.get("is_error") is True))
            case kind if kind is not None:
                notes.append(f"a part of the kind {kind} was left out")
    found = found or words(message.get("text"))
    for attached in map(_dict, _list(message.get("attachments"))):
        text = _text(attached.get("extracted_content"))
        found += words(f"[{_text(attached.get('file_name')) or 'attachment'}]\n{text}" if text
                       else "")
    notes += [f"the file {_text(_dict(entry).get('file_name'))} is not in the export"
              for entry in _list(message.get("files"))]
    return found


# ---- Open WebUI: a list of chats, each with a history

def read_openwebui(data: Any, asset: Asset) -> Iterator[Imported]:
    for entry in map(_dict, _list(data)):
        chat = _dict(entry.get("chat")) or entry
        history = _dict(chat.get("history"))
        nodes = [Node(str(key), _text(value.get("parentId")), _role(_text(value.get("role"))),
                      _webui_parts(value),
                      moment(value.get("timestamp")), _model("", value.get("model")))
                 for key, value in ((key, _dict(value))
                                    for key, value in _dict(history.get("messages")).items())]
        models = _list(chat.get("models"))
        tags = " ".join(str(tag).replace(" ", "-") for tag
                        in _list(_dict(entry.get("meta")).get("tags")) or _list(chat.get("tags"))
                        if isinstance(tag, str))
        yield build("openwebui", _text(entry.get("id") or chat.get("id"))
                    or _text(chat.get("title")),
                    _text(entry.get("title") or chat.get("title")),
                    _model("", models[0] if models else ""),
                    moment(entry.get("created_at") or chat.get("timestamp")),
                    moment(entry.get("updated_at")), nodes,
                    _text(history.get("currentId")), tags=tags, pinned=entry.get("pinned") is True,
                    archived=entry.get("archived") is True)


def _webui_parts(value: dict[str, Any]) -> list[Part]:
    found = words(value.get("content"))
    for file in map(_dict, _list(value.get("files"))):
        url = _text(file.get("url"))
        if file.get("type") == "image" and url.startswith("data:image/") and ";base64," in url:
            kind, _, encoded = url.removeprefix("data:").partition(";base64,")
            found.append(Image(kind, encoded, _text(file.get("name"))))
    return found


# ---- LibreChat: one conversation with messages, nested when it was exported so

def read_librechat(data: Any, asset: Asset) -> Iterator[Imported]:
    for entry in map(_dict, data if isinstance(data, list) else [data]):
        nodes: list[Node] = []
        # then the names are new each time: the places stand for them
        shared = _text(entry.get("shareId"))
        waiting = [(message, "") for message in _list(entry.get("messages"))]
        places = {_text(_dict(message).get("messageId")): f"#{place}"
                  for place, (message, _) in enumerate(waiting)}
        while waiting:
            message, above = waiting.pop(0)
            message = _dict(message)
            name, before = (_text(message.get("messageId")),
                            _text(message.get("parentMessageId")) or above)
            key, parent = ((places.get(name, name), places.get(before, before)) if shared
                           else (name, before))
            key = key or f"#{len(nodes)}"
            parts = words(message.get("text"))
            for part in map(_dict, _list(message.get("content"))):
                parts += (thinking(_text(part.get("think")))
                          + words(part.get("text") if isinstance(part.get("text"), str) else
                                  _dict(part.get("text")).get("value")))
            role: Role = ("user" if message.get("isCreatedByUser") is True
                          or _text(message.get("sender")) == "User" else "assistant")
            nodes.append(Node(key, parent, role, parts, moment(message.get("createdAt")),
                              _model(_text(entry.get("endpoint")).lower(), message.get("model"))
                              if role == "assistant" else "",
                              message.get("unfinished") is True))
            waiting += [(child, key) for child in _list(message.get("children"))]
        title = _text(entry.get("title"))
        yield build("librechat", shared or _text(entry.get("conversationId")) or title, title,
                    _model(_text(entry.get("endpoint")).lower(),
                           _dict(entry.get("options")).get("model")),
                    moment(entry.get("createdAt") or entry.get("exportAt")), 0.0, nodes)


# ---- aichat: a session as YAML

def read_aichat(data: Any, asset: Asset) -> Iterator[Imported]:
    entry = _dict(data)
    provider, _, model = _text(entry.get("model")).partition(":")
    nodes: list[Node] = []
    for message in map(_dict,
                       _list(entry.get("compressed_messages")) + _list(entry.get("messages"))):
        content = message.get("content")
        parts = words(content) or [part for piece in _list(content)
                                   for part in words(_dict(piece).get("text"))]
        nodes.append(Node(f"#{len(nodes)}", f"#{len(nodes) - 1}" if nodes else "",
                          _role(_text(message.get("role"))), parts, 0.0))
    key = json.dumps(entry, default=str, sort_keys=True)
    yield build("aichat", key[:200], _text(entry.get("name")),
                f"{provider}/{model}" if model else provider,
                moment(entry.get("file_time")), 0.0, nodes)


def _role(name: str) -> Role:
    roles: dict[str, Role] = {"user": "user", "human": "user", "system": "system", "tool": "tool"}
    return roles.get(name.lower(), "assistant")


def _model(provider: str, name: object) -> str:
    text = _text(name)
    return text if not text or "/" in text or not provider else f"{provider}/{text}"
