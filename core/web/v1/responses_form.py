"""Converts OpenAI's Responses requests to chat completions, and our events to Responses events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import ChatError, UsageError
from core.events import (Event, MessageAdded, ModelChanged, TextDelta, ThinkingDelta, ToolRequested,
                         is_refusal)
from core.messages import Finish, Message, ToolCall
from core.web.v1 import openai_form as form

Row = dict[str, Any]
RENAMED = {"max_output_tokens": "max_completion_tokens",
           **{name: name
              for name in ("temperature", "top_p", "model", "stream", "parallel_tool_calls")}}
# unsupported fields that would change the answer
REFUSED = ("background", "conversation", "prompt")
ECHOED = ("instructions", "temperature", "top_p", "max_output_tokens", "previous_response_id",
          "reasoning", "text")
CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}


# ---- requests

def as_chat(body: Mapping[str, Any], earlier: Sequence[Row]) -> Row:
    """Convert a request to chat completions, after the earlier messages of its conversation.

    Raises UsageError for unsupported fields.
    """
    for name in REFUSED:
        if body.get(name):
            raise UsageError(f"{name} is not supported here.",
                             "Send the complete conversation, or previous_response_id.")
    made = {ours: body[theirs] for theirs, ours in RENAMED.items() if body.get(theirs) is not None}
    instructions = body.get("instructions")
    given = isinstance(instructions, str) and instructions
    system = [{"role": "system", "content": instructions}] if given else []
    made["messages"] = [*system, *earlier, *messages_of(body)]
    made["tools"] = [_tool(row) for row in body.get("tools") or ()]
    text, reasoning = body.get("text"), body.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("effort"):
        made["reasoning_effort"] = reasoning["effort"]
    wanted = text.get("format") if isinstance(text, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") not in (None, "text"):
        kind = wanted["type"]
        made["response_format"] = {"type": kind, kind: wanted} if kind == "json_schema" else wanted
    return made


def messages_of(body: Mapping[str, Any]) -> list[Row]:
    """Return the new messages of a request as chat completions messages."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given or not all(isinstance(row, dict) for row in given):
        raise UsageError("input must be text or a list of items.")
    made: list[Row] = []
    for row in given:
        _add(made, row)
    return made


def _add(made: list[Row], row: Row) -> None:
    match row.get("type", "message"):
        case "message":
            made.append({"role": row.get("role"), "content": row.get("content")})
        case "function_call":
            call = {"id": row.get("call_id"), "type": "function",
                    "function": {"name": row.get("name"), "arguments": row.get("arguments")}}
            if made and made[-1]["role"] == "assistant":
                made[-1].setdefault("tool_calls", []).append(call)
            else:
                made.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case "function_call_output":
            output = row.get("output")
            made.append({"role": "tool", "tool_call_id": row.get("call_id"),
                         "content": output if isinstance(output, (str, list))
                         else json.dumps(output)})
        case "reasoning":
            pass        # reasoning is in the session if the provider needs it back
        case other:
            raise UsageError(f"An item of the type {other!r} cannot be sent.",
                             "Messages and function calls can.")


def _tool(row: Any) -> Row:
    if not isinstance(row, dict) or row.get("type") != "function":
        raise UsageError("Only function tools are supported here.",
                         "The provider's own tools run at the provider.")
    known = {name: row[name] for name in ("name", "description", "parameters") if row.get(name)}
    return {"type": "function", "function": known}


# ---- replies

