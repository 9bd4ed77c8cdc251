"""Builds requests in the OpenAI chat completions dialect, without I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from core.errors import Unsupported
from core.messages import Image, Message, Part, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.providers import Endpoint, Request
from core.providers.tool_schema import function_tool, strict_form, valid_name
from core.providers.written import Beginnings, Convert, Entry

NAME = "openai"
_THINKS_BEFORE_TOOLS = regex(r"gpt-(5\.[6-9]|[6-9])")
_FITTING = regex(r".{1,40}", re.DOTALL)   # OpenAI rejects longer tool call ids


def request_body(request: Request, endpoint: Endpoint, beginnings: Beginnings | None = None,
                 convert: Convert | None = None) -> dict[str, Any]:
    """Return the body of a request. `convert` makes the entries if a host needs others than
    message_entries().
    """
    options, quirks = request.options, endpoint.quirks
    origin = origin_of(endpoint, request.model)
    convert = convert or partial(message_entries, endpoint=endpoint, origin=origin, ids=CallIds())
    entries = (beginnings or Beginnings()).entries(request.messages, convert, origin)
    if request.system:
        entries = entries.after({"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": request.model, "stream": True, "messages": entries}
    if quirks.get("stream_options", True):
        body["stream_options"] = {"include_usage": True}
    if quirks.get("progress"):
        body["return_progress"] = True
    if request.tools:
        body["tools"] = [function_tool(tool) for tool in request.tools]
    fields = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed,
              "stop": list(options.stop) or None,
              str(quirks.get("max_tokens", "max_tokens")): options.max_tokens,
              "response_format": response_format(options.response_format)}
    body |= {name: value for name, value in fields.items() if value is not None}
    cached = quirks.get("cache_models")
    if (cached and request.model.startswith(cached)
        and any(message.role == "assistant" for message in request.messages)):
        body["cache_control"] = {"type": "ephemeral"}
    return (body | thinking_fields(options.think, endpoint, request.model)
            | _tools_effort(request, quirks) | dict(options.raw))


def origin_of(endpoint: Endpoint, model: str) -> str:
    """Return the origin of provider-specific data, which is sent back only to the same host and
    model.
    """
    return f"{endpoint.host}/{model}"


def _tools_effort(request: Request, quirks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effort that lets newer models call tools: they think by default, and in this
    dialect (not in Responses) call tools only without thinking.
    """
    effort = quirks.get("tools_effort")
    wanted = (effort and request.tools and request.options.think is None
              and _THINKS_BEFORE_TOOLS.match(request.model))
    return {"reasoning_effort": effort} if wanted else {}


def thinking_fields(think: bool | str | None, endpoint: Endpoint,
                    model: str = "") -> dict[str, Any]:
    """Return the fields that control thinking, which differ by host."""
    if think is None:
        return {}
    on = think is not False and think != "off"
    effort = {True: "medium", "on": "medium", False: "none", "off": "none",
              "max": "high"}.get(think, think)
    level = isinstance(think, str) and think not in ("on", "off")
    match endpoint.quirks.get("think", "effort"):
        case "reasoning":
            return {"reasoning": {"effort": effort} if level else {"enabled": on}}
        case "template":
            return {"chat_template_kwargs":
                    {"enable_thinking": on, **({"reasoning_effort": effort} if level else {})}}
        case "type":
            return {"thinking": {"type": "enabled" if on else "disabled"},
                    **({"reasoning_effort": think} if level else {})}
        case "none":
            raise Unsupported(f"{endpoint.host} does not support --think.", "Leave out --think.",
                              feature="think")
    if not on and always_thinks(endpoint, model):
        return {"reasoning_effort": endpoint.quirks["lowest_effort"]}
    return {"reasoning_effort": effort}


def always_thinks(endpoint: Endpoint, model: str) -> bool:
    """Return whether thinking cannot be turned off here, so that the lowest effort is requested
    instead.
    """
    return bool(endpoint.quirks.get("lowest_effort")) and "gpt-oss" in model.lower()


def adapted(request: Request, endpoint: Endpoint) -> list[str]:
    """Describe thinking settings that are changed for this model."""
    think, how = request.options.think, endpoint.quirks.get("think", "effort")
    off = think is False or think == "off"
    if how == "effort" and off and always_thinks(endpoint, request.model):
        return ["its thinking cannot be turned off, so the lowest effort "
                f"({endpoint.quirks['lowest_effort']}) is requested"]
    return ["the highest effort here is high"] if think == "max" and how != "type" else []


def response_format(wanted: Any) -> Any:
    """Convert "json", a JSON Schema, or this dialect's own value."""
    if not isinstance(wanted, dict):
        return {"type": "json_object"} if wanted == "json" else None
    if wanted.get("type") in ("json_object", "json_schema", "text"):
        return wanted
    return {"type": "json_schema", "json_schema": {"name": "answer", **answer_schema(wanted)}}


