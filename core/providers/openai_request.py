"""A request in the OpenAI chat completions dialect; pure."""

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
from core.providers.tool_schema import function_tool, strict_form
from core.providers.written import Beginnings, Convert, Entry

NAME = "openai"
_THINKS_BEFORE_TOOLS = regex(r"gpt-(5\.[6-9]|[6-9])")
_FITTING = regex(r".{1,40}", re.DOTALL)   # OpenAI refuses longer tool call ids


def request_body(request: Request, endpoint: Endpoint, beginnings: Beginnings | None = None,
                 convert: Convert | None = None) -> dict[str, Any]:
    """`convert` is what makes the entries, where a host wants others than message_entries()."""
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
    """Provider-only data goes back only to the host and the model that it came from."""
    return f"{endpoint.host}/{model}"


def _tools_effort(request: Request, quirks: Mapping[str, Any]) -> dict[str, Any]:
    """Newer models think by default, and call tools in this dialect only without thinking
    (Responses has no such limit).
    """
    effort = quirks.get("tools_effort")
    wanted = (effort and request.tools and request.options.think is None
              and _THINKS_BEFORE_TOOLS.match(request.model))
    return {"reasoning_effort": effort} if wanted else {}


def thinking_fields(think: bool | str | None, endpoint: Endpoint,
                    model: str = "") -> dict[str, Any]:
    """Every host asks for thinking in its own way."""
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
            raise Unsupported(f"{endpoint.host} has no switch for thinking.", "Leave out --think.",
                              feature="think")
    if not on and always_thinks(endpoint, model):
        return {"reasoning_effort": endpoint.quirks["lowest_effort"]}
    return {"reasoning_effort": effort}


def always_thinks(endpoint: Endpoint, model: str) -> bool:
    """Whether the model cannot be kept from thinking here,
    so that the lowest effort is asked for instead.
    """
    return bool(endpoint.quirks.get("lowest_effort")) and "gpt-oss" in model.lower()


def adapted(request: Request, endpoint: Endpoint) -> list[str]:
    """What of the thinking is asked for in another way than it was set."""
    think, how = request.options.think, endpoint.quirks.get("think", "effort")
    off = think is False or think == "off"
    if how == "effort" and off and always_thinks(endpoint, request.model):
        return ["it cannot be kept from thinking, so the lowest effort "
                f"({endpoint.quirks['lowest_effort']}) is asked for"]
    return ["the highest effort here is high"] if think == "max" and how != "type" else []


def response_format(wanted: Any) -> Any:
    """Take "json", a JSON Schema, or what the dialect itself writes."""
    if not isinstance(wanted, dict):
        return {"type": "json_object"} if wanted == "json" else None
    if wanted.get("type") in ("json_object", "json_schema", "text"):
        return wanted
    return {"type": "json_schema", "json_schema": {"name": "answer", **answer_schema(wanted)}}


def answer_schema(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Strict where the schema can be closed without changing it:
    an open schema is refused as a strict one.
    """
    closed = strict_form(wanted)
    return ({"schema": dict(wanted), "strict": False} if closed is None
            else {"schema": closed, "strict": True})


class CallIds:
    """Makes ids of tool calls fit, alike in the call and in its result.

    An id that fits stays as it is. Others, and those that a message has twice, become one made
    from them, always the same.
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
    """The entries of whole turns; `last` says that the last of them is the conversation's."""
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
    """There is no mark for a failed call, so its text has to say it."""
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
    """Reasoning goes back only to where it came from: OpenRouter wants its details, DeepSeek the
    text of turns with calls.

    DeepSeek answers 400 when a reply with calls comes back without the field, be it empty
    or another model's reply.
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
    """Servers that put the arguments into a template want JSON also where the model wrote none."""
    arguments = call.invalid
    if arguments is None or endpoint.quirks.get("arguments") == "json":
        arguments = json.dumps(dict(call.arguments) if call.invalid is None
                               else {"invalid": call.invalid}, ensure_ascii=False)
    more = own_data(call, origin).get("extra_content")
    return {"id": ids.of_call(call.id), "type": "function",
            "function": {"name": call.name, "arguments": arguments},
            **({"extra_content": more} if more else {})}
