"""The Cohere chat dialect, version 2 (https://docs.cohere.com/reference/chat)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from core.events import Delta, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult, Usage
from core.providers import Endpoint, ModelInfo, Request, dialect
from core.providers.embedding import checked_vectors
from core.providers.errors_http import classify_payload
from core.providers.finish import finish_of
from core.providers.foreign import object_of, read_each, size_of, text_of, words_of
from core.providers.http.transport import exchange, open_client
from core.providers.listing import Fetching, fetch_entries
from core.providers.openai_request import CallIds
from core.providers.tool_schema import function_tool, valid_name
from core.providers.translation import Translation, read_reply
from core.providers.written import Beginnings

NAME = "cohere"
PLAN = {NAME: {"tool_plan": True}}   # marks thinking that is sent back as tool_plan
# tokens of thinking
BUDGETS: Mapping[str, int] = {"low": 2048, "medium": 8192, "high": 16384, "max": 31000}
FEATURES: Mapping[str, str] = {
    "tools": "tools", "tool_choice": "tools", "strict_tools": "tools", "vision": "vision",
    "reasoning": "thinking",
    "thinking": "thinking",
}
ENDPOINTS: Mapping[str, str] = {"chat": "completion", "embed": "embedding"}


@dialect(NAME)
class Cohere(Fetching):

    lacks = frozenset({"num_ctx", "keep_alive"})

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client = open_client(endpoint, {"authorization": f"Bearer {endpoint.key}"}
                                   if endpoint.key else {})
        self._beginnings = Beginnings()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        async with exchange(self._client, self.endpoint, "/v2/chat",
                            request_body(request, self._beginnings), self._error) as response:
            async with aclosing(read_reply(response, ChatTranslation(self.endpoint),
                                           request.model)) as deltas:
                async for delta in deltas:
                    yield delta

    async def models(self) -> list[ModelInfo]:
        entries = await fetch_entries(
            self._client, self.endpoint, "/v1/models?endpoint=chat&page_size=1000", self._error,
            under="models", name="name",
            parameter="page_token", following=lambda page: page.get("next_page_token"))
        return await read_each(entries, model_info)

    async def show(self, model: str) -> ModelInfo:
        path = f"/v1/models/{quote(model, safe='')}"
        return model_info(await self._get(path, needs="name"))

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Embed all texts as documents, since CanEmbed does not distinguish queries."""
        body = {"model": model, "texts": list(texts), "input_type": "search_document",
                "embedding_types": ["float"],
                "truncate": "END"}
        found = (await self._get("/v2/embed", body=body, needs="embeddings"))["embeddings"]
        return checked_vectors(found.get("float") if isinstance(found, dict) else None, len(texts),
                               model)

    async def check(self) -> str:
        await self._get("/v1/models?page_size=1", needs="models")
        return f"Cohere API at {self.endpoint.base_url}"


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """Read an entry of the model list. Older lists name no features, so these stay unknown."""
    features, sees = entry.get("features"), entry.get("supports_vision")
    able = ({FEATURES[name] for name in words_of(features) if name in FEATURES}
            | ({"vision"} if sees is True else set()))
    complete = ({"tools", "vision", "thinking"} if isinstance(features, list)
                else {"vision"} if sees is False else set())
    endpoints = {ENDPOINTS[name] for name in words_of(entry.get("endpoints")) if name in ENDPOINTS}
    said = isinstance(features, list) or isinstance(sees, bool)
    return ModelInfo(entry["name"], size_of(entry.get("context_length")), None, None,
                     frozenset(able | endpoints) if said else None,
                     lacking=frozenset(complete - able))


# ---- ours -> theirs

