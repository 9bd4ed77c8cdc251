"""Builds requests for the Anthropic Messages API, without I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from core.messages import Attached, Image, Message, Part, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.providers import Options, Request
from core.providers.parameters import schema_of
from core.providers.tool_schema import closed_form, tool_parameters, valid_name
from core.providers.written import Beginnings, Entry

NAME = "anthropic"
MAX_TOKENS = 8192           # the API requires a limit; the oldest models allow at most 4096
ANY_JSON = "Answer with one JSON object and no other text."  # the API has a mode only for schemas
CACHE: Mapping[str, str] = {"type": "ephemeral"}    # kept five minutes after each use
SMALLEST_BUDGET = 1024      # the API's minimum of thinking tokens
BUDGETS: Mapping[str, int] = {"low": 2048, "medium": 8192, "high": 16384, "max": 32000}
_VALID_ID = regex(r"[a-zA-Z0-9_-]{1,64}")
_SHORT_MODELS = regex(r"claude-3-(haiku|opus|sonnet)")
# later models use adaptive thinking
_BUDGET_MODELS = regex(r"claude-3|claude-(opus|sonnet|haiku)-4(-[015])?([-@]\d{8}|-latest)?$")


def request_body(request: Request, quirks: Mapping[str, Any],
                 beginnings: Beginnings | None = None) -> dict[str, Any]:
    options = request.options
    messages = (beginnings or Beginnings()).entries(request.messages, _entries)
    limit = (options.max_tokens or quirks.get("max_tokens")
             or (4096 if _SHORT_MODELS.match(request.model) else MAX_TOKENS))
    body: dict[str, Any] = {"model": request.model, "max_tokens": limit, "messages": messages,
                            "stream": True}
    system = [request.system or "",
              *(message.text for message in request.messages if message.role == "system"),
              ANY_JSON if options.response_format == {"type": "json_object"} else ""]
    if any(system):
        body["system"] = "\n\n".join(text for text in system if text)
    if request.tools:
        body["tools"] = [{"name": tool.name, "description": tool.description,
                          "input_schema": tool_parameters(tool.parameters)}
                         for tool in request.tools]
    body |= thinking_fields(request, quirks, limit,
                            begun_without=_tool_turn_without_thinking(messages))
    body |= _sampling(options,
                      thinking=body.get("thinking", {}).get("type") in ("enabled", "adaptive"))
    schema = schema_of(options.response_format)
    if schema is not None:
        body["output_config"] = (body.get("output_config", {})
                                 | {"format": {"type": "json_schema",
                                               "schema": closed_form(schema)}})
    if "cache_control" not in request.without:
        mark_for_cache(messages)
    return body | dict(options.raw)


def _entries(messages: Sequence[Message], before: Sequence[Entry], last: bool) -> Iterator[Entry]:
    calls = any(message.tool_calls for message in messages)
    return merged(message_entries(messages, _ids_in(before) if calls else set()))


def _ids_in(entries: Sequence[Entry]) -> set[str]:
    """Return the ids of the calls in these entries."""
    return {block["id"] for entry in entries if entry["role"] == "assistant"
            for block in entry["content"] if block.get("type") == "tool_use"}


def mark_for_cache(messages: list[Entry]) -> None:
    """Mark the last two user messages, so that the server caches everything before them for the
    next request.

    A single question is not marked: writing the cache costs extra, and nothing may follow. The
    second mark helps when a long round of tool calls adds more blocks than the server looks back:
    it finds the prefix cached by the previous request.
    """
    if not any(message["role"] == "assistant" for message in messages):
        return
    newest = (place for place in reversed(range(len(messages)))
              if messages[place]["role"] == "user")
    for place in islice(newest, 2):
        *blocks, last = messages[place]["content"]
        messages[place] = {**messages[place],
                           "content": [*blocks, {**last, "cache_control": CACHE}]}


def thinking_fields(request: Request, quirks: Mapping[str, Any], limit: int, *,
                    begun_without: bool) -> dict[str, Any]:
    """Return the fields that control thinking. Older models take a token budget within max_tokens,
    newer ones an effort.

    Several newer models reject "disabled", and from Opus 4.7 on thinking is hidden unless a summary
    is requested. A tool turn that another model began without thinking cannot continue with a
    budget (the API answers 400).
    """
    think = request.options.think
    if think is None:
        return {}
    off = think is False or think == "off"
    if (quirks.get("thinking", "budget" if _BUDGET_MODELS.match(request.model) else "adaptive")
        == "adaptive"):
        if off:
            return {}
        effort = ({"output_config": {"effort": think}} if isinstance(think, str) and think != "on"
                  else {})
        return {"thinking": {"type": "adaptive", "display": "summarized"}, **effort}
    if off or begun_without:
        return {"thinking": {"type": "disabled"}} if off else {}
    wanted = BUDGETS.get(str(think), BUDGETS["medium"])
    if request.options.max_tokens is None:
        return {"thinking": {"type": "enabled", "budget_tokens": wanted},
                "max_tokens": limit + wanted}
    budget = max(SMALLEST_BUDGET, min(wanted, limit - 1))
    return {"thinking": {"type": "enabled", "budget_tokens": budget},
            "max_tokens": max(limit, budget + 1)}


def _tool_turn_without_thinking(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the current tool turn began without thinking; its later replies need none."""
    start = len(messages) - 1
    while start > 1 and messages[start]["content"][0]["type"] == "tool_result":
        start -= 2
    opening = messages[start + 1:start + 2]
    return any(entry["content"][0]["type"] not in ("thinking", "redacted_thinking")
               for entry in opening)


