"""Takes an answer up again where its connection broke, on servers that keep what they write."""

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

PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)   # seconds before each attempt, until more of the answer comes
PROBE = 10.0      # seconds in which a server that fell silent must show that it has more
SILENCES = 3      # how often one answer is taken up again after silence
LAST_WORDS = 5.0  # seconds for telling a server that nobody reads any further
_NOT_KEPT = frozenset({400, 401, 403, 404, 405, 410, 422, 501})
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Wire:
    """What an adapter sends its requests with, and the last requests about answers left unread."""

    client: Client
    endpoint: Endpoint
    error: ErrorMapper
    last_words: set[asyncio.Task[None]] = field(default_factory=set)

    async def close(self) -> None:
        await asyncio.gather(*self.last_words, return_exceptions=True)

    async def tell(self, method: str, path: str) -> bool:
        """Send a request without a body; False when the server refused it or cannot be reached."""
        try:
            async with exchange(self.client, self.endpoint, path, None, self.error, method=method):
                return True
        except ProviderError:
            return False


class Keeper(Protocol):
    """How one kind of server keeps an answer.

    `exact`: the rest begins at the very byte, else with a whole event.
    """

    exact: bool

    @property
    def headers(self) -> Mapping[str, str]:
        """What a request says so that its answer is kept."""
        ...

    @property
    def name(self) -> str:
        """What the server calls the answer; "" as long as that is not known."""
        ...

    async def find(self, name: str) -> bool:
        """Whether the server still has the answer of this name. If so, it is this keeper's."""
        ...

    def rest(self, received: int) -> Sequence[str]:
        """Paths of the rest after `received` bytes, the likeliest first; none: it is not kept."""
        ...

    async def whole(self) -> bytes:
        """The complete answer as one event where its rest cannot be streamed, or b""."""
        ...

    async def leave(self, *, complete: bool) -> None:
        """Nobody reads this answer any more: stop the server, unless it has written all of it."""
        ...


class ReplayBuffer:
    """llama.cpp's server: it writes on when a client is lost, and replays it all for five minutes.

    Source: its tools/server/README-dev.md, "Resumable streaming". In its first versions the id was
    a part of the path.
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
    """What finds the answer again in another run of the program: its name, and where it is."""
    return f"{wire.endpoint.base_url} {keeper.name}" if keeper.name else ""


async def find_again(wire: Wire, keeper: Keeper, handle: str) -> bool:
    """Whether the answer of this handle is the server's, and can still be had."""
    base_url, _, name = handle.rpartition(" ")
    return bool(name) and base_url == wire.endpoint.base_url and await keeper.find(name)


def kept_reads(wire: Wire, path: str, body: Any, keeper: Keeper, over: Callable[[], bool], *,
               begun: bool = False) -> Reads:
    """The body of the answer to a POST, over as many connections as it takes.

    `begun`: it was asked for before, so it is not asked for again. `over` says whether the
    answer is complete. A break that cannot be repaired is raised as it was. Whoever closes
    this early stops the server.
    """
    return lambda clock: _Kept(wire, keeper, over, clock).reads(path, None if begun else body)


class _Kept:
    """One answer: `received` bytes of it so far."""

    def __init__(self, wire: Wire, keeper: Keeper, over: Callable[[], bool],
                 clock: ContentClock) -> None:
        self._wire, self._keeper, self._over, self._clock = wire, keeper, over, clock
        self._received = 0

    async def reads(self, path: str, body: Any) -> AsyncGenerator[bytes, None]:
        """`body` is None for an answer that was asked for before."""
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
        """What is missing. Raises the first break when the server does not have it."""
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
        """The rest as one connection has it, from `limit` seconds on at the latest.

        Raises the refusal of a server that does not have it.
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
        """Nobody waits for this: whoever stops an answer wants to go on."""
        task = asyncio.ensure_future(_within(LAST_WORDS, self._keeper.leave(complete=self._over())))
        self._wire.last_words.add(task)
        task.add_done_callback(self._wire.last_words.discard)


class _Patience:
    """How often the rest of one answer is asked for.

    `silent`: the connection did not break, nothing came any more; so the next attempt is short.
    """

    def __init__(self, endpoint: Endpoint, *, silent: bool) -> None:
        self._endpoint, self.silent, self.ended = endpoint, silent, False
        self._pauses, self._silences, self._empty = list(PAUSES), int(silent), 0

    def pause(self) -> float:
        return self._pauses.pop(0)

    def note(self, problem: ProviderError | None, *, more: bool) -> None:
        """One attempt is over, with or without more of the answer."""
        if more:
            self._pauses, self._empty = list(PAUSES), 0
        silent = _was_silent(problem)
        match problem:
            case None:      # two ends with nothing before them: there is no more
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
    """On this machine, a server that refuses connections has ended, and its answers with it."""
    return not problem.retryable and is_loopback(endpoint.base_url)
