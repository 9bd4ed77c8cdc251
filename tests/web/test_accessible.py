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
    with (FakeOllama() as ollama,
          PageServer(home | {"OLLAMA_HOST": ollama.url}, "-m", "think") as running):
        yield running


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_is_found(chromium: Browser, server: PageServer, size: str,
                                  dark: bool) -> None:
    with Tab(chromium, server, size, dark=dark, reduced=True) as tab:
        tab.go()
        look_at(tab, "new session")
        tab.ask("# Title\n\nA question with `code`.")
        look_at(tab, "conversation")
        tab.page.locator(".model-button").click()
        expect(tab.page.locator(".models .model").first).to_be_visible()
        look_at(tab, "models")
        tab.page.keyboard.press("Escape")
        compare(tab)
        look_at(tab, "two replies")
        open_form(tab)
        look_at(tab, "the form of a provider")
        tab.page.get_by_role("button", name="Add a provider").click()
        look_at(tab, "adding a provider")
        tab.go("/numbers")
        look_at(tab, "numbers")


@pytest.mark.parametrize("width", [320, 375, 720], ids=["small", "phone", "200% zoom"])
def test_nothing_is_cut_off_at_the_side(chromium: Browser, server: PageServer, width: int) -> None:
    """A window of 1440 pixels at 200 % has 720 of CSS."""
    with Tab(chromium, server) as tab:
        tab.page.set_viewport_size({"width": width, "height": 450})
        tab.go()
        fits(tab, "new session")
        tab.ask(f"# {'Donaudampfschiff' * 9}\n\n`{'x' * 300}` https://example.org/{'a' * 200}")
        fits(tab, "conversation")
        compare(tab)
        fits(tab, "two replies")
        open_form(tab)
        fits(tab, "the form of a provider")
        tab.page.get_by_role("button", name="Add a provider").click()
        fits(tab, "adding a provider")
        tab.go("/numbers")
        fits(tab, "numbers")
        tab.page.get_by_label("Show sessions").click()
        foot = tab.page.locator(".sidebar-foot")
        assert foot.evaluate("foot => foot.scrollWidth <= foot.clientWidth"), "the session list"


def test_nothing_moves_where_movement_is_unwanted(chromium: Browser, server: PageServer) -> None:
    with Tab(chromium, server, reduced=True) as tab:
        tab.go()
        tab.choose_model("ollama/slow:latest")
        tab.send("go")
        expect(tab.page.locator(".from-model .spinner").first).to_be_visible()
        moving = tab.page.evaluate(MOVING)
        assert moving == [], moving
        tab.box.press("Escape")


MOVING = """() => document.getAnimations().filter((each) => {
  const { iterations, duration } = each.effect.getComputedTiming();
  return each.playState === "running" && (iterations > 1 || Number(duration) > 100);
}).map((each) => each.effect.target.className)"""
TOO_WIDE = ("() => [document.documentElement.scrollWidth, "
            "document.querySelector('.main').scrollWidth].map(w => w - innerWidth)")

# What can be used and is beyond the window, unless it is in something that scrolls sideways.
CUT_OFF = """() => [...document.querySelectorAll(":is(main, dialog) :is(input, select, button, a)")]
  .filter((each) => {
    const { left, right, width } = each.getBoundingClientRect();
    for (let box = each.parentElement; box; box = box.parentElement)
      if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return false;
    return each.checkVisibility() && width > 0 && (right > innerWidth + 1 || left < -1);
  }).map((each) => each.outerHTML.slice(0, 150))"""


def fits(tab: Tab, place: str) -> None:
    assert max(tab.page.evaluate(TOO_WIDE)) <= 0, place
    cut = tab.page.evaluate(CUT_OFF)
    assert not cut, (place, cut)


def compare(tab: Tab) -> None:
    """Two complete replies side by side."""
    tab.page.get_by_role("button", name="Compare", exact=True).click()
    tab.page.locator('.models .model[data-model="ollama/words-50:latest"]').click()
    tab.send("both")
    expect(tab.page.get_by_role("button", name="Keep this one")
           .and_(tab.page.locator(":enabled"))).to_have_count(2)


def open_form(tab: Tab) -> None:
    """The settings of a provider, with its models."""
    tab.go("/providers")
    row = tab.page.locator("#provider-ollama")
    row.get_by_label("Settings of Ollama").click()
    expect(row.locator("table")).to_be_visible()


def look_at(tab: Tab, place: str) -> None:
    found = Axe().run(tab.page).response["violations"]
    serious = [f"{entry['id']}: {entry['nodes'][0]['html'][:200]}" for entry in found
               if entry["impact"] in ("serious", "critical")]
    assert not serious, (place, serious)
