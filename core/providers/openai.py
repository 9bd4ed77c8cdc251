"""The OpenAI chat completions dialect, with the variations of compatible hosts (quirks:
core/providers/hosts.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from core.errors import ModelNotFound, ProviderError
from core.events import Delta, Kept, Reading, TakenUp, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Endpoint, ModelInfo, Request, dialect
from core.providers.embedding import by_index, checked_vectors
from core.providers.errors_http import classify, classify_payload
from core.providers.finish import finish_of
from core.providers.foreign import list_of, object_of, read_each, size_of, text_of
from core.providers.http.transport import exchange, fetch_json, open_client
from core.providers.listing import not_a_list
from core.providers.openai_models import model_entries, model_info
from core.providers.openai_request import NAME, adapted, origin_of, request_body
from core.providers.reattach import Keeper, ReplayBuffer, Wire, find_again, handle_of, kept_reads
from core.providers.server_count import count_on_server
from core.providers.thinking import InlineThinking
from core.providers.translation import Translation, read_deltas, read_reply
from core.providers.written import Beginnings

# finish reasons that are errors worth a retry
BROKE = ("error", "insufficient_system_resource")
OWN_FIELDS = frozenset({"choices", "usage", "x_groq", "prompt_progress"})
THINKING = 1   # the part number of reasoning, for data that arrives at its end
REFUSAL = 2    # a refusal is a separate part from the text before it


class OpenCall(NamedTuple):
    """A tool call in progress: the server's index and id if sent, its name and arguments so far."""

    index: Any
    id: str
    name: str
    text: str


