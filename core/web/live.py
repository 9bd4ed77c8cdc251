"""One conversation that runs in the server: its turn, its numbered events, and what waits to be sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from core.chat.comparison import Comparison
from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.chat.so_far import price_so_far, replies_of, tokens_in_window, window_of
from core.context.shown import without_attached
from core.errors import ChatError, UsageError, unexpected
from core.events import Event, Notice
from core.messages import Image, Message, user_message
from core.web.comparing import Comparing
from core.web.desk import Desk, Desks, Queued
from core.web.event_log import EventLog
from core.web.page_events import BROKE_OFF, PageEvent, TurnEvents, error_event, stored_events, user_event
from core.web.questions import Questions

Accepted = Literal["started", "queued", "known"]
SHOWN = 40      # messages that a page gets at first; earlier ones when it asks for them


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a page draws at once, and the place from which it listens on."""

    events: list[PageEvent]
    place: str              # "epoch:number" of the last event that is in it
    first: int              # the place of the first message that is in it; 0: nothing is left out


class Live(EventLog):
    """A chat with its listeners. Everything that happens in it is an event with a number.

    The turn runs in a task of the server, whoever listens.
    """

    def __init__(self, chat: Chat, questions: Questions, desks: Desks) -> None:
        super().__init__()
        self.chat = chat
        self.used = 0.0
        self._desks = desks
        self._turn_first = 1                # the number of the first event of the newest turn
        self._before: list[Message] = list(chat.session.messages)   # the conversation before it
        self._shown = chat.session.ids      # the identities of what the pages have of the conversation
        self._saying = ""                   # the key of the queued message that is being asked
        self._versions_of: tuple[tuple[int, ...], dict[int, PageEvent]] = ((), {})     # for these messages
        self._branched = False              # whether the newest turn asked again what was asked before
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.questions = questions
        questions.publish = self.publish

    # ---- what a page sees

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def about(self) -> PageEvent:
        """What the page shows beside the messages."""
        session, replies = self.chat.session, replies_of(self.chat)
        return {"id": session.id, "title": session.title, "model": str(self.chat.target), "saved": session.saved,
                "used": tokens_in_window(replies), "window": window_of(self.chat),
                "cost": price_so_far(self.chat, replies)}

    def snapshot(self, before: int | None = None) -> Snapshot:
        """The newest messages and the turn that runs; with `before`, the messages in front of that place."""
        end = len(self._before) if before is None else max(0, min(before, len(self._before)))
        first = _turn_start(self._before, max(0, end - SHOWN))
        events = list(stored_events(self._before[first:end], first, self._files(), self._versions()))
        if before is None:
            events += self.since(self._turn_first)
            events.append(self._queue_event())
        return Snapshot(events, self.place, first)

    def _files(self) -> dict[int, list[str]]:
        """The names of the files that were sent with each message, by its place."""
        places = {f"{identity:032x}": place for place, identity in enumerate(self.chat.session.ids)}
        return {places[message]: list(map(os.path.basename, paths))
                for message, paths in self._desk().files if message in places}

    def _versions(self) -> dict[int, PageEvent]:
        """The versions of each message that has several, by its place."""
        session = self.chat.session
        if self._versions_of[0] != session.ids:
            tree = session.tree() if session.ids else None
            found = {place: tree.versions(identity) for place, identity in enumerate(session.ids)} if tree else {}
            self._versions_of = session.ids, {place: {"at": each.at, "ids": [f"{identity:032x}" for identity in each.ids]}
                                              for place, each in found.items() if len(each.ids) > 1}
        return self._versions_of[1]

    def catch_up(self) -> bool:
        """Let every page draw anew what a command, or another program, changed in the conversation, if anything."""
        session = self.chat.session
        if self.running or self._shown == session.ids:
            return False
        self._before, self._shown = list(session.messages), session.ids
        self.publish({"type": "redraw"})
        self._turn_first = self.next_number
        return True

    # ---- what a page does

    def post(self, message: Queued) -> Accepted:
        """Ask, or queue while a reply runs. The same key twice is the same message. Raises StoreError."""
        desk = self._desk()
        if message.key in desk.keys:
            return "known"
        self._set_desk(replace(desk.accept(message.key), queue=(*desk.queue, message), held=False))
        if not self.running and len(desk.queue) == 0:
            self._next()
            return "started"
        self.publish(self._queue_event())
        return "queued"

    def change_queue(self, keys: Sequence[str]) -> None:
        """Keep the queued messages of these keys, in this order."""
        queued = {entry.key: entry for entry in self._desk().queue}
        kept = tuple(queued[key] for key in keys if key in queued)
        saying = tuple(entry for entry in self._desk().queue if entry.key == self._saying)
        self._set_desk(replace(self._desk(), queue=(*saying, *(each for each in kept if each not in saying))))
        self.publish(self._queue_event())

    def send_queued(self) -> None:
        """Send the first queued message now, after a reply that did not end well."""
        self._set_desk(replace(self._desk(), held=False))
        if not self.running:
            self._next()

    async def stop(self) -> None:
        """Stop the reply and keep its text. Returns when it has stopped."""
        if self._task is not None and not self._task.done():
            self._stopping = True
            self._task.cancel()
            await asyncio.wait([self._task], timeout=10)

    def edit(self, place: int, message: Queued) -> Accepted:
        """Ask something else in the place of a message of the user. What was there stays in the store.

        The pictures that were sent with it are sent again. Raises UsageError and StoreError.
        """
        if message.key in self._desk().keys:
            return "known"
        self._refuse_if_running()
        words = without_attached(self.chat.session.rewind(place))
        images = tuple((part.media_type, part.data, part.name) for part in words.parts if isinstance(part, Image))
        self._branched = True
        self._set_desk(replace(self._desk().accept(message.key), held=False))
        self._ask(replace(message, images=message.images or images))
        return "started"

    def show_version(self, identity: int) -> None:
        """Show another version of a message on every page. Raises UsageError for an unknown one."""
        self._refuse_if_running()
        self.chat.session.show_version(identity)
        self.catch_up()

    def answer_again(self) -> None:
        """Let the model answer the last message again. Raises UsageError when nothing can be answered."""
        self._refuse_if_running()
        if self.chat.session.retry() is None:
            raise UsageError("There is no message to answer yet.")
        self._branched = True
        self._start(self.chat.answer)

    def go_on(self) -> None:
        """Finish what broke off: the reply where it stopped, or the turn that never got one."""
        self._refuse_if_running()
        messages = self.chat.session.messages
        last = messages[-1] if messages else None
        if last is None or last.role == "assistant" and last.finish not in BROKEN:
            raise UsageError("There is no unfinished reply.")
        self._start(self.chat.go_on if last.role == "assistant" else self.chat.answer)

    def resume(self) -> None:
        """Go on where the last server ended. Raises UsageError when nothing is open."""
        desk, messages = self._desk(), self.chat.session.messages
        asked = [message.text for message in messages if message.role == "user"]
        if desk.queue and asked[-1:] == [desk.queue[0].text]:
            last = max(place for place, message in enumerate(messages) if message.role == "user")
            self._take(desk.queue[0], last)     # it was saved before the end
        elif desk.queue:
            self._next()
            return
        self.go_on()

    def run(self, events: Callable[[], AsyncGenerator[Event, None]]) -> None:
        """Run a turn that a command asks for. Raises UsageError while another runs."""
        self._refuse_if_running()
        self._start(events)

    def compare(self, comparison: Comparison) -> None:
        """Ask two models the same. What they say is saved in branches; nothing of it is in the conversation yet."""
        self._refuse_if_running()
        self.chat.compared = comparison
        self._before, self._stopping = list(self.chat.session.messages), False
        self._turn_first = self.next_number
        self.publish({"type": "turn_start", "model": ""})
        comparing = Comparing(comparison, self.chat.providers, self.publish)
        self._task = asyncio.create_task(self._compare(comparing))

    async def _compare(self, comparing: Comparing) -> None:
        end: PageEvent = {"type": "turn_end", "state": "compared"}
        try:
            await comparing.run()
        except asyncio.CancelledError:
            pass        # each answer says itself that it was stopped
        except Exception as problem:
            end |= {"state": "failed", "error": error_event(unexpected(problem))}
        self._finish(end)

    def compared(self) -> Comparison:
        """What was compared last. Raises UsageError."""
        if not isinstance(self.chat.compared, Comparison):
            raise UsageError("Nothing was compared yet.")
        return self.chat.compared

    async def close(self) -> None:
        """Stop without calling the turn ended: the next server finishes it."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=10)
        await self.chat.close()
        self.chat.session.close()

    # ---- the turn

    def _refuse_if_running(self) -> None:
        if self.running:
            raise UsageError("A reply is running in this session.", "Stop it first, or wait for its end.")

    def _start(self, events: Callable[[], AsyncGenerator[Event, None]]) -> None:
        self._set_desk(replace(self._desk(), running=True))
        self._begin(events)

    def _begin(self, events: Callable[[], AsyncGenerator[Event, None]], said: PageEvent | None = None) -> None:
        self._before = list(self.chat.session.messages)
        self.trim()
        kept = _in_common(self._shown, self.chat.session.ids)
        if kept < len(self._shown):
            self.publish({"type": "cut", "place": kept})
        self._turn_first = self.next_number
        self._stopping = False
        self.publish({"type": "turn_start", "model": str(self.chat.target)})
        if said is not None:
            self.publish(said)
        last = self._before[-1] if self._before else None
        if said is None and last is not None and last.role == "assistant" and last.finish in BROKEN:
            self.publish({"type": "continued", "text": BROKE_OFF})
        else:
            self.publish({"type": "reply", "place": len(self._before) + (said is not None)})
        self._task = asyncio.create_task(self._turn(events))

    def _next(self) -> None:
        """Ask the first message of the queue. It leaves the queue when the session has it."""
        desk = self._desk()
        if self.running or not desk.queue:
            return
        self._set_desk(replace(desk, running=True, held=False))
        self._ask(desk.queue[0])

    def _ask(self, message: Queued) -> None:
        """Begin the turn that asks this. In the queue until the session has it, so that a kill loses nothing."""
        desk = self._desk()
        if message not in desk.queue:
            self._set_desk(replace(desk, running=True, queue=(message, *desk.queue)))
        self._saying = message.key
        images = tuple(Image(media, data, name) for media, data, name in message.images)
        said = user_message(message.text, images)
        event = user_event(said, len(self.chat.session.messages), message.key)
        event["files"] = list(map(os.path.basename, message.files))
        self._begin(lambda: self._say(message, said), event)

    async def _say(self, queued: Queued, said: Message) -> AsyncGenerator[Event, None]:
        known = frozenset(self.chat.session.ids)
        for file in queued.files:
            for note in await self.chat.attach(file):
                yield Notice(note)
        async with aclosing(self.chat.turn(said)) as events:
            try:
                async for event in events:
                    self._said(queued, known)
                    yield event
            finally:
                self._said(queued, known)

    def _said(self, queued: Queued, known: Collection[int]) -> None:
        """Take a message out of the queue when the session has it: one of these words that was not `known` before."""
        session = self.chat.session
        if queued in self._desk().queue:
            place = next((place for place, (identity, message) in enumerate(zip(session.ids, session.messages))
                          if identity not in known and message.role == "user" and message.text == queued.text), None)
            if place is None:
                return
            self._take(queued, place)
        self._saying = ""

    def _take(self, queued: Queued, place: int) -> None:
        """It left the queue; its files are known by its identity from now on."""
        desk = self._desk()
        files = ((f"{self.chat.session.ids[place]:032x}", queued.files),) if queued.files else ()
        rest = tuple(each for each in desk.queue if each is not queued)
        self._set_desk(replace(desk, queue=rest, files=(*desk.files, *files)))

    async def _turn(self, events: Callable[[], AsyncGenerator[Event, None]]) -> None:
        shown = TurnEvents()
        end: PageEvent = {"type": "turn_end", "state": "complete"}
        try:
            async with aclosing(events()) as stream:
                async for event in stream:
                    for made in shown.show(event):
                        self.publish(made)
        except asyncio.CancelledError:
            end["state"] = "stopped"
        except ChatError as error:
            end |= {"state": "failed", "error": error_event(error)}
        except Exception as problem:
            end |= {"state": "failed", "error": error_event(unexpected(problem))}
        for made in shown.end():
            self.publish(made)
        self._finish(end)

    def _finish(self, end: PageEvent) -> None:
        """Say how the turn ended, and send what waits if it ended well."""
        closing = end["state"] == "stopped" and not self._stopping
        session = self.chat.session
        self._shown, self._saying = session.ids, ""
        self.publish({**end, **self.about()})
        if self._branched:
            self._branched = False
            self.publish({"type": "versions", "places": self._versions()})
        if closing:
            return      # the server ends; the turn stays marked as running
        well = end["state"] in ("complete", "compared")
        desk = self._desk()
        try:
            self._set_desk(replace(desk, running=False, held=bool(desk.queue) and not well))
        except ChatError as error:
            self.publish({"type": "notice", "level": "bad", "text": error.message})
        if well and desk.queue:
            asyncio.get_running_loop().call_soon(self._next)
        elif desk.queue:
            self.publish(self._queue_event())

    # ---- the desk

    def _desk(self) -> Desk:
        return self._desks.read(self.chat.session.id)

    def _set_desk(self, desk: Desk) -> None:
        self._desks.write(self.chat.session.id, desk)

    def _queue_event(self) -> PageEvent:
        desk = self._desk()
        return {"type": "queue", "held": desk.held,
                "items": [{"key": entry.key, "text": entry.text, "files": list(map(os.path.basename, entry.files))}
                          for entry in desk.queue if entry.key != self._saying]}


def _in_common(shown: Sequence[int], now: Sequence[int]) -> int:
    """How many messages both begin with."""
    pairs = enumerate(zip(shown, now))
    return next((place for place, (one, other) in pairs if one != other), min(len(shown), len(now)))


def _turn_start(messages: Sequence[Message], place: int) -> int:
    """The place at or before `place` where a turn begins: a reply is never drawn without its question."""
    while place > 0 and messages[place].role != "user":
        place -= 1
    return place
