"""Reads values in other programs' files, so that an invalid one loses only itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.messages import Image, Part, ToolCall, image_type
from core.sessions.foreign.conversation import words

MOST_IMAGE = 20_000_000  # bytes
UNREADABLE = "a message that cannot be read was left out"
LARGEST = 1e21  # largest number taken as a time: nanoseconds are below it


def a_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def a_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts(values: object, notes: list[str]) -> list[dict[str, Any]]:
    """Return the objects of a list of messages, and note what is not one."""
    found = a_list(values)
    if not all(isinstance(value, dict) for value in found) or values and not found:
        notes.append(UNREADABLE)
    return [value for value in found if isinstance(value, dict)]


def is_legible(message: Mapping[str, Any]) -> bool:
    """Whether a message has a text, a list of contents or both, though they may be empty."""
    said, content = message.get("text"), message.get("content")
    return isinstance(said, str) or isinstance(content, (str, list))


def json_of(text: object) -> object:
    """Parse JSON text; None for anything else."""
    try:
        read: object = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return read


def a_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def moment(value: object) -> float:
    """Return seconds since 1970 from a number (also in milliseconds or smaller units) or an ISO
    date; 0 for anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if -LARGEST < value < LARGEST else 0.0
        while seconds > 1e11:
            seconds /= 1000
        return seconds if seconds > 0 else 0.0
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        except (ValueError, OverflowError):
            return 0.0
    return 0.0


def utc(text: object) -> object:
    """Return a date with UTC added if it has no time zone."""
    if not isinstance(text, str) or "+" in text or text.endswith("Z") or "-" in text[11:]:
        return text
    return f"{text}+00:00"


def image_of(data: bytes, name: str = "") -> Image | None:
    """Return an image part from an image's bytes; None for other bytes."""
    kind = image_type(data)
    return Image(kind, base64.b64encode(data).decode(), name) if kind else None


def image_of_base64(text: object, name: str = "") -> Image | None:
    """Return an image part from base64 text or an address `data:image/...;base64,...`."""
    encoded = a_text(text).partition(";base64,")[2] or a_text(text)
    if not encoded or len(encoded) > MOST_IMAGE * 4 // 3:
        return None
    try:
        return image_of(base64.b64decode(encoded, validate=True), name)
    except ValueError:
        return None


def image_parts(text: object, name: str = "") -> list[Part]:
    """Return the image, or text that names what was there."""
    image = image_of_base64(text, name)
    shown = name or a_text(text) if len(a_text(text)) < 500 else name or "picture"
    return [image] if image is not None else words(f"[{shown}]" if shown else "")


def call_of(identity: object, name: object, arguments: object) -> ToolCall:
    """Return a call whose arguments are an object, JSON text, or anything else."""
    if isinstance(arguments, dict):
        return ToolCall(a_text(identity), a_text(name), arguments)
    blank = not isinstance(arguments, str) or not arguments.strip()
    read = {} if blank else json_of(arguments)
    if isinstance(read, dict):
        return ToolCall(a_text(identity), a_text(name), read)
    return ToolCall(a_text(identity), a_text(name), {}, a_text(arguments))


def output_text(value: object) -> str:
    """Return a tool's result from text, a list of parts with text, or other JSON."""
    if isinstance(value, str):
        return value
    parts = map(a_dict, a_list(value))
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    if texts:
        return "\n".join(texts)
    return "" if value is None else json.dumps(value, ensure_ascii=False)
