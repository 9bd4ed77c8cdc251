"""Converts messages to JSON and back without loss, for the store, the spool and the JSON export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from core.messages import (
    Attached, Finish, Image, Message, Part, Role, Shown, Text, Thinking, ToolCall,
    ToolResult, Usage)


def dump(value: Any) -> str:
    """Return compact JSON. It is not ASCII-only: escaped, two lone surrogates would be read back as
    one character.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=dict)


def message_to_dict(message: Message) -> dict[str, Any]:
    """Return every field that is set, and always `parts`."""
    row: dict[str, Any] = {"role": message.role,
                           "parts": [part_to_dict(part) for part in message.parts]}
    usage = usage_to_dict(message.usage)
    known = {"model": message.model, "finish": message.finish, "usage": usage}
    return row | {name: value for name, value in known.items() if value is not None}


def message_from_dict(row: Mapping[str, Any]) -> Message:
    parts = tuple(part_from_dict(part) for part in row["parts"])
    model, finish, usage = row.get("model"), row.get("finish"), row.get("usage")
    return Message(row["role"], parts, model if isinstance(model, str) else None,
                   usage_from_dict(usage) if isinstance(usage, dict) else None,
                   cast("Finish", finish) if _is_word(finish) else None)


def _is_word(value: object) -> bool:
    """Return whether this can be a finish reason, including one of a newer version."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


MOST_TOKENS = 1 << 53      # integers in this range survive a database and JSON exactly
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
ROLE_OF: dict[str, Role] = {role: role for role in ROLES}


def read_message(role: str, model: str | None, finish: str | None, usage: str | None,
                 parts: str) -> tuple[Message, str]:
    """Return the message of a row, and why it could not be read completely (empty if it could).
    `usage` and `parts` are JSON. The row may be damaged or of a newer version; the message holds
    what could be read.
    """
    try:
        counted = usage_from_dict(json.loads(usage)) if usage else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        counted = None

    def made(*parts: Part) -> Message:
        return Message(ROLE_OF.get(role, "assistant"), parts, model, counted,
                       cast("Finish | None", finish))

    if role not in ROLES:
        return made(), f"the role {role!r} is unknown"
    try:
        rows = json.loads(parts)
    except (ValueError, RecursionError):
        return made(), "its text is damaged"
    if not isinstance(rows, list):
        return made(), "its parts are not a list"
    read: list[Part] = []
    problem = ""
    for row in rows:
        try:
            read.append(part_from_dict(row))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = problem or f"a part cannot be read ({type(error).__name__}: {error})"
    return made(*read), problem


def part_to_dict(part: Part) -> dict[str, Any]:
    match part:
        case Text(text, extra):
            row: dict[str, Any] = {"type": "text", "text": text, "extra": extra}
        case Thinking(text, extra):
            row = {"type": "thinking", "text": text, "extra": extra}
        case ToolCall(identity, name, arguments, invalid, extra):
            row = {"type": "tool_call", "id": identity, "name": name, "arguments": arguments,
                   "invalid": invalid, "extra": extra}
        case ToolResult(identity, name, content, is_error, declined):
            row = {"type": "tool_result", "id": identity, "name": name, "content": content,
                   "is_error": is_error, "declined": declined or None}
        case Image(media_type, data, name):
            row = {"type": "image", "media_type": media_type, "data": data, "name": name}
        case Attached(text, shown, anew):
            row = {"type": "attached", "text": text,
                   "shown": [_shown_to_dict(entry) for entry in shown], "anew": anew}
    return {key: value for key, value in row.items() if value is not None}


def part_from_dict(row: Mapping[str, Any]) -> Part:
    """Read a part. Raises ValueError, TypeError or KeyError for an invalid one."""
    match row["type"]:
        case "text":
            return Text(_checked(row["text"], str), _extra(row))
        case "thinking":
            return Thinking(_checked(row["text"], str), _extra(row))
        case "tool_call":
            invalid = row.get("invalid")
            return ToolCall(_checked(row["id"], str), _checked(row["name"], str),
                            _checked(row["arguments"], dict),
                            invalid if invalid is None else _checked(invalid, str), _extra(row))
        case "tool_result":
            return ToolResult(_checked(row["id"], str), _checked(row["name"], str),
                              _checked(row["content"], str),
                              _checked(row["is_error"], bool),
                              _checked(row.get("declined", False), bool))
        case "image":
            return Image(_checked(row["media_type"], str), _checked(row["data"], str),
                         _checked(row["name"], str))
        case "attached":
            return Attached(_checked(row["text"], str),
                            tuple(map(_shown_from_dict, _checked(row["shown"], list))),
                            _checked(row["anew"], bool))
    raise ValueError(f"unknown part type {row['type']!r}")


def _shown_to_dict(shown: Shown) -> dict[str, Any]:
    parts = {"parts": [list(part) for part in shown.parts]} if shown.parts else {}
    return {"name": shown.name, "origin": shown.origin, "digest": shown.digest,
            "stamp": shown.stamp, "lines": shown.lines,
            "spans": [list(span) for span in shown.spans], **parts}


def _shown_from_dict(row: Mapping[str, Any]) -> Shown:
    spans = tuple((int(first), int(last)) for first, last in row["spans"])
    parts = tuple((int(line), int(start), int(end)) for line, start, end in row.get("parts", ()))
    return Shown(_checked(row["name"], str), _checked(row["origin"], str),
                 _checked(row["digest"], str),
                 _checked(row["stamp"], int), _checked(row["lines"], int), spans, parts)


Value = TypeVar("Value")


def _checked(value: Any, kind: type[Value]) -> Value:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def _extra(row: Mapping[str, Any]) -> dict[str, Any] | None:
    extra = row.get("extra")
    return extra if extra is None else _checked(extra, dict)


def usage_to_dict(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    known = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
             "cached_tokens": usage.cached_tokens,
             "details": usage.details}
    return {name: value for name, value in known.items() if value is not None}


def usage_from_dict(row: Mapping[str, Any] | None) -> Usage | None:
    if row is None:
        return None
    details = row.get("details")
    return Usage(_count(row.get("input_tokens")), _count(row.get("output_tokens")),
                 _count(row.get("cached_tokens")), details if isinstance(details, dict) else None)


def _count(value: object) -> int | None:
    """Return a valid token count, or None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS:
        return value
    return None
