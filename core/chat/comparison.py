"""Asks two models the same question at once; each answer is saved as a branch of the session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

from core.chat.conversation import Chat
from core.chat.turn import run_chat_turn
from core.errors import ChatError, UsageError
from core.events import Notice, TextDelta
from core.messages import Message
from core.model_manager import Target
from core.models.fallback import chain_of
from core.providers import Request
from core.session_manager import Session
from core.sessions.titles import title_of
from core.stats.turn_numbers import TurnNumbers, measured

MARK = "\u21b3 "      # before the title of a branch


class Side:
    """One of the two models: its branch and its progress.

    `text` is the answer so far, `notes` are notices about the request.
    """

    def __init__(self, target: Target, session: Session) -> None:
        self.target, self.session = target, session
        self.asked = len(session.messages)
        self.text = ""
        self.notes: list[str] = []
        self.seconds = 0.0
        self.error: ChatError | None = None
        self.stopped = False
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Stop this answer and keep its partial reply; the other one continues."""
        if self.task is not None and not self.task.done():
            self.stopped = True
            self.task.cancel()

    @property
    def replies(self) -> list[Message]:
        """The messages after the question in its branch."""
        return self.session.messages[self.asked:]


class Comparison:
    """A question to two models. `new`: the question is not yet in the conversation.

    No tools are offered: they would run twice.
    """

    def __init__(self, chat: Chat, targets: Sequence[Target], question: Message, *,
                 new: bool) -> None:
        self.chat, self.question, self.new = chat, question, new
        self._parent, self._length = chat.session, len(chat.session.messages)
        last = max((place for place, message in enumerate(chat.session.messages)
                    if message.role == "user"), default=0)
        self.sides = [self._open(target, self._length if new else last) for target in targets]

    def _open(self, target: Target, beginning: int) -> Side:
        branch = self._parent.branch(MARK + title_of(self.question), str(target), beginning)
        branch.add_user(self.question)
        return Side(target, branch)

    async def run(self, on_text: Callable[[], None] = lambda: None,
                  on_end: Callable[[Side], None] = lambda side: None) -> None:
        """Ask both models.

        If one fails, the other continues. Cancelling stops both and keeps their partial replies.
        `on_text` is called for each new text, `on_end` when a side has ended.
        """
        tasks = [asyncio.ensure_future(self._ask(side, on_text, on_end)) for side in self.sides]
        for side, task in zip(self.sides, tasks):
            side.task = task
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for side in self.sides:
                side.session.close()

    async def _ask(self, side: Side, on_text: Callable[[], None],
                   on_end: Callable[[Side], None]) -> None:
        chat, started = self.chat, time.monotonic()
        chain = chain_of(chat.settings, chat.providers, side.target, ())
        request = Request(side.target.model, tuple(side.session.messages), chat.system, (),
                          chat.options)
        asking = chat.asking(chain)
        turn = run_chat_turn(asking.respond, request, None, model=str(side.target), rounds=0)
        numbers = TurnNumbers(side.target, chain, chat.providers, prepared=True)
        asking.note_sent, asking.keep_question = numbers.note_sent, side.session.keep_question
        try:
            async with aclosing(measured(side.session.record(turn), numbers,
                                         side.session)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        side.text += event.text
                        on_text()
                    elif isinstance(event, Notice):
                        side.notes.append(event.text)
        except ChatError as error:
            side.error = error
        except asyncio.CancelledError:
            if not side.stopped:
                raise
        finally:
            side.seconds = time.monotonic() - started
            on_end(side)

    def keep(self, number: int) -> Side:
        """Add answer 1 or 2 to the conversation, replacing the other one if it was added before.

        Raises UsageError.
        """
        if self.chat.session is not self._parent or len(self._parent.messages) != self._length:
            name = self.sides[number - 1].session.short_name
            raise UsageError("The conversation has continued since these answers.",
                             f"They are saved: /session {name} continues with this one.")
        side = self.sides[number - 1]
        if not side.replies:
            raise UsageError(f"{side.target} gave no answer.", "Take the other one, or ask again.")
        if self.new:
            self._parent.set_model(str(self.chat.target))
            # with what was attached to it
            self._parent.add_user(side.session.messages[side.asked - 1])
            self.chat.write_down(self.question)
        else:
            self._parent.retry()
        for message in side.replies:
            self._parent.add_reply(message)
            self.chat.write_down(message)
        self.new, self._length = False, len(self._parent.messages)
        return side
