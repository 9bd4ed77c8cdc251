"""One provider at several addresses: the least busy and quickest one is asked, a dead one is
left alone until it is back.

A request goes to one host; whether another one is asked after it is for the policy to say
(core/retry/policy.py). Each address has a circuit breaker. It opens when the host cannot be reached
or says that it is overloaded, and the host is looked at again (half open) beside a request, never
by one, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from inspect import isawaitable
from typing import Any

from core.dataclass import dataclass, field
from core.errors import ConnectFailed, ModelNotFound, ProviderError, StreamBroken
from core.events import Delta, is_content
from core.providers import Endpoint, ModelInfo, Provider, Request
from core.providers.loads import Load, Loads

CONNECT_TIMEOUT = 2.0     # seconds; with others to ask there is no reason to wait longer for one
PROBE_AFTER = 10.0        # seconds between a failure and the next look at the host
PROBE_TIMEOUT = 1.2
LOOK_AFTER = 0.75  # seconds of silence after which a host is asked whether it is there at all
FORGET = 60.0             # seconds after which half of what was measured is forgotten
POWERS = ("check", "count", "show", "running", "pull", "delete", "embed", "adapted", "advice",
          "advice_when_down")


@dataclass(slots=True, eq=False)
class _Host:
    """An address and what is known of it: answers under way, seconds to the first content, since
    when it is dead, and the models that it did not have.
    """

    provider: Provider
    busy: int = 0
    latency: float = 0.0
    measured: float = 0.0
    open_until: float | None = None
    probe: asyncio.Task[None] | None = None
    lacks: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return self.provider.endpoint.base_url

    def speed(self, now: float) -> float:
        """The measured seconds, fading: one that was slow some time ago gets another chance."""
        return self.latency * float(0.5 ** ((now - self.measured) / FORGET))

    def note(self, seconds: float, now: float) -> None:
        known = self.speed(now)
        self.latency, self.measured = (0.7 * known + 0.3 * seconds) if known else seconds, now


class Balanced:
    """A Provider made of several that speak the same dialect.

    The optional powers are those of the first.
    """

    def __init__(self, providers: Sequence[Provider], clock: Callable[[], float] = time.monotonic,
                 loads: Loads | None = None) -> None:
        self._loads = loads or Loads()      # what other programs have under way counts too
        self._hosts = [_Host(provider) for provider in providers]
        self._clock = clock
        # the one that was asked last, for who counts its answers
        self.asked: Provider = providers[0]
        for power in POWERS:
            if hasattr(providers[0], power):
                setattr(self, power, self._power(power))

    @property
    def endpoint(self) -> Endpoint:
        """Where the next request would go."""
        return self._in_order()[0].provider.endpoint

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Ask the best host that the request does not avoid.

        Its error says how many hosts are left.
        """
        self._look_at_dead_ones()
        ordered = self._in_order(request.model)
        left = [host for host in ordered if host.url not in request.avoid] or ordered
        host, first, started = left[0], None, self._clock()
        self.asked = host.provider
        host.busy += 1
        self._loads.begin(host.url)
        try:
            async with aclosing(self._watched(host, request)) as deltas:
                async for delta in deltas:
                    if first is None and is_content(delta):
                        first = self._clock() - started
                        host.note(first, self._clock())
                    yield delta
            self._is_well(host)
            host.lacks.discard(request.model)
        except ProviderError as error:
            self._failed(host, error, request.model)
            error.host, error.hosts_left = (host.url,
                                            len({other.url for other in left[1:]} - {host.url}))
            raise
        finally:
            host.busy -= 1
            self._loads.end(host.url, first)

    async def _watched(self, host: _Host, request: Request) -> AsyncGenerator[Delta, None]:
        """The host's stream.

        While it is silent it is asked for its models too: one that loads a model answers that, one
        that hangs does not, and is given up.
        """
        async with aclosing(host.provider.stream(request)) as deltas:
            step = asyncio.ensure_future(anext(deltas, None))
            try:
                done, _ = await asyncio.wait({step},
                                             timeout=LOOK_AFTER if len(self._hosts) > 1 else None)
                if not done and not await _answers(host.provider, step):
                    raise ConnectFailed(f"{host.provider.endpoint.base_url} takes connections and "
                                        "does not answer.")
                first = await step
            finally:
                if not step.done():
                    step.cancel()
                    await asyncio.wait({step})
            if first is None:
                return
            yield first
            async for delta in deltas:
                yield delta

    async def models(self) -> list[ModelInfo]:
        """The models of the best host that answers."""
        found: list[ModelInfo] = await self._first_that_can("models")
        return found

    async def close(self) -> None:
        probes = [host.probe for host in self._hosts if host.probe is not None]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for host in self._hosts:
            host.probe = None
            await host.provider.close()

    def _in_order(self, model: str = "") -> list[_Host]:
        """The living: least busy, quickest, least recently asked first;
        then those without the model; then the longest dead.
        """
        now, loads = self._clock(), self._loads.look()

        def rank(host: _Host) -> tuple[float, ...]:
            load = loads.get(host.url, Load())
            return (host.open_until or float(load.down), model in host.lacks,
                    max(host.busy, load.busy),
                    host.speed(now) or load.seconds, load.last)
        return sorted(self._hosts, key=rank)

    def _failed(self, host: _Host, error: ProviderError, model: str = "") -> None:
        cause = (error.cause if isinstance(error, StreamBroken) and error.cause is not None
                 else error)
        if isinstance(cause, ModelNotFound) and model:
            host.lacks.add(model)
        if cause.retryable or isinstance(cause, ConnectFailed):
            rest = max(PROBE_AFTER, cause.retry_after or 0)
            host.open_until = self._clock() + rest
            self._loads.note_down(host.url, rest)

    def _is_well(self, host: _Host) -> None:
        host.open_until = None
        self._loads.note_down(host.url, 0)

    def _look_at_dead_ones(self) -> None:
        """Start a look at each host whose time has come;
        the requests of the meantime go elsewhere.
        """
        if all(host.open_until is not None for host in self._hosts):
            return   # all are asked in turn anyway
        for host in self._hosts:
            due = host.open_until is not None and self._clock() >= host.open_until
            if due and (host.probe is None or host.probe.done()):
                host.probe = asyncio.ensure_future(self._look_at(host))

    async def _look_at(self, host: _Host) -> None:
        if await _is_alive(host.provider):
            host.latency = 0.0
            self._is_well(host)
        else:
            host.open_until = self._clock() + PROBE_AFTER

    def _power(self, name: str) -> Callable[..., Any]:
        def use(*arguments: Any) -> Any:
            host = self._in_order()[0]
            answer = getattr(host.provider, name)(*arguments)
            return self._noted(host, answer) if isawaitable(answer) else answer
        return use

    async def _noted(self, host: _Host, answer: Awaitable[Any]) -> Any:
        """The answer; a host that fails is left alone,
        and its error says how many others are alive.
        """
        try:
            return await answer
        except ProviderError as error:
            self._failed(host, error)
            alive = [other for other in self._hosts if other.open_until is None]
            error.hosts_left = len(alive) if host not in alive else 0
            raise

    async def _first_that_can(self, name: str) -> Any:
        failure: ProviderError | None = None
        for host in self._in_order():
            try:
                return await getattr(host.provider, name)()
            except ProviderError as error:
                self._failed(host, error)
                failure = error
                if not _is_the_hosts(error):
                    raise
        assert failure is not None
        raise failure


async def _is_alive(provider: Provider) -> bool:
    """Whether the host answers anything at all in time;
    that it does not like the question is an answer.
    """
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await provider.models()
    except ProviderError as error:
        return error.status is not None and error.status < 500
    except TimeoutError:
        return False
    return True


async def _answers(provider: Provider, step: asyncio.Future[Any]) -> bool:
    """The same, or that the answer itself begins meanwhile."""
    look = asyncio.ensure_future(_is_alive(provider))
    try:
        await asyncio.wait({step, look}, return_when=asyncio.FIRST_COMPLETED)
        return step.done() or look.result()
    finally:
        if not look.done():
            look.cancel()
            await asyncio.wait({look})


def _is_the_hosts(error: ProviderError) -> bool:
    """Another host may do better: this one is away, overloaded, limited,
    or does not have the model.
    """
    return error.retryable or isinstance(error, (ConnectFailed, ModelNotFound))
