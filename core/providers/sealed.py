"""Finds and removes data that only its provider can read: signatures, encrypted reasoning, ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from core.dataclass import replace
from core.messages import Message, Part, Text, Thinking, ToolCall
from core.providers import Request


def has_sealed(message: Message) -> bool:
    return any(isinstance(part, (Text, Thinking, ToolCall)) and part.extra
               for part in message.parts)


def with_sealers(models: frozenset[str], messages: Iterable[Message]) -> frozenset[str]:
    """Return these models, plus those that wrote a message with sealed data."""
    return models | {message.model for message in messages if message.model and has_sealed(message)}


def without_sealed(request: Request, models: Collection[str] | None = None) -> Request:
    """Return the request without the sealed data of these models' replies, or of all; the same
    object if there is none.
    """
    opened = tuple(_opened(message) if has_sealed(message)
                   and (models is None or message.model in models) else message
                   for message in request.messages)
    return request if opened == request.messages else replace(request, messages=opened)


def _opened(message: Message) -> Message:
    """Return the message without sealed data and without parts that contained nothing else."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, (Text, Thinking, ToolCall)) and part.extra:
            part = replace(part, extra=None)
            if not isinstance(part, ToolCall) and not part.text:
                continue
        parts.append(part)
    return replace(message, parts=tuple(parts))
