"""Balances one provider over several addresses: it uses the least busy and fastest host and avoids
failed ones.

A request goes to one host; the policy decides whether another is tried (core/retry/policy.py). Each
address has a circuit breaker. It opens when the host is unreachable or overloaded. The host is then
checked again (half open) in parallel with a request, never by one, so that nobody waits for it.
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

CONNECT_TIMEOUT = 2.0     # seconds to connect: short, since there are other hosts
PROBE_AFTER = 10.0        # seconds between a failure and the next check of the host
PROBE_TIMEOUT = 1.2
LOOK_AFTER = 0.75  # seconds of silence after which a host is checked
FORGET = 60.0             # half-life of measurements in seconds
POWERS = ("check", "count", "show", "running", "pull", "delete", "embed", "adapted", "advice",
          "advice_when_down")


@dataclass(slots=True, eq=False)
class _Host:
    """An address and its state: running answers, seconds to the first content, since when it is
    down, and models it lacks.
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
        """Return the measured seconds, decayed over time so that a slow host gets another chance.
        """
        return self.latency * float(0.5 ** ((now - self.measured) / FORGET))

    def note(self, seconds: float, now: float) -> None:
        known = self.speed(now)
        self.latency, self.measured = (0.7 * known + 0.3 * seconds) if known else seconds, now


class Balanced:
    """A Provider that combines several providers of the same dialect.

    It has the optional capabilities of the first.
    """

    def __init__(self, providers: Sequence[Provider], clock: Callable[[], float] = time.monotonic,
                 loads: Loads | None = None) -> None:
        self._loads = loads or Loads()      # requests of other programs count too
        self._hosts = [_Host(provider) for provider in providers]
        self._clock = clock
        # the last used provider
        self.asked: Provider = providers[0]
        for power in POWERS:
            if hasattr(providers[0], power):
                setattr(self, power, self._power(power))

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that the next request would use."""
        return self._in_order()[0].provider.endpoint

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Send the request to the best host that it does not avoid.

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
        """Yield the host's stream.

        While it is silent, its model list is requested too: a host that is loading a model responds
        to that; a hanging one does not and is given up.
        """
        async with aclosing(host.provider.stream(request)) as deltas:
            step = asyncio.ensure_future(anext(deltas, None))
            try:
                done, _ = await asyncio.wait({step},
                                             timeout=LOOK_AFTER if len(self._hosts) > 1 else None)
                if not done and not await _answers(host.provider, step):
                    raise ConnectFailed(f"{host.provider.endpoint.base_url} accepts connections "
                                        "but does not respond.")
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
        """List the models of the best host that responds."""
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
        """Return the hosts in order: working ones (least busy, fastest, least recently used first),
        then those without the model, then failed ones (longest ago first).
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
        """Start a check of each failed host that is due; requests meanwhile use other hosts."""
        if all(host.open_until is not None for host in self._hosts):
            return   # all are tried in turn anyway
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
        """Await an answer and record its outcome. The error of a failed host says how many others
        work.
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
    """Return whether the host responds in time; an error response counts."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await provider.models()
    except ProviderError as error:
        return error.status is not None and error.status < 500
    except TimeoutError:
        return False
    return True


async def _answers(provider: Provider, step: asyncio.Future[Any]) -> bool:
    """Return whether the host responds in time, or the awaited answer begins meanwhile."""
    look = asyncio.ensure_future(_is_alive(provider))
    try:
        await asyncio.wait({step, look}, return_when=asyncio.FIRST_COMPLETED)
        return step.done() or look.result()
    finally:
        if not look.done():
            look.cancel()
            await asyncio.wait({look})


def _is_the_hosts(error: ProviderError) -> bool:
    """Return whether another host may succeed: this one is unreachable, overloaded, limited or
    lacks the model.
    """
    return error.retryable or isinstance(error, (ConnectFailed, ModelNotFound))
