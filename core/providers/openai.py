"""The OpenAI chat completions dialect, and what its many compatible hosts make of it (quirks: core/providers/hosts.py)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from core.errors import ProviderError
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Finish, Usage
from core.providers import Endpoint, ModelInfo, Request, dialect
from core.providers.errors_http import classify, classify_payload
from core.providers.listing import fetch_entries, fetch_object
from core.providers.openai_request import request_body
from core.providers.thinking import InlineThinking
from core.providers.translation import Translation, read_reply
from core.providers.transport import exchange, open_client

FINISHES: Mapping[str, Finish] = {
    "stop": "stop", "eos": "stop", "end_turn": "stop", "stop_sequence": "stop", "length": "length", "max_tokens": "length",
    "model_length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "content_filter", "refusal": "refusal", "error": "error",
}
THINKING = 1   # the part number of reasoning, so that data which comes at its end still finds it


@dialect("openai")
class OpenAI:

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        headers = {}
        if endpoint.key:
            plain = endpoint.quirks.get("auth") == "api-key"
            headers = {"api-key": endpoint.key} if plain else {"authorization": f"Bearer {endpoint.key}"}
        if endpoint.quirks.get("close"):
            headers["connection"] = "close"
        self._client = open_client(endpoint, headers)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        body = self.body(request)
        async with exchange(self._client, self.endpoint, self._path(request.model), body, self._error) as response:
            async with aclosing(read_reply(response, ChatTranslation(self.endpoint))) as deltas:
                async for delta in deltas:
                    yield delta

    def body(self, request: Request) -> dict[str, Any]:
        return request_body(request, self.endpoint)

    async def models(self) -> list[ModelInfo]:
        entries = await fetch_entries(self._client, self.endpoint, self._versioned("/models"), self._error, under="data", name="id",
                                      parameter="after", following=lambda page: page.get("next_page_token"))
        return [model_info(entry) for entry in entries]

    async def check(self) -> str:
        path = str(self.endpoint.quirks.get("check_path", "/models"))
        await fetch_object(self._client, self.endpoint, self._versioned(path if path.startswith("/") else "/models"), self._error)
        return f"OpenAI-compatible API at {self.endpoint.base_url}"

    async def close(self) -> None:
        await self._client.aclose()

    def _path(self, model: str) -> str:
        quirks = self.endpoint.quirks
        return self._versioned(f"/openai/deployments/{quote(model, safe='')}/chat/completions" if quirks.get("deployments")
                               else "/chat/completions")

    def _versioned(self, path: str) -> str:
        version = self.endpoint.quirks.get("api_version")
        return f"{path}?api-version={quote(str(version), safe='')}" if version else path

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(self.endpoint, status, headers, body)


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """Hosts name the window in six ways: Groq, OpenRouter, Mistral and LM Studio, vLLM, llama.cpp, Hugging Face's router."""
    meta = entry.get("meta") or {}
    routed = [option for option in entry.get("providers") or () if isinstance(option, dict)]
    widest = max((option.get("context_length") or 0 for option in routed), default=0)
    names = ("context_window", "context_length", "max_context_length", "max_model_len", "context_size")
    windows = (*(entry.get(name) for name in names), meta.get("n_ctx_train"), widest)
    window = next((value for value in windows if isinstance(value, int) and value > 0), None)
    limit = entry.get("max_completion_tokens")
    return ModelInfo(entry["id"], window, limit if isinstance(limit, int) else None, None, _capabilities(entry, routed))


def _capabilities(entry: Mapping[str, Any], routed: list[dict[str, Any]]) -> frozenset[str] | None:
    """What the list says, as far as it says anything."""
    able: set[str] = set()
    said = entry.get("capabilities")
    if isinstance(said, dict):
        able |= {ours for theirs, ours in (("function_calling", "tools"), ("vision", "vision"), ("completion_chat", "completion"),
                                           ("reasoning", "thinking")) if said.get(theirs)}
    elif isinstance(said, list):
        able |= {str(word) for word in said}
    parameters = entry.get("supported_parameters")
    if isinstance(parameters, list):
        able |= {"completion", *(ours for theirs, ours in (("tools", "tools"), ("reasoning", "thinking")) if theirs in parameters)}
        modalities = (entry.get("architecture") or {}).get("input_modalities") or ()
        able |= {"vision"} if "image" in modalities else set()
    if any(option.get("supports_tools") for option in routed):
        able.add("tools")
    return frozenset(able) if able or said is not None or parameters is not None else None


# ---- theirs -> ours

