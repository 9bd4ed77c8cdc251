"""A conversation in which other programs may answer: what they write is shown live."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.events import OthersSaid
from core.messages import Message
from core.web.conversation.desk import Desks
from core.web.conversation.events import PageEvent, user_event
from core.web.conversation.mirror import Mirror, is_over
from core.web.conversation.shown import Shown


class Followed(Shown):
    """A chat whose turn runs here, in another program, or nowhere."""

    def __init__(self, chat: Chat, desks: Desks) -> None:
        super().__init__(chat, desks)
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._mirror: Mirror | None = None      # the running turn of another program

    @property
    def running(self) -> bool:
        """Whether a turn is running, here or in another program."""
        return self._runs_here or self._mirror is not None

    @property
    def is_followed(self) -> bool:
        """Whether a page is listening and other programs may write to it."""
        return self.listened and not self._runs_here and self.chat.session.store is not None

    @property
    def may_have_ended(self) -> bool:
        """Whether to check that the program whose turn is shown still runs."""
        return self._mirror is not None and self._mirror.is_quiet

    @property
    def _runs_here(self) -> bool:
        return self._task is not None and not self._task.done()

    def look(self) -> None:
        """Show what another program wrote to the session since the last call. Raises StoreError."""
        session = self.chat.session
        if self._runs_here or session.store is None or not session.count:
            return
        ended = (self._mirror is not None and self._mirror.is_quiet
                 and not session.is_answered_elsewhere())
        others = session.look()
        if others is not None:
            self._take_in(others)
        if ended:
            self._end_mirror("stopped")
            return
        known = (self._mirror.reply, self._mirror.seen) if self._mirror is not None else (0, 0)
        reply = session.store.open_reply(session.id, *known)
        if reply is not None and self._mirror is None and session.is_answered_elsewhere():
            self._begin_mirror(())
        if reply is not None and self._mirror is not None:
            self._publish_all(self._mirror.follow(reply))

    def _take_in(self, others: OthersSaid) -> None:
        messages = others.messages
        if others.changed:
            self._mirror = None
            self.catch_up()
        elif self._mirror is not None:
            self._publish_all(self._mirror.add(messages))
            if is_over(messages[-1]):
                self._end_mirror("stopped" if messages[-1].finish in BROKEN else "complete")
        elif is_over(messages[-1]):
            self.catch_up()
        else:
            self._begin_mirror(messages)

    def _begin_mirror(self, messages: Sequence[Message]) -> None:
        """Begin to show another program's turn, which starts with `messages`, or answers the shown
        ones.
        """
        session = self.chat.session
        place = session.count - len(messages)
        self._before = session.moment().beginning(place)
        self._turn_first, self._mirror = self.next_number, Mirror()
        self.publish({"type": "turn_start", "model": session.model})
        asked = [message for message in messages if message.role == "user"]
        for number, message in enumerate(asked):
            self.publish(user_event(message, place + number))
        self.publish({"type": "reply", "place": place + len(asked)})
        self._publish_all(
            self._mirror.add([message for message in messages if message.role != "user"]))

    def _end_mirror(self, state: str) -> None:
        if self._mirror is not None:
            self._publish_all(self._mirror.end())
            self._mirror = None
            self._stopping = True
            self._finish({"type": "turn_end", "state": state})

    def _publish_all(self, events: Iterable[PageEvent]) -> None:
        for event in events:
            self.publish(event)

    def _finish(self, end: PageEvent) -> None:
        """Publish how the turn ended."""
        raise NotImplementedError
