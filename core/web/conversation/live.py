"""A conversation in the server: its turn, numbered events and message queue."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Literal

from core.chat.comparison import Comparison
from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.context.shown import without_attached
from core.dataclass import replace
from core.errors import ChatError, StoreError, UsageError, unexpected
from core.events import Event, Notice, OthersSaid
from core.messages import Image, Message, user_message
from core.sessions.titles import title_of
from core.web.conversation.comparing import Comparing
from core.web.conversation.desk import Desks, Queued
from core.web.conversation.events import BROKE_OFF, PageEvent, TurnEvents, error_event, user_event
from core.web.conversation.followed import Followed
from core.web.conversation.pace import Pace
from core.web.conversation.questions import Questions

STOP_SECONDS = 5.0      # seconds for another process to stop a reply
Accepted = Literal["started", "queued", "known"]


class Live(Followed):
    """A chat with its listeners and turns.

    The turn runs in a server task, independent of any listeners.
    """

    def __init__(self, chat: Chat, questions: Questions, desks: Desks, pace: Pace) -> None:
        super().__init__(chat, desks)
        self._pace = pace
        self.used = 0.0
        self._branched = False  # whether the newest turn repeated an earlier question
        self.questions = questions
        questions.publish = self._publish_question
        self._comparing = False     # whether replies are shown of which one can be kept
        self._held = False      # whether other processes were told that something waits here

    def is_begun_elsewhere(self) -> bool:
        """Whether another process created this conversation, which this one does not have yet."""
        session = self.chat.session
        if self._runs_here or session.count or session.store is None or self._desk().queue:
            return False
        return bool(session.store.some_sessions([session.id]))

    # ---- requests of a page

    def post(self, message: Queued) -> Accepted:
        """Send a message, or queue it while a reply is running.

        Messages held because the last reply failed follow after this one. A repeated key is the
        same message. Raises StoreError.
        """
        desk = self._desk()
        if self._desks.knows(self.chat.session.id, message.key):
            return "known"
        ahead = desk.held and not self.running
        queue = (message, *desk.queue) if ahead else (*desk.queue, message)
        self._set_desk(replace(desk.accept(message.key), queue=queue, held=False))
        self._next()
        started = self._saying == message.key
        if not started or len(queue) > 1:
            self.publish(self._queue_event())
        return "started" if started else "queued"

    def change_queue(self, keys: Sequence[str]) -> None:
        """Keep only the queued messages with these keys, in this order."""
        queued = {entry.key: entry for entry in self._desk().queue}
        kept = tuple(queued[key] for key in keys if key in queued)
        saying = tuple(entry for entry in self._desk().queue if entry.key == self._saying)
        self._set_desk(replace(self._desk(),
                               queue=(*saying, *(each for each in kept if each not in saying))))
        self.publish(self._queue_event())

    def send_queued(self) -> None:
        """Send the first queued message now, after a failed reply."""
        self._set_desk(replace(self._desk(), held=False))
        self._next_waiting()

    async def stop(self) -> None:
        """Stop the reply and keep its text.

        Returns when it has stopped. Raises UsageError for another program's reply.
        """
        if self._mirror is not None:
            await self._stop_elsewhere()
        if self._task is not None and not self._task.done():
            self._stopping = True
            self._task.cancel()
            await asyncio.wait([self._task], timeout=10)

    async def _stop_elsewhere(self) -> None:
        """Ask the answering process to stop.

        Raises UsageError for a program that is not a page server.
        """
        end = time.monotonic() + STOP_SECONDS
        while self._desks.ask_to_stop(self.chat.session.id) and time.monotonic() < end:
            await asyncio.sleep(0.1)
            self.look()
            if self._mirror is None:
                return
        raise UsageError("The reply is running in another program.", "Stop it there.")

    def edit(self, place: int, message: Queued) -> Accepted:
        """Replace a message of the user and answer it again.

        The old messages stay in the store. Its images are sent again. Raises UsageError and
        StoreError.
        """
        if self._desks.knows(self.chat.session.id, message.key):
            return "known"
        self._refuse_if_running()
        words = without_attached(self.chat.session.rewind(self._place_when_loaded(place)))
        images = tuple((part.media_type, part.data, part.name)
                       for part in words.parts if isinstance(part, Image))
        self._branched = True
        self._set_desk(replace(self._desk().accept(message.key), held=False))
        self._ask(replace(message, images=message.images or images))
        if len(self._desk().queue) > 1:
            self.publish(self._queue_event())
        return "started"

    def _place_when_loaded(self, place: int) -> int:
        """Load the complete session, and convert a place on the page to one in the session:
        unreadable messages have a place only on the page. Raises UsageError.
        """
        session = self.chat.session
        seen = self._before if place < self._before.count else self._shown or session.moment()
        found = seen.part(place, place + 1)
        if not found or found[0][0] not in session.ids:
            raise UsageError("This message cannot be edited: it is not in the conversation any "
                             "more, or cannot be read.")
        return session.ids.index(found[0][0])

    def show_version(self, identity: int) -> None:
        """Show another version of a message on all pages. Raises UsageError for an unknown one."""
        self._refuse_if_running()
        self.chat.session.show_version(identity)
        self.catch_up()

    def answer_again(self) -> None:
        """Let the model answer the last message again.

        Raises UsageError if there is no message to answer.
        """
        self._refuse_if_running()
        if self.chat.session.retry() is None:
            raise UsageError("There is no message to answer yet.")
        self._branched = True
        self._start(self.chat.answer)

    def go_on(self) -> None:
        """Continue a partial reply where it stopped, or answer a turn without a reply.

        Calls that nobody finished are answered with that.
        """
        self._refuse_if_running()
        if self.chat.session.close_calls():
            self.catch_up()
        recent = self.chat.session.recent
        last = recent[-1] if recent else None
        if last is None or last.role == "assistant" and last.finish not in BROKEN:
            raise UsageError("There is no unfinished reply.")
        self._start(self.chat.continue_reply if last.role == "assistant" else self.chat.answer)

    def resume(self) -> None:
        """Continue where the last server ended. Raises UsageError if nothing is unfinished."""
        desk, now = self._desk(), self.chat.session.moment()
        asked = [(identity, message.text) for identity, message in zip(now.ids, now.messages)
                 if message.role == "user"]
        if desk.queue and asked and asked[-1][1] == desk.queue[0].text:
            self._take(desk.queue[0], asked[-1][0])     # saved before the server ended
        elif desk.queue:
            self._next_waiting()
            return
        self.go_on()

    def run(self, events: Callable[[], AsyncGenerator[Event, None]]) -> None:
        """Run a turn requested by a command. Raises UsageError while another one is running."""
        self._refuse_if_running()
        self._start(events)

    def compare(self, comparison: Comparison) -> None:
        """Ask two models the same question.

        Their answers are saved in branches, not yet in the conversation.
        """
        self._refuse_if_running()
        self.chat.compared = comparison
        self._before, self._stopping = self.chat.session.moment(), False
        self._turn_first = self.next_number
        self.publish({"type": "turn_start", "model": ""})
        self._entitle(comparison.question)
        comparing = Comparing(comparison, self.chat.providers, self.publish)
        self._task = asyncio.create_task(self._compare(comparing))
        self._comparing = True
        self._hold()

    async def _compare(self, comparing: Comparing) -> None:
        end: PageEvent = {"type": "turn_end", "state": "compared"}
        try:
            await comparing.run()
        except asyncio.CancelledError:
            pass        # each answer reports itself as stopped
        except Exception as problem:
            end |= {"state": "failed", "error": error_event(unexpected(problem))}
        self._finish(end)

    def compared(self) -> Comparison:
        """The last comparison. Raises UsageError if there is none."""
        if not isinstance(self.chat.compared, Comparison):
            raise UsageError("No comparison is open here.",
                             "Replies that were compared earlier, or at another process of the "
                             "page, are in the list of sessions, one branch each.")
        return self.chat.compared

    def keep(self, side: int) -> None:
        """Take one of two replies into the conversation. Raises UsageError and StoreError."""
        self.compared().keep(side + 1)
        self._comparing = False
        self._hold()
        self.catch_up()

    def _publish_question(self, event: PageEvent) -> None:
        self.publish(event)
        self._hold()

    def _hold(self) -> None:
        """Let other processes know whether a page has to ask this one."""
        on = self.questions.waiting or self._comparing
        if on != self._held:
            with suppress(StoreError):      # reported where something is to be saved
                self._desks.hold(self.chat.session.id, on=on)
                self._held = on

    async def close(self) -> None:
        """Stop without marking the turn as ended, so that the next server finishes it."""
        self._comparing = False
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=10)
        self._hold()
        await self.chat.close()
        self.chat.session.close()

    # ---- the turn

    def _refuse_if_running(self) -> None:
        if self.running:
            raise UsageError("A reply is running in this session.",
                             "Stop it first, or wait for its end.")

    def _start(self, events: Callable[[], AsyncGenerator[Event, None]]) -> None:
        self._set_desk(replace(self._desk(), running=True))
        self._begin(events)

    def _begin(self, events: Callable[[], AsyncGenerator[Event, None]],
               said: PageEvent | None = None) -> None:
        self._before = now = self.chat.session.moment()
        self.trim()
        kept = now.count if self._shown is None else self._shown.in_common(now)
        if self._shown is not None and kept < self._shown.count:
            self.publish({"type": "cut", "place": kept})
        self._turn_first = self.next_number
        self._stopping = self._comparing = False
        self._hold()
        self.publish({"type": "turn_start", "model": str(self.chat.target)})
        if said is not None:
            self.publish(said)
        last = now.messages[-1] if now.messages else None
        if said is None and last is not None and last.role == "assistant" and last.finish in BROKEN:
            self.publish({"type": "continued", "text": BROKE_OFF})
        else:
            self.publish({"type": "reply", "place": now.count + (said is not None)})
        self._task = asyncio.create_task(self._turn(events))

    def _next(self) -> None:
        """Send the first message of the queue. It leaves the queue once the session has it."""
        desk = self._desk()
        if self.running or not desk.queue:
            return
        self._set_desk(replace(desk, running=True, held=False))
        self._ask(desk.queue[0])

    def _next_waiting(self) -> None:
        """Send the first message that pages show as queued; they then show it as sent."""
        self._next()
        self.publish(self._queue_event())

    def _ask(self, message: Queued) -> None:
        """Begin the turn for a message.

        It stays in the queue until the session has it, so that a kill loses nothing.
        """
        desk = self._desk()
        if message not in desk.queue:
            self._set_desk(replace(desk, running=True, queue=(message, *desk.queue)))
        self._saying = message.key
        images = tuple(Image(media, data, name) for media, data, name in message.images)
        said = user_message(message.text, images)
        event = user_event(said, self.chat.session.count, message.key)
        event["files"] = list(map(os.path.basename, message.files))
        self._begin(lambda: self._say(message, said), event)
        self._entitle(said)

    def _entitle(self, asked: Message) -> None:
        """Show what is asked as the title, where there is none yet."""
        if not self.chat.session.title:
            self._first_words = title_of(asked)
            self.publish({"type": "session", **self.about()})

    async def _say(self, queued: Queued, said: Message) -> AsyncGenerator[Event, None]:
        known = self.chat.session.moment().ids
        for file in queued.files:
            for note in await self.chat.attach_file(file):
                yield Notice(note)
        async with aclosing(self.chat.turn(said)) as events:
            try:
                async for event in events:
                    self._said(queued, known)
                    yield event
            finally:
                self._said(queued, known)

    def _said(self, queued: Queued, known: Sequence[int]) -> None:
        """Remove a message from the queue once the session has it after the `known` ones."""
        if queued in self._desk().queue:
            now = self.chat.session.moment()
            last = now.ids.index(known[-1]) + 1 if known and known[-1] in now.ids else 0
            new = list(zip(now.ids[last:], now.messages[last:]))
            identity = next((identity for identity, message in new if identity not in known
                             and message.role == "user" and message.text == queued.text), None)
            if identity is None:
                return
            self._take(queued, identity)
        self._saying = ""

    def _take(self, queued: Queued, identity: int) -> None:
        """Remove a message from the queue, and record its files by its identity."""
        desk = self._desk()
        files = ((f"{identity:032x}", queued.files),) if queued.files else ()
        rest = tuple(each for each in desk.queue if each is not queued)
        self._set_desk(replace(desk, queue=rest, files=(*desk.files, *files)))

    async def _turn(self, events: Callable[[], AsyncGenerator[Event, None]]) -> None:
        shown, others = TurnEvents(), False
        end: PageEvent = {"type": "turn_end", "state": "complete"}
        try:
            async with aclosing(self._pace.paced(events())) as stream:
                async for event in stream:
                    others = others or isinstance(event, OthersSaid)
                    self._publish_all(shown.show(event))
        except asyncio.CancelledError:
            end["state"] = "stopped"
        except ChatError as error:
            end |= {"state": "failed", "error": error_event(error, self.chat)}
        except Exception as problem:
            end |= {"state": "failed", "error": error_event(unexpected(problem))}
        self._publish_all(shown.end())
        self._finish(end)
        if others:      # other programs' messages come before this turn
            self._shown = None
            asyncio.get_running_loop().call_soon(self.catch_up)

    def _finish(self, end: PageEvent) -> None:
        """Publish how the turn ended, and send the next queued message if it ended normally."""
        closing = end["state"] == "stopped" and not self._stopping
        self._shown, self._saying = self.chat.session.moment(), ""
        self.publish({**end, **self.about()})
        if self._branched:
            self._branched = False
            self.publish({"type": "versions", "places": self._loaded_versions()})
        if closing:
            return      # the server is ending; the turn stays marked as running
        well = end["state"] in ("complete", "compared")
        desk = self._desk()
        try:
            self._set_desk(replace(desk, running=False, held=bool(desk.queue) and not well))
        except ChatError as error:
            self.publish({"type": "notice", "level": "bad", "text": error.message})
        if well and desk.queue:
            asyncio.get_running_loop().call_soon(self._next_waiting)
        elif desk.queue:
            self.publish(self._queue_event())
