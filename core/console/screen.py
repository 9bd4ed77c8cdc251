"""A terminal to write to: its size, its abilities, and one gate that every word goes through."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from core.config import Settings
from core.console.line_input import wait_for_line
from core.errors import ChatError, describe
from core.safe_text import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.rendering import MarkdownStream, PlainStream, ThinkingStream
    from core.console.typeahead import Typeahead
    from core.rendering.code_blocks import CodeBlock

CLEAR_LINE = "\x1b[K"


class Screen:
    """A terminal to write to: its size, its abilities, and one method that every word goes through."""

    def __init__(self, out: TextIO, settings: Settings) -> None:
        self.out = out
        environment: Mapping[str, str] = settings.environment
        self.dumb = environment.get("TERM", "") in ("dumb", "")
        wanted = settings.color
        self.color = wanted == "always" or wanted == "auto" and not environment.get("NO_COLOR") and not self.dumb
        self.markdown = settings.markdown and not self.dumb
        self.show_thinking = settings.show_thinking
        self.silence_notice = 0.0 if self.dumb else settings.silence_notice
        self.question = ""   # stands at the end of the screen and waits for its answer
        self.codes: list[CodeBlock] = []     # the blocks of code on the screen, by their numbers from 1
        self.typed: Typeahead | None = None   # what was typed while something ran; None where that is not looked after

    def agrees(self, question: str) -> bool:
        """Ask, while nothing runs. Anything but a clear yes is a no; what was typed before is no answer."""
        from core.console.typeahead import echoed
        try:
            with echoed(sys.stdin.fileno()):
                if self.typed is not None:
                    self.typed.collect()
                self.write(question)
                return wait_for_line(sys.stdin).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            self.write("\n")
            return False

    def write(self, text: str) -> None:
        """Text that is safe already: our own, or from a stream of core.rendering."""
        self.out.write(text)
        self.out.flush()

    def width(self) -> int:
        return max(20, shutil.get_terminal_size((80, 24)).columns)

    def height(self) -> int:
        return max(4, shutil.get_terminal_size((80, 24)).lines)

    def line(self, text: str, style: str = "") -> None:
        """Words of ours that may quote foreign text, broken between words where the screen ends."""
        safe = safe_text(text)
        if len(safe) >= self.width() or not safe.isascii():
            from core.rendering.listing import wrap_words
            safe = "\n".join(wrap_words(safe, self.width() - 1))
        line = f"\x1b[{style}m{safe}\x1b[0m\n" if style and self.color else f"{safe}\n"
        self.write(f"\r{'' if self.dumb else CLEAR_LINE}{line}{self.question}" if self.question else line)

    def note(self, text: str) -> None:
        self.line(text, "1;31" if text.startswith("NOT SAVED") else "2")

    def error(self, error: ChatError) -> None:
        self.line(describe(error), "31")

    def reply_stream(self, before: str = "") -> MarkdownStream | PlainStream:
        """For a reply, or for what continues one after the text `before`, which is on the screen already."""
        from core.rendering import MarkdownStream, PlainStream
        if not self.markdown:
            return PlainStream(self.write, None if self.dumb else self.width, color=self.color)
        return MarkdownStream(self.write, self.width, self.height, color=self.color, before=before, codes=self.codes)

    def thinking_stream(self) -> ThinkingStream:
        from core.rendering import ThinkingStream
        return ThinkingStream(self.write, self.width, color=self.color, folded=not self.show_thinking,
                              live=not self.dumb)
