"""Measures the page's server under load: many streams at once, and what /v1 adds to the provider.

    python -m bench.web_bench load [STREAMS [RATE [SECONDS]]]     200 streams of 50 tokens
                                                                  a second, for 20 seconds
    python -m bench.web_bench overhead [GATEWAY ...]              /v1 beside the bare provider and
                                                                  other gateways: the address of
                                                                  their /v1, or the program of
                                                                  LiteLLM's proxy

The provider writes into each token when it was sent. Provider, server and browsers are three
processes of this machine, so the times hold only while nothing else runs; the processor time of
the server holds always.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.cookiejar import Cookie
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from tests.web.page_server import PageServer, free_port

WARM_UP = 3.0           # seconds at the beginning that are not counted
TOKENS = 2_000         # of a stream through /v1
ROUNDS = 20
STARTING = 180.0        # seconds in which another gateway has to start
BETWEEN = 0.1           # seconds between two other requests
TOKEN = "token"         # of programs
_SENT = re.compile(rb"@(\d+\.\d+)@")
_TICK = os.sysconf("SC_CLK_TCK")
_WORDS = [b"%b%b" % (start, end) for start in b"mo te ri so la ke du na pi vo ha se".split()
          for end in b"lan mer tin sol rak den pur nov wis gel fam bor kyl".split()]
_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n")


# ---- the provider

async def _provide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks Ollama's and OpenAI's form; the model's name is tokens@rate."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(found[1])) if found else b""
            await _answer(writer, head.split(b" ", 2)[1].decode(), json.loads(body or b"{}"))
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


async def _answer(writer: asyncio.StreamWriter, path: str, asked: dict[str, str]) -> None:
    model = asked.get("model", "")
    if path == "/api/chat":
        await _stream(writer, model, b"application/x-ndjson", _ollama_frame, _ollama_end(model))
    elif path == "/v1/chat/completions":
        await _stream(writer, model, b"text/event-stream", _openai_frame, _OPENAI_END)
    else:
        listed = [{"name": "100@50", "model": "100@50", "id": "100@50"}]
        answer = json.dumps({"models": listed, "data": listed, "version": "0.33.0",
                             "capabilities": ["completion"],
                             "model_info": {}, "details": {}}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                     b"\r\n%b"
                     % (len(answer), answer))


async def _stream(writer: asyncio.StreamWriter, model: str, media: bytes,
                  frame: Callable[[bytes], bytes], end: bytes) -> None:
    count, _, rate = model.rpartition("/")[2].partition("@")
    pause = 1 / float(rate) if rate and float(rate) else 0.0
    begun = time.monotonic()
    writer.write(_HEAD % media)
    for number in range(int(count)):
        if pause:
            await asyncio.sleep(begun + number * pause - time.monotonic())
        if writer.is_closing():
            return
        line = frame(b"@%.6f@ %b " % (time.monotonic(), _WORDS[number % len(_WORDS)]))
        writer.write(b"%x\r\n%b\r\n" % (len(line), line))
    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))
    await writer.drain()


def _ollama_frame(word: bytes) -> bytes:
    return (b'{"model":"m","created_at":"2026-01-01T00:00:00Z",'
            b'"message":{"role":"assistant","content":"%b"},"done":false}\n' % word)


def _ollama_end(model: str) -> bytes:
    return json.dumps({"model": model, "created_at": "2026-01-01T00:00:00Z",
                       "message": {"role": "assistant", "content": ""},
                       "done": True, "done_reason": "stop", "prompt_eval_count": 5,
                       "eval_count": 5}).encode() + b"\n"


def _openai_frame(word: bytes) -> bytes:
    return (b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
            b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % word)


_OPENAI_END = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


async def provide() -> None:
    server = await asyncio.start_server(_provide, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def provider() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "bench.web_bench", "provider"],
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@contextmanager
def serving(model: str, provider_url: str) -> Iterator[PageServer]:
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
                       "OLLAMA_HOST": provider_url,
                       "STREAM_CHAT_WEB_TOKEN": TOKEN}
        with PageServer(environment, "-m", model) as server:
            yield server


# ---- many streams

class Load:
    """The streams of all tabs, and the delay of each token."""

    def __init__(self, port: int, cookies: Iterable[Cookie], pid: int) -> None:
        self._port, self._pid = port, pid
        shown = "; ".join(f"{each.name}={each.value}" for each in cookies)
        self._head = f"host: 127.0.0.1:{port}\r\ncookie: {shown}\r\nx-stream-chat: page\r\n"
        self._tabs: list[asyncio.Task[None]] = []
        self.late: list[float] = []
        self.others: list[float] = []
        self.counting = False
        self.seen: dict[str, set[bytes]] | None = None    # the tokens of each session, if kept
        self.processor = 0.0     # seconds that the server used while it was counted

    async def run(self, streams: int, seconds: float) -> None:
        sessions = [(await self.request("POST", "/api/sessions"))["id"] for _ in range(streams)]
        await asyncio.gather(*map(self.follow, sessions))
        for session in sessions:
            await self.request("POST", f"/api/sessions/{session}/messages",
                               {"key": session, "text": "go"})
        await asyncio.sleep(WARM_UP)
        self.counting, begun = True, processor_of(self._pid)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.ask_others(f"/api/sessions/{sessions[0]}")
        self.counting, self.processor = False, processor_of(self._pid) - begun
        for tab in self._tabs:
            tab.cancel()

    async def ask_others(self, *more: str) -> None:
        """Other requests during the streams."""
        for path in ("/api/sessions?shelf=open", "/api/start", *more):
            asked = time.monotonic()
            await self.request("GET", path)
            self.others.append(time.monotonic() - asked)
        await asyncio.sleep(BETWEEN)

    async def follow(self, session: str) -> None:
        """Open a tab; return when it listens."""
        ready = asyncio.Event()
        self._tabs.append(asyncio.create_task(self._listen(session, ready)))
        await ready.wait()

    async def _listen(self, session: str, ready: asyncio.Event) -> None:
        """One tab: the time of each token from the provider to its event."""
        reader, writer = await self.events(session)
        ready.set()
        while data := await reader.read(65_536):
            if self.counting:
                now, found = time.monotonic(), set(_SENT.findall(data))
                self.late += [now - float(sent) for sent in found]
                if self.seen is not None:
                    self.seen.setdefault(session, set()).update(found)
        writer.close()

    async def events(self, session: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection of a tab that listens to a session."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        place = (await self.request("GET", f"/api/sessions/{session}"))["place"]
        writer.write(f"GET /api/sessions/{session}/events?after={place} HTTP/1.1\r\n"
                     f"{self._head}\r\n".encode())
        await reader.readuntil(b"connected")
        return reader, writer

    async def request(self, method: str, path: str, body: object = None) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        data = json.dumps(body or {}).encode()
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}content-type: application/json\r\n"
                     "connection: close\r\n"
                     f"content-length: {len(data)}\r\n\r\n".encode() + data)
        answer = await reader.read(-1)
        assert answer.startswith(b"HTTP/1.1 20"), answer[:300]
        writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def load(streams: int = 200, rate: int = 50, seconds: int = 20) -> None:
    with provider() as url, serving(f"{rate * (seconds + 40)}@{rate}", url) as server:
        measured = Load(server.port, server.client.cookies, server.process.pid)
        before = memory_of(server.process.pid)
        asyncio.run(measured.run(streams, seconds))
        grown, late = memory_of(server.process.pid) - before, measured.late
        print(f"{streams} streams of {rate} tokens a second: {len(late) / seconds:,.0f} tokens a "
              "second arrived")
        print(f"from the provider to the event: {spread(late)}")
        print(f"other requests: {spread(measured.others)}")
        print(f"the server: {measured.processor / seconds:.0%} of a processor, "
              f"{measured.processor / len(late) * 1e6:.0f} µs a token, {grown / streams / 1e6:.2f} "
              "MB a stream")


def spread(seconds: Sequence[float]) -> str:
    parts = statistics.quantiles(seconds, n=100)
    return (f"median {parts[49] * 1e3:.1f} ms, p99 {parts[98] * 1e3:.1f} ms, worst "
            f"{max(seconds) * 1e3:.1f} ms")


def processor_of(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory_of(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- what /v1 adds

@dataclass(frozen=True, slots=True)
class Gateway:
    """A server of OpenAI's API; `pid` is 0 if its processor time is not known."""

    address: str
    model: str
    pid: int = 0
    session: str = "off"
    key: str = TOKEN


