"""A fake Ollama server that is never the bottleneck: every frame of a reply is made before the
first is sent.

The model's name is the order: KIND-TOKENS, or KIND-TOKENS@RATE for RATE tokens a second; the kind
`numbers` is one number after another, so that each token can be found on a screen. With +300 at
the end, the reply begins after 300 milliseconds. Every
reply starts with FIRST and ends with LAST, so that a screen can be watched for them. Times are
CLOCK_MONOTONIC seconds, as in every process here.

    python -m bench.server      prints its port and serves until its standard input ends
"""

from __future__ import annotations

import functools
import json
import random
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

FIRST, LAST = "firstword", "lastword"
KINDS = ("mixed", "code", "para", "list", "table", "cjk")
CHARS_PER_TOKEN = 4
CHARS_PER_CJK_TOKEN = 2
PIECE = 65_536            # bytes handed to the kernel at a time when there is no rate

_WORDS = ("a model writes its answer as tokens and every token is shown when it comes while the "
          "terminal keeps what was said before so that nobody reads the same line twice or waits "
          "for a table to end").split()
_CODE = '''class Reply:
    """Collects what a stream brings."""

    def __init__(self, limit: int = 4096) -> None:
        self.parts: list[str] = []   # joined once, at the end
        self.limit = limit

    def add(self, text: str) -> bool:
        if len(text) + sum(map(len, self.parts)) > self.limit:
            raise ValueError(f"more than {self.limit} characters")
        self.parts.append(text)
        return text.endswith("\\n")

'''
_CJK = "终端里的回答一边生成一边显示并且保存下来以后还能找到"


@dataclass(slots=True)
class Exchange:
    """The times when one reply was requested and sent."""

    model: str
    asked: float
    first_sent: float = 0.0
    last_sent: float = 0.0
    ended: float = 0.0
    whole: bool = False
    sent: list[float] = field(default_factory=list)     # when each token was, at a rate


# ---- documents

def _sentence(chance: random.Random) -> str:
    words = chance.choices(_WORDS, k=chance.randint(6, 16))
    place = chance.randrange(len(words))
    words[place] = chance.choice(
        ("{}", "**{}**", "*{}*", "`{}`", "[{}](https://example.org/page)")).format(words[place])
    return " ".join(words).capitalize() + "."


def _row(chance: random.Random) -> str:
    return (f"| {chance.choice(_WORDS)} | {chance.randint(1, 99_999)} | `{chance.choice(_WORDS)}` "
            f"{chance.choice(_WORDS)} |\n")


def _section(chance: random.Random) -> str:
    items = "".join(f"- {_sentence(chance)}\n" for _ in range(4))
    rows = "".join(_row(chance) for _ in range(5))
    return (f"## {' '.join(chance.choices(_WORDS, k=3))}\n\n{_sentence(chance)} "
            f"{_sentence(chance)}\n\n{items}\n```python\n{_CODE}```\n\n| word | number | more |\n"
            f"|---|---:|:---|\n{rows}\n> {_sentence(chance)}\n\n")


def _block(kind: str, chance: random.Random) -> str:
    match kind:
        case "mixed":
            return _section(chance)
        case "code":
            return _CODE
        case "para":
            return _sentence(chance) + " "
        case "list":
            return f"- {_sentence(chance)}\n"
        case "table":
            return _row(chance)
        case "cjk":
            return "".join(chance.choices(_CJK, k=chance.randint(20, 80))) + "。\n\n"
    raise ValueError(f"no such kind of document: {kind}")


def document(kind: str, tokens: int) -> list[str]:
    """Exactly `tokens` tokens of Markdown; the same for every run."""
    if kind == "numbers":
        return [FIRST, "\n\n", *map(number_of, range(tokens - 4)), "\n\n", LAST]
    chance = random.Random(1)
    size = CHARS_PER_CJK_TOKEN if kind == "cjk" else CHARS_PER_TOKEN
    start = {"code": "```python\n",
             "table": "| word | number | more |\n|---|---:|:---|\n"}.get(kind, "")
    end = "\n```\n\n" if kind == "code" else "\n\n"
    middle = max(0, tokens - 4)
    text = start
    while len(text) < middle * size:
        text += "".join(_block(kind, chance) for _ in range(50))
    if kind == "mixed":
        text = _close_fence(text[:middle * size])
    pieces = [text[place * size:(place + 1) * size] for place in range(middle)]
    return ([FIRST, "\n\n", *pieces, end, LAST] if tokens >= 4
            else [FIRST, " ", LAST])[:max(tokens, 3)]


