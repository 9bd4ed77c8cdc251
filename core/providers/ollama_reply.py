"""Translates responses of Ollama's /api/chat into deltas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from core.dataclass import replace
from core.errors import ProviderError, StreamBroken
from core.events import Answering, Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Request
from core.providers.answering import is_another, name_in
from core.providers.error_body import sentences
from core.providers.finish import finish_of
from core.providers.foreign import objects_of
from core.providers.http.decoder import plausible_count
from core.providers.ollama_errors import error_from
from core.providers.ollama_models import not_ollama
from core.providers.thinking import InlineThinking


def is_content(value: Any) -> bool:
    """Return False for a line that is only a sign of life."""
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, dict) or value.get("done"):
        return bool(value)
    return bool(message.get("content") or message.get("thinking") or message.get("tool_calls"))


OWN_FIELDS = frozenset({"message", "done", "done_reason"})
OF_A_MESSAGE = frozenset({"role", "content", "thinking", "tool_calls"})


class ReplyReader:
    """Translates the objects of one reply into deltas.

    The last line sets `done`; `rest()` yields text held back for a possible tag.
    """

    def __init__(self, request: Request) -> None:
        self.done = False
        # the last line if Ollama's API does not define it; it matters if the reply ends there
        self.foreign: Mapping[str, Any] | None = None
        self._begun = self._name_read = False
        self._model = request.model
        self._asked = request.messages
        self._used: set[str] | None = None    # IDs of earlier calls, read when a model sends none
        self._calls = 0
        self._split: InlineThinking | None = InlineThinking()

    def read(self, objects: Iterable[Any]) -> Iterator[Delta]:
        for value in objects:
            if self.done:
                return
            value = next(iter(objects_of(value)), None) if isinstance(value, list) else value
            if not isinstance(value, dict):
                raise not_ollama("The server")
            if value.get("error"):
                yield from self.rest()
                raise self._broken(value)
            if not self._is_own(value):
                continue
            try:
                yield from self._line(value)
            except (AttributeError, TypeError, ValueError) as problem:
                raise not_ollama("The server") from problem

    def _is_own(self, value: Mapping[str, Any]) -> bool:
        """Return whether the API defines such a line; note another one that says something."""
        message = value.get("message")
        usual = isinstance(message, dict) and not OF_A_MESSAGE.isdisjoint(message)
        own = not OWN_FIELDS.isdisjoint(value) and (usual or not sentences(message))
        if own or sentences(value):
            self.foreign = None if own else value
        return own

    def rest(self) -> Sequence[Delta]:
        held = self._split.flush() if self._split else []
        self._split = None
        return held

    def _line(self, value: Mapping[str, Any]) -> Iterator[Delta]:
        if not self._name_read:
            yield from self._named(value)
        message = value.get("message") or {}
        thinking = _string(message.get("thinking"))
        if thinking:
            self._split, self._begun = None, True
            yield ThinkingDelta(thinking)
        content = _string(message.get("content"))
        if content:
            self._begun = True
            yield from self._split.feed(content) if self._split else (TextDelta(content),)
        calls = message.get("tool_calls")
        for call in [calls] if isinstance(calls, dict) else calls or ():
            yield from self.rest()
            self._begun = True
            yield self._call(call)
        if _is_last(value):
            self.done = True
            yield from self.rest()
            yield usage_of(value)
            yield _finish(value, calls=self._calls)

    def _named(self, value: Mapping[str, Any]) -> Iterator[Answering]:
        """Report another model's name, which a proxy may respond with."""
        name = name_in(value)
        self._name_read = bool(name)
        if not self._begun and is_another(self._model, name):
            yield Answering(name)

    def _call(self, call: Any) -> ToolCallDelta:
        function = call.get("function") or {}
        arguments = function.get("arguments")
        text = (arguments if isinstance(arguments, str)
                else json.dumps(arguments) if arguments is not None else "")
        index, self._calls = self._calls, self._calls + 1
        return ToolCallDelta(index, _string(call.get("id")) or self._new_id(),
                             _string(function.get("name")), text)

    def _new_id(self) -> str:
        """Return a call id that is unique in the conversation; servers of 2025 send none."""
        if self._used is None:
            self._used = {call.id for message in self._asked for call in message.tool_calls}
        number = len(self._used)
        while f"call_{number}" in self._used:
            number += 1
        self._used.add(f"call_{number}")
        return f"call_{number}"

    def reason(self, error: ProviderError) -> ProviderError:
        """Return the error of the reply's end, or what the line before it says about it."""
        unexplained = isinstance(error, StreamBroken) and error.cause is None
        return self._broken(self.foreign) if self.foreign and unexplained else error

    def _broken(self, value: Mapping[str, Any]) -> ProviderError:
        error = error_from(200, {}, json.dumps(value).encode(), model=self._model)
        return StreamBroken(error.message, error.hint, cause=error) if self._begun else error


def _is_last(value: Mapping[str, Any]) -> bool:
    """Return whether a line says that it is the last one, by either field."""
    done, reason = value.get("done"), value.get("done_reason")
    return str(done).lower() in ("true", "1") or isinstance(reason, str) and bool(reason)


def _string(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value or ""


def usage_of(value: Mapping[str, Any]) -> Usage:
    """Return the token counts of the done line.

    A missing prompt_eval_count (a cached prompt) is unknown, not 0. Durations are in nanoseconds.
    """
    details = {name: count for name, count in value.items()
               if name.endswith("_duration") and plausible_count(count) is not None}
    came, went, cached = (plausible_count(value.get(name))
                          for name in ("prompt_eval_count", "eval_count",
                                       "prompt_eval_cached_count"))
    return Usage(came, went, cached, details or None)


def _finish(value: Mapping[str, Any], *, calls: int) -> Finished:
    """Return the end of the reply; Ollama sends `stop` for tool calls too."""
    end = finish_of(str(value.get("done_reason") or ""))
    return replace(end, reason="tool_calls") if end.reason == "stop" and calls else end
