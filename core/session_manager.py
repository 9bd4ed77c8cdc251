"""A conversation that is saved while it happens: what was sent or shown is in the store before it is sent or shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from core.errors import SessionNotFound, UsageError
from core.events import Event, MessageAdded, ModelChanged, Notice, TextDelta, ThinkingDelta, ToolFinished
from core.messages import Finish, Message, ToolResult, tool_message
from core.safe_text import safe_line
from core.sessions.journal import Journal, NoJournal
from core.sessions.listing import format_session_lines, list_sessions, select_session
from core.sessions.open_message import OpenMessage
from core.sessions.opening import answer_calls, open_conversation
from core.sessions.recovery import Recovered, recover, recover_session
from core.sessions.reply import missing_results
from core.sessions.spool import Places
from core.sessions.summaries import Summaries
from core.sessions.writes import Write, message_write
from core.store.identity import new_message_id, new_message_ids, new_session_id, new_session_name
from core.store.message_json import dump, message_to_dict
from core.store.rows import Chunk, SessionRow
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import State
    from core.window.compaction import Plan

_STATES: dict[str | None, State] = {"interrupted": "interrupted", "truncated": "truncated", "incomplete": "truncated",
                                    "error": "failed"}
SYNC_SECONDS = 0.25      # the most of a streaming reply that a power cut can take
LOOK_SECONDS = 0.1       # how often another program's turn is looked at while it is waited for


class Session:
    """One conversation. `messages` is what the model is to see; with `store` None nothing is written anywhere.

    The session gets its row in the store with its first message, so a chat that was opened and left leaves nothing.
    `spool` is the directory for what the store refuses.
    """

    def __init__(self, store: Store | None, spool: str | Places = "", *, model: str = "") -> None:
        self.id, self.name = new_session_id(), new_session_name(time.time())
        self.title = ""
        self.model = model
        self.settings = ""     # what belongs to it beside its messages, as it is stored
        self.messages: list[Message] = []
        self._ids: list[int] = []
        self._journal = NoJournal() if store is None else Journal(store, spool, self._all_writes)
        self._summaries = Summaries()
        self._unreadable: frozenset[int] = frozenset()
        self._news: list[str] = []
        self._stored = False
        self._open: OpenMessage | None = None
        self._synced = 0.0
        self._seen = 0.0     # when the stored session had changed last, as far as this program knows

    @property
    def saved(self) -> bool:
        """Whether everything so far is in the store. False with --no-save."""
        return self._journal.saved

    @property
    def store(self) -> Store | None:
        """Where it is kept, while everything so far is there."""
        return self._journal.store

    @property
    def last_words(self) -> str:
        """What to say at the end about what is not saved; empty when all is, or nothing is to be."""
        return self._journal.last_words

    @property
    def lost(self) -> bool:
        """Whether something that should be saved is in memory only."""
        return self._journal.lost

    def take_news(self) -> list[str]:
        """What the user should know about saving (NOT SAVED ..., Saved again ...), once each."""
        news, self._news = self._news + self._journal.take_news(), []
        return news

    def close(self) -> None:
        self.end_turn()
        self._journal.close()

    # ---- opening and branching

    def resume(self, row: SessionRow, store: Store) -> None:
        """Become the saved session `row`."""
        self.id, self.name, self.title, self.model = row.id, row.name, row.title, row.model or self.model
        self.settings = store.session_settings(row.id)
        self._stored, self._seen = True, row.updated
        self._load(store)
        self._journal.known(row.id, row.name, row.title, row.model, row.created)

    def _load(self, store: Store) -> None:
        opened = open_conversation(store.load_messages(self.id))
        if opened.note and opened.unreadable != self._unreadable:
            self._news.append(opened.note)
        if opened.ids != self._ids:
            self._summaries.clear()
        if opened.streams:
            self._seen = 0.0     # to be loaded again when it is our turn
        self.messages, self._ids, self._unreadable = opened.messages, opened.ids, opened.unreadable

    def branch(self, title: str, model: str, beginning: int) -> Session:
        """A new session that starts with this one's first messages, kept as its child. Raises StoreError."""
        child = Session(None, model=model)
        child.title, child.messages = title, self.messages[:beginning]
        child._ids = new_message_ids(len(child.messages))
        child._write_to(self._journal.another())
        child._journal.branch(self.id, child.id, child.name, title, model, list(zip(child._ids, child.messages)))
        child._stored = child._journal.saved
        child.keep_settings(self.settings)
        return child

    def keep(self) -> None:
        """Become a new session with this conversation, after its session was deleted. Raises UsageError and StoreError."""
        if not self._journal.deleted:
            raise UsageError("This session is saved already." if self.saved else "This session was not deleted.")
        copy = self.branch(self.title, self.model, len(self.messages))
        self.id, self.name, self._ids = copy.id, copy.name, copy._ids
        self._summaries.clear()
        self._write_to(copy._journal)

    def _write_to(self, journal: NoJournal) -> None:
        if isinstance(journal, Journal):
            journal.everything = self._all_writes
        self._journal = journal

    # ---- whose turn it is

    async def begin_turn(self) -> AsyncGenerator[Notice, None]:
        """Wait while another program's turn runs in this session, then own the next one and take in what others added."""
        waiting = False
        while self._stored and not self._journal.begin_turn(self.id):
            if not waiting:
                yield Notice("Another program is answering in this session; your message waits until it has finished.")
            waiting = True
            await asyncio.sleep(LOOK_SECONDS)
        self._take_in()

    def _take_in(self) -> None:
        """Load the conversation again if another program changed it."""
        store = self._journal.store
        if store is None or not self._stored or self._journal.changed(self.id) == self._seen:
            return
        before = self._ids
        recover_session(store, self.id)
        self._load(store)
        if self._ids[:len(before)] != before:
            self._news.append("Another program changed this conversation; it is loaded again.")
        elif len(self._ids) > len(before):
            self._news.append(f"Another program added {len(self._ids) - len(before)} messages to this conversation.")

    def end_turn(self) -> None:
        """Let others have the next turn."""
        if self._stored:
            self._seen = self._journal.end_turn(self.id)

    @contextmanager
    def _between_turns(self) -> Iterator[None]:
        """Change the conversation while no program's turn runs in it. Raises UsageError."""
        if self._stored and not self._journal.begin_turn(self.id):
            raise UsageError("Another program is answering in this session.", "Try again when it has finished.")
        try:
            yield
        finally:
            self.end_turn()

    # ---- what is said

    def set_model(self, model: str) -> None:
        self.model = model
        if self._stored:
            self._journal.write({"do": "update", "session": self.id, "title": None, "model": model})

    def keep_settings(self, text: str) -> None:
        """Store what belongs to the session beside its messages (core/chat/kept.py)."""
        if text != self.settings and self._stored:
            self.settings = text
            self._journal.write({"do": "update", "session": self.id, "title": None, "model": None, "settings": text})

    def set_title(self, title: str) -> None:
        """Name the session otherwise. Without a message yet, the title comes with the first."""
        self.title = title
        if self._stored:
            self._journal.write({"do": "update", "session": self.id, "title": title, "model": None})

    def add_user(self, message: Message) -> None:
        """Add what the user says, saved before anything is sent. Also the moment to try a store that failed again."""
        self._journal.retry()
        unanswered = missing_results(self.messages)
        if unanswered is not None:
            self._append(unanswered)
        self._append(message)

    def add_reply(self, message: Message) -> None:
        """Take in a reply that was made elsewhere (in a branch)."""
        self._append(message)

    def _append(self, message: Message) -> None:
        """Add a complete message, in place of the open one if there is one."""
        opened = self._open
        identity = opened.id if opened else new_message_id()
        if not self._stored:
            self.title = self.title or title_of(message)
            self._journal.begin(self.id, self.name, self.title, self.model, identity, message)
            self._stored = True
            self._journal.begin_turn(self.id)
        else:
            do = "finish" if opened else "add"
            self._journal.write(message_write(do, message, session=self.id, id=identity, state=_state(message)))
        self._open = None
        self.messages.append(message)
        self._ids.append(identity)

    async def record(self, events: AsyncGenerator[Event, None], model: str = "") -> AsyncGenerator[Event, None]:
        """Pass a turn's events on, each saved before it is yielded. `model` answers first, where another stands in for ours.

        However the turn ends, what was received is kept: an interrupted reply becomes a message, and calls that got no
        result get one. That happens at once, without waiting for anything.
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
            finally:
                self.end_turn()

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
        message = tool_message(tuple(self._open.results))
        self._journal.write(message_write("finish", message, id=self._open.id, state="streaming"))

    def _begin(self, message: Message) -> OpenMessage:
        opened = OpenMessage(new_message_id(), message.model or "")
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

    def _all_writes(self) -> list[Write]:
        """The whole conversation as writes, for a store that has none of it any more."""
        known = self._summaries.everything(self.messages, self._ids)
        summarised = [identity for identity in known if identity not in set(self._ids)]
        writes: list[Write] = [{"do": "update", "session": self.id, "title": self.title, "model": self.model,
                                "settings": self.settings}]
        writes += [message_write("add", message, session=self.id, id=identity, state=_state(message))
                   for identity, message in known.items()]
        if summarised:
            writes.append({"do": "hide", "session": self.id, "ids": summarised})
        return writes + (self._open.writes(self.id) if self._open is not None else [])

    # ---- what is taken back, pinned or summarised

    def retry(self) -> Message | None:
        """Take back all that followed the last message of the user, and return that message; None if there is none."""
        last = max((place for place, message in enumerate(self.messages) if message.role == "user"), default=None)
        if last is None:
            return None
        dropped = self._ids[last + 1:]
        if dropped:
            with self._between_turns():
                self._journal.write({"do": "hide", "session": self.id, "ids": dropped})
        del self.messages[last + 1:], self._ids[last + 1:]
        return self.messages[last]

    def rewind(self, place: int) -> Message:
        """End the conversation before a message of the user, to say something else there; returns that message.

        What followed stays in the store. Raises UsageError for a message of another.
        """
        if not 0 <= place < len(self.messages) or self.messages[place].role != "user":
            raise UsageError("Only your own messages can be edited.", "/retry asks for another answer.")
        message = self.messages[place]
        with self._between_turns():
            self._journal.write({"do": "hide", "session": self.id, "ids": self._ids[place:]})
        del self.messages[place:], self._ids[place:]
        return message

    @property
    def pinned(self) -> tuple[int, ...]:
        """The places of the messages that are neither summarised nor left out."""
        from core.window.compaction import is_pinned
        return tuple(place for place, message in enumerate(self.messages) if is_pinned(message))

    def pin(self, place: int, *, on: bool = True) -> None:
        """Pin a message, or undo that; kept with the session."""
        from core.window.compaction import pin
        if self._ids[place] in self._unreadable:
            raise UsageError("A message that cannot be read in full cannot be pinned.")
        message = pin(self.messages[place], on=on)
        with self._between_turns():
            self._journal.write(message_write("finish", message, id=self._ids[place], state=_state(message)))
        self.messages[place] = message

    def compact(self, plan: Plan, reply: Message) -> None:
        """Put a summary in the place of the messages that the plan names. Raises UsageError when the reply is none."""
        from core.window.compaction import replace_places, summary_messages
        hidden = [self._ids[place] for place in plan.hidden]
        pair = summary_messages(plan, reply, hidden)
        first, second = new_message_ids(2)
        self._summaries.note(self.messages, self._ids)
        self.messages = replace_places(self.messages, plan.hidden, pair)
        self._ids = replace_places(self._ids, plan.hidden, (first, second))
        self._journal.write({"do": "replace", "session": self.id, "hidden": hidden,
                             "added": [[first, message_to_dict(pair[0])], [second, message_to_dict(pair[1])]]})

    def uncompact(self) -> int:
        """Bring back what the newest summary stands for; returns how many messages. Raises UsageError and StoreError."""
        from core.window.compaction import compacted_ids, find_summary
        place = find_summary(self.messages)
        if place is None:
            raise UsageError("Nothing is summarised in this conversation.")
        shown, summary = compacted_ids(self.messages[place]), self._ids[place:place + 2]
        earlier = self._summaries.with_these(shown) or self._stored_with(shown)
        with self._between_turns():
            self._journal.write({"do": "restore", "session": self.id, "shown": list(shown), "hidden": summary})
        later = [entry for entry in zip(self.messages, self._ids) if entry[1] not in earlier and entry[1] not in summary]
        now = dict(zip(self._ids, self.messages))
        kept = [(now.get(identity, message), identity) for identity, message in earlier.items()
                if identity in shown or identity in now and identity not in summary]
        self.messages, self._ids = [entry[0] for entry in (*kept, *later)], [entry[1] for entry in (*kept, *later)]
        return len(shown)

    def _stored_with(self, shown: tuple[int, ...]) -> dict[int, Message]:
        """The stored conversation, by ID, that has all of these messages."""
        stored = self.store.load_messages(self.id, hidden=True) if self.store is not None else []
        found = {entry.id: entry.message for entry in stored}
        if not set(shown) <= set(found):
            raise UsageError("What was summarised is not in this session.", "It is in the one that this was branched from.")
        return found


def _state(message: Message) -> State:
    return _STATES.get(message.finish, "complete")


def title_of(message: Message) -> str:
    """The first line with words in it, shortened."""
    return next((safe_line(line.strip(), 80) for line in message.text.split("\n") if line.strip()), "(no text)")


def open_session(store: Store | None, spool: str | Places = "", *, name: str | None = None, newest: bool = False,
                 model: str = "") -> Session:
    """A new session, the one called `name`, or the last used. Raises SessionNotFound."""
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


__all__ = ["Recovered", "Session", "answer_calls", "format_session_lines", "list_sessions", "open_session", "recover",
           "select_session", "title_of"]
