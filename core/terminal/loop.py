"""The chat in a terminal: read a line, run a command or ask the model, repeat."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from core.chat.conversation import Chat
from core.commands import (
    Again, Beside, ChooseSession, Compact, Compare, Confirm, Done, Edit, Fetch, Filling, History,
    Leave,
    Look, Outcome, Page, Paste, Say, ToClipboard, command_in, message_in, run_command)
from core.console.interrupts import Interrupted, Interrupts
from core.console.screen import Screen
from core.console.tables import show_table
from core.console.typeahead import Typed
from core.errors import ChatError, ModelNotFound, StreamBroken, unexpected
from core.events import Event
from core.messages import Image, user_message
from core.model_manager import Target, can_fetch
from core.rendering.columns import column_width, side_by_side
from core.rendering.event_lines import notice_line
from core.rendering.marks import styled
from core.rendering.quantities import duration
from core.rendering.table import Table
from core.rendering.widths import clip
from core.safe_text import safe_line
from core.terminal.choosing import choose_session
from core.terminal.line_reader import Reader
from core.terminal.others import show_new
from core.terminal.painter import Painter
from core.terminal.replay import show_last_exchange, show_messages
from core.terminal.shell import run_line, shell_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.comparison import Comparison

SIDE_BY_SIDE = 100   # columns from which two answers are shown side by side
# Whole messages that leave, or ask for help, in `ollama run`, Python and editors.
HABITS = {word: "/exit" for word
          in ("exit", "quit", "exit()", "quit()", "bye", ":q", ":q!", ":wq", ":x", "logout")} | {
    "?": "/help", "help()": "/help"}


def run_chat(chat: Chat, screen: Screen, interrupts: Interrupts, reader: Reader) -> None:
    """Read, answer and repeat until the user leaves. A turn that fails never ends the chat."""
    screen.typed = interrupts.typed = reader.typed
    leaving = Leaving(interrupts)
    with titled(screen), reader.typed.quiet() if reader.typed else nullcontext():
        while True:
            try:
                screen.title(title_of(chat))
                show_new(chat, screen)
                screen.gap()
                with interrupts.reading():
                    entered = reader.read(chat)
                if reader.typed is None:
                    screen.begin_line()
                if not entered.text.strip():
                    continue
                try:
                    if not act_on(entered, chat, screen, interrupts):
                        return
                finally:
                    leaving.busy()
            except KeyboardInterrupt:
                if reader.typed is None:
                    screen.write("\n")
                    screen.begin_line()
                if leaving.is_meant():
                    return
                screen.note("Ctrl-C again leaves.")
            except EOFError:
                if reader.typed is None:
                    screen.write("\n")
                    screen.begin_line()
                return


@contextmanager
def titled(screen: Screen) -> Iterator[None]:
    """Restore the terminal's own title at the end."""
    try:
        yield
    finally:
        with suppress(OSError, ValueError):     # the terminal is gone
            screen.title("")


def title_of(chat: Chat) -> str:
    """The session's title and the model."""
    return safe_line(f"{chat.session.title or 'Stream Chat'} \u00b7 "
                     f"{chat.target.model or chat.target.provider}", 100)


class Leaving:
    """Ctrl-C at an empty prompt leaves the chat when it is pressed a second time;
    the first may have been meant for a reply that has just ended.
    """

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._said = False

    def busy(self) -> None:
        """Note that something ran until now."""
        self._said = False

    def is_meant(self) -> bool:
        again, self._said = self._said, True
        return again and not self._interrupts.stopped_lately()


def act_on(entered: Typed, chat: Chat, screen: Screen, interrupts: Interrupts) -> bool:
    """Run a command, or ask the model. False when the user leaves."""
    try:
        command = HABITS.get(entered.text.strip()) or command_in(entered.text)
        line = shell_line(entered)
        if line:
            run_line(line, screen, interrupts, pasted=bool(entered.pasted))
        elif command is not None:
            outcome = interrupts.run(run_command(chat, command))
            if isinstance(outcome, Leave):
                return False
            show_outcome(chat, screen, interrupts, outcome)
        else:
            say(message_in(entered.text), chat, screen, interrupts, entered.pasted)
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


