"""Builds requests for Ollama's /api/chat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.messages import Image, Message, ToolCall
from core.providers import Options, Request
from core.providers.tool_schema import function_tool, valid_name
from core.providers.written import Beginnings, Entry

TOP_LEVEL = frozenset({"think", "format", "keep_alive", "truncate", "shift", "logprobs",
                       "top_logprobs"})


def chat_body(request: Request, beginnings: Beginnings | None = None) -> dict[str, Any]:
    """Return the body of POST /api/chat.

    `truncate: false` makes newer servers reject a prompt that is too long instead of cutting it.
    """
    messages = (beginnings or Beginnings()).entries(request.messages, _entries)
    if request.system:
        messages = messages.after({"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True,
                            "truncate": False}
    if request.tools:
        body["tools"] = [function_tool(tool) for tool in request.tools]
    return body | chat_options(request.options)


def _entries(messages: Sequence[Message], before: Sequence[Entry], last: bool) -> list[Entry]:
    return [wire for message in messages for wire in chat_messages(message)]


def chat_messages(message: Message) -> list[dict[str, Any]]:
    """Convert a message to Ollama's format; each tool result becomes a message."""
    if message.role == "tool":
        return [{"role": "tool", "content": result.content, "tool_name": valid_name(result.name),
                 "tool_call_id": result.id}
                for result in message.tool_results]
    wire: dict[str, Any] = {"role": message.role, "content": message.text}
    if len(message.parts) == 1 and wire["content"]:
        return [wire]    # fast path for text only: most messages of a long conversation
    images = [part.data for part in message.parts if isinstance(part, Image)]
    if images:
        wire["images"] = images
    if message.role == "assistant":
        if message.thinking:
            wire["thinking"] = message.thinking
        if message.tool_calls:
            wire["tool_calls"] = [_wire_call(call) for call in message.tool_calls]
    return [wire]


def _wire_call(call: ToolCall) -> dict[str, Any]:
    """Convert a call. The server rejects a string as arguments, so a call with invalid JSON is sent
    without arguments.
    """
    return {"id": call.id, "function": {"name": valid_name(call.name),
                                        "arguments": dict(call.arguments)}}


def chat_options(options: Options) -> dict[str, Any]:
    """Return the option fields: sampling under `options`, the others at the top level.

    `raw` overrides them.
    """
    sampling = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed,
                "num_predict": options.max_tokens, "num_ctx": options.num_ctx,
                "stop": list(options.stop) or None}
    whole = {"think": _think(options.think), "keep_alive": _keep_alive(options.keep_alive),
             "format": _format(options.response_format)}
    raw = dict(options.raw)
    nested = raw.pop("options", None)
    raw.pop("stream", None)
    whole |= {name: raw.pop(name) for name in list(raw) if name in TOP_LEVEL}
    sampling |= dict(nested) if isinstance(nested, Mapping) else {}
    sampling |= raw
    body = {name: value for name, value in whole.items() if value is not None}
    kept = {name: value for name, value in sampling.items() if value is not None}
    return body | ({"options": kept} if kept else {})


def _think(value: bool | str | None) -> bool | str | None:
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _keep_alive(value: str | None) -> str | int | None:
    """Convert a bare number (seconds) to an integer, since Ollama rejects "-1" for lack of a unit.
    """
    return int(value) if value is not None and re.fullmatch(r"-?\d{1,12}", value) else value


def _format(value: Any) -> Any:
    """Convert "json", a JSON Schema, or OpenAI's response_format wrapper of either."""
    match value:
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema
        case {"type": "text"} | "text":
            return None
    return value
