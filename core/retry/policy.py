"""Decides what to do after a failed request: one pure function of the failure and of what was
tried.
"""

from __future__ import annotations

from collections.abc import Callable

from core.dataclass import dataclass, replace
from core.errors import (BadRequest, ConnectFailed, ContextTooLong, ModelNotFound, Paused,
                         ProviderError, StreamBroken)

# most requests per turn beyond the first of each reply
REQUESTS = 24
SHORTER = 2        # how often a request is shortened for one model
FEATURES = 6       # how many features are left out of one request


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How requests are retried. Delays are in seconds.

    `jitter` is the random part of a delay, 0 to 1. If a provider requests a delay above
    `longest_wait`, it is not retried.
    """

    max_attempts: int = 3
    initial_delay: float = 1.0
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: float = 0.5
    longest_wait: float = 120.0


def _chance() -> float:
    from random import random       # importing it takes 2 ms, and most answers need no delay
    return random()


def backoff_delay(config: RetryConfig, attempt: int,
                  chance: Callable[[], float] = _chance) -> float:
    """Return the seconds to wait after failed attempt number `attempt` (from 1)."""
    try:
        whole = min(config.max_delay, config.initial_delay * config.multiplier ** (attempt - 1))
    except OverflowError:
        whole = config.max_delay
    return whole * (1 - config.jitter * chance())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can answer."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of one request; `begun` means that content had arrived before it.

    If the provider has several hosts, `host` is the address that was used and `hosts_left` the
    number of hosts not tried yet.
    """

    error: ProviderError
    begun: bool = False
    host: str = ""
    hosts_left: int = 0

    @classmethod
    def of(cls, error: ProviderError, begun: bool = False) -> Failure:
        return cls(error, begun, error.host, error.hosts_left)

    @property
    def cause(self) -> ProviderError:
        """The provider's own error, if it reported one inside its stream."""
        error = self.error
        return error.cause if isinstance(error, StreamBroken) and error.cause is not None else error


@dataclass(frozen=True, slots=True)
class State:
    """What was tried for one reply, and what is left.

    `others` were not tried since the last content, `again` had temporary failures, `refused` must
    not be tried again in this turn. `requests` and `resumes` are what is left of the turn's limits,
    `spare` of the retries shared by all turns. `text` is the text of the reply so far. `hosts` are
    the candidate's addresses that failed in its current attempt, and `passing` is the last
    temporary error among them.
    """

    candidate: Candidate
    others: tuple[Candidate, ...] = ()
    again: tuple[Candidate, ...] = ()
    refused: frozenset[Candidate] = frozenset()
    config: RetryConfig = RetryConfig()
    attempts: int = 1
    walks: int = 1
    breaks: int = 0
    shorter: int = 0
    without: frozenset[str] = frozenset()
    requests: int = REQUESTS
    resumes: int = 0
    spare: float = 9.0
    text: str = ""
    hosts: frozenset[str] = frozenset()
    passing: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Send the same request to the same model after `delay` seconds; no content had arrived."""

    delay: float


@dataclass(frozen=True, slots=True)
class Shorter:
    """Send less of the conversation to the same model."""


@dataclass(frozen=True, slots=True)
class Without:
    """Send the request to the same model without a feature or parameter that it refused."""

    feature: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Use another host for the same model at once; it continues after the text so far."""


@dataclass(frozen=True, slots=True)
class Next:
    """Use another model after `delay` seconds; it continues after the text so far."""

    candidate: Candidate
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Continue:
    """Ask the same model to continue after `text`, after `delay` seconds."""

    text: str
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


Step = Again | Shorter | Without | Elsewhere | Next | Continue | GiveUp


def weighed(failure: Failure, state: State) -> Failure:
    """Return the failure of a provider, considering all its hosts: an unreachable one may have the
    model that the last one lacks.
    """
    if state.passing is None or failure.hosts_left or not isinstance(failure.cause, ModelNotFound):
        return failure
    return replace(failure, error=state.passing)


def next_step(failure: Failure, state: State) -> Step:
    """Decide what to do after a failure.

    Pure except for the random part of a delay. The rules apply in this order. The default for an
    unknown error is the next model, which the user named for this purpose. One request is reserved
    for each model that was not tried yet.
    """
    if state.requests < 1:
        return GiveUp(f"The limit of {REQUESTS} further requests in one turn is reached.")
    if isinstance(failure.error, Paused):
        return Continue(state.text)
    if (failure.begun or state.text) and state.resumes < 1:
        return GiveUp("A partial reply is not resumed.")
    state = _renewed(state) if failure.begun else state
    same = _same_model(failure, state) if state.requests > len(state.others) else None
    return same or _next_model(state) or _once_more(failure, state) or GiveUp(failure.error.message)


def _same_model(failure: Failure, state: State) -> Step | None:
    return _adapted(failure, state) or _elsewhere(failure) or _same_again(failure, state)


def _renewed(state: State) -> State:
    """Return the state after content has arrived: models that failed before may be tried again."""
    others = (*state.others, *state.again)
    return replace(state, others=others, again=(), walks=1, attempts=1, hosts=frozenset(),
                   passing=None)


