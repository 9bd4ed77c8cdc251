"""Decides what to do when a model does not answer:
one pure function over what failed and what has been tried.
"""

from __future__ import annotations

from collections.abc import Callable

from core.dataclass import dataclass, replace
from core.errors import (BadRequest, ConnectFailed, ContextTooLong, ModelNotFound, Paused,
                         ProviderError, StreamBroken)

# requests beyond the first of each reply that one turn may make, whatever they are for
REQUESTS = 24
SHORTER = 2        # how often a request is made shorter for one model
FEATURES = 6       # how many things one request is asked again without


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Delays are seconds.

    `jitter` is the random part of a delay, 0 to 1. A provider that asks for more than
    `longest_wait` is not waited for.
    """

    max_attempts: int = 3
    initial_delay: float = 1.0
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: float = 0.5
    longest_wait: float = 120.0


def _chance() -> float:
    from random import random       # 2 ms of a start; most answers need no delay
    return random()


def backoff_delay(config: RetryConfig, attempt: int,
                  chance: Callable[[], float] = _chance) -> float:
    """Seconds to wait after the failed attempt number `attempt` (from 1)."""
    try:
        whole = min(config.max_delay, config.initial_delay * config.multiplier ** (attempt - 1))
    except OverflowError:
        whole = config.max_delay
    return whole * (1 - config.jitter * chance())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can be asked."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of one request; `begun` says that content of this request had arrived before it.

    `host` is the address that was asked and `hosts_left` how many others of this provider have not
    been tried, both where a provider has several hosts.
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
        """What the provider itself reported, where it reported something inside its stream."""
        error = self.error
        return error.cause if isinstance(error, StreamBroken) and error.cause is not None else error


@dataclass(frozen=True, slots=True)
class State:
    """What has been tried for one reply, and what is left.

    `others` have not been asked since the last content, `again` failed in a way that may pass,
    `refused` may not be asked again in this turn. `requests` and `resumes` are what is left of the
    turn's limits, `spare` of the retries that all turns share. `text` is the text of the reply so
    far. `hosts` are the addresses of the candidate that failed since it was last asked anew, and
    `passing` the last of their errors that may pass.
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
    """Ask the same model the same after `delay` seconds: nothing of its reply has arrived."""

    delay: float


@dataclass(frozen=True, slots=True)
class Shorter:
    """Ask the same model with less of the conversation."""


@dataclass(frozen=True, slots=True)
class Without:
    """Ask the same model without a feature or parameter that it refused."""

    feature: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Ask the same model at another host of its provider, at once;
    it continues after the text so far, if there is any.
    """


@dataclass(frozen=True, slots=True)
class Next:
    """Ask another model after `delay` seconds;
    it continues after the text so far, if there is any.
    """

    candidate: Candidate
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Continue:
    """Ask the same model to continue after `text`, in `delay` seconds."""

    text: str
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


Step = Again | Shorter | Without | Elsewhere | Next | Continue | GiveUp


def weighed(failure: Failure, state: State) -> Failure:
    """The failure of a provider by those of all its hosts:
    one that is away may have the model that the last one lacks.
    """
    if state.passing is None or failure.hosts_left or not isinstance(failure.cause, ModelNotFound):
        return failure
    return replace(failure, error=state.passing)


def next_step(failure: Failure, state: State) -> Step:
    """What to do after this failure.

    Pure but for the random part of a delay; the rows are tried in this order.

    The default for an unknown error is the next model: it may do what this one cannot, and the user
    named it for that. As many requests are set aside as there are models that have not been asked.
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
    """Content has arrived: those that failed before it may be asked as if for the first time."""
    others = (*state.others, *state.again)
    return replace(state, others=others, again=(), walks=1, attempts=1, hosts=frozenset(),
                   passing=None)


def _adapted(failure: Failure, state: State) -> Step | None:
    """The same model can take a smaller or simpler request."""
    match failure:
        case Failure(ContextTooLong(), False) if state.shorter < SHORTER:
            return Shorter()
        case Failure(BadRequest(feature=feature), False) if (
                feature and feature not in state.without and len(state.without) < FEATURES):
            return Without(feature)
    return None


def _elsewhere(failure: Failure) -> Step | None:
    """Another host of the same model, when it is the host that failed:
    it is away, overloaded, or does not have the model.
    """
    of_the_host = may_pass(failure.cause) or isinstance(failure.cause, ModelNotFound)
    return Elsewhere() if of_the_host and failure.hosts_left else None


def _same_again(failure: Failure, state: State) -> Step | None:
    """Before the first content, as often as configured; after it, once while there are other
    models. A model alone is asked once more than configured, with growing pauses: a server that
    broke off may be starting again.
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
    """All models failed, some in a way that passes: one of several servers may be starting again.

    A reply of which something was shown is worth more walks than one that has not begun.
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
    """Whether the same request may work in a while.

    A server that refuses connections may be starting.
    """
    return error.retryable or isinstance(error, ConnectFailed)


def moved(state: State, step: Step, failure: Failure) -> State:
    """The state in which the request of this step is sent."""
    if isinstance(failure.error, Paused):
        return replace(state, requests=state.requests - 1)
    if failure.begun:
        state = replace(_renewed(state), breaks=state.breaks + 1, resumes=state.resumes - 1)
    state = replace(state, requests=state.requests - 1)
    if isinstance(step, Elsewhere):
        passing = failure.error if may_pass(failure.cause) else state.passing
        return replace(state, hosts=state.hosts | {failure.host}, passing=passing)
    if isinstance(step, (Again, Continue, Next)):       # all hosts are asked anew
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
    """The candidate that failed waits for another walk, or is not asked again in this turn."""
    passes = may_pass(failure.cause)
    again = (*state.again, state.candidate) if passes else state.again
    refused = state.refused if passes else state.refused | {state.candidate}
    others, walks, spare = state.others, state.walks, state.spare
    # the others are used up: those that failed are asked once more, in their order
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
