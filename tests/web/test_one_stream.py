"""A session that is open in a terminal and on the page shows the same stream in both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.fake_server import MODELS, FakeOllama, fake_words
from tests.pseudo_terminal import CTRL_C, CTRL_D, Terminal
from tests.web.browser import Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
Environment = dict[str, str]
LONG = "words-2000@20"      # it ends only when it is stopped, however slow the machine is


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", LONG, "words-40@10", "words-400", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture
def both(chromium: Browser, ollama: FakeOllama, program: list[str],
         environment: Environment) -> Iterator[tuple[Tab, Terminal]]:
    """A tab and a terminal in one session, in which one question was asked on the page."""
    with PageServer(environment, "-m", "words-5") as server, Tab(chromium, server) as tab:
        tab.go()
        tab.ask("begin")
        with Terminal([*program, "--continue"], environment) as terminal:
            terminal.wait("Resumed")
            yield tab, terminal
            if terminal.child.poll() is None:
                terminal.send(CTRL_C + CTRL_D)
                assert terminal.exit_status() == 0
        tab.fine()


def prose(tab: Tab) -> Any:
    return tab.page.locator(".from-model .prose")


def test_a_turn_in_the_terminal_is_seen_on_the_page_while_it_runs(
        both: tuple[Tab, Terminal]) -> None:
    tab, terminal = both
    terminal.say("/model words-40@10")
    terminal.wait("The model is now")
    terminal.say("from the terminal")
    expect(tab.page.locator(".bubble")).to_have_text(["begin", "from the terminal"])
    expect(prose(tab).nth(1)).to_contain_text("w2")
    expect(tab.page.locator(".from-model .state[data-state=live]")).to_be_visible()
    assert "w39" not in prose(tab).nth(1).inner_text()
    tab.page.reload()
    expect(prose(tab).nth(1)).to_contain_text("w5")
    assert tab.reply(2) == fake_words(40)
    expect(tab.page.locator(".message")).to_have_count(4)
    expect(tab.page.locator(".meta-facts").nth(1)).to_contain_text("40 tokens")


def test_a_turn_on_the_page_is_seen_in_the_terminal_and_what_waits_is_asked_after_it(
        both: tuple[Tab, Terminal]) -> None:
    tab, terminal = both
    terminal.say(f"/model {LONG}")
    terminal.wait("The model is now")
    terminal.say("a long one")
    expect(prose(tab).nth(1)).to_contain_text("w2")
    tab.send("from the page")
    expect(tab.page.locator(".queued-text")).to_have_text(["from the page"])
    tab.page.locator(".queued").get_by_label("Edit the queued message").click()
    expect(tab.box).to_have_value("from the page")
    expect(tab.page.locator(".queued")).to_have_count(0)
    tab.send("edited on the page")
    expect(tab.page.locator(".queued-text")).to_have_text(["edited on the page"])
    tab.box.press("Escape")
    expect(tab.page.locator(".notice[data-kind=bad]")).to_contain_text("running in another program")
    terminal.send(CTRL_C)
    expect(tab.page.locator(".notice").filter(has_text="Stopped")).to_be_visible()
    tab.page.locator(".queued").get_by_role("button", name="Send now").click()
    assert tab.reply(3)
    terminal.wait("edited on the page")
    expect(tab.page.locator(".bubble")).to_have_text(
        ["begin", "a long one", "edited on the page"])
    expect(tab.page.locator(".queued")).to_have_count(0)


def test_a_turn_on_the_page_is_seen_in_the_terminal_while_it_runs(
        both: tuple[Tab, Terminal]) -> None:
    tab, terminal = both
    tab.choose_model(f"ollama/{LONG}:latest")
    tab.send("from the page")
    terminal.wait("from the page")
    terminal.wait("w12")
    expect(tab.page.locator(".from-model .state[data-state=live]")).to_be_visible()
    tab.box.press("Escape")
    expect(tab.page.locator(".notice").filter(has_text="Stopped")).to_be_visible()
    terminal.wait("Incomplete: the reply ends here")
    tab.choose_model("ollama/words-5:latest")
    tab.send("and another")
    terminal.wait(fake_words(5))


def test_a_terminal_that_is_killed_leaves_a_reply_that_the_page_can_continue(
        both: tuple[Tab, Terminal]) -> None:
    tab, terminal = both
    terminal.say(f"/model {LONG}")
    terminal.wait("The model is now")
    terminal.say("from the terminal")
    expect(prose(tab).nth(1)).to_contain_text("w3")
    terminal.child.kill()
    expect(tab.page.get_by_role("button", name="Continue")).to_be_visible()
    shown = prose(tab).nth(1).inner_text()
    tab.choose_model("ollama/words-400:latest")     # the words start again, and continue further
    tab.page.get_by_role("button", name="Continue").click()
    expect(tab.page.locator(".seam")).to_be_visible()
    said = tab.reply(2)
    assert said.startswith(shown) and len(said) > len(shown)
    assert said.split() == fake_words(400).split()
