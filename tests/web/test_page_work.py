"""A reply that arrives all at once is drawn in short pieces, so that the page stays responsive."""

from __future__ import annotations

import pytest

from bench.page_bench import stream

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
TOKENS = 6_000
LONGEST = 120.0  # milliseconds of processor time, which a busy machine counts up to twice as high


def test_no_task_of_the_page_is_long_while_a_reply_pours_in() -> None:
    seen = stream("mixed", TOKENS, rate=0)
    assert seen.longest < LONGEST, str(seen)
    assert seen.tasks > 5
