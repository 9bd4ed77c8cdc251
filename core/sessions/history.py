"""Changes a conversation: undo, redo, edit, branch, pin and summarise. Nothing is overwritten."""

from __future__ import annotations

import time

from core.errors import UsageError
from core.messages import Message
from core.sessions.loaded import state_of
from core.sessions.opened_session import OpenedSession
from core.sessions.summary import (
    compacted_ids, find_summary, pin, pinned_places, replace_places, summary_messages)
from core.sessions.writes import message_write
from core.store.identity import new_message_ids
from core.store.message_json import message_to_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from core.sessions.tree import Branch, Tree, Versions
    from core.window.compaction import Plan
    from db import Store


class History(OpenedSession):
    """The methods of a session that change which messages it shows.

    Each raises UsageError while another program is answering in the session.
    """

    def tree(self) -> Tree:
        """Return the tree of all messages of this session, including hidden ones."""
        from core.sessions.tree import Tree
        store = self.store
        if store is not None and self._stored:
            return Tree(store.load_messages(self.id, hidden=True))
        self._load_what_can_be()
        shown = set(self._recent_ids)
        for entry in self._said.values():
            entry.active = entry.id in shown
        return Tree(sorted(self._said.values(), key=lambda entry: entry.id))

    def outline(self) -> Tree:
        """Return the same tree without most message parts, which is faster to load."""
        from core.sessions.tree import Tree
        store = self.store
        return (Tree(store.outline(self.id)) if store is not None and self._stored
                else self.tree())

    def has_hidden(self) -> bool:
        """Return whether hidden messages are stored: undone, edited or summarised ones."""
        store = self.store
        if store is None or not self._stored:
            return len(self._said) != self.count
        return store.has_hidden(self.id)

    def show(self, end: int, tree: Tree | None = None) -> None:
        """Show the branch that ends with this message; 0 shows nothing.

        Raises UsageError for an unknown one.
        """
        tree = tree or self.tree()
        if end and end not in tree.entries:
            raise UsageError("There is no such branch in this session.", "`/branches` lists them.")
        wanted = tree.to_show(end)
        shown = [identity for identity in wanted if not tree.entries[identity].active]
        hidden = [entry.id for entry in tree.entries.values()
                  if entry.active and entry.id not in wanted]
        with self._between_turns():
            self._journal.write({"do": "restore", "session": self.id, "shown": shown,
                                 "hidden": hidden})
            if self.store is not None and self._stored:
                self._load(self.store)
                return
        entries = [entry for entry in tree.entries.values() if entry.id in wanted]
        self.messages, self._ids = ([entry.message for entry in entries],
                                    [entry.id for entry in entries])

    def branches(self) -> list[Branch]:
        """Return the branches of this conversation, ordered by their last messages, oldest first.
        """
        return self.tree().branches()

    def versions(self, place: int) -> Versions:
        """Return the versions of one message: edits of a question, or alternative replies."""
        return self.tree().versions(self._ids[place])

    def show_version(self, identity: int) -> None:
        """Show another version of a message, with the newest branch after it."""
        tree = self.outline()
        self.show(tree.newest_end(identity), tree)

    def retry(self) -> Message | None:
        """Hide everything after the user's last message, and return that message; None if there is
        none.
        """
        last = self._last_question()
        if last is None:
            return None
        if self.messages[last + 1:]:
            self._end_at(last + 1)
        return self.messages[last]

    def undo(self) -> Message:
        """Hide the user's last message and its answer, and return that message. redo() shows them
        again.
        """
        last = self._last_question()
        if last is None:
            raise UsageError("There is nothing to undo.")
        question = self.messages[last]
        self._end_at(last)
        return question

    def redo(self) -> Message:
        """Show the next undone message of the user again, with its answer, and return that message.
        """
        tree = self.tree()
        below = tree.path(tree.newest_end(tree.end))[len(tree.path(tree.end)):]
        if not below:
            raise UsageError("There is nothing to redo: nothing was undone after this point.",
                             "`/branches` lists everything said in this session.")
        asked = [place for place, identity in enumerate(below)
                 if tree.entries[identity].message.role == "user"]
        end = next((place for place in asked if place > 0), len(below))
        self.show(below[end - 1], tree)
        return tree.entries[below[0]].message

    def question_place(self, number: int | None = None) -> int:
        """Return the index of a message of the user: 1 is the first, -1 or None the last.

        Raises UsageError.
        """
        places = [place for place, message in enumerate(self.messages) if message.role == "user"]
        wanted = -1 if number is None else number
        if not places or not wanted or not -len(places) <= wanted <= len(places):
            raise UsageError(f"There is no message {wanted} of yours in this conversation."
                             if places else
                             "You have not written anything in this conversation yet.",
                             f"It has {len(places)}; the first is number 1." if places else "")
        return places[wanted - 1 if wanted > 0 else wanted]

    def exchange_end(self, count: int | None = None) -> int:
        """Return the index after the first `count` exchanges; the total length for None or a larger
        count.
        """
        if count is None:
            return self.count
        places = [place for place, message in enumerate(self.messages) if message.role == "user"]
        return len(self.messages) if count >= len(places) else places[count]

    def rewind(self, place: int) -> Message:
        """End the conversation before a message of the user so that it can be edited; return that
        message.

        The messages from there on stay as a branch. Raises UsageError for another role's message.
        """
        if not 0 <= place < len(self.messages) or self.messages[place].role != "user":
            raise UsageError("Only your own messages can be edited.",
                             "Use /retry to get another answer.")
        message = self.messages[place]
        self._end_at(place)
        return message

    def _last_question(self) -> int | None:
        return max((place for place, message in enumerate(self.messages) if message.role == "user"),
                   default=None)

    def _end_at(self, place: int) -> None:
        """Hide the messages from this index on."""
        with self._between_turns():
            self._journal.write({"do": "hide", "session": self.id, "ids": self._ids[place:]})
        del self.messages[place:], self._ids[place:]

    # ---- sessions made from this one

    def branch(self, title: str, model: str, beginning: int) -> Self:
        """Return a new session that starts with the first `beginning` messages, stored as a child
        of this one.

        Raises StoreError.
        """
        child = self._child(title, model, beginning)
        child._journal.branch(self.id, child.id, child.name, title, model,
                              list(zip(child._ids, child.messages)))
        child._note_all()
        return self._complete(child)

    def fork(self, beginning: int) -> Self:
        """Like branch(), but copied in the store with states and times, without loading the
        messages.

        Raises StoreError.
        """
        store = self.store
        if store is None:
            raise UsageError("This session is not saved, so it cannot be copied.")
        child, created = self._empty_child(self.title, self.model), time.time()
        copied = self._first_ids(store, beginning)
        store.copy_session(self.id, child.id, child.title, child.model, created,
                           list(zip(copied, new_message_ids(len(copied)))), name=child.name)
        child._journal.known(child.id, child.name, child.title, child.model, created)
        child._load(store)
        return self._complete(child)

    def _first_ids(self, store: Store, count: int) -> list[int]:
        """Return the identities of the first messages, loaded or not. Raises StoreError."""
        earlier = store.message_ids(self.id)[:self.waiting] if self.waiting else []
        return [*earlier, *self._recent_ids][:count]

    def _empty_child(self, title: str, model: str) -> Self:
        child = type(self)(None, model=model)
        child.title = title
        child._write_to(self._journal.another())
        return child

    def _child(self, title: str, model: str, beginning: int) -> Self:
        child = self._empty_child(title, model)
        child.messages = self.messages[:beginning]
        child._ids = new_message_ids(len(child.messages))
        return child

    def _complete(self, child: Self) -> Self:
        child._stored = child._journal.saved
        child.keep_settings(self.settings)
        return child

    def keep(self) -> None:
        """Save this conversation as a new session after its session was deleted.

        Raises UsageError and StoreError.
        """
        if not self._journal.deleted:
            raise UsageError("This session is saved already." if self.saved
                             else "This session was not deleted.")
        copy = self.branch(self.title, self.model, len(self.messages))
        self.id, self.name, self._ids, self._said = copy.id, copy.name, copy._ids, copy._said
        self._summaries.clear()
        self._write_to(copy._journal)

    # ---- pinning and summaries

    @property
    def pinned(self) -> tuple[int, ...]:
        """The indexes of the pinned messages, which are never summarised or left out."""
        return pinned_places(self.messages)

    def pin(self, place: int, *, on: bool = True) -> None:
        """Pin or unpin a message; the pin is saved with the session."""
        if self._ids[place] in self._unreadable:
            raise UsageError("A message that cannot be read completely cannot be pinned.")
        message = pin(self.messages[place], on=on)
        with self._between_turns():
            self._journal.write(message_write("finish", message, id=self._ids[place],
                                              state=state_of(message)))
        self.messages[place] = message

    def compact(self, plan: Plan, reply: Message) -> None:
        """Replace the messages that the plan names with a summary.

        Raises UsageError when the reply is not a complete summary.
        """
        hidden = [self._ids[place] for place in plan.hidden]
        pair = summary_messages(plan, reply, hidden)
        first, second = new_message_ids(2)
        self._summaries.note(self.messages, self._ids)
        self.messages = replace_places(self.messages, plan.hidden, pair)
        self._ids = replace_places(self._ids, plan.hidden, (first, second))
        self._journal.write({"do": "replace", "session": self.id, "hidden": hidden,
                             "added": [[first, message_to_dict(pair[0])],
                                       [second, message_to_dict(pair[1])]]})

    def uncompact(self) -> int:
        """Show the messages behind the newest summary again; return how many.

        Raises UsageError and StoreError.
        """
        place = find_summary(self.messages)
        if place is None:
            raise UsageError("This conversation has no summary.")
        shown, summary = compacted_ids(self.messages[place]), self._ids[place:place + 2]
        earlier = self._summaries.with_these(shown) or self._stored_with(shown)
        with self._between_turns():
            self._journal.write({"do": "restore", "session": self.id, "shown": list(shown),
                                 "hidden": summary})
        later = [entry for entry in zip(self.messages, self._ids)
                 if entry[1] not in earlier and entry[1] not in summary]
        now = dict(zip(self._ids, self.messages))
        kept = [(now.get(identity, message), identity) for identity, message in earlier.items()
                if identity in shown or identity in now and identity not in summary]
        self.messages, self._ids = ([entry[0] for entry in (*kept, *later)],
                                    [entry[1] for entry in (*kept, *later)])
        return len(shown)

    def _stored_with(self, shown: tuple[int, ...]) -> dict[int, Message]:
        """Return the stored conversation, by ID, that contains all of these messages."""
        stored = self.store.load_messages(self.id, hidden=True) if self.store is not None else []
        found = {entry.id: entry.message for entry in stored}
        if not set(shown) <= set(found):
            raise UsageError("The summarised messages are not in this session.",
                             "They are in the session that this one was branched from.")
        return found
