"""Measures the forecasts of waits: prompts of random length, read by the embedded engine.

    python -m bench.forecasts [--runs 200] [--seed N]

Each prompt is new, so that nothing of it is in a cache. Two forecasts are taken of each: before the
first token is read, from the runs before it, and when a third has been read, of the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import tempfile
import time
from collections.abc import Sequence

from core.engine.tiny import write_tiny_model
from core.events import Reading, is_content
from core.messages import user_message
from core.providers import Endpoint, Options, Request
from core.providers.local import Local
from core.models.forecast import LEAST_SAMPLES, SURE, Span, left_to_read
from core.store.rows import CallRow

WINDOW = 16_384
SIZES = (200, 1_500)      # numbers in a prompt, about seven tokens each
NEAR = 0.25


class Tally:
    """What became of forecasts of one kind."""

    def __init__(self) -> None:
        self.about: list[bool] = []      # of one number: within 25 %
        self.spans: list[bool] = []      # of two: between them

    def note(self, span: Span | None, seconds: float) -> None:
        if span is None:
            return
        sure = span.high <= span.likely * SURE and span.low * SURE >= span.likely
        if sure:
            self.about.append(abs(span.likely - seconds) <= NEAR * seconds)
        else:
            self.spans.append(span.low <= seconds <= span.high)

    def line(self, name: str) -> str:
        return f"{name}: {_share(self.about, 'given as one number, of which within 25 %')}; " \
               f"{_share(self.spans, 'given as a span, of which within it')}"


def _share(right: Sequence[bool], what: str) -> str:
    part = f" {100 * sum(right) / len(right):.0f} %" if right else " none"
    return f"{len(right)} {what}{part}"


async def run(runs: int, seed: int) -> None:
    chance, calls = random.Random(seed), list[CallRow]()
    before, during = Tally(), Tally()
    with tempfile.TemporaryDirectory() as directory:
        model = os.path.join(directory, "tiny.gguf")
        write_tiny_model(model)
        quirks = {"model_directory": directory, "threads": 1}
        local = Local(Endpoint("", host="local", quirks=quirks))
        try:
            for number in range(runs + LEAST_SAMPLES):
                await _one(local, model, chance, calls, before, during)
                if number % 20 == 0:
                    print(f"{number} of {runs}", flush=True)
        finally:
            await local.close()
    print(f"seed {seed}, {runs} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(before.line("before the first token"))
    print(during.line("after a third of the prompt"))


async def _one(local: Local, model: str, chance: random.Random, calls: list[CallRow],
               before: Tally, during: Tally) -> None:
    words = " ".join(f"{chance.randrange(10 ** 6)}" for _ in range(chance.randint(*SIZES)))
    options = Options(max_tokens=2, num_ctx=WINDOW)
    request = Request(model, (user_message(words),), None, (), options)
    read: list[Reading] = []
    started, first, forecasts = time.monotonic(), 0.0, list[tuple[Tally, Span | None, float]]()
    async with contextlib.aclosing(local.stream(request)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Reading):
                read.append(delta)
                if len(read) == 1:
                    forecasts.append((before, left_to_read(read, calls), time.monotonic()))
                elif len(forecasts) == 1 and 3 * delta.done >= delta.total > delta.done:
                    forecasts.append((during, left_to_read(read, calls), time.monotonic()))
            elif is_content(delta) and not first:
                first = time.monotonic()
    for tally, span, when in forecasts:
        tally.note(span, first - when)
    total, cached = read[-1].total, read[-1].cached
    calls.append(CallRow(time.time(), "s", "local", "tiny", "", first - started, first - started,
                         total, 2, cached, None, None, 0, 0, "stop", None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    asyncio.run(run(given.runs, given.seed))


if __name__ == "__main__":
    main()
