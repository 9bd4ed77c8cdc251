"""Connections to the real engine are cut: it generates each answer once, and all of it is read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from core.engine.process import open_engine
from core.events import TextDelta
from core.messages import Usage, user_message
from core.providers import Endpoint, Options, Provider, Request, load_dialect
from core.providers.local import WIRE_QUIRKS
from tests.cutting_proxy import CuttingProxy
from tests.engine_support import order_for, tiny

__all__ = ["tiny"]
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
ANSWERS = 20


async def answer(provider: Provider, request: Request) -> tuple[str, int | None]:
    """The text, and the number of tokens that the engine reports."""
    text, usage = "", Usage()
    async with contextlib.aclosing(provider.stream(request)) as deltas:
        async for delta in deltas:
            text += delta.text if isinstance(delta, TextDelta) else ""
            usage = delta if isinstance(delta, Usage) else usage
    return text, usage.output_tokens


def test_cuts_change_nothing_and_the_engine_is_asked_once(tiny: Path, tmp_path: Path) -> None:
    print(f"\nSTREAM_CHAT_TEST_SEED={SEED}")

    async def run() -> None:
        chance = random.Random(SEED)
        engine = await open_engine(order_for(tiny, tmp_path))
        proxy = CuttingProxy(urlsplit(engine.address).port or 0, chance)
        endpoint = Endpoint(f"{engine.address}/v1", engine.key, "local", quirks=WIRE_QUIRKS)
        plain = load_dialect("openai")(endpoint)
        try:
            async with proxy.running() as url:
                through = load_dialect("openai")(replace(endpoint, base_url=f"{url}/v1"))
                for number in range(ANSWERS):
                    request = Request("tiny", (user_message("hi"),), None, (),
                                      Options(seed=number, max_tokens=120,
                                              raw={"ignore_eos": True}))
                    proxy.cuts, proxy.posts = chance.randint(1, 3), 0
                    assert await answer(through, request) == await answer(plain, request)
                    assert proxy.posts == 1
                await through.close()
        finally:
            await plain.close()
            engine.release()
    asyncio.run(run())
