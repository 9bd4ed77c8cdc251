"""Formats the usage of a turn or session in one line: tokens, speed and estimated price."""

from __future__ import annotations

import time
from collections.abc import Iterable

from core.errors import ChatError
from core.events import Event, MessageAdded, TextDelta, ThinkingDelta
from core.messages import Message, Usage
from core.model_manager import Providers, parse_target
from core.models.facts import cost_of


class TurnMeter:
    """Adds up the model calls of one turn."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._replies: list[Message] = []
        self._seconds = 0.0
        self._first: float | None = None

    def note(self, event: Event) -> None:
        if isinstance(event, (TextDelta, ThinkingDelta)):
            self._first = self._first or time.monotonic()
        elif isinstance(event, MessageAdded) and event.message.role == "assistant":
            self._replies.append(event.message)
            self._seconds += (_own_seconds(event.message.usage)
                              or (time.monotonic() - self._first if self._first else 0.0))
            self._first = None

    def line(self) -> str:
        """A line such as "1,204 in, 356 out, 48 tok/s, $0.0012"; "" if nothing was counted."""
        return usage_line(self._replies, self._providers, self._seconds)


def _own_seconds(usage: Usage | None) -> float:
    """The server's own computing time in seconds (Ollama reports nanoseconds); 0 if unknown."""
    spent = (usage.details or {}).get("eval_duration") if usage else None
    return spent / 1e9 if isinstance(spent, (int, float)) else 0.0


def usage_line(replies: Iterable[Message], providers: Providers, seconds: float = 0.0) -> str:
    """A line with the tokens, speed and price of these replies; "" if nothing was counted."""
    counted = [reply for reply in replies if reply.usage is not None]
    given = sum(reply.usage.input_tokens or 0 for reply in counted if reply.usage)
    came = sum(reply.usage.output_tokens or 0 for reply in counted if reply.usage)
    if not given and not came:
        return ""
    cached = sum(reply.usage.cached_tokens or 0 for reply in counted if reply.usage)
    parts = [f"{given:,} in" + (f" ({cached:,} from the cache)" if cached else ""), f"{came:,} out"]
    if seconds > 0.05 and came > 1:
        parts.append(f"{came / seconds:,.0f} tok/s")
    price = price_of(counted, providers)
    if price:
        parts.append(f"${price:.2f}" if price >= 1 else f"${price:.4f}")
    return ", ".join(parts)


def price_of(replies: Iterable[Message], providers: Providers) -> float | None:
    """The sum of the known prices in dollars; None if no price is known."""
    prices: list[float] = []
    for reply in replies:
        try:
            price = cost_of(reply.usage,
                            parse_target(reply.model or "", known=providers.settings.providers),
                            providers) \
                if reply.usage else None
        except ChatError:
            price = None
        if price is not None:
            prices.append(price)
    return sum(prices) if prices else None
