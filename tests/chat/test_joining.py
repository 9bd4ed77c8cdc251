"""Joining the pieces of an answer: repeated text is dropped and new text kept, however it is split.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from core.chat.joining import Joint, SecondReading, continuation, joined, repeated
from core.chat.turn import Respond, run_chat_turn, to_finish
from core.errors import (AuthFailed, BadRequest, BadResponse, ChatError, ConnectFailed,
                         ModelNotFound, Overloaded, ProviderError,
                         QuotaExhausted, StreamBroken)
from core.events import (Delta, Event, Finished, MessageAdded, Resuming, TextDelta, ThinkingDelta,
                         ToolCallDelta)
from core.messages import Message, Text, Thinking, Usage, user_message
from core.providers import Request
from core.retry_handler import stream_chat_with_retry
from tests.one_model import AT_ONCE, Answer, Models, one_model

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
BROKE = StreamBroken("It broke.")
PROSE = ("The quick brown fox jumps over the lazy dog, and the dog does not mind.\n\n"
         "- one thing\n- another thing\n\n```python\nfor number in range(10):\n    print(number)\n"
         "```\n"
         "That is all there is to say. 日本語も。\n")


@pytest.mark.parametrize(("before", "after", "dropped"), [
    ("The quick bro", "wn fox", ""),  # exactly where it stopped
    ("The quick bro", "brown fox", "bro"),  # the word that was cut, again
    ("The quick brown", " fox", ""),
    ("Hello", "Hello there", "Hello"),  # from the beginning, after very little
    ("It is blue because", "It is blue because of", "It is blue because"),    # from the beginning
    # the last sentence
    ("Said once. It is blue because", "It is blue because of", "It is blue because"),
    ("It is blue because", "\n\nis blue because of", "\n\nis blue because"),  # a line end before it
    ("ha ha ha ha ha ", "ha ha ha ha!", ""),  # the same over and over says nothing
    ("| --- | ----------", "---------- |", ""),
    ("x = 1\n        ", "        y = 2", ""),
    ("n1 n2 n3", "n3", ""),                                                   # too short to tell
    ("page 100", "100 lines", ""),  # a number may continue with the same digits
    ("Th", "The fox", "Th"),
    ("say aaa", "aaaa", ""), ("x abcdabcd", "abcdabcd e", ""),  # something twice over
    ("z abcxyabc", "abcxyabc!", "abcxyabc"),  # begins and ends alike, and is not
    ("x  abcdef", "  abcdef ghi", "  abcdef"),  # the blanks count too
    ("It is blue because", "?is blue because of", ""),  # nothing is dropped before what matches
])
def test_what_is_repeated(before: str, after: str, dropped: str) -> None:
    assert after[:repeated(before, after)] == dropped


def test_how_much_is_compared_and_shown() -> None:
    """4,000 characters at the joint are compared; the instruction ends with the last 200."""
    numbers = " ".join(map(str, range(2_000)))
    for size, dropped in ((8, 8), (7, 0), (4_000, 4_000), (4_001, 0)):
        assert repeated(numbers, numbers[-size:] + " and so on") == dropped, size
    asked = continuation(Message("assistant", (Text(numbers),))).text
    assert asked.endswith(f"\n\n{numbers[-200:]}")


def fitted(before: str, deltas: Sequence[Delta]) -> list[Delta]:
    joint = Joint(before)
    return [*(fit for delta in deltas for fit in joint.fit(delta)), *joint.rest()]


def test_only_the_repetition_is_held_back() -> None:
    joint = Joint("It is blue because")
    assert list(joint.fit(TextDelta("It is "))) == []
    assert list(joint.fit(TextDelta("blue because of"))) == [TextDelta(" of")]
    assert list(joint.fit(TextDelta("It is "))) == [TextDelta("It is ")]      # decided once


def test_thinking_and_counts_do_not_decide() -> None:
    came: list[Delta] = [ThinkingDelta("hm"), TextDelta("It is blue"), Usage(1, 2),
                         TextDelta(" and"), Finished("stop")]
    assert fitted("It is blue", came) == [ThinkingDelta("hm"), Usage(1, 2), TextDelta(" and"),
                                          Finished("stop")]


def test_what_is_held_comes_before_what_follows_it() -> None:
    call = ToolCallDelta(0, "c", "look", "{}")
    assert fitted("It is blue", [TextDelta("It"), call]) == [TextDelta("It"), call]


def test_part_and_extra_stay() -> None:
    assert fitted("It is blue", [TextDelta("It is ", 2, {"x": 1}), TextDelta("blue!", 2)]) == [
        TextDelta("", 2, {"x": 1}), TextDelta("!", 2)]


# ---- through a turn

def model(text: str, chance: random.Random, breaks: int) -> Respond:
    """Sends `text`, breaks off `breaks` times, and continues in one of the ways that models do."""
    left = [breaks]

    async def respond(request: Request) -> AsyncGenerator[Delta, None]:
        said = next((message.text for message in reversed(request.messages)
                     if message.role == "assistant"), "")
        assert text.startswith(said)
        back = (chance.choice([0, 0, len(said), min(len(said), chance.randrange(40, 300))]) if said
                else 0)
        if chance.random() < 0.3:
            yield ThinkingDelta("let me see ")
        rest = text[len(said) - back:]
        end = chance.randrange(0, len(rest) + 1) if left[0] else len(rest)
        at = 0
        while at < end:
            size = min(chance.choice([1, 2, 3, 5, 30, 500]), end - at)
            yield TextDelta(rest[at:at + size])
            at += size
        if left[0]:
            left[0] -= 1
            raise StreamBroken("It broke.",
                               cause=chance.choice([None, Overloaded("busy"),
                                                    BadResponse("what?")]))
        yield Finished("stop")
    # one break may follow another at once
    return one_model(respond, replace(AT_ONCE, max_attempts=12))


def run(respond: Respond, resumes: int = 9, messages: Sequence[Message] = (user_message("q"),),
        continued: Message | None = None) -> tuple[list[Event], ChatError | None]:
    async def collect() -> tuple[list[Event], ChatError | None]:
        events: list[Event] = []
        try:
            request = Request("m", tuple(messages))
            async for event in run_chat_turn(respond, request, model="p/m", resumes=resumes,
                                             continued=continued):
                events.append(event)
        except ChatError as error:
            return events, error
        return events, None
    return asyncio.run(collect())


def scripted(*replies: Sequence[Delta | Exception], seen: list[Request] | None = None) -> Respond:
    return one_model(scripts(*replies, seen=seen))


def scripts(*replies: Sequence[Delta | Exception], seen: list[Request] | None = None) -> Answer:
    left = iter(replies)

    async def respond(request: Request) -> AsyncGenerator[Delta, None]:
        if seen is not None:
            seen.append(request)
        for item in next(left):
            if isinstance(item, Exception):
                raise item
            yield item
    return respond


def shown(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def kept(events: Sequence[Event]) -> list[str]:
    return [message.text for message
            in joined([event.message for event in events if isinstance(event, MessageAdded)])]


def test_any_break_and_any_way_to_go_on_gives_the_text() -> None:
    """It may break anywhere and any number of times, and be continued exactly, from the beginning,
    or from an earlier place.
    """
    chance = random.Random(SEED)
    numbered = " ".join(f"word{number}" for number in range(60))
    for number in range(400):
        text = chance.choice([PROSE, numbered])
        # A break before there is anything has no continuation, so the model
        # says nothing twice there.
        events, error = run(model(text, chance, chance.randrange(0, 5)), resumes=12)
        if isinstance(error, StreamBroken) and not shown(events):
            continue
        assert (error is None and shown(events) == text
                and kept(events) == [text]), f"seed {SEED}, round {number}"


def test_a_second_break_in_what_is_held_back() -> None:
    again: list[Delta | Exception] = [TextDelta("It is blue bec"), BROKE]
    last: list[Delta] = [TextDelta("It is blue because of it."), Finished("stop")]
    events, error = run(scripted([TextDelta("It is blue because"), BROKE], again, again, last))
    assert (error is None and shown(events) == "It is blue because of it."
            and kept(events) == [shown(events)])
    assert sum(isinstance(event, Resuming)
               for event in events) == 1, "the same is not told again when nothing new came"


def test_the_third_piece_knows_the_first() -> None:
    seen: list[Request] = []
    events, error = run(scripted([TextDelta("One, two, three, "), BROKE],
                                 [TextDelta("four, "), BROKE],
                                 [TextDelta("One, two, three, four, five."), Finished("stop")],
                                 seen=seen))
    assert error is None and kept(events) == ["One, two, three, four, five."]
    assert [message.role for message in seen[2].messages] == ["user", "assistant", "user"]
    assert (seen[2].messages[1].text == "One, two, three, four, "
            and seen[2].messages[2].text.endswith("One, two, three, four, "))


def test_a_break_while_thinking_asks_anew() -> None:
    seen: list[Request] = []
    events, error = run(scripted([ThinkingDelta("hm"), BROKE], [TextDelta("yes"), Finished("stop")],
                                 seen=seen))
    assert error is None and kept(events) == ["yes"] and seen[0] == seen[1]
    assert [event.message for event in events if isinstance(event, MessageAdded)][0] == Message(
        "assistant", (Thinking("hm"),), "p/m", None, "truncated")


def test_a_break_in_a_call_alone_adds_no_empty_message() -> None:
    events, error = run(scripted([ToolCallDelta(0, "c", "look", '{"a"'), BROKE],
                                 [TextDelta("yes"), Finished("stop")]))
    assert error is None and [type(event) for event in events] == [Resuming, TextDelta,
                                                                   MessageAdded]


def test_a_model_that_has_nothing_to_add() -> None:
    events, error = run(scripted([TextDelta("That is all."), BROKE], [Finished("stop")]))
    assert error is None and kept(events) == ["That is all."]
    assert (joined([event.message for event in events if isinstance(event, MessageAdded)])[0].finish
            == "stop")


CAUSES = (None, Overloaded("busy"), QuotaExhausted("empty"), ModelNotFound("gone"),
          ProviderError("out of memory"),
          BadRequest("in words that nobody knows"), AuthFailed("withdrawn"))


@pytest.mark.parametrize("cause", CAUSES)
def test_the_next_model_continues_after_any_break(cause: ProviderError | None) -> None:
    """After a failure that is worth a retry, the same model continues."""
    first = scripts([TextDelta("half "), StreamBroken("broke", cause=cause)],
                    [TextDelta("done"), Finished("stop")])
    models = Models({"p/m": first, "p/n": scripts([TextDelta("done"), Finished("stop")])})
    events, error = run(partial(stream_chat_with_retry, models))
    assert error is None and kept(events) == ["half done"]
    assert models.asked == ["p/m", "p/m" if cause is None or cause.retryable else "p/n"]


@pytest.mark.parametrize("cause", CAUSES)
def test_one_model_alone_continues_what_may_pass(cause: ProviderError | None) -> None:
    events, error = run(scripted([TextDelta("half "), StreamBroken("broke", cause=cause)],
                                 [TextDelta("done"), Finished("stop")]))
    passes = cause is None or cause.retryable
    assert (error is None) == passes and kept(events) == ["half done" if passes else "half "]


def test_nobody_can_go_on() -> None:
    events, error = run(scripted([TextDelta("half"), BROKE], *[[ConnectFailed("away")]] * 9),
                        resumes=3)
    assert (isinstance(error, StreamBroken) and isinstance(error.cause, ConnectFailed)
            and kept(events) == ["half"])


def test_going_on_later_with_pieces_that_hold_no_text() -> None:
    question, half = (user_message("q"),
                      Message("assistant", (Text("It is blue because"),), "p/m", None,
                              "interrupted"))
    thought = Message("assistant", (Thinking("hm"),), "p/m", None, "interrupted")
    assert to_finish([question, half, thought]) == ((question, half), True)
    assert to_finish([question, thought]) == ((question,), False)
    seen: list[Request] = []
    events, error = run(scripted([TextDelta(" of it."), Finished("stop")], seen=seen),
                        messages=[question, half, thought],
                        continued=thought)
    assert error is None and shown(events) == " of it." and seen[0].messages[1] == half


@pytest.mark.parametrize("thought", ["", "let me see, let me see "])
def test_an_answer_that_is_read_once_more_brings_only_what_is_new(thought: str) -> None:
    """Equal to the character, however it is split, even if it repeats itself at the joint."""
    whole = "ha ha ha the same line\nthe same line\n" * 3
    for known in range(1, len(whole)):
        for size in (1, 7, 1_000):
            reading = SecondReading(Message("assistant", (Thinking(thought), Text(whole[:known]))))
            deltas: list[Delta] = [ThinkingDelta(thought)] if thought else []
            deltas += [TextDelta(whole[at:at + size]) for at in range(0, len(whole), size)]
            came = [each for delta in deltas for each in reading.fit(delta)]
            assert not [each for each in came if isinstance(each, ThinkingDelta)]
            assert ("".join(each.text for each in came if isinstance(each, TextDelta))
                    == whole[known:])
            assert not list(reading.rest())


def test_an_answer_that_is_another_one_is_joined_like_a_continuation() -> None:
    reading = SecondReading(Message("assistant", (Text("The first half of the answer, "),)))
    came = [*reading.fit(TextDelta("the answer, and its other half.")), *reading.rest()]
    assert ("".join(each.text for each in came if isinstance(each, TextDelta))
            == "and its other half.")


def test_an_answer_that_is_another_one_loses_nothing_at_its_end() -> None:
    """Text held back as a possible repetition is shown if nothing follows."""
    reading = SecondReading(Message("assistant", (Text("The first half of the answer, "),)))
    assert list(reading.fit(TextDelta("half"))) == []
    assert list(reading.rest()) == [TextDelta("half")] and list(reading.rest()) == []


def test_what_a_provider_wrote_beside_its_text_keeps_its_own_part() -> None:
    """Signatures are valid only for the text that they were sent with."""
    for first, second, count in ((None, None, 1), ({"p": {"sign": 1}}, None, 2),
                                 (None, {"p": {"sign": 1}}, 2)):
        halves = (Message("assistant", (Text("one ", first),), finish="length"),
                  Message("assistant", (Text("two", second),), finish="stop"))
        (whole,) = joined((replace(halves[0], finish="interrupted"), halves[1]))
        assert whole.text == "one two" and len(whole.parts) == count
        assert [part.extra for part in whole.parts if isinstance(part, Text)] == (
            [None] if count == 1 else [first, second])
