"""Forecasts of waits from earlier waits: their precision, and what is shown if they are uncertain.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest

from core.events import Reading
from core.models.forecast import (
    Sample, Span, expected_cached, first_word, in_words, left_to_read, loading, reading, speed_of)
from core.store.rows import CallRow

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
TOKEN, SQUARE = 0.002, 1e-7      # seconds of the machine in these tests


def seconds(start: int, end: int) -> float:
    return TOKEN * (end - start) + SQUARE * (end * end - start * start)


def call(first: float, given: int, cached: int | None = 0, session: str = "s",
         came: int = 10) -> CallRow:
    return CallRow(0.0, session, "p", "m", "", first, first + 1, given, came, cached, None, None,
                   0, 0, "stop", None)


def past(chance: random.Random, noise: float, number: int = 12) -> list[CallRow]:
    calls = []
    for _ in range(number):
        end = chance.randint(500, 20_000)
        start = chance.choice((0, end // 2))
        calls.append(call(seconds(start, end) * chance.uniform(1 - noise, 1 + noise), end, start))
    return calls


def test_nine_of_ten_forecasts_are_within_a_quarter() -> None:
    """If the speed of a machine varies by a tenth, one correct number is shown."""
    print(f"STREAM_CHAT_TEST_SEED={SEED}")
    chance, right = random.Random(SEED), 0
    for _ in range(400):
        start, end = chance.choice(((0, 18_000), (12_000, 14_000), (0, 1_500)))
        span = reading(past(chance, 0.1), start, end)
        assert span is not None
        actual = seconds(start, end) * chance.uniform(0.9, 1.1)
        right += abs(span.likely - actual) <= 0.25 * actual
    assert right >= 360


def test_a_machine_that_does_other_things_too_gets_two_numbers() -> None:
    chance = random.Random(3)
    span = reading(past(chance, 0.6, 16), 0, 18_000)
    assert span is not None and span.low < 0.8 * span.likely and span.high > 1.2 * span.likely
    assert " to " in span.words()


def test_a_call_that_waited_for_its_model_is_no_measure_of_reading_and_one_of_loading() -> None:
    calls = past(random.Random(4), 0.02)
    slow = [call(seconds(0, 4_000) + wait, 4_000) for wait in (29.0, 30.0, 31.0)]
    mixed = [slow[0], *calls, *slow[1:]]
    span, load = reading(mixed, 0, 10_000), loading(mixed)
    assert span is not None and span.likely == pytest.approx(seconds(0, 10_000), rel=0.1)
    assert load is not None and load.likely == pytest.approx(30, abs=2)
    assert load.words() == "about 30 s"
    assert loading(calls) is None


@pytest.mark.parametrize("calls", [
    [], [call(1.0, 50)], [call(2.0, 1_000)] * 2, [call(2.0, 1_000, None)] * 5])
def test_without_enough_to_go_by_there_is_no_forecast(calls: Sequence[CallRow]) -> None:
    """No forecast without calls, for a short prompt, after two calls, or if a server does not
    report its cache.
    """
    assert reading(calls, 0, 8_000) is None


def test_first_calls_count_where_nothing_is_said_of_the_cache() -> None:
    calls = [call(seconds(0, 2_000), 2_000, None, session=str(number)) for number in range(4)]
    span = reading(calls, 0, 2_000)
    assert span is not None and span.likely == pytest.approx(seconds(0, 2_000))


def test_the_conversation_is_in_the_cache_when_the_last_call_was_its_own() -> None:
    calls = [call(1.0, 900), call(9.0, 8_000, came=500)]
    assert expected_cached(calls, 8_600) == 8_500
    assert expected_cached(calls, 3_000) == expected_cached([], 3_000) == 0


def test_what_is_left_follows_the_speed_of_what_was_read() -> None:
    """Later tokens take longer, because each depends on all earlier ones."""
    read = [Reading(done, 20_000, 0, seconds(0, done)) for done in range(0, 10_001, 2_000)]
    span = left_to_read(read)
    assert span is not None and span.likely == pytest.approx(seconds(10_000, 20_000), rel=0.01)
    assert left_to_read(read[:1]) is None


def test_the_first_reports_are_filled_up_with_earlier_calls() -> None:
    calls = past(random.Random(5), 0.01)
    span = left_to_read([Reading(0, 20_000, 4_000, 0.0)], calls)
    assert span is not None and span.likely == pytest.approx(seconds(0, 20_000), rel=0.05)


STEP = 512


def progress(chance: random.Random, slower: float, noise: float) -> list[Reading]:
    """A prompt of 10,240 tokens, read in steps on a machine with other load."""
    read, spent = list[Reading](), 0.0
    for done in range(STEP, 20 * STEP + 1, STEP):
        spent += seconds(done - STEP, done) * slower * chance.lognormvariate(0, noise)
        read.append(Reading(done, 20 * STEP, 0, spent))
    return read


def test_a_machine_that_is_slower_today_is_believed_after_a_third_of_the_prompt() -> None:
    chance = random.Random(SEED)
    calls, read = past(chance, 0.1), progress(chance, 2.0, 0.05)
    before, after = reading(calls, 0, 20 * STEP), left_to_read(read[:7], calls)
    assert before is not None and after is not None
    assert before.high < read[-1].seconds, "nobody could know"
    left = read[-1].seconds - read[6].seconds
    assert abs(after.likely - left) < 0.25 * left


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("noise", [0.05, 0.3, 0.6])
def test_the_ends_hold_on_machines_of_any_unrest(noise: float, known: bool) -> None:
    """Nine of ten waits end between the two numbers; on an idle machine the likeliest one is close.
    """
    print(f"STREAM_CHAT_TEST_SEED={SEED}")
    chance, within, near = random.Random(SEED), 0, 0
    for _ in range(400):
        slower = chance.lognormvariate(0, noise / 2)
        calls = past(chance, min(0.9, noise)) if known else []
        read = progress(chance, slower, noise)
        span = left_to_read(read[:7], calls)
        left = read[-1].seconds - read[6].seconds
        assert span is not None
        within += span.low <= left <= span.high
        near += abs(span.likely - left) <= 0.25 * left
    assert within >= 360 and (noise > 0.05 or not known or near >= 360)


def test_the_first_word_of_any_other_server_is_what_is_usual() -> None:
    span = first_word([call(wait, 100) for wait in (1.0, 2.0, 1.5, 9.0, 1.2)])
    assert span is not None and span.words() == "1 to 9 s"
    assert first_word([call(1.0, 100)]) is None


@pytest.mark.parametrize(("given", "said"), [
    (0.2, "1 s"), (7.6, "8 s"), (19.4, "19 s"), (43.0, "45 s"), (97.0, "95 s"),
    (99.0, "1 min 40 s"),
    (121.0, "2 min"), (594.0, "9 min 50 s"), (600.0, "10 min"), (5_000.0, "83 min")])
def test_seconds_in_words(given: float, said: str) -> None:
    assert in_words(given) == said


@pytest.mark.parametrize(("span", "said"), [
    (Span(40, 38, 44), "about 40 s"), (Span(40, 20, 60), "20 to 60 s"),
    (Span(80, 50, 300), "50 s to 5 min"), (Span(1, 0.1, 1.4), "about 1 s")])
def test_spans_in_words(span: Span, said: str) -> None:
    assert span.words() == said


def _any_sample(chance: random.Random) -> Sample:
    start = chance.randint(0, 10_000)
    spent = chance.choice((0.0, 1e-6, chance.random() * 900))
    return Sample(start, start + chance.randint(-5, 40_000), spent)


def test_any_samples_give_a_speed_that_is_a_number() -> None:
    chance = random.Random(SEED)
    for _ in range(2_000):
        samples = [_any_sample(chance) for _ in range(chance.randint(0, 6))]
        speed = speed_of(samples)
        if speed is not None:
            span = speed.span(0, 30_000)
            assert 0 < span.low <= span.likely <= span.high < float("inf")
            assert span.words()
