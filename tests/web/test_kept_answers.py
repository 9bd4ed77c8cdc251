"""A client of the page's server that loses its connection resumes the answer where it broke.

STREAM_CHAT_TEST_CUTS sets how many connections are lost (20 otherwise),
STREAM_CHAT_TEST_SEED the seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest
import requests

from core.events import Finished, TextDelta
from core.messages import user_message
from core.providers import Endpoint, Provider, Request, load_dialect
from core.providers.hosts import find_host
from tests.cutting_proxy import CuttingProxy
from tests.fake_server import FakeOllama, fake_words
from tests.waiting import wait_until
from tests.web.page_server import PATIENCE, ROOT, PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
TOKEN = "for-programs"
WORDS = 400
CUTS = int(os.environ.get("STREAM_CHAT_TEST_CUTS", "") or 20)
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama() as running:
        yield running


@pytest.fixture(scope="module")
def server(home: dict[str, str], ollama: FakeOllama) -> Iterator[PageServer]:
    with PageServer(home | {"OLLAMA_HOST": ollama.url, "STREAM_CHAT_WEB_TOKEN": TOKEN},
                    "-m", f"words-{WORDS}") as running:
        yield running


@asynccontextmanager
async def through(proxy: CuttingProxy) -> AsyncIterator[Provider]:
    host = find_host("stream-chat")
    assert host is not None
    async with proxy.running() as url:
        endpoint = Endpoint(f"{url}/v1", TOKEN, host.name, quirks=host.quirks)
        provider = load_dialect(host.dialect)(endpoint)
        try:
            yield provider
        finally:
            await provider.close()


async def answer(provider: Provider, model: str = "default") -> str:
    text, finish = "", ""
    async with aclosing(provider.stream(Request(model, (user_message("hi"),)))) as deltas:
        async for delta in deltas:
            text += delta.text if isinstance(delta, TextDelta) else ""
            finish = delta.reason if isinstance(delta, Finished) else finish
    assert finish == "stop"
    return text


def test_lost_connections_change_nothing_and_ask_no_model_again(
        server: PageServer, ollama: FakeOllama) -> None:
    print(f"\nSTREAM_CHAT_TEST_SEED={SEED}")

    async def run() -> tuple[int, int]:
        chance, lost, answers = random.Random(SEED), 0, 0
        proxy = CuttingProxy(server.port, chance)
        async with through(proxy) as provider:
            while lost < CUTS:
                cuts = proxy.cuts = chance.randint(1, 4)
                proxy.posts = 0
                assert await answer(provider) == fake_words(WORDS)
                assert proxy.posts == 1
                lost, answers = lost + cuts - max(0, proxy.cuts), answers + 1
        return lost, answers
    before = len(ollama.chats)
    lost, answers = asyncio.run(run())
    assert len(ollama.chats) - before == answers
    print(f"\ncounted: {lost} lost connections\ncounted: {answers} answers")


def test_a_terminal_loses_its_connection_and_shows_the_answer_whole(
        server: PageServer, ollama: FakeOllama, home: dict[str, str]) -> None:
    async def run() -> tuple[str, str]:
        proxy = CuttingProxy(server.port, random.Random(SEED))
        proxy.cuts = 3
        async with proxy.running() as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(ROOT / "stream_chat.py"), "-p", "stream-chat", "--base-url",
                f"{url}/v1", "-m", "default", "hi", stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=home | {"STREAM_CHAT_SERVER_KEY": TOKEN})
            said, problems = await process.communicate()
        return said.decode(), problems.decode()
    before = len(ollama.chats)
    said, problems = asyncio.run(run())
    assert said.strip() == fake_words(WORDS), problems
    assert len(ollama.chats) - before == 1


def kept(server: PageServer, method: str, name: str, token: str = TOKEN,
         start: str = "0") -> requests.Response:
    return requests.request(method, f"{server.url}/v1/stream", timeout=PATIENCE,
                            params={"conv_id": name, "from": start},
                            headers={"authorization": f"Bearer {token}"})


def ask(server: PageServer, name: str, model: str) -> requests.Response:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {TOKEN}", "x-conversation-id": name}
    return requests.post(f"{server.url}/v1/chat/completions", json=body, headers=headers,
                         timeout=PATIENCE, stream=True)


def test_a_second_reader_has_the_same_bytes_from_any_place(server: PageServer) -> None:
    whole = ask(server, "one", "words-40").content
    assert whole.endswith(b"data: [DONE]\n\n")
    for start in (0, 1, len(whole) // 2, len(whole), len(whole) + 5):
        assert kept(server, "GET", "one", start=str(start)).content == whole[start:]
    path = requests.get(f"{server.url}/v1/stream/one", params={"from": 3}, timeout=PATIENCE,
                        headers={"authorization": f"Bearer {TOKEN}"})
    assert path.content == whole[3:]


def test_whoever_stops_an_answer_stops_the_model(server: PageServer, ollama: FakeOllama) -> None:
    running = ask(server, "slowly", "slow")
    next(running.iter_content(1))
    running.close()
    assert ollama.connected == 1, "it is written on, though nobody reads"
    assert kept(server, "DELETE", "slowly").status_code == 204
    assert kept(server, "GET", "slowly").status_code == 404
    assert wait_until(lambda: not ollama.connected)


@pytest.mark.parametrize(("name", "start", "status"), [
    ("never", "0", 404), ("", "0", 404), ("one", "-1", 400), ("one", "x", 400), ("one", "", 400)])
def test_what_is_not_kept_is_refused(server: PageServer, name: str, start: str,
                                     status: int) -> None:
    assert kept(server, "GET", name, start=start).status_code == status


def test_an_error_before_the_first_word_has_its_own_status(server: PageServer) -> None:
    assert ask(server, "wrong", "missing").status_code == 404
    assert kept(server, "GET", "wrong").status_code == 404
