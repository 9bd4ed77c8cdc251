"""What pages show of a conversation: a snapshot of messages, and the events of the newest turn
after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from core.chat.conversation import Chat
from core.chat.so_far import price_so_far, replies_of, tokens_in_window, window_of
from core.dataclass import dataclass
from core.errors import StoreError
from core.sessions.moment import Entry, Moment
from core.web.conversation.desk import Desk, Desks
from core.web.conversation.event_log import EventLog
from core.web.conversation.events import PageEvent, stored_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.sessions.tree import Tree

SHOWN = 40      # messages in the first snapshot; earlier ones on request
ABOVE = 10      # messages before the place in a snapshot around it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The messages that a page draws, and the place after which it listens for events."""

    events: list[PageEvent]
    place: str              # "epoch:number" of the last included event
    first: int              # place of the first included message; 0: nothing before it
    end: int                # place after the last included stored message
    newest: bool            # whether it includes the newest messages


class Shown(EventLog):
    """A chat as shown on pages. Everything that happens in it is a numbered event."""

    def __init__(self, chat: Chat, desks: Desks) -> None:
        super().__init__()
        self.chat = chat
        self._desks = desks
        self._turn_first = 1                # number of the newest turn's first event
        self._before = chat.session.moment()    # the conversation before that turn
        # the conversation as pages have it; None: they must redraw
        self._shown: Moment | None = self._before
        self._first_words = ""      # the title until the session has one: of what is asked first
        self._saying = ""                   # key of the queued message being sent
        self._tree: tuple[Moment, Tree | None] | None = None    # a snapshot of that moment

    @property
    def running(self) -> bool:
        """Whether a turn is running, here or in another program."""
        return False

    def about(self) -> PageEvent:
        """The event with what the page shows beside the messages."""
        session, replies = self.chat.session, replies_of(self.chat)
        return {"id": session.id, "title": session.title or self._first_words,
                "model": str(self.chat.target),
                "saved": session.saved,
                "used": tokens_in_window(replies), "window": window_of(self.chat),
                "cost": price_so_far(self.chat, replies)}

    def snapshot(self) -> Snapshot:
        """Return a snapshot of the newest messages and the running turn."""
        try:
            return self._newest(self._before.turn_start(max(0, self._before.count - SHOWN)))
        except StoreError:      # reported when something is saved
            return self._newest(self._before.waiting)

    def earlier(self, before: int) -> Snapshot:
        """Return a snapshot of the messages before that place. Raises StoreError."""
        end = max(0, min(before, self._before.count))
        return self._stretch(self._before.turn_start(max(0, end - SHOWN)), end)

    def later(self, start: int) -> Snapshot | None:
        """Return a snapshot of the messages from that place up to the end of a turn; None if only
        the newest are left. Raises StoreError.
        """
        if start + SHOWN // 2 >= self._before.count:
            return None
        end = self._before.turn_start(min(start + SHOWN, self._before.count - 1))
        return self._stretch(start, end if end > start else self._before.turn_end(start))

    def around(self, place: int) -> Snapshot:
        """Return a snapshot of the messages around that place, and the queue. Raises StoreError."""
        if place >= self._before.count - SHOWN:
            return self.snapshot()
        start = self._before.turn_start(max(0, place - ABOVE))
        end = self._before.turn_end(min(place + SHOWN - ABOVE, self._before.count - 1))
        if end >= self._before.count:
            return self._newest(start)
        found = self._stretch(start, end)
        found.events.append(self._queue_event())
        return found

    def place_of(self, identity: int) -> int:
        """Return the place of a message; an unknown one counts as the newest. Raises StoreError."""
        place = self._before.place_of(identity)
        return self._before.count if place is None else place

    def _newest(self, first: int) -> Snapshot:
        """Return a snapshot from that place to the end."""
        end = self._before.count
        events = [*self._events_of(first, end), *self.since(self._turn_first), self._queue_event()]
        return Snapshot(events, self.place, first, end, True)

    def _stretch(self, first: int, end: int) -> Snapshot:
        return Snapshot(self._events_of(first, end), self.place, first, end, False)

    def _events_of(self, first: int, end: int) -> list[PageEvent]:
        entries = self._before.part(first, end)
        return list(stored_events([message for _, message in entries], first,
                                  self._files(first, entries), self._versions(first, entries)))

    def _files(self, first: int, entries: Iterable[Entry]) -> dict[int, list[str]]:
        """Return the names of files sent with these messages, by place."""
        sent = {message: list(map(os.path.basename, paths))
                for message, paths in self._desk().files}
        keys = ((place, f"{identity:032x}") for place, (identity, _) in enumerate(entries, first))
        return {place: sent[key] for place, key in keys if key in sent}

    def _versions(self, first: int, entries: Iterable[Entry]) -> dict[int, PageEvent]:
        """Return the versions of these messages, by place, for those that have several."""
        tree = self._tree_now()
        if tree is None:
            return {}
        found = ((place, tree.versions(identity))
                 for place, (identity, _) in enumerate(entries, first) if identity in tree.entries)
        return {place: {"at": each.at, "ids": [f"{identity:032x}" for identity in each.ids]}
                for place, each in found if len(each.ids) > 1}

    def _loaded_versions(self) -> dict[int, PageEvent]:
        """Return the versions of the loaded messages; others have not changed."""
        moment = self.chat.session.moment()
        return self._versions(moment.waiting, zip(moment.ids, moment.messages))

    def _tree_now(self) -> Tree | None:
        """Return the session's tree; None if it has no hidden messages or cannot be read."""
        session = self.chat.session
        now = session.moment()
        if self._tree is None or not self._tree[0].is_same(now):
            try:
                hidden = bool(now.count) and session.has_hidden()
                self._tree = now, session.outline() if hidden else None
            except StoreError:
                return None
        return self._tree[1]

    def catch_up(self) -> bool:
        """Make all pages redraw if a command or another program changed the conversation; return
        whether it did.
        """
        now = self.chat.session.moment()
        if self.running or self._shown is not None and self._shown.is_same(now):
            return False
        self._before = self._shown = now
        self.publish({"type": "redraw"})
        self._turn_first = self.next_number
        return True

    # ---- the desk

    def _desk(self) -> Desk:
        return self._desks.read(self.chat.session.id)

    def _set_desk(self, desk: Desk) -> None:
        self._desks.write(self.chat.session.id, desk)

    def _queue_event(self) -> PageEvent:
        desk = self._desk()
        return {"type": "queue", "held": desk.held,
                "items":
                [{"key": entry.key, "text": entry.text,
                  "files": list(map(os.path.basename, entry.files))}
                 for entry in desk.queue if entry.key != self._saying]}
