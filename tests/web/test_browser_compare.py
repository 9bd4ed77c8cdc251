"""Comparing two models side by side, and the display of the window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.fake_server import FakeOllama, fake_words
from tests.web.browser import Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(home: dict[str, str]) -> Iterator[PageServer]:
    with FakeOllama() as ollama, PageServer(home | {"OLLAMA_HOST": ollama.url}, "-m", "words-40",
                                            "--num-ctx", "4096") as running:
        yield running


def compare_with(tab: Tab, model: str) -> None:
    tab.page.get_by_role("button", name="Compare", exact=True).click()
    tab.page.locator(f'.models .model[data-model="{model}"]').click()
    expect(tab.page.locator(".model-button")).to_contain_text(f"and {model.partition('/')[2]}")


def answer(tab: Tab, side: int) -> Locator:
    return tab.page.locator(".answer").nth(side)


def test_two_models_answer_and_one_reply_is_kept(tab: Tab) -> None:
    compare_with(tab, "ollama/echo:latest")
    tab.send("which is **better**?")
    expect(tab.page.locator(".bar-title")).to_have_text("which is better?")
    expect(answer(tab, 0).locator(".answer-body")).to_have_text(fake_words(40))
    expect(answer(tab, 1).locator(".answer-body strong")).to_have_text("better")
    for side in (0, 1):
        expect(answer(tab, side).locator(".state")).to_have_text("Done")
    expect(answer(tab, 0).locator(".answer-foot")).to_contain_text("40 tokens")
    other = tab.open_page()
    other.goto(tab.page.url)
    expect(other.locator(".answer")).to_have_count(2)
    answer(tab, 1).get_by_role("button", name="Keep this one").click()
    for page in (tab.page, other):
        expect(page.locator(".answer")).to_have_count(0)
        expect(page.locator(".bubble")).to_have_text(["which is **better**?"])
        expect(page.locator(".from-model .prose strong")).to_have_text(["better"])
    tab.page.get_by_role("button", name="Stop comparing").click()
    assert tab.ask("one again", 2) == fake_words(40)
    expect(tab.page.locator(".answer")).to_have_count(0)


def test_one_is_stopped_and_one_fails(tab: Tab) -> None:
    compare_with(tab, "ollama/slow:latest")
    tab.send("count")
    expect(answer(tab, 1).locator(".answer-body")).to_contain_text("w3")
    answer(tab, 1).get_by_role("button", name="Stop this reply").click()
    expect(answer(tab, 1).locator(".state")).to_have_text("Stopped")
    expect(answer(tab, 0).locator(".state")).to_have_text("Done")
    answer(tab, 1).get_by_role("button", name="Keep this one").click()
    expect(tab.page.locator(".answer")).to_have_count(0)
    expect(tab.page.locator(".from-model .prose")).to_contain_text("w3")
    tab.page.get_by_role("button", name="Stop comparing").click()
    tab.send("/compare echo crash what now?")
    expect(answer(tab, 0).locator(".answer-body")).to_have_text("what now?")
    expect(answer(tab, 1).locator(".state")).to_have_text("Failed")
    expect(answer(tab, 1).locator(".notice")).to_be_visible()
    expect(answer(tab, 1).get_by_role("button", name="Keep this one")).to_be_disabled()


def test_the_window_is_shown_as_it_fills(tab: Tab) -> None:
    expect(tab.page.locator(".budget")).to_be_hidden()
    tab.ask("hello")
    budget = tab.page.locator(".budget")
    expect(budget).to_be_visible()
    expect(budget.locator(".budget-long").first).to_contain_text("of 4,096 tokens")
    expect(budget.locator(".budget-short")).to_contain_text(" %")
    before = budget.text_content() or ""
    tab.page.reload()
    expect(budget).to_have_text(before)
