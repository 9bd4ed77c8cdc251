"""Asks a provider over real loopback HTTP and returns everything received; shared by the dialects'
tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from core.errors import ProviderError
from core.events import Delta
from core.messages import Message
from core.providers import Endpoint, Provider, Request, load_dialect
from core.sessions.reply import Reply
from tests.fake_server import Answer, FakeServer, Received, Step, pieces

T = TypeVar("T")
CUTS = (1, 7, 1 << 20)   # bytes in one send; the result must not depend on it


def server_events(payloads: Iterable[Any], *, named: bool = False, end: str = "\n") -> bytes:
    """Server-sent events as bytes; `named` adds the type as the event's name."""
    lines = []
    for payload in payloads:
        if named:
            lines.append(f"event: {payload['type']}{end}")
        data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        lines.append(f"data: {data}{end}{end}")
    return "".join(lines).encode()


def stream_answer(body: bytes, *after: Step, cut: int = 1 << 20) -> Answer:
    return Answer([*pieces(body, cut), *after], content_type="text/event-stream; charset=utf-8")


def provider_at(dialect: str, url: str, *, idle_timeout: float = 10.0, **more: Any) -> Provider:
    """`more` are other fields of the endpoint."""
    return load_dialect(dialect)(
        Endpoint(url, "test-key", dialect, idle_timeout=idle_timeout, **more))


def run(dialect: str, url: str, use: Callable[[Any], Coroutine[Any, Any, T]], **settings: Any) -> T:
    """Call `use` with a provider, and close it afterwards."""
    async def whole() -> T:
        provider = provider_at(dialect, url, **settings)
        try:
            return await use(provider)
        finally:
            await provider.close()
    return asyncio.run(whole())


def ask(dialect: str, url: str, request: Request,
        **settings: Any) -> tuple[list[Delta], ProviderError | None]:
    """Everything that a stream yielded, and the error that ended it."""
    deltas: list[Delta] = []

    async def use(provider: Provider) -> ProviderError | None:
        try:
            async with aclosing(provider.stream(request)) as stream:
                async for delta in stream:
                    deltas.append(delta)
        except ProviderError as error:
            return error
        return None
    return deltas, run(dialect, url, use, **settings)


def exchange(dialect: str, answer: Answer | Sequence[Answer], request: Request,
             **settings: Any) -> tuple[list[Delta], Received]:
    """The deltas for one question to a scripted server, and the request as the server received it.

    Errors are raised.
    """
    with FakeServer(answer) as server:
        deltas, error = ask(dialect, server.url, request, **settings)
        if error is not None:
            raise error
        return deltas, server.requests[0]


def reply_of(deltas: Iterable[Delta], model: str = "test/model") -> Message:
    reply = Reply()
    for delta in deltas:
        reply.add(delta)
    return reply.message(model)
