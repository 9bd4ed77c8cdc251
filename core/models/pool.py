"""Pools: several models under one name, of which the least busy, fastest or cheapest is used."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from core.dataclass import dataclass
from core.errors import ConnectFailed, ProviderError
from core.events import Delta, Notice, is_content
from core.model_manager import Providers, Target, pool_entry
from core.models.facts import known_facts
from core.providers.loads import Load, Loads

UNKNOWN = float("inf")
REST = 60.0  # seconds for which a failed member comes last, also in other programs
Stream = AsyncGenerator[Delta | Notice, None]


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool. `target` is what the user chose; one of `members` answers."""

    target: Target
    members: tuple[Target, ...]
    prefer: str
    loads: Loads
    price: Callable[[Target], float]

    def ranked(self) -> list[Target]:
        """Return the members, best first; of equals, the least recently used first."""
        loads = self.loads.look()
        return sorted(
            self.members, key=lambda member: self._rank(member, loads.get(str(member), Load()))
        )

    def _rank(self, member: Target, load: Load) -> tuple[float, ...]:
        match self.prefer:
            case "cost":
                return load.down, self.price(member), load.busy, load.seconds, load.last
            case "speed":
                return load.down, load.seconds * (load.busy + 1), load.busy, load.last
        return load.down, load.busy, round(load.seconds, 1), load.last

    async def counted(self, member: Target, stream: Stream) -> Stream:
        """Yield the stream of a member, counted as running until it ends."""
        started, first = time.monotonic(), None
        self.loads.begin(str(member))
        try:
            async with aclosing(stream) as deltas:
                async for delta in deltas:
                    if first is None and is_content(delta):
                        first = time.monotonic() - started
                    yield delta
            self.loads.note_down(str(member), 0)
        except ProviderError as error:
            failed = first is None and not error.hosts_left
            if failed and (error.retryable or isinstance(error, ConnectFailed)):
                self.loads.note_down(str(member), REST)
            raise
        finally:
            self.loads.end(str(member), first)


def open_pool(target: Target, providers: Providers) -> Pool:
    """Return the pool of this name. Raises UsageError for an unknown pool or unknown members."""
    members, prefer = pool_entry(target.model, providers.settings)
    for member in members:
        providers.host(member.provider)
    return Pool(target, members, prefer, providers.loads, lambda member: _price(member, providers))


def _price(member: Target, providers: Providers) -> float:
    """Return dollars for a million input tokens and a third of that in output; local models are
    free.
    """
    facts = known_facts(member, providers)
    if facts.kind == "local":
        return 0.0
    if facts.input_price is None or facts.output_price is None:
        return UNKNOWN
    return facts.input_price + facts.output_price / 3
