"""`make facts`: prints which default models and API versions are past or near their end,
and fails on one that is past it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date

from core.providers.dated import findings
from core.providers.hosts import hosts


def used() -> Iterator[tuple[str, str, str]]:
    """(provider, kind, name) of every dated fact that the rows and dialects use."""
    from core.providers.anthropic import VERSION
    for host in hosts():
        if host.default_model and host.server:
            yield host.name, "model", host.default_model
        if host.quirks.get("api_version"):
            yield host.name, "version", str(host.quirks["api_version"])
    yield "anthropic", "version", VERSION


def main(today: date | None = None) -> int:
    found = list(findings(used(), today or date.today()))
    for finding in found:
        print(f"{'PAST' if finding.fatal else 'soon'}  {finding.text}")
    print(f"{sum(1 for _ in used())} facts checked, {len(found)} to look at.")
    return int(any(finding.fatal for finding in found))


if __name__ == "__main__":
    sys.exit(main())
