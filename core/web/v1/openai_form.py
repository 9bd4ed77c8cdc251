"""Converts requests and replies between OpenAI's format and our values."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import ChatError, ProviderError, UsageError
from core.messages import Finish, Image, Message, Part, Text, ToolCall, ToolResult, Usage
from core.providers import Options, ToolSpec

# Fields that we handle; all others belong to the provider and are passed on unchanged.
OWN = frozenset({"model", "messages", "stream", "stream_options", "tools", "functions",
                 "function_call", "temperature",
                 "top_p", "seed", "max_tokens", "max_completion_tokens", "stop", "response_format",
                 "reasoning_effort",
                 "n", "store", "metadata", "user"})
REASONS: Mapping[str, str] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls",
                              "refusal": "stop",
                              "content_filter": "content_filter"}
TYPES: Mapping[str, str] = {"authentication": "authentication_error",
                            "rate_limit": "rate_limit_error",
                            "quota": "insufficient_quota",
                            "model_not_found": "invalid_request_error"}
CODES: Mapping[str, str] = {"context_too_long": "context_length_exceeded",
                            "authentication": "invalid_api_key",
                            "rate_limit": "rate_limit_exceeded", "quota": "insufficient_quota"}
STATUSES: Mapping[str, int] = {"authentication": 401, "model_not_found": 404, "rate_limit": 429,
                               "quota": 429,
                               "context_too_long": 400, "bad_request": 400, "unsupported": 400,
                               "overloaded": 503}


# ---- requests

def messages_of(body: Mapping[str, Any]) -> list[Message]:
    """Read the conversation of a request. Raises UsageError for unsupported content."""
    rows = body.get("messages")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError("messages must be a list of at least one message.")
    names: dict[str, str] = {}
    return [_message(row, names) for row in rows]


def _message(row: Mapping[str, Any], names: dict[str, str]) -> Message:
    match row.get("role"):
        case "system" | "developer":
            return Message("system", _parts(row.get("content")))
        case "user":
            return Message("user", _parts(row.get("content")) or (Text(""),))
        case "assistant":
            calls = tuple(_call(call) for call in row.get("tool_calls") or ())
            names.update((call.id, call.name) for call in calls)
            finish: Finish = "tool_calls" if calls else "stop"
            return Message("assistant", (*_parts(row.get("content")), *calls), finish=finish)
        case "tool" | "function":
            call = str(row.get("tool_call_id") or row.get("name") or "")
            content = "".join(part.text for part in _parts(row.get("content"))
                              if isinstance(part, Text))
            return Message("tool",
                           (ToolResult(call, names.get(call, str(row.get("name") or "")),
                                       content),))
        case other:
            raise UsageError(f"A message has the unknown role {other!r}.")


def _parts(content: Any) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise UsageError("The content of a message must be text or a list of parts.")
    return tuple(_part(part) for part in content)


def _part(part: Mapping[str, Any]) -> Part:
    kind = str(part.get("type"))
    if kind in ("text", "input_text", "output_text", "refusal"):
        return Text(str(part.get("text") or part.get("refusal") or ""))
    if kind in ("image_url", "input_image"):
        image = part.get("image_url")
        url = str(image.get("url", "") if isinstance(image, dict) else image)
        head, comma, data = url.partition(",")
        if not comma or not head.startswith("data:") or not head.endswith(";base64"):
            raise UsageError("Only images in data: addresses can be sent.",
                             "Images are not downloaded from other hosts.")
        return Image(head[5:-7], data)
    raise UsageError(f"A part of the type {kind!r} cannot be sent.", "Text and images can.")


def _call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise UsageError("A tool call has no function.")
    written = function.get("arguments") or "{}"
    try:
        arguments = json.loads(written) if isinstance(written, str) else written
    except (ValueError, RecursionError):
        arguments = None
    known = isinstance(arguments, dict)
    return ToolCall(str(call.get("id") or ""), str(function.get("name") or ""),
                    arguments if known else {},
                    None if known else str(written))


def tools_of(body: Mapping[str, Any]) -> tuple[ToolSpec, ...]:
    """Read the tools, which the caller runs itself."""
    rows: list[Any] = [row.get("function")
                       for row in body.get("tools") or () if isinstance(row, dict)]
    rows += list(body.get("functions") or ())
    if not all(isinstance(row, dict) and row.get("name") for row in rows):
        raise UsageError("Each tool must be a function with a name.")
    return tuple(ToolSpec(str(row["name"]), str(row.get("description") or ""),
                          row.get("parameters") or {"type": "object", "properties": {}})
                 for row in rows)


def options_of(body: Mapping[str, Any], base: Options, *, passed_on: bool) -> Options:
    """Merge the caller's options over those of the settings. `passed_on`: the provider accepts this
    format itself.
    """
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    stop = body.get("stop")
    given: dict[str, Any] = {
        "temperature": body.get("temperature"), "top_p": body.get("top_p"),
        "seed": body.get("seed"), "max_tokens": most,
        "stop": (stop,) if isinstance(stop, str) else tuple(stop) if stop else None,
        "think": body.get("reasoning_effort"),
        "response_format": _format(body.get("response_format"))}
    other = {name: value for name, value in body.items() if name not in OWN} if passed_on else {}
    values = {name: getattr(base, name) if value is None else value
              for name, value in given.items()}
    return Options(**values, num_ctx=base.num_ctx, keep_alive=base.keep_alive,
                   raw={**base.raw, **other})


def _format(wanted: Any) -> Any:
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    schema = wanted.get("json_schema")
    return (schema.get("schema") if wanted["type"] == "json_schema" and isinstance(schema, dict)
            else wanted)


# ---- replies

def head(identity: str, model: str, kind: str) -> dict[str, Any]:
    return {"id": identity, "object": kind, "created": int(time.time()), "model": model}


def chunk(identity: str, model: str, delta: Mapping[str, Any],
          reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
    return {**head(identity, model, "chat.completion.chunk"), "choices": [choice]}


def call_row(call: ToolCall) -> dict[str, Any]:
    written = json.dumps(dict(call.arguments)) if call.invalid is None else call.invalid
    return {"id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": written}}


def reason_of(finish: Finish | None) -> str:
    """Return OpenAI's finish reason.

    Its list is closed, so any incomplete reply is reported as `length`.
    """
    return REASONS.get(finish or "stop", "length")


def usage_row(usages: Sequence[Usage]) -> dict[str, Any]:
    """Sum the tokens of all calls of one reply."""
    given = sum(usage.input_tokens or 0 for usage in usages)
    made = sum(usage.output_tokens or 0 for usage in usages)
    cached = sum(usage.cached_tokens or 0 for usage in usages)
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made,
            "prompt_tokens_details": {"cached_tokens": cached}}


def error_row(error: ChatError) -> dict[str, Any]:
    message = f"{error.message} {error.hint}".strip()
    kind = TYPES.get(error.kind,
                     "invalid_request_error" if status_of(error) == 400 else "api_error")
    return {"error": {"message": message, "type": kind, "param": None,
                      "code": CODES.get(error.kind, error.kind)}}


def status_of(error: ChatError) -> int:
    if isinstance(error, UsageError):
        return 400
    return STATUSES.get(error.kind, 502 if isinstance(error, ProviderError) else 500)


def vector_row(place: int, vector: Sequence[float], *, packed: bool) -> dict[str, Any]:
    """Return one embedding; `packed` means base64 of little-endian 32-bit floats, as OpenAI's
    client requests.
    """
    written = (base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed
               else list(vector))
    return {"object": "embedding", "index": place, "embedding": written}
