"""Loads what a first question and its reply need, and compiles what they use, while the user types
or the request is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module

from core.chat.conversation import Chat
from core.errors import ChatError

PAUSE = 0.02      # seconds between two steps, in which keys are handled
SENT_AFTER = 0.02  # seconds of a turn, when its request is usually on its way
STEP = 0.005      # seconds between two steps while a reply is awaited
# One at a time; the last one uses those before it, and nothing of it is loaded before the prompt.
NEEDED = ("core.store.words", "core.store.sqlite.log_sync", "core.models.window",
          "core.models.facts", "core.providers.http.connection", "core.providers.http.parser",
          "core.providers.http.http1", "core.providers.written", "core.rendering.parser.blocks",
          "core.rendering.markdown", "core.rendering.thinking", "core.terminal.first_use")


def steps(chat: Chat) -> Iterator[Callable[[], object]]:
    """The work, in steps of a few milliseconds."""
    yield partial(chat.providers.open, chat.target.provider)
    for module in NEEDED:
        yield partial(import_module, module)
    yield from import_module("core.terminal.first_use").uses()


async def warm(chat: Chat) -> None:
    """Do all of the work. Failures are reported when the question is asked."""
    for step in steps(chat):
        await asyncio.sleep(PAUSE)
        with suppress(ChatError):
            step()


async def warm_for_reply(prepare: Callable[[], None], waits: Callable[[], bool], *,
                         first: bool) -> None:
    """Do `prepare`, and for the `first` reply of a run what else it needs, as long as it `waits`
    for the model.
    """
    await asyncio.sleep(SENT_AFTER)
    prepare()
    for step in reply_steps() if first else ():
        await asyncio.sleep(STEP)
        if not waits():
            return
        step()


def reply_steps() -> Iterator[Callable[[], object]]:
    yield partial(import_module, "core.models.window")      # needed when the reply has ended
    yield partial(import_module, "core.terminal.first_use")
    yield from import_module("core.terminal.first_use").uses_of_reply()
