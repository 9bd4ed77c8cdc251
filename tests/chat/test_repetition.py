"""A reply that repeats itself endlessly is stopped; one that is only similar is not."""

from __future__ import annotations

import asyncio
import os
import random
import string

import pytest

from bench.server import document
from core.chat.repetition import LONG_EXACT, Repetition, repeated
from core.chat.turn import run_chat_turn
from core.events import (
    Event,
    Finished,
    MessageAdded,
    Notice,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from core.messages import user_message
from core.providers import Request
from tests.chat.test_turn import scripted

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
CHANCE = random.Random(SEED)


def words(count: int) -> str:
    return " ".join(
        "".join(CHANCE.choices(string.ascii_lowercase, k=CHANCE.randint(2, 9)))
        for _ in range(count)
    )


def reason(text: str, size: int = 7) -> str:
    watch = Repetition()
    for start in range(0, len(text), size):
        watch.feed(text[start: start + size])
    return watch.reason


@pytest.mark.parametrize("length", [1, 2, 3, 5, 17, 40, 64, 65, 200, 499, 1_500])
def test_a_passage_that_is_repeated_to_the_letter(length: int) -> None:
    print("seed", SEED)
    passage = words(length)[:length].ljust(length, "z")
    for size in (1, 13, 700):
        size_of_all = 24_000 if length <= 240 else 230_000
        text = words(300) + passage * (size_of_all // length + 2)
        assert "endlessly" in reason(text, size), (passage, size)


NEARLY = {
    "a counter": lambda n: f"Step {n}: mix the flour with the water and wait a while.\n",
    "capitals": lambda n: CHANCE.choice(["I am sorry, ", "I AM SORRY, "]) + "I can not do that. ",
    "spaces": lambda n: "and so on and on" + " " * CHANCE.randint(1, 9) + "and again.\n",
    "any order": lambda n: CHANCE.choice(
        ["It is what it is. ", "Let me think again! ", "No, wait.\n"]
    ),
    "without stops": lambda n: f"and then {n} came by to say ",
}


@pytest.mark.parametrize("kind", NEARLY)
def test_passages_that_are_nearly_the_same(kind: str) -> None:
    print("seed", SEED)
    text = "".join(NEARLY[kind](number) for number in range(2_000))
    assert "endlessly" in reason(words(300) + text[:30_000])


DOCUMENTS = ("para", "table", "mixed", "list", "cjk", "code")
ALIKE = {
    "words": lambda: words(20_000),
    "a table": lambda: "".join(f"| {n} | {words(2)} | open |\n" for n in range(2_000)),
    "a count": lambda: "".join(f"{n}\n" for n in range(9_000)),
    "numbers": lambda: " ".join(str(CHANCE.randrange(10_000)) for _ in range(9_000)),
    "laughter": lambda: words(100) + "ha " * 500 + words(100),
    "a ruler": lambda: (words(100) + "\n" + "-" * 400 + "\n") * 3,
    "test data": lambda: "".join(f"INSERT INTO t VALUES ({n}, 'user{n}');\n" for n in range(9_000)),
    "measurements": lambda: "".join(f"sensor {n}, open, {n * 7 % 90}.5\n" for n in range(4_000)),
    "one form many times": lambda: (words(60) + "\n") * 300,
    "a loop that was left": lambda: "again " * 480 + words(200),
    "base64": lambda: "".join(CHANCE.choices(string.ascii_letters + string.digits, k=30_000)),
    **{f"document {kind}": lambda kind=kind: "".join(document(kind, 32_000)) for kind in DOCUMENTS},
}


def test_where_a_passage_is_short_enough_and_a_quotation_is_cut() -> None:
    """Passages of up to 240 characters are stopped after 3,000, longer ones after 200,000; 40
    characters are quoted.
    """
    for length, stops in ((240, True), (241, False)):
        passage = words(100)[: length - 1] + "|"
        assert bool(repeated(passage * 30, 3_000)) is stops, passage
    for length, cut in ((40, ""), (41, "…")):
        quoted = reason(words(30).replace(" ", "")[:length] * 200).split('"')[1]
        assert len(quoted) == length and quoted[40:] == cut


@pytest.mark.parametrize("kind", ALIKE)
def test_text_that_only_looks_alike(kind: str) -> None:
    print("seed", SEED)
    text = ALIKE[kind]()
    assert [reason(text, size) for size in (5, 400)] == ["", ""]


def events_of(
    *deltas: TextDelta | ThinkingDelta | ToolCallDelta | Finished, stop: bool = True
) -> list[Event]:
    async def collect() -> list[Event]:
        turn = run_chat_turn(
            scripted(deltas), Request("m", (user_message("q"),)), model="p/m", stop_repetition=stop
        )
        return [event async for event in turn]

    return asyncio.run(collect())


LOOPS = {
    "text": [TextDelta("I am sorry. ")] * 900,
    "thinking": [ThinkingDelta("Wait, no. ")] * 900,
    "arguments": [ToolCallDelta(0, "c", "look", "aaaaaaaaaa")] * 900,
}


@pytest.mark.parametrize("kind", LOOPS)
def test_the_turn_ends_incomplete_and_says_why(kind: str) -> None:
    events = events_of(*LOOPS[kind], Finished("stop"))
    message = events[-1]
    assert isinstance(message, MessageAdded) and message.message.finish == "incomplete"
    assert message.message.tool_calls == ()
    shown = "".join(event.text for event in events if isinstance(event, (TextDelta, ThinkingDelta)))
    assert message.message.text + message.message.thinking == shown, "what was shown is kept"
    assert len(shown) < 4_000
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert (
        len(notes) == 1
        and notes[0].startswith("Stopped: p/m repeats")
        and "--no-stop-repetition" in notes[0]
    )


@pytest.mark.parametrize("kind", ["text", "thinking"])
def test_the_setting_lets_it_run(kind: str) -> None:
    events = events_of(*LOOPS[kind], Finished("stop"), stop=False)
    assert isinstance(events[-1], MessageAdded) and events[-1].message.finish == "stop"


def test_a_reply_that_ended_is_complete() -> None:
    """The complete reply is in one frame, so there is nothing left to stop."""
    whole = "I am sorry. " * 900
    events = events_of(TextDelta(whole + "That is all."), Finished("stop"))
    assert isinstance(events[-1], MessageAdded) and events[-1].message.finish == "stop"


@pytest.mark.parametrize("count, stopped", [(249, False), (251, True)])
def test_three_thousand_characters_are_endless_and_fewer_are_not(count: int, stopped: bool) -> None:
    """Twelve characters, 249 or 251 times, checked once at the end."""
    watch = Repetition()
    watch.feed("I am sorry. " * count)
    assert bool(watch.reason) is stopped


@pytest.mark.parametrize("copies, stopped", [(160, False), (170, True)])
def test_a_long_passage_may_be_wanted_many_times(copies: int, stopped: bool) -> None:
    """Generated code, a form for each of a hundred names, is stopped after 200,000 characters."""
    passage = words(400)[:1_200]
    watch = Repetition()
    watch.feed(words(300) + passage * copies)
    assert bool(watch.reason) is stopped


def test_what_is_repeated_is_quoted_in_short() -> None:
    assert repeated("xy" * 2_000, 3_000) in ("xy", "yx") and repeated("ab", 3_000) == ""
    cases = {"I am sorry. ": '"I am sorry."', "\n\n": "blank space", words(20) + " ": "\u2026"}
    for text, quoted in cases.items():
        watch = Repetition()
        watch.feed(text * 2_000)
        assert quoted in watch.reason and len(watch.reason) < 90


def test_it_is_looked_at_every_five_hundred_characters() -> None:
    """It is detected soon after the limit, however small the pieces are."""
    watch, size = Repetition(), 0
    while not watch.reason:
        watch.feed("again ")
        size += 6
    assert 3_000 <= size <= 3_600


def test_a_reason_that_was_found_stays() -> None:
    watch = Repetition()
    watch.feed("again " * 600)
    found = watch.reason
    watch.feed(words(3_000))
    assert found and watch.reason == found


def test_few_sentences_in_any_order_need_words_and_number() -> None:
    """Sixty signs, twenty times each: signs and single letters are not sentences."""
    text = "".join(NEARLY["any order"](number) for number in range(3_000))
    assert "few sentences" in reason(text, 700)
    signs = "".join(CHANCE.choice(["- . ", "* ; ", "+ : "]) for _ in range(9_000))
    assert "few sentences" not in reason(signs, 700)


def test_six_sentences_are_few_and_seven_are_not() -> None:
    every = ["I see it", "They come", "We left", "Nobody knows", "Listen now", "Go home",
             "So be it"]
    for count, stopped in ((6, True), (7, False)):
        text = "".join(f"{CHANCE.choice(every[:count])}. " for _ in range(4_000))
        assert bool(reason(text, 700)) is stopped, count


def test_a_long_passage_needs_ten_copies_too() -> None:
    passage = "".join(chr(0x4E00 + number) for number in range(1_900))
    assert repeated(passage * 10, 3_000) == "" and repeated("x" + passage * 9, 3_000) == ""
    assert repeated(passage * (LONG_EXACT // len(passage) + 1), 3_000) == passage
