"""Servers that store their answers and lose connections: llama.cpp's server, OpenAI's background
mode.

Each counts the tokens that it generates. An answer is generated once and completely, whether or not
a client listens; what is sent of it ends at a random byte.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.dialects import server_events
from tests.fake_server import Answer, Cut, Pause, Received, Reset, Stall, Step, json_answer
from tests.faulty_proxy import TEXT, said_already, wire

SIZES = (1, 3, 40, 500, 5_000)      # bytes in one send


class KeptAnswers:
    """A script of FakeServer. `cuts` connections will still be lost; `written` counts tokens."""

    type = "text/event-stream"

    def __init__(self, chance: random.Random, cuts: int = 0) -> None:
        self.chance, self.cuts = chance, cuts
        self.written, self.asked, self.left = 0, 0, list[str]()
        self.lost = 0
        self.kept: dict[str, list[bytes]] = {}

    def __call__(self, request: Received) -> Answer:
        raise NotImplementedError

    def write(self, name: str, events: Iterable[bytes], tokens: int) -> list[bytes]:
        self.kept[name] = list(events)
        self.written += tokens
        self.asked += 1
        return self.kept[name]

    def part(self, data: bytes) -> Answer:
        """Send all of it or a random part, sometimes not even a status line."""
        if not self.cuts:
            return Answer(list(self._sends(data)), content_type=self.type)
        self.cuts -= 1
        self.lost += 1
        if self.chance.random() < 0.1:
            return Answer([self.chance.choice((Cut(), Reset()))], framing="raw")
        some = data[:self.chance.randrange(len(data) + 1)]
        framing = self.chance.choice(("chunked", "close"))
        end: Step = Stall() if self.chance.random() < 0.03 else self.chance.choice((Cut(), Reset()))
        steps = [*self._sends(some), Pause(0.001), end]
        return Answer(steps, content_type=self.type, framing=framing)

    def _sends(self, data: bytes) -> Iterable[Step]:
        size = self.chance.choice(SIZES)
        return (data[at:at + size] for at in range(0, len(data), size))


class LlamaServer(KeptAnswers):
    """llama.cpp's server; `old` has the ID in the path, as in its first versions that store
    answers.
    """

    def __init__(self, chance: random.Random, cuts: int = 0, *, old: bool = False,
                 forgets: bool = False) -> None:
        super().__init__(chance, cuts)
        self.old, self.forgets = old, forgets

    def __call__(self, request: Received) -> Answer:
        parts = urlsplit(request.path)
        if request.method == "POST":
            return self._chat(request)
        query = parse_qs(parts.query)
        name = parts.path.rpartition("/")[2] if self.old else query.get("conv_id", [""])[0]
        if self.forgets or name not in self.kept or self.old != (parts.path != "/stream"):
            return json_answer({"error": {"code": 404, "message": "Stream not found"}}, 404)
        if request.method == "DELETE":
            self.left.append(name)
            return Answer([], 200, framing="length")
        return self.part(b"".join(self.kept[name])[int(query["from"][0]):])

    def _chat(self, request: Received) -> Answer:
        made = wire("openai", TEXT[said_already(request):])
        name = request.headers.get("x-conversation-id", "")
        return self.part(b"".join(self.write(name, made.events, len(made.texts))))


class BackgroundServer(KeptAnswers):
    """OpenAI's Responses in background mode.

    With `streams` a stream can be resumed; otherwise the answer is complete after `polls` requests.
    """

    def __init__(self, chance: random.Random, cuts: int = 0, *, streams: bool = True,
                 polls: int = 2) -> None:
        super().__init__(chance, cuts)
        self.streams, self.polls = streams, polls

    def __call__(self, request: Received) -> Answer:
        parts = urlsplit(request.path)
        name = parts.path.split("/")[2] if parts.path.count("/") > 1 else ""
        query = parse_qs(parts.query)
        if request.method == "POST" and not name:
            return self._create(request)
        if request.method in ("POST", "DELETE"):
            self.left.append(f"{request.method} {parts.path.partition(name)[2]}".strip())
            return json_answer({"id": name, "deleted": True})
        if "stream" not in query:
            return self._whole(name)
        if not self.streams:
            words = "This response can no longer be streamed because it is more than 5 minutes old."
            return json_answer({"error": {"message": words, "type": "invalid_request_error"}}, 400)
        after = int(query.get("starting_after", ["-1"])[0])
        return self.part(b"".join(self.kept[name][after + 1:]))

    def _create(self, request: Received) -> Answer:
        body, made = request.json, wire("openai-responses", TEXT[said_already(request):])
        assert body["background"] is True and body["store"] is True and body["stream"] is True
        name = f"resp_{self.asked}"
        payloads = [json.loads(event.partition(b"data: ")[2]) for event in made.events]
        for number, payload in enumerate(payloads):
            payload["sequence_number"] = number
            if "response" in payload:
                payload["response"]["id"] = name
        events = (server_events([each], named=True) for each in payloads)
        return self.part(b"".join(self.write(name, events, len(made.texts))))

    def _whole(self, name: str) -> Answer:
        self.polls -= 1
        if self.polls >= 0:
            begun = {"object": "response", "id": name, "status": "in_progress", "output": []}
            return json_answer(begun)
        last: dict[str, Any] = json.loads(self.kept[name][-1].partition(b"data: ")[2])
        return json_answer({"object": "response", **last["response"]})
