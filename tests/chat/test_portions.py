"""An answer that comes as one delta of megabytes does not keep Ctrl-C waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from core.chat.portions import MOST, portions
from core.chat.turn import run_chat_turn
from core.events import Finished, MessageAdded, TextDelta, ThinkingDelta
from core.messages import user_message
from core.providers import Request
from core.retry_handler import Item, Pieces

WHOLE = random.Random(1).randbytes(200_000).hex(" ")


@pytest.mark.parametrize("kind", [TextDelta, ThinkingDelta])
def test_portions_are_the_delta_again(kind: type[TextDelta | ThinkingDelta]) -> None:
    cut = portions(kind(WHOLE, 3, {"anthropic": {"signature": "s"}}))
    assert "".join(delta.text for delta in cut) == WHOLE
    assert all(type(delta) is kind and delta.part == 3 and len(delta.text) <= MOST for delta in cut)
    assert [delta.extra for delta in cut if delta.extra] == [{"anthropic": {"signature": "s"}}]


@pytest.mark.parametrize("item", [TextDelta("x" * MOST), TextDelta(""), Finished("stop")])
def test_what_is_small_stays_as_it_is(item: TextDelta | Finished) -> None:
    assert [each is item for each in portions(item)] == [True]


def test_others_have_their_turn_within_one_delta() -> None:
    request = Request("m", (user_message("?"),))

    async def respond(request: Request, pieces: Pieces) -> AsyncGenerator[Item, None]:
        yield TextDelta(WHOLE)
        yield Finished("stop")

    async def stopped_after(count: int) -> list[str]:
        """What was received when the turn was cancelled after so many portions."""
        received: list[str] = []

        async def read() -> None:
            async for event in run_chat_turn(respond, request, model="m"):
                if isinstance(event, TextDelta):
                    received.append(event.text)
                if len(received) == count:
                    asyncio.get_running_loop().call_soon(reading.cancel)
                if isinstance(event, MessageAdded):
                    assert event.message.text == WHOLE == "".join(received)
        reading = asyncio.create_task(read())
        await asyncio.wait([reading])
        assert reading.cancelled() == (count > 0)
        return received
    assert len(asyncio.run(stopped_after(3))) == 3
    assert "".join(asyncio.run(stopped_after(0))) == WHOLE
