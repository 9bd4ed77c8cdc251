"""The first prompt, which is shown before the line editor is loaded."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.chat.conversation import Chat
from core.console.screen import Screen
from core.console.typeahead import Typeahead, Typed
from core.terminal.line_reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.terminal.prompt import PromptReader

CLEAR_LINE = "\r\x1b[K"


class EarlyReader(Reader):
    """Shows the prompt, then loads the line editor, which takes longer than all the rest.

    What is typed meanwhile stays with the terminal, where the editor reads it as it reads all keys:
    arrows, Tab, pasted text. Ctrl-C waits until the editor is there.
    """

    def __init__(self, screen: Screen, load: Callable[[Typeahead], PromptReader]) -> None:
        super().__init__(screen)
        self.typed: Typeahead = Typeahead(sys.stdin.fileno())
        self._load = load
        self._editor: PromptReader | None = None

    def read(self, chat: Chat) -> Typed:
        if self._editor is not None:
            return self._editor.read(chat)
        self.typed.collect()
        if self.typed.waits():
            self._editor = self._loaded()
            return self._editor.read(chat)
        self.typed.listen()
        self._write(f"{self._screen.sign('user')} ")
        try:
            self._editor = self._loaded()
        finally:
            self._write(CLEAR_LINE)
        return self._editor.ask(chat)

    def _loaded(self) -> PromptReader:
        with _uninterrupted():
            return self._load(self.typed)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits: an import that is broken off leaves half a module."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
