"""The Anthropic Messages dialect (https://docs.anthropic.com/en/api/messages),
version 2023-06-01.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Endpoint, ModelInfo, Request, dialect
from core.providers.anthropic_request import NAME, adapted, request_body
from core.providers.finish import finish_of
from core.providers.foreign import object_of, read_each, size_of, text_of
from core.providers.http.decoder import plausible_count
from core.providers.http.transport import exchange, open_client
from core.providers.listing import Fetching, counted, fetch_entries
from core.providers.translation import Translation, read_reply
from core.providers.written import Beginnings

VERSION = "2023-06-01"


@dialect(NAME)
class Anthropic(Fetching):
    """Anthropic's API. Quirks: `max_tokens` (default answer limit), `thinking` (budget or
    adaptive).
    """

    lacks = frozenset({"num_ctx", "keep_alive", "seed"})

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        headers = {"anthropic-version": VERSION,
                   **({"x-api-key": endpoint.key} if endpoint.key else {})}
        self._client = open_client(endpoint, headers)
        self._beginnings = Beginnings()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        body = request_body(request, self.endpoint.quirks, self._beginnings)
        async with exchange(self._client, self.endpoint, "/v1/messages", body,
                            self._error) as response:
            async with aclosing(read_reply(response, MessageTranslation(self.endpoint),
                                           request.model)) as deltas:
                async for delta in deltas:
                    yield delta

    async def models(self) -> list[ModelInfo]:
        entries = await fetch_entries(
            self._client, self.endpoint, "/v1/models?limit=1000", self._error, under="data",
            name="id", parameter="after_id",
            following=lambda page: page.get("has_more") and page.get("last_id"))
        return await read_each(entries, model_info)

    async def show(self, model: str) -> ModelInfo:
        return model_info(await self._get(f"/v1/models/{quote(model, safe='')}", needs="id"))

    async def count(self, request: Request) -> int:
        body = request_body(request, self.endpoint.quirks, self._beginnings)
        known = {name: body[name] for name in ("model", "messages", "system", "tools", "thinking")
                 if name in body}
        return counted(await self._get("/v1/messages/count_tokens", body=known,
                                       needs="input_tokens"), "input_tokens")

    def adapted(self, request: Request) -> Sequence[str]:
        return adapted(request, self.endpoint.quirks)

    async def check(self) -> str:
        await self._get("/v1/models?limit=1", needs="data")
        return f"Anthropic Messages API at {self.endpoint.base_url}"


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """Read an entry of the model list. Newer lists name capabilities; every Claude can call tools.
    """
    listed = entry.get("capabilities")
    said = {ours: object_of(object_of(listed).get(theirs)).get("supported")
            for ours, theirs in (("vision", "image_input"), ("thinking", "thinking"))}
    able = frozenset({"completion", "tools"}
                     | {name for name, value in said.items() if value is True})
    details = {name: entry[name] for name in ("display_name", "created_at") if name in entry}
    return ModelInfo(entry["id"], size_of(entry.get("max_input_tokens")),
                     size_of(entry.get("max_tokens")), None,
                     able if isinstance(listed, dict) else None, details,
                     frozenset(name for name, value in said.items() if value is False))


class MessageTranslation(Translation):
    """Translates events. Each block, numbered by the server, becomes a part. Unknown blocks are
    kept to be sent back.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._block: dict[str, Any] = {}
        self._input: list[str] = []
        self._at = -1       # the number of the block that was begun last
        self._counts: dict[str, Any] = {}

    def is_own(self, payload: Mapping[str, Any]) -> bool:
        return str(payload.get("type")).startswith(("message", "content_block", "ping"))

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        begins = payload.get("type") == "content_block_start"
        self._at = index = self.number_in(payload.get("index"), self._at + begins)
        match self.inner(payload.get("type"), str):
            case "content_block_start":
                yield from self._start(index, self.inner(payload["content_block"], dict))
            case "content_block_delta":
                yield from self._more(index, self.inner(payload["delta"], dict))
            case "content_block_stop":
                yield from self._stop(index)
            case "message_start":
                self._count(object_of(payload.get("message")).get("usage"))
            case "message_delta":
                self._end(payload, object_of(payload.get("delta")).get("stop_reason"))
            case "message_stop":
                self.finish = self.finish or Finished("stop")
                self.done = True
            case "message":
                yield from self._whole(payload)

    def _whole(self, message: Mapping[str, Any]) -> Iterator[Delta]:
        for index, block in enumerate(self.inner(message.get("content"), list)):
            yield from self._start(index, self.inner(block, dict))
            yield from self._stop(index)
        self._end(message, message.get("stop_reason"))

    def _end(self, holder: Mapping[str, Any], reason: str | None) -> None:
        self._count(holder.get("usage"))
        if reason:
            self.finish = finish_of(str(reason))

    def _start(self, index: int, block: dict[str, Any]) -> Iterator[Delta]:
        self._block, self._input = dict(block), []
        match self.inner(block.get("type"), str):
            case "text" if block.get("text"):
                yield TextDelta(self.words_in(block["text"]), index + 1)
            case "thinking" if block.get("thinking") or block.get("signature"):
                yield ThinkingDelta(block.get("thinking") or "", index + 1,
                                    _signed(block.get("signature")))
            case "redacted_thinking":
                yield ThinkingDelta("", index + 1, {NAME: {"block": block}})
            case "tool_use":
                caller = object_of(block.get("caller"))
                own = ({NAME: {"caller": caller}} if caller.get("type", "direct") != "direct"
                       else None)
                yield ToolCallDelta(index, text_of(block.get("id")),
                                    self.inner(block.get("name"), str), extra=own)

    def _more(self, index: int, delta: dict[str, Any]) -> Iterator[Delta]:
        match self.inner(delta.get("type"), str):
            case "text_delta":
                if text := self.words_in(delta["text"]):
                    yield TextDelta(text, index + 1)
            case "thinking_delta":
                yield ThinkingDelta(delta["thinking"], index + 1)
            case "signature_delta":
                yield ThinkingDelta("", index + 1, _signed(delta["signature"]))
            case "citations_delta":
                self._block["citations"] = [*(self._block.get("citations") or ()),
                                            delta["citation"]]
            case "input_json_delta":
                self._input.append(delta["partial_json"])
                if self._block.get("type") == "tool_use":
                    yield ToolCallDelta(index, arguments=delta["partial_json"])

    def _stop(self, index: int) -> Iterator[Delta]:
        """End a block. The input at its start is a placeholder unless nothing follows it."""
        written = "".join(self._input)
        match self._block.get("type"):
            case "tool_use":
                if not written and self._block.get("input"):
                    yield ToolCallDelta(index, arguments=json.dumps(self._block["input"]))
            case "text":
                if self._block.get("citations"):
                    yield TextDelta("", index + 1, {NAME: {"citations": self._block["citations"]}})
            case "thinking" | "redacted_thinking" | None:
                return
            case _:
                block = self._block | ({"input": json.loads(written)} if written else {})
                yield TextDelta("", index + 1, {NAME: {"block": block}})

    def _count(self, usage: Any) -> None:
        """Update usage. Later counts replace earlier ones.

        The prompt's size is the counted input plus the tokens read from and written to the cache.
        """
        counts = self._counts
        counts |= {name: value for name, value in object_of(usage).items() if value is not None}
        prompt = [plausible_count(counts.get(name)) for name
                  in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")]
        details = {name: value for name, value in counts.items()
                   if value and name not in ("input_tokens", "output_tokens")}
        total = None if prompt[0] is None else sum(count or 0 for count in prompt)
        self.usage = Usage(total, counts.get("output_tokens"), prompt[2], details or None)


def _signed(signature: str | None) -> Mapping[str, Any] | None:
    return {NAME: {"signature": signature}} if signature else None
