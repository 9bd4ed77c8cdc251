"""A terminal to write to: its size, its capabilities, and one method for all output."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from core.config import Settings
from core.config.terminal import terminal_size
from core.console.colors import theme_for
from core.errors import ChatError
from core.regex import regex
from core.rendering.columns import wrapped
from core.rendering.listing import wrap_words
from core.rendering.marks import HANG, MARKS, marked, styled
from core.rendering.widths import clip, text_width
from core.safe_text import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from core.console.typeahead import Typeahead
    from core.messages import Image
    from core.rendering.event_lines import Line
    from core.rendering.markdown import MarkdownStream
    from core.rendering.parser.code_blocks import CodeBlock
    from core.rendering.marks import Kind
    from core.rendering.plain import PlainStream
    from core.rendering.spoken import SpokenStream
    from core.rendering.theme import Background
    from core.rendering.thinking import ThinkingStream

CLEAR_LINE = "\x1b[K"
THINKING_ROWS = 3           # rows of a model's thinking while it thinks
LIVE_ROWS = 4               # most rows that are overwritten
LEAST_ARGUMENT = 16         # fewest cells of a tool's argument that are shown
_SEQUENCE = regex(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_STYLE = regex(r"(\x1b\[[0-9;]*m)")


class Screen:
    """A terminal to write to: its size, its capabilities, and one method for all output.
    """

    def __init__(self, out: TextIO, settings: Settings) -> None:
        self.out = out
        environment: Mapping[str, str] = settings.environment
        self.plain = settings.plain_screen  # for a screen reader: nothing moves, words for marks
        self.dumb = self.plain or environment.get("TERM", "") in ("dumb", "")
        self._settings = settings
        self.set_theme(None)
        self.unicode = not self.dumb and (out.encoding or "").lower().replace("-", "") == "utf8"
        self.markdown = settings.markdown and not self.dumb
        given = "show_thinking" in settings.given
        self.thinking = ("off" if not settings.show_thinking or self.plain
                         else "on" if given or self.dumb else "live")
        self._hinted = False
        self.silence_notice = 0.0 if self.dumb else settings.silence_notice
        self.question = ""   # the question at the end of the screen that waits for its answer
        # the code blocks on the screen, numbered from 1
        self.codes: list[CodeBlock] = []
        # what was typed while something ran; None if that is not read
        self.typed: Typeahead | None = None
        # of the last answer: its session, its model, and how many tokens a second
        self.speed: tuple[str, object, float | None] = ("", None, None)
        self._title = ""
        self.reports_sixel = False      # the terminal answered that it draws SIXEL
        self.draft = ""      # what the next prompt begins with, as if it was pasted
        self.begun_line = ""        # the same, as if it was typed
        self.begun_reply = ""  # the part on the screen of a reply that another program is writing
        self.pictures: list[Image] = []     # what goes with the next message
        self.shell_allowed = False      # commands that are typed with ! run without a question
        self._live: list[int] = []      # the widths of the rows that are overwritten
        # newlines at the end of the output: 2 means an empty line, or no output yet
        self._newlines = 2

    def set_theme(self, background: Background | None, settings: Settings | None = None) -> None:
        """Style what follows as --color and --theme say; `background` is the terminal's, if known.
        """
        self._settings, self.background = settings or self._settings, background
        self.theme = theme_for(self._settings, dumb=self.dumb, background=background)
        self.color = bool(self.theme.accent)

    def agrees(self, question: str) -> bool:
        """Ask while nothing runs. Anything but a clear yes counts as no; what was typed before is
        not an answer.
        """
        from core.console.line_input import wait_for_line
        from core.console.suspending import asked_again
        from core.console.terminal_modes import echoed
        try:
            with echoed(sys.stdin.fileno()):
                if self.typed is not None:
                    self.typed.collect()
                shown = "\n".join(self.marked("question", question)) + " "
                self.write(shown)
                with asked_again(shown, self.out):
                    return wait_for_line(sys.stdin).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            self.write("\n")
            return False
        finally:
            self.begin_line()

    # ---- writing

    def write(self, text: str) -> None:
        """Write text that is already safe: the program's own, or from a stream of core.rendering.
        It replaces live rows.
        """
        text = self._take_live() + text
        self.out.write(text)
        self.out.flush()
        ends, shows = _end_of(text)
        self._newlines = ends + (0 if shows else self._newlines)

    def begin_line(self) -> None:
        """Note that a prompt, or the terminal's echo, has ended a line."""
        self._newlines = 1

    def end_line(self) -> None:
        """Move the cursor to the start of a line unless it is there."""
        if not self._newlines:
            self.write("\n")

    def gap(self) -> None:
        """Write an empty line before what follows, unless there is one or the screen is empty."""
        if self._newlines < 2:
            self.write("\n" * (2 - self._newlines))

    def live(self, rows: Sequence[str]) -> None:
        """Show rows (safe, styled) that the next write or call removes; without rows, only remove
        them.
        """
        if self.dumb or self.question:
            return
        width = self.width() - 1
        kept = [clip_styled(row, width) for row in rows[-LIVE_ROWS:]]
        text = self._take_live() + "\n".join(kept)
        if text:
            self.out.write(text)
            self.out.flush()
        self._live = [text_width(_SEQUENCE.sub("", row)) for row in kept]

    def _take_live(self) -> str:
        """The sequence that erases the live rows, even if the terminal has since wrapped them at a
        new width.
        """
        if not self._live:
            return ""
        rows = sum(1 + max(cells - 1, 0) // self.width() for cells in self._live)
        self._live = []
        return (f"\r\x1b[{rows - 1}A" if rows > 1 else "\r") + "\x1b[J"

    def notify(self, seconds: float, text: str) -> None:
        """Notify, as --notify says, that something ended which took so many seconds."""
        if self._settings.notify != "off" and not self.dumb:
            from core.console.notification import notification
            self.out.write(notification(self._settings.notify, seconds, text))
            self.out.flush()

    def title(self, text: str) -> None:
        """Set the terminal's title; "" restores the one it had."""
        name = self._settings.environment.get("TERM", "")
        if self.dumb or not self._settings.title or name.startswith("linux") or text == self._title:
            return
        save = "\x1b[22;2t" if not self._title else ""
        self.out.write(f"{save}\x1b]2;{safe_text(text)}\x1b\\" if text else "\x1b[23;2t")
        self.out.flush()
        self._title = text

    def picture(self, picture: Image) -> None:
        """Draw it if the terminal is known to support pictures."""
        if not self._settings.show_pictures or self.dumb or not self.out.isatty():
            return
        from core.console.inline_picture import cells_of, picture_sequence, protocol
        how = protocol(self._settings.environment, self._settings.picture_protocol,
                       reports_sixel=self.reports_sixel)
        sequence = picture_sequence(picture, how, cells_of(self.out)) if how else ""
        if sequence:
            self.end_line()
            self.write(f"{sequence}\n")

    def copy(self, text: str) -> None:
        """Ask the terminal to put this on its clipboard (OSC 52)."""
        import base64
        if not self.dumb:
            self.out.write(
                f"\x1b]52;c;{base64.b64encode(text.encode('utf-8', 'replace')).decode()}\x07")
            self.out.flush()

    # ---- sizes

    def size(self) -> tuple[int, int]:
        """Its columns and rows."""
        columns, rows = terminal_size(80, 24)
        return max(20, columns), max(4, rows)

    def width(self) -> int:
        return self.size()[0]

    def height(self) -> int:
        return self.size()[1]

    # ---- the program's own lines

    def line(self, text: str, style: str = "") -> None:
        """Write text of the program, which may quote foreign text, wrapped between words."""
        safe = safe_text(text)
        if len(safe) >= self.width() or not safe.isascii():
            safe = "\n".join(wrap_words(safe, self.width() - 1))
        self._put(styled(safe, self.theme.role(style) if style else ""))

    def say(self, kind: Kind, text: str) -> None:
        """Write a line of the program with its mark."""
        self._put("\n".join(self.marked(kind, text)))

    def marked(self, kind: Kind, text: str) -> list[str]:
        if self.plain:
            return (MARKS[kind].word + safe_text(text).strip("\n")).split("\n")
        return marked(kind, text, self.width(), self.theme, unicode=self.unicode, cut=False)

    def sign(self, kind: Kind) -> str:
        """A mark, styled; on a plain screen its word, without the space after it."""
        mark = MARKS[kind]
        if self.plain:
            return mark.word.rstrip()
        return styled(mark.sign if self.unicode else mark.plain, self.theme.role(mark.role))

    def _put(self, rows: str) -> None:
        self.write(f"\r{'' if self.dumb else CLEAR_LINE}{rows}\n{self.question}" if self.question
                   else f"{rows}\n")

    def note(self, text: str) -> None:
        self.say("note", text)

    def error(self, error: ChatError) -> None:
        """What happened and why, then what to do."""
        message = " ".join(error.message.split())
        self.say("error",
                 "\n".join([message[:400], *(line[:300] for line in error.hint.splitlines()[:2])]))

    def show(self, line: Line) -> None:
        """Write an event's line: its name in bold, its detail dim."""
        if line.text.startswith("NOT SAVED") and not line.name:
            line = line._replace(name="NOT SAVED",
                                 text=line.text.removeprefix("NOT SAVED").lstrip(": "))
        if line.name or line.detail:
            self._put("\n".join(self.event_rows(line)))
        else:
            self.say(line.kind, line.text)

    def event_rows(self, line: Line) -> list[str]:
        """The rows of an event, one if possible: a long argument loses its middle, then the detail
        gets its own rows.
        """
        name, text, detail = safe_text(line.name), safe_text(line.text), safe_text(line.detail)
        if self.plain:
            verb = {"done": "Ran ", "failed": "Failed: ",
                    "now": "Running "}.get(line.kind, MARKS[line.kind].word)
            more = f": {detail}" if detail else ""
            return [f"{verb}{' '.join(filter(None, (name, text)))}{more}."]
        role = "bold" if not name.startswith("NOT SAVED") else "bold inverse"
        from core.rendering.event_lines import middle_cut    # a list of sessions has no events
        room = self.width() - 1 - HANG - text_width(name) - 1
        beside = room - text_width(detail) - 2
        if line.kind == "warning":
            rows = marked(line.kind, f"{name} {text}", self.width(), self.theme,
                          unicode=self.unicode, cut=False)
            return [rows[0].replace(name, styled(name, self.theme.role(role)), 1), *rows[1:]]
        fits = beside >= min(text_width(text), LEAST_ARGUMENT)
        text = middle_cut(text, max(beside if fits else room, 1))
        first = (f"{self.sign(line.kind)} {styled(name, self.theme.role(role))}"
                 + (f" {text}" if text else ""))
        if not detail:
            return [first]
        if fits:
            return [f"{first}  {styled(detail, self.theme.dim)}"]
        return [first, *(" " * HANG + styled(row, self.theme.dim)
                         for row in wrap_words(detail, self.width() - 1 - HANG))]

    # ---- replies

    def prepare(self) -> None:
        """Load what replies are shown with; the first one would do it otherwise."""
        if self.markdown:
            import core.rendering.markdown  # noqa: F401

    def show_reply(self, text: str) -> None:
        """Show a complete reply."""
        stream = self.reply_stream()
        stream.feed(text)
        stream.finish()

    def reply_rows(self, text: str, cells: int) -> list[str]:
        """A complete reply as styled rows of at most `cells`; only code may be wider. Its code
        blocks do not count among the chat's.
        """
        if not self.markdown:
            return [*wrapped(text, cells)]
        from core.rendering.markdown import MarkdownStream
        made: list[str] = []
        stream = MarkdownStream(made.append, lambda: (cells, self.height()), theme=self.theme)
        stream.feed(f"{text}\n\n")   # a block that has ended is written once, in its final form
        stream.finish()
        shown = "".join(made)
        return [*wrapped(text, cells)] if "\r" in shown else shown.strip("\n").split("\n")

    def reply_stream(self, before: str = "") -> MarkdownStream | PlainStream | SpokenStream:
        """A stream for a reply, or for its continuation after the text `before`, which is already
        on the screen.
        """
        if self.plain:
            from core.rendering.spoken import SpokenStream
            return SpokenStream(self.write, before=before, codes=self.codes)
        if not self.markdown:
            from core.rendering.plain import PlainStream
            return PlainStream(self.write, None if self.dumb else self.width,
                               color=self.theme.styled)
        from core.rendering.markdown import MarkdownStream
        return MarkdownStream(self.write, self.size, theme=self.theme, before=before,
                              codes=self.codes)

    def thinking_stream(self, *, hints: bool = False) -> ThinkingStream:
        """With `hints`, the first thinking says which command shows it again."""
        from core.rendering.thinking import ThinkingStream
        folded = self.thinking != "on"
        hint = "/thinking shows it." if folded and hints and not self._hinted else ""
        self._hinted = self._hinted or bool(hint)
        return ThinkingStream(self.write, self.width, theme=self.theme, folded=folded,
                              live=not self.dumb, hint=hint,
                              rows=THINKING_ROWS if self.thinking == "live" else 0,
                              mark="" if self.plain else "~ ")


def _end_of(text: str) -> tuple[int, bool]:
    """(number of newlines at the end of a text, whether anything visible precedes them).

    Sequences are skipped; searching all of a long text for them would cost more than writing it.
    """
    newlines, end = 0, len(text)
    while end:
        last = text[end - 1]
        if last in "\n\r":
            newlines += last == "\n"
            end -= 1
            continue
        start = text.rfind("\x1b[", 0, end)
        if start < 0 or not _is_rest_of_sequence(text[start + 2:end]):
            return newlines, True
        end = start
    return newlines, False


def _is_rest_of_sequence(text: str) -> bool:
    return text.isascii() and text[-1:].isalpha() and not text[:-1].strip("0123456789;?")


def clip_styled(row: str, cells: int) -> str:
    """The beginning of a row with styles that fits into `cells`."""
    parts, used = [], 0
    for piece in _STYLE.split(row):
        if not piece.startswith("\x1b"):
            piece = clip(piece, cells - used)
            used += text_width(piece)
        parts.append(piece)
    return "".join(parts)
