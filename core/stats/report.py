"""Statistics of model calls for /stats and --stats: by model, in total and per day."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.dataclass import dataclass, field
from core.errors import UsageError
from core.rendering.table import Table
from core.store.rows import CallRow

BARS = "▁▂▃▅▇"
MOST_BARS = 14           # of a sparkline; with more days, a bar stands for several days
UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@dataclass(slots=True)
class ModelStats:
    """The calls of one model: `days` counts them by date (YYYY-MM-DD), `errors` counts failures by
    kind and `recovered` those after which the same turn was answered; `last_errors` are their
    newest times.
    """

    provider: str
    model: str
    calls: int = 0
    interrupted: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    retries: int = 0
    fallbacks: int = 0
    firsts: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    last_errors: dict[str, float] = field(default_factory=dict)
    hosts: Counter[str] = field(default_factory=Counter)
    days: Counter[str] = field(default_factory=Counter)

    def add(self, call: CallRow, *, recovered: bool = False) -> None:
        """Add one call. `recovered`: its turn was answered after it."""
        self.calls += 1
        self.interrupted += call.finish == "interrupted"
        self.input_tokens += call.input_tokens or 0
        self.output_tokens += call.output_tokens or 0
        self.cached_tokens += call.cached_tokens or 0
        self.retries += call.retries
        self.fallbacks += call.fallbacks
        if call.cost is not None:
            self.cost = (self.cost or 0.0) + call.cost
        if call.first is not None:
            self.firsts.append(call.first)
        if call.speed is not None:
            self.speeds.append(call.speed)
        if call.error:
            self.errors[call.error] += 1
            self.recovered[call.error] += recovered
            self.last_errors[call.error] = max(call.created, self.last_errors.get(call.error, 0.0))
        self.hosts[call.host] += 1
        self.days[day_of(call.created)] += 1

    def to_dict(self) -> dict[str, Any]:
        """The statistics as a JSON object."""
        return {
            "provider": self.provider, "model": self.model, "calls": self.calls,
            "failed": self.errors.total(),
            "interrupted": self.interrupted, "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens, "cost": self.cost,
            "first_content_seconds": {"median": quantile(self.firsts, 0.5),
                                      "p90": quantile(self.firsts, 0.9)},
            "tokens_per_second": {"median": quantile(self.speeds, 0.5),
                                  "p90": quantile(self.speeds, 0.9)},
            "retries": self.retries, "fallbacks": self.fallbacks,
            "errors": dict(self.errors.most_common()),
            "recovered": self.recovered.total(),
            "hosts": dict(self.hosts.most_common()), "days": dict(sorted(self.days.items())),
        }


def read_since(text: str, now: float) -> float:
    """The time in seconds since the epoch for 30m, 12h, 7d, 2w, or a date (2026-11-21); 0 for "".

    Raises UsageError.
    """
    text = text.strip().lower()
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d{1,6}) ?([mhdw])", text)
    if found:
        return now - int(found[1]) * UNITS[found[2]]
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d"))
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a period of time.",
                         "Write 30m, 12h, 7d, 2w, or a date such as 2026-11-21.") from None


def summarise(calls: Sequence[CallRow]) -> list[ModelStats]:
    """One entry per model, most calls first. The calls of a turn are in order."""
    found: dict[tuple[str, str], ModelStats] = {}
    answered: set[tuple[str, float]] = set()    # turns with a later call that did not fail
    for call in reversed(calls):
        key, turn = (call.provider, call.model), (call.session, call.created)
        if key not in found:
            found[key] = ModelStats(*key)
        found[key].add(call, recovered=turn in answered)
        if not call.error and call.finish != "interrupted":
            answered.add(turn)
    return sorted(found.values(), key=lambda entry: (-entry.calls, entry.provider, entry.model))


def quantile(values: Sequence[float], part: float) -> float | None:
    """The smallest value that at least this fraction of them does not exceed; None if empty."""
    if not values:
        return None
    return sorted(values)[max(0, -int(-part * len(values) // 1) - 1)]


def day_of(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def days_between(first: str, last: str) -> list[str]:
    """All dates from one to the other, inclusive."""
    noon = time.mktime(time.strptime(first, "%Y-%m-%d")) + 43200
    days: list[str] = []
    while not days or days[-1] < last:
        days.append(day_of(noon))
        noon += 86400
    return days


def sparkline(values: Sequence[int]) -> str:
    """One bar per value, at most MOST_BARS; the lowest bar means 0."""
    if not values:
        return ""
    size = -(-len(values) // MOST_BARS)
    start = len(values) % size
    heads = [sum(values[:start])] if start else []
    sums = heads + [sum(values[at:at + size]) for at in range(start, len(values), size)]
    most = max(sums)
    return "".join(BARS[0 if not value else max(1, round(value / most * (len(BARS) - 1)))]
                   for value in sums)


# ---- in words

COLUMNS = ("model", "calls", "tokens in", "out", "cost", "first content", "tok/s", "per day",
           "trouble")


def _given(entry: ModelStats) -> str:
    """Input tokens, and the share that came from the server's cache."""
    share = (f" ({entry.cached_tokens / entry.input_tokens:.0%} cached)"
             if entry.cached_tokens and entry.input_tokens else "")
    return short(entry.input_tokens) + share


