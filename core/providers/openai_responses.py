"""The OpenAI Responses dialect, used without server state: each request carries the complete
conversation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Endpoint, Request, dialect
from core.providers.errors_http import classify_payload
from core.providers.finish import finish_of
from core.providers.foreign import object_of, text_of
from core.providers.http.transport import fetch_json
from core.providers.openai import OpenAI, trimmed
from core.providers.openai_responses_request import NAME, adapted, origin_of, request_body
from core.providers.reattach import Wire
from core.providers.translation import Translation

POLL = 2.0          # seconds between checks whether an answer is complete
UNFINISHED = ("queued", "in_progress")


@dialect(NAME)
class OpenAIResponses(OpenAI):

    lacks = frozenset({"num_ctx", "keep_alive", "seed", "stop"})

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        translation = ResponseTranslation(self.endpoint, origin_of(self.endpoint, request.model))
        path, body = self._versioned("/responses"), trimmed(self.body(request), request.without)
        kept = body.get("background") and body["stream"]
        keeper = BackgroundResponse(self._wire, self._versioned, translation) if kept else None
        async with aclosing(self._reply(path, body, translation, keeper, request.kept)) as deltas:
            async for delta in deltas:
                yield delta

    def body(self, request: Request) -> dict[str, Any]:
        return request_body(request, self.endpoint, self.beginnings)

    def adapted(self, request: Request) -> Sequence[str]:
        return adapted(request.options)


class BackgroundResponse:
    """An answer that OpenAI generates in the background, with numbered events.

    Its stream is available for five minutes, then only the complete answer. It is deleted on the
    server once it has been read. Source: developers.openai.com/api/docs/guides/background.
    """

    headers: Mapping[str, str] = {}
    exact = False

    def __init__(self, wire: Wire, versioned: Callable[[str], str],
                 translation: ResponseTranslation) -> None:
        self._wire, self._versioned, self._translation = wire, versioned, translation

    @property
    def name(self) -> str:
        return self._translation.identity

    async def find(self, name: str) -> bool:
        found = await self._wire.tell("GET", self._versioned(f"/responses/{quote(name, safe='')}"))
        self._translation.identity = name if found else ""
        return found

    def rest(self, received: int) -> Sequence[str]:
        path, number = self._path(), self._translation.number
        if not path:
            return ()
        if number is None:      # nothing was read yet: start at the beginning
            return (f"{path}{'&' if '?' in path else '?'}stream=true",)
        self._translation.after = number
        return (f"{path}{'&' if '?' in path else '?'}stream=true&starting_after={number}",)

    async def whole(self) -> bytes:
        wire, path = self._wire, self._path()
        while path:
            answer = await fetch_json(wire.client, wire.endpoint, path, wire.error)
            if not isinstance(answer, dict) or answer.get("status") not in UNFINISHED:
                return b"data: " + json.dumps(answer).encode() + b"\n\n"
            await asyncio.sleep(POLL)
        return b""

    async def leave(self, *, complete: bool) -> None:
        path = self._path()
        if path and not complete:
            await self._wire.tell("POST", self._path("/cancel"))
        if path:
            await self._wire.tell("DELETE", path)

    def _path(self, tail: str = "") -> str:
        identity = self._translation.identity
        return self._versioned(f"/responses/{quote(identity, safe='')}{tail}") if identity else ""


class ResponseTranslation(Translation):
    """Translates events. Each output item, numbered by the server, becomes a part.

    Ids and encrypted reasoning are kept in `extra`.
    """

    def __init__(self, endpoint: Endpoint, origin: str) -> None:
        super().__init__(endpoint)
        self._origin = origin
        self.identity = ""                          # the server's id of this answer
        self.number: int | None = None              # number of the newest event, if numbered
        self.after: int | None = None     # last event of an earlier connection
        self._written: dict[int, set[str]] = {}  # output index -> kinds of its deltas so far
        self._words: dict[tuple[int, str], list[str]] = {}     # output index and kind -> deltas
        self._closed: set[int] = set()
        self._places: dict[str, int] = {}  # item id -> output index, if the server sends none
        self._refusal = ""

    def is_own(self, payload: Mapping[str, Any]) -> bool:
        return (str(payload.get("type")).startswith("response.")
                or payload.get("object") == "response")

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        if self._is_known(payload):
            return
        index = self._place(payload)
        match self.inner(payload.get("type"), str):
            case "response.output_text.delta":
                text = self.words_in(payload["delta"])
                yield TextDelta(text, index + 1)
                self._note(index, "text", text)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from self._thought(index, payload)
            case "response.function_call_arguments.delta":
                yield ToolCallDelta(index, arguments=payload["delta"])
                self._note(index, "arguments", payload["delta"])
            case "response.refusal.delta":
                self._refusal += payload["delta"]
                self._note(index, "refusal")
            case "response.output_item.added":
                yield from self._begin(index, self.inner(payload["item"], dict))
            case "response.output_item.done":
                yield from self._close(index, self.inner(payload["item"], dict))
            case ("response.completed" | "response.incomplete" | "response.failed"
                  | "response.cancelled"):
                yield from self._end(payload["response"])
            case "" if payload.get("object") == "response":
                yield from self._end(payload)
            case _ if _is_over(payload.get("response")):
                yield from self._end(payload["response"])

    def rest(self) -> Iterator[Delta]:
        if self._refusal:
            yield TextDelta(self._refusal, extra={NAME: {"refusal": True}})
            self._refusal = ""

    def _place(self, payload: Mapping[str, Any]) -> int:
        """Return the output index.

        llama.cpp sends none; its items are numbered in the order of their ids' first use.
        """
        index = self.number_in(payload.get("output_index"), -1)
        identity = (text_of(payload.get("item_id"))
                    or text_of(object_of(payload.get("item")).get("id")))
        if index >= 0:
            self._places.setdefault(identity, index)
            return index
        unused = max(self._places.values(), default=-1) + 1
        return self._places.setdefault(identity, unused) if identity else 0

    def _is_known(self, payload: Mapping[str, Any]) -> bool:
        """Record the event's number; return whether it was read before the connection broke."""
        if not self.identity:
            self.identity = str(object_of(payload.get("response")).get("id") or "")
        number = payload.get("sequence_number")
        if not isinstance(number, int):
            return False
        if self.after is not None and number <= self.after:
            return True
        self.number = number
        return False

    def _note(self, index: int, kind: str, words: str = "") -> None:
        self._written.setdefault(index, set()).add(kind)
        if words:
            self._words.setdefault((index, kind), []).append(words)

    def _missing(self, index: int, kind: str, whole: str) -> str:
        """Return the part of the whole text that was missing from the deltas; "" if they differ
        from it.
        """
        said = "".join(self._words.get((index, kind), ()))
        return whole[len(said):] if whole.startswith(said) else ""

    def _has(self, index: int, kind: str) -> bool:
        return kind in self._written.get(index, ())

    def _thought(self, index: int, payload: Mapping[str, Any]) -> Iterator[Delta]:
        """Yield a section of a reasoning summary as a paragraph.

        A server that sends its complete reasoning may send a summary too.
        """
        kind = "summary" if "summary" in payload["type"] else "reasoning"
        if kind == "summary" and self._has(index, "reasoning"):
            return
        section = f"{kind} {payload.get('summary_index', payload.get('content_index')) or 0}"
        break_before = self._has(index, kind) and not self._has(index, section)
        text = ("\n\n" if break_before else "") + payload["delta"]
        yield ThinkingDelta(text, index + 1)
        self._note(index, "thought", text)
        self._note(index, kind)
        self._note(index, section)

    def _begin(self, index: int, item: Mapping[str, Any]) -> Iterator[Delta]:
        if item.get("type") == "function_call" and not self._has(index, "call"):
            self._note(index, "call")
            yield ToolCallDelta(index, text_of(item.get("call_id")) or text_of(item.get("id")),
                                self.inner(item.get("name"), str),
                                extra=self._own({"id": item.get("id")}))

    def _close(self, index: int, item: Mapping[str, Any]) -> Iterator[Delta]:
        """Yield what the completed item contains beyond its deltas."""
        self._closed.add(index)
        match self.inner(item.get("type"), str):
            case "function_call":
                yield from self._begin(index, item)
                arguments = self._missing(index, "arguments",
                                          self.inner(item.get("arguments"), str))
                if arguments:
                    yield ToolCallDelta(index, arguments=arguments)
            case "message":
                yield from self._close_message(index, item)
            case "reasoning":
                text = self._missing(index, "thought", reasoning_text(item))
                kept = {name: value for name, value in item.items() if name != "status"}
                extra = (self._own({"item": kept})
                         if item.get("encrypted_content") or item.get("content") else None)
                if text or extra:
                    yield ThinkingDelta(text, index + 1, extra)

    def _close_message(self, index: int, item: Mapping[str, Any]) -> Iterator[Delta]:
        pieces = [piece for piece in item.get("content") or () if isinstance(piece, dict)]
        text = self._missing(index, "text", "".join(piece.get("text") or "" for piece in pieces))
        if not self._has(index, "refusal"):
            self._refusal += "".join(piece.get("refusal") or "" for piece in pieces)
        if text or self._has(index, "text"):
            yield TextDelta(text, index + 1,
                            self._own({name: item.get(name) for name in ("id", "phase")}))

    def _own(self, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        known = {name: value for name, value in data.items() if value}
        return {NAME: {"from": self._origin, **known}} if known else None

    def _end(self, response: Mapping[str, Any]) -> Iterator[Delta]:
        if object_of(response.get("usage")):
            self.usage = usage_of(response["usage"])
        status = response.get("status") or "completed"
        if status in ("failed", "cancelled"):
            raise classify_payload(self.endpoint,
                                   {"error": response.get("error")
                                    or {"message": f"the answer was {status}"}})
        for place, entry in enumerate(self.inner(response.get("output"), list)):
            item = self.inner(entry, dict)
            index = self._places.get(text_of(item.get("id")), place)
            if index not in self._closed:
                yield from self._close(index, item)
        yield from self.rest()
        reason = str(object_of(response.get("incomplete_details")).get("reason") or status)
        called = any("call" in kinds for kinds in self._written.values())
        end = finish_of(reason)
        if status == "completed":
            end = Finished("tool_calls" if called else "stop", reason)
        self.finish = end
        self.done = True


def _is_over(response: Any) -> bool:
    """Return whether an event that we do not know has a response with an end."""
    status = object_of(response).get("status") or "in_progress"
    return status not in ("in_progress", "queued")


def reasoning_text(item: Mapping[str, Any]) -> str:
    pieces = item.get("content") or item.get("summary") or ()
    return "\n\n".join(piece.get("text") or "" for piece in pieces if isinstance(piece, dict))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    cached = object_of(usage.get("input_tokens_details")).get("cached_tokens")
    reasoning = object_of(usage.get("output_tokens_details")).get("reasoning_tokens")
    details = None if reasoning is None else {"reasoning_tokens": reasoning}
    return Usage(usage.get("input_tokens"), usage.get("output_tokens"), cached, details)
