"""The browser that the tests of a module share.

Module-wide, since it keeps an event loop of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surroundings import inherited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.web.browser import Tab
    from tests.web.page_server import PageServer

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from tests.web.browser import running_chromium
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a server that a module's tests share:
    an empty home, and nothing of this machine.
    """
    return inherited() | {"HOME": str(tmp_path_factory.mktemp("home")), "LANG": "C.UTF-8",
                          "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}


@pytest.fixture(params=["desktop", "phone"])
def tab(chromium: Browser, server: PageServer, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """The page of the module's `server`, in both sizes;
    at the end nothing may have gone wrong in it.
    """
    from tests.web.browser import Tab
    with Tab(chromium, server, request.param) as opened:
        opened.go()
        yield opened
        opened.fine()
