"""Frames of few replies never wait; those of many are merged, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from core.events import Event, Notice, TextDelta
from core.web.conversation.pace import LONGEST, Pace


async def said(count: int) -> AsyncGenerator[Event, None]:
    for number in range(count):
        await asyncio.sleep(0)      # as from a server: others run meanwhile
        yield TextDelta(f"w{number} ")


async def read(pace: Pace, events: AsyncGenerator[Event, None]) -> str:
    async with aclosing(pace.paced(events)) as stream:
        return "".join([event.text async for event in stream if isinstance(event, TextDelta)])


def test_one_reply_never_waits() -> None:
    async def run() -> float:
        pace = Pace(frames=0.001)       # with another one, each frame would wait as long as it may
        begun = time.monotonic()
        assert await read(pace, said(500)) == "".join(f"w{number} " for number in range(500))
        assert pace.between == 0.0
        return time.monotonic() - begun
    assert asyncio.run(run()) < 500 * LONGEST / 2


def test_frames_of_many_replies_wait_and_all_of_them_arrive() -> None:
    async def run() -> None:
        pace, begun = Pace(frames=100), time.monotonic()
        replies = await asyncio.gather(*(read(pace, said(5)) for _ in range(20)))
        assert set(replies) == {"w0 w1 w2 w3 w4 "}
        assert time.monotonic() - begun >= 3 * LONGEST
        assert pace.between == 0.0
    asyncio.run(run())


def test_the_wait_grows_with_the_replies_and_has_an_end() -> None:
    async def run() -> list[float]:
        pace, opened, found = Pace(frames=1_000), [], []
        for _ in range(100):
            stream = pace.paced(said(1))
            await anext(stream)
            opened.append(stream)
            found.append(pace.between)
        for stream in opened:
            await stream.aclose()
        return found
    found = asyncio.run(run())
    assert found[0] == 0.0 and found[-1] == LONGEST and found == sorted(found)


def test_what_is_not_a_frame_does_not_wait_and_an_error_passes() -> None:
    async def broken() -> AsyncGenerator[Event, None]:
        yield Notice("first")
        raise ValueError("no more")

    async def run() -> None:
        pace = Pace(frames=0.001)
        other = pace.paced(said(1))
        await anext(other)
        with pytest.raises(ValueError, match="no more"):
            await read(pace, broken())
        await other.aclose()
        assert pace.between == 0.0
    asyncio.run(run())
