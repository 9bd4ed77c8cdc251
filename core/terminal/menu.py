"""The menu under the prompt: completions of the text before the cursor, while it is typed."""

from __future__ import annotations

import logging

from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import Suggestion
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import vi_navigation_mode

from core.commands import Command
from core.console.screen import Screen
from core.rendering.marks import HANG, styled
from core.rendering.widths import clip, text_width
from core.safe_text import safe_line
from core.terminal.completion import Completions, Match, takes_more

ROWS = 6            # rows of the menu, and at most half the screen
GAP = 3             # cells between a name and its description
WIDEST = 36         # cells of the column of names
log = logging.getLogger(__name__)


class Menu:
    """Opens while a command, its argument or an @path is typed.

    Enter sends what is typed unless a row was chosen.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._completions: Completions | None = None
        self.close()

    def begin(self, completions: Completions) -> None:
        """Begin a prompt."""
        self._completions = completions
        self.close()

    def attach(self, buffer: Buffer) -> None:
        """Follow what is typed. Text from the history or a paste does not open the menu."""
        buffer.on_text_insert += self._typed
        buffer.on_text_changed += self._changed

    def close(self) -> None:
        self.dismissed = ""         # closed for text that begins with this, until a space
        self._matches: list[Match] = []
        self._at = 0
        self.chosen = False         # a row was chosen with the arrows: Enter takes it
        self._before = ""           # the text that the matches are for
        self._line = 0              # line of the history in which it was typed
        self._learning: Command | None = None
        self._take_when_learned = False

    def dismiss(self, buffer: Buffer) -> None:
        """Close it for this word."""
        before = self._before
        self.close()
        self.dismissed, buffer.suggestion = before, None

    # ---- what is typed

    def open(self) -> bool:
        buffer = get_app().current_buffer
        return (bool(self._matches) and buffer.name == DEFAULT_BUFFER
                and buffer.document.text_before_cursor == self._before
                and not vi_navigation_mode())

    def _typed(self, buffer: Buffer) -> None:
        before, dismissed = buffer.document.text_before_cursor, self.dismissed
        if not dismissed or not before.startswith(dismissed) or " " in before[len(dismissed):]:
            self.dismissed = ""
            self.look(buffer)

    def look(self, buffer: Buffer, *, asked: bool = False) -> None:
        """Find the matches for the text before the cursor; `asked` for with Tab."""
        before = buffer.document.text_before_cursor
        unknown = self._unknown(before)
        if not self._matches or before != self._before:
            self._find(buffer, before, asked=asked)
        if unknown is not None and unknown is not self._learning:
            self._learning = unknown
            get_app().create_background_task(self._learn(unknown, buffer))

    def _changed(self, buffer: Buffer) -> None:
        """React to changed text, which need not have been typed."""
        if not self._matches:
            return
        if buffer.working_index == self._line:
            self._find(buffer, buffer.document.text_before_cursor)
        else:
            self.close()

    def _find(self, buffer: Buffer, before: str, *, asked: bool = False) -> None:
        matches = self._found(before, asked=asked)
        typed_in_full = (len(matches) == 1 and before.endswith(matches[0].text)
                         and matches[0].typed == len(matches[0].text))
        self._matches = [] if typed_in_full else matches
        self._at, self.chosen, self._before, self._line = 0, False, before, buffer.working_index
        buffer.suggestion = self._ghost(buffer)

    def _found(self, before: str, *, asked: bool) -> list[Match]:
        try:
            if self._completions is None:
                return []
            return self._completions.matches(before, asked=asked)
        except Exception as problem:    # a list that cannot be loaded completes nothing
            log.debug("Nothing completes %r: %s", before, problem)
            return []

    def _unknown(self, before: str) -> Command | None:
        return self._completions.unknown(before) if self._completions is not None else None

    async def _learn(self, command: Command, buffer: Buffer) -> None:
        completions = self._completions
        if completions is None:
            return
        try:
            await completions.learn(command)
        except Exception as problem:
            log.debug("Nothing completes /%s: %s", command.name, problem)
        self._learning = None
        before = buffer.document.text_before_cursor
        if completions is self._completions and before == self._before:
            self._find(buffer, before)
            if self._take_when_learned and len(self._matches) == 1:
                self.take(buffer)
            get_app().invalidate()

    def _ghost(self, buffer: Buffer) -> Suggestion | None:
        """The rest of the marked match, dim behind the cursor; not shown where the terminal cannot
        distinguish it.
        """
        if (not self._matches or not buffer.document.is_cursor_at_the_end
            or not self._screen.theme.dim):
            return None
        match = self._matches[self._at]
        typed = self._before[len(self._before) - match.typed:]
        return (Suggestion(match.text[len(typed):])
                if match.text.startswith(typed) and match.text.isprintable() else None)

    # ---- keys

    def move(self, buffer: Buffer, by: int) -> None:
        """Choose another row, wrapping around at the ends."""
        self._at = (self._at + by) % len(self._matches)
        self.chosen = True
        buffer.suggestion = self._ghost(buffer)

    def complete(self, buffer: Buffer) -> None:
        """Take the marked match; if no menu is open, open one or take the only match."""
        if self.open():
            self.take(buffer)
            return
        self.dismissed = ""
        self.look(buffer, asked=True)
        if self._learning is not None:
            self._take_when_learned = True
        elif len(self._matches) == 1:
            self.take(buffer)
        elif not self._matches and takes_more(self._before):
            buffer.insert_text(" ")

    def take(self, buffer: Buffer) -> None:
        """Replace what was typed with the marked match. Then show a folder's content or a command's
        arguments.
        """
        match = self._matches[self._at]
        before, after = buffer.document.text_before_cursor, buffer.document.text_after_cursor
        text = before[:len(before) - match.typed] + match.text
        if text.endswith(('"', "'")):
            after = after.removeprefix(text[-1])
        if text.endswith(('/"', "/'")):
            text, after = text[:-1], f"{text[-1]}{after}"       # inside the quotes of a folder
        self.close()
        buffer.document = Document(text + after, len(text))
        if takes_more(text) and not after:
            buffer.insert_text(" ")
        elif text.endswith((" ", "/")):
            self.look(buffer)

    # ---- what is shown

    def rows(self) -> list[str]:
        """Styled rows, narrower than the screen: as many as fit around the marked one, and a count
        if there are more.
        """
        most = max(min(ROWS, self._screen.height() // 2), 2)
        count = len(self._matches)
        shown = count if count <= most else most - 1
        first = max(0, min(self._at - shown // 2, count - shown))
        matches = self._matches[first:first + shown]
        names = [safe_line(match.text, WIDEST) for match in matches]
        column = max(map(text_width, names))
        rows = [self._row(name, match.told, column, marked=first + number == self._at)
                for number, (name, match) in enumerate(zip(names, matches))]
        if count > most:
            rows.append(styled(f"{' ' * (2 * HANG)}{self._at + 1} of {count}",
                               self._screen.theme.dim))
        return rows

    def _row(self, name: str, told: str, column: int, *, marked: bool) -> str:
        theme, room = self._screen.theme, self._screen.width() - 1 - 2 * HANG
        mark = self._screen.sign("user") if marked else " "
        name = clip(name, room)
        beside = max(room - column - GAP, 0)
        told = (told if text_width(told) <= beside
                else clip(told, beside - 1) + ("\u2026" if beside else ""))
        pad = " " * (column - text_width(name) + GAP) if told else ""
        shown = styled(name, theme.role("bold") if marked else "")
        return f"{' ' * HANG}{mark} {shown}{pad}{styled(told, theme.dim)}"
