"""A turn that is longer than any model writes is stopped, saved and reported."""

from __future__ import annotations

import random

import pytest

from core.chat.endless import MOST_CALLS, MOST_CHARACTERS
from core.events import (Event, Finished, MessageAdded, Notice, TextDelta, ThinkingDelta,
                         ToolCallDelta)
from tests.chat.test_turn import call, run, scripted, told

# nothing is repeated
WORDS = [f"{random.Random(place).getrandbits(60):x}" for place in range(6_000)]
PIECE = " ".join(WORDS)


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize("kind", [TextDelta, ThinkingDelta])
def test_text_without_end(kind: type[TextDelta] | type[ThinkingDelta]) -> None:
    pieces = MOST_CHARACTERS // len(PIECE) + 1
    events, error = run(scripted([*([kind(PIECE)] * (pieces + 40)), Finished("stop")]))
    last = events[-1]
    assert error is None and isinstance(last, MessageAdded) and last.message.finish == "incomplete"
    assert (len(last.message.text + last.message.thinking)
            == pieces * len(PIECE)), "what was shown is kept"
    assert notices(events) == [
        f"Stopped: p/m wrote more than {MOST_CHARACTERS:,} characters in one turn. What it wrote "
        "is saved."]


def test_as_much_as_that_is_no_fault() -> None:
    text = (PIECE * (MOST_CHARACTERS // len(PIECE) + 1))[:MOST_CHARACTERS]
    events, _ = run(scripted([TextDelta(text), Finished("stop")]))
    assert isinstance(events[-1], MessageAdded) and events[-1].message.finish == "stop"
    assert not notices(events)


def test_arguments_and_names_count() -> None:
    piece = ToolCallDelta(0, "c", "look", PIECE)
    events, _ = run(scripted([piece] * (MOST_CHARACTERS // len(PIECE) + 5)))
    assert "characters in one turn" in notices(events)[0]


@pytest.mark.parametrize("count, stopped", [(MOST_CALLS, False), (MOST_CALLS + 1, True)])
def test_calls_without_end(count: int, stopped: bool) -> None:
    calls = [call(number, arguments=f'{{"word": "{WORDS[number]}"}}') for number in range(count)]
    events, _ = run(scripted([*calls, TextDelta("x")]))
    assert ("called tools more than" in " ".join(notices(events))) is stopped


def test_the_rounds_of_a_turn_count_together() -> None:
    """Each single round would be short enough."""
    rounds = [[*(call(number, arguments=f'{{"word": "{WORDS[number]}"}}') for number in range(300)),
               Finished("tool_calls")] for _ in range(3)]
    events, _ = run(scripted(*rounds), told, rounds=9)
    assert "called tools more than 500 times" in notices(events)[-1]
    last = events[-1]
    assert (isinstance(last, MessageAdded)
            and last.message.tool_calls == ()), "none of a stopped reply is run"
