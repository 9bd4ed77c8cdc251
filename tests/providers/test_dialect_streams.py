"""Streams of every dialect: split anywhere, on a connection that stays open, with text held back,
with events of any shape.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import BadResponse, ProviderError, StreamBroken
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage, user_message
from core.providers import Request
from core.providers.http.decoder import join_deltas
from tests.dialects import ask, reply_of
from tests.fake_server import Answer, FakeServer, Pause, Stall, Step
from tests.scripted_answers import SCRIPTED, Call, Script

DIALECTS = sorted(SCRIPTED)
HELLO = Request("test-model", (user_message("Hello"),))
CALLS = (Call("weather01", "weather", {"city": "Wien \\ \"x\" 🌧"}), Call("clocktime", "clock", {}))
SCRIPT = Script("Grüß Gott 🙂\r\n\tdata: 5 < 6", "Hm …\n\n", CALLS)
VALUES: tuple[Any, ...] = (None, True, 0, -1, 10 ** 30, 0.5, "", "x", "[DONE]", [], {}, [[]],
                           [None], {"type": "x"}, {"error": {}},
                           {"text": None})


def body_of(dialect: str) -> tuple[bytes, str]:
    answer = SCRIPTED[dialect](SCRIPT)
    return b"".join(step for step in answer.steps if isinstance(step, bytes)), answer.content_type


def whole(deltas: Iterable[Delta]) -> tuple[list[Delta], list[Usage]]:
    """The deltas as if they had come in one read, and the last usage."""
    kept = list(deltas)
    return list(join_deltas(delta for delta in kept if not isinstance(delta, Usage))), [
        delta for delta in kept if isinstance(delta, Usage)][-1:]


def answered(dialect: str, *steps: Step,
             content_type: str) -> tuple[list[Delta], ProviderError | None]:
    with FakeServer(Answer(steps, content_type=content_type)) as server:
        return ask(dialect, server.url, HELLO)


@given(cuts=st.lists(st.integers(1, 3000), max_size=12, unique=True).map(sorted))
@settings(max_examples=12, deadline=None, print_blob=True,
          suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_how_the_network_cuts_an_answer_changes_nothing(dialect: str, cuts: list[int]) -> None:
    body, content_type = body_of(dialect)
    expected, error = answered(dialect, body, content_type=content_type)
    assert error is None
    places = [0, *(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in zip(places, places[1:], strict=False)]
    found, error = answered(dialect, *pieces, content_type=content_type)
    assert error is None and whole(found) == whole(expected)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_cut_anywhere_is_a_beginning_of_the_whole_and_never_called_whole(
        dialect: str) -> None:
    body, content_type = body_of(dialect)
    text = "".join(delta.text for delta in answered(dialect, body, content_type=content_type)[0]
                   if isinstance(delta, TextDelta))
    for end in range(0, len(body), max(1, len(body) // 25)):
        deltas, error = answered(dialect, body[:end], content_type=content_type)
        come = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert text.startswith(come)
        assert isinstance(error, ProviderError) != isinstance(deltas[-1] if deltas else None,
                                                              Finished)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_finished_answer_does_not_wait_for_the_end_of_the_connection(dialect: str) -> None:
    """The idle timeout is 10 s, and after it there would be no error either;
    so what is looked at is that the client left.
    """
    body, content_type = body_of(dialect)
    body = body.replace(b"data: [DONE]\n\n", b"")
    with FakeServer(Answer([body, Stall()], content_type=content_type)) as server:
        deltas, error = ask(dialect, server.url, HELLO, idle_timeout=60.0, linger=0.05)
        assert error is None and isinstance(deltas[-1], Finished)
        assert server.requests[0].done.wait(5) and server.requests[0].outcome == "client_left"


def test_signs_of_life_do_not_keep_a_finished_answer_open() -> None:
    body, content_type = body_of("openai")
    alive: list[Step] = [Pause(0.02), b": still here\n\n"]
    with FakeServer(Answer([body.replace(b"data: [DONE]\n\n", b""), *alive * 500],
                           content_type=content_type)) as server:
        deltas, error = ask("openai", server.url, HELLO, linger=0.05)
        assert error is None and isinstance(deltas[-1], Finished)
        assert server.requests[0].done.wait(5) and server.requests[0].outcome == "client_left"


@pytest.mark.parametrize("late",
                         [b'data: {"choices": [], "usage": {"prompt_tokens": 7, '
                          b'"completion_tokens": 2}}\n\n',
                          b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'])
def test_what_comes_soon_after_the_finish_still_counts(late: bytes) -> None:
    head = (b'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": '
            b'"stop"}]}\n\n')
    with FakeServer(Answer([head, Pause(0.3), late, Stall()],
                           content_type="text/event-stream")) as server:
        deltas, error = ask("openai", server.url, HELLO)
    if b"usage" in late:
        assert error is None and deltas[1:] == [Usage(7, 2), Finished("stop", "stop")]
    else:
        assert isinstance(error, StreamBroken) and deltas == [TextDelta("x")]


def mutated(value: Any, chance: random.Random) -> Any:
    """The value with one place changed, removed or repeated."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        if chance.random() < 0.15:
            return {key: entry for key, entry in value.items() if key != name}
        return {**value, name: mutated(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], mutated(value[place], chance), *value[place + chance.randrange(2):]]
    return chance.choice(VALUES)


