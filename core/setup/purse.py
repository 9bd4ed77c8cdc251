"""Creates the limit on cost of a run from its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import quote

from core.chat.front import Front
from core.config import Settings
from core.config.directories import data_directory
from core.model_manager import Providers
from core.stats.spending import Ledger, Limits, Spending


def open_purse(settings: Settings, providers: Providers, session: Callable[[], str],
               front: Front) -> Spending:
    """The limit on what this chat may spend.

    With --no-save, costs are not written to the file and count only in this run.
    """
    name = f"spending-{quote(settings.user, safe='')}.json" if settings.user else "spending.json"
    path = os.path.join(data_directory(settings.environment), name) if settings.save else ""
    limits = Limits(settings.max_cost, settings.max_cost_day, settings.max_cost_month)
    return Spending(providers, limits, Ledger(path), session, front.agree)
