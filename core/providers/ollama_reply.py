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
from core.providers.finish import finish_of
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


class ReplyReader:
    """Translates the objects of one reply into deltas.

    The last line sets `done`; `rest()` yields text held back for a possible tag.
    """

    def __init__(self, request: Request) -> None:
        self.done = False
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
            if not isinstance(value, dict):
                raise not_ollama("The server")
            if value.get("error"):
                yield from self.rest()
                raise self._broken(value)
            try:
                yield from self._line(value)
            except (AttributeError, TypeError, ValueError) as problem:
                raise not_ollama("The server") from problem

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
        if value.get("done") or value.get("done_reason") and isinstance(value["done_reason"], str):
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

    def _broken(self, value: Mapping[str, Any]) -> ProviderError:
        error = error_from(200, {}, json.dumps(value).encode(), model=self._model)
        return StreamBroken(error.message, error.hint, cause=error) if self._begun else error


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
