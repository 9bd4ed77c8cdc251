"""A long session on the page: only a part is on the page, which moves as the user scrolls, and
nothing is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from core.messages import Message, Text, user_message
from core.session_manager import Session, open_session
from db import open_store
from tests.fake_server import FakeOllama, fake_words
from tests.sessions.test_loaded import keep, reply
from tests.web.browser import Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
DATABASE = "/.local/share/stream-chat/sessions.db"
TURNS = 300
SOME = 120      # turns of the session in which a word is searched for
WITH_WORD = 30  # the turn whose reply has it
MOST = 200      # messages that are on the page at once, at most
LET_GO = "place => place.dispatchEvent(new WheelEvent('wheel', {deltaY: -1}))"
# What is below the screen when the messages have their heights
BELOW = """place => new Promise(found => {
  let height = 0, same = 0;
  const look = () => {
    same = place.scrollHeight === height ? same + 1 : 0;
    height = place.scrollHeight;
    if (same < 10) requestAnimationFrame(look);
    else found(Math.abs(height - place.scrollTop - place.clientHeight));
  };
  look();
})"""
TOP_OF = "each => each.getBoundingClientRect().top"
PLACES = ("() => [...document.querySelectorAll('.thread > .message')].map(each => "
          "Number(each.dataset.place))")


def fill(path: str, turns: int) -> str:
    """A session whose messages are "question N" and replies of different lengths."""
    store = open_store(path)
    session = Session(store, model="ollama/words-5")
    for turn in range(turns):
        session.add_user(user_message(f"question {turn}"))
        words = "\n\n".join([f"reply {turn}", *[fake_words(60)] * (turn % 5)])
        session.add_reply(Message("assistant", (Text(words),), "ollama/words-5", None, "stop"))
    session.close()
    store.close()
    return session.id


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home directory with the long session, and its identity; it is copied for each test."""
    directory = tmp_path_factory.mktemp("stored")
    return directory, fill(f"{directory}{DATABASE}", TURNS)


@pytest.fixture
def home(home: dict[str, str], stored: tuple[Path, str], tmp_path: Path) -> dict[str, str]:
    """A home of the test's own: what another one added to a session would move its end."""
    shutil.copytree(stored[0], tmp_path, dirs_exist_ok=True)
    return home | {"HOME": str(tmp_path)}


@pytest.fixture
def long_session(stored: tuple[Path, str]) -> str:
    return stored[1]


@pytest.fixture
def some_session(home: dict[str, str]) -> str:
    keep_turns(home, "some", SOME)
    return "some"


def keep_turns(home: dict[str, str], name: str, turns: int) -> None:
    """Store a session with a word in one of its replies."""
    said = [user_message(f"question {number // 2}") if number % 2 == 0 else
            reply("a zeppelin" if number == 2 * WITH_WORD + 1 else fake_words(60))
            for number in range(2 * turns)]
    with closing(open_store(home["HOME"] + DATABASE)) as store:
        keep(store, name, said)


@pytest.fixture
def tab(chromium: Browser, long_session: str, home: dict[str, str]) -> Iterator[Tab]:
    with (FakeOllama() as ollama,
          PageServer(home | {"OLLAMA_HOST": ollama.url}, "-m", "words-5") as server):
        with Tab(chromium, server) as opened:
            opened.go(f"/s/{long_session}")
            sees_the_end(opened, f"question {TURNS - 1}")
            expect(question(opened, TURNS - 1)).to_be_in_viewport()
            yield opened
            opened.fine()


def sees_the_end(tab: Tab, newest: str) -> None:
    """The conversation is open at its end, which is that question and its reply."""
    expect(tab.page.locator(".from-user").last).to_contain_text(newest)
    expect(tab.page.locator(".from-model .meta").last).to_be_in_viewport()
    assert scroller(tab).evaluate(BELOW) <= 1
    expect(tab.page.locator(".jump[data-shown]")).to_have_count(0)


def question(tab: Tab, turn: int) -> Locator:
    return tab.page.locator(f".from-user[data-place='{2 * turn}']")


def scroller(tab: Tab) -> Locator:
    return tab.page.locator(".scroll").first


def first_shown(tab: Tab) -> int:
    return int(tab.page.locator(".from-user").first.get_attribute("data-place") or 0)


