"""axe-core finds nothing serious on the pages, light and dark, on a desktop and a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.fake_server import FakeOllama
from tests.web.browser import SIZES, Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(home: dict[str, str]) -> Iterator[PageServer]:
    with FakeOllama() as ollama, PageServer(home | {"OLLAMA_HOST": ollama.url}, "-m", "think") as running:
        yield running


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_is_found(chromium: Browser, server: PageServer, size: str, dark: bool) -> None:
    with Tab(chromium, server, size, dark=dark, reduced=True) as tab:
        tab.go()
        look_at(tab, "new session")
        tab.ask("# Title\n\nA question with `code`.")
        look_at(tab, "conversation")
        tab.page.locator(".model-button").click()
        expect(tab.page.locator(".models .model").first).to_be_visible()
        look_at(tab, "models")
        for path in ("/providers", "/numbers"):
            tab.go(path)
            look_at(tab, path)


def look_at(tab: Tab, place: str) -> None:
    found = Axe().run(tab.page).response["violations"]
    serious = [f"{entry['id']}: {entry['nodes'][0]['html'][:200]}" for entry in found
               if entry["impact"] in ("serious", "critical")]
    assert not serious, (place, serious)
