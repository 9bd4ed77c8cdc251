"""The same reply as each dialect's server would stream it: thinking, text, calls, counts, end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.dialects import server_events
from tests.fake_server import Answer


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Script:
    """What the model sends.

    `mark` is the provider-only data that has to come back; dialects without such data leave it out.
    """

    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    mark: str = "mark=="


def _sse(payloads: Iterator[Any], *, named: bool = False, end: str = "\n") -> Answer:
    return Answer([server_events(payloads, named=named, end=end)], content_type="text/event-stream")


def ollama(script: Script) -> Answer:
    lines: list[dict[str, Any]] = []
    if script.thinking:
        lines.append({"message": {"role": "assistant", "content": "", "thinking": script.thinking},
                      "done": False})
    if script.text:
        lines.append({"message": {"role": "assistant", "content": script.text}, "done": False})
    for number, call in enumerate(script.calls):
        wire = {"id": call.id,
                "function": {"index": number, "name": call.name, "arguments": call.arguments}}
        lines.append({"message": {"role": "assistant", "content": "", "tool_calls": [wire]},
                      "done": False})
    lines.append({"message": {"role": "assistant", "content": ""}, "done": True,
                  "done_reason": "stop",
                  "prompt_eval_count": 5, "eval_count": 3})
    return Answer(["".join(json.dumps(line) + "\n" for line in lines).encode()])


def openai(script: Script) -> Answer:
    def chunks() -> Iterator[Any]:
        yield _chunk({"role": "assistant", "content": ""})
        if script.thinking:
            yield _chunk({"content": None, "reasoning_content": script.thinking})
        if script.text:
            yield _chunk({"content": script.text})
        for number, call in enumerate(script.calls):
            yield _chunk({"tool_calls": [_openai_call(call, number, "")]})
            yield _chunk(
                {"tool_calls":
                 [{"index": number, "function": {"arguments": json.dumps(call.arguments)}}]})
        yield _chunk({}, "tool_calls" if script.calls else "stop")
        yield {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
        yield "[DONE]"
    return _sse(chunks())


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def _openai_call(call: Call, number: int, arguments: str) -> dict[str, Any]:
    return {"index": number, "id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": arguments}}


def mistral(script: Script) -> Answer:
    def chunks() -> Iterator[Any]:
        if script.thinking:
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": script.thinking}],
                        "closed": True}
            yield _chunk({"role": "assistant", "content": [thinking]})
        if script.text:
            yield _chunk({"content": script.text})
        calls = [_openai_call(call, number, json.dumps(call.arguments))
                 for number, call in enumerate(script.calls)]
        yield _chunk({"content": "", **({"tool_calls": calls} if calls else {})},
                     "tool_calls" if calls else "stop",
                     usage={"prompt_tokens": 5, "completion_tokens": 3})
        yield "[DONE]"
    return _sse(chunks())


def openai_responses(script: Script) -> Answer:
    items: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if script.thinking:
        summary = [{"type": "summary_text", "text": script.thinking}]
        items.append(({"type": "reasoning", "id": f"rs_{len(script.mark)}", "summary": summary,
                       "encrypted_content": script.mark},
                      [{"type": "response.reasoning_summary_text.delta", "summary_index": 0,
                        "delta": script.thinking}]))
    if script.text:
        content = [{"type": "output_text", "text": script.text, "annotations": []}]
        items.append(({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                       "content": content},
                      [{"type": "response.output_text.delta", "content_index": 0,
                        "delta": script.text}]))
    for call in script.calls:
        written = json.dumps(call.arguments)
        items.append(({"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id,
                       "name": call.name, "arguments": written,
                       "status": "completed"},
                      [{"type": "response.function_call_arguments.delta", "delta": written}]))

    def events() -> Iterator[Any]:
        yield {"type": "response.created",
               "response": {"id": "resp_1", "status": "in_progress", "output": []}}
        for index, (item, deltas) in enumerate(items):
            empty = {"summary": [], "content": [], "arguments": ""}
            begun = {name: empty.get(name, value) for name, value in item.items()}
            yield {"type": "response.output_item.added", "output_index": index, "item": begun}
            for delta in deltas:
                yield {**delta, "output_index": index, "item_id": item["id"]}
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": "response.completed", "response": {
            "id": "resp_1", "status": "completed", "output": [item for item, _ in items],
            "usage": {"input_tokens": 5, "output_tokens": 3}}}
    return _sse(events(), named=True)


def anthropic(script: Script) -> Answer:
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if script.thinking:
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": script.thinking},
            {"type": "signature_delta", "signature": script.mark}]))
    if script.text:
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": script.text}]))
    for call in script.calls:
        written = json.dumps(call.arguments) if call.arguments else ""
        blocks.append(({"type": "tool_use", "id": call.id, "name": call.name, "input": {}},
                       [{"type": "input_json_delta", "partial_json": written}]))

    def events() -> Iterator[Any]:
        yield {"type": "message_start",
               "message": {"role": "assistant", "usage": {"input_tokens": 5, "output_tokens": 1}}}
        for index, (block, deltas) in enumerate(blocks):
            yield {"type": "content_block_start", "index": index, "content_block": block}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        yield {"type": "message_delta",
               "delta": {"stop_reason": "tool_use" if script.calls else "end_turn"},
               "usage": {"output_tokens": 3}}
        yield {"type": "message_stop"}
    return _sse(events(), named=True)


def gemini(script: Script) -> Answer:
    parts: list[dict[str, Any]] = []
    if script.thinking:
        parts.append({"text": script.thinking, "thought": True})
    if script.text:
        parts.append({"text": script.text})
    for number, call in enumerate(script.calls):
        signature = {"thoughtSignature": script.mark} if number == 0 else {}
        parts.append({"functionCall": {"name": call.name, "args": call.arguments, "id": call.id},
                      **signature})

    def events() -> Iterator[Any]:
        for part in parts:
            yield {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}],
                   "responseId": "answer"}
        yield {"candidates":
               [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP",
                 "index": 0}],
               "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3},
               "responseId": "answer"}
    return _sse(events(), end="\r\n")


def cohere(script: Script) -> Answer:
    """Before calls, its thinking is the plan, which must be sent back."""
    def events() -> Iterator[Any]:
        yield {"type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}}
        if script.thinking and script.calls:
            yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": script.thinking}}}
        elif script.thinking:
            yield {"type": "content-delta", "index": 0,
                   "delta": {"message": {"content": {"thinking": script.thinking}}}}
        if script.text:
            yield {"type": "content-delta", "index": 1,
                   "delta": {"message": {"content": {"text": script.text}}}}
        for number, call in enumerate(script.calls):
            begun = {"id": call.id, "type": "function",
                     "function": {"name": call.name, "arguments": ""}}
            yield {"type": "tool-call-start", "index": number,
                   "delta": {"message": {"tool_calls": begun}}}
            if call.arguments:
                more = {"function": {"arguments": json.dumps(call.arguments)}}
                yield {"type": "tool-call-delta", "index": number,
                       "delta": {"message": {"tool_calls": more}}}
        yield {"type": "message-end",
               "delta": {"finish_reason": "TOOL_CALL" if script.calls else "COMPLETE",
                         "usage": {"tokens": {"input_tokens": 5, "output_tokens": 3}}}}
        yield "[DONE]"
    return _sse(events())


SCRIPTED: dict[str, Callable[[Script], Answer]] = {
    "ollama": ollama, "openai": openai, "openai-responses": openai_responses, "mistral": mistral,
    "anthropic": anthropic,
    "gemini": gemini, "cohere": cohere,
}
