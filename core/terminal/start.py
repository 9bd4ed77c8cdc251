"""Entry point for the terminal: a chat, or one formatted answer."""

from __future__ import annotations

import sys

from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import Settings
from core.console.exit_codes import EXIT_INTERRUPTED, exit_code
from core.console.interrupts import Interrupted, Interrupts
from core.console.one_chat import print_news, with_chat
from core.console.progress_line import ProgressLine
from core.console.first_turn import begin_answer
from core.console.question import piped_context, read_question
from core.console.questions import somebody_types
from core.console.screen import Screen
from core.errors import ChatError, ProviderError
from core.model_manager import Providers, Target
from core.setup.store import OpenedStore
from core.terminal.painter import Painter
from core.terminal.approval import TerminalApproval
from core.terminal.choosing import choose_session


def run(settings: Settings) -> int:
    """Answer the question on the command line, or open a chat if there is none.

    Returns the exit code.
    """
    question = read_question(settings)
    interrupts = Interrupts()
    screen = Screen(sys.stdout, settings)

    def use(chat: Chat, opened: OpenedStore) -> int:
        if question or settings.retry:
            return answer(chat, opened, screen, interrupts, question)
        from core.terminal.chat import converse
        return converse(settings, chat, opened, screen, interrupts)
    front = front_of(settings, screen, None if question else interrupts)
    return with_chat(settings, front, interrupts, use, choose_session=choose_session(screen),
                     again=not question)


def front_of(settings: Settings, screen: Screen, interrupts: Interrupts | None) -> Front:
    """How to ask the user of this terminal. With `interrupts`, also for a model if none is set up.
    """
    async def choose_model(error: ProviderError, providers: Providers) -> Target:
        from core.terminal.first_run import choose
        assert interrupts is not None
        return await choose(error, providers, interrupts)

    progress = ProgressLine(sys.stderr, able=sys.stderr.isatty() and not screen.dumb)
    choose = choose_model if interrupts is not None else None
    if not somebody_types():
        return Front(choose_model=choose, progress=progress, piped=piped_context(settings))
    approval = TerminalApproval(screen)
    return Front(approval, approval.agree, choose, progress, piped_context(settings))


def answer(chat: Chat, opened: OpenedStore, screen: Screen, interrupts: Interrupts,
           question: str) -> int:
    """Show one answer, formatted as in a chat. Returns the exit code."""
    print_news(opened.news)
    try:
        last = interrupts.run(Painter(screen, chat)
                              .paint(begin_answer(chat.settings, chat, question)))
    except Interrupted:
        screen.note("Stopped.")
        return EXIT_INTERRUPTED
    except ChatError as error:
        from core.console.report import print_error     # needed only when something failed
        print_error(error, chat.settings)
        return error.exit_code
    return exit_code(last) if last is not None else 0
