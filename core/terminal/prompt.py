"""Where the person types: history, several lines and completion, or a plain line where the terminal can do no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from core.chat.conversation import Chat
from core.config import Settings, data_directory
from core.console.interrupts import Terminated
from core.console.line_input import LONGEST_ANSWER, wait_for_line
from core.console.screen import Screen
from core.safe_text import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.console.typeahead import Typeahead

RESTORE = "\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[0m"   # no bracketed paste; cursor, line wrap and plain style are back


class Reader:
    """Lines from a terminal without abilities: no history, no editing."""

    typed: Typeahead | None = None

    def read(self, chat: Chat) -> str:
        sys.stdout.write("> ")
        sys.stdout.flush()
        line = wait_for_line(sys.stdin)
        if sys.stdin.isatty() and len(os.fsencode(line)) == LONGEST_ANSWER - 1:
            sys.stdout.write(f"{LONGEST_ANSWER - 1:,} bytes are a terminal's limit of a line: what was typed after them is lost. "
                             "A longer text can come from a file (/context add).\n")
        return line


class PromptReader(Reader):
    """History, multi-line input and completion by prompt_toolkit, which takes 80 ms to import."""

    def __init__(self, settings: Settings, *, color: bool) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.key_binding import KeyBindings
        from core.terminal.input_history import InputHistory
        keys = KeyBindings()
        keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
        keys.add("c-j")(lambda event: event.current_buffer.insert_text("\n"))
        keys.add("enter")(lambda event: event.current_buffer.validate_and_handle())
        keys.add("c-z")(lambda event: event.app.suspend_to_background())

        @keys.add("c-c")
        def _(event: object) -> None:
            """With text typed, Ctrl-C clears it; on an empty line it leaves."""
            buffer = event.current_buffer  # type: ignore[attr-defined]  # prompt_toolkit passes its KeyPressEvent
            if buffer.text:
                buffer.reset()
            else:
                event.app.exit(exception=KeyboardInterrupt)  # type: ignore[attr-defined]  # likewise

        path = _history_file(settings)
        self._session: PromptSession[str] = PromptSession(
            history=InputHistory(path) if path else InMemoryHistory(), multiline=True, key_bindings=keys,
            complete_while_typing=False, enable_open_in_editor=True)
        self._color = color
        from core.console.typeahead import Typeahead
        self.typed: Typeahead = Typeahead(sys.stdin.fileno())

    def read(self, chat: Chat) -> str:
        from core.terminal.completion import ChatCompleter
        from prompt_toolkit.formatted_text import FormattedText
        self.typed.collect()
        line = self.typed.next_line()
        if line is not None:
            return self._repeat(line)
        mark = FormattedText([("ansigreen bold" if self._color else "", "> ")])
        with kept_terminal():
            return self._session.prompt(mark, prompt_continuation="  ", completer=ChatCompleter(chat), default=self.typed.rest())

    def _repeat(self, line: str) -> str:
        """A line that was typed ahead, shown as if it were typed now."""
        if line.strip():
            self._session.history.append_string(line)
            shown = safe_text(line)
            sys.stdout.write(f"\x1b[32;1m> \x1b[0m{shown}\n" if self._color else f"> {shown}\n")
            sys.stdout.flush()
        return line


@contextmanager
def kept_terminal() -> Iterator[None]:
    """A signal that ends the program at the prompt can come in the middle of prompt_toolkit's own cleaning up."""
    import termios
    modes = termios.tcgetattr(sys.stdin)
    try:
        yield
    except Terminated:
        with suppress(OSError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, modes)
            sys.stdout.write(RESTORE)
            sys.stdout.flush()
        raise


def _history_file(settings: Settings) -> str | None:
    """Where typed lines are remembered, readable by their owner alone; None when nothing is to be written."""
    if not (settings.input_history and settings.save):
        return None
    directory = data_directory(settings.environment)
    path = os.path.join(directory, "input_history")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    except OSError:
        return None
    return path


def open_reader(settings: Settings, screen: Screen) -> Reader:
    return Reader() if screen.dumb or not sys.stdin.isatty() else PromptReader(settings, color=screen.color)
