"""Resumes an answer after its connection broke, on servers that store their answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from core.config.network import is_loopback
from core.dataclass import dataclass, field
from core.errors import ConnectFailed, ProviderError, StreamBroken
from core.providers import Endpoint
from core.providers.http.http1 import Client, ConnectTimeout, NoConnection, Response, Silence
from core.providers.http.transport import ANEW, ContentClock, ErrorMapper, exchange, read_chunks

if TYPE_CHECKING:
    from core.providers.translation import Reads

PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)   # seconds before each attempt until more of the answer arrives
PROBE = 10.0      # seconds for a silent server to send more
SILENCES = 3      # most attempts to resume an answer after silence
LAST_WORDS = 5.0  # seconds for the request to stop an answer
_NOT_KEPT = frozenset({400, 401, 403, 404, 405, 410, 422, 501})
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Wire:
    """The client of an adapter, and pending requests to stop unread answers."""

    client: Client
    endpoint: Endpoint
    error: ErrorMapper
    last_words: set[asyncio.Task[None]] = field(default_factory=set)

    async def close(self) -> None:
        await asyncio.gather(*self.last_words, return_exceptions=True)

    async def tell(self, method: str, path: str) -> bool:
        """Send a request without a body; return False if the server refuses it or is unreachable.
        """
        try:
            async with exchange(self.client, self.endpoint, path, None, self.error, method=method):
                return True
        except ProviderError:
            return False


class Keeper(Protocol):
    """How one kind of server stores an answer.

    `exact`: the rest begins at the exact byte; otherwise with a complete event.
    """

    exact: bool

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the request headers that make the server store the answer."""
        ...

    @property
    def name(self) -> str:
        """The server's name of the answer; "" while unknown."""
        ...

    async def find(self, name: str) -> bool:
        """Return whether the server still has an answer; if so, use it."""
        ...

    def rest(self, received: int) -> Sequence[str]:
        """Return paths of the rest after `received` bytes, most likely first; empty if it is not
        stored.
        """
        ...

    async def whole(self) -> bytes:
        """Return the complete answer as one event if its rest cannot be streamed, or b""."""
        ...

    async def leave(self, *, complete: bool) -> None:
        """Stop the server's work on an answer that is not read any more, unless it is complete."""
        ...


class ReplayBuffer:
    """llama.cpp's server: it continues when a client disconnects, and replays the answer for five
    minutes.

    Source: its tools/server/README-dev.md, "Resumable streaming". In its first versions the id was
    part of the path.
    """

    exact = True

    def __init__(self, wire: Wire) -> None:
        self._wire, self.name = wire, f"chat-{os.urandom(16).hex()}"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"x-conversation-id": self.name}

    async def find(self, name: str) -> bool:
        for path in self._rest(name, 0):
            if await self._wire.tell("GET", path):
                self.name = name
                return True
        return False

    def rest(self, received: int) -> Sequence[str]:
        return self._rest(self.name, received)

    def _rest(self, name: str, received: int) -> Sequence[str]:
        name = quote(name, safe="")
        return f"/stream?conv_id={name}&from={received}", f"/stream/{name}?from={received}"

    async def whole(self) -> bytes:
        return b""

    async def leave(self, *, complete: bool) -> None:
        if not complete and not await self._wire.tell("DELETE", f"/stream?conv_id={self.name}"):
            await self._wire.tell("DELETE", f"/stream/{self.name}")


def handle_of(wire: Wire, keeper: Keeper) -> str:
    """Return a handle to find the answer in another run of the program: its name and address."""
    return f"{wire.endpoint.base_url} {keeper.name}" if keeper.name else ""


async def find_again(wire: Wire, keeper: Keeper, handle: str) -> bool:
    """Return whether the handle is of this server, and the answer is still available."""
    base_url, _, name = handle.rpartition(" ")
    return bool(name) and base_url == wire.endpoint.base_url and await keeper.find(name)


def kept_reads(wire: Wire, path: str, body: Any, keeper: Keeper, over: Callable[[], bool], *,
               begun: bool = False) -> Reads:
    """Yield the body of the answer to a POST, over as many connections as needed.

    `begun`: it was requested before, so no new request is sent. `over` returns whether the answer
    is complete. A connection error that resuming does not fix is raised unchanged. Closing this
    early stops the server.
    """
    return lambda clock: _Kept(wire, keeper, over, clock).reads(path, None if begun else body)


