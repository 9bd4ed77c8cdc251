"""A model that always sends the same text, in every dialect, from a server that breaks the
connection in every way.

The model continues after the part of TEXT that is already in the request, so the joined pieces of
an answer must equal TEXT, to the character. A fault is an answer whose events are cut, delayed or
garbled.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

from tests.dialects import server_events
from tests.fake_server import Answer, Cut, Pause, Received, Reset, Stall, Step, json_answer

TEXT = "".join(
    f"n{number}:wörd-{number * 7919 % 997}→{'é日😀'[number % 3]}{chr(10) if number % 6 == 5 else ' '}"
    for number in range(30))
# seconds of silence that are too many; a server that skips its pauses makes them pass at once
IDLE = 30.0
PIECE = 40            # characters of a delta
TOOL = "look"
ARGUMENTS = {"where": "in the drawer", "times": 3}
DIALECTS = ("ollama", "openai", "openai-responses", "anthropic", "gemini", "cohere", "mistral")


@dataclass(frozen=True, slots=True)
class Wire:
    """An answer as events: the opening, one per piece of text, those of a tool call, the end, and
    an error instead of it.
    """

    head: tuple[bytes, ...]
    texts: tuple[bytes, ...]
    call: tuple[bytes, ...]
    tail: tuple[bytes, ...]
    error: bytes
    ping: bytes

    @property
    def events(self) -> tuple[bytes, ...]:
        return (*self.head, *self.texts, *self.call, *self.tail)


def wire(dialect: str, text: str, *, call: bool = False, piece: int = PIECE) -> Wire:
    """The answer `text`, then the call of a tool if `call`, in this dialect."""
    return _WIRES[dialect]([text[start:start + piece] for start in range(0, len(text), piece)],
                           call)


def _sse(*payloads: Any, named: bool = False) -> tuple[bytes, ...]:
    return tuple(server_events([payload], named=named) for payload in payloads)


def _line(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}, ensure_ascii=False).encode() + b"\n"


def _ollama(pieces: Sequence[str], call: bool) -> Wire:
    def said(**message: Any) -> bytes:
        return _line(message={"role": "assistant", "content": "", **message}, done=False)
    calls = [{"function": {"name": TOOL, "arguments": ARGUMENTS}}]
    done = _line(message={"role": "assistant", "content": ""}, done=True, done_reason="stop",
                 prompt_eval_count=5, eval_count=3)
    return Wire((), tuple(said(content=piece) for piece in pieces),
                (said(tool_calls=calls),) if call else (), (done,),
                _line(error="an error was encountered while running the model: unexpected EOF"),
                b"\n")


def _openai(pieces: Sequence[str], call: bool) -> Wire:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    written = json.dumps(ARGUMENTS)
    parts = [{"index": 0, "id": "call00001", "type": "function",
              "function": {"name": TOOL, "arguments": written[:9]}},
             {"index": 0, "function": {"arguments": written[9:]}}]
    calls = [chunk({"tool_calls": [part]}) for part in parts] if call else []
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
    return Wire(_sse(chunk({"role": "assistant", "content": ""})),
                _sse(*(chunk({"content": piece}) for piece in pieces)),
                _sse(*calls), _sse(chunk({}, "tool_calls" if call else "stop"), usage, "[DONE]"),
                _sse({"error": {"message": "The server had an error while processing",
                                "type": "server_error"}})[0], b": ping\n\n")


def _mistral(pieces: Sequence[str], call: bool) -> Wire:
    made = _openai(pieces, call)
    error = {"object": "error", "message": "Service unavailable", "type": "internal_server_error",
             "code": "3000"}
    return replace(made, error=_sse(error)[0])


def _responses(pieces: Sequence[str], call: bool) -> Wire:
    def at(kind: str, index: int, **fields: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", "output_index": index, **fields}
    text, written = "".join(pieces), json.dumps(ARGUMENTS)
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": text, "annotations": []}]}
    item = {"type": "function_call", "id": "fc_1", "call_id": "call00001", "name": TOOL,
            "arguments": written}
    head = [at("created", 0, response={"id": "resp_1", "status": "in_progress", "output": []}),
            at("output_item.added", 0, item={**message, "content": []})]
    texts = [at("output_text.delta", 0, content_index=0, delta=piece, item_id="msg_1")
             for piece in pieces]
    calls = [at("output_item.added", 1, item={**item, "arguments": ""}),
             at("function_call_arguments.delta", 1, delta=written[:9], item_id="fc_1"),
             at("function_call_arguments.delta", 1, delta=written[9:], item_id="fc_1"),
             at("output_item.done", 1, item=item)]
    done = {"id": "resp_1", "status": "completed", "output": [message, item] if call else [message],
            "usage": {"input_tokens": 5, "output_tokens": 3}}
    error = {"type": "error", "code": "server_error", "message": "The server had an error",
             "param": None}
    return Wire(_sse(*head, named=True), _sse(*texts, named=True),
                _sse(*calls, named=True) if call else (),
                _sse(at("output_item.done", 0, item=message),
                     {"type": "response.completed", "response": done}, named=True),
                _sse(error, named=True)[0], b": ping\n\n")


def _anthropic(pieces: Sequence[str], call: bool) -> Wire:
    def delta(index: int, kind: str, name: str, value: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: value}}
    written = json.dumps(ARGUMENTS)
    head = [{"type": "message_start",
             "message": {"role": "assistant", "usage": {"input_tokens": 5, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0,
             "content_block": {"type": "text", "text": ""}}]
    stop = {"type": "content_block_stop", "index": 0}
    calls = [stop, {"type": "content_block_start", "index": 1,
                    "content_block": {"type": "tool_use", "id": "toolu_1", "name": TOOL,
                                      "input": {}}},
             delta(1, "input_json_delta", "partial_json", written[:9]),
             delta(1, "input_json_delta", "partial_json", written[9:])]
    tail = [{"type": "content_block_stop", "index": int(call)},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use" if call else "end_turn"},
             "usage": {"output_tokens": 3}},
            {"type": "message_stop"}]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    return Wire(_sse(*head, named=True),
                _sse(*(delta(0, "text_delta", "text", piece) for piece in pieces), named=True),
                _sse(*calls, named=True) if call else (), _sse(*tail, named=True),
                _sse(error, named=True)[0],
                _sse({"type": "ping"}, named=True)[0])


def _gemini(pieces: Sequence[str], call: bool) -> Wire:
    def said(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"candidates":
                [{"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}],
                "responseId": "r"}
    error = {"error": {"code": 503, "message": "The model is overloaded. Please try again later.",
                       "status": "UNAVAILABLE"}}
    return Wire((), _sse(*(said({"text": piece}) for piece in pieces)),
                _sse(said({"functionCall": {"name": TOOL, "args": ARGUMENTS, "id": "f1"}})) if call
                else (),
                _sse({**said({"text": ""}, finishReason="STOP"),
                      "usageMetadata": {"promptTokenCount": 5}}), _sse(error)[0],
                b": ping\n\n")


def _cohere(pieces: Sequence[str], call: bool) -> Wire:
    def event(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
        place = {} if index is None else {"index": index}
        return {"type": kind, **place, "delta": {"message": message}}
    written = json.dumps(ARGUMENTS)
    begun = {"id": "look_1", "type": "function", "function": {"name": TOOL, "arguments": ""}}
    calls = [event("tool-call-start", 0, tool_calls=begun),
             event("tool-call-delta", 0, tool_calls={"function": {"arguments": written[:9]}}),
             event("tool-call-delta", 0, tool_calls={"function": {"arguments": written[9:]}})]
    end = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL" if call else "COMPLETE"}}
    error = {"type": "message-end",
             "delta": {"finish_reason": "ERROR", "error": "internal server error"}}
    return Wire(_sse(event("message-start", role="assistant", content=[])),
                _sse(*(event("content-delta", 0, content={"text": piece}) for piece in pieces)),
                _sse(*calls) if call else (),
                _sse(end, "[DONE]"), _sse(error)[0], b": ping\n\n")


_WIRES: dict[str, Callable[[Sequence[str], bool], Wire]] = {
    "ollama": _ollama, "openai": _openai, "openai-responses": _responses, "anthropic": _anthropic,
    "gemini": _gemini,
    "cohere": _cohere, "mistral": _mistral,
}


# ---- the model

def said_already(request: Received) -> int:
    """How many characters of TEXT are already in the request."""
    return max((len(text) for text in _strings(request.json) if TEXT.startswith(text)), default=0)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _strings(entry)


def has_result(request: Received) -> bool:
    """Whether the request contains a result of the tool."""
    return any(text.startswith("RESULT") for text in _strings(request.json))


def content_type(dialect: str) -> str:
    return "application/x-ndjson" if dialect == "ollama" else "text/event-stream"


def whole_answer(dialect: str, made: Wire) -> Answer:
    return Answer([b"".join(made.events)], content_type=content_type(dialect))


# ---- what breaks

Break = Callable[[Wire], list[Step]]  # what follows the events that came; the answer ends with it
PHASES = ("before", "middle", "call", "end")


def came(made: Wire, phase: str) -> list[Step]:
    """The events until the fault: none, about half of the text and half an event, half a call,
    or all but the end.
    """
    half = len(made.texts) // 2
    match phase:
        case "before":
            return list(made.head)
        case "middle":
            return [*made.head, *made.texts[:half], made.texts[half][:len(made.texts[half]) // 2]]
        case "call":
            return [*made.head, *made.texts, *made.call[:len(made.call) - 1 or 1]]
    return [*made.head, *made.texts, *made.call]


BREAKS: dict[str, Break] = {
    "fin": lambda made: [Cut()],
    "rst": lambda made: [Pause(0.03), Reset()],
    "no-marker": lambda made: [],
    "silence": lambda made: [Stall()],
    "keep-alive": lambda made:
    [*[step for _ in range(200) for step in (b"\n" + made.ping, Pause(IDLE / 20))], Stall()],
    "error": lambda made: [b"\n" * 2 + made.error],
    "garbage": lambda made: [b"\n\ndata: {\"not json\n\n{\"not json\n", Stall()],
}


def broken_answer(dialect: str, made: Wire, phase: str, fault: str) -> Answer:
    steps = came(made, phase)
    if phase == "middle" and fault in ("keep-alive", "error", "garbage"):
        half = len(made.texts) // 2     # between events: these faults are events themselves
        steps = [*made.head, *made.texts[:half]]
    return Answer([b"".join(step for step in steps if isinstance(step, bytes)),
                   *BREAKS[fault](made)],
                  content_type=content_type(dialect))


def _head(kind: str, *more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {kind}", *more, "", ""]).encode()


def odd_answer(dialect: str, made: Wire, oddity: str) -> Answer:
    """A complete answer in an unusual form that must not matter."""
    body, kind = b"".join(made.events), content_type(dialect)
    match oddity:
        case "byte by byte":
            short = body if len(body) < 2_000 else b""
            steps: list[Step] = ([bytes([byte]) for byte in short]
                                 or [body[at:at + 7] for at in range(0, len(body), 7)])
            return Answer(steps, content_type=kind)
        case "slow bytes":
            slow: list[Step] = [step for byte in body[:12]
                                for step in (bytes([byte]), Pause(IDLE / 4))]
            return Answer([*slow, body[12:]], content_type=kind)
        case "rare tokens":
            return Answer([step for event in made.events for step in (event, Pause(IDLE / 4))],
                          content_type=kind)
        case "marker, then linger":
            return Answer([body, Stall()], content_type=kind)
        case "bad utf-8":
            bad = (b": \xff\xfe\n\n" if dialect != "ollama"
                   else b'{"x": "\xff\xfe", "message": {"content": ""}, "done": false}\n')
            return Answer([bad, body], content_type=kind)
        case "merged":
            return Answer([body], content_type=kind, framing="length")
        case "until close":
            return Answer([body], content_type=kind, framing="close")
        case "crlf":
            return Answer([body.replace(b"\n", b"\r\n")], content_type=kind)
        case "gzip":
            return Answer([gzip.compress(body)], headers={"Content-Encoding": "gzip"},
                          content_type=kind)
        case "wrong content type":
            return Answer([body], content_type="text/html; charset=latin-1")
        case "huge line":
            padding = (b'{"pad": "' + b"x" * 3_000_000 + b'", "message": {"content": ""}, "done": '
                       b'false}\n')
            return Answer([padding if dialect == "ollama" else b": " + b"x" * 3_000_000 + b"\n\n",
                           body], content_type=kind)
    raise AssertionError(oddity)


ODDITIES = ("byte by byte", "slow bytes", "rare tokens", "marker, then linger", "bad utf-8",
            "merged", "until close", "crlf",
            "gzip", "wrong content type", "huge line")


def refused(status: int, form: str = "") -> Answer:
    """An error response; `form` says how it names the delay: seconds, date, milliseconds, body, or
    not at all.
    """
    headers = {"seconds": {"Retry-After": "0"}, "date": {"Retry-After": formatdate(usegmt=True)},
               "milliseconds": {"retry-after-ms": "20"}}.get(form, {})
    words = "Please try again in 20ms." if form == "body" else "That did not work."
    return json_answer({"error": {"message": words}}, status, headers)


def no_answer(kind: str) -> Answer:
    """What is sent instead of an HTTP response with a stream."""
    match kind:
        case "accepted, never answered":
            return Answer([Stall()], framing="raw")
        case "closed at once":
            return Answer([Cut()], framing="raw")
        case "reset at once":
            return Answer([Reset()], framing="raw")
        case "half a head":
            return Answer([b"HTTP/1.1 200 OK\r\nContent-Ty", Cut()], framing="raw")
        case "no http":
            return Answer([b"SSH-2.0-OpenSSH_9.6\r\n", Cut()], framing="raw")
        case "html":
            page = (b"<!doctype html><html><head><title>Sign in</title></head><body>hotel "
                    b"wifi</body></html>")
            return Answer([page], content_type="text/html", framing="length")
        case "json, not a stream":
            return json_answer({"status": "ok"})
        case "empty":
            return Answer([], content_type="text/event-stream", framing="length")
    raise AssertionError(kind)


NO_ANSWERS = ("accepted, never answered", "closed at once", "reset at once", "half a head",
              "no http", "html", "json, not a stream",
              "empty")
