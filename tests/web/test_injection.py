"""Text of models, tools, files and errors that tries to become a script or a request never does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult
from core.store.identity import new_message_id, new_session_id
from db import open_store
from tests.fake_server import FakeServer, json_answer
from tests.web.browser import Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
COUNT, PAGES = 1000, 20
SCRIPTS = ("window.pwned=1", "fetch('//evil.example/{n}')", "document.title='pwned'", "alert({n})")
VECTORS = (
    "<script>{js}</script>", "<img src=x onerror={js}>", "<svg onload={js}>",
    "<svg><script>{js}</script></svg>",
    "<iframe srcdoc=\"<script>parent.{js}</script>\">", "<iframe src=javascript:{js}>",
    "<body onload={js}>",
    "<a href=javascript:{js}>x</a>", "[x](javascript:{js})", "[x](JaVaScRiPt:{js})",
    "[x](java\tscript:{js})",
    "[x](&#106;avascript:{js})", "[x](data:text/html,<script>{js}</script>)", "[x](vbscript:{js})",
    "<javascript:{js}>",
    "![x](http://evil.example/{n}.png)", "![x](javascript:{js})",
    "![x](//evil.example/{n}.png \"t\" onerror={js})",
    "<img src=http://evil.example/{n}>", "<style>@import '//evil.example/{n}'</style>",
    "<base href=//evil.example/{n}/>",
    "<link rel=stylesheet href=//evil.example/{n}>",
    "<meta http-equiv=refresh content='0;url=//evil.example/{n}'>",
    "<form action=//evil.example/{n}><button autofocus onfocus={js}>",
    "<details open ontoggle={js}>",
    "<video><source onerror={js}>",
    "<math><mi xlink:href=javascript:{js}>x",
    "<object data=//evil.example/{n}>", "<embed src=//evil.example/{n}>",
    "</textarea><script>{js}</script>", "\"><script>{js}</script>",
    "' onmouseover={js} autofocus onfocus={js} x='",
    "`<img src=x onerror={js}>`", "```html\n<script>{js}</script>\n```",
    "```x\" onclick={js} y=\"\ncode\n```",
    "$\\href{{javascript:{js}}}{{x}}$", "[x]: javascript:{js}\n\n[x]",
    "<!--><img src=x onerror={js}>-->",
    "<![CDATA[<script>{js}</script>]]>", "{{{{constructor.constructor('{js}')()}}}}", "${{{js}}}",
    "\u202e<script>{js}</script>",
    "<x-y onclick={js} tabindex=1 autofocus onfocus={js}>",
    "\x1b]8;;javascript:{js}\x07x\x1b]8;;\x07", "\x00<script>{js}</script>")
FRAMES = ("{}", "# {}", "> {}", "- {}", "1. {}", "**{}**",
          "| a |\n|---|\n| {} |", "[{}](http://x.example)", "text {} text", "~~{}~~")


def payloads(luck: random.Random) -> list[str]:
    made: list[str] = []
    for number in range(COUNT):
        vector = VECTORS[number % len(VECTORS)]
        script = luck.choice(SCRIPTS).format(n=number)
        made.append(luck.choice(FRAMES).format(vector.format(js=script, n=number)))
    return made


def messages_of(payload: str, number: int) -> list[Message]:
    """One exchange that carries the payload in every place that it can have."""
    call = ToolCall(f"c{number}", payload, {"q": payload, payload[:40]: [payload]})
    broken = ToolCall(f"d{number}", "x", {}, payload)
    return [Message("user", (Text(payload), Image("image/png", "iVBORw0KGgo=", payload))),
            Message("assistant", (Thinking(payload), Text(payload), call, broken),
                    f"ollama/{payload}", finish="tool_calls"),
            Message("tool", (ToolResult(call.id, payload, payload),
                             ToolResult(broken.id, "x", payload, True))),
            Message("assistant", (Text(payload),), payload, finish="interrupted")]


@pytest.fixture(scope="module")
def failing() -> Iterator[FakeServer]:
    """A provider whose errors and model names are payloads."""
    words = payloads(random.Random(7))[:len(VECTORS)]
    listed = {"data": [{"id": word} for word in words],
              "models": [{"name": word, "model": word} for word in words]}

    with FakeServer(lambda asked: json_answer(listed) if asked.method == "GET" else json_answer(
            {"error": {"message": " ".join(words), "type": words[0], "code": words[1]}},
            400)) as server:
        yield server


@pytest.fixture(scope="module")
def server(failing: FakeServer, home: dict[str, str]) -> Iterator[PageServer]:
    data = Path(home["HOME"]) / "data"
    with PageServer(home | {"OLLAMA_HOST": failing.url, "STREAM_CHAT_DATA": str(data)}, "-m",
                    "ollama/x") as running:
        yield running


def stored(server: PageServer, home: dict[str, str], seed: int) -> list[str]:
    """Sessions with all payloads, written into the store beside the server;
    returns their identities.
    """
    path = next(Path(home["HOME"]).rglob("sessions.db"))
    store = open_store(str(path))
    sessions: list[str] = []
    all_payloads = payloads(random.Random(seed))
    for page in range(PAGES):
        own = all_payloads[page::PAGES]
        sessions.append(new_session_id())
        store.create_session(sessions[-1], own[0], own[1], 1.0)
        for number, payload in enumerate(own):
            for message in messages_of(payload, number):
                store.add_message(sessions[-1], new_message_id(), message, "complete")
    store.close()
    return sessions


# Down and up, a frame apart: the page loads more when its top becomes visible.
UP = """async place => {
    for (const top of [1e9, 0]) {
        place.scrollTop = top;
        for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    }
}"""


@pytest.mark.parametrize("seed", [1])
def test_stored_text_stays_text(chromium: Browser, server: PageServer, home: dict[str, str],
                                seed: int) -> None:
    print("seed", seed)
    with Tab(chromium, server) as tab:
        tab.go()
        seen: set[tuple[str, str]] = set()
        for session in stored(server, home, seed):
            tab.go(f"/s/{session}")
            first = tab.page.locator(".from-user").first
            expect(first).to_be_attached()
            while True:     # up through the session, of which a part is on the page at once
                assert_only_ours(tab)
                places = tab.page.evaluate(PLACES)
                seen |= {(session, place) for place in places}
                if places[0] == "0":
                    break
                tab.page.locator(".scroll").first.evaluate(UP)
                expect(first).not_to_have_attribute("data-place", places[0])
        assert len(seen) == COUNT
        print(f"counted: {COUNT} script injections")
        tab.page.locator(".sidebar input[type=search]").fill("script")
        assert_only_ours(tab)
        tab.fine()


def test_errors_and_names_stay_text(chromium: Browser, server: PageServer) -> None:
    with Tab(chromium, server) as tab:
        tab.go()
        tab.send("hello")
        expect(tab.page.locator(".notice[data-kind=bad]")).to_be_visible()
        tab.page.locator(".model-button").click()
        expect(tab.page.locator(".models .model").first).to_be_visible()
        assert_only_ours(tab)
        tab.page.keyboard.press("Escape")
        tab.send("/model <img src=x onerror=window.pwned=1>")
        expect(tab.page.locator(".outcome, .notice[data-kind=bad]").last).to_be_visible()
        assert_only_ours(tab)
        tab.fine()


PLACES = "() => [...document.querySelectorAll('.from-user')].map(each => each.dataset.place)"
LOOK = """() => {
  const bad = [];
  if (window.pwned !== undefined || document.title === "pwned") bad.push("script ran");
  for (const each of document.querySelectorAll("*")) {
    for (const one of each.attributes) if (/^on/i.test(one.name)) bad.push(each.tagName + " " + one.name);
    const place = each.getAttribute("href") ?? each.getAttribute("src") ?? "";
    if (/^\\s*(javascript|vbscript):/i.test(place)) bad.push(place);
    if (each.tagName === "IMG" && !each.src.startsWith("data:image/")) bad.push(each.src);
    if (["IFRAME", "OBJECT", "EMBED", "BASE", "STYLE", "VIDEO", "MATH"].includes(each.tagName)) bad.push(each.tagName);
  }
  if (document.querySelectorAll("script").length !== 1) bad.push("scripts");
  return bad;
}"""


def assert_only_ours(tab: Tab) -> None:
    """No element, attribute or address of the payloads is in the page,
    and no script of theirs ran.
    """
    assert tab.page.evaluate(LOOK) == []