class _Kept:
    """One answer, of which `received` bytes have arrived."""

    def __init__(self, wire: Wire, keeper: Keeper, over: Callable[[], bool],
                 clock: ContentClock) -> None:
        self._wire, self._keeper, self._over, self._clock = wire, keeper, over, clock
        self._received = 0

    async def reads(self, path: str, body: Any) -> AsyncGenerator[bytes, None]:
        """Yield the answer. `body` is None if it was requested before."""
        broken: ProviderError | None = None
        answered = body is None
        try:
            try:
                if body is not None:
                    async with self._ask(path, body) as response:
                        answered = True
                        async with contextlib.aclosing(self._chunks(response)) as chunks:
                            async for chunk in chunks:
                                yield chunk
            except (StreamBroken, ConnectFailed) as problem:
                if _never_sent(problem):
                    raise
                broken, answered = problem, True
            if not self._over():
                async with contextlib.aclosing(self._rest(broken)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        finally:
            if answered:
                self._leave()

    async def _rest(self, broken: ProviderError | None) -> AsyncGenerator[bytes, None]:
        """Yield the missing rest. Raises the original error if the server does not have it."""
        patience = _Patience(self._wire.endpoint, silent=_was_silent(broken))
        while not self._over() and not patience.ended:
            await asyncio.sleep(patience.pause())
            before, problem = self._received, None
            limit = PROBE if patience.silent else None
            try:
                async with contextlib.aclosing(self._again(limit)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except ProviderError as error:
                problem = error
            patience.note(problem, more=self._received > before)
        if not self._over() and broken is not None:
            raise broken

    async def _again(self, limit: float | None) -> AsyncGenerator[bytes, None]:
        """Yield the rest over one connection, which must begin within `limit` seconds.

        Raises the error of a server that does not have it.
        """
        refusal: ProviderError | None = None
        for path in self._keeper.rest(self._received):
            try:
                async with contextlib.aclosing(self._from(path, limit)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except ProviderError as problem:
                if problem.status not in _NOT_KEPT:
                    raise
                refusal = problem
        event = await self._keeper.whole()
        if event:
            self._received += len(event)
            yield ANEW
            yield event
        elif refusal is not None:
            raise refusal

    async def _from(self, path: str, limit: float | None) -> AsyncGenerator[bytes, None]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(limit):
                    response = await stack.enter_async_context(self._ask(path, None))
                    chunks = self._chunks(response)
                    await stack.enter_async_context(contextlib.aclosing(chunks))
                    first = await anext(chunks, None)
            except TimeoutError as problem:
                raise self._clock.broken() from problem
            at = self._received - len(first or b"")
            _log.debug("the answer is taken up again after %d bytes", at)
            if not self._keeper.exact:
                yield ANEW
            if first is not None:
                yield first
            async for chunk in chunks:
                yield chunk

    def _ask(self, path: str, body: Any) -> contextlib.AbstractAsyncContextManager[Response]:
        wire, method = self._wire, "GET" if body is None else "POST"
        return exchange(wire.client, wire.endpoint, path, body, wire.error, method=method,
                        headers=self._keeper.headers)

    async def _chunks(self, response: Response) -> AsyncGenerator[bytes, None]:
        reads = read_chunks(response, self._wire.endpoint, self._clock)
        async with contextlib.aclosing(reads) as chunks:
            async for chunk in chunks:
                self._received += len(chunk)
                yield chunk

    def _leave(self) -> None:
        """Stop the answer in the background, since the user who stopped it should not wait."""
        task = asyncio.ensure_future(_within(LAST_WORDS, self._keeper.leave(complete=self._over())))
        self._wire.last_words.add(task)
        task.add_done_callback(self._wire.last_words.discard)


class _Patience:
    """Limits how often the rest of one answer is requested.

    `silent`: the connection fell silent instead of breaking, so the next attempt is short.
    """

    def __init__(self, endpoint: Endpoint, *, silent: bool) -> None:
        self._endpoint, self.silent, self.ended = endpoint, silent, False
        self._pauses, self._silences, self._empty = list(PAUSES), int(silent), 0

    def pause(self) -> float:
        return self._pauses.pop(0)

    def note(self, problem: ProviderError | None, *, more: bool) -> None:
        """Record the end of an attempt, with or without more of the answer."""
        if more:
            self._pauses, self._empty = list(PAUSES), 0
        silent = _was_silent(problem)
        match problem:
            case None:      # two empty attempts: there is no more
                self._empty += not more
                self.ended = self._empty > 1
            case StreamBroken() | ConnectFailed():
                still = silent and self.silent and not more
                self.ended = still or _is_gone(problem, self._endpoint)
            case _:
                self.ended = problem.status in _NOT_KEPT
        self._silences += silent
        self.silent = silent
        self.ended = self.ended or not self._pauses or self._silences > SILENCES


async def _within(seconds: float, what: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(what, seconds)


def _never_sent(problem: ProviderError) -> bool:
    unreached = (NoConnection, ConnectTimeout)
    return problem.status is not None or isinstance(problem.__cause__, unreached)


def _was_silent(problem: ProviderError | None) -> bool:
    timeouts = (TimeoutError, Silence)
    return problem is not None and isinstance(problem.__cause__, timeouts)


def _is_gone(problem: ProviderError, endpoint: Endpoint) -> bool:
    """Return whether a server on this machine has ended, and its answers with it: it refuses
    connections.
    """
    return not problem.retryable and is_loopback(endpoint.base_url)
