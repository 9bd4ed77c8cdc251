"""Nothing is lost on the page: servers are killed and pages reloaded during answers, in a real
browser.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.fake_server import FakeOllama, fake_words
from tests.web.browser import Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
WORDS = 90


@pytest.fixture(scope="module")
def server(home: dict[str, str]) -> Iterator[PageServer]:
    with (FakeOllama() as ollama,
          PageServer(home | {"OLLAMA_HOST": ollama.url}, "-m", f"words-{WORDS}@20") as running):
        yield running


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_server_finishes_and_the_page_follows_by_itself(
        chromium: Browser, server: PageServer, seed: int) -> None:
    wanted = f"w{random.Random(seed).randrange(2, 30)} "
    print("seed", seed, "killed after", wanted)
    with Tab(chromium, server) as tab:
        tab.go()
        tab.send("count")
        prose = tab.page.locator(".message.from-model .prose")
        expect(prose.first).to_contain_text(wanted)
        tab.box.fill("typed meanwhile")
        shown = " ".join(prose.all_inner_texts())
        server.kill()
        expect(tab.page.locator(".saved")).to_have_text("Connection lost")
        assert " ".join(prose.all_inner_texts()).startswith(shown), "what is painted stays"
        server.start()
        expect(tab.page.locator(".saved")).to_have_text("Saved")
        said = tab.reply()
        assert said.startswith(shown) and len(said) > len(shown)
        expect(tab.box).to_have_value("typed meanwhile")
        expect(tab.page.locator(".bubble")).to_have_text(["count"])
        tab.page.reload()
        assert tab.reply() == said
        tab.fine()


def test_reloads_and_lost_networks_double_nothing(chromium: Browser, server: PageServer) -> None:
    luck = random.Random(11)
    with Tab(chromium, server) as tab:
        tab.go()
        tab.send("count")
        prose = tab.page.locator(".message.from-model .prose")
        for number in range(2, 50, 8):
            expect(prose.first).to_contain_text(f"w{number} ")
            if luck.random() < 0.5:
                tab.page.reload()
            else:
                tab.context.set_offline(True)
                tab.page.wait_for_timeout(luck.randrange(1, 400))
                tab.context.set_offline(False)
        assert tab.reply() == fake_words(WORDS)
        tab.fine()


def test_a_message_sent_while_the_server_is_gone_is_sent_when_it_is_back(
        chromium: Browser, server: PageServer) -> None:
    with Tab(chromium, server) as tab:
        tab.go()
        assert tab.ask("hello") == fake_words(WORDS)
        server.kill()
        tab.send("are you there?")
        expect(tab.page.locator(".saved")).to_have_text("Connection lost")
        server.start()
        assert tab.reply(2) == fake_words(WORDS)
        expect(tab.page.locator(".bubble")).to_have_text(["hello", "are you there?"])
        tab.fine()
