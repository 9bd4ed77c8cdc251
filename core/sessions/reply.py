"""Builds a reply from deltas, and fills in missing results of tool calls."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.config.values import only_once
from core.dataclass import dataclass, field
from core.errors import BadResponse
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import (Extra, Finish, Message, Part, Text, Thinking, ToolCall, ToolResult,
                           Usage, tool_message)


MOST_ARGUMENTS = 1 << 20     # characters of a call's arguments; a call with more is not run
SHOWN = 1_000                # characters kept of such arguments
TOO_LONG = "[cut here: the arguments have {:,} characters]"


def in_call_order(calls: Sequence[ToolCall],
                  results: Sequence[ToolResult]) -> tuple[ToolResult, ...]:
    """Return one result per call, in the order of the calls rather than of finishing; ids may
    repeat.
    """
    waiting = list(results)
    ordered = []
    for call in calls:
        found = next(result for result in waiting if result.id == call.id)
        waiting.remove(found)
        ordered.append(found)
    return tuple(ordered)


def missing_results(messages: Sequence[Message]) -> Message | None:
    """Return placeholder results for unanswered calls at the end of an interrupted conversation, or
    None.
    """
    for place in reversed(range(len(messages))):
        message = messages[place]
        if message.role == "assistant":
            calls = message.tool_calls
            answered = [result for later in messages[place + 1:] for result in later.tool_results]
            left = [call for call in calls if call.id not in {result.id for result in answered}]
            results = tuple(ToolResult(call.id, call.name, "Interrupted before it finished.", True)
                            for call in left)
            return tool_message(results) if results else None
        if message.role == "user":
            return None
    return None


@dataclass(slots=True)
class _OpenPart:
    kind: type[Text] | type[Thinking]
    number: int
    pieces: list[str]
    extra: dict[str, object]


@dataclass(slots=True)
class _OpenCall:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    extra: Extra | None = None

    def add(self, text: str) -> None:
        """Append to the arguments up to their limit, so that an endless stream cannot fill the
        memory.
        """
        room = MOST_ARGUMENTS - self.size
        if text and room > 0:
            self.pieces.append(text if len(text) <= room else text[:room])
        self.size += len(text)


class Reply:
    """Collects deltas into one message."""

    def __init__(self) -> None:
        self._parts: list[_OpenPart | _OpenCall] = []
        self._calls: dict[int, _OpenCall] = {}
        self.usage: Usage | None = None
        self.finish: Finish | None = None

    @property
    def begun(self) -> bool:
        """True once there is content to save."""
        return bool(self._parts)

    @property
    def text(self) -> str:
        return "".join("".join(part.pieces)
                       for part in self._parts if isinstance(part, _OpenPart) and part.kind is Text)

    @property
    def calls(self) -> bool:
        """Whether the reply contains a complete or partial tool call."""
        return bool(self._calls)

    def add(self, delta: Delta) -> None:
        match delta:
            case TextDelta(text, part, extra):
                self._add_words(Text, text, part, extra)
            case ThinkingDelta(text, part, extra):
                self._add_words(Thinking, text, part, extra)
            case ToolCallDelta():
                self._add_call(delta)
            case Usage():
                self.usage = delta
            case Finished(reason):
                self.finish = reason

    def _add_words(self, kind: type[Text] | type[Thinking], text: str, number: int,
                   extra: Extra | None) -> None:
        last = self._parts[-1] if self._parts else None
        if not (isinstance(last, _OpenPart) and last.kind is kind and last.number == number):
            last = next((part for part in self._parts
                         if number and isinstance(part, _OpenPart) and part.kind is kind
                         and part.number == number), None)
        if last is None:
            if not text and not extra:
                return
            last = _OpenPart(kind, number, [], {})
            self._parts.append(last)
        last.pieces.append(text)
        merge_extra(last.extra, extra)

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = _OpenCall()
            self._parts.append(call)
        call.id = call.id or delta.id
        call.name = call.name or delta.name
        call.add(delta.arguments)
        if delta.extra:
            call.extra = {**(call.extra or {}), **delta.extra}

    def message(self, model: str) -> Message:
        """Return the complete reply.

        With tool calls the finish is `tool_calls`: several providers report `stop`, some even
        `length`, although all calls are complete. Cut arguments are not valid JSON; then `length`
        stays and nothing is run.
        """
        calls = self._calls.values()
        nameless = [call for call in calls if not call.name]
        unclear = any(call.size for call in nameless) or calls and len(nameless) == len(calls)
        if unclear and self.finish != "incomplete":
            raise BadResponse("The model called a tool without naming it.")
        parts = self._closed(with_calls=True)
        finish = self.finish
        whole = [part for part in parts if isinstance(part, ToolCall)]
        if (finish == "stop" and whole or finish == "length" and whole
            and all(call.invalid is None for call in whole)):
            finish = "tool_calls"
        if finish == "tool_calls" and not self._calls:
            finish = "stop"
        if finish != "tool_calls":
            parts = tuple(part for part in parts if not isinstance(part, ToolCall))
        return Message("assistant", parts, model, self.usage, finish)

    def broken(self, model: str, finish: Finish) -> Message:
        """Return a partial reply without its tool calls, which may be incomplete."""
        return Message("assistant", self._closed(with_calls=False), model, self.usage, finish)

    def _closed(self, *, with_calls: bool) -> tuple[Part, ...]:
        parts: list[Part] = []
        for number, part in enumerate(self._parts):
            if isinstance(part, _OpenPart):
                parts.append(part.kind("".join(part.pieces), part.extra or None))
            elif with_calls and part.name:
                parts.append(_close_call(part, number))
        return tuple(parts)


def merge_extra(into: dict[str, object], extra: Extra | None) -> None:
    """Merge provider-specific data into a part: dictionaries of the same dialect are merged, newest
    values win.
    """
    for name, value in (extra or {}).items():
        held = into.get(name)
        into[name] = ({**held, **value} if isinstance(held, dict) and isinstance(value, dict)
                      else value)


def _close_call(call: _OpenCall, number: int) -> ToolCall:
    """Parse the arguments of a call.

    Empty arguments and JSON null mean a call without arguments (Anthropic, Groq). Duplicate keys
    make the call invalid: parsers disagree on which one wins.
    """
    identity, written = call.id or f"call_{number}", "".join(call.pieces)
    if call.size > MOST_ARGUMENTS:
        return ToolCall(identity, call.name, {},
                        f"{written[:SHOWN]}\u2026 {TOO_LONG.format(call.size)}", call.extra)
    try:
        arguments = json.loads(written, object_pairs_hook=only_once) if written.strip() else {}
    except (ValueError, RecursionError):
        return ToolCall(identity, call.name, {}, written, call.extra)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return ToolCall(identity, call.name, {}, written, call.extra)
    return ToolCall(identity, call.name, arguments, None, call.extra)
