"""Servers are killed at random while conversations use three providers: none ends, and no character
is lost or repeated.

STREAM_CHAT_TEST_CAMPAIGN=1000 sets how many conversations (150 otherwise), STREAM_CHAT_TEST_SEED
the seed; `-s` shows the figures.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from contextlib import aclosing, suppress
from functools import partial

import pytest

from core.chat.conversation import RESUMES
from core.chat.joining import joined
from core.chat.turn import run_chat_turn
from core.config import Settings
from core.errors import ChatError, ProviderError
from core.events import MessageAdded, ModelChanged, Resuming, Retrying, TextDelta
from core.messages import user_message
from core.model_manager import Providers, Target
from core.providers.from_settings import retry_config_of
from core.models.fallback import Chain, respond_with_fallbacks
from core.providers import Request
from tests.fake_server import Answer, FakeServer, Pause, Received, Step
from tests.faulty_proxy import TEXT, content_type, refused, said_already, wire

CONVERSATIONS = int(os.environ.get("STREAM_CHAT_TEST_CAMPAIGN", "") or 150)
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
AT_ONCE = 8
DIALECTS = ("ollama", "openai", "anthropic")


class Mortal:
    """A server of TEXT that can be killed and restarted at the same address."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.server = FakeServer(self.answer)
        self.server.start()
        self.url, self.port, self.alive, self.kills = self.server.url, self.server.port, True, 0

    def answer(self, request: Received) -> Answer:
        steps: list[Step] = []
        for event in wire(self.dialect, TEXT[said_already(request):]).events:
            steps += [event, Pause(0.003)]
        return Answer(steps, content_type=content_type(self.dialect))

    def kill(self) -> None:
        self.server.close()
        self.alive, self.kills = False, self.kills + 1

    def revive(self) -> None:
        with suppress(OSError):   # the address may be in use for a moment
            self.server = FakeServer(self.answer, self.port)
            self.server.start()
            self.alive = True


class Killer:
    """Kills one server after the other at random moments and restarts them; one is always running.

    Something is `seen` between two strikes: on a slow machine no attempt would ever succeed.
    """

    def __init__(self, servers: list[Mortal], chance: random.Random, seen: Counter[str]) -> None:
        self.servers, self.chance, self.stop = servers, chance, threading.Event()
        self.seen = seen
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        before = 0
        while not self.stop.wait(self.chance.uniform(0.01, 0.08)):
            if self.seen[TextDelta.__name__] == before:
                continue
            before = self.seen[TextDelta.__name__]
            dead = [server for server in self.servers if not server.alive]
            if len(dead) == 2 or dead and self.chance.random() < 0.6:
                self.chance.choice(dead).revive()
            else:
                self.chance.choice([server for server in self.servers if server.alive]).kill()

    def __enter__(self) -> Killer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        for server in self.servers:
            server.server.close()


def settings_for(servers: list[Mortal]) -> Settings:
    return Settings({"retry_initial_delay": 0.02, "retry_max_delay": 0.1, "idle_timeout": 5.0,
                     "connect_timeout": 2.0},
                    providers={server.dialect: {"base_url": server.url} for server in servers})


async def converse(providers: Providers, order: list[Target], settings: Settings,
                   seen: Counter[str]) -> str:
    """Run one conversation; return what is wrong with it, or ""."""
    chain = Chain(order, providers, retry_config_of(settings))
    shown, messages = "", []
    try:
        async with aclosing(run_chat_turn(partial(respond_with_fallbacks, chain),
                                          Request("m", (user_message("Go."),)),
                                          model=str(order[0]), resumes=RESUMES)) as events:
            async for event in events:
                seen[type(event).__name__] += 1
                if isinstance(event, TextDelta):
                    shown += event.text
                elif isinstance(event, MessageAdded):
                    messages.append(event.message)
    except ChatError as error:
        return f"it ended after {len(shown)} characters: {error.message}"
    kept = joined(messages)
    if shown != TEXT or [message.text for message in kept] != [TEXT]:
        return f"shown {shown!r}, kept {[message.text for message in kept]!r}"
    seen["on several models"] += len({message.model for message in messages}) > 1
    return ""


def test_random_kills_end_no_conversation() -> None:
    chance = random.Random(SEED)
    servers = [Mortal(dialect) for dialect in DIALECTS]
    settings, seen = settings_for(servers), Counter[str]()
    targets = [Target(server.dialect, "m") for server in servers]
    orders = [chance.sample(targets, 3) for _ in range(CONVERSATIONS)]

    async def main() -> list[str]:
        providers, left = Providers(settings), asyncio.Semaphore(AT_ONCE)

        async def one(order: list[Target]) -> str:
            async with left:
                return await converse(providers, order, settings, seen)
        try:
            return await asyncio.gather(*(one(order) for order in orders))
        finally:
            await providers.close()
    started = time.monotonic()
    with Killer(servers, chance, seen):
        wrong = [problem for problem in asyncio.run(main()) if problem]
    print(f"\nseed {SEED}: {CONVERSATIONS} conversations in {time.monotonic() - started:.1f} s, "
          f"{sum(server.kills for server in servers)} kills, {seen[Resuming.__name__]} answers "
          f"broke off and went on, {seen['on several models']} on several models, "
          f"{seen[Retrying.__name__]} retries, {seen[ModelChanged.__name__]} changes of the model; "
          f"{len(wrong)} wrong")
    assert not wrong, f"seed {SEED}: {wrong[:3]}"
    print(f"counted: {CONVERSATIONS} conversations\n"
          f"counted: {sum(server.kills for server in servers)} servers killed")
    assert seen[Resuming.__name__], f"seed {SEED}: nothing was broken"


@pytest.mark.parametrize("turns", [100])
def test_a_full_outage_is_not_made_worse(turns: int) -> None:
    """Retries, including the free ones, stay below a fifth of the requests, so a long outage causes
    no flood.
    """
    with FakeServer(refused(503)) as server:
        settings = Settings({"retry_initial_delay": 0.001, "retry_max_delay": 0.001},
                            providers={dialect: {"base_url": server.url} for dialect in DIALECTS})
        targets = [Target(dialect, "m") for dialect in DIALECTS]
        requests = 0

        async def main() -> None:
            nonlocal requests
            providers = Providers(settings)
            chain = Chain(targets, providers, retry_config_of(settings))
            for _ in range(turns):
                requests += len(targets)
                with pytest.raises(ProviderError):
                    async with aclosing(respond_with_fallbacks(
                            chain, Request("m", (user_message("Go."),)))) as items:
                        async for _item in items:
                            pass
            await providers.close()
        asyncio.run(main())
        print(f"\n{len(server.requests)} requests reached the servers for {requests} that were "
              "wanted")
        assert len(server.requests) <= 1.2 * requests