def _adapted(failure: Failure, state: State) -> Step | None:
    """Return a step that shortens or simplifies the request for the same model, or None."""
    match failure:
        case Failure(ContextTooLong(), False) if state.shorter < SHORTER:
            return Shorter()
        case Failure(BadRequest(feature=feature), False) if (
                feature and feature not in state.without and len(state.without) < FEATURES):
            return Without(feature)
    return None


def _elsewhere(failure: Failure) -> Step | None:
    """Return the step to another host, if the host failed: it is unreachable, overloaded or lacks
    the model.
    """
    of_the_host = may_pass(failure.cause) or isinstance(failure.cause, ModelNotFound)
    return Elsewhere() if of_the_host and failure.hosts_left else None


def _same_again(failure: Failure, state: State) -> Step | None:
    """Return a retry of the same model: before the first content as often as configured, after it
    once if there are other models.

    A single model is tried once more than configured, with growing delays, since its server may be
    restarting.
    """
    cause, underway = failure.cause, failure.begun or bool(state.text)
    if (not (may_pass(cause) if underway else cause.retryable)
        or (cause.retry_after or 0) > state.config.longest_wait):
        return None
    delay = (cause.retry_after if cause.retry_after is not None
             else backoff_delay(state.config, state.attempts))
    if not underway:
        can = state.attempts < state.config.max_attempts and state.walks == 1 and state.spare >= 1
        return Again(delay) if can else None
    if (state.others or state.again) and (state.breaks > 0 or not failure.begun):
        return None
    if (not failure.begun and state.attempts
        > (state.config.max_attempts if state.config.max_attempts > 1 else 0)):
        return None
    if failure.begun and not state.breaks and cause.retry_after is None:
        return Continue(state.text)
    return Continue(state.text,
                    max(delay, backoff_delay(state.config, state.breaks + state.attempts - 1)))


def _next_model(state: State) -> Step | None:
    return Next(state.others[0]) if state.others else None


def _once_more(failure: Failure, state: State) -> Step | None:
    """Return another pass over the models after all failed, some of them temporarily: a server may
    be restarting.

    A reply that has begun is worth more passes than one that has not.
    """
    tired = (*state.again, state.candidate) if may_pass(failure.cause) else state.again
    alone = len(tired) + len(state.refused) == 1
    underway = failure.begun or bool(state.text)
    most = state.config.max_attempts + (state.resumes if underway else 0)
    if not tired or alone or state.walks >= most or not underway and state.spare < 1:
        return None
    asked_for = failure.cause.retry_after or 0
    if asked_for > state.config.max_delay and tired[0] == state.candidate:
        return None
    return Next(tired[0],
                max(backoff_delay(state.config, state.walks), asked_for if len(tired) == 1 else 0))


def may_pass(error: ProviderError) -> bool:
    """Return whether the same request may succeed later.

    A server that refuses connections may be starting.
    """
    return error.retryable or isinstance(error, ConnectFailed)


def moved(state: State, step: Step, failure: Failure) -> State:
    """Return the state after taking this step."""
    if isinstance(failure.error, Paused):
        return replace(state, requests=state.requests - 1)
    if failure.begun:
        state = replace(_renewed(state), breaks=state.breaks + 1, resumes=state.resumes - 1)
    state = replace(state, requests=state.requests - 1)
    if isinstance(step, Elsewhere):
        passing = failure.error if may_pass(failure.cause) else state.passing
        return replace(state, hosts=state.hosts | {failure.host}, passing=passing)
    if isinstance(step, (Again, Continue, Next)):       # all hosts may be used again
        state = replace(state, hosts=frozenset(), passing=None)
    match step:
        case Again():
            return replace(state, attempts=state.attempts + 1, spare=state.spare - 1)
        case Continue() if not failure.begun:
            return replace(state, attempts=state.attempts + 1, resumes=state.resumes - 1)
        case Shorter():
            return replace(state, shorter=state.shorter + 1)
        case Without(feature):
            return replace(state, without=state.without | {feature})
        case Next(candidate):
            return _passed_on(state, candidate, failure)
    return state


def _passed_on(state: State, candidate: Candidate, failure: Failure) -> State:
    """Return the state in which the failed candidate waits for the next pass, or is not used again
    in this turn.
    """
    passes = may_pass(failure.cause)
    again = (*state.again, state.candidate) if passes else state.again
    refused = state.refused if passes else state.refused | {state.candidate}
    others, walks, spare = state.others, state.walks, state.spare
    # all others were tried: start another pass over the failed ones, in order
    if candidate not in others:
        others, again, walks = again, (), walks + 1
    if walks > 1:
        spare -= 1
    changed = candidate != state.candidate
    return replace(
        state, candidate=candidate, others=tuple(other for other in others if other != candidate),
        again=again, refused=refused,
        walks=walks, spare=spare, attempts=1, breaks=0 if changed else state.breaks,
        shorter=0 if changed else state.shorter,
        without=frozenset() if changed else state.without)