def table_rows(entries: Sequence[ModelStats], today: str) -> tuple[tuple[str, ...], ...]:
    """The cells of COLUMNS for each model; all sparklines have the same days."""
    days = days_between(min((day for entry in entries for day in entry.days), default=today), today)
    return tuple((f"{entry.provider}/{entry.model}", f"{entry.calls:,}", _given(entry),
                  short(entry.output_tokens),
                  money(entry.cost), _firsts(entry), _number(quantile(entry.speeds, 0.5)),
                  sparkline([entry.days[day] for day in days]), trouble(entry))
                 for entry in entries)


def total_line(entries: Sequence[ModelStats], since: float) -> str:
    """A line with the totals of all models."""
    calls, failed = (sum(entry.calls for entry in entries),
                     sum(entry.errors.total() for entry in entries))
    costs = [entry.cost for entry in entries if entry.cost is not None]
    given, came = (sum(entry.input_tokens for entry in entries),
                   sum(entry.output_tokens for entry in entries))
    parts = [f"{calls:,} {'call' if calls == 1 else 'calls'}", f"{failed:,} failed",
             f"{given:,} tokens in", f"{came:,} out",
             *([f"about {money(sum(costs))}"] if costs else [])]
    when = time.strftime("Since %Y-%m-%d %H:%M: ", time.localtime(since)) if since else "In all: "
    return when + ", ".join(parts) + ". First content: median / 90% of the calls are faster."


def trouble(entry: ModelStats) -> str:
    """Failures and retries, such as "2 rate limit, 1 connection, 3 retries, 1 stopped"."""
    counts = [*entry.errors.most_common(),
              ("retry" if entry.retries == 1 else "retries", entry.retries),
              ("taken over", entry.fallbacks), ("stopped", entry.interrupted)]
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts if count)


def _firsts(entry: ModelStats) -> str:
    middle, slow = quantile(entry.firsts, 0.5), quantile(entry.firsts, 0.9)
    return "" if middle is None or slow is None else f"{_seconds(middle)} / {_seconds(slow)}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def money(value: float | None) -> str:
    return "" if value is None else f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def short(count: int) -> str:
    """A number as 950, 12.3k or 4.6M."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1000:.1f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


def stats_table(entries: Sequence[ModelStats], since: float, now: float) -> Table | str:
    """The table of /stats and --stats, or a sentence if there are no calls."""
    if not entries:
        return "No model was called in that time." if since else "No model has been called yet."
    return Table(COLUMNS, table_rows(entries, day_of(now)), total_line(entries, since),
                 optional=("per day", "tok/s", "cost", "first content"))
