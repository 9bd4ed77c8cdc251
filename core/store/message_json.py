"""Messages as JSON and back, exactly: what the store keeps, what the spool keeps and what the JSON export holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.messages import Image, Message, Part, Text, Thinking, ToolCall, ToolResult, Usage


def dump(value: Any) -> str:
    """Compact JSON. Not ASCII-only: escaping would join two lone surrogates into one character when read back."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=dict)


def message_to_dict(message: Message) -> dict[str, Any]:
    """Every field that is set; `parts` always."""
    row: dict[str, Any] = {"role": message.role, "parts": [part_to_dict(part) for part in message.parts]}
    usage = usage_to_dict(message.usage)
    known = {"model": message.model, "finish": message.finish, "usage": usage}
    return row | {name: value for name, value in known.items() if value is not None}


def message_from_dict(row: Mapping[str, Any]) -> Message:
    parts = tuple(part_from_dict(part) for part in row["parts"])
    return Message(row["role"], parts, row.get("model"), usage_from_dict(row.get("usage")), row.get("finish"))


def part_to_dict(part: Part) -> dict[str, Any]:
    match part:
        case Text(text, extra):
            row: dict[str, Any] = {"type": "text", "text": text, "extra": extra}
        case Thinking(text, extra):
            row = {"type": "thinking", "text": text, "extra": extra}
        case ToolCall(identity, name, arguments, invalid, extra):
            row = {"type": "tool_call", "id": identity, "name": name, "arguments": arguments, "invalid": invalid, "extra": extra}
        case ToolResult(identity, name, content, is_error):
            row = {"type": "tool_result", "id": identity, "name": name, "content": content, "is_error": is_error}
        case Image(media_type, data, name):
            row = {"type": "image", "media_type": media_type, "data": data, "name": name}
    return {key: value for key, value in row.items() if value is not None}


def part_from_dict(row: Mapping[str, Any]) -> Part:
    match row["type"]:
        case "text":
            return Text(row["text"], row.get("extra"))
        case "thinking":
            return Thinking(row["text"], row.get("extra"))
        case "tool_call":
            return ToolCall(row["id"], row["name"], row["arguments"], row.get("invalid"), row.get("extra"))
        case "tool_result":
            return ToolResult(row["id"], row["name"], row["content"], row["is_error"])
        case "image":
            return Image(row["media_type"], row["data"], row["name"])
    raise ValueError(f"unknown part type {row['type']!r}")


def usage_to_dict(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    known = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cached_tokens": usage.cached_tokens,
             "details": usage.details}
    return {name: value for name, value in known.items() if value is not None}


def usage_from_dict(row: Mapping[str, Any] | None) -> Usage | None:
    if row is None:
        return None
    return Usage(row.get("input_tokens"), row.get("output_tokens"), row.get("cached_tokens"), row.get("details"))
