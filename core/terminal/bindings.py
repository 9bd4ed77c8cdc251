"""The prompt's key bindings, in addition to those of prompt_toolkit."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, emacs_mode, has_focus, vi_navigation_mode
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from core.terminal.keyboard import ALT_SECONDS, Keyboard
from core.terminal.menu import Menu
from core.terminal.pastes import Pastes
from core.terminal.several_lines import continues, in_quotes

typing = has_focus(DEFAULT_BUFFER)     # but not in a search, which has its own keys


def prompt_keys(pastes: Pastes, menu: Menu, keyboard: Keyboard,
                edit_text: Callable[[str], str]) -> KeyBindings:
    """Enter sends, Alt-Enter, Ctrl-J and Shift-Enter start a line, Ctrl-C clears or leaves,
    Ctrl-X Ctrl-E edits with `edit_text`.
    """
    keys = KeyBindings()
    keys.add("escape", "enter", filter=typing & emacs_mode)(_new_line)
    keys.add("c-j", filter=typing)(_new_line)
    keys.add("enter", filter=typing)(_enter)
    add_menu_keys(keys, menu, keyboard)
    keys.add("c-z")(lambda event: event.app.suspend_to_background())

    @keys.add("c-c", filter=typing)
    def _(event: KeyPressEvent) -> None:
        """With text typed, Ctrl-C clears it (Up brings it back); on an empty line it leaves."""
        if event.current_buffer.text:
            event.current_buffer.reset(append_to_history=True)
            pastes.clear()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    @keys.add(Keys.BracketedPaste, filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if pastes.repeats(event.data, buffer.document.char_before_cursor):
            buffer.delete_before_cursor()
            buffer.insert_text(pastes.unfolded(event.data), fire_event=False)
        else:
            buffer.insert_text(pastes.take(event.data), fire_event=False)

    def edit(event: KeyPressEvent) -> None:
        open_editor(event, pastes, edit_text)
    keys.add("c-x", "c-e", filter=typing)(edit)
    keys.add("v", filter=typing & vi_navigation_mode)(edit)
    return keys


def add_menu_keys(keys: KeyBindings, menu: Menu, keyboard: Keyboard) -> None:
    """Tab takes the marked row or opens the menu;
    the arrows choose, then Enter takes; Escape closes.

    Escape alone acts at once; Alt with a key, which also begins with Escape, works as usual.
    """
    is_open = typing & Condition(menu.open)
    chosen = is_open & Condition(lambda: menu.chosen)
    keys.add("tab", filter=typing)(lambda event: menu.complete(event.current_buffer))
    keys.add("enter", filter=chosen)(lambda event: menu.take(event.current_buffer))
    for name, by, where in (("down", 1, is_open), ("c-n", 1, is_open), ("up", -1, chosen),
                            ("c-p", -1, chosen),
                            ("s-tab", -1, is_open)):
        keys.add(name, filter=where)(lambda event, by=by: menu.move(event.current_buffer, by))
    alone = Condition(lambda: keyboard.escape_alone)
    keys.add("escape", filter=is_open & emacs_mode & alone, eager=True)(
        lambda event: menu.dismiss(event.current_buffer))
    closed_just_now = Condition(
        lambda: bool(menu.dismissed) and keyboard.escaped_within(ALT_SECONDS))
    keys.add("enter", filter=typing & emacs_mode & closed_just_now)(_new_line)


def open_editor(event: KeyPressEvent, pastes: Pastes, edit_text: Callable[[str], str]) -> None:
    """Edit what is typed; the result returns to the prompt.

    The editor gets folded pastes in full; they stay folded when nothing is changed.
    """
    buffer = event.current_buffer
    full = pastes.full(buffer.text)

    async def edit() -> None:
        text = await run_in_terminal(lambda: edit_text(full), in_executor=True)
        if text != full:
            buffer.document = Document(text)
    event.app.create_background_task(edit())


def _new_line(event: KeyPressEvent) -> None:
    event.current_buffer.insert_text("\n")


def _enter(event: KeyPressEvent) -> None:
    """Continue after a backslash or in open quotes, or send."""
    buffer = event.current_buffer
    if continues(buffer.document.text_before_cursor) and buffer.document.is_cursor_at_the_end:
        buffer.delete_before_cursor()
        buffer.insert_text("\n")
    elif in_quotes(buffer.text):
        buffer.insert_text("\n")
    else:
        buffer.validate_and_handle()
