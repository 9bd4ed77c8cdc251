"""The API of the statistics page, with the same data as --stats."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.sessions.export import BYTE_ORDER_MARK, csv_line
from core.sessions.listing import moment_words
from core.stats.failures import failures
from core.stats.report import ModelStats, day_of, days_between, quantile, summarise
from core.store.rows import CallRow
from core.web.api import guarded
from db import Store

MOST_DAYS = 3660
MOST_BARS = 5   # models in a chart
BY_DAY = 31     # in periods up to this many days, days without calls are shown too


class NumberApi:
    """The route of the statistics. `runs_here` tells whether a provider runs on this computer."""

    def __init__(self, store: Store | None, runs_here: Callable[[str], bool]) -> None:
        self._store, self._runs_here = store, runs_here

    def routes(self) -> list[Route]:
        return [Route("/api/numbers", guarded(self.numbers), methods=["GET"]),
                Route("/api/numbers.csv", guarded(self.csv), methods=["GET"])]

    def _calls(self, request: Request) -> tuple[int, float, list[CallRow]]:
        """Return the number of days in the query, their beginning, and the calls since then."""
        written = request.query_params.get("days", "7")
        days = min(int(written), MOST_DAYS) if written.isascii() and written.isdigit() else 7
        since = time.time() - days * 86_400
        return days, since, self._store.calls(since) if self._store is not None else []

    async def csv(self, request: Request) -> Response:
        """Return a row for each day and model, for spreadsheets."""
        _, _, calls = self._calls(request)
        name = f"stream-chat-numbers-{day_of(time.time())}.csv"
        return Response(BYTE_ORDER_MARK + "".join(csv_lines(calls)),
                        media_type="text/csv; charset=utf-8",
                        headers={"content-disposition": f'attachment; filename="{name}"'})

    async def numbers(self, request: Request) -> Response:
        days, since, calls = self._calls(request)
        found = summarise(calls)
        rows = [_row_of(entry) for entry in found]
        return JSONResponse({
            "days": self._days(calls, since if days <= BY_DAY else None),
            "figures": _figures(found),
            "costs": cost_bars(found),
            "waits": wait_bars(found),
            "failures": failure_table(found, time.time()),
            "table": {"columns": list(rows[0]) if rows else [],
                      "rows": [list(row.values()) for row in rows],
                      "note": "Prices are estimates from a dated table."}})

    def _days(self, calls: Sequence[CallRow], since: float | None) -> list[dict[str, Any]]:
        """Return tokens per day since `since` (None: since the first call), local and cloud."""
        tokens: Counter[tuple[str, bool]] = Counter()
        for call in calls:
            spent = (call.input_tokens or 0) + (call.output_tokens or 0)
            tokens[day_of(call.created), self._runs_here(call.provider)] += spent
        seen = [day for day, _ in tokens]
        first = min(seen, default="") if since is None else day_of(since)
        shown = days_between(first, max(*seen, day_of(time.time()))) if seen else []
        return [dict(day=day, local=tokens[day, True], cloud=tokens[day, False]) for day in shown]


def _figures(found: Sequence[ModelStats]) -> list[dict[str, str]]:
    """Return the four figures at the top of the page."""
    given = sum(entry.input_tokens for entry in found)
    made = sum(entry.output_tokens for entry in found)
    calls = sum(entry.calls for entry in found)
    failed = sum(entry.errors.total() for entry in found)
    recovered = sum(entry.recovered.total() for entry in found)
    cost = sum(entry.cost or 0.0 for entry in found)
    firsts = [first for entry in found for first in entry.firsts]
    median, most = quantile(firsts, 0.5), quantile(firsts, 0.95)
    return [
        {"label": "Tokens", "value": _short(given + made),
         "note": f"{_short(given)} in, {_short(made)} out"},
        {"label": "Cost", "value": f"${cost:.2f}", "note": f"{calls:,} calls"},
        {"label": "First word", "value": "" if median is None else f"{median:.2f} s",
         "note": "" if most is None else f"median; 95 % under {most:.1f} s"},
        {"label": "Complete calls",
         "value": f"{100 * (calls - failed) / calls:.1f} %" if calls else "",
         "note": f"{failed:,} failed, {recovered:,} of them recovered" if failed
         else "none failed"},
    ]


def _short(count: int) -> str:
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:.2f} M"


def cost_bars(found: Sequence[ModelStats]) -> list[dict[str, Any]]:
    """Return the models that cost most: name, cost, and where the bar ends (0 to 1)."""
    costs = sorted(((entry.cost, entry) for entry in found if entry.cost),
                   key=lambda pair: -pair[0])[:MOST_BARS]
    return [{"name": _name(entry), "value": f"${cost:.2f}" if cost >= 0.01 else f"${cost:.4f}",
             "start": 0.0, "end": cost / costs[0][0]} for cost, entry in costs]


def wait_bars(found: Sequence[ModelStats]) -> list[dict[str, Any]]:
    """Return the most used models: name, the time to the first word that half and 95 % of the
    calls keep, and both as parts of the longest (0 to 1).
    """
    waits = []
    for entry in sorted(found, key=lambda entry: -entry.calls)[:MOST_BARS]:
        half, most = quantile(entry.firsts, 0.5), quantile(entry.firsts, 0.95)
        if half is not None and most is not None:
            waits.append((_name(entry), half, most))
    longest = max((most for *_, most in waits), default=0.0) or 1.0
    return [{"name": name, "value": f"{half:.2f} to {most:.2f} s", "start": half / longest,
             "end": most / longest} for name, half, most in waits]


def failure_table(found: Sequence[ModelStats], now: float) -> dict[str, Any]:
    """Return the table of failures: the page aligns the columns `ends` at their end."""
    return {"columns": ["what happened", "model", "times", "recovered", "last"], "ends": ["last"],
            "rows": [[each.what, each.model, f"{each.times:,}", f"{each.recovered:,}",
                      moment_words(each.last, now)] for each in failures(found)]}


def csv_lines(calls: Sequence[CallRow]) -> Iterator[str]:
    """Yield lines of CSV: names, and the figures of --stats for each day and model."""
    by_day: dict[str, list[CallRow]] = {}
    for call in calls:
        by_day.setdefault(day_of(call.created), []).append(call)
    rows = [{"day": day, **_figures_of(entry)} for day, of_day in sorted(by_day.items())
            for entry in summarise(of_day)]
    yield csv_line(list(rows[0]) if rows else ["day", *_figures_of(ModelStats("", ""))], raw=True)
    yield from (csv_line(map(_written, row.values()), raw=False) for row in rows)


def _figures_of(stats: ModelStats) -> dict[str, object]:
    """Return the figures of a model as numbers; times are in seconds, the cost in dollars."""
    entry = stats.to_dict()
    first, speed = entry.pop("first_content_seconds"), entry.pop("tokens_per_second")
    for several in ("errors", "hosts", "days"):
        del entry[several]
    return {**entry, "first_content_median": first["median"], "first_content_p90": first["p90"],
            "tokens_per_second_median": speed["median"]}


def _written(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _name(entry: ModelStats) -> str:
    return f"{entry.provider}/{entry.model}"


def _row_of(stats: ModelStats) -> dict[str, str]:
    entry = stats.to_dict()
    first = entry["first_content_seconds"]["median"]
    speed = entry["tokens_per_second"]["median"]
    return {"model": f"{entry['provider']}/{entry['model']}", "calls": f"{entry['calls']:,}",
            "tokens in": f"{entry['input_tokens']:,}",
            "tokens out": f"{entry['output_tokens']:,}",
            "cached": f"{entry['cached_tokens']:,}",
            "cost": "" if entry["cost"] is None else f"${entry['cost']:.4f}",
            "first token": "" if first is None else f"{first:.2f} s",
            "tokens/s": "" if speed is None else f"{speed:.0f}",
            "failed": f"{entry['failed']:,}"}
