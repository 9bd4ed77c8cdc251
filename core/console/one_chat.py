"""Opens one chat for this process, passes it to an entry point and closes everything in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import Settings
from core.console.exit_codes import EXIT_INTERRUPTED
from core.console.interrupts import Interrupted, Interrupts
from core.console.line_input import ask
from core.errors import UsageError
from core.rendering.listing import fitted
from core.safe_text import safe_text
from core.sessions.listing import select_session
from core.setup.chat import attach, open_chat
from core.setup.daily_backup import begin_backup
from core.setup.store import OpenedStore
from core.store.rows import SessionRow
from db import Store


def with_chat(settings: Settings, front: Front, interrupts: Interrupts,
              use: Callable[[Chat, OpenedStore], int], *,
              choose_session: Callable[[Store], SessionRow], again: bool = False) -> int:
    """Return what `use` returns, the exit code. `again`: at the end, repeat warnings about unsaved
    text.
    """
    opened = OpenedStore(settings)
    try:
        session = opened.session(settings, _chosen_session(settings, opened, choose_session))
        chat = interrupts.run(open_chat(settings, opened, session, front))
        try:
            interrupts.run(attach(settings, chat))
            return use(chat, opened)
        except Interrupted:
            return EXIT_INTERRUPTED
        finally:
            interrupts.run(chat.close())
            chat.session.close()
            if chat.session.last_words:
                from core.console.unsaved import warn_unsaved
                warn_unsaved(chat.session, settings, again=again)
    except Interrupted:
        return EXIT_INTERRUPTED
    finally:
        opened.close()
        interrupts.close()
        begin_backup(settings)


def _chosen_session(settings: Settings, opened: OpenedStore,
                    choose: Callable[[Store], SessionRow]) -> str | None:
    if not settings.select_session:
        return None
    if opened.store is None:
        raise UsageError("--select-session cannot be combined with --no-save.")
    return choose(opened.store).id


def choose_from_list(store: Store, words: str = "") -> SessionRow:
    """The session that the user chooses from a numbered list on standard error; of those that
    contain the words, if there are any.
    """
    return select_session(store, ask, lambda line: print(line, file=sys.stderr), words=words)


def print_news(lines: Iterable[str]) -> None:
    """Print what the user should know before the answer, on standard error."""
    for line in lines:
        text = safe_text(line)
        print(fitted(text, sys.stderr) if sys.stderr.isatty() else text, file=sys.stderr)
