"""The chat in a terminal: a prompt, commands, and replies painted as they stream."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext, suppress
from typing import TextIO

from core.config import Settings, data_directory
from core.conversation import Chat
from core.errors import ChatError, ModelNotFound, StreamBroken, describe, unexpected
from core.events import (Event, MessageAdded, ModelChanged, Notice, Resuming, Retrying, TextDelta, ThinkingDelta, ToolFinished,
                         ToolRequested, Waiting)
from core.interrupts import Interrupted, Interrupts, Terminated
from core.joining import BROKEN, open_fence
from core.line_input import wait_for_line
from core.messages import Message, user_message
from core.model_manager import Providers, Target, can_fetch
from core.safe_text import safe_line, safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.commands import History, Outcome, Table
    from core.comparison import Comparison
    from core.rendering import MarkdownStream, PlainStream, ThinkingStream
    from core.tool_executor import ApprovalRequest, Decision
    from core.typeahead import Typeahead

MOST_SHOWN = 500   # characters of a call's arguments in one line; a question about it and /last show all
SIDE_BY_SIDE = 100   # columns from which two answers stand beside each other
GRACE = 2.0         # seconds after a reply in which Ctrl-C may still have been meant for it
CLEAR_LINE = "\x1b[K"
RESTORE = "\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[0m"   # no bracketed paste; cursor, line wrap and plain style are back
FINISH_NOTES = {
    "length": "The answer stopped at its length limit. /retry with a larger --max-tokens, or ask it to go on.",
    "content_filter": "The provider's filter stopped the answer.",
    "refusal": "The model refused to answer.",
}


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
        self.typed: Typeahead | None = None   # what was typed while something ran; None where that is not looked after

    async def approve(self, request: ApprovalRequest) -> Decision:
        """Ask whether a tool may run."""
        from core.approval import TerminalApproval
        return await TerminalApproval(self)(request)

    def agrees(self, question: str) -> bool:
        """Ask, while nothing runs. Anything but a clear yes is a no; what was typed before is no answer."""
        from core.typeahead import echoed
        if self.typed is not None:
            self.typed.collect()
        try:
            with echoed(sys.stdin.fileno()):
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

    def reply_stream(self) -> MarkdownStream | PlainStream:
        from core.rendering import MarkdownStream, PlainStream
        if not self.markdown:
            return PlainStream(self.write, None if self.dumb else self.width, color=self.color)
        return MarkdownStream(self.write, self.width, self.height, color=self.color)

    def thinking_stream(self) -> ThinkingStream:
        from core.rendering import ThinkingStream
        return ThinkingStream(self.write, self.width, color=self.color, folded=not self.show_thinking)


class Painter:
    """Paints the events of one turn, and says so when a reply that has begun falls silent."""

    def __init__(self, screen: Screen, chat: Chat) -> None:
        self._screen = screen
        self._chat = chat
        self._asked = ""      # the model that answers, where it has changed
        self._heard = 0.0     # when the last event came
        self._broken = ""     # the text of a reply that broke off and is being finished
        self._waiting = False
        self._text: MarkdownStream | PlainStream | None = None
        self._thinking: ThinkingStream | None = None

    async def paint(self, events: AsyncGenerator[Event, None]) -> Message | None:
        """Consume the events; return the last reply. Whatever ends the turn, what came is on the screen."""
        last: Message | None = None
        silence = asyncio.create_task(self._tell_silence())
        try:
            async with aclosing(events):
                async for event in events:
                    self.show(event)
                    if isinstance(event, MessageAdded) and event.message.role == "assistant":
                        last = event.message
        finally:
            silence.cancel()
            if self._waiting:
                self._screen.write("\r\x1b[K")
            self.end()
        return last

    async def _tell_silence(self) -> None:
        """A line below the reply, every second that nothing comes, from `silence_notice` seconds on."""
        notice = self._screen.silence_notice
        with suppress(OSError):     # the terminal is gone, which the next frame finds out too
            while notice:
                stream = self._text or self._thinking
                silent = time.monotonic() - self._heard
                if stream is not None and silent >= notice:
                    stream.status(self._silence(silent))
                await asyncio.sleep(min(notice, 1.0) if silent >= notice else notice - silent)

    def _silence(self, seconds: float) -> str:
        provider = (self._asked or str(self._chat.target)).partition("/")[0]
        limit = idle_limit(provider, self._chat.providers)
        return f"no text for {seconds:.0f} s; Ctrl-C stops" + (f"; it is cut off after {limit:g} s of silence" if limit else "")

    def show(self, event: Event) -> None:
        self._heard = time.monotonic()
        if self._waiting and not isinstance(event, Waiting):
            self._screen.write("\r\x1b[K")
            self._waiting = False
        match event:
            case Waiting(seconds, what):
                self._wait(seconds, what)
            case Resuming(reason):
                self._screen.note(f"\u2014 {sentence(reason)} The answer goes on from there. \u2014")
            case TextDelta(text=text):
                self._end_thinking()
                if self._text is None:
                    self._text = self._screen.reply_stream()
                    fence = open_fence(self._broken)
                    text = f"{fence}\n{text}" if fence else text
                self._text.feed(text)
            case ThinkingDelta(text=text):
                self._end_text()
                self._thinking = self._thinking or self._screen.thinking_stream()
                self._thinking.feed(text)
            case MessageAdded(message):
                self.end()
                self._broken = message.text if message.finish in BROKEN else ""
                if message.role == "assistant" and finish_note(message):
                    self._screen.note(finish_note(message))
            case _:
                self.end()
                if isinstance(event, ModelChanged):
                    self._asked = event.new
                for line in describe_event(event):
                    self._screen.note(line)

    def _wait(self, seconds: float, what: str) -> None:
        """One line that is written over; only where lines can be."""
        if not self._screen.dumb:
            line = f"{what or 'waiting'}, {max(0.0, seconds):.0f} s"[: self._screen.width() - 1]
            self._screen.write(f"\r\x1b[K\x1b[2m{safe_line(line)}\x1b[0m" if self._screen.color else f"\r\x1b[K{safe_line(line)}")
            self._waiting = True

    def end(self) -> None:
        """Close what is open: all of it is shown, and the cursor stands at the start of a line."""
        self._end_thinking()
        self._end_text()

    def _end_thinking(self) -> None:
        if self._thinking is not None:
            stream, self._thinking = self._thinking, None
            stream.finish()

    def _end_text(self) -> None:
        if self._text is not None:
            stream, self._text = self._text, None
            stream.finish()


def idle_limit(provider: str, providers: Providers) -> float:
    """Seconds of silence after which an answer of this provider is cut off; 0 where nobody listens for it."""
    watched = providers.host(provider).dialect not in ("demo", "local")
    return providers.asked(provider).endpoint.idle_timeout if watched else 0.0


def sentence(reason: str) -> str:
    """A reason, made safe, with a full stop."""
    text = safe_line(reason, 200)
    return text if text.endswith((".", "!", "?", "\u2026")) else f"{text}."


def finish_note(message: Message) -> str:
    """What to say under a reply that is not simply whole, or nothing."""
    if message.finish == "stop" and not message.text.strip() and not message.tool_calls:
        return "The model sent an empty answer."
    return FINISH_NOTES.get(message.finish or "", "")


def describe_event(event: Event) -> list[str]:
    """What happened beside the answer, in lines for a person; foreign text in them is made safe."""
    match event:
        case Retrying(attempt, delay, reason):
            return [f"{sentence(reason)} Attempt {attempt} in {delay:.1f} s."]
        case ModelChanged(old, new, reason):
            return [f"{sentence(reason)} {safe_line(new)} answers instead of {safe_line(old)}."]
        case Resuming(reason):
            return [f"{sentence(reason)} The answer goes on from there."]
        case Notice(text):
            return [safe_text(text)]
        case ToolRequested(call):
            import json
            arguments = json.dumps(dict(call.arguments), ensure_ascii=False) if call.invalid is None else call.invalid
            return [f"\u2192 {safe_line(call.name, 100)} {safe_line(arguments, MOST_SHOWN)}"]
        case ToolFinished(result, seconds):
            size = f"{len(result.content):,} characters"
            what = f"failed: {safe_line(result.content, 200).rstrip('.')}" if result.is_error else size
            return [f"\u2190 {safe_line(result.name)} {what}, {seconds:.1f} s"]
    return []


# ---- the loop

def run_chat(chat: Chat, screen: Screen, interrupts: Interrupts, reader: Reader) -> None:
    """Read, answer, repeat, until the person leaves. No failure of a turn ends the chat."""
    screen.typed = reader.typed
    leaving = Leaving(interrupts)
    with reader.typed.quiet() if reader.typed else nullcontext():
        while True:
            try:
                line = reader.read(chat)
                if not line.strip():
                    continue
                try:
                    if not act_on(line, chat, screen, interrupts):
                        return
                finally:
                    leaving.busy()
            except KeyboardInterrupt:
                if leaving.is_meant():
                    screen.write("\n")
                    return
                screen.note("Ctrl-C again leaves.")
            except EOFError:
                screen.write("\n")
                return


class Leaving:
    """Ctrl-C at an empty prompt leaves the chat, unless it was meant for the reply that has just ended."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._ended = -GRACE

    def busy(self) -> None:
        """Something ran until now."""
        self._ended = time.monotonic()

    def is_meant(self) -> bool:
        late, self._ended = time.monotonic() - self._ended > GRACE, -GRACE
        return late and not self._interrupts.stopped_lately()


