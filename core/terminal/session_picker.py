"""Chooses a session in a terminal: arrows or typing to narrow the list, Enter to take it."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import SessionNotFound
from core.sessions.listing import format_session_lines
from core.store.rows import SessionRow
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyBindings

ROWS = 12    # sessions on the screen at once


def pick(store: Store) -> SessionRow:
    """The session that the user takes. Raises KeyboardInterrupt when the user leaves without one."""
    if not store.sessions(1):
        raise SessionNotFound("There are no saved sessions.", "Start a chat; it is saved by default.")
    chosen = _Picker(store).run()
    if chosen is None:
        raise KeyboardInterrupt
    return chosen


class _Picker:
    """A line to type in and the matching sessions under it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: Sequence[SessionRow] = store.sessions(200)
        self._at = 0

    def run(self) -> SessionRow | None:
        from prompt_toolkit.application import Application
        from prompt_toolkit.buffer import Buffer
        from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, VSplit, Window
        typed = Buffer(multiline=False, on_text_changed=self._search)
        line = VSplit([Window(FormattedTextControl("find: "), width=6, height=1), Window(BufferControl(typed), height=1)])
        listing = Window(FormattedTextControl(self._lines), height=ROWS + 1)
        application: Application[SessionRow | None] = Application(
            layout=Layout(HSplit([line, listing])), key_bindings=self._keys(), erase_when_done=True)
        return application.run()

    def _search(self, buffer: object) -> None:
        words = buffer.text.strip()  # type: ignore[attr-defined]  # prompt_toolkit passes its Buffer
        self._rows = self._store.sessions(200, words)
        self._at = 0

    def _lines(self) -> StyleAndTextTuples:
        if not self._rows:
            return [("italic", "  0 of 0; nothing holds these words. Delete some of them; Esc leaves\n")]
        first = max(0, min(self._at - ROWS // 2, len(self._rows) - ROWS))
        shown = self._rows[first:first + ROWS]
        lines: StyleAndTextTuples = [
            ("reverse" if first + number == self._at else "", f"  {text}\n")
            for number, text in enumerate(format_session_lines(shown))]
        told = f"  {self._at + 1} of {len(self._rows)}; type to search, \u2191 \u2193 choose, Enter opens, Esc leaves\n"
        return [("italic", told), *lines]

    def _keys(self) -> KeyBindings:
        from prompt_toolkit.key_binding import KeyBindings
        keys = KeyBindings()
        keys.add("down")(lambda event: self._move(1))
        keys.add("up")(lambda event: self._move(-1))
        keys.add("pagedown")(lambda event: self._move(ROWS))
        keys.add("pageup")(lambda event: self._move(-ROWS))
        keys.add("enter")(lambda event: event.app.exit(result=self._rows[self._at]) if self._rows else None)
        for key in ("escape", "c-c", "c-d"):
            keys.add(key, eager=True)(lambda event: event.app.exit(result=None))
        return keys

    def _move(self, by: int) -> None:
        self._at = max(0, min(self._at + by, len(self._rows) - 1))
