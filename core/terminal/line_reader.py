"""Where the user types when the terminal supports only plain lines: no history, no editing."""

from __future__ import annotations

import os
import sys

from core.chat.conversation import Chat
from core.commands import command_in
from core.console.line_input import LONGEST_ANSWER, wait_for_line
from core.console.screen import Screen
from core.console.suspending import asked_again
from core.console.typeahead import Typeahead, Typed
from core.safe_text import without_surrogates
from core.terminal.several_lines import continues, in_quotes


class Reader:
    """Reads plain lines, without history or editing."""

    typed: Typeahead | None = None

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def read(self, chat: Chat) -> Typed:
        """A line, after the draft if there is one: it cannot be changed here, and is left out for a
        command.
        """
        draft, self._screen.draft = self._screen.draft, ""
        if draft:
            self._screen.note("Your next message begins with what you added.")
        text = self._line(f"{self._screen.sign('user')} ")
        while in_quotes(text) or continues(text):
            text = (text[:-1] if continues(text) else text) + "\n" + self._line(". ")
        if draft and command_in(text) is not None:
            draft, self._screen.draft = "", draft
        return Typed(draft + without_surrogates(text), (draft,) if draft else ())

    def _line(self, mark: str) -> str:
        sys.stdout.write(mark)
        sys.stdout.flush()
        with asked_again(mark, sys.stdout):
            line = wait_for_line(sys.stdin)
        if sys.stdin.isatty() and len(os.fsencode(line)) == LONGEST_ANSWER - 1:
            sys.stdout.write(f"{LONGEST_ANSWER - 1:,} bytes are the terminal's limit for a line: "
                             "what was typed after them is lost. /context add reads longer text "
                             "from a file.\n")
        return line
