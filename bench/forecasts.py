"""Measures the forecasts of waits: prompts of random length, read by the embedded engine.

    python -m bench.forecasts [--runs 200] [--seed N]

Each prompt is new, so that nothing of it is in a cache. Three forecasts are taken of each: before
the first token is read, from the runs before it; and of the rest when a third and when two thirds
have been read. How steady the machine is, is measured with them: how many of the runs the best
single speed explains, which is known only when all of them are over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence

from core.engine.tiny import write_tiny_model
from core.events import Reading, is_content
from core.messages import user_message
from core.providers import Endpoint, Options, Request
from core.providers.local import Local
from core.models.forecast import (
    LEAST_SAMPLES, Span, fitted, left_to_read, reading, reading_samples)
from core.store.rows import CallRow

WINDOW = 16_384
SIZES = (200, 1_100)      # numbers in a prompt, about seven tokens each
NEAR = 0.25
STAGES = {"before the first token": 0.0, "after a third of the prompt": 1 / 3,
          "after two thirds": 2 / 3}


class Tally:
    """The results of forecasts of one kind."""

    def __init__(self) -> None:
        self.likely: list[bool] = []     # of all: the likeliest within 25 %, shown or not
        self.about: list[bool] = []      # of one number: within 25 %
        self.spans: list[bool] = []      # of two: between them
        self.widths: list[float] = []

    def note(self, span: Span | None, seconds: float) -> None:
        if span is None:
            return
        near = abs(span.likely - seconds) <= NEAR * seconds
        self.likely.append(near)
        if span.sure:
            self.about.append(near)
        else:
            self.spans.append(span.low <= seconds <= span.high)
            self.widths.append(span.high / span.low)

    def line(self, name: str) -> str:
        text = f"{name}: {_share(self.likely, 'forecasts, the likeliest wait within 25 %')}; " \
               f"{_share(self.about, 'given as one number, within 25 % of the wait')}; " \
               f"{_share(self.spans, 'given as a span, the wait within it')}"
        wide = f" (the later end {statistics.median(self.widths):.1f} times the earlier)"
        return text + (wide if self.widths else "")


def _share(right: Sequence[bool], what: str) -> str:
    part = f" in {100 * sum(right) / len(right):.0f} %" if right else ""
    return f"{len(right)} {what}{part}"


def steadiness(calls: Sequence[CallRow]) -> float:
    """The part of these runs that the best single speed explains within 25 %."""
    samples = reading_samples(calls)
    best = 0.0
    speed = fitted(samples)
    for factor in range(50, 200):
        near = [abs(speed.seconds(each.start, each.end) * factor / 100 - each.seconds)
                <= NEAR * each.seconds for each in samples]
        best = max(best, sum(near) / len(near))
    return best


async def run(runs: int, seed: int) -> None:
    chance, calls = random.Random(seed), list[CallRow]()
    tallies = {name: Tally() for name in STAGES}
    with tempfile.TemporaryDirectory() as directory:
        model = os.path.join(directory, "tiny.gguf")
        write_tiny_model(model)
        quirks = {"model_directory": directory, "threads": 1}
        local = Local(Endpoint("", host="local", quirks=quirks))
        try:
            for number in range(runs + LEAST_SAMPLES):
                await _one(local, model, chance, calls, tallies)
                if number % 20 == 0:
                    print(f"{number} of {runs}", flush=True)
        finally:
            await local.close()
    print(f"seed {seed}, {runs} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
          f"priority {-os.getpriority(os.PRIO_PROCESS, 0)}")
    print(f"one speed explains {100 * steadiness(calls):.0f} % of the runs within 25 %")
    for name, tally in tallies.items():
        print(tally.line(name))


async def _one(local: Local, model: str, chance: random.Random, calls: list[CallRow],
               tallies: Mapping[str, Tally]) -> None:
    words = " ".join(f"{chance.randrange(10 ** 6)}" for _ in range(chance.randint(*SIZES)))
    options = Options(max_tokens=2, num_ctx=WINDOW)
    request = Request(model, (user_message(words),), None, (), options)
    read: list[Reading] = []
    when: list[float] = []
    started, first = time.monotonic(), 0.0
    async with contextlib.aclosing(local.stream(request)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Reading):
                read.append(delta)
                when.append(time.monotonic())
            elif is_content(delta) and not first:
                first = time.monotonic()
    total, cached = read[-1].total, read[-1].cached
    for name, part in STAGES.items():
        place = next(n for n, each in enumerate(read) if each.done >= part * total)
        if not part:
            tallies[name].note(reading(calls, cached, total), first - started)
        elif read[place].done < total:
            span = left_to_read(read[:place + 1], calls)
            tallies[name].note(span, first - when[place])
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
