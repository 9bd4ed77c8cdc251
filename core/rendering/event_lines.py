"""Formats the events of a turn other than the answer's text as marked lines for the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from core.events import (Event, ModelChanged, Notice, QuotesChecked, Resuming, Retrying,
                         ToolFinished, ToolRequested)
from core.messages import Message, ToolCall, ToolResult, is_empty
from core.regex import regex
from core.rendering.marks import MARKS
from core.rendering.quantities import duration
from core.safe_text import safe_line, safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.rendering.marks import Kind

# characters of a call's arguments in one line; a question about the call and /last show all
MOST_SHOWN = 120
_NAMED: tuple[Kind, ...] = ("error", "warning")
_ATTACHED = regex(r"Attached: (.*) \((.*)\)")       # a name and what is known of it
FINISH_NOTES = {
    "length": "The answer stopped at its length limit. /retry with a larger --max-tokens, or ask "
    "the model to continue.",
    "content_filter": "The provider's filter stopped the answer.",
    "refusal": "The model refused to answer.",
}


class Line(NamedTuple):
    """One line for the user: `name` is emphasised at its start, `detail` is dim at its end."""

    kind: Kind
    text: str
    name: str = ""
    detail: str = ""

    def __str__(self) -> str:
        """The line without styles."""
        body = " ".join(filter(None, (self.name, self.text)))
        return f"{MARKS[self.kind].sign} " + "  ".join(filter(None, (body, self.detail)))


def sentence(reason: str) -> str:
    """A reason, made safe, with a full stop."""
    text = safe_line(reason, 200)
    return text if text.endswith((".", "!", "?", "\u2026")) else f"{text}."


def clause(reason: str) -> str:
    """A reason as part of a sentence: without its full stop."""
    return safe_line(reason, 200).rstrip(".")


def _inside(reason: str) -> str:
    """A reason as it is written after a colon."""
    begins = reason.startswith(("The ", "There ", "It ", "No ", "A "))
    return reason[0].lower() + reason[1:] if begins else reason


def finish_note(message: Message) -> str:
    """A note below a reply that is not complete; "" if it is."""
    if message.finish == "stop" and is_empty(message):
        return "The model sent an empty answer."
    return FINISH_NOTES.get(message.finish or "", "")


class EventLines:
    """Converts the events of one turn to lines; a tool call and its result are one line."""

    def __init__(self) -> None:
        self._calls: dict[str, ToolCall] = {}

    def of(self, event: Event) -> list[Line]:
        """The lines for an event; text from outside is made safe."""
        match event:
            case Retrying(attempt, delay, reason):
                return [Line("note", f"{sentence(reason)} Attempt {attempt} in {delay:.1f} s.")]
            case ModelChanged(old, new, reason):
                models = f"{safe_line(new)} instead of {safe_line(old)}"
                return [Line("warning", f"Continued by {models}: {_inside(clause(reason))}.")]
            case Resuming(reason):
                return [Line("note", f"{sentence(reason)} The answer is continued.")]
            case Notice(text):
                return [notice_line(text)]
            case QuotesChecked(line=line):
                return [Line("note", safe_line(line, 2000))]
            case ToolRequested(call):
                self._calls[call.id] = call
            case ToolFinished(result):
                return [finished_line(self._calls.pop(result.id, None), event)]
        return []

    def unanswered(self) -> list[Line]:
        """The calls without a result at the end of the turn: with `--tool-rounds 0`, or if they
        were stopped.
        """
        calls, self._calls = list(self._calls.values()), {}
        return [Line("failed", argument_of(call), safe_line(call.name, 100), "no result")
                for call in calls]


def notice_line(text: str) -> Line:
    """The line for a notice; a warning if something is not as the user asked."""
    words = safe_text(text)
    for kind in _NAMED:       # such as "warning: ..."
        if words.startswith(f"{kind}: "):
            return Line(kind, _capital(words.removeprefix(f"{kind}: ")))
    if (attached := _ATTACHED.fullmatch(words)) is not None:
        return Line("added", "", attached[1], attached[2])
    if words.startswith("context: "):
        return Line("added", words)
    return Line("warning" if words.startswith(("NOT SAVED", "Not ")) else "note", words)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def finished_line(call: ToolCall | None, event: ToolFinished) -> Line:
    """The line for a finished tool call: its arguments, result and time."""
    result = event.result
    line = tool_line(call, result)
    if result.declined:
        return line
    if not event.ran or result.is_error:
        reason = safe_line(event.said or result.content, 200).rstrip(".").removeprefix("Not run: ")
        return line._replace(detail=f"failed: {reason}" if event.ran else reason)
    return line._replace(detail=f"{line.detail}, {duration(event.seconds)}")


def tool_line(call: ToolCall | None, result: ToolResult) -> Line:
    """The line for a tool call of a saved conversation."""
    argument = argument_of(call) if call is not None else ""
    if result.declined:
        return Line("failed", argument, safe_line(result.name, 100), "you declined")
    if result.is_error:
        reason = safe_line(result.content, 200).rstrip(".")
        return Line("failed", argument, safe_line(result.name, 100), f"failed: {reason}")
    return Line("done", argument, safe_line(result.name, 100),
                f"{len(result.content):,} characters")


def argument_of(call: ToolCall) -> str:
    """A call's arguments in short: a single value alone, several with their names."""
    if call.invalid is not None:
        return safe_line(call.invalid, MOST_SHOWN)
    given: Mapping[str, Any] = call.arguments
    if len(given) == 1:
        return middle_cut(_value(*given.values()), MOST_SHOWN)
    return middle_cut(" ".join(f"{safe_line(name, 40)}={_value(value)}"
                               for name, value in given.items()), MOST_SHOWN)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return safe_line(text)


def middle_cut(text: str, limit: int) -> str:
    """The text, with its middle left out if it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    kept = max(limit - 1, 2)
    return f"{text[:kept - kept // 2]}\u2026{text[-(kept // 2):]}"
