"""The first turn of a run: a repeated question, if the settings request one, or the question given.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from core.chat.conversation import Chat
from core.config import Settings
from core.errors import UsageError
from core.events import Event
from core.messages import user_message


def begin_answer(settings: Settings, chat: Chat, question: str) -> AsyncGenerator[Event, None]:
    """The turn that --retry, --edit or the question requests.

    Raises UsageError when the session has no such message.
    """
    if settings.retry:
        if chat.session.retry() is None:
            raise UsageError("This session has no question to ask again.")
        return chat.answer()
    if settings.edit is not None:
        chat.session.rewind(chat.session.question_place(settings.edit))
    return chat.turn(user_message(question))