def overhead(*others: str) -> None:
    """The same stream from the provider itself, from /v1, and from other gateways, one after the
    other in each round. An other gateway is an address, or the program of LiteLLM's proxy.
    """
    with provider() as url, serving("100@0", url) as server, ExitStack() as started:
        ours, pid = f"{server.url}/v1", server.process.pid
        gateways = {"provider": Gateway(f"{url}/v1", ""),
                    "/v1": Gateway(ours, "ollama/", pid, "new"),
                    "/v1, not saved": Gateway(ours, "ollama/", pid)}
        for other in others:
            gateways[os.path.basename(other)] = (
                Gateway(other, "openai/") if "://" in other
                else started.enter_context(litellm(other, f"{url}/v1")))
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in gateways}
        for number in range(ROUNDS + 1):
            for name, gateway in gateways.items():
                start, whole, count = asyncio.run(_timed(gateway, TOKENS))
                if number:      # the first round loads modules
                    taken[name].append((start, (whole - start) / count))
        for name, rounds in taken.items():
            first, each = zip(*rounds)
            print(f"{name}: first token {statistics.median(first) * 1e3:.1f} ms, "
                  f"then {statistics.median(each) * 1e6:.1f} µs a token")
        for name, gateway in gateways.items():
            if gateway.pid:
                request, token = spent(gateway)
                print(f"processor time of {name}: {request * 1e3:.1f} ms a request, "
                      f"{token * 1e6:.1f} µs a token")


