"""How a saved session is chosen in this terminal: with the arrow keys, or by its number."""

from __future__ import annotations

from collections.abc import Callable

from core.console.one_chat import choose_from_list
from core.console.questions import somebody_types
from core.console.screen import Screen
from core.store.rows import SessionRow
from db import Store


def choose_session(screen: Screen) -> Callable[..., SessionRow]:
    """How --select-session asks here: for a session of the store, among those that contain the
    words.
    """
    if screen.dumb or not somebody_types():
        return choose_from_list

    def choose(store: Store, words: str = "") -> SessionRow:
        from core.terminal.session_picker import pick
        return pick(store, screen, words)
    return choose
