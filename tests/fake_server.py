"""A model server on loopback: real sockets, scripted responses, exact control over how and when
bytes are sent.

`FakeServer` sends what a script says: any bytes in any cut, pauses, stalls, a lost or a reset
connection. It records each request and whether its client left early. `FakeOllama` speaks Ollama's
API and is scripted by the model's name. `python -m tests.fake_server [--port N]` runs a FakeOllama,
prints its address as one line and serves until it is killed.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LINGER_RESET = struct.pack("ii", 1, 0)
REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
           403: "Forbidden", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; a client that disconnects meanwhile ends the response."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing more until the client disconnects."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection in the middle of the body (FIN)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST)."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Send nothing more until the test allows it or the client disconnects."""

    until: threading.Event


Step = bytes | Pause | Stall | Cut | Reset | Hold


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. Each bytes step is one send (and one chunk, if chunked).

    `framing` is chunked, length, close (the body ends with the connection) or raw (the steps
    are the whole response).
    """

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/x-ndjson"
    framing: str = "chunked"


@dataclass(slots=True)
class Received:
    """A request as it came, and how its answer ended: sent, client_left, cut or reset;
    empty while it is sent.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int = 0
    outcome: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[[Received], Answer]


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer((json.dumps(value).encode(),), status, headers or {},
                  "application/json; charset=utf-8", "length")


def text_answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer((text.encode(),), status, headers or {}, "text/plain; charset=utf-8", "length")


def lines_answer(values: Iterable[Any], *after: Step, delay: float = 0.0) -> Answer:
    """NDJSON, one send a line, with `delay` seconds before each; then the steps in `after`."""
    return Answer([*_spaced((json_line(value) for value in values), delay), *after])


def sse_answer(events: Iterable[str | bytes], *after: Step, delay: float = 0.0,
               status: int = 200) -> Answer:
    """Server-sent events, one send each, given as their exact bytes with the blank line."""
    sends = (event if isinstance(event, bytes) else event.encode() for event in events)
    return Answer([*_spaced(sends, delay), *after], status, content_type="text/event-stream")


def _spaced(sends: Iterable[bytes], delay: float) -> Iterator[Step]:
    for data in sends:
        if delay:
            yield Pause(delay)
        yield data


def json_line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def pieces(data: bytes, size: int) -> list[Step]:
    """The same bytes in sends of `size`."""
    return [data[start:start + size] for start in range(0, len(data), size)]


def cut_at(data: bytes, at: int, end: Step) -> list[Step]:
    """The first `at` bytes, then `end` (Cut, Reset or Stall)."""
    return [data[:at], end] if at else [end]


class FakeServer:
    """Serve on a free loopback port while the `with` block lasts.

    `script` is one Answer for every request, a sequence of them (the last repeats), or a function
    of the request. With `file` it listens at a socket of that name. `skip` lets time pass in which
    the server says nothing (tests/virtual_time.py); without it the server waits.
    """

    def __init__(self, script: Script | Answer | Sequence[Answer], port: int = 0, *,
                 file: str = "", skip: Callable[[float], None] | None = None) -> None:
        self._skip = skip
        self.requests: list[Received] = []
        self.connections = 0
        self._script = script
        self._listener = _listener(file, port)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port: int = 0 if file else self._listener.getsockname()[1]
        self.url = f"unix://{file}" if file else f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        with self._lock:
            left = list(self._open)
        for connection in left:
            _shut(connection)

    def wait_for(self, number: int = 1, timeout: float = 10.0) -> Received:
        """Request number `number` (from 1), waiting for it."""
        limit = time.monotonic() + timeout
        while len(self.requests) < number:
            if time.monotonic() > limit:
                raise AssertionError(f"request {number} did not come within {timeout} s")
            time.sleep(0.005)
        return self.requests[number - 1]

    @property
    def chats(self) -> list[Received]:
        """The requests for a reply.

        On a slow machine the program may send others (which models are loaded?) between them.
        """
        return [request for request in self.requests
                if request.method == "POST" and request.path == "/api/chat"]

    @property
    def connected(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._open)

    def answer(self, request: Received) -> Answer:
        script = self._script
        if isinstance(script, Answer):
            return script
        if callable(script):
            return script(request)
        if request.path == "/api/ps":
            # asked by the way in a long silence: no step of the sequence
            return json_answer({"models": []})
        asked = sum(each.path != "/api/ps" for each in self.requests)
        return script[min(asked, len(script)) - 1]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.port:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
                self.connections += 1
                number = self.connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        held = bytearray()
        try:
            while True:
                request = _read_request(connection, held)
                if request is None:
                    return
                request.connection = number
                with self._lock:
                    self.requests.append(request)
                if not _send_answer(connection, self.answer(request), request, self._skip):
                    return
        except (OSError, ValueError):   # the client has disconnected, or sent invalid HTTP
            return
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _listener(file: str, port: int) -> socket.socket:
    if not file:
        return socket.create_server(("127.0.0.1", port), backlog=64)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(file)
    listener.listen(64)
    return listener