def act_on(line: str, chat: Chat, screen: Screen, interrupts: Interrupts) -> bool:
    """Run a command, or ask the model. False when the person leaves."""
    from core.commands import Leave, run_command
    try:
        if line.startswith("/") and not line.startswith("//"):
            outcome = interrupts.run(run_command(chat, line))
            if isinstance(outcome, Leave):
                return False
            show_outcome(chat, screen, interrupts, outcome)
        else:
            say(line.removeprefix("/") if line.startswith("//") else line, chat, screen, interrupts)
    except Interrupted:
        hold_typed(screen)
        screen.note("Stopped.")
    except ChatError as error:
        screen.error(error)
    except OSError:
        raise   # the terminal is gone
    except Exception as problem:
        screen.error(unexpected(problem))
    return True


def say(text: str, chat: Chat, screen: Screen, interrupts: Interrupts) -> None:
    for note in interrupts.run(chat.attach_mentions(text)):
        screen.note(note)
    take_turn(chat, screen, interrupts, chat.turn(user_message(text)))
    screen.write("\n")


def hold_typed(screen: Screen) -> None:
    """After Ctrl-C nothing that was typed ahead is sent by itself."""
    if screen.typed is not None:
        screen.typed.collect()
        screen.typed.hold()


def show_outcome(chat: Chat, screen: Screen, interrupts: Interrupts, outcome: Outcome) -> None:
    from core.commands import Again, Compact, Compare, Confirm, Fetch, History, Say, Table
    match outcome:
        case str(text):
            screen.line(text)
        case Table():
            show_table(screen, outcome)
        case Fetch(target):
            fetch_model(chat, screen, interrupts, target)
        case Compact():
            interrupts.run(Painter(screen, chat).paint(chat.compact()))
        case Compare(comparison):
            compare_models(screen, interrupts, comparison)
        case Say(text):
            take_turn(chat, screen, interrupts, chat.turn(user_message(text)))
        case History():
            show_history(screen, outcome)
        case Confirm(question, act):
            screen.line(act() if screen.agrees(f"{safe_line(question)} [y/N] ") else "Nothing is changed.")
        case Again(go_on, said):
            if said:
                screen.note(said)
            take_turn(chat, screen, interrupts, chat.go_on() if go_on else chat.answer())


