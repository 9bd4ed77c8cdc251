"""Endless responses of a server take at most 200 MB, and the program ends by itself."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fake_server import Answer, FakeServer, Received, json_answer

SIZE = 24 << 20          # characters that the server would send
MOST_MEMORY = 200        # MB
CHANCE = random.Random(7)
WORDS = [f"{CHANCE.getrandbits(CHANCE.randint(8, 40)):x}" for _ in range(9_000)]
TEXT = " ".join(WORDS)
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'


def event(**delta: Any) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]}, ensure_ascii=False)}\n\n".encode()


def tool_call(number: int, arguments: str) -> dict[str, Any]:
    return {"index": number, "id": f"c{number}",
            "function": {"name": "calculate", "arguments": arguments}}


def calls() -> list[bytes]:
    return [event(
        tool_calls=[tool_call(number * 50 + place,
                              json.dumps({"expression": f"{number}+{place}+{WORDS[number]}"}))
                    for place in range(50)]) for number in range(400)]


STREAMS: dict[str, Callable[[], list[bytes]]] = {
    "text": lambda: [event(content=TEXT)] * (SIZE // len(TEXT)),
    "text of wide characters": lambda:
    [event(content=TEXT.replace("a", "😀"))] * (SIZE // len(TEXT)),
    "thinking": lambda: [event(reasoning_content=TEXT)] * (SIZE // len(TEXT)),
    "one event": lambda: [event(content="x" * SIZE)],
    "one call": lambda: [event(tool_calls=[tool_call(0, json.dumps({"expression": "1" * SIZE}))])],
    "a call in pieces": lambda: [event(tool_calls=[tool_call(0, TEXT)])] * (SIZE // len(TEXT)),
    "many calls": calls,
    "dense JSON": lambda: [b'data: {"choices":[' + b"{}," * (SIZE // 3) + b"{}]}\n\n"],
    "a line without an end": lambda: [b"x" * 65_536] * (SIZE // 65_536),
}


def peak_and_output(command: list[str], environment: dict[str, str]) -> tuple[int, int, str]:
    """(peak memory in MB, exit code, output)."""
    started = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, encoding="utf-8")
    status, peak = Path(f"/proc/{started.pid}/status"), 0
    while started.poll() is None:
        found = [line.split()[1] for line in status.read_text().splitlines()
                 if line.startswith("VmHWM")]
        peak = max(peak, *map(int, found), 0)
        time.sleep(0.01)
    assert started.stderr is not None
    with started.stderr as said:
        return peak >> 10, started.returncode, said.read()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", STREAMS)
def test_a_reply_without_end(kind: str, program: list[str], environment: dict[str, str]) -> None:
    answer = Answer([*STREAMS[kind](), END], content_type="text/event-stream")
    with FakeServer(answer) as server:
        peak, code, said = peak_and_output(
            [*program, "--provider", "openai", "--base-url", server.url, "-m", "m",
             "--experimental",
             "--retry-max-attempts", "1", "hello"], {**environment, "OPENAI_API_KEY": "k"})
    assert code in (1, 3) and "Traceback" not in said, said[-500:]
    assert ("Stopped: " in said or "sent more data at once" in said
            or "did not respond like" in said), said[-500:]
    assert peak < MOST_MEMORY


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", ["many", "dense", "an error"])
def test_a_list_of_models_without_end(kind: str, program: list[str],
                                      environment: dict[str, str]) -> None:
    body = {"many": lambda: b",".join(b'{"id":"model-%d"}' % number for number in range(1_000_000)),
            "dense": lambda: b"{}," * (SIZE // 3) + b"{}",
            "an error": lambda: b'"' + b"x" * SIZE + b'"'}[kind]()

    def answer(request: Received) -> Answer:
        if kind == "an error":
            return Answer([b'{"error":{"message":' + body + b"}}"], 400)
        return (Answer([b'{"data":[' + body + b"]}"]) if request.path.endswith("/models")
                else json_answer({}))
    with FakeServer(answer) as server:
        peak, code, said = peak_and_output(
            [*program, "--provider", "openai", "--base-url", server.url, "--list-models"],
            {**environment, "OPENAI_API_KEY": "k"})
    assert code == 0 and "Traceback" not in said, said[-500:]
    assert peak < MOST_MEMORY
