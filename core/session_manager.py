"""A conversation that is saved while it happens: what was sent or shown is in the store before it is sent or shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from core.errors import SessionGone, SessionNotFound, UsageError
from core.events import Event, MessageAdded, ModelChanged, Notice, TextDelta, ThinkingDelta, ToolFinished
from core.messages import Finish, Message, ToolResult, tool_message
from core.safe_text import safe_line
from core.sessions.listing import format_session_lines, list_sessions, select_session
from core.sessions.reply import Reply, missing_results
from core.sessions.spool import Journal, Places, Write, chunk_write, drain_spool, message_write
from core.store.message_json import dump, message_to_dict
from db import Chunk, SessionRow, Store, Unfinished, new_message_id, new_session_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.window.compaction import Plan

State = Literal["streaming", "complete", "interrupted", "truncated", "failed"]
_STATES: dict[str | None, State] = {"interrupted": "interrupted", "truncated": "truncated", "incomplete": "truncated",
                                    "error": "failed"}
SYNC_SECONDS = 0.25      # the most of a streaming reply that a power cut can take


@dataclass(slots=True)
class _Open:
    """A message that is in the store but not whole: the reply that streams, or the results of tools that run."""

    id: int
    model: str
    reply: Reply = field(default_factory=Reply)
    results: list[ToolResult] = field(default_factory=list)
    frames: list[Chunk] = field(default_factory=list)   # what the store was given of the reply

    def writes(self, session: str) -> list[Write]:
        begun = tool_message(tuple(self.results)) if self.results else Message("assistant", (), self.model)
        return [message_write("add", begun, session=session, id=self.id, state="streaming"),
                *(chunk_write(self.id, seq, chunk) for seq, chunk in enumerate(self.frames))]


class Session:
    """One conversation. `messages` is what the model is to see; with `store` None nothing is written anywhere.

    The session gets its row in the store with its first message, so a chat that was opened and left leaves nothing.
    `spool` is the directory for what the store refuses.
    """

    def __init__(self, store: Store | None, spool: str | Places = "", *, model: str = "") -> None:
        self.id = new_session_id(time.time())
        self.title = ""
        self.model = model
        self.messages: list[Message] = []
        self._ids: list[int] = []
        self._journal = Journal(store, spool) if store is not None else None
        if self._journal is not None:
            self._journal.everything = self._all_writes
        self._before: list[tuple[list[Message], list[int]]] = []    # the conversation before each summary
        self._stored = False
        self._open: _Open | None = None
        self._synced = 0.0

    @property
    def saved(self) -> bool:
        """Whether everything so far is in the store. False with --no-save."""
        return self._journal is not None and self._journal.saved

    @property
    def store(self) -> Store | None:
        """Where it is kept, while everything so far is there."""
        return self._journal.store if self._journal is not None and self._journal.saved else None

    def take_news(self) -> list[str]:
        """What the person should be told about saving (NOT SAVED ..., Saved again ...), once each."""
        if self._journal is None:
            return []
        news, self._journal.news = self._journal.news, []
        return news

    def resume(self, row: SessionRow, store: Store) -> None:
        """Become the saved session `row`."""
        self.id, self.title, self.model = row.id, row.title, row.model or self.model
        stored = [entry for entry in store.load_messages(row.id) if entry.state != "streaming"]
        self.messages, self._ids = [entry.message for entry in stored], [entry.id for entry in stored]
        self._stored = True
        if self._journal is not None:
            self._journal.known(row.id, row.title, row.model, row.created)

    def set_model(self, model: str) -> None:
        self.model = model
        self._update(model=model)

    def set_title(self, title: str) -> None:
        self.title = title
        self._update(title=title)

    def _update(self, *, title: str | None = None, model: str | None = None) -> None:
        if self._journal is not None and self._stored:
            self._journal.write({"do": "update", "session": self.id, "title": title, "model": model})

    def add_user(self, message: Message) -> None:
        """Add what the person says, saved before anything is sent. Also the moment to try a store that failed again."""
        if self._journal is not None:
            if not self._journal.drain():
                self._journal.remind()
        unanswered = missing_results(self.messages)
        if unanswered is not None:
            self._append(unanswered)
        self._append(message)

    def _append(self, message: Message) -> None:
        """Add a whole message, in place of the open one if there is one."""
        opened = self._open
        identity = opened.id if opened else new_message_id()
        if self._journal is not None and not self._stored:
            self._stored = True
            self.title = self.title or title_of(message)
            self._journal.create(self.id, self.title, self.model, time.time(), identity, message)
        elif self._journal is not None:
            state = _STATES.get(message.finish, "complete")
            do = "finish" if opened else "add"
            self._journal.write(message_write(do, message, session=self.id, id=identity, state=state))
        self._open = None
        self.messages.append(message)
        self._ids.append(identity)

    async def record(self, events: AsyncGenerator[Event, None], model: str = "") -> AsyncGenerator[Event, None]:
        """Pass a turn's events on, each saved before it is yielded. `model` answers first, where another stands in for ours.

        However the turn ends, what came is kept: an interrupted reply becomes a message, and calls that got no result
        get one. That happens at once, without waiting for anything.
        """
        model = model or self.model
        async with aclosing(events) as stream:
            try:
                for text in self.take_news():
                    yield Notice(text)
                async for event in stream:
                    model = event.new if isinstance(event, ModelChanged) else model
                    self._keep(event, model)
                    for text in self.take_news():
                        yield Notice(text)
                    yield event
            except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
                self._settle("interrupted")
                raise
            except BaseException:
                self._settle("error")
                raise

    def _keep(self, event: Event, model: str) -> None:
        match event:
            case TextDelta() | ThinkingDelta():
                self._keep_frame(event, model)
            case ToolFinished(result):
                self._keep_result(result)
            case MessageAdded(message):
                self._append(message)

    def _keep_frame(self, delta: TextDelta | ThinkingDelta, model: str) -> None:
        if not delta.text and not delta.extra:
            return
        if self._open is None:
            self._open = self._begin(Message("assistant", (), model))
        opened = self._open
        if self._journal is not None:
            kind = "text" if isinstance(delta, TextDelta) else "thinking"
            chunk = Chunk(kind, delta.part, delta.text, dump(delta.extra) if delta.extra else None)
            now = time.monotonic()
            durable = now - self._synced >= SYNC_SECONDS
            self._synced = now if durable else self._synced
            self._journal.chunk(opened.id, len(opened.frames), chunk, durable=durable)
            opened.frames.append(chunk)
        opened.reply.add(delta)

    def _keep_result(self, result: ToolResult) -> None:
        """A finished tool may have changed the world, so its result is saved before the others are in."""
        if self._open is None:
            self._open = self._begin(tool_message(()))
        self._open.results.append(result)
        if self._journal is not None:
            message = tool_message(tuple(self._open.results))
            self._journal.write(message_write("finish", message, id=self._open.id, state="streaming"))

    def _all_writes(self) -> list[Write]:
        """The whole conversation as writes: a store where it was deleted under us has none of it any more."""
        known = self._known()
        summarised = [identity for identity in known if identity not in set(self._ids)]
        writes: list[Write] = [{"do": "update", "session": self.id, "title": self.title, "model": self.model}]
        writes += [message_write("add", message, session=self.id, id=identity, state=_STATES.get(message.finish, "complete"))
                   for identity, message in known.items()]
        if summarised:
            writes.append({"do": "hide", "session": self.id, "ids": summarised})
        return writes + (self._open.writes(self.id) if self._open is not None else [])

    def _known(self) -> dict[int, Message]:
        """All messages by ID, each summary at the place of what it stands for."""
        if not self._before:
            return dict(zip(self._ids, self.messages))
        order: list[int] = []
        known: dict[int, Message] = {}
        for messages, identities in (*self._before, (self.messages, self._ids)):
            place = 0
            for identity, message in zip(identities, messages):
                place = order.index(identity) if identity in known else place
                order[place:place] = [] if identity in known else [identity]
                known[identity] = message
                place += 1
        return {identity: known[identity] for identity in order}

    def _begin(self, message: Message) -> _Open:
        opened = _Open(new_message_id(), message.model or "")
        if self._journal is not None:
            self._journal.write(message_write("add", message, session=self.id, id=opened.id, state="streaming"))
        return opened

    def _settle(self, finish: Finish) -> None:
        """Close what a turn left open."""
        opened = self._open
        if opened is not None and not opened.results:
            self._append(opened.reply.broken(opened.model, finish))
            return
        answered = answer_calls(self.messages, opened.results if opened else ())
        if answered is not None:
            self._append(answered)

    def retry(self) -> Message | None:
        """Take back all that followed the last message of the person, and return that message; None if there is none."""
        last = max((place for place, message in enumerate(self.messages) if message.role == "user"), default=None)
        if last is None:
            return None
        dropped = self._ids[last + 1:]
        del self.messages[last + 1:], self._ids[last + 1:]
        if dropped and self._journal is not None:
            self._journal.write({"do": "hide", "session": self.id, "ids": dropped})
        return self.messages[last]

    @property
    def pinned(self) -> tuple[int, ...]:
        """The places of the messages that are neither summarised nor left out."""
        from core.window.compaction import is_pinned
        return tuple(place for place, message in enumerate(self.messages) if is_pinned(message))

    def pin(self, place: int, *, on: bool = True) -> None:
        """Pin a message, or no more; kept with the session."""
        from core.window.compaction import pin
        message = pin(self.messages[place], on=on)
        self.messages[place] = message
        if self._journal is not None:
            state = _STATES.get(message.finish, "complete")
            self._journal.write(message_write("finish", message, id=self._ids[place], state=state))

    def compact(self, plan: Plan, reply: Message) -> None:
        """Put a summary in the place of the messages that the plan names. Raises UsageError when the reply is none."""
        from core.window.compaction import replace_places, summary_messages
        hidden = [self._ids[place] for place in plan.hidden]
        pair = summary_messages(plan, reply, hidden)
        first = new_message_id()
        self._before.append((list(self.messages), list(self._ids)))
        self.messages = replace_places(self.messages, plan.hidden, pair)
        self._ids = replace_places(self._ids, plan.hidden, (first, first + 1))
        if self._journal is not None:
            self._journal.write({"do": "replace", "session": self.id, "hidden": hidden,
                                 "added": [[first, message_to_dict(pair[0])], [first + 1, message_to_dict(pair[1])]]})

    def uncompact(self) -> int:
        """Bring back what the newest summary stands for; returns how many messages. Raises UsageError and StoreError."""
        from core.window.compaction import compacted_ids, find_summary
        place = find_summary(self.messages)
        if place is None:
            raise UsageError("Nothing is summarised in this conversation.")
        shown, summary = compacted_ids(self.messages[place]), self._ids[place:place + 2]
        whole = self._whole(shown)
        if self._journal is not None:
            self._journal.write({"do": "restore", "session": self.id, "shown": list(shown), "hidden": summary})
        later = [entry for entry in zip(self.messages, self._ids) if entry[1] not in whole and entry[1] not in summary]
        now = dict(zip(self._ids, self.messages))
        kept = [(now.get(identity, message), identity) for identity, message in whole.items()
                if identity in shown or identity in now and identity not in summary]
        self.messages, self._ids = [entry[0] for entry in (*kept, *later)], [entry[1] for entry in (*kept, *later)]
        return len(shown)

    def _whole(self, shown: Sequence[int]) -> dict[int, Message]:
        """The conversation, by ID, as it was when these messages were in it."""
        for messages, identities in reversed(self._before):
            if set(shown) <= set(identities):
                return dict(zip(identities, messages))
        stored = self.store.load_messages(self.id, hidden=True) if self.store is not None else []
        found = {entry.id: entry.message for entry in stored}
        if not set(shown) <= set(found):
            raise UsageError("What was summarised is not in this session.", "It is in the one that this was branched from.")
        return found

    def add_reply(self, message: Message) -> None:
        """Take in a reply that was made elsewhere (in a branch)."""
        self._append(message)

    def branch(self, title: str, model: str, beginning: int) -> Session:
        """A new session that starts with this one's first messages, kept as its child. Raises StoreError."""
        kept = self._journal
        child = Session(kept.store if kept else None, kept.places if kept else "", model=model)
        child.title, child.messages = title, self.messages[:beginning]
        first = new_message_id()
        child._ids = list(range(first, first + len(child.messages)))
        if child._journal is not None:
            created = time.time()
            child._journal.store.create_branch(self.id, child.id, title, model, created, list(zip(child._ids, child.messages)))
            child._journal.known(child.id, title, model, created)
            child._stored = True
        return child

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    @property
    def last_words(self) -> str:
        """What to say at the end about what is not saved; empty when all is, or nothing is to be."""
        return self._journal.last_words() if self._journal is not None else ""

    @property
    def lost(self) -> bool:
        """Whether something that should be saved is in memory only."""
        return self._journal is not None and not self._journal.saved and not self._journal.kept_in


