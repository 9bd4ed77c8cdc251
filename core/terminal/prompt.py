"""Where the user types: history, several lines and completion. Importing it takes 80 ms, nearly all
of it for prompt_toolkit.
"""

from __future__ import annotations

import logging
import os
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import to_filter
from prompt_toolkit.formatted_text import ANSI, to_formatted_text
from prompt_toolkit.styles import Style

from core.chat.conversation import Chat
from core.chat.so_far import learn_window
from core.commands import command_in
from core.config import Settings
from core.config.directories import data_directory
from core.console.editor import edit_text
from core.console.interrupts import Terminated
from core.console.screen import Screen
from core.console.terminal_modes import note_modes
from core.console.typeahead import Typeahead, Typed
from core.errors import UsageError
from core.model_manager import Target
from core.rendering.marks import styled
from core.safe_text import safe_text, without_surrogates
from core.terminal.bindings import prompt_keys
from core.terminal.completion import Completions
from core.terminal.input_history import open_history
from core.terminal.keyboard import ESCAPE_SECONDS, Keyboard
from core.terminal.line_reader import Reader
from core.terminal.menu import Menu
from core.terminal.others import Following, newest, watch
from core.terminal.pastes import ShownCharacters, Pastes
from core.terminal.status_line import status_line
from core.terminal.warming import warm

log = logging.getLogger(__name__)
# bracketed paste off; cursor, line wrap and plain style restored
RESTORE = "\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[0m"

PASTE_HINT = "Ctrl-X Ctrl-E edits the pasted text"
PASTE_AGAIN = " \u00b7 paste again to unfold it"


