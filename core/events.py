"""What happens while a turn runs, as a closed union in two layers.

A provider's stream yields deltas in the order of arrival:

    [TakenUp]  [Kept]  [Answering]  Reading*  (TextDelta | ThinkingDelta |
               ToolCallDelta)*  Usage*  Finished

`Reading` reports how much of the prompt the server has processed; it is not part of the reply.
`Finished` is the last delta of a complete reply; a stream without it was cut off. A `Usage`
replaces the previous one. One network read gives at most one delta per part (adjacent pieces are
joined), so a delta is also a frame: it is stored once and painted once.

The turn passes on text and thinking and adds its own events. For each call of the model:

    (Waiting | Retrying | ModelChanged | Notice)*  (TextDelta | ThinkingDelta)*
                                                   [Usage]  MessageAdded(assistant)
    then, when the reply calls tools:  ToolRequested+  ToolFinished+
                                       MessageAdded(tool)  and again from the top
    or, when the reply broke off and is continued:       Resuming  and again from the top,
                                                         with the rest of the text

A turn that cannot continue raises a ChatError; front ends receive it as `Failed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core.dataclass import dataclass
from core.errors import ChatError
from core.messages import Extra, Finish, Message, ToolCall, ToolResult, Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer.

    A new `part` number starts a new part; `extra` is merged into that part's `extra`.
    """

    text: str
    part: int = 0
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of the model's reasoning; parts are numbered as in TextDelta."""

    text: str
    part: int = 0
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the tool call number `index`.

    `arguments` is appended (JSON text); id and name are set once.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The provider ended the reply; `detail` is its own word for the reason."""

    reason: Finish
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answering:
    """The server says that another model answers than the one requested; `model` is its name."""

    model: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The server processed `done` of the prompt's `total` tokens in `seconds`; `cached` of them
    were in its cache.
    """

    done: int
    total: int
    cached: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """The server stores this answer; it can be requested again by its handle (Request.kept)."""

    handle: str


@dataclass(frozen=True, slots=True)
class TakenUp:
    """The following deltas repeat, from the beginning, an answer that was started earlier."""


Delta = (Answering | Reading | Kept | TakenUp | TextDelta | ThinkingDelta | ToolCallDelta | Usage
         | Finished)


def is_content(item: object) -> bool:
    """Whether this delta is part of an answer, so that a retry would repeat something."""
    return (isinstance(item, ToolCallDelta) or isinstance(item, (TextDelta, ThinkingDelta))
            and bool(item.text or item.extra))


@dataclass(frozen=True, slots=True)
class ToolRequested:
    """A call from a complete message. It runs next, unless the tool rounds are used up."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool call has finished, after `seconds` of the tool's own time (without waiting for the
    user).

    `said` is the reason of a failure in words for the user, if they differ from those for the
    model. `ran` is False for a call that was refused before it ran; `asked` is True if the user was
    asked and so saw the whole call.
    """

    result: ToolResult
    seconds: float
    said: str = ""
    ran: bool = True
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Retrying:
    """The same model is asked again in `delay` seconds; `attempt` is the next attempt's number."""

    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """Another model answers from here on; both are written provider/model."""

    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing was received for `seconds`; `what` says what the server is doing, if that is known.
    """

    seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class Resuming:
    """The last message broke off; the following events continue it as a separate message."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know but need not act on."""

    text: str


@dataclass(frozen=True, slots=True)
class OthersSaid(Notice):
    """Another program wrote to the session: it added `messages` at the end, or, with `changed`,
    changed the conversation, whose messages are now `messages`.
    """

    messages: tuple[Message, ...] = ()
    changed: bool = False


@dataclass(frozen=True, slots=True)
class QuotesChecked:
    """The answer's quotations from attached files were checked: `found` of `count` are correct.

    `problems` describes the others; `line` summarises the result.
    """

    count: int
    found: int
    problems: tuple[str, ...]
    line: str


@dataclass(frozen=True, slots=True)
class MessageAdded:
    """A message was added to the conversation; it contains the deltas streamed before it."""

    message: Message


@dataclass(frozen=True, slots=True)
class Failed:
    error: ChatError


Event = (
    TextDelta | ThinkingDelta | Usage | ToolRequested | ToolFinished | Waiting | Retrying
    | ModelChanged | Resuming | Notice | QuotesChecked | MessageAdded | Failed | Kept
)


def to_dict(event: Event) -> dict[str, Any] | None:
    """The event as a JSON object (for NDJSON and server-sent events), or None for an event that is
    not reported.
    """
    match event:
        case TextDelta(text=text, extra=extra) if is_refusal(extra):
            return {"event": "notice", "text": text}
        case TextDelta(text=text):
            return {"event": "text", "text": text} if text else None
        case ThinkingDelta(text=text):
            return {"event": "thinking", "text": text} if text else None
        case Usage():
            return {"event": "usage", **usage_dict(event)}
        case ToolRequested(call):
            arguments: Any = dict(call.arguments) if call.invalid is None else call.invalid
            return {"event": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}
        case ToolFinished(result, seconds):
            return {"event": "tool_result", "id": result.id, "name": result.name,
                    "content": result.content,
                    "is_error": result.is_error, "seconds": round(seconds, 3)}
        case Retrying(attempt, delay, reason):
            return {"event": "retry", "attempt": attempt, "delay": round(delay, 3),
                    "reason": reason}
        case ModelChanged(old, new, reason):
            return {"event": "model_changed", "from": old, "to": new, "reason": reason}
        case Resuming(reason):
            return {"event": "notice", "text": f"{reason} The answer continues from there."}
        case Waiting() | Kept():
            return None
        case Notice(text):
            return {"event": "notice", "text": text}
        case QuotesChecked(count, found, problems):
            return {"event": "quotes", "checked": count, "found": found, "problems": list(problems)}
        case MessageAdded(message):
            return message_dict(message) if message.role == "assistant" else None
        case Failed(error):
            return {"event": "error", "kind": error.kind, "message": error.message,
                    "hint": error.hint}


def is_refusal(extra: Extra | None) -> bool:
    """Whether `extra` marks a refusal, which OpenAI sends apart from answers; it is shown, but is
    not an answer.
    """
    return any(isinstance(data, Mapping) and data.get("refusal") for data in (extra or {}).values())


def usage_dict(usage: Usage) -> dict[str, Any]:
    """The token counts that the provider reported, with its own details."""
    known: Mapping[str, Any] = {
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
    }
    return ({name: value for name, value in known.items() if value is not None}
            | dict(usage.details or {}))


def message_dict(message: Message) -> dict[str, Any]:
    return {"event": "message", "role": message.role, "text": message.text, "model": message.model,
            "finish": message.finish}


class Progress(Protocol):
    """Reports the progress of a long task: its name, and the number of items so far."""

    def __call__(self, what: str, count: int, /) -> None: ...


class ShownProgress(Progress, Protocol):
    """Progress that a user sees until it is cleared."""

    def clear(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PullProgress:
    """The state of a download: `completed` of `total` bytes of a layer; 0 if not known.

    `layer` is the layer's digest, or "" if the model has no layers. `kept`: if the download is
    stopped now, the next one continues from here.
    """

    status: str
    completed: int = 0
    total: int = 0
    layer: str = ""
    kept: bool = True
