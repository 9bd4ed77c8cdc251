"""Commands for how the chat looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Look, Outcome, command
from core.errors import UsageError

GROUP = "Screen"
THEMES = ("auto", "dark", "light", "mono")


async def _themes(chat: Chat) -> Sequence[str]:
    return THEMES


async def _switch(chat: Chat) -> Sequence[str]:
    return ("on", "off")


@command(usage="[auto | dark | light | mono]", complete=_themes)
async def theme(chat: Chat, argument: str) -> Outcome:
    """Choose colours for a dark or light background, none (mono), or what suits the terminal
    (auto).
    """
    if not argument:
        return f"The theme is {chat.settings.theme}. /theme {' | '.join(THEMES)} changes it."
    if argument not in THEMES:
        raise UsageError(f"There is no theme {argument}.", f"There are: {', '.join(THEMES)}.")
    return Look("theme", argument)


@command(usage="[on | off]", complete=_switch)
async def status(chat: Chat, argument: str) -> Outcome:
    """Switch the line under the prompt, and time and tokens after each answer, on or off."""
    if not argument:
        return (f"The status line is {'on' if chat.settings.status else 'off'}. /status on | off "
                "changes it.")
    if argument not in ("on", "off"):
        raise UsageError(f"/status does not know {argument!r}.", "/status on, /status off")
    return Look("status", argument)


async def _thinking(chat: Chat) -> Sequence[str]:
    return ("on", "off", "live")


@command(usage="[on | off | live]", complete=_thinking)
async def thinking(chat: Chat, argument: str) -> Outcome:
    """Show the thinking before the last answer; on, off, live: how thinking is shown while it
    happens.
    """
    if argument in ("on", "off", "live"):
        return Look("thinking", argument)
    if argument:
        raise UsageError(f"/thinking does not know {argument!r}.",
                         "/thinking, /thinking on, /thinking off, /thinking live")
    thought = next((message.thinking
                    for message in reversed(chat.session.messages) if message.thinking.strip()), "")
    return thought.strip("\n") + "\n" if thought else "No thinking in this conversation yet."
