"""A long reply leaves the page's main thread free between its pieces."""

from __future__ import annotations

import pytest

from bench.page_bench import stream

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
TOKENS = 6_000


def test_a_reply_that_pours_in_is_drawn_in_many_short_tasks() -> None:
    """Compared with all the work, not with a time, which depends on the machine."""
    seen = stream("mixed", TOKENS, rate=0)
    assert seen.longest < seen.total / 4, str(seen)