def number_of(token: int) -> str:
    """The text of this token in a reply of numbers."""
    return f"n{token:05d} "


def _close_fence(text: str) -> str:
    """End an open code block: the last characters become its fence."""
    return (text if text.count("```") % 2 == 0
            else text[:-5].rstrip("`") .ljust(len(text) - 5) + "\n```\n")


@functools.lru_cache(maxsize=64)
def frames(model: str) -> tuple[bytes, ...]:
    """The reply as HTTP chunks, one per token as Ollama sends them, then its end."""
    words = document(*_order(model))
    said = [{"model": model, "created_at": "2026-01-01T00:00:00Z",
             "message": {"role": "assistant", "content": word}, "done": False}
            for word in words]
    end = {"model": model, "created_at": "2026-01-01T00:00:00Z",
           "message": {"role": "assistant", "content": ""}, "done": True,
           "done_reason": "stop", "total_duration": 1, "prompt_eval_count": 5,
           "eval_count": len(words)}
    lines = [json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in (*said, end)]
    return (*(b"%x\r\n%b\r\n" % (len(line), line) for line in lines), b"0\r\n\r\n")


# ---- the server

class Server:
    """Answers each connection in a separate thread.

    The times of the replies are at /bench/exchanges.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self.exchanges: list[Exchange] = []

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while request := _read_request(connection):
                    self._route(connection, *request)
            except OSError:
                return

    def _route(self, connection: socket.socket, path: str, body: bytes) -> None:
        match path:
            case "/api/chat":
                self._chat(connection, str(json.loads(body)["model"]))
            case "/api/tags":
                _send_json(connection,
                           {"models": [{"name": "mixed-50", "model": "mixed-50", "size": 1}]})
            case "/api/version":
                _send_json(connection, {"version": "0.12.6"})
            case "/api/show":
                _send_json(connection,
                           {"capabilities": ["completion"], "model_info": {}, "details": {}})
            case "/bench/exchanges":
                _send_json(connection, [asdict(exchange) for exchange in self.exchanges])
            case "/bench/text":
                _send_json(connection,
                           {"bytes":
                            len("".join(document(*_order(json.loads(body)["model"]))).encode())})
            case _:
                _send_json(connection, {"error": "no such path"}, b"404 Not Found")

    def _chat(self, connection: socket.socket, model: str) -> None:
        exchange = Exchange(model, time.monotonic())
        self.exchanges.append(exchange)
        pieces = frames(model)
        order, _, pause = model.partition("+")
        rate = float(order.partition("@")[2] or 0)
        time.sleep(float(pause or 0) / 1e3)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
        exchange.first_sent = time.monotonic()
        try:
            if rate:
                _send_paced(connection, pieces, rate, exchange.sent)
            else:
                _send_at_once(connection, pieces)
            exchange.whole = True
        finally:
            exchange.last_sent = exchange.ended = time.monotonic()


def _order(model: str) -> tuple[str, int]:
    kind, _, tokens = model.partition("+")[0].partition("@")[0].partition("-")
    return kind, int(tokens)


def _send_at_once(connection: socket.socket, pieces: tuple[bytes, ...]) -> None:
    whole = b"".join(pieces)
    for start in range(0, len(whole), PIECE):
        connection.sendall(whole[start:start + PIECE])


def _send_paced(connection: socket.socket, pieces: tuple[bytes, ...], rate: float,
                sent: list[float]) -> None:
    """Send each token at its time, recorded in `sent`; the last ones (end of the reply, end of the
    body) together.
    """
    begun = time.monotonic()
    for number, piece in enumerate(pieces[:-2]):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        sent.append(time.monotonic())
        connection.sendall(piece)
    connection.sendall(b"".join(pieces[-2:]))


def _read_request(connection: socket.socket) -> tuple[str, bytes] | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.partition(b":")[2]) for line in head.split(b"\r\n")
                   if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return head.split(b" ", 2)[1].decode(), body


def _send_json(connection: socket.socket, value: object, status: bytes = b"200 OK") -> None:
    content = json.dumps(value).encode()
    connection.sendall(b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                       b"\r\n%b"
                       % (status, len(content), content))


def main() -> None:
    server = Server()
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
