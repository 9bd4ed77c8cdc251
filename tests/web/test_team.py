"""The page for a team: who can sign in, that members see nothing of others, and what only the
server can do.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from core.errors import UsageError
from core.setup.passwords import fits, hashed
from core.web.team.attempts import FREE_TRIES, Attempts
from core.web.team.tickets import is_genuine, make_ticket, name_in
from tests.conftest import NOTHING_LISTENS
from tests.surroundings import inherited
from tests.web.page_server import PATIENCE, ROOT, text_of
from tests.web.team_page import Listening, Member, TeamPage, make_certificate

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def team(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TeamPage, str]]:
    home = tmp_path_factory.mktemp("server")
    environment = {
        **inherited(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent),
        "OPENAI_API_KEY": "sk-the-teams-own-key",
        "OPENAI_BASE_URL": NOTHING_LISTENS,
        "OLLAMA_HOST": NOTHING_LISTENS,
    }
    with TeamPage(postgres_url, environment, "ana", "ben") as page:
        port = page.start("--user-rate", "1000")
        yield page, f"http://127.0.0.1:{port}"


def test_the_health_check_of_compose_finds_a_page_that_answers(team: tuple[TeamPage, str]) -> None:
    found = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))
    check, program, option, code = found["services"]["page1"]["healthcheck"]["test"]
    assert (check, program, option) == ("CMD", "python", "-c")
    here = urlsplit(team[1]).netloc
    for written, sound in (
        (code.replace("127.0.0.1:8421", here).replace("chat.example.org", here), True),
        (code.replace("127.0.0.1:8421", here), False),  # another host than the page's own
        (code, False),  # nothing listens there
    ):
        done = subprocess.run([sys.executable, option, written], capture_output=True,
                              timeout=PATIENCE)
        assert (done.returncode == 0) is sound, done.stderr


def signed_in(team: tuple[TeamPage, str], name: str) -> Member:
    member = Member(name, team[1])
    assert member.sign_in() == 303
    return member


def test_who_is_not_signed_in_sees_the_sign_in_page_and_nothing_else(
    team: tuple[TeamPage, str],
) -> None:
    stranger = Member("eve", team[1])
    for path in ("/", "/s/x", "/providers", "/numbers"):
        answer = stranger.ask("GET", path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    for path in ("/api/sessions", "/api/providers", "/v1/models", "/open", "/api/start"):
        assert stranger.ask("GET", path).status_code == 401, path
    page = stranger.ask("GET", "/signin")
    assert page.headers["referrer-policy"] == "same-origin"  # or a form has no origin
    assert page.status_code == 200 and "<script" not in page.text
    for name in re.findall(r'href="(/static/[^"]+)"', page.text):
        assert stranger.ask("GET", name).status_code == 200
    for wrong in ("", "guess", "a long password of ben"):
        assert stranger.sign_in(wrong or " ") == 403
    forged = make_ticket("ana", "a hash that is not hers")
    stranger.client.cookies.set("stream_chat", forged)
    assert stranger.ask("GET", "/api/sessions").status_code == 401


def routes_of_sessions() -> list[tuple[str, str]]:
    """Every route about one session, with its method."""
    from core.web.api import Api
    from core.web.session_api import SessionApi

    routes = [*Api(None, None).routes(), *SessionApi(None, None).routes()]  # type: ignore[arg-type]
    return sorted((method, route.path) for route in routes for method in route.methods or ())


def test_nobody_reaches_anothers_session_by_any_route(team: tuple[TeamPage, str]) -> None:
    """For another member, every route of a session responds as if the session did not exist."""
    ana, ben = signed_in(team, "ana"), signed_in(team, "ben")
    session = ana.new_session()
    ana.say(session, "the secret of ana")
    before = ana.wait(session)
    tried = 0
    for method, path in routes_of_sessions():
        if "{session}" not in path or method == "HEAD":
            continue
        filled = path.replace("{session}", session)
        for name, value in (("{name}", "help"), ("{side:int}", "0"), ("{act}", "keep")):
            filled = filled.replace(name, value)
        options = (
            {}
            if method == "GET"
            else {
                "json": {"key": "k", "text": "put in", "line": "/help", "place": 0, "version": "1"}
            }
        )
        answer = ben.ask(method, filled, **options)
        nowhere = ben.ask(method, filled.replace(session, "0" * 32), **options)
        assert answer.status_code == nowhere.status_code == 404, (method, filled, answer.text)
        assert (
            answer.text.replace(session, "0" * 32) == nowhere.text and "secret" not in answer.text
        )
        tried += 1
    assert tried >= 15
    for path in ("/api/sessions", "/api/sessions?words=secret", "/api/sessions?shelf=trash"):
        assert (
            "secret" not in ben.ask("GET", path).text and session not in ben.ask("GET", path).text
        )
    assert "secret" in ana.ask("GET", "/api/sessions?words=secret").text
    assert ana.json("GET", f"/api/sessions/{session}")["events"] == before["events"]
    mine = ben.new_session()
    ben.say(mine, "something of ben")
    ben.wait(mine)
    for line in (f"/session {session}", f"/fork {session}", f"/share {session}", "/search secret"):
        answer = ben.ask("POST", f"/api/sessions/{mine}/commands", json={"line": line})
        assert "the secret of" not in answer.text, (line, answer.text)


def test_a_shared_session_is_on_both_pages(team: tuple[TeamPage, str]) -> None:
    ana, ben = signed_in(team, "ana"), signed_in(team, "ben")
    session = ana.new_session()
    ana.say(session, "for both of us")
    ana.wait(session)
    said = ana.json("POST", f"/api/sessions/{session}/commands", {"line": "/share ben:write"})
    assert "ben (reads and writes)" in said["text"]
    assert "for both of us" in ben.ask("GET", "/api/sessions").text
    ben.say(session, "said by ben")
    assert "said by ben" in str(ben.wait(session)["events"])
    assert "said by ben" in str(ana.wait(session)["events"])
    place = ben.json("GET", f"/api/sessions/{session}")["place"]
    hears = Listening(ben, session, place)
    ana.json("POST", f"/api/sessions/{session}/commands", {"line": "/unshare ben"})
    assert session not in ben.ask("GET", "/api/sessions").text
    ana.say(session, "echo for ana alone")
    ana.wait(session)
    assert ben.ask("GET", f"/api/sessions/{session}").status_code == 404
    assert ben.ask("POST", f"/api/sessions/{session}/messages",
                   json={"key": "k", "text": "lost"}).status_code == 404
    assert "deleted" in hears.until("deleted", "ana alone")
    assert "lost" not in str(ana.wait(session)["events"])
    ana.json("POST", f"/api/sessions/{session}/commands", {"line": "/share ben"})
    assert "for ana alone" in str(ben.wait(session)["events"])


def test_the_teams_keys_are_used_and_neither_shown_nor_changed(team: tuple[TeamPage, str]) -> None:
    ana = signed_in(team, "ana")
    for method, path in (
        ("PUT", "/api/providers/openai/key"),
        ("PUT", "/api/providers/openai/settings"),
        ("DELETE", "/api/providers/openai/key"),
        ("DELETE", "/api/providers/openai"),
        ("DELETE", "/api/providers/test"),
        ("POST", "/api/providers"),
        ("POST", "/api/pulls"),
        ("DELETE", "/api/pulls/x"),
        ("POST", "/api/first"),
    ):
        answer = ana.ask(method, path, json={"key": "mine", "base_url": "http://127.0.0.1:9"})
        assert answer.status_code == 403, (path, answer.text)
    for path in (
        "/api/providers",
        "/api/providers/openai",
        "/api/start",
        "/api/models",
        "/api/first",
    ):
        assert "the-teams-own" not in ana.ask("GET", path).text
    session = ana.new_session()
    for line in (
        "/set base_url http://127.0.0.1:9",
        "/context /etc/passwd",
        "/export x",
        "/tools on",
        "/options x=1",
        "/count /etc/passwd",
        "/prompts",
        "/mcp",
        "/as x",
        "/paste",
        "/save",
        "/tool",
    ):
        answer = ana.ask("POST", f"/api/sessions/{session}/commands", json={"line": line})
        assert answer.status_code == 400 and "root:" not in answer.text, (line, answer.text)


def test_an_import_attaches_no_file_of_the_server(team: tuple[TeamPage, str]) -> None:
    import json

    ana = signed_in(team, "ana")
    session = ana.new_session()
    ana.say(session, "exported")
    ana.wait(session)
    document = ana.json("GET", f"/api/sessions/{session}/export?format=json")
    row = document if isinstance(document, dict) else document[0]
    row["id"], row["name"] = "f" * 32, "imported"
    for number, message in enumerate(row["messages"]):
        message["id"] = f"{number + 1:032x}"
        message["parent"] = f"{number:032x}"
    row["settings"] = {
        "tools": ["read_file"],
        "experimental": True,
        "attached": [{"kind": "file", "name": "/etc/passwd", "root": "/", "without": []}],
    }
    answer = ana.ask("POST", "/api/import?name=x.json", data=json.dumps(row))
    assert answer.ok, answer.text
    ana.say("f" * 32, "what is attached?")
    assert "root:" not in str(ana.wait("f" * 32))


def test_signing_out_ends_it_here_or_everywhere(team: tuple[TeamPage, str]) -> None:
    here, there, ben = (signed_in(team, name) for name in ("ana", "ana", "ben"))
    kept = here.client.cookies.copy()
    page = here.ask("GET", "/signout")
    assert "signed in as <strong>ana</strong>" in page.text and "<script" not in page.text
    assert here.ask("GET", "/api/sessions").status_code == 200  # asking for the page ends nothing
    assert here.json("GET", "/api/start")["member"] == "ana"
    left = here.ask("POST", "/signout")
    assert (left.status_code, left.headers["location"]) == (303, "/signin")
    assert here.ask("GET", "/api/sessions").status_code == 401
    assert here.ask("GET", "/signout").headers["location"] == "/signin"
    assert there.ask("GET", "/api/sessions").status_code == 200
    other_site = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert there.ask("POST", "/signout", headers=other_site).status_code == 403
    session = there.new_session()
    place = there.json("GET", f"/api/sessions/{session}")["place"]
    path = f"{team[1]}/api/sessions/{session}/events?after={place}"
    events = there.client.get(path, stream=True, timeout=PATIENCE)
    assert ben.ask("POST", "/signout", data={"everywhere": "yes"}).status_code == 303
    assert there.ask("GET", "/api/sessions").status_code == 200
    assert there.ask("POST", "/signout", data={"everywhere": "yes"}).status_code == 303
    here.client.cookies.update(kept)
    assert here.ask("GET", "/api/sessions").status_code == 401
    with pytest.raises(requests.exceptions.ChunkedEncodingError):  # the stream of events ends
        list(events.iter_lines())
    assert signed_in(team, "ana").ask("GET", "/api/sessions").status_code == 200


def test_a_link_on_another_site_leads_to_the_page(team: tuple[TeamPage, str]) -> None:
    followed = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    ana = signed_in(team, "ana")
    for path in ("/", "/s/abc", "/numbers", '/s/"><script>'):
        page = ana.ask("GET", path, headers=followed)
        assert page.status_code == 200 and "http-equiv" in page.text and "<script" not in page.text
        assert "no-store" in page.headers["cache-control"]
    for path, changed in (
        ("/api/sessions", {}),
        ("/", {"sec-fetch-dest": "iframe"}),
        ("/", {"sec-fetch-mode": "cors"}),
        ("/", {"origin": "http://evil.example"}),
        ("/signout", {}),
    ):
        assert ana.ask("GET", path, headers=followed | changed).status_code == 403, (path, changed)
    assert ana.ask("POST", "/", headers=followed).status_code == 403


def test_a_lost_account_and_a_new_password_end_what_was_signed_in(
    team: tuple[TeamPage, str],
) -> None:
    page = team[0]
    assert page.run("--add-user", "cleo", typed="the first password").returncode == 0
    cleo = Member("cleo", team[1])
    assert cleo.sign_in("the first password") == 303
    assert cleo.ask("GET", "/api/sessions").status_code == 200
    assert page.run("--add-user", "cleo", typed="the second password").returncode == 0
    assert wait_for_end(cleo) and cleo.sign_in("the second password") == 303
    assert "cleo" in page.run("--list-users").stdout
    assert page.run("--remove-user", "cleo").returncode == 0
    assert wait_for_end(cleo) and cleo.sign_in("the second password") == 403
    assert page.run("--add-user", "cleo", typed="short").returncode == 2


def wait_for_end(member: Member) -> bool:
    import time

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if member.ask("GET", "/api/sessions").status_code == 401:
            return True
        time.sleep(0.2)
    return False


def test_other_sites_and_hosts_are_refused(team: tuple[TeamPage, str]) -> None:
    ana = signed_in(team, "ana")
    for headers, status in (
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"x-stream-chat": ""}, 403),
    ):
        kept = {name: value for name, value in headers.items() if value}
        client = requests.Session()
        client.cookies.update(ana.client.cookies)
        wanted = {} if "x-stream-chat" in headers else {"x-stream-chat": "page"}
        answer = client.post(f"{team[1]}/api/sessions", headers=wanted | kept, timeout=PATIENCE)
        assert answer.status_code == status, headers


def test_a_trusted_proxy_names_the_user(postgres_url: str, environment: dict[str, str]) -> None:
    with TeamPage(postgres_url, environment) as page:
        proxied = page.start(
            "--trusted-proxy", "127.0.0.1", "--user-header", "X-User", "--user-rate", "3"
        )
        dan = Member("dan", f"http://127.0.0.1:{proxied}")
        dan.client.headers["x-user"] = "dan"
        session = dan.new_session()
        dan.say(session, "of dan")
        assert text_of(dan.wait(session)["events"])
        statuses = [dan.ask("POST", f"/api/sessions/{session}/retry").status_code for _ in range(3)]
        assert statuses[-1] == 429
        page.end(proxied)
        other = page.start("--trusted-proxy", "127.0.0.9", "--user-header", "X-User")
        dan.url = f"http://127.0.0.1:{other}"
        assert dan.ask("GET", "/api/sessions").status_code == 401


def test_the_page_serves_tls_itself(
    postgres_url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    with TeamPage(postgres_url, environment, "ana") as page:
        port = page.start("--tls-cert", certificate, "--tls-key", key)
        ana = Member("ana", f"https://localhost:{port}")
        with pytest.raises(requests.exceptions.SSLError):
            ana.sign_in()
        ana.client.verify = certificate
        assert ana.sign_in() == 303
        assert all(cookie.secure for cookie in ana.client.cookies)
        session = ana.new_session()
        ana.say(session, "hello")
        assert "hello" in str(ana.wait(session))
        missing = page.run("--web", "--team", "--tls-cert", certificate, "--tls-key", f"{key}.old")
        assert missing.returncode == 2 and "File not found" in missing.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (("--host", "0.0.0.0"), "unencrypted"),
        (("--user-header", "X-User"), "needs a trusted proxy"),
        (("--trusted-proxy", "proxy.example"), "is not an address"),
        (("--tls-cert", "x.pem"), "needs the certificate's key"),
        (("--public-url", "chat.example"), "is not a valid page address"),
    ],
)
def test_what_is_not_safe_does_not_start(words: tuple[str, ...], said: str) -> None:
    from core.argument_parser import parse_arguments
    from core.web.team.server import address_of

    with pytest.raises(UsageError) as caught:
        address_of(parse_arguments(["--web", "--team", *words], {"HOME": "/nowhere"}))
    assert said in caught.value.message


def test_passwords_and_tickets() -> None:
    one, other = hashed("a long password"), hashed("a long password")
    assert one != other and fits(one, "a long password") and not fits(one, "another password")
    assert not fits("no hash", "x")
    ticket = make_ticket("ána.b c", one)
    assert (
        name_in(ticket) == "ána.b c" and is_genuine(ticket, one) and not is_genuine(ticket, other)
    )
    assert not is_genuine(ticket, "") and name_in("") == name_in("a.b.c") == ""
    assert name_in(make_ticket("ana", one, now=1.0)) == ""
    attempts = Attempts()
    for _ in range(FREE_TRIES - 1):
        attempts.failed("name ana")
    assert attempts.wait("name ana") <= 0
    attempts.failed("name ana")
    assert 0 < attempts.wait("name ana", "address x") <= 1 and attempts.wait("name ben") <= 0
    attempts.succeeded("name ana")
    assert attempts.wait("name ana") <= 0


def test_programs_reach_nothing_of_another_member(team: tuple[TeamPage, str]) -> None:
    """Every way in which /v1 names something: a session, an answer, an earlier response."""
    ana, ben = signed_in(team, "ana"), signed_in(team, "ben")
    session = ana.new_session()
    ana.say(session, "the secret of ana")
    before = ana.wait(session)
    name = ana.json("GET", f"/api/sessions/{session}/row")["name"]
    model = ana.json("GET", "/api/start")["model"]
    asked = {"model": model, "messages": [{"role": "user", "content": "and now?"}]}
    for named in (session, name, session[:12], name[-8:]):
        for path, body in (
            ("/v1/chat/completions", asked),
            ("/v1/responses", {"model": model, "input": "and now?"}),
        ):
            answer = ben.ask("POST", path, json=body, headers={"x-stream-chat-session": named})
            told = answer.headers.get("x-stream-chat-session", "")
            assert session not in told and "secret" not in answer.text, (named, path, answer.text)
    assert ana.json("GET", f"/api/sessions/{session}")["events"] == before["events"]
    kept = {"x-conversation-id": "an answer"}
    mine = ana.ask("POST", "/v1/chat/completions", json=asked | {"stream": True}, headers=kept)
    assert mine.ok and "[DONE]" in mine.text
    for method, path in (
        ("GET", "/v1/stream?conv_id=an answer"),
        ("DELETE", "/v1/stream?conv_id=an answer"),
    ):
        assert ben.ask(method, path).status_code == 404, path
    assert "[DONE]" in ana.ask("GET", "/v1/stream?conv_id=an answer").text
    first = ana.json("POST", "/v1/responses", {"model": model, "input": "the secret of ana"})
    body = {"model": model, "input": "and now?", "previous_response_id": first["id"]}
    refused = ben.ask("POST", "/v1/responses", json=body)
    assert refused.status_code == 400 and "is unknown" in refused.text
    assert ana.ask("POST", "/v1/responses", json=body).ok
