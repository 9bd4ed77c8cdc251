"""An answer is resumed where its connection broke: no token is generated twice.

STREAM_CHAT_TEST_CUTS=1000 sets how many connections are lost (40 otherwise),
STREAM_CHAT_TEST_SEED the seed; `-s` shows the figures.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from core.chat.joining import joined
from core.chat.turn import run_chat_turn
from core.config import Settings
from core.events import Event, MessageAdded, Resuming, TextDelta
from core.messages import user_message
from core.model_manager import Providers, Target
from core.providers.from_settings import retry_config_of
from core.models.fallback import Chain, respond_with_fallbacks
from core.providers import Options, Request
from tests.fake_server import Answer, FakeServer, Stall
from tests.faulty_proxy import IDLE, TEXT, wire
from tests.kept_answers import BackgroundServer, KeptAnswers, LlamaServer
from tests.virtual_time import SkippingLoop, run_skipping
from tests.waiting import wait_until

CUTS = int(os.environ.get("STREAM_CHAT_TEST_CUTS", "") or 40)
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
SETTINGS = {"retry_initial_delay": 0.01, "retry_max_delay": 0.02, "connect_timeout": 60.0,
            "idle_timeout": IDLE}
TOKENS = len(wire("openai", TEXT).texts)
Make = Callable[..., KeptAnswers]
SERVERS: dict[str, Make] = {"llamacpp": LlamaServer, "openai-responses": BackgroundServer}


def options(name: str) -> Options:
    return Options(max_tokens=9_999, raw={"background": True} if name == "openai-responses" else {})


async def turn(name: str, url: str, events: list[Event], stop_after: int = 0) -> None:
    given = Settings(SETTINGS, providers={name: {"base_url": url}})
    providers = Providers(given)
    chain = Chain([Target(name, "m")], providers, retry_config_of(given))
    request = Request("m", (user_message("Go."),), options=options(name))
    respond = partial(respond_with_fallbacks, chain)
    events_of = run_chat_turn(respond, request, None, model=f"{name}/m", resumes=3)
    try:
        async with asyncio.timeout(3_000), aclosing(events_of) as stream:
            async for event in stream:
                events.append(event)
                if stop_after and sum(isinstance(each, TextDelta) for each in events) >= stop_after:
                    return
    finally:
        await providers.close()
    assert len(asyncio.all_tasks()) == 1, "a task is left over"


def answered(name: str, server: KeptAnswers, **how: Any) -> list[Event]:
    events: list[Event] = []
    loop = SkippingLoop()
    with FakeServer(server, skip=loop.skip) as real:
        run_skipping(turn(name, real.url, events, **how), loop)
    return events


def check_undisturbed(events: list[Event], server: KeptAnswers) -> None:
    """As without an interruption: shown once, stored as one message, requested and generated once.
    """
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == TEXT
    messages = [event.message for event in events if isinstance(event, MessageAdded)]
    assert [message.text for message in messages] == [TEXT]
    assert not [event for event in events if isinstance(event, Resuming)]
    assert (server.asked, server.written) == (1, TOKENS)


@pytest.mark.parametrize("name", SERVERS)
def test_random_cuts_change_nothing_and_cost_nothing(name: str) -> None:
    chance, lost, conversations = random.Random(SEED), 0, 0
    print(f"\nSTREAM_CHAT_TEST_SEED={SEED}", end=" ")
    while lost < CUTS:
        # the name of a background answer is in its first event: before that nothing can be had
        server = SERVERS[name](chance, min(chance.randint(1, 4), CUTS - lost))
        if name == "openai-responses":
            server.part = after_the_name(server)  # type: ignore[method-assign]
        check_undisturbed(answered(name, server), server)
        lost, conversations = lost + server.lost, conversations + 1
    print(f"\ncounted: {lost} lost connections\ncounted: {conversations} answers\n"
          f"counted: {conversations * TOKENS} tokens written once")


def after_the_name(server: KeptAnswers) -> Callable[[bytes], Answer]:
    """The first connection lasts until its first event has been sent."""
    plain = server.part

    def part(data: bytes) -> Answer:
        first = data.partition(b"\n\n")[0] + b"\n\n"
        if b"response.created" not in first:
            return plain(data)
        rest = plain(data[len(first):])
        return Answer([first, *rest.steps], content_type=server.type, framing="chunked")
    return part


def test_the_first_form_of_llama_servers_is_understood() -> None:
    server = LlamaServer(random.Random(SEED), 3, old=True)
    check_undisturbed(answered("llamacpp", server), server)


def test_a_server_that_kept_nothing_is_asked_to_continue() -> None:
    """As without stored answers: the text so far is kept, and the rest is requested."""
    server = LlamaServer(random.Random(7), 2, forgets=True)
    events = answered("llamacpp", server)
    messages = joined([event.message for event in events if isinstance(event, MessageAdded)])
    assert [message.text for message in messages] == [TEXT]
    assert server.asked > 1


@pytest.mark.parametrize("polls", [0, 3])
def test_a_stream_that_is_too_old_is_waited_for_as_a_whole(polls: int) -> None:
    server = BackgroundServer(random.Random(SEED), 1, streams=False, polls=polls)
    server.part = after_the_name(server)  # type: ignore[method-assign]
    check_undisturbed(answered("openai-responses", server), server)
    assert server.polls == -1


@pytest.mark.parametrize(("name", "told"), [("llamacpp", 1), ("openai-responses", 2)])
def test_whoever_stops_an_answer_stops_the_server(name: str, told: int) -> None:
    server = SERVERS[name](random.Random(SEED))
    slow(server)
    answered(name, server, stop_after=1)
    assert wait_until(lambda: len(server.left) == told)
    assert name == "llamacpp" or server.left == ["POST /cancel", "DELETE"]


def slow(server: KeptAnswers) -> None:
    """Nothing arrives after the middle of the answer."""
    plain = server.part

    def part(data: bytes) -> Answer:
        return Answer([data[:len(data) // 2], Stall()], content_type=plain(b"").content_type)
    server.part = part  # type: ignore[method-assign]


def test_a_background_answer_is_deleted_when_it_has_been_read() -> None:
    server = BackgroundServer(random.Random(SEED))
    check_undisturbed(answered("openai-responses", server), server)
    assert server.left == ["DELETE"]


def test_nothing_is_kept_anywhere_unless_it_was_asked_for() -> None:
    """Without the option Responses get store: false, other hosts no id to keep an answer under."""
    seen = []

    def script(request: Any) -> Answer:
        seen.append(request)
        name = "openai-responses" if request.path.endswith("/responses") else "openai"
        return Answer([b"".join(wire(name, TEXT).events)], content_type="text/event-stream")

    async def both(url: str) -> None:
        for name in ("openai-responses", "openai", "custom"):
            given = Settings(SETTINGS, providers={name: {"base_url": url}})
            providers = Providers(given)
            request = Request("m", (user_message("Go."),))
            async with aclosing(providers.open(name).stream(request)) as stream:
                said = [each.text async for each in stream if isinstance(each, TextDelta)]
            assert "".join(said) == TEXT
            await providers.close()
    with FakeServer(script) as server:
        asyncio.run(both(server.url))
    assert [request.method for request in seen] == ["POST"] * 3
    assert seen[0].json["store"] is False and "background" not in seen[0].json
    assert not [request for request in seen if "x-conversation-id" in request.headers]
