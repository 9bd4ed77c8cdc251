"""Data that only its maker can read (signatures, encrypted reasoning, ids):
where a conversation has it, and taking it out.
"""

from __future__ import annotations

from collections.abc import Collection

from core.dataclass import replace
from core.messages import Message, Part, Text, Thinking, ToolCall
from core.providers import Request


def has_sealed(message: Message) -> bool:
    return any(isinstance(part, (Text, Thinking, ToolCall)) and part.extra
               for part in message.parts)


def with_sealer(models: frozenset[str], message: Message) -> frozenset[str]:
    """These models and, if its data is sealed, the one that wrote this message."""
    return models | {message.model} if message.model and has_sealed(message) else models


def without_sealed(request: Request, models: Collection[str] | None = None) -> Request:
    """The request without the sealed data of these models' replies, or of all;
    the same one where there is none.
    """
    opened = tuple(_opened(message) if has_sealed(message)
                   and (models is None or message.model in models) else message
                   for message in request.messages)
    return request if opened == request.messages else replace(request, messages=opened)


def _opened(message: Message) -> Message:
    """Its words and calls alone; a part that was only there for its sealed data is left out."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, (Text, Thinking, ToolCall)) and part.extra:
            part = replace(part, extra=None)
            if not isinstance(part, ToolCall) and not part.text:
                continue
        parts.append(part)
    return replace(message, parts=tuple(parts))
