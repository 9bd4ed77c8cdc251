"""What happens while a turn runs, as a closed union in two layers.

A provider's stream yields deltas, in the order in which they arrived:

    [TakenUp]  [Kept]  [Answering]  Reading*  (TextDelta | ThinkingDelta |
               ToolCallDelta)*  Usage*  Finish

`Reading` is how far the prompt has been read, where the server says it; it is no part of the reply.
`Finish` is the last delta of a reply that is known to be whole, and a stream without it was cut
off. A `Usage` replaces the one before it. One network read gives at most one delta per part
(adjacent pieces are joined), so a delta is also a frame: it is stored once and painted once.

The turn passes text and thinking on and adds what its loop knows. For each call of the model:

    (Waiting | Retrying | ModelChanged | Notice)*  (TextDelta | ThinkingDelta)*
                                                   [Usage]  MessageAdded(assistant)
    then, when the reply calls tools:  ToolRequested+  ToolFinished+
                                       MessageAdded(tool)  and again from the top
    or, when the reply broke off and is to be finished:  Resuming  and again from the top,
                                                         with the rest of the text

A turn that cannot go on ends by raising a ChatError; `Failed` is how that reaches
a front end as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core.dataclass import dataclass
from core.errors import ChatError
from core.messages import Extra, Finish, Message, ToolCall, ToolResult, Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer.

    A new `part` number starts a new part; `extra` is merged into the part it belongs to.
    """

    text: str
    part: int = 0
    extra: Extra | None = None


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of the reasoning, numbered like TextDelta."""

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
    """The reply is whole, or as whole as the provider made it;
    `detail` is the provider's own word for the reason.
    """

    reason: Finish
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answering:
    """The reply comes from another model than the one that was asked for,
    as the server itself names it.
    """

    model: str


@dataclass(frozen=True, slots=True)
class Reading:
    """`done` of the prompt's `total` tokens were read in `seconds`;
    `cached` of them it had before.
    """

    done: int
    total: int
    cached: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """The server keeps this answer, and who has the handle can take it up again (Request.kept)."""

    handle: str


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What follows is an answer that was begun earlier, once more from its beginning."""


Delta = (Answering | Reading | Kept | TakenUp | TextDelta | ThinkingDelta | ToolCallDelta | Usage
         | Finished)


def is_content(item: object) -> bool:
    """Whether this delta is a part of an answer, so that asking again would repeat something."""
    return (isinstance(item, ToolCallDelta) or isinstance(item, (TextDelta, ThinkingDelta))
            and bool(item.text or item.extra))


@dataclass(frozen=True, slots=True)
class ToolRequested:
    """A call from a whole, valid message. It is run next, unless the tool rounds are used up."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call has its result, after `seconds` of the tool's own time; waiting for
    the user is not part of it.

    `said` is the reason of a failure in words for the user, where the model gets others. `ran` is
    false for a call that was refused before it ran; `asked` says that the user was shown the
    whole call in a question.
    """

    result: ToolResult
    seconds: float
    said: str = ""
    ran: bool = True
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Retrying:
    """The same model is asked again in `delay` seconds;
    `attempt` is the number of the attempt to come.
    """

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
    """Nothing has come for `seconds`; `what` says what the server is doing,
    as far as it is known.
    """

    seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class Resuming:
    """The message just added broke off; what follows continues where it stopped,
    as a message of its own.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know and need not act on."""

    text: str


@dataclass(frozen=True, slots=True)
class OthersSaid(Notice):
    """Another program wrote to the session: `messages` at its end, or, with `changed`, something
    else; then they are all that the conversation holds now.
    """

    messages: tuple[Message, ...] = ()
    changed: bool = False


@dataclass(frozen=True, slots=True)
class QuotesChecked:
    """What the answer quotes from attached files was looked up:
    `found` of `count` references hold.
    """

    count: int
    found: int
    problems: tuple[str, ...]
    line: str


@dataclass(frozen=True, slots=True)
class MessageAdded:
    """The conversation grew by this message; what was streamed before it is in it."""

    message: Message


@dataclass(frozen=True, slots=True)
class Failed:
    error: ChatError


Event = (
    TextDelta | ThinkingDelta | Usage | ToolRequested | ToolFinished | Waiting | Retrying
    | ModelChanged | Resuming | Notice
    | QuotesChecked | MessageAdded | Failed | Kept
)


def to_dict(event: Event) -> dict[str, Any] | None:
    """The event as one JSON object (NDJSON, server-sent events, docs),
    or None for one that is not reported alone.
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
            return {"event": "notice", "text": f"{reason} The answer goes on from there."}
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
    """Words with which a model refuses come apart from its answers (OpenAI);
    they are shown, and are no answer.
    """
    return any(isinstance(data, Mapping) and data.get("refusal") for data in (extra or {}).values())


def usage_dict(usage: Usage) -> dict[str, Any]:
    """The counts that the provider gave, and its own details beside them."""
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
    """Reports what takes long: what is done, and how many so far."""

    def __call__(self, what: str, count: int, /) -> None: ...


class ShownProgress(Progress, Protocol):
    """Progress that a user sees until it is cleared."""

    def clear(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PullProgress:
    """`completed` and `total` are bytes of the layer (its digest), or of the whole where there
    are none; 0 while unknown.

    `kept`: when it is stopped now, the next pull continues from here.
    """

    status: str
    completed: int = 0
    total: int = 0
    layer: str = ""
    kept: bool = True
