"""A page gets the requested part of a conversation, and nothing else is loaded."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.chat.conversation import Chat
from core.chat.kept import read_attached
from core.config import Settings
from core.errors import UsageError
from core.messages import user_message
from core.model_manager import Providers, parse_target
from core.session_manager import Session, open_session
from core.stats.report import ModelStats, day_of, summarise
from core.store.rows import CallRow
from core.web.conversation.desk import Desks, Queued
from core.web.conversation.events import level_of
from core.web.conversation.live import Live
from core.web.conversation.pace import Pace
from core.web.conversation.questions import Questions
from core.web.conversation.shown import SHOWN, Snapshot
from core.web.number_api import cost_bars, csv_lines, failure_table, wait_bars
from core.web.session_api import by_day
from core.web.team.member_limits import settle
from core.web.uploads import file_name
from db import Store, open_store
from tests.sessions.test_loaded import keep, reply, turns
from tests.sessions.test_moment import damage

TURNS = 200


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "s.db"))
    yield opened
    opened.close()


def live_of(store: Store, name: str = "long") -> Live:
    settings = Settings({"model": "demo/demo", "save": False})
    session = open_session(store, name=name)
    chat = Chat(settings, session, Providers(settings), parse_target("demo/demo"),
                open_session=lambda name: Session(store))
    return Live(chat, Questions(), Desks(""), Pace())


def places(found: Snapshot | None) -> list[int]:
    assert found is not None
    return [event["place"] for event in found.events if event["type"] == "user"]


def said_by_user(found: Snapshot | None) -> list[str]:
    assert found is not None
    return [event["text"] for event in found.events if event["type"] == "user"]


def test_reading_from_end_to_beginning_and_back_loads_no_message_into_the_chat(
    store: Store,
) -> None:
    said = turns(TURNS, random.Random(31))
    keep(store, "long", said)
    live = live_of(store)
    session, waiting = live.chat.session, live.chat.session.waiting
    found, up = live.snapshot(), []
    assert found.newest and found.end == len(said)
    while True:
        assert found.end - found.first <= SHOWN + 4
        up[:0] = said_by_user(found)
        if not found.first:
            break
        found = live.earlier(found.first)
    asked = [message.text for message in said if message.role == "user"]
    assert up == asked
    down, later = said_by_user(found), live.later(found.end)
    while later is not None:
        down += said_by_user(later)
        last, later = later, live.later(later.end)
    assert down == asked[:len(down)] and last.end > len(said) - SHOWN
    live.about()
    assert session.waiting == waiting > SHOWN


def test_a_message_is_shown_among_those_around_it(store: Store) -> None:
    said = turns(TURNS, random.Random(32))
    keep(store, "long", said)
    live = live_of(store)
    stored = store.load_messages("long")
    for place in (0, 1, 30, 200, len(said) - SHOWN - 2, len(said) - SHOWN, len(said) - 1):
        assert live.place_of(stored[place].id) == place
        found = live.around(place)
        assert found.first <= place < found.end
        assert found.first >= min(place - 14, len(said) - SHOWN - 4)
        assert found.newest == (found.end == len(said))
        assert [event["type"] for event in found.events].count("queue") == 1
    assert live.place_of(123) == len(said) and live.around(len(said)).newest


def test_the_versions_of_an_old_message_are_found_without_loading_the_others(
    store: Store,
) -> None:
    said = turns(TURNS, random.Random(33))
    keep(store, "long", said)
    session = open_session(store, name="long")
    place = session.question_place(5)
    session.rewind(place)
    session.add_user(user_message("said otherwise"))
    for number in range(TURNS):
        session.add_reply(reply("x" * 1_000))
        session.add_user(user_message(f"next {number}"))
    session.close()
    live = live_of(store)
    found = live.around(place)
    event = next(event for event in found.events
                 if event["type"] == "user" and event["place"] == place)
    assert event["text"] == "said otherwise" and event["versions"]["at"] == 1
    assert live.chat.session.waiting > place
    live.show_version(int(event["versions"]["ids"][0], 16))
    assert said_by_user(live.around(place)) != said_by_user(found)
    assert live.chat.session.count == len(said)


def test_the_message_that_the_page_named_is_edited_though_others_cannot_be_read(
    store: Store,
) -> None:
    said = turns(TURNS, random.Random(34))
    keep(store, "long", said)
    damage(store, store.load_messages("long")[0].id)

    async def edit() -> Any:
        live = live_of(store)
        found = live.earlier(30)
        event = [event for event in found.events if event["type"] == "user"][3]
        with pytest.raises(UsageError, match="cannot be edited"):
            live.edit(0, Queued("k0", "what cannot be read"))
        live.edit(event["place"], Queued("k1", "edited"))
        await live.close()
        return event

    event = asyncio.run(edit())
    hidden = [entry.message.text for entry in store.load_messages("long", hidden=True)
              if not entry.active]
    assert hidden[0] == event["text"] == said[event["place"]].text


def test_a_store_that_fails_leaves_what_is_loaded(store: Store) -> None:
    keep(store, "long", turns(TURNS, random.Random(35)))
    live = live_of(store)
    store.close()
    found = live.snapshot()
    assert found.newest and found.first >= live.chat.session.waiting and found.events


def test_listed_sessions_stand_under_their_own_days() -> None:
    """In any order in which the store lists them, such as imported ones after all others."""
    rows = [{"id": "pinned", "pinned": True, "updated": 1.0},
            {"id": "here long ago", "pinned": False, "updated": 2.0},
            {"id": "elsewhere today", "pinned": False, "updated": 9.0}]
    assert [row["id"] for row in by_day(rows)] == ["pinned", "elsewhere today", "here long ago"]


def test_bars_of_the_numbers_are_parts_of_the_longest() -> None:
    one = ModelStats("a", "m", calls=2, cost=4.0, firsts=[0.5, 0.5])
    two = ModelStats("b", "m", calls=1, cost=0.002, firsts=[1.0])
    free = ModelStats("c", "m", calls=9)
    found = [one, free, two]
    assert [(bar["name"], bar["value"], bar["end"]) for bar in cost_bars(found)] == [
        ("a/m", "$4.00", 1.0), ("b/m", "$0.0020", 0.0005)]
    assert [(bar["name"], bar["value"], bar["start"], bar["end"]) for bar in wait_bars(found)] == [
        ("a/m", "0.50 to 0.50 s", 0.5, 0.5), ("b/m", "1.00 to 1.00 s", 1.0, 1.0)]
    assert cost_bars([free]) == wait_bars([free]) == []


def test_the_failures_and_the_figures_of_each_day_as_csv() -> None:
    ok = CallRow(86_400.0 * 20_000, "s", "p", "=m", "", 0.5, 1.0, 10, 20, 5, 40.0, 0.25, 1, 0,
                 "stop", None)
    calls = [ok._replace(created=86_400.0 * 19_000, error="rate_limit", cost=None),
             ok._replace(error="stream_broken", first=None), ok]
    shown = failure_table(summarise(calls), 86_400.0 * 20_000)
    assert [row[:4] for row in shown["rows"]] == [
        ["Broke off after the first word", "p/=m", "1", "1"], ["Rate limit", "p/=m", "1", "0"]]
    names, *rows = csv.reader(io.StringIO("".join(csv_lines(calls))))
    found = [dict(zip(names, row)) for row in rows]
    assert [(row["day"], row["calls"], row["failed"], row["recovered"], row["cost"])
            for row in found] == [(day_of(86_400.0 * 19_000), "1", "1", "0", ""),
                                  (day_of(86_400.0 * 20_000), "2", "1", "1", "0.5")]
    assert found[1]["model"] == "'=m" and found[1]["first_content_median"] == "0.5"
    assert next(csv_lines([])).replace('"', "").strip().split(",") == names


FOLDER = "/u/0123456789abcdef"
ATTACHED = {
    (FOLDER, "notes, it's.txt"): True, ("/u", "0123456789abcdef/notes.txt"): True,
    ("/", f"{FOLDER}/notes.txt"): True, (FOLDER, "../../etc/passwd"): False,
    (FOLDER, "!ls"): False, (FOLDER, "~root"): False, (FOLDER, "db"): False,
    (FOLDER, "http://h/../../a.txt"): False, (FOLDER, '"/etc/passwd"'): False,
    (FOLDER, "*"): False, ("/etc", "passwd"): False, ("/u", "a.txt"): False,
}


@pytest.mark.parametrize(("place", "stays"), ATTACHED.items())
def test_only_uploads_stay_attached_for_members(place: tuple[str, str], stays: bool) -> None:
    root, name = place
    session = Session(None)
    session.settings = json.dumps({"attached": [
        {"kind": "file", "name": name, "root": root, "without": []}]})
    settle(session, "/u")
    assert bool(read_attached(session.settings)) is stays


@pytest.mark.parametrize(("given", "name"), [
    ("a/b\\c.txt", "c.txt"), ("!rm.txt", "_!rm.txt"), ("~x", "_~x"), ("db", "_db"), ("-", "_-"),
    ("it's, [2] me@x.txt", "it's, [2] me@x.txt"), ("'q'", "_'q'"), (" .. ", "file"),
    ('a:b?"*|', "a_b____"), ("", "file")])
def test_a_file_keeps_its_name_unless_that_means_something_else(given: str, name: str) -> None:
    assert file_name(given) == name == file_name(name)


@pytest.mark.parametrize(("text", "level"), [
    ("context: 1 of 1 files, 449 of 32,768 tokens", "note"),
    ("Attached: chart.png (60 \u00d7 40, 1.0 kB, about 1,100 tokens)", "note"),
    ("echo does not see images, so 1 image was left out.", "warn"),
    ("Not attached: a.bin: it is binary", "warn"), ("NOT SAVED: the disk is full.", "warn"),
    ("Attached as before: notes.txt.", "info")])
def test_a_notice_is_as_loud_as_it_is_important(text: str, level: str) -> None:
    assert level_of(text) == level
