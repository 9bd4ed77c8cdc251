"""Builds requests for the OpenAI Responses API, without I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.messages import Image, Message, Part, Text, Thinking, ToolCall
from core.regex import regex
from core.providers import Endpoint, Options, Request
from core.providers.openai_request import CallIds, answer_schema
from core.providers.tool_schema import tool_parameters, valid_name
from core.providers.written import Beginnings

NAME = "openai-responses"
_FITTING = regex(r"(?s).{1,64}")     # a call_id that the API accepts
# Models without reasoning reject reasoning.encrypted_content with 400; servers other than OpenAI's
# ignore it.
_WITHOUT_REASONING = regex(r"(.*[/:])?(gpt-[34]|chatgpt|gpt-5(\.\d)?-chat)")


def request_body(request: Request, endpoint: Endpoint,
                 beginnings: Beginnings | None = None) -> dict[str, Any]:
    options, origin = request.options, origin_of(endpoint, request.model)
    items = (beginnings or Beginnings()).entries(
        request.messages, lambda messages, before, last: input_items(messages, origin), origin)
    body: dict[str, Any] = {"model": request.model, "input": items, "stream": True, "store": False}
    if request.system:
        body["instructions"] = request.system
    if not _WITHOUT_REASONING.match(request.model):
        body["include"] = ["reasoning.encrypted_content"]
    if request.tools:
        body["tools"] = [{"type": "function", "name": tool.name, "description": tool.description,
                          "parameters": tool_parameters(tool.parameters), "strict": False}
                         for tool in request.tools]
    body |= option_fields(options) | dict(options.raw)
    return body | ({"store": True} if body.get("background") else {})     # otherwise it is rejected


def origin_of(endpoint: Endpoint, model: str) -> str:
    """Return the origin of encrypted reasoning and ids, which only the same host and model accept.
    """
    return f"{endpoint.host}/{model}"


def option_fields(options: Options) -> dict[str, Any]:
    """Return the option fields; this dialect has neither seed nor stop."""
    form = text_format(options.response_format)
    fields = {"temperature": options.temperature, "top_p": options.top_p,
              "max_output_tokens": options.max_tokens,
              "text": {"format": form} if form else None,
              "reasoning": reasoning_fields(options.think)}
    return {name: value for name, value in fields.items() if value is not None}


def reasoning_fields(think: bool | str | None) -> dict[str, Any] | None:
    """Return the reasoning settings; without a summary no reasoning is returned."""
    if think is None:
        return None
    if think is False or think == "off":
        return {"effort": "none"}
    effort = ({"max": "high"}.get(think, think) if isinstance(think, str) and think != "on"
              else "medium")
    return {"effort": effort, "summary": "auto"}


def adapted(options: Options) -> list[str]:
    return ["the highest effort here is high"] if options.think == "max" else []


def text_format(wanted: Any) -> dict[str, Any] | None:
    """Convert "json", a JSON Schema or the chat dialect's wrapper of one."""
    match wanted:
        case "json" | {"type": "json_object"}:
            return {"type": "json_object"}
        case {"type": "json_schema", "json_schema": dict(named)}:
            return {"type": "json_schema"} | named
        case {"type": "text"} | None | "" | "text":
            return None
        case dict():
            return {"type": "json_schema", "name": "answer", **answer_schema(wanted)}
    return None


def input_items(messages: Sequence[Message], origin: str) -> Iterator[dict[str, Any]]:
    ids = CallIds(_FITTING)
    for message in messages:
        match message.role:
            case "tool":
                for result in message.tool_results:
                    output = f"Error: {result.content}" if result.is_error else result.content
                    yield {"type": "function_call_output", "call_id": ids.of_result(result.id),
                           "output": output}
            case "assistant":
                ids.next_message()
                yield from reply_items(message, origin, ids)
            case role:
                content = list(filter(None, map(input_part, message.parts)))
                if content:
                    yield {"role": role, "content": content}


def input_part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text) if text:
            return {"type": "input_text", "text": text}
        case Image(media_type, data):
            return {"type": "input_image", "image_url": f"data:{media_type};base64,{data}"}
    return None


def reply_items(message: Message, origin: str, ids: CallIds) -> Iterator[dict[str, Any]]:
    """Yield the items of a reply. The API rejects a reasoning item without the item that follows
    it, so they are sent together.
    """
    waiting: list[dict[str, Any]] = []
    for part in message.parts:
        own = own_data(part, origin)
        match part:
            case Thinking() if "item" in own:
                waiting.append(dict(own["item"]))
            case Text(text) if text:
                yield from waiting
                yield text_item(text, own)
                waiting = []
            case ToolCall():
                yield from waiting
                yield call_item(part, own, ids)
                waiting = []


def own_data(part: Part, origin: str) -> Mapping[str, Any]:
    if not isinstance(part, (Text, Thinking, ToolCall)):
        return {}
    data: Mapping[str, Any] = (part.extra or {}).get(NAME) or {}
    return data if data.get("from") == origin else {}


def text_item(text: str, own: Mapping[str, Any]) -> dict[str, Any]:
    if "id" not in own:
        return {"role": "assistant", "content": text}
    phase = {"phase": own["phase"]} if "phase" in own else {}
    return {"type": "message", "role": "assistant", "id": own["id"], "status": "completed", **phase,
            "content": [{"type": "output_text", "text": text, "annotations": []}]}


def call_item(call: ToolCall, own: Mapping[str, Any], ids: CallIds) -> dict[str, Any]:
    arguments = (json.dumps(dict(call.arguments), ensure_ascii=False) if call.invalid is None
                 else call.invalid)
    identity = {"id": own["id"]} if str(own.get("id", "")).startswith("fc") else {}
    return {"type": "function_call", **identity, "call_id": ids.of_call(call.id),
            "name": valid_name(call.name), "arguments": arguments}
