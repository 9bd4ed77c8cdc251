"""The page of a team in a real browser: sign in with an OpenID provider on another site or a
password, and sign out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.web.openid_provider import CLIENT, SECRET, FakeProvider
from tests.web.page_server import PATIENCE, free_port
from tests.web.team_page import PASSWORD, TeamPage

pytest.importorskip("playwright")
TYPE_CHECKING = False
if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.processes


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    fake = FakeProvider()
    yield fake
    fake.close()


def test_a_browser_signs_in_follows_a_link_and_signs_out(
    chromium: Browser, postgres_url: str, environment: dict[str, str], provider: FakeProvider
) -> None:
    """The provider is on another site than the page, so that the browser's rules for cookies apply.
    """
    provider.user = {"sub": "1", "email": "ana@example.org", "email_verified": True}
    environment = environment | {"STREAM_CHAT_OIDC_SECRET": SECRET}
    with TeamPage(postgres_url, environment, "ben") as team:
        port = free_port()
        url = f"http://localhost:{port}"
        options = ("--oidc-issuer", provider.url, "--oidc-client", CLIENT, "--oidc-new-users")
        team.start("--public-url", url, *options, port=port)
        context = chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{url}/")
        page.get_by_role("link", name="Sign in at").click()
        page.get_by_text("ana@example.org").wait_for()
        assert page.url == f"{url}/"
        page.goto(f"{provider.url}/link?to={url}/numbers")
        page.get_by_role("link", name="The chat").click()
        page.get_by_text("ana@example.org").wait_for()
        assert page.url.endswith("/numbers")
        page.get_by_role("link", name="Sign out").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_label("Name").fill("ben")
        page.get_by_label("Password").fill(PASSWORD.format("ben"))
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("ben", exact=True).wait_for()
        page.goto(f"{url}/signout")
        page.get_by_role("button", name="Sign out in all browsers").click()
        page.get_by_label("Password").wait_for()
        page.goto(f"{url}/numbers")
        assert re.search("/signin$", page.url)
        context.close()
