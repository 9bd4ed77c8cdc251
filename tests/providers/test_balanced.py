"""Several hosts of one provider: the least busy is used, and a dead one costs little once and is
used again soon after it recovers.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, aclosing

import pytest

from core.config import Settings
from core.dataclass import replace
from core.errors import AuthFailed, ChatError, ConnectFailed, ModelNotFound, ProviderError
from core.events import Delta, Notice, TextDelta
from core.messages import user_message
from core.model_manager import Providers, Target
from core.providers.from_settings import retry_config_of
from core.models.fallback import Chain, respond_with_fallbacks
from core.providers import CanShow, Endpoint, Provider, Request
from core.providers.balanced import PROBE_AFTER, Balanced
from core.providers.ollama import Ollama
from core.retry_handler import Item, stream_chat_with_retry
from tests.fake_server import FakeOllama, FakeServer, json_answer
from tests.one_model import Models

ASKED = Request("words-5", (user_message("q"),))


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def five() -> Iterator[list[FakeOllama]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeOllama()) for _ in range(5)]


def at(url: str) -> Provider:
    return Ollama(Endpoint(url, host="ollama", connect_timeout=2.0, idle_timeout=20.0))


async def text_of(provider: Balanced, request: Request = ASKED) -> str:
    """The answer of one attempt, as the asking loop gets it."""
    models = Models({"p/m": provider.stream})
    async with aclosing(stream_chat_with_retry(models, request)) as items:
        return "".join([item.text async for item in items if isinstance(item, TextDelta)])


def asked(server: FakeServer) -> int:
    return len(server.chats)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_requests_at_once_are_spread(five: list[FakeOllama]) -> None:
    async def main() -> None:
        balanced = Balanced([at(server.url) for server in five])
        slow = Request("words-5@20", ASKED.messages)
        assert (set(await asyncio.gather(*(text_of(balanced, slow) for _ in range(10))))
                == {"w0 w1 w2 w3 w4"})
        await balanced.close()
    asyncio.run(main())
    assert [asked(server) for server in five] == [2] * 5


def test_a_dead_host_is_asked_once_and_comes_back(five: list[FakeOllama]) -> None:
    clock, port = Clock(), free_port()
    urls = [f"http://127.0.0.1:{port}", *(server.url for server in five[:4])]

    async def main() -> None:
        balanced = Balanced([at(url) for url in urls], clock)
        for _ in range(20):
            clock.now += 0.1
            assert await text_of(balanced) == "w0 w1 w2 w3 w4"
        assert sum(host.open_until is not None for host in balanced._hosts) == 1
        with FakeOllama(port=port) as back:
            for _ in range(30):                       # a request a second
                clock.now += 1
                assert await text_of(balanced) == "w0 w1 w2 w3 w4"
                await asyncio.sleep(0.02)
                if asked(back):
                    break
            assert asked(back), "it did not come back within 30 s"
        await balanced.close()
    asyncio.run(main())


def test_a_host_that_hangs_costs_two_seconds_once(five: list[FakeOllama]) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def main() -> list[float]:
        balanced = Balanced([at(url), *(at(server.url) for server in five[:4])])
        took = []
        for _ in range(20):
            started = time.monotonic()
            assert await text_of(balanced) == "w0 w1 w2 w3 w4"
            took.append(time.monotonic() - started)
        await balanced.close()
        return took
    with listener:
        took = asyncio.run(main())
    assert sum(seconds > 0.7 for seconds in took) <= 1, took


def test_a_host_that_loads_a_model_is_waited_for() -> None:
    from tests.fake_server import Answer, Pause, Received, chat_line, done_line, json_line

    def script(request: Received) -> Answer:
        if request.path != "/api/chat":
            return json_answer({"models": []})
        return Answer([Pause(2.4), json_line(chat_line("m", "slow")), json_line(done_line("m"))],
                      framing="close")

    async def main() -> str:
        balanced = Balanced([at(server.url), at(server.url)])
        try:
            return await text_of(balanced)
        finally:
            await balanced.close()
    with FakeServer(script) as server:
        assert asyncio.run(main()) == "slow"
        assert asked(server) == 1


def test_a_request_goes_to_one_host(five: list[FakeOllama]) -> None:
    """The error names the host and how many are left; the policy decides whether to try them."""
    away = f"http://127.0.0.1:{free_port()}"

    async def main() -> None:
        balanced = Balanced([at(away), at(five[0].url), at(five[1].url)])
        with pytest.raises(ConnectFailed) as failed:
            [delta async for delta in balanced.stream(ASKED)]
        assert (failed.value.host, failed.value.hosts_left) == (away, 2)
        avoiding = replace(ASKED, avoid=frozenset({away, five[0].url}))
        assert [delta async for delta in balanced.stream(avoiding)]
        await balanced.close()
    asyncio.run(main())
    assert [asked(server) for server in five] == [0, 1, 0, 0, 0]


def test_a_host_without_the_model_is_asked_for_it_once(five: list[FakeOllama]) -> None:
    with FakeServer(json_answer({"error": "model 'words-5' not found"}, 404)) as without:
        async def main() -> list[str]:
            balanced = Balanced([at(without.url), at(five[0].url)])
            try:
                texts = [await text_of(balanced) for _ in range(4)]
                with pytest.raises(ModelNotFound):      # for another model it is asked
                    [delta async for delta in balanced.stream(Request("words-3", ASKED.messages))]
                return texts
            finally:
                await balanced.close()
        assert asyncio.run(main()) == ["w0 w1 w2 w3 w4"] * 4
        assert (asked(without), asked(five[0])) == (2, 4)


def test_other_calls_leave_a_dead_host_alone_too(five: list[FakeOllama]) -> None:
    async def main() -> None:
        balanced = Balanced([at(f"http://127.0.0.1:{free_port()}"), at(five[0].url)])
        with pytest.raises(ConnectFailed) as failed:
            await balanced.show("words-50")  # type: ignore[attr-defined]
        assert failed.value.hosts_left == 1
        assert await balanced.show("words-50")  # type: ignore[attr-defined]
        await balanced.close()
    asyncio.run(main())


def test_a_chat_says_which_host_failed_and_the_model_does_not_rest(five: list[FakeOllama]) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    made = Settings({}, providers={"ollama": {"base_urls": [away, five[0].url]}})

    async def main() -> list[Item]:
        providers = Providers(made)
        chain = Chain([Target("ollama", "words-5"), Target("demo", "demo")], providers,
                      retry_config_of(made))
        items = [item async for item in respond_with_fallbacks(chain, ASKED)]
        assert chain.first == Target("ollama", "words-5")
        await providers.close()
        return items
    items = asyncio.run(main())
    (notice,) = [item.text for item in items if isinstance(item, Notice)]
    assert away in notice and notice.endswith("Trying another host of ollama.")
    assert "".join(item.text for item in items if isinstance(item, TextDelta)) == "w0 w1 w2 w3 w4"


@pytest.mark.parametrize(("status", "error", "kind"), [
    (401, "unauthorized", AuthFailed), (404, "model 'words-5' not found", ModelNotFound)])
def test_errors_that_are_everywhere_are_reported(status: int, error: str,
                                                 kind: type[ProviderError]) -> None:
    async def main() -> ChatError:
        balanced = Balanced([at(one.url), at(two.url)])
        try:
            await text_of(balanced)
        except ChatError as problem:
            return problem
        finally:
            await balanced.close()
        raise AssertionError
    answer = json_answer({"error": error}, status)
    with FakeServer(answer) as one, FakeServer(answer) as two:
        assert isinstance(asyncio.run(main()), kind)
        assert asked(one) + asked(two) == (1 if status == 401 else 2)


def test_all_dead_is_an_error_and_no_end() -> None:
    ports = [free_port(), free_port()]

    async def main() -> None:
        balanced = Balanced([at(f"http://127.0.0.1:{port}") for port in ports])
        with pytest.raises(ConnectFailed):
            await text_of(balanced)
        with FakeOllama(port=ports[1]):
            assert await text_of(balanced) == "w0 w1 w2 w3 w4"
        await balanced.close()
    asyncio.run(main())


def test_a_kill_in_the_middle_sends_the_next_request_elsewhere(five: list[FakeOllama]) -> None:
    async def main() -> Counter[str]:
        balanced = Balanced([at(five[0].url), at(five[1].url)])
        came: list[Delta] = []
        with pytest.raises(ProviderError):
            async with aclosing(balanced.stream(Request("words-500@50", ASKED.messages))) as deltas:
                async for delta in deltas:
                    came.append(delta)
                    victim = next(server for server in five if asked(server))
                    victim.close()
        assert came and await text_of(balanced) == "w0 w1 w2 w3 w4"
        await balanced.close()
        return Counter(str(asked(server)) for server in five[:2])
    assert asyncio.run(main()) == {"1": 2}


def test_probes_end_with_the_provider() -> None:
    clock = Clock()

    async def main() -> None:
        with FakeOllama() as server, socket.create_server(("127.0.0.1", 0)) as hangs:
            balanced = Balanced([at(f"http://127.0.0.1:{hangs.getsockname()[1]}"), at(server.url)],
                                clock)
            balanced._hosts[0].open_until = clock.now
            clock.now += PROBE_AFTER
            assert await text_of(balanced) == "w0 w1 w2 w3 w4"
            assert len(asyncio.all_tasks()) == 2
            await balanced.close()
            assert len(asyncio.all_tasks()) == 1
    asyncio.run(main())


def test_the_configuration_gives_several_addresses(five: list[FakeOllama]) -> None:
    urls = [server.url for server in five[:2]]
    providers = Providers(Settings({}, providers={"ollama": {"base_urls": urls}}))

    async def main() -> None:
        provider = providers.open("ollama")
        assert isinstance(provider, Balanced) and isinstance(provider, CanShow)
        assert await text_of(provider) == "w0 w1 w2 w3 w4"
        assert (await provider.show("words-50")).context_window == 32768
        await providers.close()
    asyncio.run(main())
