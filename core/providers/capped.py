"""Wraps a provider so that its requests never exceed the limit on cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from core.dataclass import replace
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Provider, Request
from core.providers.wrapped import Wrapped


class Reservation(Protocol):
    """Money reserved for one request. `tokens` is the longest allowed answer."""

    tokens: int

    def settle(self, usage: Usage | None) -> None:
        """Release the unused part. Without the provider's token count, all of it counts as spent.
        """
        ...


class Purse(Protocol):
    """Decides whether a request is within the limit (core/stats/spending.py)."""

    async def reserve(self, provider: str, request: Request) -> Reservation | None:
        """Reserve money for the worst case; return None for a free request.

        Raises CostLimit.
        """
        ...

    async def reserve_embedding(self, provider: str, model: str,
                                texts: Sequence[str]) -> Reservation | None: ...


class Capped(Wrapped):
    """Reserves money before each request, and settles when the provider reports usage."""

    def __init__(self, provider: Provider, name: str, purse: Purse) -> None:
        super().__init__(provider)
        self._name, self._purse = name, purse
        if hasattr(provider, "count"):
            self.count = provider.count     # counting costs nothing
        if hasattr(provider, "embed"):
            self.embed = self._embed

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        held = await self._purse.reserve(self._name, request)
        if held is not None:
            request = replace(request, options=replace(request.options, max_tokens=held.tokens))
        usage: Usage | None = None
        complete, written = False, 0
        try:
            async with aclosing(self.inner.stream(request)) as deltas:
                async for delta in deltas:
                    written += _length(delta)
                    usage = delta if isinstance(delta, Usage) else usage
                    complete = complete or isinstance(delta, Finished)
                    if held is not None and written > held.tokens * 8:
                        yield Finished("length", "the limit on cost")
                        return
                    yield delta
        finally:
            if held is not None:
                held.settle(usage if complete else None)  # an intermediate count is too low

    async def _embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        held = await self._purse.reserve_embedding(self._name, model, texts)
        found: list[list[float]]
        found = await self.inner.embed(model, texts)  # type: ignore[attr-defined]
        if held is not None:
            held.settle(None)
        return found


def _length(delta: Delta) -> int:
    match delta:
        case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
            return len(text)
    return 0
