"""The values that a conversation consists of: messages and their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from core.dataclass import dataclass
from core.safe_text import without_surrogates

Role = Literal["system", "user", "assistant", "tool"]

# Why a reply ended. The first five are the model's reasons; the others mean that the reply is not
# complete: incomplete (ended by the provider for another reason), interrupted (by the user),
# truncated (the connection ended without an end marker), error (reported by the provider).
Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "incomplete",
                 "interrupted", "truncated", "error"]
FINISHES: tuple[str, ...] = get_args(Finish)

# A provider's own data that must be sent back unchanged (signatures, IDs, reasoning items), by
# dialect: {"anthropic": {"signature": "..."}}. Only the dialect's adapter reads its entry.
Extra = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """Text meant for the reader.

    Empty text with `extra` represents a provider's own block that is only stored and sent back.
    """

    text: str
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model's reasoning. The text may be empty with only a signature in `extra`."""

    text: str
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's request to run a tool.

    If the arguments are not a JSON object, `invalid` is their raw text and `arguments` is empty.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    invalid: str | None = None
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call; `id` is the call's ID. `declined`: the user refused the call."""

    id: str
    name: str
    content: str
    is_error: bool = False
    declined: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: `data` is base64 without a data-URI prefix, `media_type` such as image/png."""

    media_type: str
    data: str
    name: str = ""


def images_in(message: Message) -> int:
    """The number of pictures in a message."""
    return sum(isinstance(part, Image) for part in message.parts)


def has_image(message: Message) -> bool:
    """Whether a message contains a picture."""
    return any(isinstance(part, Image) for part in message.parts)


def image_type(data: bytes) -> str:
    """The media type of a picture, by its first bytes; "" for anything else.

    Not every model accepts every type; what its provider does not accept is converted.
    """
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM") and data[6:10] == bytes(4):      # two letters may begin a text
        return "image/bmp"
    if data[4:8] == b"ftyp":
        brands = data[8:64]
        return ("image/avif" if b"avif" in brands or b"avis" in brands
                else "image/heic" if brands[:4] in HEIC_BRANDS else "")
    return next((kind for start, kind in _BEGINNINGS if data.startswith(start)), "")


# endings of files that may be pictures; image_type() decides
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
               ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp",
               ".tif": "image/tiff", ".tiff": "image/tiff", ".avif": "image/avif",
               ".heic": "image/heic", ".heif": "image/heic"}
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_BEGINNINGS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"),
               (b"GIF8", "image/gif"), (b"II*\0", "image/tiff"), (b"MM\0*", "image/tiff"))


@dataclass(frozen=True, slots=True)
class Shown:
    """Which lines of an attached text a message contained.

    `spans` are (first, last) line numbers, from 1 and inclusive; `parts` are (line, start, end) of
    lines that are contained in part, in characters. Without either, the message only says that the
    text has changed. `digest` identifies the text and `lines` is its length. `origin`
    is the source it belongs to. `stamp` is the file's modification time in nanoseconds (0 if it is
    not a file).
    """

    name: str
    origin: str
    digest: str
    stamp: int
    lines: int
    spans: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Attached:
    """Reference material sent before the text of a message, exactly as sent; its pictures follow.

    With `anew`, the attachments of earlier messages are no longer sent.
    """

    text: str
    shown: tuple[Shown, ...] = ()
    anew: bool = False


Part = Text | Thinking | ToolCall | ToolResult | Image | Attached


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call as counted by the provider; None if it did not report them.

    `input_tokens` is the whole prompt including cached tokens. `details` contains everything else
    (durations, reasoning tokens, cost) under the provider's names.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a conversation. `model` (as provider/model), `usage` and `finish` belong to
    replies.
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


# The content of the last piece of a broken reply that turned out to be complete.
NOTHING_MORE = (Text(""),)


def is_empty(message: Message) -> bool:
    """Whether a reply has neither text nor calls, and completes no earlier piece either."""
    return (not message.text.strip() and not message.tool_calls
            and message.parts[-1:] != NOTHING_MORE)


# The key in Usage.details for the handle of a reply that a killed program left unfinished.
KEPT_AS = "kept_as"


def handle_in(message: Message) -> str:
    """The handle by which the server finds an unfinished reply; "" if it has none."""
    return str((message.usage.details or {}).get(KEPT_AS) or "") if message.usage else ""


# The beginning of the request to continue an unfinished answer (core/chat/joining.py).
CONTINUATION = "Your last answer was cut off by a technical fault."


def user_message(text: str, images: tuple[Image, ...] = ()) -> Message:
    return Message("user", (Text(without_surrogates(text)), *images))


def tool_message(results: tuple[ToolResult, ...]) -> Message:
    """A message with all results of one round of calls, in the order of the calls."""
    return Message("tool", results)
