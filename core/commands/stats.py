"""The command that shows the numbers of the model calls so far."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Outcome, command
from core.errors import UsageError
from core.rendering.table import Table
from core.stats.report import COLUMNS, ModelStats, day_of, read_since, summarise, table_rows, total_line

GROUP = "Models"


@command(usage="[SINCE]")
async def stats(chat: Chat, argument: str) -> Outcome:
    """Show calls, tokens, cost, speed and failures of each model; SINCE is 12h, 7d, 2w or a date."""
    store = chat.session.store
    if store is None:
        raise UsageError("There are no numbers: nothing is saved now.", "Numbers are kept in the session database.")
    now = time.time()
    since = read_since(argument, now)
    return stats_table(summarise(store.calls(since)), since, now)


def stats_table(entries: Sequence[ModelStats], since: float, now: float) -> Table | str:
    """What /stats and --stats show."""
    if not entries:
        return "No model was called in that time." if since else "No model was called yet."
    return Table(COLUMNS, table_rows(entries, day_of(now)), total_line(entries, since),
                 optional=("per day", "tok/s", "cost", "first content"))
