"""Metrics of a server process in Prometheus' text format."""

from __future__ import annotations

import hmac
import os
import time
from collections import Counter

from core.web.guard import Scope, values_of


class Metrics:
    """Counts requests by status class. `token` is the bearer token for reading; "" forbids reading.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._requests: Counter[str] = Counter()
        self._started = time.time()

    def count(self, status: int) -> None:
        self._requests[f"{status // 100}xx"] += 1

    def may_read(self, scope: Scope) -> bool:
        given = values_of(list(scope["headers"]), b"authorization")
        wanted = f"Bearer {self._token}"
        return (
            bool(self._token)
            and len(given) == 1
            and hmac.compare_digest(given[0].encode(), wanted.encode())
        )

    def text(self, gauges: dict[str, int]) -> str:
        lines = ["# TYPE stream_chat_requests_total counter"]
        lines += [
            f'stream_chat_requests_total{{status="{status}"}} {count}'
            for status, count in sorted(self._requests.items())
        ]
        for name, value in gauges.items():
            lines += [f"# TYPE stream_chat_{name} gauge", f"stream_chat_{name} {value}"]
        lines += [
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self._started:.3f}",
            "# TYPE process_cpu_seconds_total counter",
            f"process_cpu_seconds_total {sum(os.times()[:2]):.2f}",
        ]
        return "\n".join(lines) + "\n"