@dialect(NAME)
class OpenAI:
    """A host that speaks this dialect; it has no default address."""

    lacks = frozenset({"num_ctx", "keep_alive"})
    needs_address = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        headers = {}
        if endpoint.key:
            plain = endpoint.quirks.get("auth") == "api-key"
            headers = ({"api-key": endpoint.key} if plain
                       else {"authorization": f"Bearer {endpoint.key}"})
        if endpoint.quirks.get("close"):
            headers["connection"] = "close"
        self._client = open_client(endpoint, headers)
        if endpoint.quirks.get("count"):
            self.count = self._count     # makes the provider implement CanCount
        self._wire = Wire(self._client, endpoint, self._error)
        self.beginnings = Beginnings()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        body, translation = trimmed(self.body(request), request.without), self.translation(request)
        path = self._versioned(self._path(request.model))
        kept = self.endpoint.quirks.get("replays") and body["stream"]
        keeper = ReplayBuffer(self._wire) if kept else None
        async with aclosing(self._reply(path, body, translation, keeper, request.kept)) as deltas:
            async for delta in deltas:
                yield delta

    async def _reply(self, path: str, body: Any, translation: Translation, keeper: Keeper | None,
                     handle: str) -> AsyncGenerator[Delta, None]:
        """Yield the deltas of an answer; with a keeper it resumes when its connection breaks.

        An answer that the server has under this handle is resumed instead of a new request.
        """
        if keeper is None:
            async with exchange(self._client, self.endpoint, path, body, self._error) as response:
                async with aclosing(read_reply(response, translation, body["model"])) as deltas:
                    async for delta in deltas:
                        yield delta
            return
        found = bool(handle) and await find_again(self._wire, keeper, handle)
        if found:
            yield TakenUp()
        reads = kept_reads(self._wire, path, body, keeper, translation.over, begun=found)
        named = ""
        async with aclosing(read_deltas(reads, translation, body["model"])) as deltas:
            async for delta in deltas:
                if not named and (named := handle_of(self._wire, keeper)):
                    yield Kept(named)
                yield delta

    def body(self, request: Request) -> dict[str, Any]:
        return request_body(request, self.endpoint, self.beginnings)

    def adapted(self, request: Request) -> Sequence[str]:
        return adapted(request, self.endpoint)

    def translation(self, request: Request) -> Translation:
        return ChatTranslation(self.endpoint, origin_of(self.endpoint, request.model))

    async def models(self) -> list[ModelInfo]:
        """List the models. A host may have a second list with capabilities (LocalAI); older ones
        answer 404.
        """
        better = self.endpoint.quirks.get("models_path")
        if better:
            try:
                return await self._listed(str(better))
            except ProviderError as error:
                if error.status not in (404, 405) and not isinstance(error, ModelNotFound):
                    raise
        return await self._listed(self._models_path())

    async def check(self) -> str:
        await fetch_json(self._client, self.endpoint,
                         self._versioned(str(self.endpoint.quirks.get("check_path")
                                             or self._models_path())), self._error)
        return f"OpenAI-compatible API at {self.endpoint.base_url}"

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        path = (f"/openai/deployments/{quote(model, safe='')}/embeddings" if self._deployments
                else "/embeddings")
        body = {"model": model, "input": list(texts)}
        answer = await fetch_json(self._client, self.endpoint, self._versioned(path), self._error,
                                  body=body)
        return checked_vectors(by_index(answer.get("data") if isinstance(answer, dict) else None),
                               len(texts), model)

    async def _count(self, request: Request) -> int:

        async def post(endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Any:
            return await fetch_json(self._client, endpoint, path, self._error, body=body)
        return await count_on_server(post, self.endpoint, self.body(request))

    async def _listed(self, path: str) -> list[ModelInfo]:
        answer = await fetch_json(self._client, self.endpoint, self._versioned(path), self._error)
        listed = (answer.get("data", answer.get("models", "")) if isinstance(answer, dict)
                  else answer)
        if listed is not None and not isinstance(listed, list):
            raise not_a_list(self.endpoint, answer)
        return await read_each(model_entries(listed), model_info)

    async def close(self) -> None:
        await self._wire.close()
        await self._client.aclose()

    def _path(self, model: str) -> str:
        return (f"/openai/deployments/{quote(model, safe='')}/chat/completions" if self._deployments
                else "/chat/completions")

    def _models_path(self) -> str:
        return "/openai/models" if self._deployments else "/models"

    @property
    def _deployments(self) -> bool:
        """Whether the path names the model (Azure): unless the address goes beyond the resource
        (…/openai/v1, …/deployments/x).
        """
        return (bool(self.endpoint.quirks.get("deployments"))
                and not urlsplit(self.endpoint.base_url).path.strip("/"))

    def _versioned(self, path: str) -> str:
        version = self.endpoint.quirks.get("api_version")
        if not version or self.endpoint.base_url.rstrip("/").endswith("/openai/v1"):
            return path
        return f"{path}?api-version={quote(str(version), safe='')}"

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(self.endpoint, status, headers, body)


def trimmed(body: dict[str, Any], refused: frozenset[str]) -> dict[str, Any]:
    """Return the body without fields that the server refused.

    Without `stream`, the answer is one document.
    """
    left = {name: value for name, value in body.items() if name not in refused}
    if "stream" in refused:
        left["stream"] = False
        left.pop("stream_options", None)
    return left


# ---- theirs -> ours

class ChatTranslation(Translation):
    """Translates chunks of a chat completion, or a complete one that was not streamed."""

    def __init__(self, endpoint: Endpoint, origin: str) -> None:
        super().__init__(endpoint)
        self._origin = origin
        self._inline = InlineThinking()
        self._calls: list[OpenCall] = []
        self._details: dict[Any, dict[str, Any]] = {}
        self._refusal: list[str] = []
        self._thought = False
        self._followed: int | None = None      # index of the choice to read

    def is_own(self, payload: Mapping[str, Any]) -> bool:
        return not OWN_FIELDS.isdisjoint(payload)

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        groq = object_of(payload.get("x_groq"))
        choice = self._choice_in(self.inner(payload.get("choices"), list))
        error = _error_in(payload, groq, choice)
        if error is not None:
            raise classify_payload(self.endpoint, error)
        if "prompt_progress" in payload:
            yield from reading_in(payload["prompt_progress"])
        usage = object_of(payload.get("usage") or groq.get("usage") or choice.get("usage"))
        if usage:
            self.usage = usage_of(usage)
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        if delta:
            yield from self.piece(self.inner(delta, dict))
        reason = choice.get("finish_reason")
        if reason or choice.get("message") and "delta" not in choice:
            yield from self._end(str(reason or "stop"))

    def _choice_in(self, choices: list[Any]) -> dict[str, Any]:
        """Return the choice to read: the first one received, or number 0 of several.

        The others are alternatives.
        """
        read = [self.inner(choice, dict) for choice in choices]
        by_index = {size_of(choice.get("index")) or 0: choice for choice in reversed(read)}
        if by_index and self._followed is None:
            self._followed = 0 if 0 in by_index else next(reversed(by_index))
        found: dict[str, Any] = by_index.get(self._followed or 0, {})
        return found

    def end_marker(self) -> Iterator[Delta]:
        """Handle `[DONE]`: some servers never send a finish reason, so it ends the reply."""
        if self.finish is None and self.foreign is None:
            yield from self._end("tool_calls" if self._calls else "stop")
        self.done = True

    def rest(self) -> Iterator[Delta]:
        yield from self._inline.flush()
        if self._refusal:
            yield TextDelta("".join(self._refusal), REFUSAL, {NAME: {"refusal": True}})
            self._refusal = []

    def piece(self, delta: dict[str, Any]) -> Iterator[Delta]:
        text = text_of(delta.get("reasoning_content") or delta.get("reasoning"))
        if text:
            self._thought = True
            yield ThinkingDelta(text, THINKING)
        for item in list_of(delta.get("reasoning_details")):
            merge_detail(self._details, item)
        content = delta.get("content")
        if isinstance(content, list):
            yield from self.pieces(content)
        elif content is not None:
            yield from self._inline.feed(self.words_in(content))
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            self._refusal.append(delta["refusal"])
        legacy = delta.get("function_call")
        for call in (calls_in(delta.get("tool_calls"))
                     or ([{"index": 0, "function": legacy}] if legacy else ())):
            yield self._call(self.inner(call, dict))

    def pieces(self, content: list[Any]) -> Iterator[Delta]:
        """Yield deltas for a list of typed pieces of reasoning and text (Mistral's models)."""
        for piece in content:
            if isinstance(piece, dict) and piece.get("type") == "thinking":
                yield ThinkingDelta(thinking_text(piece), THINKING)
            elif not isinstance(piece, dict) or "text" in piece:
                yield TextDelta(self.words_in(piece))

    def _call(self, call: dict[str, Any]) -> ToolCallDelta:
        function = self.inner(call.get("function"), dict)
        identity, name = text_of(call.get("id")), self.inner(function.get("name"), str)
        arguments = function.get("arguments")
        text = (arguments if isinstance(arguments, str) else "" if arguments is None
                else json.dumps(arguments))
        index = self.number_in(call.get("index"), -1)
        number = self._number(OpenCall(None if index < 0 else index, identity, name, text))
        more = call.get("extra_content")   # Gemini's signature
        return ToolCallDelta(number, identity, name, text,
                             {NAME: {"from": self._origin, "extra_content": more}} if more
                             else None)

    def _number(self, piece: OpenCall) -> int:
        """Return our number of the call that a piece belongs to: the newest with its index, unless
        it begins another call.
        """
        for number in reversed(range(len(self._calls))):
            held = self._calls[number]
            if piece.index is not None and piece.index != held.index:
                continue
            if not _begins_another(piece, held):
                self._calls[number] = OpenCall(piece.index, held.id or piece.id,
                                               held.name or piece.name, held.text + piece.text)
                return number
        self._calls.append(piece)
        return len(self._calls) - 1

    def _end(self, reason: str) -> Iterator[Delta]:
        yield from self.rest()
        if self._details or self._thought and self.endpoint.quirks.get("thinking_back"):
            details = {"reasoning_details": list(self._details.values())} if self._details else {}
            yield ThinkingDelta("", THINKING, {NAME: {"from": self._origin, **details}})
        if reason in BROKE:
            raise classify_payload(self.endpoint,
                                   {"error": {"message": f"the answer ended with {reason}"}})
        self.finish = finish_of(reason)


def calls_in(value: Any) -> list[Any]:
    """Return the calls in a delta: a list, a single call, or an object of calls by number."""
    if isinstance(value, dict):
        return [value] if "function" in value else list(value.values())
    return value if isinstance(value, list) else [value] if value else []


def _begins_another(piece: OpenCall, held: OpenCall) -> bool:
    """Return whether a piece begins another call: if it has a name and another id, whatever its
    index.

    Without ids another name begins a call, and so does the same name once the arguments so far are
    complete: some servers repeat the name in each piece, others give all calls index 0.
    """
    if not piece.name:
        return False
    if piece.id and held.id:
        return piece.id != held.id
    if piece.id:
        return False
    another = piece.index is None or bool(held.name) and piece.name != held.name
    return another or not held.id and bool(piece.text) and _is_complete(held.text)


def _is_complete(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _error_in(payload: Mapping[str, Any], groq: Mapping[str, Any],
              choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return an error from the places of some hosts; it takes precedence over other content."""
    if groq.get("error") or choice.get("error"):
        return groq if groq.get("error") else choice
    return (payload if "choices" not in payload and ("detail" in payload or "message" in payload)
            else None)


def reading_in(progress: Any) -> Iterator[Reading]:
    """Yield how far llama.cpp's server has read the prompt; its times are in milliseconds."""
    values = [size_of(progress.get(name)) for name in ("processed", "total", "cache", "time_ms")]
    done, total, cached, spent = values
    if done is not None and total and spent is not None:
        yield Reading(done, total, cached or 0, spent / 1000)


def merge_detail(held: dict[Any, dict[str, Any]], item: Any) -> None:
    """Merge a piece of a reasoning detail (OpenRouter): texts are joined, other values replaced."""
    if not isinstance(item, dict):
        return
    key = (item.get("index"), item.get("type")) if item.get("index") is not None else len(held)
    whole = held.setdefault(key, {})
    for name, value in item.items():
        joins = name in ("text", "summary", "data") and isinstance(value, str)
        whole[name] = (str(whole.get(name) or "") + value if joins
                       else whole.get(name) if value is None else value)


def thinking_text(piece: dict[str, Any]) -> str:
    inner = piece.get("thinking")
    return (inner if isinstance(inner, str)
            else "".join(part.get("text") or "" for part in inner or ()))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    prompt = object_of(usage.get("prompt_tokens_details"))
    completion = object_of(usage.get("completion_tokens_details"))
    details = {"reasoning_tokens": completion.get("reasoning_tokens"), "cost": usage.get("cost")}
    cached = (prompt.get("cached_tokens") if prompt.get("cached_tokens") is not None
              else usage.get("prompt_cache_hit_tokens"))
    known = {name: value for name, value in details.items() if value is not None}
    return Usage(usage.get("prompt_tokens"), usage.get("completion_tokens"), cached, known or None)
