"""A request in the OpenAI chat completions dialect; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import Unsupported
from core.messages import Image, Message, Text, Thinking, ToolCall
from core.providers import Endpoint, Request

LONGEST_ID = 40   # characters; OpenAI refuses longer tool call ids


def request_body(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    options, quirks = request.options, endpoint.quirks
    system = [{"role": "system", "content": request.system}] if request.system else []
    messages = [*system, *message_entries(request.messages, endpoint)]
    body: dict[str, Any] = {"model": request.model, "stream": True, "messages": messages}
    if quirks.get("stream_options", True):
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [{"type": "function", "function": {"name": tool.name, "description": tool.description,
                                                           "parameters": dict(tool.parameters)}} for tool in request.tools]
    fields = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed, "stop": list(options.stop) or None,
              str(quirks.get("max_tokens", "max_tokens")): options.max_tokens,
              "response_format": response_format(options.response_format)}
    body |= {name: value for name, value in fields.items() if value is not None}
    return body | thinking_fields(options.think, endpoint) | dict(options.raw)


def thinking_fields(think: bool | str | None, endpoint: Endpoint) -> dict[str, Any]:
    """Every host asks for thinking in its own way."""
    if think is None:
        return {}
    effort = {True: "medium", False: "none", "max": "high"}.get(think, think)
    match endpoint.quirks.get("think", "effort"):
        case "reasoning":
            return {"reasoning": {"enabled": think} if isinstance(think, bool) else {"effort": effort}}
        case "template":
            return {"chat_template_kwargs": {"enable_thinking": think is not False}}
        case "none":
            raise Unsupported(f"{endpoint.host} has no switch for thinking.", "Leave out --think.", feature="think")
    return {"reasoning_effort": effort}


def response_format(wanted: Any) -> Any:
    if isinstance(wanted, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted, "strict": True}}
    return {"type": "json_object"} if wanted == "json" else None


def message_entries(messages: Sequence[Message], endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    turn = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    for place, message in enumerate(messages):
        match message.role:
            case "tool":
                for result in message.tool_results:
                    yield {"role": "tool", "tool_call_id": call_id(result.id), "content": result.content}
            case "assistant":
                if message.text or message.tool_calls:
                    yield assistant_entry(message, endpoint, this_turn=place > turn)
            case role:
                yield {"role": role, "content": user_content(message)}


def user_content(message: Message) -> str | list[dict[str, Any]]:
    images = [part for part in message.parts if isinstance(part, Image)]
    if not images:
        return message.text
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            parts.append({"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}})
    return parts


def assistant_entry(message: Message, endpoint: Endpoint, *, this_turn: bool) -> dict[str, Any]:
    """Reasoning goes back only to the host that it came from: OpenRouter wants its details, DeepSeek the text of this turn."""
    entry: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    if message.tool_calls:
        entry["tool_calls"] = [wire_call(call) for call in message.tool_calls]
    for part in message.parts:
        own: Mapping[str, Any] = (part.extra or {}).get(endpoint.host or "openai", {}) if isinstance(part, Thinking) else {}
        if own.get("reasoning_details"):
            entry["reasoning_details"] = own["reasoning_details"]
        field = endpoint.quirks.get("thinking_back")
        if own.get("own") and field and this_turn:
            entry[str(field)] = message.thinking
    return entry


def wire_call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False) if call.invalid is None else call.invalid
    return {"id": call_id(call.id), "type": "function", "function": {"name": call.name, "arguments": arguments}}


def call_id(identity: str) -> str:
    """Ids stay as they came, unless they are too long; the same one always becomes the same."""
    if len(identity) <= LONGEST_ID:
        return identity
    return "call_" + hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:24]
