"""The chat in a terminal, from the greeting to the goodbye."""

from __future__ import annotations

import sys

from core.chat.conversation import Chat
from core.config import Settings
from core.console.background import ask_terminal
from core.console.interrupts import Interrupts
from core.console.screen import Screen
from core.setup.store import OpenedStore
from core.terminal.early_prompt import EarlyReader
from core.terminal.greeting import greet, say_goodbye
from core.terminal.line_reader import Reader
from core.terminal.loop import run_chat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.console.typeahead import Typeahead
    from core.terminal.prompt import PromptReader


def open_reader(settings: Settings, screen: Screen) -> Reader:
    """Where the user types: a line editor, or a plain line where the terminal does not support one.
    """
    if screen.dumb or not sys.stdin.isatty():
        return Reader(screen)

    def load(typed: Typeahead) -> PromptReader:
        from core.terminal.prompt import PromptReader
        return PromptReader(settings, screen, typed)
    return EarlyReader(screen, load)


def find_background(settings: Settings, screen: Screen, reader: Reader) -> None:
    """Ask the terminal for its background where nothing else determines the colours; what is typed
    meanwhile is kept.
    """
    if (reader.typed is None or settings.theme != "auto" or not screen.color
        or not sys.stdout.isatty()):
        return
    answered = ask_terminal(sys.stdin, sys.stdout)
    screen.reports_sixel = answered.sixel
    if answered.typed:
        reader.typed.add(answered.typed)
    if answered.background is not None:
        screen.set_theme(answered.background)


def converse(settings: Settings, chat: Chat, opened: OpenedStore, screen: Screen,
             interrupts: Interrupts) -> int:
    """Run the chat until the user leaves."""
    reader = open_reader(settings, screen)
    find_background(settings, screen, reader)
    greet(chat, screen, [*opened.news, *chat.take_news(), *opened.offers(chat.session.id)])
    run_chat(chat, screen, interrupts, reader)
    say_goodbye(chat, screen)
    return 0
