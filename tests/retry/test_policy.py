"""The policy as a table, and its properties for any failures in any order, without network or event
loop.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from core.errors import (AuthFailed, BadRequest, BadResponse, ConnectFailed, ContextTooLong,
                         EmptyReply, ModelNotFound, Overloaded,
                         Paused, ProviderError, QuotaExhausted, RateLimited, StreamBroken,
                         Unsupported)
from core.retry.policy import (Again, Candidate, Continue, Elsewhere, Failure, GiveUp, Next,
                               RetryConfig, Shorter,
                               State, Step, Without, backoff_delay, may_pass, moved, next_step,
                               weighed)

CONFIG = RetryConfig(max_attempts=4, initial_delay=1.0, max_delay=3.0, multiplier=2.0, jitter=0.0)
A, A2, B, C = Candidate("p", "a"), Candidate("p", "a2"), Candidate("p", "b"), Candidate("q", "c")
ALONE, FIRST = State(A, config=CONFIG), State(A, (B, C), config=CONFIG)
UNDERWAY = State(A, (B,), config=CONFIG, resumes=6, text="half ")
REFUSALS: tuple[ProviderError, ...] = (
    AuthFailed("no such key"), BadRequest("decommissioned", status=400),
    BadRequest("in words that nobody knows", status=418),
    ModelNotFound("gone"), QuotaExhausted("used up"), ProviderError("CUDA error: out of memory"),
    EmptyReply("nothing"))
PASSING: tuple[ProviderError, ...] = (Overloaded("busy"), RateLimited("slow down"),
                                      BadResponse("what?"), ConnectFailed("away"),
                                      StreamBroken("cut"))


def step(error: ProviderError, state: State, *, begun: bool = False) -> Step:
    return next_step(Failure(error, begun), state)


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass_is_asked_again_with_growing_pauses(error: ProviderError) -> None:
    state, delays = ALONE, []
    while isinstance(found := step(error, state), Again):
        delays.append(found.delay)
        state = moved(state, found, Failure(error))
    assert delays == [1.0, 2.0, 3.0] and isinstance(found, GiveUp)


@pytest.mark.parametrize("error", REFUSALS)
def test_what_does_not_pass_is_the_next_model_s_turn(error: ProviderError) -> None:
    assert step(error, FIRST) == Next(B)
    assert isinstance(step(error, ALONE), GiveUp)
    after = moved(FIRST, Next(B), Failure(error))
    assert (after.candidate == B and after.others == (C,) and after.refused == {A}
            and after.again == ())


@pytest.mark.parametrize("error", PASSING)
def test_the_next_model_comes_after_the_attempts(error: ProviderError) -> None:
    spent = State(A, (B,), config=CONFIG, attempts=4)
    assert step(error, spent) == Next(B)
    assert moved(spent, Next(B), Failure(error)).again == (A,)


def test_the_delay_of_the_provider_wins_unless_it_is_too_long() -> None:
    assert step(RateLimited("x", retry_after=7.5), ALONE) == Again(7.5)
    assert step(RateLimited("x", retry_after=7200), FIRST) == Next(B)
    assert isinstance(step(RateLimited("x", retry_after=7200), ALONE), GiveUp)


def test_a_request_is_made_smaller_before_anybody_else_is_asked() -> None:
    long, tools = ContextTooLong("too long"), Unsupported("no", feature="tools")
    assert step(long, FIRST) == Shorter() and step(long, State(A, (B,), shorter=2)) == Next(B)
    assert (step(tools, FIRST) == Without("tools")
            and step(tools, State(A, (B,), without=frozenset({"tools"}))) == Next(B))
    assert step(Unsupported("no", feature=""), FIRST) == Next(B)
    assert moved(moved(FIRST, Shorter(), Failure(long)), Next(B),
                 Failure(long)).shorter == 0, "the next one gets all of it"


# ---- several hosts of one provider

OF_THE_HOST = (*PASSING, ModelNotFound("not on this one"))


@pytest.mark.parametrize("error", OF_THE_HOST)
def test_another_host_of_the_same_model_comes_first(error: ProviderError) -> None:
    failure = Failure(error, host="h1", hosts_left=2)
    assert next_step(failure, FIRST) == Elsewhere()
    after = moved(FIRST, Elsewhere(), failure)
    assert (after.candidate, after.others, after.attempts) == (A, (B, C),
                                                               1), "the model itself has not failed"
    assert (after.hosts, after.requests, after.spare) == ({"h1"}, FIRST.requests - 1, FIRST.spare)
    last = Failure(error, host="h2", hosts_left=0)
    assert not isinstance(next_step(last, after), Elsewhere)


@pytest.mark.parametrize("error",
                         [error for error in REFUSALS if not isinstance(error, ModelNotFound)])
def test_what_every_host_would_say_is_asked_of_one(error: ProviderError) -> None:
    assert next_step(Failure(error, host="h1", hosts_left=2), FIRST) == Next(B)


def test_a_host_that_breaks_off_is_followed_by_another_host() -> None:
    failure = Failure(StreamBroken("cut"), True, "h1", 1)
    assert next_step(failure, UNDERWAY) == Elsewhere()
    after = moved(UNDERWAY, Elsewhere(), failure)
    assert (after.hosts, after.resumes, after.breaks) == ({"h1"}, 5, 1)
    assert next_step(Failure(StreamBroken("cut"), True, "h2", 0), after) == Next(B)
    assert isinstance(next_step(failure, State(A, (B,), resumes=0)),
                      GiveUp), "a partial reply that is not resumed"


def test_all_hosts_are_asked_anew_with_the_next_attempt() -> None:
    state = replace(ALONE, hosts=frozenset({"h1"}), passing=Overloaded("h1 is busy"))
    last = Failure(Overloaded("h2 is busy"), host="h2")
    assert next_step(last, state) == Again(1.0)
    assert moved(state, Again(1.0), last).hosts == frozenset()
    assert moved(replace(FIRST, hosts=frozenset({"h1"})), Next(B), last).hosts == frozenset()
    long = Failure(ContextTooLong("too long"), host="h2")
    assert moved(state, Shorter(),
                 long).hosts == {"h1"}, ("a smaller request does not raise the dead")


def test_a_host_that_is_away_may_have_the_model_that_another_lacks() -> None:
    away, gone = ConnectFailed("h1 is away"), ModelNotFound("not on h2")
    state = moved(FIRST, Elsewhere(), Failure(away, host="h1", hosts_left=1))
    last = weighed(Failure(gone, host="h2"), state)
    assert last.error is away and next_step(last, state) == Again(1.0)
    assert weighed(Failure(gone, host="h2", hosts_left=1),
                   state).error is gone, "others have not been asked"
    assert weighed(Failure(AuthFailed("key"), host="h2"), state).error.kind == "authentication"
    nowhere = moved(FIRST, Elsewhere(), Failure(gone, host="h1", hosts_left=1))
    assert weighed(Failure(gone, host="h2"), nowhere).error is gone


@pytest.mark.parametrize("hosts", [1, 3, 30])
@pytest.mark.parametrize("fallbacks", [0, 2, 12])
def test_dead_hosts_leave_a_request_for_each_fallback(hosts: int, fallbacks: int) -> None:
    """With any number of hosts and attempts, each named model is asked within the budget."""
    named = [A, *(Candidate("q", f"m{number}") for number in range(fallbacks))]
    state, asked = (State(A, tuple(named[1:]), config=replace(CONFIG, max_attempts=40),
                          spare=1_000), [A])
    while True:
        left = hosts - 1 - len(state.hosts)
        failure = Failure(ConnectFailed("away"), host=f"h{left}", hosts_left=left)
        found = next_step(failure, state)
        if isinstance(found, GiveUp):
            break
        state = moved(state, found, failure)
        asked.append(state.candidate)
    assert set(asked) == set(named) and len(asked) == 25


def test_a_break_is_resumed_by_the_same_model_once_and_then_by_the_next() -> None:
    assert step(StreamBroken("cut"), UNDERWAY, begun=True) == Continue("half ")
    after = moved(UNDERWAY, Continue("half "), Failure(StreamBroken("cut"), True))
    assert (after.breaks, after.resumes) == (1, 5)
    assert step(StreamBroken("cut"), after, begun=True) == Next(B)
    assert step(ConnectFailed("refused"), after) == Next(B)


@pytest.mark.parametrize("error", REFUSALS)
def test_a_break_that_does_not_pass_is_the_next_model_s_to_resume(error: ProviderError) -> None:
    assert step(StreamBroken("x", cause=error), UNDERWAY, begun=True) == Next(B)
    assert isinstance(step(StreamBroken("x", cause=error), State(A, resumes=6), begun=True), GiveUp)


def test_a_stream_that_always_breaks_is_resumed_with_growing_pauses() -> None:
    state, delays, cut = State(A, config=CONFIG, resumes=6), [], Failure(StreamBroken("cut"), True)
    while isinstance(found := next_step(cut, state), Continue):
        delays.append(found.delay)
        state = moved(state, found, cut)
    assert delays == [0.0, 1.0, 2.0, 3.0, 3.0, 3.0] and isinstance(found, GiveUp)


def test_a_server_that_is_killed_in_mid_answer_has_time_to_come_back() -> None:
    refused = ConnectFailed("refused")
    refused.retryable = False  # before the first word, one that does not run is reported at once
    assert isinstance(step(refused, ALONE), GiveUp)
    cut = Failure(StreamBroken("cut"), True)
    state, waited = replace(moved(State(A, config=CONFIG, resumes=6), Continue(""), cut),
                            text="half"), 0.0
    while isinstance(found := step(refused, state), Continue):
        waited += found.delay
        state = moved(state, found, Failure(refused))
    assert 5.0 < waited < 20.0
    once = replace(state, config=RetryConfig(max_attempts=1), attempts=1)
    assert isinstance(step(refused, once), GiveUp), "one attempt is one attempt"


def test_without_resuming_a_partial_reply_ends_the_turn() -> None:
    assert isinstance(step(StreamBroken("cut"), State(A, (B,), resumes=0), begun=True), GiveUp)
    assert isinstance(step(Overloaded("busy"), State(A, (B,), resumes=0, text="half")), GiveUp)


def test_a_pause_is_sent_back_at_once_and_costs_no_resume() -> None:
    state = State(A, (B,), resumes=0, text="so far")
    assert step(Paused("pause_turn"), state, begun=True) == Continue("so far")
    assert moved(state, Continue("so far"), Failure(Paused("x"), True)).resumes == 0


def test_when_all_have_failed_those_that_may_be_well_again_are_asked_once_more() -> None:
    state = State(B, (), (A,), config=CONFIG, attempts=4)
    assert step(ConnectFailed("away"), state) == Next(A, 1.0)
    after = moved(state, Next(A, 1.0), Failure(ConnectFailed("away")))
    assert (after.candidate == A and after.others == (B,) and after.walks == 2
            and after.spare < state.spare)
    assert step(Overloaded("busy"), after) == Next(B), "one attempt each from the second walk on"
    assert isinstance(step(AuthFailed("key"), State(B, (), (), frozenset({A}), config=CONFIG)),
                      GiveUp)


def test_an_outage_is_not_made_worse() -> None:
    assert isinstance(step(Overloaded("busy"), State(A, config=CONFIG, spare=0.5)), GiveUp)
    assert step(Overloaded("busy"), State(A, (B,), config=CONFIG, spare=0.5)) == Next(B)


def test_delays_grow_up_to_their_limit_and_jitter_only_shortens() -> None:
    config = RetryConfig(initial_delay=0.5, max_delay=8, multiplier=2, jitter=0.5)
    assert [backoff_delay(config, attempt, lambda: 0.0) for attempt in range(1, 7)] == [0.5, 1, 2,
                                                                                        4, 8, 8]
    assert backoff_delay(config, 3, lambda: 1.0) == 1.0
    assert backoff_delay(RetryConfig(multiplier=1e300), 100, lambda: 0.0) == 30.0


# ---- any failures in any order

CANDIDATES = (A, A2, B, C)


SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))


def any_failure(chance: random.Random) -> Failure:
    words = "".join(chance.choices("abc def 0123 \u65e5", k=chance.randrange(12)))
    status = chance.choice([None, chance.randrange(100, 1000)])
    after = chance.choice([None, chance.random() * 10 ** chance.randrange(6)])
    error = chance.choice((
        ProviderError(words, status=status), AuthFailed(words, status=status),
        BadRequest(words, status=status),
        ContextTooLong(words), Unsupported(words, feature=words), ModelNotFound(words),
        QuotaExhausted(words), EmptyReply(words),
        Overloaded(words, retry_after=after), RateLimited(words, retry_after=after),
        BadResponse(words), ConnectFailed(words),
        Paused(words), StreamBroken(words)))
    begun = chance.random() < 0.5
    host, left = chance.choice([("", 0), (f"h{chance.randrange(4)}", chance.randrange(4))])
    return Failure(StreamBroken(words, cause=error) if begun and chance.random() < 0.5 else error,
                   begun, host, left)


@pytest.mark.parametrize("part", range(4))
def test_any_failures_in_any_order(part: int) -> None:
    """It ends within the budget, keeps the text, never asks a model again that refused, and asks
    every named fallback before it ends.
    """
    print("seed", SEED)
    chance = random.Random(f"{SEED}/{part}")
    for _ in range(600):
        walk(chance, (any_failure(chance) for _ in range(80)),
             chance.sample(CANDIDATES, chance.randrange(1, 5)))


def walk(chance: random.Random, script: Iterable[Failure], order: list[Candidate]) -> None:
    resumes, attempts, text = (chance.randrange(9), chance.randrange(1, 6),
                               chance.choice(["", "text that was shown before"]))
    models = len(order)
    state = State(order[0], tuple(order[1:models]), config=RetryConfig(max_attempts=attempts),
                  resumes=resumes, text=text)
    budget, asked, said_no = state.requests, {state.candidate}, set[Candidate]()
    for number, failure in enumerate(script):
        found = next_step(failure, state)
        if isinstance(found, GiveUp):
            unable = (failure.begun or text) and state.resumes < 1
            assert unable or asked == set(order[:models]), ("a fallback that was named is asked "
                                                            "before the end")
            break
        assert not isinstance(found, Continue) or found.text == state.text
        assert not (isinstance(found, (Again, Shorter, Without))
                    and failure.begun), "what has begun is not asked anew"
        if isinstance(found, Elsewhere):
            assert failure.hosts_left and (may_pass(failure.cause)
                                           or isinstance(failure.cause, ModelNotFound))
            assert (moved(state, found, failure).refused
                    == state.refused), "it is the host that failed"
        before, state = state, moved(state, found, failure)
        assert state.text == before.text and state.requests == before.requests - 1
        if isinstance(found, Next):
            assert (state.candidate == found.candidate != before.candidate or models == 1
                    or found.delay > 0)
            if not (failure.cause.retryable or isinstance(failure.cause, ConnectFailed)):
                said_no.add(before.candidate)
            asked.add(state.candidate)
        assert state.candidate not in said_no
        assert 0 <= getattr(found, "delay", 0.0) <= max(30.0, failure.cause.retry_after or 0)
        assert number < budget, "it ends within the budget"
        text = state.text
    else:
        raise AssertionError("it did not end")


def test_the_budget_bounds_all_of_it() -> None:
    """Each request breaks off after new text, as long as there are requests."""
    chance = random.Random(SEED)
    print("seed", SEED)
    state, requests = State(A, (B, C), config=CONFIG, resumes=1_000), 0
    while True:
        failure = Failure(StreamBroken("cut", cause=chance.choice([None, *PASSING])),
                          chance.random() < 0.9)
        found = next_step(failure, state)
        if isinstance(found, GiveUp):
            break
        state, requests = moved(state, found, failure), requests + 1
    assert requests <= 24 and "24" in found.reason


# ---- where a limit begins: one less, and one more

def test_the_last_request_of_a_turn_is_made() -> None:
    one = replace(ALONE, requests=1)
    assert step(Overloaded("busy"), one) == Again(1.0)
    assert isinstance(step(Overloaded("busy"), replace(one, requests=0)), GiveUp)
    assert step(Paused("p"), one) == Continue("")


def test_a_request_is_set_aside_for_each_fallback() -> None:
    for error in (Overloaded("busy"), ContextTooLong("long"), Unsupported("no", feature="tools")):
        assert not isinstance(step(error, replace(FIRST, requests=3)), Next)
        assert step(error, replace(FIRST, requests=2)) == Next(B)


def test_content_renews_the_attempts() -> None:
    """After that, a model that breaks off is treated as if it were asked for the first time."""
    tired = replace(UNDERWAY, attempts=4, walks=3, others=(), again=(B,), breaks=1)
    after = moved(tired, Next(B), Failure(StreamBroken("cut"), begun=True))
    assert (after.walks, after.attempts, after.breaks) == (1, 1, 0) and after.candidate == B


@pytest.mark.parametrize("attempts, walks, spare, again", [
    (3, 1, 1.0, True), (4, 1, 1.0, False), (1, 2, 1.0, False), (3, 1, 0.99, False)])
def test_who_may_be_asked_the_same_again(attempts: int, walks: int, spare: float,
                                         again: bool) -> None:
    state = replace(ALONE, attempts=attempts, walks=walks, spare=spare)
    assert isinstance(step(Overloaded("busy"), state), Again) is again


@pytest.mark.parametrize("retry_after, waits", [(119.9, True), (120.0, True), (120.1, False)])
def test_the_longest_wait_is_still_waited(retry_after: float, waits: bool) -> None:
    assert isinstance(step(RateLimited("x", retry_after=retry_after), ALONE), Again) is waits


def test_all_that_failed_are_walked_once_more() -> None:
    """If several failed temporarily, the first of them is tried again after a pause."""
    state = replace(FIRST, others=(), again=(A2, B), candidate=C, walks=1, attempts=9)
    found = step(Overloaded("busy"), state)
    assert isinstance(found, Next) and found.candidate == A2 and found.delay == 1.0
    assert isinstance(step(Overloaded("busy"), replace(state, walks=CONFIG.max_attempts)), GiveUp)
    assert isinstance(step(Overloaded("busy"), replace(state, spare=0.5)), GiveUp)


def test_a_partial_reply_is_worth_more_walks() -> None:
    state = replace(FIRST, others=(), again=(A2, B), candidate=C, walks=CONFIG.max_attempts,
                    resumes=2, text="half")
    assert isinstance(step(Overloaded("busy"), state), Next)
    assert isinstance(step(Overloaded("busy"), replace(state, walks=CONFIG.max_attempts + 2)),
                      GiveUp)
    assert isinstance(step(Overloaded("busy"), replace(state, spare=0.0)),
                      Next), "its walks come out of the resumes"


def test_a_single_one_that_is_tired_among_the_refused_is_not_walked_again() -> None:
    state = replace(FIRST, others=(), again=(), candidate=C, walks=1, attempts=9)
    assert isinstance(step(Overloaded("busy"), state), GiveUp), "alone"
    several = replace(state, refused=frozenset({A}))
    assert step(Overloaded("busy"), several) == Next(C, 1.0)


@pytest.mark.parametrize("asked_for, goes", [(3.0, True), (3.1, False)])
def test_one_that_asks_for_a_longer_pause_than_the_longest_is_not_walked_to(asked_for: float,
                                                                            goes: bool) -> None:
    state = replace(FIRST, others=(), again=(), candidate=C, walks=1, attempts=9,
                    refused=frozenset({A}))
    found = step(Overloaded("busy", retry_after=asked_for), state)
    assert isinstance(found, Next) is goes
    assert not goes or found == Next(C, 3.0)


def test_what_a_retry_takes_from_the_shared_ones() -> None:
    busy, spare = Failure(Overloaded("busy")), ALONE.spare
    assert moved(ALONE, Again(1.0), busy).spare == spare - 1
    first = moved(FIRST, Next(B), busy)
    assert first.spare == moved(first, Next(C), busy).spare == spare, "the first walk is free"
    last = moved(first, Next(C), busy)
    assert moved(last, Next(A), busy).spare == spare - 1, "the second is not"
