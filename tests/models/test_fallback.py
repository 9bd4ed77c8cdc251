"""Fallbacks: which model answers, what is reported meanwhile, and that stopping leaves nothing
behind.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings
from core.errors import AuthFailed, ChatError, UsageError
from core.events import ModelChanged, Notice, Reading, Retrying, TextDelta, Waiting
from core.messages import Image, Message, Text, user_message
from core.model_manager import Providers, Target, build_model_list, fallbacks_of
from core.providers.from_settings import retry_config_of
from core.models.fallback import Chain, Item, chain_of, respond_with_fallbacks
from core.models.waiting import doing
from core.providers import Request, ToolSpec
from core.store.rows import CallRow
from tests.fake_server import Answer, FakeOllama, FakeServer, Hold, Pause, Received, Stall, Step
from tests.faulty_proxy import TEXT, content_type, said_already, wire
from tests.pseudo_terminal import CTRL_D, Terminal

ASKED = Request("m", (user_message("q"),))
QUICK = {"retry_initial_delay": 0.01, "retry_max_delay": 0.02, "retry_max_attempts": 2}


def providers_at(url: str, more: Mapping[str, object] | None = None,
                 **settings: object) -> Providers:
    return Providers(Settings({**QUICK, "ollama_host": url, **settings}, providers=more or {}))


async def collect(chain: Chain, request: Request = ASKED) -> tuple[list[Item], ChatError | None]:
    came: list[Item] = []
    try:
        async with aclosing(respond_with_fallbacks(chain, request)) as items:
            async for item in items:
                came.append(item)
    except ChatError as error:
        return came, error
    return came, None


def chain(providers: Providers, *models: str, pauses: tuple[float, float] = (1.5, 1.0)) -> Chain:
    targets = [Target("ollama", model) for model in models]
    made = chain_of(providers.settings, providers, targets[0], targets[1:])
    made.pauses = pauses
    return made


def text_of(came: Sequence[Item]) -> str:
    return "".join(item.text for item in came if isinstance(item, TextDelta))


def test_it_stays_on_the_model_that_answered_and_comes_back_when_told() -> None:
    with FakeOllama() as server:
        async def main() -> None:
            providers = providers_at(server.url)
            candidates = chain(providers, "busy", "words-2", "words-3")
            came, error = await collect(candidates)
            assert (error is None and text_of(came) == "w0 w1"
                    and any(isinstance(item, ModelChanged) for item in came))
            assert str(candidates.first) == "ollama/words-2"
            came, error = await collect(candidates)
            assert [item for item in came if isinstance(item, (ModelChanged, Retrying))] == []
            candidates.choose(Target("ollama", "words-5"))
            assert text_of((await collect(candidates))[0]) == "w0 w1 w2 w3 w4"
            await providers.close()
        asyncio.run(main())


def test_several_servers_that_all_start_again_are_asked_once_more() -> None:
    with FakeOllama() as server:
        port = server.port

    async def main() -> None:
        providers = providers_at(f"http://127.0.0.1:{port}",
                                 {"away": {"base_url": "http://127.0.0.1:1/v1"}},
                                 retry_initial_delay=0.5, retry_max_delay=1.0)
        alone = chain_of(providers.settings, providers, Target("ollama", "words-2"), [])
        came, error = await collect(alone)
        assert error is not None and not any(isinstance(item, Retrying)
                                             for item in came), "one alone is told at once"
        candidates = chain_of(providers.settings, providers, Target("away", "m"),
                              [Target("ollama", "words-2")])
        async with aclosing(respond_with_fallbacks(candidates, ASKED)) as items:
            came = []
            async for item in items:
                came.append(item)
                if isinstance(item, Retrying) and not again:
                    again.append(FakeOllama(port=port))
                    again[0].start()
        assert text_of(came) == "w0 w1"
        await providers.close()
    again: list[FakeOllama] = []
    try:
        asyncio.run(main())
    finally:
        for started in again:
            started.close()


def test_a_refused_key_is_reported_each_time_and_the_fallback_answers() -> None:
    with FakeOllama() as server:
        async def main() -> None:
            providers = providers_at(server.url)
            assert isinstance((await collect(chain(providers, "locked")))[1], AuthFailed)
            candidates = chain(providers, "locked", "words-2")
            for _ in range(2):
                came, error = await collect(candidates)
                (change,) = [item for item in came if isinstance(item, ModelChanged)]
                assert error is None and text_of(came) == "w0 w1"
                assert ((change.old, change.new) == ("ollama/locked", "ollama/words-2")
                        and "refused" in change.reason)
                assert str(candidates.first) == "ollama/locked"
            await providers.close()
        asyncio.run(main())


def test_the_chosen_model_answers_again_after_its_rest() -> None:
    """It is checked in parallel with a request, so the first request after the rest still goes to
    the fallback.
    """
    with FakeOllama(models=["busy", "words-2"]) as server:
        now = [0.0]

        async def main() -> None:
            providers = providers_at(server.url)
            targets = [Target("ollama", "busy"), Target("ollama", "words-2")]
            candidates = Chain(targets, providers, retry_config_of(providers.settings),
                               clock=lambda: now[0])
            came, _ = await collect(candidates)
            assert ([item.new for item in came if isinstance(item, ModelChanged)]
                    == ["ollama/words-2"])
            now[0] = 61.0
            came, _ = await collect(candidates)
            assert (not [item for item in came if isinstance(item, ModelChanged)]
                    and text_of(came) == "w0 w1")
            async with asyncio.timeout(20):
                while candidates.first != targets[0]:
                    await asyncio.sleep(0.01)
            came, _ = await collect(candidates)
            back, away = [item for item in came if isinstance(item, ModelChanged)]
            assert (back.old, back.new, back.reason) == ("ollama/words-2", "ollama/busy",
                                                         "ollama/busy answers again.")
            assert (away.old, away.new) == ("ollama/busy", "ollama/words-2")
            await candidates.close()
            await providers.close()
        asyncio.run(main())


@pytest.mark.parametrize(("request_", "why"), [
    (Request("m", ASKED.messages, tools=(ToolSpec("look", "", {}),)), "it cannot call tools"),
    (Request("m", (Message("user", (Text("see"), Image("image/png", "aaaa"))),)),
     "it does not see images"),
    (Request("m", (user_message("long words " * 2_000),)), "does not fit its window of 1k")])
def test_a_stand_in_that_cannot_is_passed_over(request_: Request, why: str) -> None:
    known = {"words-2": {"tools": False, "vision": False, "context_window": 1024},
             "words-3": {"tools": True, "vision": True, "context_window": 99_999}}
    with FakeOllama(models=["words-2", "words-3"]) as server:
        async def main() -> None:
            providers = providers_at(server.url, {"ollama": {"models": known}})
            came, error = await collect(chain(providers, "busy", "words-2", "words-3"), request_)
            assert error is None and text_of(came) == "w0 w1 w2"
            assert any(isinstance(item, Notice) and "words-2 is skipped" in item.text
                       and why in item.text for item in came)
            await providers.close()
        asyncio.run(main())


def test_local_only_asks_nobody_else() -> None:
    with FakeOllama() as server:
        async def main() -> None:
            away = {"away": {"base_url": "https://models.example.com/v1"}}
            providers = providers_at(server.url, away, local_only=True)
            first = [Target("away", "m"), Target("ollama", "words-2")]
            came, error = await collect(
                chain_of(providers.settings, providers, first[0], first[1:]))
            assert (error is None and text_of(came) == "w0 w1"
                    and "does not run on this machine" in str(came[0]))
            _, error = await collect(chain_of(providers.settings, providers, first[0], []))
            assert isinstance(error, UsageError)
            _, error = await collect(chain(providers, "gpt-oss:120b-cloud"))
            assert isinstance(error, UsageError)
            await providers.close()
        asyncio.run(main())


def test_fallbacks_of_one_model() -> None:
    settings = Settings({"model": "llama3", "model_fallbacks": ("x",),
                         "fallbacks": {"ollama/llama3": ["a", "demo/b"]}})
    assert [str(target) for target in build_model_list(settings)] == ["ollama/llama3", "ollama/a",
                                                                      "demo/b"]
    assert ([str(target) for target in fallbacks_of(Target("ollama", "other"), settings)]
            == ["ollama/x"])


def test_what_the_server_does_is_said() -> None:
    with FakeOllama(models=["words-5", "big"]) as server:
        async def main() -> None:
            providers = providers_at(server.url)
            assert await doing(Target("ollama", "big"), ASKED, providers) == "loading big (2.6 MB)"
            assert await doing(Target("ollama", "words-5"), ASKED, providers) == "queued"
            long = Request("words-5", (user_message("some words here " * 4_000),))
            assert re.fullmatch(r"reading an? \d+k-token prompt",
                                await doing(Target("ollama", "words-5"), long, providers))
            providers.past = Earlier(4.0)
            said = await doing(Target("ollama", "words-5"), long, providers)
            assert re.fullmatch(r"reading an? \d+k-token prompt, about \d+ s", said)
            assert await doing(Target("ollama", "big"), ASKED, providers) == "loading big (2.6 MB)"
            providers.past = Earlier(4.0, 34.0)
            said = await doing(Target("ollama", "big"), ASKED, providers)
            assert said == "loading big (2.6 MB), about 30 s"
            await providers.close()
        asyncio.run(main())


class Earlier:
    """Calls that each read 1,000 tokens in so many seconds; the last number is that of the first
    call.
    """

    def __init__(self, *seconds: float) -> None:
        self._seconds = [*seconds[1:], *seconds[:1] * 5]

    def of(self, provider: str, model: str) -> list[CallRow]:
        return [CallRow(0.0, "s", provider, model, "", first, first, 1_000, 9, 0, None, None, 0, 0,
                        "stop", None) for first in self._seconds]


def test_how_far_a_prompt_has_been_read_is_said() -> None:
    """llama.cpp's server reports its progress; the rest is forecast from the speed so far."""
    def chunk(**fields: Any) -> bytes:
        return f"data: {json.dumps({'object': 'chat.completion.chunk', **fields})}\n\n".encode()

    def progress(done: int, spent: float) -> bytes:
        told = {"total": 18_000, "cache": 0, "processed": done, "time_ms": spent * 1000}
        return chunk(choices=[{"index": 0, "delta": {"role": "assistant"}}], prompt_progress=told)

    seen = threading.Event()
    steps: list[Step] = [progress(done, done * 0.004) for done in range(0, 6_001, 2_000)]
    said = chunk(choices=[{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}])
    wanted = "reading an 18k-token prompt: 33%, about 50 s left"
    answer = Answer([*steps, Hold(seen), said], content_type="text/event-stream")
    with FakeServer(answer) as server:
        async def main() -> None:
            providers = Providers(Settings({}, providers={"llamacpp": {"base_url": server.url}}))
            made = chain_of(providers.settings, providers, Target("llamacpp", "m"), [])
            made.pauses = (0.01, 0.01)
            came: list[Item] = []
            async with aclosing(respond_with_fallbacks(made, ASKED)) as items:
                async for item in items:
                    came.append(item)
                    if isinstance(item, Waiting) and item.what == wanted:
                        seen.set()
            assert text_of(came) == "Yes." and seen.is_set()
            assert not [item for item in came if isinstance(item, Reading)]
            await providers.close()
        asyncio.run(main())
    assert server.requests[0].json["return_progress"] is True