def say(text: str, chat: Chat, screen: Screen, interrupts: Interrupts,
        pasted: Sequence[str] = (), images: tuple[Image, ...] = (), *, typed: bool = True) -> None:
    """Ask the model; what the user `typed` may mention files."""
    if typed:
        attach(text, chat, screen, interrupts, pasted)
    pictures = images + (take_pictures(screen, pasted) if pasted or screen.pictures else ())
    take_turn(chat, screen, interrupts, chat.turn(user_message(text, pictures)))


def attach(text: str, chat: Chat, screen: Screen, interrupts: Interrupts,
           pasted: Sequence[str]) -> None:
    """Attach what a message mentions. A message that is not sent for that returns to the prompt,
    unless a part was pasted: there it would count as typed.
    """
    try:
        for note in interrupts.run(chat.attach_mentions(text, pasted)):
            screen.show(notice_line(note))
    except (ChatError, Interrupted):
        hold_typed(screen)
        if screen.typed is not None and not pasted:
            screen.typed.put_back(text)
        raise


def take_pictures(screen: Screen, pasted: Sequence[str]) -> tuple[Image, ...]:
    """The pictures for this message: from /paste, or dropped on the terminal."""
    from core.terminal.pictures import take
    return take(screen, pasted)


def hold_typed(screen: Screen) -> None:
    """After Ctrl-C, what was typed ahead is not sent automatically."""
    if screen.typed is not None:
        screen.typed.collect()
        screen.typed.hold()


def show_outcome(chat: Chat, screen: Screen, interrupts: Interrupts, outcome: Outcome) -> None:
    match outcome:
        case Done(text):
            screen.say("done", text)
        case str(text):
            show_text(screen, text)
        case Table():
            screen.gap()
            show_table(screen, outcome)
        case ChooseSession():
            show_chosen(chat, screen, interrupts, outcome)
        case Filling():
            from core.terminal.filling import show_filling
            show_filling(screen, outcome)
        case Page(text):
            show_page(screen, text)
        case Paste():
            from core.terminal.pictures import paste
            paste(chat, screen)
        case ToClipboard(text, said):
            screen.copy(text)
            screen.say("done", said)
        case Fetch(target):
            fetch_model(chat, screen, interrupts, target)
        case Compact():
            interrupts.run(Painter(screen, chat).paint(chat.compact()))
        case Look():
            change_look(chat, screen, outcome)
        case Compare(comparison):
            compare_models(screen, interrupts, comparison)
        case Beside(aside):
            from core.terminal.beside import show_aside
            show_aside(chat, screen, interrupts, aside)
        case Say(text, images, typed):
            say(text, chat, screen, interrupts, images=images, typed=typed)
        case History():
            show_history(screen, outcome)
        case Edit():
            from core.terminal.editing import edited
            changed = edited(screen, outcome, chat.settings.environment)
            if changed is not None:
                show_outcome(chat, screen, interrupts, outcome.done(changed))
        case Confirm(question, act):
            if screen.agrees(f"{safe_line(question)} [y/N]"):
                screen.say("done", act())
            else:
                screen.note("Nothing changed.")
        case Again(go_on, said):
            if said:
                screen.note(said)
            take_turn(chat, screen, interrupts, chat.continue_reply() if go_on else chat.answer())


def show_chosen(chat: Chat, screen: Screen, interrupts: Interrupts, choice: ChooseSession) -> None:
    """Let the user choose a session, and show the outcome."""
    try:
        row = choose_session(screen)(choice.store, choice.words)
    except KeyboardInterrupt:
        screen.note("No session was chosen.")
        return
    show_outcome(chat, screen, interrupts, choice.take(row.id))


def change_look(chat: Chat, screen: Screen, look: Look) -> None:
    """As /theme, /status and /thinking say, for this chat."""
    match look.what:
        case "theme":
            chat.settings = chat.settings.replace(theme=look.value)
            screen.set_theme(screen.background, chat.settings)
        case "status":
            chat.settings = chat.settings.replace(status=look.value == "on")
        case "thinking":
            screen.thinking = look.value
    screen.say("done", f"{look.what.capitalize()}: {look.value}")


def show_text(screen: Screen, text: str) -> None:
    """One line, or a page of its own."""
    if "\n" in text.strip():
        screen.gap()
        screen.line(text)
    else:
        screen.note(text)


def show_page(screen: Screen, text: str) -> None:
    """The program's own Markdown, painted like a reply; its code blocks do not count among the
    chat's.
    """
    screen.gap()
    codes, screen.codes = screen.codes, []
    screen.show_reply(text)
    screen.codes = codes


