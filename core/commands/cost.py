"""The command that shows the cost so far and what the limits leave."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Outcome, command
from core.rendering.table import Table
from core.stats.spending import Spending, dollars

GROUP = "Models"


@command()
async def cost(chat: Chat, argument: str) -> Outcome:
    """Show what this session, this day and this month have cost, and what --max-cost and similar
    limits leave.
    """
    purse = chat.providers.purse
    if not isinstance(purse, Spending):
        return ("There is no limit on cost. --max-cost 0.50 sets one for a session; /stats "
                "estimates what calls have cost.")
    spent = purse.ledger.spent(chat.session.id)
    limits = {"session": purse.limits.session, "day": purse.limits.day, "month": purse.limits.month}
    rows = tuple((name, dollars(spent[name]), "-" if limit is None else dollars(limit),
                  "-" if limit is None else dollars(max(0.0, limit - spent[name])))
                 for name, limit in limits.items())
    return Table(("period", "spent", "limit", "left"), rows,
                 "Money set aside for a request whose use the provider did not report counts as "
                 "spent.")