class ChatTranslation(Translation):
    """Chunks of a chat completion, or the whole of one that was not streamed."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._host = endpoint.host or "openai"
        self._inline = InlineThinking()
        self._calls: dict[int, str] = {}          # index -> id
        self._last_call = -1
        self._details: dict[Any, dict[str, Any]] = {}

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        groq = payload.get("x_groq") or {}
        if payload.get("error") or groq.get("error") or payload.get("object") == "error":
            told = payload if payload.get("error") else groq or payload
            raise classify_payload(self.endpoint, told, payload.get("status_code") or 200)
        choices = payload.get("choices") or ()
        choice = choices[0] if choices else {}
        usage = payload.get("usage") or groq.get("usage") or choice.get("usage")
        if usage:
            self.usage = usage_of(usage)
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        if delta:
            yield from self._piece(delta)
        if choice.get("finish_reason"):
            yield from self._end(str(choice["finish_reason"]))

    def end_marker(self) -> Iterator[Delta]:
        """`[DONE]`: some servers never send a finish reason, so this has to do."""
        if self.finish is None:
            yield from self._end("tool_calls" if self._calls else "stop")
        self.done = True

    def _piece(self, delta: dict[str, Any]) -> Iterator[Delta]:
        yield from self._reasoning(delta)
        content = delta.get("content")
        if isinstance(content, str):
            yield from self._inline.feed(content)
        elif isinstance(content, list):
            yield from content_list(content)
        if delta.get("refusal"):
            yield TextDelta(delta["refusal"], extra={"openai": {"refusal": True}})
        legacy = delta.get("function_call")
        for call in delta.get("tool_calls") or ([{"index": 0, "function": legacy}] if legacy else ()):
            yield self._call(call)

    def _reasoning(self, delta: dict[str, Any]) -> Iterator[Delta]:
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(text, str) and text:
            yield ThinkingDelta(text, THINKING)
        details = [item for item in delta.get("reasoning_details") or () if isinstance(item, dict)]
        for item in details:
            self._merge_detail(item)
        if any(item.get("signature") or item.get("data") for item in details) and not text:
            yield ThinkingDelta("", THINKING)

    def _merge_detail(self, item: dict[str, Any]) -> None:
        """OpenRouter sends one detail in pieces: texts are put together, everything else is the newest."""
        key = (item.get("index"), item.get("type")) if item.get("index") is not None else len(self._details)
        held = self._details.setdefault(key, {})
        for name, value in item.items():
            joins = name in ("text", "summary", "data") and isinstance(value, str)
            held[name] = str(held.get(name) or "") + value if joins else value if value is not None else held.get(name)

    def _call(self, call: dict[str, Any]) -> ToolCallDelta:
        function = call.get("function") or {}
        identity = call.get("id") or ""
        index = self._index(call.get("index"), identity)
        self._calls[index] = self._calls.get(index) or identity
        self._last_call = index
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        return ToolCallDelta(index, identity, function.get("name") or "", text)

    def _index(self, index: Any, identity: str) -> int:
        """Where there is no index, another id begins another call."""
        if isinstance(index, int):
            return index
        known = next((number for number, held in self._calls.items() if identity and held == identity), None)
        if known is not None:
            return known
        return len(self._calls) if identity or not self._calls else self._last_call

    def _end(self, reason: str) -> Iterator[Delta]:
        yield from self._inline.flush()
        self._inline = InlineThinking()
        if self._details or self.endpoint.quirks.get("thinking_back"):
            data = {"reasoning_details": list(self._details.values())} if self._details else {"own": True}
            yield ThinkingDelta("", THINKING, {self._host: data})
        finish: Finish = FINISHES.get(reason, "stop")
        if finish == "error":
            raise classify_payload(self.endpoint, {"error": {"message": "the provider reported an error"}})
        self.finish = Finished(finish, reason)


def content_list(content: list[Any]) -> Iterator[Delta]:
    """Mistral writes reasoning and words as a list of typed pieces."""
    for piece in content:
        if isinstance(piece, dict) and piece.get("type") == "thinking":
            inner = piece.get("thinking")
            texts = [inner] if isinstance(inner, str) else [part.get("text", "") for part in inner or ()]
            yield ThinkingDelta("".join(texts), THINKING)
        elif isinstance(piece, dict) and isinstance(piece.get("text"), str):
            yield TextDelta(piece["text"])


def usage_of(usage: Mapping[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    details = {"reasoning_tokens": completion.get("reasoning_tokens"), "cost": usage.get("cost")}
    cached = prompt.get("cached_tokens") if prompt.get("cached_tokens") is not None else usage.get("prompt_cache_hit_tokens")
    known = {name: value for name, value in details.items() if value is not None}
    return Usage(usage.get("prompt_tokens"), usage.get("completion_tokens"), cached, known or None)