def _sampling(options: Options, *, thinking: bool) -> dict[str, Any]:
    """Return sampling fields. With thinking the API accepts only its default temperature."""
    fields = {"temperature": None if thinking else options.temperature,
              "top_p": None if thinking else options.top_p,
              "stop_sequences": list(options.stop) or None}
    return {name: value for name, value in fields.items() if value is not None}


def adapted(request: Request, quirks: Mapping[str, Any]) -> list[str]:
    """Describe the settings that thinking changes."""
    thinking = thinking_fields(request, quirks, request.options.max_tokens or MAX_TOKENS,
                               begun_without=False)
    said = []
    if thinking.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        unused = [name for name in ("temperature", "top_p")
                  if getattr(request.options, name) is not None]
        said += [f"while it thinks it accepts no {' and no '.join(unused)}"] if unused else []
    limit, least = request.options.max_tokens, thinking.get("max_tokens", 0)
    if limit and least > limit:
        said.append(f"thinking needs a limit of at least {least} tokens, so that is asked for "
                    f"instead of {limit}")
    return said


def message_entries(messages: Sequence[Message],
                    used: set[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield (role, blocks) for every message that has blocks.

    Call ids are made valid and unique, with the same id in call and result; `used` are ids that are
    taken already.
    """
    called: dict[str, list[str]] = {}
    for message in messages:
        ids = called
        if message.role == "assistant":
            called, ids = {}, {}
            for call in message.tool_calls:
                called.setdefault(call.id, []).append(_unique_id(call.id, used))
            ids = {original: list(new) for original, new in called.items()}
        blocks = [block for part in message.parts if (block := _block(part, ids)) is not None]
        if blocks and message.role != "system":
            yield "assistant" if message.role == "assistant" else "user", blocks


def _unique_id(original: str, used: set[str]) -> str:
    identity = (original if _VALID_ID.fullmatch(original)
                else "call_" + hashlib.sha256(original.encode()).hexdigest()[:24])
    base, number = identity[:56], 1
    while identity in used:
        number += 1
        identity = f"{base}_{number}"
    used.add(identity)
    return identity


def merged(entries: Iterator[tuple[str, list[dict[str, Any]]]]) -> Iterator[dict[str, Any]]:
    """Merge consecutive messages of one role, as the API requires; tool results come first in
    theirs.
    """
    held: dict[str, Any] | None = None
    for role, blocks in entries:
        if held is not None and held["role"] == role:
            held["content"] += blocks
            continue
        if held is not None:
            yield held
        held = {"role": role, "content": blocks}
    if held is not None:
        yield held


def _block(part: Part, ids: dict[str, list[str]]) -> dict[str, Any] | None:
    match part:
        case Text() | Thinking():
            return _words_block(part)
        case ToolCall(id=id, name=name):
            arguments = dict(part.arguments) if part.invalid is None else {"invalid": part.invalid}
            return {"type": "tool_use", "id": ids[id].pop(0), "name": valid_name(name),
                    "input": arguments, **_own(part)}
        # its call is not sent any more
        case ToolResult(id=id, name=name, content=content) if not ids.get(id):
            return {"type": "text", "text": f"Result of {name}: {content}"}
        case ToolResult(id=id, content=content, is_error=is_error):
            failed = {"is_error": True} if is_error else {}
            return {"type": "tool_result", "tool_use_id": ids[id].pop(0), "content": content,
                    **failed}
        case Attached(text):
            return {"type": "text", "text": text}
        case Image(media_type=media_type, data=data):
            return {"type": "image",
                    "source": {"type": "base64", "media_type": media_type, "data": data}}


def _own(part: Text | Thinking | ToolCall) -> dict[str, Any]:
    return dict((part.extra or {}).get(NAME) or {})


def _words_block(part: Text | Thinking) -> dict[str, Any] | None:
    """Return a part as a block, unchanged if it came from this API. The API rejects blank text and
    unsigned thinking, so these give None.
    """
    own = _own(part)
    if "block" in own:
        return dict(own["block"])
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, **own} if part.text.strip() else None
    return {"type": "thinking", "thinking": part.text, **own} if "signature" in own else None