class Writer:
    """A response in progress.

    `events` yields the events for a streaming client; `response` is the complete object.
    """

    def __init__(self, body: Mapping[str, Any], model: str) -> None:
        self._sequence = 0
        # kind of the open output item: message, reasoning, or ""
        self._kind, self._text = "", ""
        self._replies: list[Message] = []
        echoed = {name: body.get(name) for name in ECHOED}
        self.response: Row = {
            "id": f"resp_{secrets.token_hex(16)}", "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress", "model": model, "output": [], "error": None, "usage": None,
            "incomplete_details": None, "tools": body.get("tools") or [],
            "tool_choice": body.get("tool_choice") or "auto", "parallel_tool_calls": True,
            "metadata": body.get("metadata") or {}, **echoed}

    def begin(self) -> Iterator[Row]:
        yield self._event("response.created", response=self.response)
        yield self._event("response.in_progress", response=self.response)

    def events(self, event: Event) -> Iterator[Row]:
        match event:
            case ModelChanged(new=new):
                self.response["model"] = new
            case TextDelta(text=text, extra=extra) if text:
                yield from self._open("message")
                self._text += text
                kind = ("response.refusal.delta" if is_refusal(extra)
                        else "response.output_text.delta")
                yield self._event(kind, **self._place(), delta=text,
                                  **({} if is_refusal(extra) else {"logprobs": []}))
            case ThinkingDelta(text=text) if text:
                yield from self._open("reasoning")
                self._text += text
                yield self._event("response.reasoning_summary_text.delta",
                                  **self._place("summary_index"), delta=text)
            case ToolRequested(call):
                yield from self._close()
                yield from self._call(call)
            case MessageAdded(message):
                self._replies.append(message)

    def end(self) -> Iterator[Row]:
        """Yield the last events of a response that ended without an error, complete or not."""
        yield from self._close()
        finish: Finish = (self._replies[-1].finish if self._replies else None) or "stop"
        whole = finish in ("stop", "tool_calls", "refusal")
        self.response |= {"status": "completed" if whole else "incomplete",
                          "usage": _usage(self._replies)}
        if not whole:
            self.response["incomplete_details"] = {"reason": CUT.get(finish, "max_output_tokens")}
        yield self._event(f"response.{self.response['status']}", response=self.response)

    def fail(self, error: ChatError) -> Iterator[Row]:
        """Yield the last event after an error in the middle."""
        row = form.error_row(error)["error"]
        self.response |= {"status": "failed",
                          "error": {"code": row["code"] or "server_error",
                                    "message": row["message"]}}
        yield self._event("response.failed", response=self.response)

    def _event(self, kind: str, **fields: Any) -> Row:
        self._sequence += 1
        return {"type": kind, "sequence_number": self._sequence - 1, **fields}

    @property
    def _item(self) -> Row:
        found: Row = self.response["output"][-1]
        return found

    def _place(self, index: str = "content_index") -> Row:
        return {"item_id": self._item["id"], "output_index": len(self.response["output"]) - 1,
                index: 0}

    def _open(self, kind: str) -> Iterator[Row]:
        if self._kind == kind:
            return
        yield from self._close()
        self._kind, self._text = kind, ""
        parts: Row = ({"role": "assistant", "content": [], "status": "in_progress"}
                      if kind == "message" else {"summary": []})
        yield self._added({"id": f"{kind[:3]}_{secrets.token_hex(12)}", "type": kind, **parts})
        if kind == "message":
            yield self._event("response.content_part.added", **self._place(), part=_text_part(""))
        else:
            yield self._event("response.reasoning_summary_part.added",
                              **self._place("summary_index"), part=_summary_part(""))

    def _added(self, item: Row) -> Row:
        self.response["output"].append(item)
        return self._event("response.output_item.added",
                           output_index=len(self.response["output"]) - 1, item=dict(item))

    def _close(self) -> Iterator[Row]:
        kind, self._kind = self._kind, ""
        if kind == "message":
            part = _text_part(self._text)
            self._item.update(content=[part], status="completed")
            yield self._event("response.output_text.done", **self._place(), text=self._text,
                              logprobs=[])
            yield self._event("response.content_part.done", **self._place(), part=part)
        elif kind == "reasoning":
            place, part = self._place("summary_index"), _summary_part(self._text)
            self._item["summary"] = [part]
            yield self._event("response.reasoning_summary_text.done", **place, text=self._text)
            yield self._event("response.reasoning_summary_part.done", **place, part=part)
        if kind:
            yield self._event("response.output_item.done",
                              output_index=len(self.response["output"]) - 1, item=self._item)

    def _call(self, call: ToolCall) -> Iterator[Row]:
        arguments = json.dumps(dict(call.arguments)) if call.invalid is None else call.invalid
        item = {"id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "call_id": call.id,
                "name": call.name}
        yield self._added({**item, "arguments": "", "status": "in_progress"})
        place = {"item_id": item["id"], "output_index": len(self.response["output"]) - 1}
        yield self._event("response.function_call_arguments.delta", **place, delta=arguments)
        yield self._event("response.function_call_arguments.done", **place, arguments=arguments,
                          name=call.name)
        self._item.update(arguments=arguments, status="completed")
        yield self._event("response.output_item.done", output_index=place["output_index"],
                          item=self._item)


def output_messages(response: Mapping[str, Any]) -> list[Row]:
    """Return a response's output as chat completions messages that continue its conversation."""
    made: list[Row] = []
    for item in response["output"]:
        _add(made, item)
    return made


def _text_part(text: str) -> Row:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary_part(text: str) -> Row:
    return {"type": "summary_text", "text": text}


def _usage(replies: Sequence[Message]) -> Row:
    row = form.usage_row([reply.usage for reply in replies if reply.usage is not None])
    return {"input_tokens": row["prompt_tokens"],
            "input_tokens_details": row["prompt_tokens_details"],
            "output_tokens": row["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": row["total_tokens"]}