def silent(request: Received) -> Answer:
    return Answer([Stall()], framing="raw")


def slow_retry(request: Received) -> Answer:
    return Answer((b"{}",), 503, {"Retry-After": "25"}, framing="length")


@pytest.mark.parametrize("script", [silent, slow_retry])
def test_a_wait_is_told_and_stopping_it_leaves_nothing(script: object) -> None:
    """Stop while waiting for the first byte, for the next attempt, or for the description of the
    wait.
    """
    complaints: list[object] = []

    async def main(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop,
                                                         context: complaints.append(context))
        for after in (1, 2, 3):
            providers = providers_at(url)
            said: list[Waiting] = []
            enough = asyncio.Event()

            async def ask(providers: Providers = providers, said: list[Waiting] = said,
                          enough: asyncio.Event = enough,
                          after: int = after) -> None:
                async with aclosing(respond_with_fallbacks(
                        chain(providers, "m", pauses=(0.05, 0.05)), ASKED)) as items:
                    async for item in items:
                        if isinstance(item, Waiting):
                            said.append(item)
                            if len(said) >= after:
                                enough.set()
            task = asyncio.ensure_future(ask())
            await asyncio.wait_for(enough.wait(), 20)
            started = asyncio.get_running_loop().time()
            task.cancel()
            await asyncio.wait({task})
            print(f"stopped after {(asyncio.get_running_loop().time() - started) * 1000:.1f} ms")
            assert task.cancelled() and all(item.seconds >= 0 for item in said)
            await providers.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}
    with FakeServer(script) as server:  # type: ignore[arg-type]  # one of the two scripts above
        asyncio.run(main(server.url))
    assert not complaints