class PromptReader(Reader):
    """A line editor by prompt_toolkit."""

    def __init__(self, settings: Settings, screen: Screen, typed: Typeahead) -> None:
        super().__init__(screen)
        self.typed: Typeahead = typed
        self._pastes = Pastes()
        self._menu = Menu(screen)
        self._keyboard = Keyboard()
        self._status: Callable[[], ANSI] | None = None
        self._following: Following | None = None
        self._looked_at = set[Target]()     # models whose window was requested
        self._hinted = False        # whether the hint about Ctrl-C and waiting messages was shown
        self._session = self._open(settings)
        self._menu.attach(self._session.default_buffer)
        self._session.app.before_render += lambda app: self._set_below()
        self._session.app.after_render += lambda app: note_modes(sys.stdin.fileno())

    def _open(self, settings: Settings) -> PromptSession[str]:
        vi = settings.editing_mode == "vi"
        session: PromptSession[str] = PromptSession(
            history=open_history(_history_file(settings), self._pastes.full), multiline=True,
            input=self._keyboard,
            key_bindings=prompt_keys(self._pastes, self._menu, self._keyboard,
                                     lambda text: self._edit(text, settings.environment)),
            editing_mode=EditingMode.VI if vi else EditingMode.EMACS,
            input_processors=[ShownCharacters(self._pastes)], erase_when_done=True,
            complete_while_typing=False,
            tempfile_suffix=".md", style=prompt_style(self._screen))
        session.app.ttimeoutlen = ESCAPE_SECONDS
        for window in session.layout.find_all_windows():
            # so that the status line hangs under the text
            window.dont_extend_height = to_filter(True)
        return session

    def _edit(self, text: str, environment: Mapping[str, str]) -> str:
        """The text as the user's editor leaves it; unchanged if the editor fails, after saying why.
        """
        try:
            return edit_text(text, environment)
        except UsageError as error:
            self._screen.error(error)
            self._screen.gap()
            return text

    def read(self, chat: Chat) -> Typed:
        self.typed.collect()
        line = self.typed.next_line()
        if line is None:
            return self.ask(chat)
        self._session.history.append_string(line.text)
        return self._taken(line)

    def ask(self, chat: Chat) -> Typed:
        """A line that is typed now, behind what was typed and not sent before."""
        return self._taken(self._prompt(chat, self.typed.rest()))

    def _taken(self, line: Typed) -> Typed:
        self._show(line.text)
        if line.text.strip() and command_in(line.text) is None:
            self._note_waiting(self.typed.queued())
        return line

    def _note_waiting(self, count: int) -> None:
        """Say how many messages that were typed ahead still wait."""
        if count:
            messages = "1 more message waits" if count == 1 else f"{count} more messages wait"
            hint = "" if self._hinted else "; Ctrl-C stops this one and keeps them at the prompt"
            self._hinted = True
            self._screen.note(f"{messages}{hint}.")

    def _prompt(self, chat: Chat, begun: Typed) -> Typed:
        self._pastes.clear()
        draft, self._screen.draft = self._screen.draft, ""
        line, self._screen.begun_line = self._screen.begun_line, ""
        text = line + draft + begun.text
        for pasted in (draft, *begun.pasted) if draft else begun.pasted:
            text = text.replace(pasted, self._pastes.take(pasted), 1)
        mark = ANSI(f"{self._screen.sign('user')} ")
        self._menu.begin(Completions(chat))
        self._status = self._toolbar(chat) if chat.settings.status else None
        self._session.style = prompt_style(self._screen)
        try:
            with kept_terminal():
                entered = self._session.prompt(mark, prompt_continuation="  ", default=text,
                                               pre_run=lambda: self._work_beside(chat))
        finally:
            self.typed.listen()
        return Typed(without_surrogates(self._pastes.full(entered)), tuple(self._pastes.texts))

    def _work_beside(self, chat: Chat) -> None:
        """Show what others write, and load what a question needs, while the prompt is open."""
        app, self._following = self._session.app, Following(chat, self._screen)
        app.create_background_task(watch(self._following, app, self._keyboard))
        app.create_background_task(warm(chat))
        if self._status is not None:
            app.create_background_task(self._look_at_window(chat))

    async def _look_at_window(self, chat: Chat) -> None:
        """Request the window's size once, so that the status line can say how full it is."""
        if chat.target in self._looked_at:
            return
        try:
            if await learn_window(chat):
                self._status = self._toolbar(chat)
                self._session.app.invalidate()
            if chat.session.count:
                self._looked_at.add(chat.target)
        except Exception as problem:        # the status line does without it
            log.debug("The window of %s is not known: %s", chat.target, problem)

    def _show(self, text: str) -> None:
        """Print what was entered once, in full; a message is bold, a command is not.
        """
        if text.strip():
            style = "" if command_in(text) is not None else self._screen.theme.role("bold")
            rows = [styled(row, style) for row in safe_text(text).split("\n")]
            self._screen.write(f"{self._screen.sign('user')} " + "\n  ".join(rows) + "\n")

    def _set_below(self) -> None:
        """Show under the prompt the menu while it is open, else what another program is writing,
        else what can be done with a folded paste, else the status line.
        """
        written = (self._tail_rows if self._following is not None and self._following.tail.strip()
                   else None)
        self._session.bottom_toolbar = (self._menu_rows if self._menu.open()
                                        else written or self._paste_hint() or self._status)

    def _paste_hint(self) -> ANSI | None:
        """What opens a folded paste, while one is in the line; None without one."""
        if not self._pastes.are_in(self._session.default_buffer.text):
            return None
        wide = self._screen.width() > len(PASTE_HINT) + len(PASTE_AGAIN) + 2
        return ANSI(styled(f"  {PASTE_HINT}{PASTE_AGAIN if wide else ''}", self._screen.theme.dim))

    def _tail_rows(self) -> ANSI:
        """The newest words of the reply that another program is writing."""
        words = (newest(self._following.tail, self._screen.width() - 8)
                 if self._following is not None else "")
        return ANSI(self._screen.marked("now", words)[0])

    def _menu_rows(self) -> ANSI:
        return ANSI("\n".join(self._menu.rows()))

    def _toolbar(self, chat: Chat) -> Callable[[], ANSI]:
        """The status line, made once per prompt and again when the screen's width changes.
        """
        made: dict[int, ANSI] = {}

        def show() -> ANSI:
            width = self._screen.width()
            if width not in made:
                session, target, speed = self._screen.speed
                measured = session == chat.session.id and target == chat.target
                made[width] = ANSI(status_line(chat, self._screen, speed if measured else None))
            return made[width]
        return show


def prompt_style(screen: Screen) -> Style:
    """Text under the prompt has no reverse video; what Tab would add is dim.
    """
    [(dim, *_), *_] = to_formatted_text(ANSI(styled("x", screen.theme.dim)))
    return Style.from_dict({"bottom-toolbar": "noreverse", "bottom-toolbar.text": "noreverse",
                            "auto-suggestion": f"fg:default {dim}"})


@contextmanager
def kept_terminal() -> Iterator[None]:
    """Restore the terminal when a signal ends the program in the middle of prompt_toolkit's own
    cleanup.
    """
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
    """The file of typed lines, readable by its owner only; None if nothing may be written.
    """
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
