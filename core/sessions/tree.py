"""The history of a session as a tree of all its messages, one path of which is shown."""

from __future__ import annotations

from collections.abc import Sequence

from core.dataclass import dataclass
from core.store.rows import StoredMessage
from core.sessions.summary import compacted_ids

ROOT = 0


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch of the conversation, identified by `end`, the identity of its last message."""

    end: int
    last: StoredMessage
    length: int
    shared: int       # first messages that it shares with the shown branch
    shown: bool


@dataclass(frozen=True, slots=True)
class Versions:
    """The identities of alternative messages at one place, oldest first; `at` is the index of the
    shown one.
    """

    ids: tuple[int, ...]
    at: int


class Tree:
    """Built from all messages of a session in order, including hidden ones."""

    def __init__(self, stored: Sequence[StoredMessage]) -> None:
        self.entries = {entry.id: entry for entry in stored}
        self.parents = _parents(stored)
        self.children: dict[int, list[int]] = {}
        for identity, parent in self.parents.items():
            self.children.setdefault(parent, []).append(identity)
        self._stands_for = {entry.id: compacted_ids(entry.message)
                            for entry in stored if compacted_ids(entry.message)}
        self._shown = [entry.id for entry in stored if entry.active]

    @property
    def end(self) -> int:
        """The identity of the last shown message; ROOT if there is none."""
        return self._shown[-1] if self._shown else ROOT

    def path(self, end: int) -> list[int]:
        """Return the identities from the first message to `end`."""
        found: list[int] = []
        while end in self.parents:
            found.append(end)
            end = self.parents[end]
        return found[::-1]

    def newest_end(self, start: int) -> int:
        """Return the end of the newest branch that contains `start`."""
        ends = [start]
        waiting = [start]
        while waiting:
            below = [child for child in self.children.get(waiting.pop(), ())
                     if not self._is_aside(child)]
            waiting += below
            ends += below
        return max(end for end in ends if not self._below(end))

    def branches(self) -> list[Branch]:
        """Return all branches, ordered by their last messages, oldest first."""
        shown = set(self.path(self.end))
        ends = sorted(identity for identity in self.entries
                      if not self._below(identity) and not self._is_aside(identity))
        made = [self._branch(end, shown) for end in ends]
        if self.end in self.entries and self.end not in ends:
            # undo has ended the conversation in the middle of a branch
            made.append(self._branch(self.end, shown))
        return made

    def versions(self, identity: int) -> Versions:
        """Return the alternatives to a message: those with the same parent and role."""
        role = self.entries[identity].message.role
        ids = tuple(other for other in self.children.get(self.parents[identity], ())
                    if self.entries[other].message.role == role and not self._is_aside(other))
        return Versions(ids, ids.index(identity)) if identity in ids else Versions((identity,), 0)

    def to_show(self, end: int) -> set[int]:
        """Return what is shown when the conversation ends there: the path, with the shown summaries
        of its messages.
        """
        shown = self.path(end)
        want = set(shown)
        for summary in self._shown:
            hidden = self._stands_for.get(summary, ())
            if hidden and set(hidden) <= want and summary not in want:
                answers = (child for child in self.children.get(summary, ())
                           if self.entries[child].active)
                want = want - set(hidden) | {summary, *answers}
        return want

    def _below(self, identity: int) -> list[int]:
        return [child for child in self.children.get(identity, ()) if not self._is_aside(child)]

    def _is_aside(self, identity: int) -> bool:
        """Return whether a message belongs to a summary without followers, which is not a branch of
        its own.
        """
        if identity in self._stands_for:
            return all(self._is_aside(child) for child in self.children.get(identity, ()))
        return self.parents.get(identity) in self._stands_for and not self.children.get(identity)

    def _branch(self, end: int, shown: set[int]) -> Branch:
        path = self.path(end)
        shared = next((place for place, identity in enumerate(path) if identity not in shown),
                      len(path))
        return Branch(end, self.entries[end], len(path), shared, end == self.end)


def _parents(stored: Sequence[StoredMessage]) -> dict[int, int]:
    """Return the parent of each message. A parent that was not stored is inferred from order and
    role.
    """
    parents: dict[int, int] = {}
    known = {entry.id for entry in stored}
    shown = ROOT           # the last message of the shown branch so far
    hidden: list[StoredMessage] = []     # hidden messages since then
    for entry in stored:
        if entry.parent is not None:
            parents[entry.id] = entry.parent if entry.parent in known else ROOT
        elif entry.active:
            parents[entry.id] = shown
        else:
            before = next((other for other in reversed(hidden) if _may_follow(entry, other)), None)
            parents[entry.id] = before.id if before is not None else shown
        if entry.active:
            shown, hidden = entry.id, []
        else:
            hidden.append(entry)
    return _without_circles(parents)


def _without_circles(parents: dict[int, int]) -> dict[int, int]:
    """Return parents without cycles, which occur only in damaged files: a message on a cycle
    becomes a root.
    """
    sound = {ROOT}
    for start in parents:
        seen: set[int] = set()
        while start not in sound and start not in seen:
            seen.add(start)
            start = parents.get(start, ROOT)
        if start in seen:
            parents[start] = ROOT
        sound |= seen
    return parents


def _may_follow(entry: StoredMessage, other: StoredMessage) -> bool:
    """Return whether a message can follow another: roles alternate, and results follow calls."""
    if entry.message.role == "tool":
        return bool(other.message.tool_calls)
    if entry.message.role == "user":
        return other.message.role == "assistant"
    return other.message.role in ("user", "tool")