def test_a_server_that_does_not_listen_is_another_model_s_turn() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with FakeOllama() as server:
        async def main() -> None:
            providers = providers_at(server.url, {"gone": {"base_url": f"http://127.0.0.1:{port}"}})
            targets = [Target("gone", ""), Target("ollama", "words-2")]
            came, error = await collect(
                Chain(targets, providers, retry_config_of(providers.settings)))
            assert error is None and text_of(came) == "w0 w1"
            await providers.close()
        asyncio.run(main())


def test_a_chat_whose_server_is_killed_finishes_on_another_model(program: list[str],
                                                                 environment: dict[str, str],
                                                                 tmp_path: Path) -> None:
    def says(request: Received) -> Answer:
        if request.path != "/api/chat":
            return Answer((b'{"models": []}',), framing="length", content_type="application/json")
        steps: list[Step] = [step for event in wire("ollama", TEXT[said_already(request):]).events
                             for step in (event, Pause(0.05))]
        return Answer(steps, content_type=content_type("ollama"))
    with FakeServer(says) as first, FakeServer(says) as second:
        config = tmp_path / "config.yaml"
        config.write_text(f"providers:\n  spare: {{base_url: '{second.url}', dialect: ollama}}\n"
                          "fallbacks: [spare/m]\n")
        environment["OLLAMA_HOST"] = first.url
        with Terminal([*program, "--config", str(config), "-m", "m", "--retry-initial-delay",
                       "0.1"], environment) as chat:
            chat.say("go")
            chat.wait("n5:")
            first.close()
            chat.wait("Continued by spare/m instead of ollama/m")
            chat.wait("n29:")
            chat.wait_prompt()
            shown = chat.text()
            assert all(len(re.findall(rf"\bn{number}:", shown)) == 1 for number in range(30)), shown
            assert "The answer is continued." in shown and "Traceback" not in shown
            chat.send(CTRL_D)
            assert chat.exit_status() == 0
