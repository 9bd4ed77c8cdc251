"""Signing in at an OpenID provider: real signed tokens over HTTP, and everything that may be wrong
with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from core.web.team.openid import OpenId, OpenIdError, Provider
from tests.conftest import NOTHING_LISTENS
from tests.web.openid_provider import CLIENT, SECRET, FakeProvider
from tests.web.page_server import PATIENCE
from tests.web.team_page import Member, TeamPage

BY_NAME = {"claim": "preferred_username"}
ANA = {"sub": "17", "email": "Ana@example.org", "email_verified": True}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    provider = FakeProvider()
    yield provider
    provider.close()


def openid(fake: FakeProvider, **options: Any) -> OpenId:
    fake.user, fake.userinfo, fake.wrong = dict(ANA), {}, ""
    return OpenId(Provider(fake.url, CLIENT, SECRET, "http://chat.example/signin/back", **options))


def gone_and_back(page: OpenId, fake: FakeProvider) -> tuple[dict[str, str], str]:
    """What a browser sends when it returns: the query, and its cookie."""
    address, kept = page.begin()
    return dict(parse_qsl(urlsplit(fake.sign_in(address)).query)), kept


def test_a_user_of_the_provider_is_known_by_address(fake: FakeProvider) -> None:
    page = openid(fake)
    query, kept = gone_and_back(page, fake)
    who = page.finish(query, kept)
    assert (who.name, who.subject) == ("ana@example.org", f"{fake.url} 17")
    asked = fake.asked
    assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
    assert "openid" in asked["scope"].split()
    assert len(asked["state"]) > 30 and len(asked["nonce"]) > 30


@pytest.mark.parametrize(
    "wrong",
    [
        "audience",
        "two audiences",
        "issuer",
        "expired",
        "from the future",
        "nonce",
        "no nonce",
        "no subject",
        "access token of another",
        "alg none",
        "signed with our secret",
        "signed with the public key",
        "signed by another",
        "changed",
        "another issuer in the answer",
    ],
)
def test_what_is_wrong_with_a_token_signs_nobody_in(fake: FakeProvider, wrong: str) -> None:
    page = openid(fake)
    fake.wrong = wrong
    query, kept = gone_and_back(page, fake)
    with pytest.raises(OpenIdError):
        page.finish(query, kept)
    fake.wrong = ""
    assert page.finish(*gone_and_back(page, fake)).name == "ana@example.org"


def test_a_state_counts_once_and_in_the_browser_that_began(fake: FakeProvider) -> None:
    page = openid(fake)
    query, kept = gone_and_back(page, fake)
    other_query, other_kept = gone_and_back(page, fake)
    for given, brought in (
        (query, other_kept),
        (query, ""),
        (query, "not base64!"),
        (query | {"state": ""}, kept),
        ({"code": query["code"]}, kept),
        ({"state": query["state"], "error": "access_denied"}, kept),
    ):
        with pytest.raises(OpenIdError):
            page.finish(given, brought)
    assert page.finish(other_query, other_kept).name
    for _ in range(2):  # the same again, as from a history or a log
        with pytest.raises(OpenIdError):
            page.finish(other_query, other_kept)


def test_another_process_may_finish_and_the_provider_takes_a_code_once(fake: FakeProvider) -> None:
    one, two, three = openid(fake), openid(fake), openid(fake)
    query, kept = gone_and_back(one, fake)
    assert two.finish(query, kept).name == "ana@example.org"
    with pytest.raises(OpenIdError):
        three.finish(query, kept)


def test_new_keys_of_the_provider_are_read(fake: FakeProvider) -> None:
    page = openid(fake)
    assert page.finish(*gone_and_back(page, fake)).name
    fake.change_keys()
    assert page.finish(*gone_and_back(page, fake)).name


@pytest.mark.parametrize(
    "options, claims, name",
    [
        ({"domains": ("example.org",)}, {}, "ana@example.org"),
        ({"domains": ("other.org",)}, {}, ""),
        ({"domains": ("example.org",)}, {"email": "ana@example.org.evil.net"}, ""),
        ({"domains": ("example.org",)}, {"email": "ana@evil.net@example.org"}, ""),
        ({"domains": ("example.org",)}, {"email_verified": False}, ""),
        ({"domains": ("example.org",)}, {"email_verified": "true"}, ""),
        ({}, {"email_verified": None}, ""),
        ({}, {"email": ""}, ""),
        ({"groups": ("chat",)}, {"groups": ["chat", "x"]}, "ana@example.org"),
        ({"groups": ("chat",)}, {"groups": ["chatters"]}, ""),
        ({"groups": ("chat",)}, {"groups": "chat"}, ""),
        ({"groups": ("chat",)}, {}, ""),
        (BY_NAME, {"preferred_username": "ana", "email_verified": False}, "ana"),
        (BY_NAME, {}, ""),
    ],
)
def test_who_may_sign_in(
    fake: FakeProvider, options: dict[str, Any], claims: dict[str, Any], name: str
) -> None:
    page = openid(fake, **options)
    fake.user |= claims
    query, kept = gone_and_back(page, fake)
    if name:
        assert page.finish(query, kept).name == name
    else:
        with pytest.raises(OpenIdError):
            page.finish(query, kept)


def test_what_the_token_lacks_is_asked_for(fake: FakeProvider) -> None:
    page = openid(fake, groups=("chat",), claim="preferred_username")
    fake.userinfo = {"preferred_username": "ana", "groups": ["chat"]}
    assert page.finish(*gone_and_back(page, fake)).name == "ana"
    fake.userinfo |= {"sub": "another"}
    with pytest.raises(OpenIdError):
        page.finish(*gone_and_back(page, fake))


def test_a_provider_that_is_another_one_or_away_is_reported(fake: FakeProvider) -> None:
    page = openid(fake)
    fake.wrong = "metadata"
    with pytest.raises(OpenIdError):
        page.begin()
    fake.wrong = ""
    away = OpenId(Provider(NOTHING_LISTENS, CLIENT, SECRET, "http://chat.example/signin/back"))
    with pytest.raises(OpenIdError) as caught:
        away.begin()
    assert "did not answer" in caught.value.message


@pytest.mark.processes
def test_members_sign_in_at_the_provider(
    postgres_url: str, environment: dict[str, str], fake: FakeProvider
) -> None:
    openid(fake)
    environment = environment | {"STREAM_CHAT_OIDC_SECRET": SECRET}
    with TeamPage(postgres_url, environment) as page:
        told = page.run("--add-user", "ana@example.org", "--oidc-issuer", fake.url)
        assert told.returncode == 0 and "OpenID" in told.stderr
        options = ("--oidc-issuer", fake.url, "--oidc-client", CLIENT)
        port = page.start(*options)
        url = f"http://127.0.0.1:{port}"
        ana = Member("ana@example.org", url)
        assert "Sign in at 127.0.0.1" in ana.ask("GET", "/signin").text
        entered = through_the_provider(ana)
        assert entered.status_code == 200 and "url=/" in entered.text, entered.text
        session = ana.new_session()
        ana.say(session, "hello")
        ana.wait(session)
        assert ana.ask("GET", entered.url.removeprefix(url)).status_code == 403  # once
        assert ana.sign_in("") == 403 and ana.sign_in("no password at all") == 403
        fake.user |= {"email": "ana.new@example.org"}  # the same person, with another address
        again = Member("again", url)
        through_the_provider(again)
        assert session in again.ask("GET", "/api/sessions").text
        fake.user |= {"sub": "18", "email": "ana@example.org"}  # another person with her old one
        for claims in ({}, {"sub": "19", "email": "eve@example.org"}):
            fake.user |= claims
            refused = through_the_provider(Member("eve", url))
            assert refused.status_code == 403 and "account" in refused.text


@pytest.mark.processes
def test_a_page_takes_only_some_of_the_provider_s_users(
    postgres_url: str, environment: dict[str, str], fake: FakeProvider
) -> None:
    openid(fake)
    environment = environment | {"STREAM_CHAT_OIDC_SECRET": SECRET}
    with TeamPage(postgres_url, environment) as page:
        at = ("--oidc-issuer", fake.url, "--oidc-client", CLIENT, "--oidc-new-users")
        here = ("--listen-url", page.environment["DATABASE_URL"])
        named = page.start(*at, *here, "--oidc-name", "preferred_username", "--oidc-groups", "chat")
        known = page.start(*at, *here, "--oidc-domains", "example.org")
        cases = (
            (named, {"preferred_username": "olga", "groups": ["chat"]}, 200),
            (named, {"preferred_username": "eve", "groups": ["other"]}, 403),
            (known, {"sub": "7", "email": "bo@example.org"}, 200),
            (known, {"sub": "8", "email": "bo@example.org.evil.net"}, 403),
        )
        for port, claims, status in cases:
            fake.user |= claims
            member = Member("new", f"http://127.0.0.1:{port}")
            assert through_the_provider(member).status_code == status, claims
            assert member.ask("GET", "/api/sessions").status_code == (200 if status == 200 else 401)


def through_the_provider(member: Member) -> requests.Response:
    return member.client.get(f"{member.url}/signin/openid", timeout=PATIENCE)
