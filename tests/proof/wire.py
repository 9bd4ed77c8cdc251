"""Answers split anywhere by a network: the text read is the text sent, and only a complete answer
is called complete.

Each stream is made up: dialect, words, size of its events, line ends, framing in HTTP, signs of
life between the events, where it is cut into pieces, where and how it ends. The oracle is the text
that it was made of. No socket is used, and no time passes (made_up_network.py).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from core.errors import ProviderError
from core.events import Delta, Finished, TextDelta, ToolCallDelta
from core.messages import user_message
from core.providers import Provider, Request
from tests.dialects import provider_at
from tests.faulty_proxy import ARGUMENTS, DIALECTS, TOOL, Wire, wire
from tests.proof.made_up_network import Arrival, Ending, MadeUpNetwork

HELLO = Request("test-model", (user_message("Hello"),))
WORDS = ("the ", "Straße ", "日本", "🙂", "👩‍🚀 ", "\n", "\n\n", "\r\n", "\t", "data: ", "[DONE]",
         "event: x\n", "{\"", "}\n", "\\", "\\u0000", "\"done\": true", "\u2028", "\x1b[2J", ": ",
         "id:", "e\u0301", "\ufeff", "</s>", "0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "5 < 6")
GAPS = (0.0, 0.0, 0.0, 0.001, 0.05)     # seconds between pieces; a frame of the screen is 0.017
ENDS: tuple[Ending, ...] = ("closed", "reset", "silent")
A_BATCH = 200


@dataclass(slots=True)
class Tally:
    streams: int = 0
    pieces: int = 0
    broken: int = 0
    characters: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer on its way. `least` and `whole` are the bytes of its body that come before its end
    is said, and all of them; `sent` of them arrive.
    """

    dialect: str
    text: str
    call: bool
    least: int
    whole: int
    sent: int
    arrival: Arrival


def split_streams(seed: int, count: int) -> Tally:
    """Read `count` streams; the same seed gives the same ones."""
    tally, loop = Tally(), MadeUpNetwork()
    try:
        for start in range(0, count, A_BATCH):
            numbers = range(start, min(start + A_BATCH, count))
            loop.run_until_complete(_read_all(loop, seed, numbers, tally))
    finally:
        loop.close()
    return tally


async def _read_all(loop: MadeUpNetwork, seed: int, numbers: Sequence[int], tally: Tally) -> None:
    providers = {dialect: provider_at(dialect, "http://127.0.0.1:9") for dialect in DIALECTS}
    for number in numbers:
        stream = made_up(random.Random(seed * 1_000_003 + number))
        loop.arrival = stream.arrival
        deltas, error = await _read(providers[stream.dialect])
        tally.streams += 1
        tally.pieces += len(stream.arrival.pieces)
        tally.broken += stream.sent < stream.whole
        tally.characters += len(stream.text)
        if fault := judged(stream, deltas, error):
            tally.faults.append(f"seed {seed}, stream {number}, {stream.dialect}: {fault}")
    for provider in providers.values():
        await provider.close()


async def _read(provider: Provider) -> tuple[list[Delta], Exception | None]:
    deltas: list[Delta] = []
    try:
        async with aclosing(provider.stream(HELLO)) as stream:
            async for delta in stream:
                deltas.append(delta)
    except Exception as error:
        return deltas, error
    return deltas, None


def judged(stream: Stream, deltas: Sequence[Delta], error: Exception | None) -> str:
    """What is wrong, or ""."""
    if error is not None and not isinstance(error, ProviderError):
        return f"{error!r}"
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    finished = bool(deltas) and isinstance(deltas[-1], Finished)
    if sum(isinstance(delta, Finished) for delta in deltas) != finished or (
            finished == (error is not None)):
        return f"its ends are {deltas[-3:]} and {error!r}"
    if not stream.text.startswith(text):
        return f"{text!r} was read of {stream.text!r}"
    if finished and (text != stream.text or _called(deltas) != stream.call):
        return f"{text!r} was called whole instead of {stream.text!r}"
    if finished and stream.sent <= stream.least:
        return f"it was called whole after {stream.sent} of {stream.whole} bytes"
    if not finished and stream.sent == stream.whole:
        return f"it came whole, and {error!r} was raised"
    return ""


def _called(deltas: Sequence[Delta]) -> bool:
    """Whether the tool was called, with all of its arguments."""
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    written = "".join(delta.arguments for delta in calls)
    return ("".join(delta.name for delta in calls) == TOOL and json.loads(written) == ARGUMENTS
            if calls else False)


# ---- made up

def made_up(chance: random.Random) -> Stream:
    dialect, call = chance.choice(DIALECTS), chance.random() < 0.3
    text = "".join(chance.choices(WORDS, k=chance.choice((1, 2, 6))))
    made = wire(dialect, text, call=call, piece=chance.choice((1, 5, 40)))
    end = chance.choice(("\n", "\n", "\r\n", "\r")) if dialect != "ollama" else "\n"
    events = [event.replace(b"\n", end.encode()) for event in _with_signs(made, chance)]
    tail = sum(len(event.replace(b"\n", end.encode())) for event in made.tail)
    body = b"".join(events)
    broken = chance.random() < 0.4
    sent = chance.randrange(len(body)) if broken else len(body)
    framing = chance.choice(("chunked", "counted", "closing"))
    ending = chance.choice(ENDS) if broken or framing == "chunked" else "closed"
    raw = _framed(body[:sent], len(body), framing, chance, unbroken=not broken)
    return Stream(dialect, text, call, len(body) - tail, len(body), sent,
                  Arrival(list(_pieces(raw, chance)), ending))


def _with_signs(made: Wire, chance: random.Random) -> Iterator[bytes]:
    """The events, with keep-alives between them, but not after the first event of the tail."""
    often = chance.choice((0.0, 0.0, 0.3))
    for event in (*made.head, *made.texts, *made.call):
        yield event
        if chance.random() < often:
            yield made.ping
    yield from made.tail


def _framed(body: bytes, length: int, framing: str, chance: random.Random, *,
            unbroken: bool) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    if framing == "counted":
        return f"{head}content-length: {length}\r\n\r\n".encode() + body
    if framing == "closing":
        return f"{head}connection: close\r\n\r\n".encode() + body
    chunks, at = [f"{head}transfer-encoding: chunked\r\n\r\n".encode()], 0
    while at < len(body):
        size = chance.choice((1, 17, 400, len(body)))
        piece = body[at:at + size]
        chunks.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    return b"".join(chunks) + (b"0\r\n\r\n" if unbroken else b"")


def _pieces(raw: bytes, chance: random.Random) -> Iterator[tuple[float, bytes]]:
    """Usually split in a few places, sometimes at every byte."""
    if chance.random() < 0.003:
        cuts = list(range(1, len(raw)))
    else:
        cuts = sorted({chance.randrange(1, len(raw)) for _ in range(chance.choice((0, 1, 2, 8)))})
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        yield chance.choice(GAPS), raw[start:end]