@contextmanager
def litellm(program: str, provider_url: str) -> Iterator[Gateway]:
    """LiteLLM's proxy in front of the provider, without a database and without the network."""
    with tempfile.TemporaryDirectory() as home:
        port, config, key = free_port(), os.path.join(home, "config.yaml"), f"sk-{token_hex(32)}"
        models = [{"model_name": "openai/*", "litellm_params": {
            "model": "openai/*", "api_base": provider_url, "api_key": "none"}}]
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"model_list": models, "litellm_settings": {"telemetry": False}}, file)
        with subprocess.Popen(
                [program, "--config", config, "--host", "127.0.0.1", "--port", str(port)],
                env={"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
                     "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
                     "LITELLM_MASTER_KEY": key},
                cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for(port, process)
                yield Gateway(f"http://127.0.0.1:{port}/v1", "openai/", process.pid, key=key)
            finally:
                process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTING
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("The gateway does not start.")


def spent(gateway: Gateway) -> tuple[float, float]:
    """A gateway's processor time for a request, and for each token after the first ones."""
    begun = processor_of(gateway.pid)
    for _ in range(ROUNDS):
        asyncio.run(_timed(gateway, 2))
    request = (processor_of(gateway.pid) - begun) / ROUNDS
    for _ in range(ROUNDS):
        asyncio.run(_timed(gateway, TOKENS))
    whole = (processor_of(gateway.pid) - begun) / ROUNDS - request
    return request, (whole - request) / TOKENS


async def _timed(gateway: Gateway, tokens: int) -> tuple[float, float, int]:
    """Seconds to the first token and to the end of a stream, and its tokens."""
    parts = urlsplit(gateway.address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    body = json.dumps({"model": f"{gateway.model}{tokens}@0", "stream": True,
                       "messages": [{"role": "user", "content": "go"}]}).encode()
    begun = time.monotonic()
    writer.write(f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\n"
                 f"authorization: Bearer {gateway.key}\r\n"
                 f"x-stream-chat-session: {gateway.session}\r\ncontent-type: application/json\r\n"
                 "connection: close\r\n"
                 f"content-length: {len(body)}\r\n\r\n".encode() + body)
    first, data = 0.0, b""
    while b"[DONE]" not in data[-400:]:
        piece = await reader.read(65_536)
        if not piece:
            raise AssertionError(data[-500:])
        data += piece
        first = first or (time.monotonic() - begun if _SENT.search(data) else 0.0)
    writer.close()
    return first, time.monotonic() - begun, len(_SENT.findall(data))


def main() -> None:
    what, *given = sys.argv[1:] or ["load"]
    if what == "provider":
        asyncio.run(provide())
    elif what == "load":
        load(*map(int, given))
    else:
        overhead(*given)


if __name__ == "__main__":
    main()
