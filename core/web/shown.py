"""What the pages have of a conversation: the messages that are drawn at once,
and the events of the newest turn after them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from core.chat.conversation import Chat
from core.chat.so_far import price_so_far, replies_of, tokens_in_window, window_of
from core.dataclass import dataclass
from core.messages import Message
from core.web.desk import Desk, Desks
from core.web.event_log import EventLog
from core.web.page_events import PageEvent, stored_events

SHOWN = 40      # messages that a page gets at first; earlier ones when it asks for them


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a page draws at once, and the place from which it listens on."""

    events: list[PageEvent]
    place: str              # "epoch:number" of the last event that is in it
    first: int              # the place of the first message that is in it; 0: nothing is left out
    end: int                # the place after the last stored message that is in it


class Shown(EventLog):
    """A chat as its pages show it. Everything that happens in it is an event with a number."""

    def __init__(self, chat: Chat, desks: Desks) -> None:
        super().__init__()
        self.chat = chat
        self._desks = desks
        self._turn_first = 1                # the number of the first event of the newest turn
        self._before: list[Message] = list(chat.session.messages)   # the conversation before it
        self._shown = chat.session.ids  # the identities of what the pages have of the conversation
        self._saying = ""                   # the key of the queued message that is being asked
        # for these messages
        self._versions_of: tuple[tuple[int, ...], dict[int, PageEvent]] = ((), {})

    @property
    def running(self) -> bool:
        """Whether a turn runs, here or in another program."""
        return False

    def about(self) -> PageEvent:
        """What the page shows beside the messages."""
        session, replies = self.chat.session, replies_of(self.chat)
        return {"id": session.id, "title": session.title, "model": str(self.chat.target),
                "saved": session.saved,
                "used": tokens_in_window(replies), "window": window_of(self.chat),
                "cost": price_so_far(self.chat, replies)}

    def snapshot(self, before: int | None = None) -> Snapshot:
        """The newest messages and the turn that runs;
        with `before`, the messages in front of that place.
        """
        end = len(self._before) if before is None else max(0, min(before, len(self._before)))
        first = _turn_start(self._before, max(0, end - SHOWN))
        events = self._events_of(first, end)
        if before is None:
            events += self.since(self._turn_first)
            events.append(self._queue_event())
        return Snapshot(events, self.place, first, end)

    def later(self, start: int) -> Snapshot | None:
        """The messages from that place on, as far as a turn ends;
        None when only the newest are left.
        """
        if start + SHOWN // 2 >= len(self._before):
            return None
        end = _turn_start(self._before, min(start + SHOWN, len(self._before) - 1))
        if end <= start:    # one turn with more messages than that
            end = next((place for place in range(start + 1, len(self._before))
                        if self._before[place].role == "user"), len(self._before))
        return Snapshot(self._events_of(start, end), self.place, start, end)

    def _events_of(self, first: int, end: int) -> list[PageEvent]:
        return list(stored_events(self._before[first:end], first, self._files(), self._versions()))

    def _files(self) -> dict[int, list[str]]:
        """The names of the files that were sent with each message, by its place."""
        places = {f"{identity:032x}": place for place, identity in enumerate(self.chat.session.ids)}
        return {places[message]: list(map(os.path.basename, paths))
                for message, paths in self._desk().files if message in places}

    def _versions(self) -> dict[int, PageEvent]:
        """The versions of each message that has several, by its place."""
        session = self.chat.session
        if self._versions_of[0] != session.ids:
            tree = session.tree() if session.ids and session.has_hidden() else None
            found = ({place: tree.versions(identity) for place, identity in enumerate(session.ids)}
                     if tree else {})
            self._versions_of = (session.ids,
                                 {place: {"at": each.at,
                                          "ids": [f"{identity:032x}" for identity in each.ids]}
                                  for place, each in found.items() if len(each.ids) > 1})
        return self._versions_of[1]

    def catch_up(self) -> bool:
        """Let every page draw anew what a command, or another program,
        changed in the conversation, if anything.
        """
        session = self.chat.session
        if self.running or self._shown == session.ids:
            return False
        self._before, self._shown = list(session.messages), session.ids
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


def _turn_start(messages: Sequence[Message], place: int) -> int:
    """The place at or before `place` where a turn begins:
    a reply is never drawn without its question.
    """
    while place > 0 and messages[place].role != "user":
        place -= 1
    return place
