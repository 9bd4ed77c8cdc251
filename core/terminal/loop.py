"""The chat in a terminal: read a line, run a command or ask the model, repeat."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import nullcontext

from core.chat.conversation import Chat
from core.console.interrupts import Interrupted, Interrupts
from core.console.screen import CLEAR_LINE, Screen
from core.console.tables import show_table
from core.errors import ChatError, ModelNotFound, StreamBroken, describe, unexpected
from core.events import Event
from core.messages import user_message
from core.model_manager import Target, can_fetch
from core.safe_text import safe_line
from core.terminal.painter import Painter
from core.terminal.prompt import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.comparison import Comparison
    from core.commands import History, Outcome
    from core.console.typeahead import Typed

SIDE_BY_SIDE = 100   # columns from which two answers stand beside each other
# What `ollama run`, Python and editors leave with or ask for help with, as a whole message.
HABITS = {word: "/exit" for word in ("exit", "quit", "exit()", "quit()", "bye", ":q", ":q!", ":wq", ":x", "logout")} | {
    "?": "/help", "help()": "/help"}
GRACE = 2.0         # seconds after a reply in which Ctrl-C may still have been meant for it


def run_chat(chat: Chat, screen: Screen, interrupts: Interrupts, reader: Reader) -> None:
    """Read, answer, repeat, until the person leaves. No failure of a turn ends the chat."""
    screen.typed = interrupts.typed = reader.typed
    leaving = Leaving(interrupts)
    with reader.typed.quiet() if reader.typed else nullcontext():
        while True:
            try:
                entered = reader.read(chat)
                if not entered.text.strip():
                    continue
                try:
                    if not act_on(entered, chat, screen, interrupts):
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


def act_on(entered: Typed, chat: Chat, screen: Screen, interrupts: Interrupts) -> bool:
    """Run a command, or ask the model. False when the user leaves."""
    from core.commands import Leave, command_in, message_in, run_command
    try:
        command = HABITS.get(entered.text.strip()) or command_in(entered.text)
        if command is not None:
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


def say(text: str, chat: Chat, screen: Screen, interrupts: Interrupts, pasted: Sequence[str] = ()) -> None:
    for note in interrupts.run(chat.attach_mentions(text, pasted)):
        screen.note(note)
    take_turn(chat, screen, interrupts, chat.turn(user_message(text)))
    screen.write("\n")


def hold_typed(screen: Screen) -> None:
    """After Ctrl-C nothing that was typed ahead is sent by itself."""
    if screen.typed is not None:
        screen.typed.collect()
        screen.typed.hold()


def show_outcome(chat: Chat, screen: Screen, interrupts: Interrupts, outcome: Outcome) -> None:
    from core.commands import Again, Compact, Compare, Confirm, Fetch, History, Say
    from core.rendering.table import Table
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
    from core.terminal.replay import show_last_exchange, show_messages
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
    screen.note(f"/compare keep 1 or keep 2 takes one into the conversation. As sessions: {one.session.name}, {two.session.name}.")


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
    from core.console.pull_progress import STOPPED, show_progress
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


def greet(chat: Chat, screen: Screen, news: list[str]) -> None:
    """Which model this is, how to get help, and what the person should know before they type."""
    resumed = f", {len(chat.session.messages)} messages so far" if chat.session.messages else ""
    screen.note(f"{chat.target} in session {chat.session.name}{resumed}. /help lists the commands." if chat.session.saved
                else f"{chat.target}, not saved{resumed}. /help lists the commands.")
    if chat.session.messages:
        from core.terminal.replay import show_last_exchange
        show_last_exchange(screen, chat.session.messages)
    for line in news:
        screen.line(line, "33")
