"""A question answered from the conversation but saved apart, and added only if the user wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.chat.asking import Asking
from core.chat.comparison import MARK
from core.chat.conversation import Chat
from core.chat.turn import run_chat_turn
from core.errors import UsageError
from core.events import Event
from core.messages import Message, user_message
from core.model_manager import fallbacks_of, resolve_target
from core.models.fallback import chain_of
from core.providers import Request
from core.session_manager import Session
from core.sessions.titles import title_of
from core.stats.turn_numbers import TurnNumbers, measured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.fitting import Fitter

ROUNDS = 0     # rounds of tool calls: an aside changes nothing


class Aside:
    """One question, saved in a child session of the chat's, so that nothing shown is lost.

    It has its own fitter and chain of models, so the chat's next request is byte for byte the same
    as without the question.
    """

    def __init__(self, chat: Chat, question: str) -> None:
        self._chat, self.question = chat, user_message(question)
        self._fitter: Fitter | None = None
        self._asked = len(chat.session.messages)
        self._parent = chat.session
        title = MARK + title_of(self.question)
        self.session: Session = chat.session.branch(title, str(chat.target), self._asked)
        self._taken = False

    @property
    def replies(self) -> list[Message]:
        """The messages after the question: the reply, and any continuations of it."""
        messages = self.session.messages
        place = next((place for place in range(self._asked, len(messages))
                      if messages[place].role == "user"), len(messages))
        return messages[place + 1:]

    async def answer(self) -> AsyncGenerator[Event, None]:
        """Ask the chat's model, without tools; each event is saved before it is yielded."""
        chat = self._chat
        target = await resolve_target(chat.target, chat.providers)
        chain = chain_of(chat.settings, chat.providers, target, fallbacks_of(target, chat.settings))
        asking = Asking(chain, chat.may_not_fit, self._own_fitter, chat.front.progress)
        self.session.add_user(self.question)
        request = Request(target.model, tuple(self.session.messages), chat.system, (), chat.options)
        turn = run_chat_turn(asking.respond, request, None, model=str(target), rounds=ROUNDS)
        numbers = TurnNumbers(target, chain, chat.providers, prepared=True)
        asking.note_sent = numbers.note_sent
        try:
            recorded = measured(self.session.record(turn, str(target)), numbers, self.session)
            async with aclosing(recorded) as events:
                async for event in events:
                    yield event
        finally:
            await chain.close()
            self.session.close()

    def _own_fitter(self) -> Fitter:
        if self._fitter is None:
            from core.chat.fitting import Fitter
            self._fitter = Fitter(self._chat.settings, self._chat.providers, self._chat.window)
        return self._fitter

    def take_in(self) -> None:
        """Add question and answer at the end of the conversation. Raises UsageError."""
        if self._taken:
            raise UsageError("This aside is already part of the conversation.")
        if self._chat.session is not self._parent:
            raise UsageError("This aside belongs to another session.",
                             f"/session {self.session.short_name} continues it.")
        if not self.replies:
            raise UsageError("This aside has no answer.", "Ask it again with /aside QUESTION.")
        self._taken = True
        self._parent.set_model(str(self._chat.target))
        for add, message in ((self._parent.add_user, self.question),
                             *((self._parent.add_reply, reply) for reply in self.replies)):
            add(message)
            self._chat.write_down(message)
