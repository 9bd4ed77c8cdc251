"""The Gemini dialect, version v1beta (https://ai.google.dev/api/generate-content)."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from core.errors import BadResponse
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Extra, Usage
from core.providers import Endpoint, ModelInfo, Request, dialect
from core.providers.embedding import checked_vectors
from core.providers.finish import finish_of
from core.providers.foreign import (object_of, objects_of, read_each, size_of, text_of,
                                    words_of)
from core.providers.gemini_request import NAME, adapted, request_body
from core.providers.http.transport import exchange, open_client
from core.providers.listing import Fetching, counted, fetch_entries
from core.providers.translation import Translation, read_reply
from core.providers.written import Beginnings

WRONG_CALLS = frozenset(("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
                         "MALFORMED_RESPONSE",
                         "MISSING_THOUGHT_SIGNATURE"))
METHODS: Mapping[str, str] = {"generateContent": "completion", "embedContent": "embedding"}
OWN_FIELDS = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion"})
LONGEST_ID = 28     # characters of the response id in the call ids that we make


@dialect(NAME)
class Gemini(Fetching):

    lacks = frozenset({"num_ctx", "keep_alive"})

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client = open_client(endpoint,
                                   {"x-goog-api-key": endpoint.key} if endpoint.key else {})
        self._beginnings = Beginnings()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        path = f"/{model_path(request.model)}:streamGenerateContent?alt=sse"
        async with exchange(self._client, self.endpoint, path,
                            request_body(request, self._beginnings), self._error) as response:
            async with aclosing(read_reply(response, ContentTranslation(self.endpoint),
                                           request.model)) as deltas:
                async for delta in deltas:
                    yield delta

    async def models(self) -> list[ModelInfo]:
        entries = await fetch_entries(
            self._client, self.endpoint, "/models?pageSize=1000", self._error, under="models",
            name="name",
            parameter="pageToken", following=lambda page: page.get("nextPageToken"))
        return await read_each(entries, model_info)

    async def show(self, model: str) -> ModelInfo:
        return model_info(await self._get(f"/{model_path(model)}", needs="name"))

    async def count(self, request: Request) -> int:
        body = {"generateContentRequest":
                {"model": model_path(request.model), **request_body(request, self._beginnings)}}
        return counted(await self._get(f"/{model_path(request.model)}:countTokens", body=body,
                                       needs="totalTokens"), "totalTokens")

    def adapted(self, request: Request) -> Sequence[str]:
        return adapted(request)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        path = model_path(model)
        body = {"requests": [{"model": path, "content": {"parts": [{"text": text}]}}
                             for text in texts]}
        found = (await self._get(f"/{path}:batchEmbedContents", body=body,
                                 needs="embeddings"))["embeddings"]
        values = [entry.get("values") for entry in objects_of(found)]
        return checked_vectors(values, len(texts), model)

    async def check(self) -> str:
        await self._get("/models?pageSize=1", needs="models")
        return f"Gemini API at {self.endpoint.base_url}"


def model_path(model: str) -> str:
    """Return models/NAME, or a full name such as tunedModels/NAME unchanged."""
    return quote(model if "/" in model else f"models/{model}", safe="/")


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """Read an entry of the model list, which names only methods and thinking."""
    methods, thinks = entry.get("supportedGenerationMethods"), entry.get("thinking")
    able = ({METHODS[name] for name in words_of(methods) if name in METHODS}
            | ({"thinking"} if thinks is True else set()))
    details = {name: entry[name] for name in ("displayName", "version") if name in entry}
    return ModelInfo(entry["name"].removeprefix("models/"), size_of(entry.get("inputTokenLimit")),
                     size_of(entry.get("outputTokenLimit")), None,
                     frozenset(able) if isinstance(methods, list) else None, details,
                     frozenset({"thinking"} if thinks is False else ()))


class ContentTranslation(Translation):
    """Translates events, each of which is a complete response object with more parts.

    A signed part stays separate, so that it can be sent back unchanged.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._part = 0          # number of the part that text is added to
        self._kind: type[TextDelta] | type[ThinkingDelta] | None = None
        self._calls = 0
        self._id = ""

    def is_own(self, payload: Mapping[str, Any]) -> bool:
        return not OWN_FIELDS.isdisjoint(payload)

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        self._id = self._id or text_of(payload.get("responseId")) or uuid.uuid4().hex
        self._count(payload.get("usageMetadata"))
        blocked = object_of(payload.get("promptFeedback")).get("blockReason")
        if blocked:
            self.finish = Finished("content_filter", blocked)
        for entry in self.inner(payload.get("candidates"), list)[:1]:
            candidate = self.inner(entry, dict)
            content = self.inner(candidate.get("content"), dict)
            for part in self.inner(content.get("parts"), list):
                yield from self._translate(self.inner(part, dict))
            if candidate.get("finishReason"):
                self._end(candidate["finishReason"], candidate.get("finishMessage") or "")

    def _translate(self, part: dict[str, Any]) -> Iterator[Delta]:
        signature = {name: part[name] for name in ("thoughtSignature",) if part.get(name)}
        if "functionCall" in part:
            yield self._call(self.inner(part["functionCall"], dict), signature)
        elif "text" in part:
            yield from self._words(ThinkingDelta if part.get("thought") else TextDelta,
                                   self.words_in(part["text"]), signature)
        elif part:
            self._kind = None
            yield from self._words(TextDelta, "", {"part": part})

    def _words(self, kind: type[TextDelta] | type[ThinkingDelta], text: str,
               own: Extra) -> Iterator[Delta]:
        if not text and not own:
            return
        if kind is not self._kind or own:
            self._kind, self._part = kind, self._part + 1
        yield kind(text, self._part, {NAME: own} if own else None)
        if own:
            self._kind = None

    def _call(self, call: Mapping[str, Any], signature: dict[str, Any]) -> ToolCallDelta:
        """Translate a call. Models before Gemini 3 send no call id: ours is made from the response
        id, so that it is unique in the conversation.
        """
        index, self._calls, self._kind = self._calls, self._calls + 1, None
        given = text_of(call.get("id"))
        own = {**({"id": given} if given else {}), **signature}
        identity = given or f"call_{self._id[:LONGEST_ID]}_{index}"
        return ToolCallDelta(index, identity, self.inner(call.get("name"), str),
                             json.dumps(call.get("args") or {}, ensure_ascii=False),
                             {NAME: own} if own else None)

    def _end(self, reason: str, message: str) -> None:
        """End the reply. A call of an unknown tool is a normal call, whose result will tell the
        model.
        """
        if reason in WRONG_CALLS and not (reason == "UNEXPECTED_TOOL_CALL" and self._calls):
            raise BadResponse(f"{self.endpoint.host or 'Gemini'} reports that a tool was called "
                              f"incorrectly: {message or reason}",
                              "Retrying often helps.")
        if reason != "FINISH_REASON_UNSPECIFIED":
            self.finish = finish_of(str(reason))

    def _count(self, given: Any) -> None:
        """Update usage. Counts are totals so far; thinking tokens are counted separately from the
        answer's.
        """
        usage = object_of(given)
        if not usage:
            return
        more = ("thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount")
        details = {name: usage[name] for name in more if usage.get(name)}
        self.usage = Usage(usage.get("promptTokenCount"), usage.get("candidatesTokenCount"),
                           usage.get("cachedContentTokenCount"),
                           details or None)
