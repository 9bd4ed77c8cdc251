"""The command that counts tokens before they are sent."""

from __future__ import annotations

import os

from core.chat.conversation import Chat
from core.commands import Outcome, command
from core.dataclass import replace
from core.messages import user_message
from core.rendering.table import Table
from core.stats.counting import count_request

GROUP = "Models"


@command(usage="[FILE ... | TEXT]")
async def count(chat: Chat, argument: str) -> Outcome:
    """Count the tokens of the next request, with TEXT as the message, or of files."""
    words = [argument] if os.path.exists(os.path.expanduser(argument)) else argument.split()
    if words and all(os.path.exists(os.path.expanduser(word)) for word in words):
        return await _files(chat, words)
    return await _next(chat, argument)


async def _next(chat: Chat, text: str) -> str:

    request = chat.request()
    if text:
        request = replace(request, messages=(*request.messages, user_message(text)))
    window = chat.known_window()
    if chat.may_not_fit(request):
        fitted = await chat.fitter.fit(request, chat.target)
        request, window = fitted.request, fitted.budget.window
    counted = await count_request(request, chat.target, chat.providers, chat.fitter.estimator)
    what = "With this message, the next request" if text else "The conversation so far"
    return f"{what} has {counted}" + (f" of {window:,} in the window." if window else ".")


async def _files(chat: Chat, names: list[str]) -> Outcome:
    from core.chat.counting import count_sources

    found = await count_sources(
        names,
        chat.settings,
        chat.target,
        chat.providers,
        chat.fitter.estimator,
        ask=chat.front.agree,
    )
    rows = tuple((name, str(counted)) for name, counted in found.counted)
    faults = " ".join(f"Not counted: {fault}." for fault in found.faults)
    return Table(("name", "tokens"), rows, faults)
