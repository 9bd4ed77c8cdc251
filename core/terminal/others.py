"""Shows what other programs write to the session, above the prompt and in a turn that waited for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from core.chat.conversation import Chat
from core.console.screen import Screen
from core.errors import ChatError
from core.events import OthersSaid
from core.terminal.replay import show_last_exchange, show_messages

LOOK_SECONDS = 0.5      # between two looks while the user types or thinks


def show_others(screen: Screen, others: OthersSaid) -> None:
    """The messages that were added, or the end of a conversation that was changed."""
    screen.gap()
    screen.note(others.text)
    if others.messages:
        (show_last_exchange if others.changed else show_messages)(screen, others.messages)
    screen.gap()


def show_new(chat: Chat, screen: Screen) -> None:
    """Show what was written since the last look."""
    with suppress(ChatError):     # a store that fails is reported when something is to be saved
        others = chat.session.look()
        if others is not None:
            show_others(screen, others)


async def watch(chat: Chat, screen: Screen) -> None:
    """The same while prompt_toolkit's prompt is on the screen: what was typed so far stays there."""
    from prompt_toolkit.application import run_in_terminal
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(ChatError):
            others = chat.session.look()
            if others is not None:
                await run_in_terminal(partial(show_others, screen, others))
