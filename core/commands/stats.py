"""The command that shows the numbers of the model calls so far."""

from __future__ import annotations

import time

from core.chat.conversation import Chat
from core.commands import Outcome, command
from core.errors import UsageError
from core.stats.report import read_since, stats_table, summarise

GROUP = "Models"


@command(usage="[SINCE]")
async def stats(chat: Chat, argument: str) -> Outcome:
    """Show calls, tokens, cost, speed and failures of each model;
    SINCE is 12h, 7d, 2w or a date.
    """
    store = chat.session.store
    if store is None:
        raise UsageError("There are no numbers: saving is off.",
                         "Numbers are kept in the session database.")
    now = time.time()
    since = read_since(argument, now)
    return stats_table(summarise(store.calls(since)), since, now)