def with_other_events(body: bytes, chance: random.Random) -> bytes:
    lines = body.split(b"\n")
    for _ in range(chance.randrange(1, 4)):
        places = [place for place, line in enumerate(lines) if b"{" in line]
        place = chance.choice(places)
        head, brace, rest = lines[place].partition(b"{")
        try:
            event = json.loads(brace + rest)
        except ValueError:
            continue
        changed = json.dumps(mutated(event, chance)).encode()
        match chance.randrange(8):
            case 0:
                lines[place] = b""
            case 1:
                lines[place] += b"\n\n" + lines[place]
            case 2:
                lines[place] = lines[place][:chance.randrange(len(lines[place]))]
            case _:
                lines[place] = head + changed
    return b"\n".join(lines)


@given(seed=st.integers(0, 2 ** 32))
@settings(max_examples=60, deadline=None, print_blob=True,
          suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_events_of_any_shape_raise_nothing_but_a_provider_error(dialect: str, seed: int) -> None:
    body, content_type = body_of(dialect)
    changed = with_other_events(body, random.Random(seed))
    deltas, error = answered(dialect, changed, content_type=content_type)
    for delta in deltas:
        match delta:
            case (TextDelta(str(), int()) | ThinkingDelta(str(), int())
                  | ToolCallDelta(int(), str(), str(), str())):
                pass
            case Usage(input_tokens, output_tokens, cached_tokens):
                assert all(count is None or isinstance(count, int)
                           for count in (input_tokens, output_tokens, cached_tokens))
            case Finished(str(), str()):
                assert delta is deltas[-1] and error is None
            case _:
                raise AssertionError(delta)
    try:
        reply_of(deltas)
    except ProviderError as refused:
        assert not isinstance(refused, StreamBroken)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("line",
                         [b"data: " + b"x" * 1000, b"data:", b"zzzz " + b"x" * 1000, b"z",
                          b"z" * 60_000 + b"\r"])
def test_an_answer_without_an_end_is_no_answer(dialect: str, line: bytes) -> None:
    """The server would send 3 GB; the part in memory stays within the limit, even with short lines.
    """
    chunk = (line + b"\n") * max(1, 60_000 // len(line))
    with FakeServer(Answer([chunk] * 50_000, content_type="text/event-stream")) as server:
        _, error = ask(dialect, server.url, HELLO, longest=1 << 20)
        assert server.requests[0].done.wait(10) and server.requests[0].outcome == "client_left"
    assert isinstance(error, BadResponse) and len(error.message) < 400
