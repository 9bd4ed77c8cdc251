"""What is said: the plain values that a conversation is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from core.dataclass import dataclass
from core.safe_text import without_surrogates

Role = Literal["system", "user", "assistant", "tool"]

# Why a reply ended. The first five come from the model; the others say that the reply is not
# complete: the provider ended it for a reason that is not one of these, the user stopped it, the
# connection ended without an end marker, the provider reported an error.
Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "incomplete",
                 "interrupted", "truncated", "error"]
FINISHES: tuple[str, ...] = get_args(Finish)

# Provider-only data that must be sent back unchanged (signatures, ids, reasoning items),
# by dialect name: {"anthropic": {"signature": "..."}}. Only the adapter of that dialect
# looks inside its own entry.
Extra = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """Words meant for the reader.

    Empty text with `extra` stands for a provider's own block that we only carry.
    """

    text: str
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning that the model showed. May be empty and still carry a signature in `extra`."""

    text: str
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's wish to run a tool.

    `invalid` holds the raw text when it was no JSON object; `arguments` is then empty.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    invalid: str | None = None
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call gave; `id` is the call's."""

    id: str
    name: str
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: `data` is base64 without a data-URI prefix, `media_type` such as image/png."""

    media_type: str
    data: str
    name: str = ""


def images_in(message: Message) -> int:
    """How many pictures it has."""
    return sum(isinstance(part, Image) for part in message.parts)


def image_type(data: bytes) -> str:
    """The media type of a picture that models take, by its first bytes; "" for anything else."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    begins = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg",
              b"GIF8": "image/gif"}
    return next((kind for start, kind in begins.items() if data.startswith(start)), "")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a message showed of one attached thing: lines from 1, both ends included, of
    a text with this digest.

    `origin` is the source that it belongs to, `stamp` the file's time of change in nanoseconds (0:
    there is no file). Without spans the message only says that the text has changed.
    """

    name: str
    origin: str
    digest: str
    stamp: int
    lines: int
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Attached:
    """Reference material that was sent before the words of a message, as it was sent.

    Its pictures stand behind it.

    With `anew`, what was attached to earlier messages is not sent any more.
    """

    text: str
    shown: tuple[Shown, ...] = ()
    anew: bool = False


Part = Text | Thinking | ToolCall | ToolResult | Image | Attached


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call as the provider counted them; None means that it did not say.

    `input_tokens` is the whole prompt, cached tokens included. `details` holds the rest (durations,
    reasoning tokens, cost) under the provider's names.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a conversation.

    `model` is written provider/model; usage and finish belong to replies.
    """

    role: Role
    parts: tuple[Part, ...]
    model: str | None = None
    usage: Usage | None = None
    finish: Finish | None = None

    @property
    def text(self) -> str:
        if len(self.parts) == 1 and isinstance(self.parts[0], Text):    # nearly every message
            return self.parts[0].text
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def thinking(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Thinking))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolResult)])


# Where a reply that a killed program left behind says, in the details of its
# usage, how to have it again.
KEPT_AS = "kept_as"


def handle_in(message: Message) -> str:
    """What finds a broken reply again on the server that wrote it; "" where nothing does."""
    return str((message.usage.details or {}).get(KEPT_AS) or "") if message.usage else ""


# How the request begins that asks a model to go on with its unfinished answer
# (core/chat/joining.py).
GO_ON = "Your last answer was cut off by a technical fault."


def user_message(text: str, images: tuple[Image, ...] = ()) -> Message:
    return Message("user", (Text(without_surrogates(text)), *images))


def tool_message(results: tuple[ToolResult, ...]) -> Message:
    """All results of one round of calls, in the order of the calls."""
    return Message("tool", results)
