"""Readers of other programs' exports: each turns the parsed file into sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from core.messages import Part, Role, ToolCall, ToolResult
from core.sessions.foreign.conversation import Imported, Node, build, left_out, thinking, words
from core.sessions.foreign.values import (
    UNREADABLE, a_dict, a_list, a_text, call_of, dicts, image_of, image_parts, is_legible, moment,
    output_text)

Asset = Callable[[str], bytes | None]  # finds a file of the export by the beginning of its name


# ---- ChatGPT: conversations.json, a list of trees

def read_chatgpt(data: Any, asset: Asset) -> Iterator[Imported]:
    for entry in map(a_dict, a_list(data)):
        notes: list[str] = []
        nodes = [
            _chatgpt_node(str(key), a_dict(value), asset, notes)
            for key, value in a_dict(entry.get("mapping")).items()
        ]
        title = a_text(entry.get("title"))
        made = build(
            "chatgpt",
            a_text(entry.get("conversation_id") or entry.get("id")) or title,
            title,
            _model("openai", entry.get("default_model_slug")),
            moment(entry.get("create_time")),
            moment(entry.get("update_time")),
            nodes,
            a_text(entry.get("current_node")),
            archived=entry.get("is_archived") is True,
        )
        made.notes += notes
        yield made


def _chatgpt_node(key: str, value: dict[str, Any], asset: Asset, notes: list[str]) -> Node:
    message = a_dict(value.get("message"))
    if value.get("message") and not isinstance(message.get("content"), dict):
        notes.append(UNREADABLE)
    author, about = a_dict(message.get("author")), a_dict(message.get("metadata"))
    role, parent = a_text(author.get("role")), a_text(value.get("parent"))
    hidden = about.get("is_visually_hidden_from_conversation") is True or role == "system"
    parts = [] if hidden else _chatgpt_parts(a_dict(message.get("content")), asset, notes)
    recipient = a_text(message.get("recipient"))
    text = "".join(getattr(part, "text", "") for part in parts)
    if role == "assistant" and recipient not in ("", "all") and parts:
        parts = [ToolCall(key, recipient, {"input": text})]
    if role == "tool" and (text or not parts):
        parts = [ToolResult(parent, a_text(author.get("name")), text)]
    return Node(
        key,
        parent,
        _role(role),
        parts,
        moment(message.get("create_time")),
        _model("openai", about.get("model_slug")),
        message.get("status") == "in_progress",
    )


# what a content says about its text; without other fields it is empty
ABOUT_CONTENT = frozenset(("content_type", "parts", "language", "response_format_name"))


def _chatgpt_parts(content: dict[str, Any], asset: Asset, notes: list[str]) -> list[Part]:
    kind = a_text(content.get("content_type"))
    if kind == "thoughts":
        thoughts = map(a_dict, a_list(content.get("thoughts")))
        text = "\n\n".join(a_text(entry.get("content")) for entry in thoughts)
        notes += [] if text else [left_out(kind)] * bool(content.get("thoughts"))
        return thinking(text)
    if kind in ("reasoning_recap", "user_editable_context", "model_editable_context"):
        return []
    found: list[Part] = []
    for part in a_list(content.get("parts")) or [content.get("text")]:
        found += words(part)
        pointer = a_text(a_dict(part).get("asset_pointer"))
        if pointer:
            name = pointer.rpartition("/")[2]
            image = image_of(asset(name) or b"", name)
            what = a_text(a_dict(part).get("content_type")) or "unknown"
            found += [image] if image else []
            notes += [] if image else [f"an attachment is not in the file ({what})"]
        elif isinstance(part, dict):
            found += words(part.get("text"))
    if not found and any(content[name] for name in content.keys() - ABOUT_CONTENT):
        notes.append(left_out(kind))
    return found


# ---- Claude: conversations.json, a list with chat_messages

def read_claude(data: Any, _asset: Asset) -> Iterator[Imported]:
    for entry in map(a_dict, a_list(data)):
        notes: list[str] = []
        nodes: list[Node] = []
        for message in dicts(entry.get("chat_messages"), notes):
            parent = message.get("parent_message_uuid")
            before = a_text(parent) if parent is not None else nodes[-1].key if nodes else ""
            notes += [] if is_legible(message) else [UNREADABLE]
            key, role = a_text(message.get("uuid")), _role(a_text(message.get("sender")))
            parts, at = _claude_parts(message, notes), moment(message.get("created_at"))
            nodes.append(Node(key or f"#{len(nodes)}", before, role, parts, at))
        made = build(
            "claude",
            a_text(entry.get("uuid")),
            a_text(entry.get("name")),
            _model("anthropic", entry.get("model")),
            moment(entry.get("created_at")),
            moment(entry.get("updated_at")),
            nodes,
            a_text(entry.get("current_leaf_message_uuid")),
        )
        made.notes += notes
        yield made


def _claude_parts(message: dict[str, Any], notes: list[str]) -> list[Part]:
    found: list[Part] = []
    for number, part in enumerate(map(a_dict, a_list(message.get("content")))):
        match part.get("type"):
            case "text":
                found += words(part.get("text"))
            case "thinking":
                found += thinking(a_text(part.get("thinking")))
            case "tool_use":
                identity, name = a_text(part.get("id")), a_text(part.get("name"))
                arguments = a_dict(part.get("input"))
                found.append(ToolCall(identity or f"call_{number}", name, arguments))
            case "tool_result":
                found.append(_claude_result(part, found))
            case kind if kind is not None:
                notes.append(left_out(str(kind)))
    found = found or words(message.get("text"))
    for attached in map(a_dict, a_list(message.get("attachments"))):
        text, name = a_text(attached.get("extracted_content")), a_text(attached.get("file_name"))
        found += words(f"[{name or 'attachment'}]\n{text}" if text else "")
    for file in map(a_dict, a_list(message.get("files"))):
        notes.append(f"the file {a_text(file.get('file_name'))} is not in the export")
    return found


def _claude_result(part: dict[str, Any], before: list[Part]) -> ToolResult:
    last = next((call.id for call in reversed(before) if isinstance(call, ToolCall)), "")
    pieces = [a_text(a_dict(piece).get("text")) for piece in a_list(part.get("content"))]
    return ToolResult(
        a_text(part.get("tool_use_id")) or last,
        a_text(part.get("name")),
        "\n".join(pieces) or a_text(part.get("content")),
        part.get("is_error") is True,
    )


# ---- aichat: a session as YAML

def read_aichat(data: Any, _asset: Asset) -> Iterator[Imported]:
    entry = a_dict(data)
    provider, _, model = a_text(entry.get("model")).partition(":")
    nodes: list[Node] = []
    messages = a_list(entry.get("compressed_messages")) + a_list(entry.get("messages"))
    for place, message in enumerate(map(a_dict, messages)):
        before = nodes[-1].key if nodes else ""
        role, parts = a_text(message.get("role")), _aichat_parts(message.get("content"), place)
        if any(isinstance(part, ToolResult) for part in parts):
            role = "assistant"  # the calls are stored with their results
        nodes.append(Node(f"#{place}", before, _role(role), parts, 0.0))
    key = json.dumps(entry, default=str, sort_keys=True)
    yield build(
        "aichat",
        key[:200],
        a_text(entry.get("name")),
        f"{provider}/{model}" if model else provider,
        moment(entry.get("file_time")),
        0.0,
        nodes,
    )


def _aichat_parts(content: object, place: int) -> list[Part]:
    """Read a message's content: text, a list with images, or tool calls with their results."""
    found = words(content)
    for piece in map(a_dict, a_list(content)):
        found += words(piece.get("text"))
        found += image_parts(a_dict(piece.get("image_url")).get("url"))
    calls: list[Part] = []
    results: list[Part] = []
    for number, entry in enumerate(map(a_dict, a_list(a_dict(content).get("tool_results")))):
        call = a_dict(entry.get("call"))
        identity = a_text(call.get("id")) or f"call_{place}_{number}"
        calls.append(call_of(identity, call.get("name"), call.get("arguments")))
        output = output_text(entry.get("output"))
        results.append(ToolResult(identity, a_text(call.get("name")), output))
    return [*found, *words(a_dict(content).get("text")), *calls, *results]


def _role(name: str) -> Role:
    roles: dict[str, Role] = {
        "user": "user",
        "human": "user",
        "system": "system",
        "tool": "tool",
    }
    return roles.get(name.lower(), "assistant")


def _model(provider: str, name: object) -> str:
    text = a_text(name)
    return text if not text or "/" in text or not provider else f"{provider}/{text}"
