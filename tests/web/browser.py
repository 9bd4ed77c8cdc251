"""A real Chromium with the page: signs in as a user does, writes, reads, and records the page's
requests.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect, sync_playwright

from tests.web.page_server import PATIENCE, PageServer

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZES = {"desktop": (1440, 900), "phone": (375, 812)}
LIMIT = PATIENCE * 1000     # milliseconds
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-dev-shm-usage")


def chromium_path() -> str:
    """The browser of the system, or "" if there is none."""
    named = os.environ.get("STREAM_CHAT_TEST_CHROMIUM", "")
    return named or next(filter(None, map(shutil.which, NAMES)), None) or ""


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A headless browser. Skips the test without one, and fails it in continuous integration."""
    path = chromium_path()
    if not path:
        reason = "no Chromium: apt-get install chromium, or name one in STREAM_CHAT_TEST_CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    expect.set_options(timeout=LIMIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=LIMIT)
        yield browser
        browser.close()


class Tab:
    """One tab that is signed in.

    `strangers` are the requests to other hosts, `faults` the page's own errors.
    """

    def __init__(self, browser: Browser, server: PageServer, size: str = "desktop", *,
                 dark: bool = False,
                 reduced: bool = False) -> None:
        width, height = SIZES[size]
        self.server, self.size = server, size
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, has_touch=size == "phone",
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if reduced else "no-preference",
            permissions=["clipboard-read", "clipboard-write"])
        self.context.set_default_timeout(LIMIT)
        for cookie in server.client.cookies:
            self.context.add_cookies(
                [{"name": cookie.name, "value": cookie.value or "", "url": server.url}])
        self.faults: list[str] = []
        self.strangers: list[str] = []
        self.page = self.open_page()

    def open_page(self) -> Page:
        """One more tab of the same browser."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", self._refuse)
        page.on("request", lambda request: self._look(request.url))
        return page

    def _refuse(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _look(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != f"127.0.0.1:{self.server.port}":
            self.strangers.append(url)

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def go(self, path: str = "/") -> None:
        """Open a path, and wait until the page can be written to or read."""
        self.page.goto(self.server.url + path)
        expect(self.page.locator(".bar-title, .page-head h1, .first-run h1").first).to_be_attached()

    @property
    def box(self) -> Locator:
        return self.page.locator("#message")

    @property
    def session(self) -> str:
        return self.page.url.rpartition("/s/")[2]

    def send(self, text: str) -> None:
        """Write a message and send it with Enter."""
        self.box.fill(text)
        self.box.press("Enter")

    def ask(self, text: str, replies: int = 1) -> str:
        """Send and return the text of the newest reply,
        when there are so many and it is complete.
        """
        self.send(text)
        return self.reply(replies)

    def reply(self, number: int = 1) -> str:
        """The text of that reply when it is complete."""
        message = self.page.locator(".message.from-model").nth(number - 1)
        expect(message.locator(".meta-actions")).to_be_attached()
        expect(message).to_have_attribute("data-complete", "")
        return "\n".join(message.locator(".prose").all_inner_texts())

    def choose_model(self, name: str) -> None:
        """Through the list of models, as a user does."""
        self.page.locator(".model-button").click()
        self.page.locator(f'.models .model[data-model="{name}"]').click()
        expect(self.page.locator(".model-button")).to_have_attribute("title", name)

    def menu(self, entry: str) -> None:
        """Choose an entry of the session's menu."""
        self.page.locator(".bar button[aria-haspopup=menu]").click()
        self.page.get_by_role("menuitem", name=entry, exact=True).click()

    def show_list(self) -> None:
        """Open the list of sessions where it is a drawer."""
        if self.size == "phone":
            self.page.get_by_label("Show sessions").click()
            expect(self.page.locator(".sidebar input[type=search]")).to_be_in_viewport()

    def rows(self) -> Locator:
        """The titles in the list of sessions."""
        return self.page.locator(".session-title")

    def fine(self) -> None:
        """Nothing failed on the page, and it sent no request to another host."""
        assert not self.faults and not self.strangers, (self.faults, self.strangers)