def answer_calls(messages: Sequence[Message], results: Sequence[ToolResult]) -> Message | None:
    """Results for all calls of the last reply: those that came, in the order of the calls, and a stand-in for the others."""
    if not messages or not messages[-1].tool_calls:
        return None
    waiting = list(results)
    answers = []
    for call in messages[-1].tool_calls:
        found = next((result for result in waiting if result.id == call.id), None)
        if found is not None:
            waiting.remove(found)
        answers.append(found or ToolResult(call.id, call.name, "Interrupted before it finished.", True))
    return tool_message(tuple(answers))


def title_of(message: Message) -> str:
    """The first line with words in it, shortened."""
    return next((safe_line(line.strip(), 80) for line in message.text.split("\n") if line.strip()), "(no text)")


def open_session(store: Store | None, spool: str | Places = "", *, name: str | None = None, newest: bool = False,
                 model: str = "") -> Session:
    """A new session, the one called `name`, or the newest. Raises SessionNotFound."""
    session = Session(store, spool, model=model)
    if name is None and not newest:
        return session
    if store is None:
        raise SessionNotFound("No session can be opened while saving is off.", "Leave out --no-save.")
    rows = [store.find_session(name)] if name is not None else store.sessions(1)
    if not rows:
        raise SessionNotFound("There are no saved sessions to go on with.", "Start a chat; it is saved by default.")
    session.resume(rows[0], store)
    return session


