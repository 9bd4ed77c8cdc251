"""A turn runs in the server: pages are opened and closed, the server is killed, and the answer is
completed.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fake_server import FakeOllama, fake_words
from tests.web.page_server import PageServer, text_of

Environment = dict[str, str]
KILLS = int(os.environ.get("STREAM_CHAT_TEST_PAGE_KILLS", "4"))     # make prove ONLY=page does more
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "1"))


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        yield server


@pytest.fixture
def page(ollama: FakeOllama, environment: Environment) -> Iterator[PageServer]:
    with PageServer(environment | {"OLLAMA_HOST": ollama.url}, "-m", "words-40") as server:
        yield server


def test_an_answer_streams_to_a_page_that_listens(page: PageServer) -> None:
    session = page.new_session()
    place = page.snapshot(session)["place"]
    heard: list[dict[str, Any]] = []

    def listen() -> None:
        for _, event in page.listen(session, place):
            heard.append(event)
            if event["type"] == "turn_end":
                return
    listener = threading.Thread(target=listen)
    listener.start()
    assert page.ask(session, "hello")["accepted"] == "started"
    listener.join(60)
    kinds = [event["type"] for event in heard]
    assert kinds[:3] == ["turn_start", "user", "reply"] and kinds[-1] == "turn_end"
    assert text_of(heard) == fake_words(40)
    assert heard[-1]["state"] == "complete" and heard[-1]["saved"]


def test_a_reload_shows_the_same_and_a_stranger_place_is_reset(page: PageServer) -> None:
    session = page.new_session()
    page.ask(session, "hello")
    found = page.wait_until_done(session)
    assert text_of(found["events"]) == fake_words(40)
    assert [event["text"] for event in found["events"] if event["type"] == "user"] == ["hello"]
    for place in ("", "0:0", "nonsense", f"{found['place'].split(':')[0]}:999999", "\u00b2:\u00b2"):
        assert [event["type"] for _, event in page.listen(session, place)] == ["reset"], place


def test_the_same_key_is_one_message(page: PageServer) -> None:
    session = page.new_session()
    assert page.ask(session, "once", key="k")["accepted"] == "started"
    assert page.ask(session, "once", key="k")["accepted"] == "known"
    found = page.wait_until_done(session)
    assert [event["type"] for event in found["events"]].count("user") == 1


def test_messages_that_wait_are_asked_in_their_order(page: PageServer) -> None:
    session = page.new_session()
    page.post(f"/api/sessions/{session}/commands",
              {"line": "/model words-60@20", "confirmed": True})
    assert page.ask(session, "one")["accepted"] == "started"
    assert page.ask(session, "two")["accepted"] == "queued"
    assert page.ask(session, "three")["accepted"] == "queued"
    queue = [event for event in page.snapshot(session)["events"] if event["type"] == "queue"][-1]
    assert [item["text"] for item in queue["items"]] == ["two", "three"]
    page.client.put(f"{page.url}/api/sessions/{session}/queue", json={"keys": ["three"]},
                    timeout=60)
    seen: list[str] = []
    while seen != ["one", "three"]:
        found = page.wait_until_done(session)
        seen = [event["text"] for event in found["events"] if event["type"] == "user"]
        assert "two" not in seen


def test_pages_hear_what_waits_and_when_it_waits_no_longer(page: PageServer) -> None:
    session = page.new_session()
    page.post(f"/api/sessions/{session}/commands",
              {"line": "/model words-100@20", "confirmed": True})
    before = page.snapshot(session)["place"]
    page.ask(session, "one")
    asked: list[str] = []
    waiting: list[list[str]] = []
    accepted = ""
    for _, event in page.listen(session, before):
        if event["type"] == "user":
            asked.append(event["text"])
        elif event["type"] == "queue":
            waiting.append([item["text"] for item in event["items"]])
        elif event["type"] == "text" and not accepted:
            accepted = page.ask(session, "two")["accepted"]
        elif event["type"] in ("text", "turn_end") and asked == ["one", "two"]:
            break
    assert accepted == "queued" and waiting == [["two"], []]


def test_after_a_stop_a_new_message_is_asked_first_and_what_was_held_follows(
        page: PageServer) -> None:
    session = page.new_session()
    page.post(f"/api/sessions/{session}/commands",
              {"line": "/model words-200@20", "confirmed": True})
    page.ask(session, "one")
    assert page.ask(session, "two")["accepted"] == "queued"
    page.post(f"/api/sessions/{session}/stop")
    queue = [event for event in page.snapshot(session)["events"] if event["type"] == "queue"][-1]
    assert queue["held"] and [item["text"] for item in queue["items"]] == ["two"]
    page.post(f"/api/sessions/{session}/commands",
              {"line": "/model words-40", "confirmed": True})
    assert page.ask(session, "three")["accepted"] == "started"
    seen: list[str] = []
    while seen != ["one", "three", "two"]:
        found = page.wait_until_done(session)
        seen = [event["text"] for event in found["events"] if event["type"] == "user"]
        assert seen in (["one", "three"], ["one", "three", "two"]), seen


@pytest.mark.timeout(0)
def test_servers_that_are_killed_finish_their_answers_when_they_are_back(page: PageServer) -> None:
    """A page has seen the beginning of the answer, the answer is completed, and the question is
    stored once.
    """
    luck = random.Random(SEED)
    print("seed", SEED)
    lengths = []
    for number in range(KILLS):
        session = page.new_session()
        page.post(f"/api/sessions/{session}/commands",
                  {"line": "/model words-60@60", "confirmed": True})
        shown = killed_after(page, session, luck.randrange(1, 330))
        found = page.wait_until_done(session)
        said = text_of(found["events"])
        assert said.startswith(shown), (number, shown, said)
        assert ([event["text"] for event in found["events"] if event["type"] == "user"]
                == ["count"]), number
        finishes = [event["finish"] for event in found["events"] if event["type"] == "message_end"]
        assert finishes[-1] == "stop" and "w59" in said, (number, finishes, said)
        lengths.append(len(shown))
    print(f"\ncounted: {KILLS} servers killed in mid-answer\n{KILLS} kills after {min(lengths)} to "
          f"{max(lengths)} characters")


def killed_after(page: PageServer, session: str, characters: int) -> str:
    """Ask, kill the server after at least so many characters and restart it; return what was seen
    until then.
    """
    before = page.snapshot(session)["place"]
    page.ask(session, "count")
    shown = ""
    for _, event in page.listen(session, before):
        shown += event.get("raw", "")
        if len(shown) >= characters or event["type"] == "turn_end":
            break
    page.kill()
    page.start()
    return shown
