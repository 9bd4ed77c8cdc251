"""Saves a conversation while it happens: everything is stored before it is sent or shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.errors import SessionNotFound
from core.events import (Event, Kept, MessageAdded, ModelChanged, Notice, TextDelta, ThinkingDelta,
                         ToolFinished)
from core.messages import KEPT_AS, Finish, Message, ToolResult, tool_message
from core.sessions.history import History
from core.sessions.listing import format_session_lines, list_sessions, select_session
from core.sessions.open_message import OpenMessage
from core.sessions.loaded import state_of
from core.sessions.opening import answer_calls
from core.sessions.recovery import Recovered, recover
from core.sessions.reply import missing_results
from core.sessions.spool_places import Places
from core.sessions.titles import title_of
from core.sessions.writes import Write, message_write
from core.store.identity import new_message_id
from core.store.message_json import dump
from core.store.rows import Chunk
from db import Store

WRITTEN = (TextDelta, ThinkingDelta, ToolFinished, MessageAdded)
SYNC_SECONDS = 0.25      # how much of a streaming reply a power cut may lose


class Session(History):
    """A running conversation; its messages and frames are saved before they are passed on."""

    def __init__(self, store: Store | None, spool: str | Places = "", *, model: str = "") -> None:
        super().__init__(store, spool, model=model)
        self._open: OpenMessage | None = None
        self._synced = 0.0
        self._handle = ""       # the next answer's, until its first frame is written

    def add_user(self, message: Message) -> None:
        """Add and save the user's message, before anything is sent. Retries a store that failed."""
        self._journal.retry()
        self.close_calls()
        self._append(message)

    def close_calls(self) -> bool:
        """Add a stand-in for each result that the last calls lack; whether one did."""
        unanswered = missing_results(self._recent)
        if unanswered is not None:
            self._append(unanswered)
        return unanswered is not None

    def keep_question(self, message: Message) -> None:
        """Store the user's last message with what was attached to it, before it is sent.

        Does nothing if `message` has another text than the last one.
        """
        place = max((place for place, said in enumerate(self._recent) if said.role == "user"),
                    default=None)
        if (place is None or self._recent[place] == message
            or self._recent[place].text != message.text):
            return
        identity = self._recent_ids[place]
        if identity not in self._unreadable:
            self._journal.write(message_write("finish", message, id=identity,
                                              state=state_of(message)))
            self._recent[place] = self._said[identity].message = message

    def add_reply(self, message: Message) -> None:
        """Add a complete reply that was produced elsewhere (in a branch)."""
        self._append(message)

    def _append(self, message: Message) -> None:
        """Add a complete message, in place of the open one if there is one."""
        opened = self._open
        identity = opened.id if opened else new_message_id()
        parent = self._recent_ids[-1] if self._recent_ids else 0
        if not self._stored:
            self.title = self.title or title_of(message)
            self._journal.begin(self.id, self.name, self.title, self.model, identity, message)
            self._stored = True
            self._own()
        else:
            do = "finish" if opened else "add"
            self._journal.write(message_write(do, message, session=self.id, id=identity,
                                              state=state_of(message),
                                              **({} if opened else {"parent": parent})))
        self._open = None
        self._note(identity, message, parent)
        self._recent.append(message)
        self._recent_ids.append(identity)

    async def record(self, events: AsyncGenerator[Event, None],
                     model: str = "") -> AsyncGenerator[Event, None]:
        """Yield a turn's events, each after it is saved.

        `model` is the first model to answer (by default the session's).

        However the turn ends, everything received is kept: an interrupted reply becomes a message,
        and tool calls without a result get one. This is done without waiting for other programs.
        """
        model = model or self.model
        async with aclosing(events) as stream:
            try:
                for text in self.take_news():
                    yield Notice(text)
                async for event in stream:
                    model = event.new if isinstance(event, ModelChanged) else model
                    if isinstance(event, Kept):
                        self._handle = event.handle
                        continue
                    if isinstance(event, WRITTEN):
                        durable = self._is_durable(event)
                        async with self._journal.ready(durable=durable):
                            self._keep(event, model, durable=durable)
                    for text in self.take_news():
                        yield Notice(text)
                    yield event
            except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
                with self._journal.hurried():     # the user is waiting
                    self._settle("interrupted")
                raise
            except BaseException:
                with self._journal.hurried():
                    self._settle("error")
                raise
            finally:
                with self._journal.hurried():
                    self.end_turn()

    def _keep(self, event: Event, model: str, *, durable: bool = True) -> None:
        match event:
            case TextDelta() | ThinkingDelta():
                self._keep_frame(event, model, durable=durable)
            case ToolFinished(result):
                self._keep_result(result)
            case MessageAdded(message):
                self._append(message)

    def _keep_frame(self, delta: TextDelta | ThinkingDelta, model: str, *, durable: bool) -> None:
        if not delta.text and not delta.extra:
            return
        kind = "text" if isinstance(delta, TextDelta) else "thinking"
        extra = {**(delta.extra or {}), **self._take_handle()}
        chunk = Chunk(kind, delta.part, delta.text, dump(extra) if extra else None)
        self._synced = time.monotonic() if durable else self._synced
        opened = self._open
        if opened is None:
            opened = self._open = self._begin(Message("assistant", (), model), chunk)
        else:
            self._journal.chunk(opened.id, len(opened.frames), chunk, durable=durable)
        opened.frames.append(chunk)
        opened.reply.add(delta)

    def _take_handle(self) -> dict[str, str]:
        """The handle, stored with the first frame so that a later run can find the answer again."""
        handle, self._handle = self._handle, ""
        return {KEPT_AS: handle} if handle else {}

    def _is_durable(self, event: Event) -> bool:
        """Whether to wait for the disk: for everything but frames, and for a frame now and then."""
        is_frame = isinstance(event, (TextDelta, ThinkingDelta)) and self._open is not None
        return not is_frame or time.monotonic() - self._synced >= SYNC_SECONDS

    def _keep_result(self, result: ToolResult) -> None:
        """Save a tool's result before the others finish: the tool may have changed something."""
        if self._open is None:
            self._open = self._begin(tool_message((result,)))
            return
        self._open.results.append(result)
        message = tool_message(tuple(self._open.results))
        self._journal.write(message_write("finish", message, id=self._open.id, state="streaming"))

    def _begin(self, message: Message, first: Chunk | None = None) -> OpenMessage:
        opened = OpenMessage(new_message_id(), message.model or "",
                             results=list(message.tool_results))
        parent = self._recent_ids[-1] if self._recent_ids else 0
        begun = message_write("add", message, session=self.id, id=opened.id, state="streaming",
                              parent=parent)
        if opened.results:
            self._journal.write(begun)
        else:
            self._journal.begin_reply(begun, first)     # which may reach the disk a little later
        return opened

    def _settle(self, finish: Finish) -> None:
        """Complete the message that the turn left open, with this reason for its end."""
        opened = self._open
        if opened is not None and not opened.results:
            self._append(opened.reply.broken(opened.model, finish))
            return
        answered = answer_calls(self._recent, opened.results if opened else ())
        if answered is not None:
            self._append(answered)

    def _all_writes(self) -> list[Write]:
        """All writes, including those of the message that is streaming."""
        return super()._all_writes() + (self._open.writes(self.id) if self._open is not None
                                        else [])


def open_session(store: Store | None, spool: str | Places = "", *, name: str | None = None,
                 newest: bool = False, model: str = "") -> Session:
    """A new session, the one called `name`, or the last one used. Raises SessionNotFound."""
    session = Session(store, spool, model=model)
    if name is None and not newest:
        return session
    if store is None:
        raise SessionNotFound("No session can be opened while saving is off.",
                              "Leave out --no-save.")
    row = store.find_session(name) if name is not None else store.last_session()
    if row is None:
        raise SessionNotFound("There are no saved sessions to continue.",
                              "Start a chat; it is saved by default.")
    if row.shelf == "trash":
        raise SessionNotFound(f"Session {row.short_name} is in the trash.",
                              f"Restore it: stream-chat --undelete {row.short_name}")
    session.resume(row, store)
    return session


__all__ = ["Recovered", "Session", "answer_calls", "format_session_lines", "list_sessions",
           "open_session", "recover", "select_session"]
