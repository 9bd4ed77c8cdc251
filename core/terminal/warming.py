"""Loads what the first question needs while the user types it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module

from core.chat.conversation import Chat
from core.errors import ChatError

PAUSE = 0.02      # seconds between two steps, in which keys are answered
NEEDED = ("core.store.words", "core.store.log_sync", "core.models.window", "core.models.facts")


def steps(chat: Chat) -> Iterator[Callable[[], object]]:
    """What to do, in pieces of some milliseconds."""
    yield partial(chat.providers.open, chat.target.provider)
    for module in NEEDED:
        yield partial(import_module, module)


async def warm(chat: Chat) -> None:
    """Do all of it. What fails now is reported when the question is asked."""
    for step in steps(chat):
        await asyncio.sleep(PAUSE)
        with suppress(ChatError):
            step()