@dataclass(frozen=True, slots=True)
class Recovered:
    """A reply that a program which was killed left behind, saved now as far as it came."""

    session_id: str
    message_id: int
    message: Message


def recover(store: Store, spool: str | Places = "", news: list[str] | None = None) -> list[Recovered]:
    """Save what earlier runs could not, and close what they left half-written. Replies of programs that run are not touched.

    `news` gets a line for each file that still holds something afterwards.
    """
    left = drain_spool(store, spool, news) if spool else []
    found = (unfinished for unfinished in store.unfinished() if not any(f"{unfinished.session_id}-" in path for path in left))
    return [recovered for unfinished in found for recovered in _fold(store, unfinished)]


def _fold(store: Store, unfinished: Unfinished) -> Iterator[Recovered]:
    stored = unfinished.stored
    if stored.message.role == "tool":
        before = [entry.message for entry in store.load_messages(unfinished.session_id) if entry.id != stored.id]
        message = answer_calls(before, stored.message.tool_results) or stored.message
    else:
        message = _reply_of(unfinished.chunks).broken(stored.message.model or "", "interrupted")
    try:
        store.finish_message(stored.id, message, "interrupted")
    except SessionGone:
        return      # deleted by another program in this moment
    if message.role == "assistant" and not message.parts:
        store.hide_messages(unfinished.session_id, [stored.id])
        return
    yield Recovered(unfinished.session_id, stored.id, message)


def _reply_of(chunks: Sequence[Chunk]) -> Reply:
    reply = Reply()
    for chunk in chunks:
        kind = TextDelta if chunk.kind == "text" else ThinkingDelta
        reply.add(kind(chunk.text, chunk.part, json.loads(chunk.extra) if chunk.extra else None))
    return reply


__all__ = ["Recovered", "Session", "answer_calls", "format_session_lines", "list_sessions", "open_session", "recover",
           "select_session", "title_of"]
