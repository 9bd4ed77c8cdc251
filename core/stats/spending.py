"""Enforces a limit on cost: reserves money for the worst case of a request before it is sent."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from core.config.private_file import write_private
from core.dataclass import dataclass, field
from core.errors import CostLimit
from core.messages import Image, Usage
from core.model_manager import Providers, Target
from core.models.facts import cost_of, known_facts
from core.providers import Request

MILLION = 1_000_000
SHORTEST = 32               # tokens of the shortest answer worth a request
LONGEST = 128_000           # tokens of an answer if neither the user nor the price table limits it
IMAGE_TOKENS = 20_000       # more than any provider counts for a picture
OVERHEAD = 64               # tokens of a message, a part or a tool in addition to its text
KEPT_DAYS = 70              # days that the ledger keeps
Agree = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in dollars; None means no limit."""

    session: float | None = None
    day: float | None = None
    month: float | None = None

    def __bool__(self) -> bool:
        return (self.session, self.day, self.month) != (None, None, None)


class Ledger:
    """Money spent by session, day and month, shared by all programs that use `path`; with "" it is
    kept in memory.

    Reserved money counts as spent until it is released, so a killed program leaves it spent.
    """

    def __init__(self, path: str = "", clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._kept: dict[str, float] = {}

    def keys(self, session: str) -> dict[str, str]:
        """The ledger keys of a session, the current day and the current month."""
        now = time.localtime(self._clock())
        return {"session": f"session {session}", "day": time.strftime("day %Y-%m-%d", now),
                "month": time.strftime("month %Y-%m", now)}

    def spent(self, session: str) -> dict[str, float]:
        with self._opened(write=False) as rows:
            return {name: rows.get(key, 0.0) for name, key in self.keys(session).items()}

    def take(self, session: str, worst: Callable[[float], float],
             limits: Limits) -> tuple[float, dict[str, str]]:
        """Reserve `worst(money left)` dollars; return the amount and the ledger keys charged.

        `worst` raises CostLimit if the money left is not enough.
        """
        keys = self.keys(session)
        with self._opened(write=True) as rows:
            left = min((limit - rows.get(keys[name], 0.0) for name, limit in (
                ("session", limits.session), ("day", limits.day), ("month", limits.month))
                        if limit is not None),
                default=float("inf"))
            amount = worst(left)
            for key in keys.values():
                rows[key] = rows.get(key, 0.0) + amount
        return amount, keys

    def give_back(self, keys: Mapping[str, str], amount: float) -> None:
        """Release a reservation under the keys it was charged to; the day may have changed."""
        with self._opened(write=True) as rows:
            for key in keys.values():
                rows[key] = max(0.0, rows.get(key, 0.0) - amount)

    @contextlib.contextmanager
    def _opened(self, *, write: bool) -> Iterator[dict[str, float]]:
        if not self._path:
            yield self._kept
            return
        with _locked(f"{self._path}.lock"):
            rows = _read(self._path)
            yield rows
            if write:
                _write(self._path, self._recent(rows))

    def _recent(self, rows: dict[str, float]) -> dict[str, float]:
        oldest = time.strftime("day %Y-%m-%d", time.localtime(self._clock() - KEPT_DAYS * 86_400))
        sessions = [key for key in rows if key.startswith("session ")]
        gone = {*sessions[:-2000],
                *(key for key in rows if key.startswith("day ") and key < oldest)}
        return {key: value for key, value in rows.items() if key not in gone}


@dataclass(slots=True)
class Held:
    """Money reserved for one request."""

    tokens: int
    amount: float
    keys: Mapping[str, str]
    target: Target
    owner: Spending
    settled: bool = False

    def settle(self, usage: Usage | None) -> None:
        """Replace the reservation by the actual cost, if it is known."""
        if self.settled:
            return
        self.settled = True
        cost = cost_of(usage, self.target, self.owner.providers) if usage is not None else None
        if cost is not None and usage is not None and usage.output_tokens is not None:
            self.owner.ledger.give_back(self.keys, self.amount - cost)


@dataclass(slots=True)
class Spending:
    """Decides for one chat whether a request may be made; `session` returns the session to charge.
    """

    providers: Providers
    limits: Limits
    ledger: Ledger
    session: Callable[[], str]
    agree: Agree | None = None
    _allowed: set[Target] = field(default_factory=set)

    async def reserve(self, provider: str, request: Request) -> Held | None:
        """Reserve money for a request; None if none is charged. Raises CostLimit."""
        target = Target(provider, request.model)
        facts = known_facts(target, self.providers)
        if self._is_free(target):
            return None
        if facts.input_price is None or facts.output_price is None:
            await self._ask_about(target)
            return None
        given, price_in, price_out = (most_tokens(request), facts.input_price / MILLION,
                                      facts.output_price / MILLION)
        wanted = request.options.max_tokens or facts.output_limit or LONGEST
        tokens = 0

        def worst(left: float) -> float:
            nonlocal tokens
            room = (left - given * price_in) / price_out if price_out else LONGEST
            tokens = int(min(wanted, max(0.0, room)))
            if tokens < min(SHORTEST, wanted) or given * price_in > left:
                raise self._refusal(target, given * price_in + min(SHORTEST, wanted) * price_out,
                                    left)
            return given * price_in + tokens * price_out
        amount, keys = self.ledger.take(self.session(), worst, self.limits)
        return Held(tokens, amount, keys, target, self)

    async def reserve_embedding(self, provider: str, model: str,
                                texts: Sequence[str]) -> Held | None:
        """Reserve money for embeddings; None if none is charged. Raises CostLimit."""
        target = Target(provider, model)
        facts = known_facts(target, self.providers)
        if self._is_free(target):
            return None
        if facts.input_price is None:
            await self._ask_about(target)
            return None
        cost = sum(len(text.encode(errors="replace"))
                   for text in texts) * facts.input_price / MILLION

        def worst(left: float) -> float:
            if cost > left:
                raise self._refusal(target, cost, left)
            return cost
        amount, keys = self.ledger.take(self.session(), worst, self.limits)
        return Held(0, amount, keys, target, self)

    def _is_free(self, target: Target) -> bool:
        """Whether a model costs nothing: the user's own servers do not, except for models that they
        forward to a cloud.
        """
        host = self.providers.host(target.provider)
        return host.kind != "cloud" and not (host.cloud_names
                                             and target.model.endswith(host.cloud_names))

    async def _ask_about(self, target: Target) -> None:
        """Ask the user whether to use a model whose price is not known. Raises CostLimit if not."""
        if target in self._allowed:
            return
        question = (f"The price of {target} is not known, so it cannot count towards the limit on "
                    "cost. Ask it anyway?")
        if self.agree is None or not await self.agree(question):
            raise CostLimit(f"The price of {target} is not known, and there is a limit on cost.",
                            "Choose a model with a known price (/models), or remove the limit.")
        self._allowed.add(target)

    def _refusal(self, target: Target, cost: float, left: float) -> CostLimit:
        return CostLimit(f"This request to {target} may cost up to {dollars(cost)}, and "
                         f"{dollars(max(0.0, left))} of the limit on cost is left.",
                         "/cost shows what was spent. Continue with a larger --max-cost, a shorter "
                         "conversation (/compact) or a cheaper model.")


def most_tokens(request: Request) -> int:
    """An upper bound on the tokens of a request: a token has at least one byte."""
    size = len((request.system or "").encode(errors="replace")) + OVERHEAD
    for message in request.messages:
        for part in message.parts:
            size += OVERHEAD + (IMAGE_TOKENS if isinstance(part, Image) else _bytes(part))
    return size + sum(OVERHEAD + _bytes(tool)
                      for tool in request.tools) + _bytes(request.options.response_format)


def _bytes(value: Any) -> int:
    return len(repr(value).encode(errors="replace"))


def dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


# ---- the file

@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(ImportError):
            import fcntl
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: str) -> dict[str, float]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as problem:
        raise CostLimit(f"{path} cannot be read, so it is not known what was spent: {problem}.",
                        "Repair or remove it; without it, costs count from zero.") from problem
    if not isinstance(found, dict):
        raise CostLimit(f"{path} is not a valid record of costs.", "Repair or remove it.")
    return {str(key): float(value)
            for key, value in found.items() if isinstance(value, (int, float))}


def _write(path: str, rows: Mapping[str, float]) -> None:
    try:
        write_private(path, json.dumps(rows))
    except OSError as problem:
        raise CostLimit(f"Costs cannot be recorded in {path}: {problem.strerror}.",
                        "A limit on cost needs that record.") from problem
