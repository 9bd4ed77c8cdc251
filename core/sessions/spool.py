"""What could not be saved is kept here: writes that the store refused, as JSON lines in a file, until it takes them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

from core.errors import SessionGone, StoreError, StoreGone
from core.messages import Message
from core.store.message_json import dump, message_from_dict, message_to_dict
from db import Chunk, Store, try_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from db import State

STATES: tuple[State, ...] = ("streaming", "complete", "interrupted", "truncated", "failed")
ROLES = ("system", "user", "assistant", "tool")

# One write: the store's method and its arguments as JSON values. Every write may be repeated without effect.
Write = dict[str, Any]


def apply_write(store: Store, write: Write) -> None:
    """Do one write. Raises StoreError, and ValueError or the like for one that no store could do."""
    match write:
        case {"do": "create", "session": str(session), "title": str(title), "model": str(model), "created": created}:
            first = write.get("first")
            store.create_session(session, title, model, float(created), (int(first[0]), _message(first[1])) if first else None)
        case {"do": "update", "session": str(session), "title": str() | None as title, "model": str() | None as model}:
            store.update_session(session, title=title, model=model)
        case {"do": "add", "session": str(session), "id": int(identity), "message": message, "state": str(state)}:
            store.add_message(session, identity, _message(message), _state(state))
        case {"do": "chunk", "id": int(identity), "seq": int(seq), "chunk": [str(kind), int(part), str(text), extra]}:
            store.append_chunk(identity, seq, Chunk(kind, part, text, None if extra is None else dump(json.loads(extra))))
        case {"do": "finish", "id": int(identity), "message": message, "state": str(state)}:
            store.finish_message(identity, _message(message), _state(state))
        case {"do": "hide", "session": str(session), "ids": ids}:
            store.hide_messages(session, [int(identity) for identity in ids])
        case {"do": "replace", "session": str(session), "hidden": hidden, "added": added}:
            messages = [(int(identity), _message(message)) for identity, message in added]
            store.replace_messages(session, [int(identity) for identity in hidden], messages)
        case {"do": "restore", "session": str(session), "shown": shown, "hidden": hidden}:
            store.restore_messages(session, [int(identity) for identity in shown], [int(identity) for identity in hidden])
        case _:
            raise ValueError("no write that this program knows")


def _state(state: str) -> State:
    return STATES[STATES.index(state)]


def _message(row: Any) -> Message:
    message = message_from_dict(row)
    if message.role not in ROLES or not all(text is None or isinstance(text, str) for text in (message.model, message.finish)):
        raise ValueError("no message")
    return message


class Places(NamedTuple):
    """Where spool files may stand: a directory of our own, and the temporary one, for when that has no room."""

    directory: str
    temporary: str = ""

    def prefixes(self) -> list[str]:
        """What the paths of all spool files begin with. Those in a directory that others use too name user and data directory."""
        owner = os.getuid() if hasattr(os, "getuid") else 0
        shared = f"stream-chat-{owner}-{crc32(os.path.abspath(self.directory).encode('utf-8', 'surrogateescape')):08x}-"
        own = os.path.join(self.directory, "")
        return [own, os.path.join(self.temporary, shared)] if self.temporary else [own]


def places_of(spool: str | Places) -> Places:
    return Places(spool) if isinstance(spool, str) else spool


class Journal:
    """The way of one session's writes into the store; the spool while the store does not work.

    Once a write was refused, those after it are spooled too, so that their order stays. `drain()` tries again.
    `news` collects what the person should be told.
    """

    def __init__(self, store: Store, spool: str | Places) -> None:
        self.store = store
        self.news: list[str] = []
        self.places = places_of(spool)
        self.kept_in = ""               # the file that holds all that waits; empty while there is none
        self._head: Write = {}
        self._waiting: list[Write] = []
        self._file: tuple[str, int] | None = None
        self.everything: Callable[[], list[Write]] = list   # all that the session holds, for a store that lost it
        self._broken: list[str] = []    # spool files that took only a part of what waits

    @property
    def saved(self) -> bool:
        """Whether everything written so far is in the store."""
        return not self._waiting

    def create(self, session: str, title: str, model: str, created: float, identity: int, message: Message) -> None:
        """Store a session with its first message."""
        self.known(session, title, model, created)
        self.write({**self._head, "first": [identity, message_to_dict(message)]})

    def known(self, session: str, title: str, model: str, created: float) -> None:
        """The session is in the store already. A spool still starts with it, so that it can stand alone."""
        self._head = {"do": "create", "session": session, "title": title, "model": model, "created": created}

    def write(self, write: Write) -> None:
        """Do any write; messages in it are JSON values."""
        if self.saved:
            try:
                apply_write(self.store, write)
                return
            except StoreError as error:
                self._refused(error)
        self._keep(write)

    def chunk(self, identity: int, seq: int, chunk: Chunk, *, durable: bool) -> None:
        """The write that happens for every frame; nothing is put together that the store does not need."""
        if self.saved:
            try:
                self.store.append_chunk(identity, seq, chunk, durable=durable)
                return
            except StoreError as error:
                self._refused(error)
        self._keep(chunk_write(identity, seq, chunk))

    def drain(self) -> bool:
        """Try again to save what waits; True when nothing waits any more."""
        if self.saved:
            return True
        try:
            self._apply_waiting()
        except StoreError:
            if self._file is None:
                self._spool()
            return False
        self._waiting.clear()
        self._drop_file()
        self.news.append("Saved again: the session database took what it had refused.")
        return True

    def _apply_waiting(self) -> None:
        try:
            for write in self._waiting:
                apply_write(self.store, write)
        except StoreGone:
            self._waiting = [self._head, *self.everything()]
            self._give_up()     # what its file holds would not do alone any more
            for write in self._waiting:
                apply_write(self.store, write)

    def remind(self) -> None:
        """Say again that something waits, unless it is about to be said anyway."""
        if not self.saved and not self.news:
            self.news.append(f"NOT SAVED still: {self._where()}.")

    def last_words(self) -> str:
        """What the person should know when the program ends; empty when all is saved."""
        if self.saved:
            return ""
        if self.kept_in:
            return f"NOT SAVED: what the session database refused is in {self.kept_in}; the next start saves it. Do not delete it."
        return "NOT SAVED: neither the session database nor any other file took this conversation. It ends with this program."

    def _where(self) -> str:
        return f"kept in {self.kept_in}" if self.kept_in else "kept in memory only, until this program ends"

    def _refused(self, error: StoreError) -> None:
        self._waiting.append(self._head)
        if isinstance(error, StoreGone):
            self._waiting.extend(self.everything())
        self._spool()
        self.news.append(f"NOT SAVED: {error.message.rstrip('.')}; {self._where()}.")

    def _keep(self, write: Write) -> None:
        self._waiting.append(write)
        if self._file is not None and not self._append([write]):
            path = self.kept_in
            self._give_up()
            self._spool()
            self.news.append(f"NOT SAVED: {path} cannot be written either; {self._where()}.")

    def _spool(self) -> None:
        """Write all that waits into a file in the first place that takes it."""
        for prefix in self.places.prefixes():
            if self._open_file(prefix) and self._append(self._waiting):
                for path in self._broken:
                    _unlink(path)   # all that it holds is in the new one
                self._broken.clear()
                return
            self._give_up()

    def _open_file(self, prefix: str) -> bool:
        path = f"{prefix}{self._head['session']}-{os.urandom(3).hex()}.jsonl"
        try:
            if prefix == os.path.join(self.places.directory, ""):
                os.makedirs(prefix, mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        except OSError:
            return False
        try_lock(descriptor)
        self._file, self.kept_in = (path, descriptor), path
        return True

    def _append(self, writes: list[Write]) -> bool:
        if self._file is None:
            return False
        data = "".join(dump(write) + "\n" for write in writes).encode("utf-8", "surrogatepass")
        try:
            return os.write(self._file[1], data) == len(data)
        except OSError:
            return False

    def _give_up(self) -> None:
        """This file takes no more. What is in it stays until another holds it too: better a part than nothing."""
        opened, self._file = self._file, None
        self.kept_in = ""
        if opened is not None:
            self._broken.append(opened[0])
            os.close(opened[1])

    def _drop_file(self) -> None:
        opened, self._file = self._file, None
        if opened is not None:
            self._broken.append(opened[0])
        for path in self._broken:
            _unlink(path)   # what is in it is saved; saving it again changes nothing
        self._broken.clear()
        self.kept_in = ""
        if opened is not None:
            os.close(opened[1])

    def close(self) -> None:
        """Try one last time; what still waits stays in its file for the next start."""
        if not self.drain() and self._file is not None:
            os.close(self._file[1])
            self._file = None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def spool_files(spool: str | Places) -> list[str]:
    """What earlier runs (and others that run) could not save."""
    found = []
    for prefix in places_of(spool).prefixes():
        directory, start = os.path.split(prefix)
        try:
            names = sorted(name for name in os.listdir(directory) if name.startswith(start) and name.endswith(".jsonl"))
        except OSError:
            continue
        found += [os.path.join(directory, name) for name in names]
    return found


def drain_spool(store: Store, spool: str | Places, news: list[str] | None = None) -> list[str]:
    """Save what earlier runs could not. Returns the files that still could not be saved; raises nothing.

    `news` gets a line for each file that stays, or that is kept aside for what is in it and no store takes.
    """
    told = [] if news is None else news
    return [path for path in spool_files(spool) if not _drain_file(store, path, told)]


def _drain_file(store: Store, path: str, news: list[str]) -> bool:
    """True when nothing of this file waits any more, another program that runs is writing it, or it is not ours."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not _is_ours(os.fstat(descriptor)) or not try_lock(descriptor):
            return True
        try:
            if all([_apply(store, write) for write in _writes(file.read())]):
                os.unlink(path)
            else:
                os.replace(path, f"{path}.unreadable")
                news.append(f"NOT SAVED: a part of what an earlier run kept makes no sense here; it is in {path}.unreadable.")
        except (StoreError, OSError) as error:
            reason = error.message if isinstance(error, StoreError) else f"{error.strerror}."
            news.append(f"NOT SAVED still: what an earlier run kept in {path}. {reason}")
            return False
    return True


def _apply(store: Store, write: Write) -> bool:
    """False for an entry that makes no sense (a damaged file, or it belongs to what is deleted): the others are saved all
    the same, and the file is kept."""
    try:
        apply_write(store, write)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, SessionGone):
        return False
    return True


def _is_ours(status: os.stat_result) -> bool:
    """In a directory that everybody may write to, a file of that name may be somebody else's."""
    return stat.S_ISREG(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


def _writes(data: bytes) -> Iterator[Write]:
    """One for each line, empty for one that cannot be read; a last line that a killed program did not finish is left out."""
    *whole, last = data.split(b"\n")
    yield from (_write_of(line) for line in whole if line)
    if write := _write_of(last):
        yield write


def _write_of(line: bytes) -> Write:
    try:
        write = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return {}
    return write if isinstance(write, dict) else {}


def chunk_write(identity: int, seq: int, chunk: Chunk) -> Write:
    return {"do": "chunk", "id": identity, "seq": seq, "chunk": [chunk.kind, chunk.part, chunk.text, chunk.extra]}


def message_write(do: str, message: Any, **fields: Any) -> Write:
    """A write that carries a message."""
    return {"do": do, "message": message_to_dict(message), **fields}
