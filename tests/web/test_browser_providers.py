"""The page of providers, used as by a new user."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.fake_server import (Answer, FakeOllama, FakeServer, Received, fake_words, json_answer,
                               lines_answer, sse_answer)
from tests.web.browser import Tab
from tests.web.page_server import PageServer, free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
KEY = "sk-the-right-key-0123456789"
on_a_desktop = pytest.mark.parametrize("tab", ["desktop"], indirect=True)
EMBEDDER = "text-embedding-3-small"
MODELS = [{"id": "first-model", "object": "model", "context_length": 32_768},
          {"id": "second-model", "object": "model"}, {"id": EMBEDDER, "object": "model"}]


def company(request: Received) -> Answer:
    """A server that speaks OpenAI's API to whoever has the key."""
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return json_answer({"error": {"message": "Incorrect API key provided"}}, 401)
    if request.method == "GET":
        return json_answer({"object": "list", "data": MODELS})
    model = request.json["model"]
    pieces = [{"choices": [{"index": 0, "delta": {"content": f"I am {model}."}}]},
              {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    events = [f"data: {json.dumps({'id': '1', 'model': model, **each})}\n\n" for each in pieces]
    return sse_answer([*events, "data: [DONE]\n\n"])


class SlowPull(FakeOllama):
    """Downloads slowly enough to be watched, but for words-N; refuses chats with other models."""

    def _chat(self, body: Mapping[str, Any]) -> Answer:
        if body["model"].removesuffix(":latest") in self.models:
            return super()._chat(body)
        return json_answer({"error": f"model '{body['model']}' not found"}, 404)

    def _pull(self, model: str) -> Answer:
        if model.startswith("words"):
            return super()._pull(model.removesuffix(":latest"))
        steps = [{"status": "pulling a", "digest": "sha256:a", "total": 14_300_000_000,
                  "completed": 100_000_000 * number} for number in range(1, 100)]
        return lines_answer(steps, delay=0.2)


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOllama]:
    with SlowPull() as running:
        yield running


@pytest.fixture(scope="module")
def cloud() -> Iterator[FakeServer]:
    with FakeServer(company) as running:
        yield running


@pytest.fixture(scope="module")
def server(ollama: FakeOllama, home: dict[str, str]) -> Iterator[PageServer]:
    with PageServer(home | {"OLLAMA_HOST": ollama.url, "MISTRAL_API_KEY": "mi-1"}) as running:
        yield running


def row_of(tab: Tab, name: str) -> Locator:
    return tab.page.locator(f"#provider-{name}")


def add(tab: Tab, **fields: str) -> Locator:
    """Fill in the dialog and send it; returns the dialog."""
    tab.page.get_by_role("button", name="Add a provider").click()
    dialog = tab.page.get_by_role("dialog", name="Add a provider")
    for label, value in fields.items():
        field = dialog.get_by_label(label.replace("_", " "), exact=True)
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    dialog.get_by_role("button", name="Add", exact=True).click()
    return dialog


def agree(tab: Tab) -> None:
    tab.page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()


def test_a_server_is_added_used_and_removed(tab: Tab, cloud: FakeServer) -> None:
    name = f"my-{tab.size}"
    tab.go("/providers")
    dialog = add(tab, Name=f"My {tab.size}", Base_URL="somewhere", Key="wrong")
    expect(dialog.get_by_role("alert")).to_contain_text("http://")
    dialog.get_by_label("Base URL").fill(f"{cloud.url}/v1")
    dialog.get_by_role("button", name="Add", exact=True).click()
    row = row_of(tab, name)
    expect(row.locator(".state")).to_have_text("Key refused")
    expect(row.locator(".row-summary .row-why")).to_contain_text("Incorrect API key provided")
    row.get_by_role("button", name="Replace").click()
    row.get_by_label("Key").fill(KEY)
    row.get_by_role("button", name="Save key").click()
    expect(row.locator(".state")).to_have_text("Connected")
    expect(row.locator("td").first).to_have_text("first-model")
    assert KEY not in tab.page.content()
    row.get_by_label("Default model").select_option("second-model")
    row.get_by_role("button", name="Save settings").click()
    expect(row.locator(".field-said")).to_have_text("Saved")
    tab.go("/")
    embedder = tab.page.locator(f'.models .model[data-model="{name}/{EMBEDDER}"]')
    tab.page.locator(".model-button").click()
    expect(tab.page.locator(f'.models .model[data-model="{name}/second-model"]')).to_be_visible()
    expect(embedder).to_have_count(0)
    tab.page.get_by_role("searchbox", name="Find a model").fill("embed")
    expect(embedder).to_contain_text("not for chat")
    tab.page.keyboard.press("Escape")
    tab.go("/")
    tab.choose_model(f"{name}/second-model")
    assert tab.ask("Who are you?") == "I am second-model."
    tab.go("/providers")
    row.get_by_label(f"Settings of {name}").click()
    row.get_by_role("button", name="Remove", exact=True).click()
    agree(tab)
    expect(row.locator(".state")).to_have_text("No key")
    row.get_by_role("button", name="Remove this provider").click()
    agree(tab)
    expect(row).to_have_count(0)
    tab.page.reload()
    expect(row_of(tab, "ollama")).to_be_visible()
    expect(row).to_have_count(0)


def test_a_missing_model_is_pulled_where_it_is_missed(tab: Tab, ollama: FakeOllama) -> None:
    tab.go()
    tab.choose_model("ollama/words-50:latest")
    tab.ask("Are you here?")
    ollama.models.remove("words-50")
    tab.send("Hello")
    notice = tab.page.locator(".message.from-model .notice")
    expect(notice).to_contain_text("Ollama has no model")
    expect(notice).not_to_contain_text("ollama pull")
    tab.page.reload()
    colour = "element => getComputedStyle(element).color"
    pull = notice.get_by_role("button", name="Pull words-50:latest")
    again = notice.get_by_role("button", name="Try again")
    assert pull.evaluate(colour) == again.evaluate(colour), "readable"
    pull.click()
    expect(notice).to_have_count(0)
    assert tab.reply(2) == fake_words(50)
    tab.send("/models pull words-7")
    expect(tab.page.locator(".outcome .pull-figure")).to_have_text("Complete")
    ollama.models.remove("words-7")


@on_a_desktop
def test_a_known_provider_is_added_and_stays(tab: Tab, cloud: FakeServer) -> None:
    tab.go("/providers")
    expect(row_of(tab, "vllm")).to_have_count(0)
    add(tab, Provider="vllm", Base_URL=f"{cloud.url}/v1")
    row = row_of(tab, "vllm")
    expect(row.locator(".row-name")).to_have_text("vLLM")
    expect(row.locator(".state")).to_have_text("No key")
    expect(row.locator(".row-body > *").first).to_contain_text("This server asks for a key.")
    expect(row.locator(".row-summary .row-why")).to_contain_text("asks for a key")
    tab.page.reload()
    row.get_by_role("button", name="Add a key").click()
    expect(row.get_by_label("Base URL")).to_have_value(f"{cloud.url}/v1")
    row.get_by_label("Temperature").fill("0.75")
    row.get_by_label("Key", exact=True).fill(KEY)
    row.get_by_role("button", name="Save key").click()
    expect(row.locator("td").first).to_have_text("first-model")
    expect(row.get_by_label("Temperature")).to_have_value("0.75")
    row.get_by_role("button", name="Remove this provider").click()
    agree(tab)
    expect(row).to_have_count(0)


@on_a_desktop
def test_every_state_has_its_word(tab: Tab) -> None:
    tab.go("/providers")
    expect(row_of(tab, "ollama").locator(".row-name")).to_have_text("Ollama")
    expect(row_of(tab, "openai").locator(".state")).to_have_text("No key")
    add(tab, Provider="lmstudio") if row_of(tab, "lmstudio").count() == 0 else None
    gone = f"gone-{tab.size}"
    add(tab, Name=gone, Base_URL=f"http://127.0.0.1:{free_port()}/v1")
    expect(row_of(tab, gone).locator(".state")).to_have_text("Unreachable")
    tab.page.get_by_role("button", name="Test all").click()
    expect(row_of(tab, "ollama").locator(".state")).to_have_text("Connected")
    expect(row_of(tab, "ollama").locator(".when")).to_contain_text("just now")
    mistral = row_of(tab, "mistral")
    mistral.get_by_label("Settings of Mistral").click()
    expect(mistral.locator(".key-saved")).to_have_text("From MISTRAL_API_KEY")
    expect(mistral.get_by_role("button", name="Replace")).to_have_count(0)
    row_of(tab, gone).get_by_role("button", name="Remove this provider").click()
    agree(tab)
    expect(row_of(tab, gone)).to_have_count(0)


@on_a_desktop
def test_the_list_of_models_leads_to_a_missing_key(tab: Tab) -> None:
    tab.page.locator(".model-button").click()
    line = tab.page.locator(".models .provider-line", has_text="Anthropic")
    line.get_by_role("link", name="Add a key").click()
    expect(row_of(tab, "anthropic").get_by_label("Key", exact=True)).to_be_focused()


@on_a_desktop
def test_a_download_shows_its_speed_and_outlives_a_reload_and_a_change(tab: Tab) -> None:
    model = f"big-{tab.size}:70b"
    tab.go("/providers")
    row = row_of(tab, "ollama")
    row.get_by_label("Settings of Ollama").click()
    row.get_by_label("Model to pull").fill(model)
    row.get_by_role("button", name="Pull model").click()
    job = row.locator(".pull-job", has_text=model)
    expect(job).to_contain_text("MB/s")
    expect(job).to_contain_text("left")
    row.get_by_label("Top p").fill("0.5")
    row.get_by_role("button", name="Save settings").click()
    expect(row.locator(".field-said")).to_have_text("Saved")
    tab.page.reload()
    expect(job.get_by_role("progressbar")).to_be_visible()
    job.get_by_role("button", name="Stop").click()
    expect(job).to_contain_text("Stopped")


@pytest.mark.parametrize("body", [
    {"name": "", "base_url": "http://127.0.0.1:1/v1"}, {"name": "a/b", "base_url": "http://h/v1"},
    {"name": "../x", "base_url": "http://h/v1"}, {"name": "pool", "base_url": "http://h/v1"},
    {"name": "x" * 60, "base_url": "http://h/v1"}, {"name": "\u202e", "base_url": "http://h/v1"},
    {"name": "mine"}, {"name": "mine", "base_url": "file:///etc/passwd"},
    {"name": "mine", "base_url": "http://u:p@h/v1"}, {"name": "mine", "base_url": "http://h/?a=b"},
    {"name": "mine", "base_url": "http://h/v1", "dialect": "os"},
    {"name": "mine", "base_url": "http://h/v1", "key": "two words"},
    {"name": "mine", "base_url": 7}, {"name": "groq", "key": "line\nend"},
], ids=lambda body: json.dumps(body)[:40])
def test_what_is_not_a_provider_is_refused_and_nothing_is_kept(
        server: PageServer, body: dict[str, object]) -> None:
    before = server.get("/api/providers")["providers"]
    given = {"dialect": "openai", **body}
    answer = server.client.post(f"{server.url}/api/providers", json=given, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["message"], answer.text
    after = server.get("/api/providers")["providers"]
    assert [row["name"] for row in after] == [row["name"] for row in before]
    assert [row["listed"] for row in after] == [row["listed"] for row in before]


def test_what_was_not_added_here_is_not_removed(server: PageServer) -> None:
    for name in ("ollama", "openai", "mistral", "groq"):
        answer = server.client.delete(f"{server.url}/api/providers/{name}", timeout=60)
        assert answer.status_code == 400, name