def show_history(screen: Screen, history: History) -> None:
    if history.said:
        screen.note(history.said)
    if history.messages:
        screen.gap()
        (show_last_exchange if history.last else show_messages)(screen, history.messages)


def compare_models(screen: Screen, interrupts: Interrupts, comparison: Comparison) -> None:
    """Ask both models while one live line counts; then show the answers, even if they were stopped.
    """
    shown = 0.0

    def on_text() -> None:
        nonlocal shown
        if time.monotonic() - shown >= 0.1:
            shown = time.monotonic()
            words = ", ".join(f"{side.target} {len(side.text.split())} words"
                              for side in comparison.sides)
            screen.live([screen.marked("now", " ".join(words.split()))[0]])
    stopped = False
    try:
        interrupts.run(comparison.run(on_text))
    except Interrupted:
        stopped = True
    finally:
        screen.live(())
    show_comparison(screen, comparison)
    if stopped:
        screen.note("Stopped. Partial replies saved.")


def show_comparison(screen: Screen, comparison: Comparison) -> None:
    one, two = comparison.sides
    heads = [f"{number}  {side.target}  {duration(side.seconds)}"
             for number, side in enumerate((one, two), 1)]
    screen.gap()
    if screen.width() >= SIDE_BY_SIDE and not screen.plain:
        room = screen.width() - 1
        cells = column_width(room)
        left, right = ([styled(clip(safe_line(head), cells), screen.theme.role("bold")), "",
                        *screen.reply_rows(side.text, cells)]
                       for head, side in zip(heads, (one, two), strict=True))
        screen.write("".join(f"{row}\n" for row in side_by_side(left, right, room)))
    else:
        for head, side in zip(heads, (one, two), strict=True):
            screen.gap()
            screen.line(head, "bold")
            screen.gap()
            screen.show_reply(side.text)
    screen.gap()
    for side in comparison.sides:
        for text in side.notes:
            screen.note(text if str(side.target) in text else f"{side.target}: {text}")
        if side.error is not None:
            screen.error(type(side.error)(f"{side.target}: {side.error.message}", side.error.hint))
    screen.note("/compare keep 1 or keep 2 takes one into the chat. As sessions: "
                f"{one.session.short_name}, {two.session.short_name}.")


def take_turn(chat: Chat, screen: Screen, interrupts: Interrupts,
              events: AsyncGenerator[Event, None]) -> None:
    """Paint a turn; the chat continues however it ends."""
    began = time.monotonic()
    try:
        interrupts.run(Painter(screen, chat, in_chat=True).paint(events))
        screen.notify(time.monotonic() - began, f"{chat.target} has answered")
    except Interrupted:
        hold_typed(screen)
        screen.gap()
        screen.note(stopped_words(chat, screen))
    except StreamBroken as error:
        screen.gap()
        screen.error(error)
        screen.note("Partial reply saved. /continue resumes it, /retry asks again.")
    except ModelNotFound as error:
        screen.error(error)
        if offer_to_fetch(chat, screen, interrupts):
            take_turn(chat, screen, interrupts, chat.answer())


def stopped_words(chat: Chat, screen: Screen) -> str:
    """Say what a stopped turn leaves. A message that waited for another program's turn returns to
    the prompt.
    """
    unsent, chat.unsent = chat.unsent, None
    if unsent is not None:
        if screen.typed is not None:
            screen.typed.put_back(unsent.text)
        return "Stopped. Your message was not sent."
    last = chat.session.recent[-1] if chat.session.recent else None
    if last is None or last.role != "assistant":
        return "Stopped. /retry asks again."
    return "Stopped. Partial reply saved. /continue resumes it, /retry asks again."


def offer_to_fetch(chat: Chat, screen: Screen, interrupts: Interrupts) -> bool:
    """Offer to download a model that the server does not have. Returns whether it is available now.
    """
    if not can_fetch(chat.target, chat.providers):
        return False
    if not screen.agrees(f"Download {safe_line(chat.target.model)} now? [y/N]"):
        return False
    return fetch_model(chat, screen, interrupts, chat.target)


def fetch_model(chat: Chat, screen: Screen, interrupts: Interrupts, target: Target) -> bool:
    """Download it and show the progress; True when it is available."""
    from core.console.pull_progress import show_progress
    try:
        interrupts.run(show_progress(screen, target, chat.providers))
    except Interrupted:
        return False
    except ChatError as error:
        screen.error(error)
        return False
    return True
