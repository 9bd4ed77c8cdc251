"""An aside in a terminal: painted like a turn and labelled as an aside."""

from __future__ import annotations

from core.chat.aside import Aside
from core.chat.conversation import Chat
from core.console.interrupts import Interrupted, Interrupts
from core.console.screen import Screen
from core.errors import StreamBroken
from core.terminal.painter import Painter


def show_aside(chat: Chat, screen: Screen, interrupts: Interrupts, aside: Aside) -> None:
    """Ask and show the answer; the chat continues however it ends."""
    try:
        interrupts.run(Painter(screen, chat, in_chat=True).paint(aside.answer()))
    except Interrupted:
        if screen.typed is not None:
            screen.typed.collect()
            screen.typed.hold()
        screen.gap()
        screen.note("Stopped.")
    except StreamBroken as error:
        screen.gap()
        screen.error(error)
    if aside.replies:
        screen.note("An aside: it is not part of the conversation. /aside keep adds it. "
                    f"As a session: {aside.session.short_name}.")