def test_reading_up_and_down_passes_every_message_and_keeps_few_on_the_page(tab: Tab) -> None:
    seen: set[int] = set()

    def look() -> None:
        places = tab.page.evaluate(PLACES)
        assert places == list(range(places[0], places[0] + len(places))), "in order, without a gap"
        assert len(places) <= MOST
        seen.update(places)

    look()
    scroller(tab).evaluate(LET_GO)
    while (first := first_shown(tab)) > 0:
        scroller(tab).evaluate("place => { place.scrollTop = 0; }")
        expect(question(tab, first // 2 - 1)).to_be_attached()
        look()
    scroller(tab).evaluate("place => { place.scrollTop = 0; }")
    expect(question(tab, 0)).to_be_in_viewport()
    assert seen == set(range(2 * TURNS))
    expect(tab.page.locator(".jump[data-shown]")).to_be_visible()
    while not question(tab, TURNS - 1).count():
        last = max(tab.page.evaluate(PLACES))
        scroller(tab).evaluate("place => { place.scrollTop = 1e9; }")
        expect(question(tab, (last + 1) // 2)).to_be_attached()
        look()
    assert tab.ask("one more", replies=len(tab.page.evaluate(PLACES)) // 2 + 1)


def test_what_is_read_stays_in_its_place_when_earlier_messages_come(tab: Tab) -> None:
    first = first_shown(tab)
    scroller(tab).evaluate(LET_GO)
    button = tab.page.get_by_role("button", name="Show earlier messages")
    button.scroll_into_view_if_needed()
    expect(question(tab, first // 2 - 1)).to_be_attached()
    read = question(tab, first // 2 + 2)
    read.scroll_into_view_if_needed()
    tab.page.wait_for_timeout(300)
    before = read.evaluate(TOP_OF)
    count = len(tab.page.evaluate(PLACES))
    button.evaluate("button => button.click()")
    expect(tab.page.locator(".thread > .message")).not_to_have_count(count)
    tab.page.wait_for_timeout(300)
    assert abs(read.evaluate(TOP_OF) - before) < 60


def test_who_reads_what_is_old_is_not_disturbed_and_returns_to_the_newest(tab: Tab) -> None:
    scroller(tab).evaluate(LET_GO)
    while first_shown(tab) > 200:
        first = first_shown(tab)
        scroller(tab).evaluate("place => { place.scrollTop = 0; }")
        expect(question(tab, first // 2 - 1)).to_be_attached()
    tab.server.ask(tab.session, "from another tab")
    tab.server.wait_until_done(tab.session)
    expect(tab.page.locator(".from-user", has_text="from another tab")).to_have_count(0)
    tab.page.locator(".jump").click()
    expect(tab.page.locator(".from-user", has_text="from another tab")).to_be_in_viewport()
    expect(tab.page.locator(".from-model").last).to_contain_text(fake_words(5))
    expect(tab.page.locator(".jump[data-shown]")).to_have_count(0)


def test_a_session_opens_at_its_end_whatever_was_read_before(
    tab: Tab, long_session: str, some_session: str
) -> None:
    for turn in range(2):       # short replies after long ones
        tab.server.ask(long_session, f"asked later {turn}")
        tab.server.wait_until_done(long_session)
    for name, newest in ((some_session, f"question {SOME - 1}"), (long_session, "asked later 1")):
        first = first_shown(tab)
        scroller(tab).evaluate(LET_GO)
        scroller(tab).evaluate("place => { place.scrollTop = 0; }")
        expect(question(tab, first // 2 - 1)).to_be_attached()
        tab.page.locator(f".sidebar a[href='/s/{name}']").click()
        expect(tab.page).to_have_url(f"{tab.server.url}/s/{name}")
        sees_the_end(tab, newest)


def test_an_address_that_names_no_message_opens_the_session_at_its_end(
    tab: Tab, home: dict[str, str]
) -> None:
    keep_turns(home, "few", 15)
    tab.go("/s/few#no-message")
    sees_the_end(tab, "question 14")
    expect(tab.page.locator("[data-found]")).to_have_count(0)


def test_a_search_opens_the_message_that_it_found_in_the_midst_of_the_others(
    tab: Tab, some_session: str
) -> None:
    tab.page.get_by_role("searchbox").first.fill("zeppelin")
    tab.page.locator(".session.found").first.click()
    found = tab.page.locator(f".from-model[data-place='{2 * WITH_WORD + 1}']")
    expect(found).to_be_in_viewport()
    expect(found).to_have_attribute("data-found", "")
    places = tab.page.evaluate(PLACES)
    assert places == list(range(places[0], places[0] + len(places))) and len(places) < MOST
    assert tab.session == some_session
    scroller(tab).evaluate("place => { place.scrollTop = 1e9; }")
    expect(question(tab, (places[-1] + 1) // 2)).to_be_attached()
    tab.page.locator(".jump").click()
    expect(tab.page.locator(".from-user").last).to_contain_text(f"question {SOME - 1}")


def test_who_turns_an_old_message_to_another_version_keeps_it_in_sight(
    tab: Tab, some_session: str
) -> None:
    with closing(open_store(tab.server.environment["HOME"] + DATABASE)) as store:
        session = open_session(store, name=some_session)
        place = session.question_place(WITH_WORD)
        session.rewind(place)
        for number in range(SOME):
            session.add_user(user_message(f"said otherwise {number}"))
            session.add_reply(reply(fake_words(60)))
        session.close()
    tab.go(f"/s/{some_session}")
    expect(tab.page.locator(".from-user").last).to_contain_text(f"said otherwise {SOME - 1}")
    changed = tab.page.locator(f".from-user[data-place='{place}']")
    scroller(tab).evaluate(LET_GO)
    while not changed.count():
        first = first_shown(tab)
        scroller(tab).evaluate("place => { place.scrollTop = 0; }")
        expect(question(tab, first // 2 - 1)).to_be_attached()
    changed.scroll_into_view_if_needed()
    tab.page.wait_for_timeout(300)
    changed.locator("[data-turn='-1']").click()
    expect(changed).to_contain_text(f"question {place // 2}")
    expect(changed).to_be_in_viewport()
    expect(changed.locator(".switcher-count")).to_have_text("1 of 2")