def request_body(request: Request, beginnings: Beginnings | None = None) -> dict[str, Any]:
    options = request.options
    messages = (beginnings or Beginnings()).entries(
        request.messages, lambda messages, before, last: message_entries(messages))
    if request.system:
        messages = messages.after({"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": request.model, "stream": True, "messages": messages}
    if request.tools:
        body["tools"] = [function_tool(tool) for tool in request.tools]
    fields = {"temperature": options.temperature, "p": options.top_p, "seed": options.seed,
              "max_tokens": options.max_tokens,
              "stop_sequences": list(options.stop) or None, "thinking": _thinking(options.think),
              "response_format": _response_format(options.response_format)}
    return (body | {name: value for name, value in fields.items() if value is not None}
            | dict(options.raw))


def _thinking(think: bool | str | None) -> dict[str, Any] | None:
    if think is None:
        return None
    if think is False or think == "off":
        return {"type": "disabled"}
    return {"type": "enabled",
            **({"token_budget": BUDGETS[think]} if isinstance(think, str) and think in BUDGETS
               else {})}


def _response_format(wanted: Any) -> dict[str, Any] | None:
    """Convert "json", a JSON Schema or OpenAI's wrapper of one."""
    if not wanted or wanted == "text" or wanted == {"type": "text"}:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") == "json_object":
        return wanted if isinstance(wanted, dict) else {"type": "json_object"}
    named = wanted.get("json_schema")
    return {"type": "json_object",
            "json_schema": named.get("schema", named) if isinstance(named, dict) else wanted}


def message_entries(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    ids = CallIds()
    for message in messages:
        match message.role:
            case "tool":
                for result in message.tool_results:
                    yield _tool_entry(result, ids)
            case "assistant":
                ids.next_message()
                yield from _assistant_entry(message, ids)
            case _:
                yield from _entry(message)


def _entry(message: Message) -> Iterator[dict[str, Any]]:
    """Yield a message's entry. Text alone is a string; with images it is a list."""
    images = [part for part in message.parts if isinstance(part, Image)]
    text = [{"type": "text", "text": part.text}
            for part in message.parts if isinstance(part, Text) and part.text]
    if images:
        yield {"role": message.role, "content": [*text, *(_image(part) for part in images)]}
    elif text:
        yield {"role": message.role, "content": message.text}


def _image(part: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}


def _tool_entry(result: ToolResult, ids: CallIds) -> dict[str, Any]:
    """Return a tool result. The API has no error flag, so the text says that a call failed."""
    content = f"Error: {result.content}" if result.is_error else result.content
    return {"role": "tool", "tool_call_id": ids.of_result(result.id), "content": content}


def _assistant_entry(message: Message, ids: CallIds) -> Iterator[dict[str, Any]]:
    plan = "".join(part.text for part in message.parts
                   if isinstance(part, Thinking) and (part.extra or {}).get(NAME))
    fields = {"content": message.text, "tool_plan": plan if message.tool_calls else "",
              "tool_calls": [_call(call, ids) for call in message.tool_calls]}
    said = {name: value for name, value in fields.items() if value}
    if said:
        yield {"role": "assistant", **said}


def _call(call: ToolCall, ids: CallIds) -> dict[str, Any]:
    arguments = dict(call.arguments) if call.invalid is None else {"invalid": call.invalid}
    return {"id": ids.of_call(call.id), "type": "function",
            "function": {"name": valid_name(call.name),
                         "arguments": json.dumps(arguments, ensure_ascii=False)}}


# ---- theirs -> ours

class ChatTranslation(Translation):
    """Translates events. The tool plan becomes thinking: it is not part of the answer, and it is
    sent back as tool_plan.
    """

    _planned = False
    _at = -1        # the number of the part that was begun last

    def is_own(self, payload: Mapping[str, Any]) -> bool:
        kind = str(payload.get("type"))
        return ("finish_reason" in payload
                or kind.startswith(("message-", "content-", "tool-", "citation-")))

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        begins = str(payload.get("type")).endswith("-start")
        self._at = index = self.number_in(payload.get("index"), self._at + begins)
        delta = self.inner(payload.get("delta"), dict)
        message = self.inner(delta.get("message"), dict)
        match self.inner(payload.get("type"), str):
            case "content-start" | "content-delta":
                yield from self._content(index, message.get("content"))
            case "tool-plan-delta":
                yield from self._plan(message.get("tool_plan"))
            case "tool-call-start" | "tool-call-delta":
                calls = message.get("tool_calls")
                for call in calls[:1] if isinstance(calls, list) else [calls]:
                    yield self._call(index, call)
            case "message-end":
                self._end(object_of(delta))
            case "" if "message" in payload and "finish_reason" in payload:
                yield from self._whole(payload)

    def _plan(self, value: Any) -> Iterator[Delta]:
        text = self.words_in(value)
        if text:
            yield ThinkingDelta(text, extra=None if self._planned else PLAN)
            self._planned = True

    def _whole(self, payload: Mapping[str, Any]) -> Iterator[Delta]:
        message = self.inner(payload["message"], dict)
        for index, block in enumerate(self.inner(message.get("content"), list)):
            yield from self._content(index, block)
        yield from self._plan(message.get("tool_plan"))
        for index, call in enumerate(self.inner(message.get("tool_calls"), list)):
            yield self._call(index, call)
        self._end(payload)

    def _content(self, index: int, value: Any) -> Iterator[Delta]:
        block = self.inner(value, dict)
        thinking, text = (self.words_in(block.get(name)) for name in ("thinking", "text"))
        if thinking:
            yield ThinkingDelta(thinking, index + 1)
        if text:
            yield TextDelta(text, index + 1)

    def _call(self, index: int, value: Any) -> ToolCallDelta:
        call = self.inner(value, dict)
        function = self.inner(call.get("function"), dict)
        name, arguments = (self.inner(function.get(name), str) for name in ("name", "arguments"))
        return ToolCallDelta(index, text_of(call.get("id")), name, arguments)

    def _end(self, delta: Mapping[str, Any]) -> None:
        self._count(object_of(delta.get("usage")))
        reason = delta.get("finish_reason") or "COMPLETE"
        if reason in ("ERROR", "TIMEOUT") or delta.get("error"):
            words = delta.get("error") or f"the answer ended with {reason}"
            raise classify_payload(self.endpoint,
                                   {"message": words, "error_type": delta.get("error_type")})
        self.finish = finish_of(str(reason))
        self.done = True

    def _count(self, usage: Mapping[str, Any]) -> None:
        """Update usage. `tokens` counts the model's tokens; `billed_units` leaves out what Cohere
        adds to the prompt.
        """
        billed = object_of(usage.get("billed_units"))
        tokens = object_of(usage.get("tokens")) or billed
        details = {name: value for name, value in tokens.items()
                   if value and name not in ("input_tokens", "output_tokens")}
        if billed:
            details["billed_units"] = billed
        if usage:
            self.usage = Usage(_whole_number(tokens.get("input_tokens")),
                               _whole_number(tokens.get("output_tokens")),
                               _whole_number(usage.get("cached_tokens")), details or None)


def _whole_number(value: Any) -> int | None:
    return 0 if value == 0 and not isinstance(value, bool) else size_of(value)
