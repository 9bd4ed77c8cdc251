"""The OpenAI Responses dialect, used without state on the server: the whole conversation goes with every request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Endpoint, Request, dialect
from core.providers.errors_http import classify_payload
from core.providers.finish import finish_of
from core.providers.openai import OpenAI, trimmed
from core.providers.openai_responses_request import NAME, adapted, origin_of, request_body
from core.providers.translation import Translation, read_reply
from core.providers.transport import exchange


@dialect(NAME)
class OpenAIResponses(OpenAI):

    lacks = frozenset({"num_ctx", "keep_alive", "seed", "stop"})

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        translation = ResponseTranslation(self.endpoint, origin_of(self.endpoint, request.model))
        path, body = self._versioned("/responses"), trimmed(self.body(request), request.without)
        async with exchange(self._client, self.endpoint, path, body, self._error) as response:
            async with aclosing(read_reply(response, translation, request.model)) as deltas:
                async for delta in deltas:
                    yield delta

    def body(self, request: Request) -> dict[str, Any]:
        return request_body(request, self.endpoint)

    def adapted(self, request: Request) -> Sequence[str]:
        return adapted(request.options)


class ResponseTranslation(Translation):
    """Output items are numbered by the server; each becomes a part. Their ids and sealed reasoning go along in `extra`."""

    def __init__(self, endpoint: Endpoint, origin: str) -> None:
        super().__init__(endpoint)
        self._origin = origin
        self._written: dict[int, set[str]] = {}     # output index -> kinds of deltas that came for it
        self._closed: set[int] = set()
        self._places: dict[str, int] = {}           # item id -> output index, where the server gives none
        self._refusal = ""

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        index = self._place(payload)
        match payload.get("type"):
            case "response.output_text.delta":
                yield TextDelta(payload["delta"], index + 1)
                self._note(index, "text")
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from self._thought(index, payload)
            case "response.function_call_arguments.delta":
                yield ToolCallDelta(index, arguments=payload["delta"])
                self._note(index, "arguments")
            case "response.refusal.delta":
                self._refusal += payload["delta"]
                self._note(index, "refusal")
            case "response.output_item.added":
                yield from self._begin(index, payload["item"])
            case "response.output_item.done":
                yield from self._close(index, payload["item"])
            case "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled":
                yield from self._end(payload["response"])
            case "error":
                raise classify_payload(self.endpoint, payload)
            case None if payload.get("object") == "response" and not payload.get("error"):
                yield from self._end(payload)
            case None if payload.get("error") or "message" in payload or "detail" in payload:
                raise classify_payload(self.endpoint, payload)

    def rest(self) -> Iterator[Delta]:
        if self._refusal:
            yield TextDelta(self._refusal, extra={NAME: {"refusal": True}})
            self._refusal = ""

    def _place(self, payload: Mapping[str, Any]) -> int:
        """The output index. llama.cpp sends none, so there items are numbered as their ids turn up."""
        index = payload.get("output_index")
        if isinstance(index, int):
            return index
        identity = payload.get("item_id") or (payload.get("item") or {}).get("id")
        return self._places.setdefault(str(identity), len(self._places)) if identity else 0

    def _note(self, index: int, kind: str) -> None:
        self._written.setdefault(index, set()).add(kind)

    def _has(self, index: int, kind: str) -> bool:
        return kind in self._written.get(index, ())

    def _thought(self, index: int, payload: Mapping[str, Any]) -> Iterator[Delta]:
        """Summaries come in sections, which are paragraphs. A server that sends its whole reasoning may send a summary too."""
        kind = "summary" if "summary" in payload["type"] else "reasoning"
        if kind == "summary" and self._has(index, "reasoning"):
            return
        section = f"{kind} {payload.get('summary_index', payload.get('content_index')) or 0}"
        break_before = self._has(index, kind) and not self._has(index, section)
        yield ThinkingDelta(("\n\n" if break_before else "") + payload["delta"], index + 1)
        self._note(index, kind)
        self._note(index, section)

    def _begin(self, index: int, item: Mapping[str, Any]) -> Iterator[Delta]:
        if item.get("type") == "function_call" and not self._has(index, "call"):
            self._note(index, "call")
            yield ToolCallDelta(index, item.get("call_id") or item.get("id") or "", item.get("name") or "",
                                extra=self._own({"id": item.get("id")}))

    def _close(self, index: int, item: Mapping[str, Any]) -> Iterator[Delta]:
        """The item as it is at its end: what did not come in deltas is in it."""
        self._closed.add(index)
        match item.get("type"):
            case "function_call":
                yield from self._begin(index, item)
                if item.get("arguments") and not self._has(index, "arguments"):
                    yield ToolCallDelta(index, arguments=item["arguments"])
            case "message":
                yield from self._close_message(index, item)
            case "reasoning":
                text = reasoning_text(item) if not self._has(index, "summary") and not self._has(index, "reasoning") else ""
                kept = {name: value for name, value in item.items() if name != "status"}
                extra = self._own({"item": kept}) if item.get("encrypted_content") or item.get("content") else None
                if text or extra:
                    yield ThinkingDelta(text, index + 1, extra)

    def _close_message(self, index: int, item: Mapping[str, Any]) -> Iterator[Delta]:
        pieces = [piece for piece in item.get("content") or () if isinstance(piece, dict)]
        text = "" if self._has(index, "text") else "".join(piece.get("text") or "" for piece in pieces)
        if not self._has(index, "refusal"):
            self._refusal += "".join(piece.get("refusal") or "" for piece in pieces)
        if text or self._has(index, "text"):
            yield TextDelta(text, index + 1, self._own({name: item.get(name) for name in ("id", "phase")}))

    def _own(self, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        known = {name: value for name, value in data.items() if value}
        return {NAME: {"from": self._origin, **known}} if known else None

    def _end(self, response: Mapping[str, Any]) -> Iterator[Delta]:
        if response.get("usage"):
            self.usage = usage_of(response["usage"])
        status = response.get("status") or "completed"
        if status in ("failed", "cancelled"):
            raise classify_payload(self.endpoint, {"error": response.get("error") or {"message": f"the answer was {status}"}})
        for place, item in enumerate(response.get("output") or ()):
            index = self._places.get(item.get("id"), place)
            if index not in self._closed:
                yield from self._close(index, item)
        yield from self.rest()
        reason = str((response.get("incomplete_details") or {}).get("reason") or status)
        called = any("call" in kinds for kinds in self._written.values())
        end = finish_of(reason)
        if status == "completed":
            end = Finished("tool_calls" if called else "stop", reason)
        self.finish = end
        self.done = True


def reasoning_text(item: Mapping[str, Any]) -> str:
    pieces = item.get("content") or item.get("summary") or ()
    return "\n\n".join(piece.get("text") or "" for piece in pieces if isinstance(piece, dict))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens")
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens")
    details = None if reasoning is None else {"reasoning_tokens": reasoning}
    return Usage(usage.get("input_tokens"), usage.get("output_tokens"), cached, details)