def answer_schema(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema as response format, strict if it can be closed without changing its meaning:
    strict open schemas are rejected.
    """
    closed = strict_form(wanted)
    return ({"schema": dict(wanted), "strict": False} if closed is None
            else {"schema": closed, "strict": True})


class CallIds:
    """Makes tool call ids valid, with the same id in call and result.

    Valid ids stay unchanged. Invalid ids, and duplicates in a message, are replaced by derived
    ones, always the same.
    """

    def __init__(self, fitting: re.Pattern[str] = _FITTING,
                 made: Callable[[str], str] = lambda digest: f"call_{digest[:24]}") -> None:
        self._fitting, self._made = fitting, made
        self._open: dict[str, list[str]] = {}
        self._used: set[str] = set()

    def next_message(self) -> None:
        self._open, self._used = {}, set()

    def of_call(self, original: str) -> str:
        identity, number = original, 0
        while identity in self._used or not self._fitting.fullmatch(identity):
            seed = f"{original} {number}" if number else original
            identity, number = self._made(hashlib.sha256(seed.encode("utf-8", "surrogatepass"))
                                          .hexdigest()), number + 1
        self._used.add(identity)
        self._open.setdefault(original, []).append(identity)
        return identity

    def of_result(self, original: str) -> str:
        waiting = self._open.get(original)
        return waiting.pop(0) if waiting else self.of_call(original)


def message_entries(messages: Sequence[Message], before: Sequence[Entry], last: bool, *,
                    endpoint: Endpoint, origin: str, ids: CallIds) -> Iterator[Entry]:
    """Yield the entries of complete turns; `last` means that they end the conversation."""
    turns = list(accumulate(int(message.role == "user") for message in messages))
    thought = ({turn for turn, message in zip(turns, messages, strict=True) if message.tool_calls}
               | set(turns[-1:] if last else ()))
    for turn, message in zip(turns, messages, strict=True):
        match message.role:
            case "tool":
                for result in message.tool_results:
                    yield result_entry(result, ids)
            case "assistant":
                if message.text or message.tool_calls:
                    ids.next_message()
                    yield assistant_entry(message, endpoint, origin, ids,
                                          with_thinking=turn in thought)
            case role:
                content = user_content(message)
                if content:
                    yield {"role": role, "content": content}


def result_entry(result: ToolResult, ids: CallIds) -> dict[str, Any]:
    """Return a tool result. The API has no error flag, so the text says that a call failed."""
    content = f"Error: {result.content}" if result.is_error else result.content
    return {"role": "tool", "tool_call_id": ids.of_result(result.id), "content": content}


def user_content(message: Message) -> str | list[dict[str, Any]]:
    if not any(isinstance(part, Image) for part in message.parts):
        return message.text
    return [entry for part in message.parts if (entry := _content_part(part)) is not None]


def _content_part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text) if text:
            return {"type": "text", "text": text}
        case Image(media_type, data):
            return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}
    return None


def assistant_entry(message: Message, endpoint: Endpoint, origin: str, ids: CallIds, *,
                    with_thinking: bool) -> dict[str, Any]:
    """Return a reply. Reasoning is sent back only to its origin: OpenRouter needs its details,
    DeepSeek the text of turns with calls.

    DeepSeek answers 400 if a reply with calls lacks the field, even if it is empty or another
    model's reply.
    """
    entry: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    if message.tool_calls:
        entry["tool_calls"] = [wire_call(call, endpoint, origin, ids)
                               for call in message.tool_calls]
    field = endpoint.quirks.get("thinking_back")
    if field and message.tool_calls and endpoint.quirks.get("thinking_needed"):
        entry[str(field)] = ""
    for part in message.parts:
        own = own_data(part, origin) if isinstance(part, Thinking) else {}
        if own.get("reasoning_details"):
            entry["reasoning_details"] = own["reasoning_details"]
        elif own and field and with_thinking:
            entry[str(field)] = message.thinking
    return entry


def own_data(part: Thinking | ToolCall, origin: str) -> Mapping[str, Any]:
    data: Mapping[str, Any] = (part.extra or {}).get(NAME) or {}
    return data if data.get("from") == origin else {}


def wire_call(call: ToolCall, endpoint: Endpoint, origin: str, ids: CallIds) -> dict[str, Any]:
    """Return a call. Servers that put the arguments into a template need valid JSON, so invalid
    arguments are wrapped.
    """
    arguments = call.invalid
    if arguments is None or endpoint.quirks.get("arguments") == "json":
        arguments = json.dumps(dict(call.arguments) if call.invalid is None
                               else {"invalid": call.invalid}, ensure_ascii=False)
    more = own_data(call, origin).get("extra_content")
    return {"id": ids.of_call(call.id), "type": "function",
            "function": {"name": valid_name(call.name), "arguments": arguments},
            **({"extra_content": more} if more else {})}
