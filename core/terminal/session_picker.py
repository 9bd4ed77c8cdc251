"""Chooses a session in a terminal: arrow keys or search words, Enter to open it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core.console.screen import Screen
from core.errors import SessionNotFound, UsageError
from core.rendering.marks import styled
from core.sessions.search import Found, search
from core.sessions.shelves import delete_session
from core.store.rows import SessionRow
from core.terminal.session_list import ROWS, heading, session_rows
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.formatted_text import ANSI
    from prompt_toolkit.key_binding import KeyBindings

MOST = 200      # sessions to choose from; search words find others


def pick(store: Store, screen: Screen, words: str = "") -> SessionRow:
    """The session that the user chooses; the search begins with the words.

    Raises KeyboardInterrupt if they leave without choosing.
    """
    if not store.sessions(1):
        raise SessionNotFound("There are no saved sessions.",
                              "Start a chat; it is saved by default.")
    chosen = _Picker(store, screen, words).run()
    if chosen is None:
        raise KeyboardInterrupt
    return chosen


class _Picker:
    """A line to type in and the matching sessions under it."""

    def __init__(self, store: Store, screen: Screen, words: str) -> None:
        self._store, self._screen = store, screen
        self._words, self._said = words, ""
        self._at = 0
        self._found: Sequence[Found] = self._look()

    def run(self) -> SessionRow | None:
        from prompt_toolkit.application import Application
        from prompt_toolkit.buffer import Buffer
        from prompt_toolkit.document import Document
        from prompt_toolkit.layout import (
            BufferControl, FormattedTextControl, HSplit, Layout, VSplit, Window)

        from core.terminal.keyboard import ESCAPE_SECONDS
        label = "Search: "
        typed = Buffer(multiline=False, on_text_changed=self._search,
                       document=Document(self._words))
        line = VSplit(
            [Window(FormattedTextControl(lambda: self._ansi(styled(label, self._screen.theme.dim))),
                    width=len(label), height=1), Window(BufferControl(typed), height=1)])
        application: Application[SessionRow | None] = Application(
            layout=Layout(
                HSplit([Window(FormattedTextControl(lambda: self._ansi(heading(self._screen))),
                               height=1), line,
                        Window(FormattedTextControl(self._list), dont_extend_height=True)]),
                focused_element=typed),
            key_bindings=self._keys(), erase_when_done=True)
        application.ttimeoutlen = ESCAPE_SECONDS
        return application.run()

    def _ansi(self, text: str) -> ANSI:
        from prompt_toolkit.formatted_text import ANSI
        return ANSI(text)

    def _look(self) -> Sequence[Found]:
        """Sessions that contain the words, best first; without words, the last used."""
        if not self._words:
            return [Found(row, (), 0.0) for row in self._store.sessions(MOST)]
        try:
            return search(self._store, self._words, limit=MOST, hits=1, complete_last=True)
        except UsageError as problem:
            self._said = problem.message
            return []

    def _search(self, buffer: Buffer) -> None:
        self._words, self._said, self._at = buffer.text.strip(), "", 0
        self._found = self._look()

    def _list(self) -> ANSI:
        rows = (["", *session_rows(self._found, self._at, self._screen, time.time())] if self._found
                else [])
        number = len(self._found)
        noun = "session" if number == 1 else "sessions"
        count = f"{min(self._at + 1, number)} of {number}{'+' if number == MOST else ''} {noun}"
        said = self._said or ("" if self._found else "No session contains these words.")
        end = styled("  ".join(filter(None, (count, said))), self._screen.theme.dim)
        return self._ansi("\n".join([*rows, "", end]))

    def _keys(self) -> KeyBindings:
        from prompt_toolkit.key_binding import KeyBindings
        keys = KeyBindings()
        keys.add("down")(lambda event: self._move(1))
        keys.add("up")(lambda event: self._move(-1))
        keys.add("pagedown")(lambda event: self._move(ROWS))
        keys.add("pageup")(lambda event: self._move(-ROWS))
        keys.add("c-x", "d")(lambda event: self._delete())
        keys.add("enter")(lambda event: event.app.exit(result=self._found[self._at].session)
                          if self._found else None)
        for key in ("escape", "c-c", "c-d"):
            keys.add(key, eager=True)(lambda event: event.app.exit(result=None))
        return keys

    def _move(self, by: int) -> None:
        self._at, self._said = max(0, min(self._at + by, len(self._found) - 1)), ""

    def _delete(self) -> None:
        """Move the marked session to the trash, from which it can be restored."""
        if not self._found:
            return
        try:
            self._said = delete_session(self._store, self._found[self._at].session)
        except UsageError as problem:
            self._said = problem.message
        self._found = self._look()
        self._at = max(0, min(self._at, len(self._found) - 1))