def _shut(connection: socket.socket) -> None:
    """Wake the thread that serves it; that thread closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _read_request(connection: socket.socket, held: bytearray) -> Received | None:
    while b"\r\n\r\n" not in held:
        if not _receive(connection, held):
            return None
    head, _, rest = bytes(held).partition(b"\r\n\r\n")
    start, *fields = head.decode("latin-1").split("\r\n")
    method, path, _ = start.split(" ", 2)
    headers = {name.strip().lower(): value.strip()
               for name, _, value in (line.partition(":") for line in fields)}
    held[:] = rest
    if headers.get("transfer-encoding", "") == "chunked":
        return Received(method, path, headers, _read_chunks(connection, held))
    length = int(headers.get("content-length", "0"))
    while len(held) < length:
        if not _receive(connection, held):
            return None
    body = bytes(held[:length])
    del held[:length]
    return Received(method, path, headers, body)


def _read_chunks(connection: socket.socket, held: bytearray) -> bytes:
    """A body whose length its sender did not know in advance."""
    body = b""
    while True:
        while b"\r\n" not in held:
            if not _receive(connection, held):
                return body
        size, _, rest = bytes(held).partition(b"\r\n")
        end = int(size, 16) + 2
        held[:] = rest
        while len(held) < end:
            if not _receive(connection, held):
                return body
        body += bytes(held[:end - 2])
        del held[:end]
        if end == 2:
            return body


def _receive(connection: socket.socket, held: bytearray) -> bool:
    data = connection.recv(65_536)
    held += data
    return bool(data)


def _send_answer(connection: socket.socket, answer: Answer, request: Received,
                 skip: Callable[[float], None] | None) -> bool:
    """Send everything; return whether the connection can be reused."""
    request.outcome = "client_left"
    try:
        request.outcome = _send_steps(connection, answer, skip)
        return request.outcome == "sent" and answer.framing in ("chunked", "length")
    finally:
        request.done.set()


def _send_steps(connection: socket.socket, answer: Answer,
                skip: Callable[[float], None] | None) -> str:
    steps = answer.steps
    if answer.framing != "raw":
        connection.sendall(_head(answer, steps))
    for step in steps:
        match step:
            case bytes():
                chunked = answer.framing == "chunked" and step
                connection.sendall(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
            case Pause(seconds):
                if _client_left(connection, seconds, skip):
                    return "client_left"
            case Stall():
                while not _client_left(connection, 1.0 if skip else 60.0, skip):
                    pass
                return "client_left"
            case Hold(until):
                while not until.is_set():
                    if _client_left(connection, 0.01, None):
                        return "client_left"
            case Cut():
                return "cut"
            case Reset():
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                return "reset"
    if answer.framing == "chunked":
        connection.sendall(b"0\r\n\r\n")
    return "sent"


def _head(answer: Answer, steps: Sequence[Step]) -> bytes:
    fields = {"Content-Type": answer.content_type}
    match answer.framing:
        case "chunked":
            fields["Transfer-Encoding"] = "chunked"
        case "length":
            fields["Content-Length"] = str(
                sum(len(step) for step in steps if isinstance(step, bytes)))
        case "close":
            fields["Connection"] = "close"
    lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in {**fields, **answer.headers}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _client_left(connection: socket.socket, seconds: float,
                 skip: Callable[[float], None] | None) -> bool:
    """Wait, or skip the time; return True as soon as the other side has closed."""
    if skip is not None:
        skip(seconds)
        seconds = 0.0
    limit = time.monotonic() + seconds
    while True:
        left = limit - time.monotonic()
        readable, _, _ = select.select([connection], [], [], max(0.0, left))
        if not readable:
            return False
        if not connection.recv(1, socket.MSG_PEEK):
            return True
        time.sleep(min(0.01, max(0.0, left)))   # the next request waits already
        if time.monotonic() >= limit:
            return False


# ---- Ollama

def fake_word(number: int) -> str:
    """Word `number` (from 0) of every scripted answer: w0, then " w1" ..."""
    return f"w{number}" if number == 0 else f" w{number}"


def fake_words(count: int) -> str:
    return "".join(fake_word(number) for number in range(count))


def chat_line(model: str, content: str = "", **message: Any) -> dict[str, Any]:
    return {"model": model, "created_at": "2026-01-01T00:00:00.000000001Z",
            "message": {"role": "assistant", "content": content, **message}, "done": False}


def done_line(model: str, reason: str = "stop", count: int = 1, **more: Any) -> dict[str, Any]:
    return {**chat_line(model), "done": True, "done_reason": reason, "total_duration": 30_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": 7, "prompt_eval_duration": 2_000_000, "eval_count": count,
            "eval_duration": 20_000_000, **more}


OVERFLOW = {"error": {"code": 400, "message": "request (18008 tokens) exceeds the available "
                      "context size (4096 tokens), try increasing it",
                      "type": "exceed_context_size_error", "n_prompt_tokens": 18008, "n_ctx": 4096}}
REFUSALS: dict[str, tuple[int, Any, dict[str, str]]] = {
    "missing": (404, {"error": "model 'missing' not found"}, {}),
    "busy": (503, {"error": "server busy, please try again.  maximum pending requests exceeded"},
             {}),
    "limited": (429, {"error": "you have reached your hourly limit"}, {"Retry-After": "1"}),
    "locked": (401, {"error": "unauthorized"}, {}),
    "overflow": (400, {"error": json.dumps(OVERFLOW)}, {}),
    "crash": (500, {"error": "llama-server process has terminated: signal: killed"}, {}),
    "no-tools":
    (400, {"error": "registry.ollama.ai/library/no-tools:latest does not support tools"}, {}),
    "no-think": (400, {"error": '"no-think" does not support thinking'}, {}),
}
MODELS = ("words-50", "words-500@50", "slow", "echo", "think", "tools")
LAYERS = (("aaaaaaaaaaaa", 1000), ("bbbbbbbbbbbb", 50))


class FakeOllama(FakeServer):
    """An Ollama whose models are scripts:

    words-N, words-N@R     N words, at R words a second
    slow                   600 words, ten a second
    echo                   the last user message
    think                  thinks two words, then five words;   inline-think: the same as
                           <think> tags in the content
    tools                  calls the first tool offered with {"q": "x"}; answers "result:
                           ..." after a tool result
    cut-N reset-N stall-N error-N   N words, then that
    missing busy limited locked overflow crash no-tools no-think forbidden    refused
    empty                  no words
    window-N strict-N      a window of N tokens (num_ctx changes it): the one drops the oldest
                           messages that do not fit and then the beginning of the last, the other
                           refuses where `truncate` is false. The answer lists what it saw.
    """

    def __init__(self, port: int = 0, models: Sequence[str] = MODELS, *, file: str = "") -> None:
        super().__init__(self._route, port, file=file)
        self.models = list(models)
        self.windows: dict[str, int] = {}  # of the models that were asked, as /api/ps tells them
        self.count_tokens: Callable[[str], int] = lambda text: len(text.encode()) // 4 + 4

    def __enter__(self) -> FakeOllama:
        self.start()
        return self

    def _route(self, request: Received) -> Answer:
        match request.method, request.path:
            case "POST", "/api/chat":
                return self._chat(request.json)
            case "GET", "/api/tags":
                return json_answer({"models": [_tag(name) for name in self.models]})
            case "GET", "/api/version":
                return json_answer({"version": "0.33.0"})
            case "GET", "/api/ps":
                loaded = self.windows or {self.models[0]: 4096}
                return json_answer(
                    {"models": [{**_tag(name), "context_length": window, "size_vram": 0,
                                 "expires_at": "2026-01-01T00:05:00Z"}
                                for name, window in loaded.items()]})
            case "POST", "/api/show":
                return self._show(request.json["model"])
            case "POST", "/api/pull":
                return self._pull(request.json["model"])
            case "DELETE", "/api/delete":
                return self._delete(request.json["model"])
        return text_answer("404 page not found", 404)

    def _chat(self, body: Mapping[str, Any]) -> Answer:
        model = str(body["model"]).removesuffix(":latest")
        refused = REFUSALS.get(model)
        if (refused and not (model == "no-tools" and not body.get("tools"))
            and not (model == "no-think" and not body.get("think"))):
            return json_answer(refused[1], refused[0], refused[2])
        if model == "forbidden":
            return Answer((), 403, framing="length")
        messages = body["messages"]
        if not messages:
            return json_answer({**done_line(model),
                                "done_reason": "unload" if body.get("keep_alive") == 0 else "load"})
        kind, _, rest = model.rpartition("-")
        number = rest.partition("@")[0]
        if kind in ("window", "strict") and number.isdigit():
            return self._windowed(model, int((body.get("options") or {}).get("num_ctx") or number),
                                  body)
        if kind in ("words", "cut", "reset", "stall", "error") and number.isdigit():
            return _words(model, kind, int(number), float(rest.partition("@")[2] or 0))
        special = {"slow": lambda: _words(model, "words", 600, 10),
                   "echo": lambda: _echo(model, messages),
                   "think": lambda: _think(model, body.get("think")),
                   "inline-think": lambda: _inline_think(model),
                   "tools": lambda: _tools(model, body),
                   "empty": lambda: lines_answer([done_line(model)]),
                   "no-tools": lambda: _words(model, "words", 5, 0),
                   "no-think": lambda: _words(model, "words", 5, 0)}
        if model in special:
            return special[model]()
        return json_answer({"error": f"model '{model}' not found"}, 404)

    def _windowed(self, model: str, window: int, body: Mapping[str, Any]) -> Answer:
        self.windows[model] = window
        messages = list(body["messages"])
        sizes = [self.count_tokens(str(message["content"])) for message in messages]
        if sum(sizes) > window and model.startswith("strict") and body.get("truncate") is False:
            return json_answer({"error": "the input length exceeds the context length"}, 400)
        while sum(sizes) > window and len(sizes) > 1:
            del sizes[0], messages[0]
        seen = sum(sizes) if sum(sizes) <= window else window // 2 + 2
        return lines_answer([chat_line(model, f"saw {len(messages)} messages, {seen} tokens"),
                             done_line(model, count=5, prompt_eval_count=seen)])

    def _show(self, model: str) -> Answer:
        if model not in self.models and model.removesuffix(":latest") not in self.models:
            return json_answer({"error": f"model '{model}' not found"}, 404)
        return json_answer({"modelfile": f"FROM {model}",
                            "parameters": "num_ctx                        8192\nstop    \"<end>\"",
                            "details": _tag(model)["details"],
                            "capabilities": ["completion", "tools"],
                            "model_info": {"general.architecture": "qwen2",
                                           "qwen2.context_length": 32768},
                            "modified_at": "2026-01-01T00:00:00Z"})

    def _pull(self, model: str) -> Answer:
        start = {"status": "pulling manifest"}
        if model in REFUSALS:
            return lines_answer([start, {"error": "pull model manifest: file does not exist"}])
        progress: list[dict[str, Any]] = [start]
        for digest, total in LAYERS:
            layer = {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total}
            progress += [layer, {**layer, "completed": total // 2}, {**layer, "completed": total}]
        progress += [{"status": "verifying sha256 digest"}, {"status": "writing manifest"},
                     {"status": "success"}]
        self.models.append(model)
        return lines_answer(progress)

    def _delete(self, model: str) -> Answer:
        if model not in self.models:
            return json_answer({"error": f"model '{model}' not found"}, 404)
        self.models.remove(model)
        return Answer((), framing="length")


def _tag(name: str) -> dict[str, Any]:
    full = name if ":" in name else name + ":latest"
    return {"name": full, "model": full, "modified_at": "2026-01-01T00:00:00Z", "size": 2_596_693,
            "digest": "b3c9f9",
            "details": {"parent_model": "", "format": "gguf", "family": "llama",
                        "families": ["llama"], "parameter_size": "1.24M",
                        "quantization_level": "F16", "context_length": 16384},
            "capabilities": ["completion", "tools"]}


def _words(model: str, kind: str, count: int, rate: float) -> Answer:
    lines: Iterable[Any] = (chat_line(model, fake_word(number)) for number in range(count))
    delay = 1 / rate if rate else 0.0
    match kind:
        case "cut":
            return lines_answer(lines, Cut(), delay=delay)
        case "reset":
            # unread data is lost at a RST
            return lines_answer(lines, Pause(0.05), Reset(), delay=delay)
        case "stall":
            return lines_answer(lines, Stall(), delay=delay)
        case "error":
            error = {"error": "an error was encountered while running the model: unexpected EOF"}
            return lines_answer([*lines, error], delay=delay)
    return lines_answer((line for part in (lines, (done_line(model, count=count),))
                         for line in part), delay=delay)


def _echo(model: str, messages: Sequence[Mapping[str, Any]]) -> Answer:
    last = next((str(message["content"])
                 for message in reversed(messages) if message["role"] == "user"), "")
    return lines_answer([*(chat_line(model, last[at:at + 8]) for at in range(0, len(last), 8)),
                         done_line(model)])


def _think(model: str, think: Any) -> Answer:
    thoughts = ([] if think is False
                else [chat_line(model, thinking="so "), chat_line(model, thinking="be it")])
    return lines_answer([*thoughts, *(chat_line(model, fake_word(number)) for number in range(5)),
                         done_line(model, count=7)])


def _inline_think(model: str) -> Answer:
    content = "<think>\nso be it\n</think>\n\n" + fake_words(5)
    return lines_answer(
        [*(chat_line(model, content[at:at + 3]) for at in range(0, len(content), 3)),
         done_line(model)])


def _tools(model: str, body: Mapping[str, Any]) -> Answer:
    last = body["messages"][-1]
    if last["role"] == "tool":
        return lines_answer([chat_line(model, "result: "), chat_line(model, last["content"]),
                             done_line(model)])
    if not body.get("tools"):
        return lines_answer([chat_line(model, "no tools"), done_line(model)])
    call = {"function": {"name": body["tools"][0]["function"]["name"], "arguments": {"q": "x"}}}
    return lines_answer([chat_line(model, tool_calls=[call]), done_line(model)])


def main(arguments: Sequence[str]) -> int:
    port = int(arguments[arguments.index("--port") + 1]) if "--port" in arguments else 0
    with FakeOllama(port) as server:
        print(server.url, flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