def show_history(screen: Screen, history: History) -> None:
    from core.replay import show_last_exchange, show_messages
    if history.said:
        screen.line(history.said)
    if history.messages:
        (show_last_exchange if history.last else show_messages)(screen, history.messages)


def compare_models(screen: Screen, interrupts: Interrupts, comparison: Comparison) -> None:
    """Ask both, with one line that counts meanwhile; then show the answers, also when they were stopped."""
    shown = 0.0

    def on_text() -> None:
        nonlocal shown
        if not screen.dumb and time.monotonic() - shown >= 0.1:
            shown = time.monotonic()
            words = ", ".join(f"{safe_line(str(side.target))}: {len(side.text.split())} words" for side in comparison.sides)
            screen.write(f"\r{CLEAR_LINE}{words[:screen.width() - 1]}")
    stopped = False
    try:
        interrupts.run(comparison.run(on_text))
    except Interrupted:
        stopped = True
    finally:
        if shown:
            screen.write(f"\r{CLEAR_LINE}")
    show_comparison(screen, comparison)
    if stopped:
        screen.note("Stopped. What came is kept.")


def show_comparison(screen: Screen, comparison: Comparison) -> None:
    one, two = comparison.sides
    heads = [f"{number}: {side.target}, {side.seconds:.1f} s" for number, side in enumerate((one, two), 1)]
    if screen.width() >= SIDE_BY_SIDE:
        from core.rendering.columns import side_by_side
        for number, row in enumerate(side_by_side(f"{heads[0]}\n\n{one.text}", f"{heads[1]}\n\n{two.text}", screen.width() - 1)):
            screen.line(row, "1" if number == 0 else "")
    else:
        for head, side in zip(heads, (one, two), strict=True):
            screen.line(head, "1")
            stream = screen.reply_stream()
            stream.feed(side.text)
            stream.finish()
            screen.write("\n")
    for side in comparison.sides:
        for text in side.notes:
            screen.note(text if str(side.target) in text else f"{side.target}: {text}")
        if side.error is not None:
            screen.line(f"{side.target}: {describe(side.error)}", "31")
    screen.note(f"/compare keep 1 or keep 2 takes one into the conversation. As sessions: {one.session.id}, {two.session.id}.")


