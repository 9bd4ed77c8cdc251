"""Reads a terminal's keys: drops sequences without a meaning here and keeps a paste in one piece.
"""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from core.regex import regex

# Shift-Enter and similar keys (CSI u; xterm's modifyOtherKeys)
_NEW_LINE = regex(r"\x1b\[(?:13;\d+u|27;\d+;13~)")
_FINAL = regex(r"[@-~]")
_REST = regex(r"\[[0-9;?]*[A-Za-z~]")
LONGEST = 4096        # longest answer of a terminal, in characters; anything longer was typed
# seconds of silence after which Escape is the key, not the beginning of a sequence
ESCAPE_SECONDS = 0.1
# seconds after Escape in which a slow connection may deliver the rest of a sequence
LATE_SECONDS = 0.5
# seconds after Escape in which no user presses another key: Enter is Alt-Enter
ALT_SECONDS = 0.15


class Keyboard(Vt100Input):
    """prompt_toolkit's input, which would otherwise insert unknown sequences into the text."""

    def __init__(self) -> None:
        super().__init__(sys.stdin)
        self._sequences = Sequences()
        self._escaped = -LATE_SECONDS       # when Escape was pressed last
        self.escape_alone = False           # whether the keys being handled are Escape alone
        self.handed_over = False            # whether another program reads the keys, an editor

    @contextmanager
    def detach(self) -> Iterator[None]:
        with super().detach():
            self.handed_over = True
            try:
                yield
            finally:
                self.handed_over = False

    def escaped_within(self, seconds: float) -> bool:
        return time.monotonic() - self._escaped < seconds

    def read_keys(self) -> list[KeyPress]:
        keys = super().read_keys()
        while select.select([self.fileno()], [], [], 0)[0] and not self.closed:
            more = super().read_keys()
            if not more and self.closed:
                break
            keys += more
        self.escape_alone = False
        if self.escaped_within(LATE_SECONDS) and _REST.fullmatch("".join(key.data for key in keys)):
            keys = [KeyPress(Keys.Escape, "\x1b"), *keys]
        return as_pastes(list(self._sequences.read(keys)))

    def flush_keys(self) -> list[KeyPress]:
        """The keys held back in case more followed."""
        keys = list(self._sequences.read(super().flush_keys()))
        self.escape_alone = [key.key for key in keys] == [Keys.Escape]
        if self.escape_alone:
            self._escaped = time.monotonic()
        return keys


class Sequences:
    """Recognises escape sequences among keys, wherever reads split them."""

    def __init__(self) -> None:
        self._open = ""       # the sequence so far

    def read(self, keys: Iterable[KeyPress]) -> Iterator[KeyPress]:
        """The keys without sequences. An Escape that nothing follows at once is the Escape key."""
        waiting: KeyPress | None = None
        for key in keys:
            if _NEW_LINE.fullmatch(key.data):
                yield KeyPress(Keys.ControlJ, "\n")
            elif self._open:
                yield from self._continue(key)
            elif waiting is not None and key.key == Keys.ControlM:
                waiting = None
                yield KeyPress(Keys.ControlJ, "\n")     # Alt-Enter, in vi's mode too
            elif waiting is not None and key.key in ("[", "]", "P", "X", "^", "_"):
                self._open, waiting = "\x1b" + str(key.key), None
            else:
                if waiting is not None:
                    yield waiting
                waiting = key if key.key == Keys.Escape and key.data == "\x1b" else None
                if waiting is None:
                    yield key
        if waiting is not None:
            yield waiting

    def _continue(self, key: KeyPress) -> Iterator[KeyPress]:
        text = self._open + (key.data if len(key.data) == 1 else "")
        if text[1] == "[":
            ended = len(key.data) != 1 or key.data < " " or bool(_FINAL.match(key.data))
        else:
            ended = text.endswith(("\x07", "\x1b\\")) or not _belongs(text)
        self._open = "" if ended else text
        known = ANSI_SEQUENCES.get(text) if ended else None
        if ended and _NEW_LINE.fullmatch(text):
            yield KeyPress(Keys.ControlJ, "\n")
        elif isinstance(known, Keys) and known != Keys.Ignore:
            yield KeyPress(known, text)                 # split in two on its way
        elif ended and key.key in (Keys.ControlM, Keys.ControlC, Keys.ControlD,
                                   Keys.BracketedPaste):
            yield key         # not part of a sequence


def _belongs(text: str) -> bool:
    """Whether this can still become an answer of the terminal; ] alone may have been typed with
    Alt.
    """
    last = text[-1]
    if len(text) == 3 and text[1] == "]" and not last.isdigit():
        return False
    return len(text) < LONGEST and (last >= " " or last == "\x1b") and not ("\x1b" in text[1:-1])


def as_pastes(keys: list[KeyPress]) -> list[KeyPress]:
    """Input that arrives in one read with text after an Enter was pasted, in a terminal that does
    not mark pastes.
    """
    answers = [key for key in keys if key.key == Keys.CPRResponse]
    typed = [key for key in keys if key.key != Keys.CPRResponse]
    enter = next((place for place, key in enumerate(typed) if key.key == Keys.ControlM), len(typed))
    if not any(map(_is_text, typed[enter:])) or not all(map(_can_be_pasted, typed)):
        return keys
    return [*answers, KeyPress(Keys.BracketedPaste, "".join(key.data for key in typed))]


def _is_text(key: KeyPress) -> bool:
    return len(key.data) == 1 and key.data > " "


def _can_be_pasted(key: KeyPress) -> bool:
    return len(key.data) == 1 and (key.data >= " " or key.data in "\r\n\t") and key.data != "\x7f"