def take_turn(chat: Chat, screen: Screen, interrupts: Interrupts, events: AsyncGenerator[Event, None]) -> None:
    """Paint a turn; whatever ends it, the chat goes on."""
    try:
        interrupts.run(Painter(screen, chat).paint(events))
    except Interrupted:
        hold_typed(screen)
        screen.note("Stopped. What came is kept; go on as you like.")
    except StreamBroken as error:
        screen.error(error)
        screen.note("What came is kept. /continue goes on with it, /retry asks again.")
    except ModelNotFound as error:
        screen.error(error)
        if offer_to_fetch(chat, screen, interrupts):
            take_turn(chat, screen, interrupts, chat.answer())


def offer_to_fetch(chat: Chat, screen: Screen, interrupts: Interrupts) -> bool:
    """The server does not have the model: fetch it if it can be fetched and the person wants it. True when it is there."""
    if not can_fetch(chat.target, chat.providers):
        return False
    if not screen.agrees(f"Fetch {safe_line(chat.target.model)} now? [y/N] "):
        return False
    return fetch_model(chat, screen, interrupts, chat.target)


def fetch_model(chat: Chat, screen: Screen, interrupts: Interrupts, target: Target) -> bool:
    """Fetch it with its progress shown; True when it is there. Ctrl-C keeps what came, and the next time goes on from there."""
    from core.pull_progress import STOPPED, show_progress
    try:
        interrupts.run(show_progress(screen.out, target, chat.providers, color=screen.color))
    except Interrupted:
        screen.note(STOPPED)
        return False
    except ChatError as error:
        screen.error(error)
        return False
    screen.note(f"{target} is here.")
    return True


def show_table(screen: Screen, table: Table) -> None:
    """As wide as it needs, and no wider than the screen."""
    from core.rendering.listing import table_lines
    rows = [[safe_line(cell) for cell in row] for row in table.rows]
    for line, heading in table_lines(table.columns, rows, screen.width() - 1, optional=table.optional, headings=table.headings):
        screen.line(line, "1" if heading else "")
    if table.note:
        screen.note(table.note)


# ---- reading what the person types

class Reader:
    """Lines from a terminal without abilities: no history, no editing."""

    typed: Typeahead | None = None

    def read(self, chat: Chat) -> str:
        sys.stdout.write("> ")
        sys.stdout.flush()
        return wait_for_line(sys.stdin)


class PromptReader(Reader):
    """History, multi-line input and completion by prompt_toolkit, which takes 80 ms to import."""

    def __init__(self, settings: Settings, *, color: bool) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.key_binding import KeyBindings
        from core.input_history import InputHistory
        keys = KeyBindings()
        keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
        keys.add("c-j")(lambda event: event.current_buffer.insert_text("\n"))
        keys.add("enter")(lambda event: event.current_buffer.validate_and_handle())

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
        from core.typeahead import Typeahead
        self.typed: Typeahead = Typeahead(sys.stdin.fileno())

    def read(self, chat: Chat) -> str:
        from core.completion import ChatCompleter
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


def greet(chat: Chat, screen: Screen, news: list[str]) -> None:
    """Which model this is, how to get help, and what the person should know before they type."""
    resumed = f", {len(chat.session.messages)} messages so far" if chat.session.messages else ""
    screen.note(f"{chat.target} in session {chat.session.id}{resumed}. /help lists the commands." if chat.session.saved
                else f"{chat.target}, not saved{resumed}. /help lists the commands.")
    if chat.session.messages:
        from core.replay import show_last_exchange
        show_last_exchange(screen, chat.session.messages)
    for line in news:
        screen.line(line, "33")
