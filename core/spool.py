"""What could not be saved is kept here: writes that the store refused, as JSON lines in a file, until it takes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from core.errors import StoreError
from core.message_json import dump, message_from_dict, message_to_dict
from db import Chunk, Store, try_lock

# One write: the store's method and its arguments as JSON values. Every write may be repeated without effect.
Write = dict[str, Any]


def apply_write(store: Store, write: Write) -> None:
    """Do one write. Raises StoreError."""
    match write:
        case {"do": "create", "session": session, "title": title, "model": model, "created": created}:
            store.create_session(session, title, model, created)
        case {"do": "update", "session": session, "title": title, "model": model}:
            store.update_session(session, title=title, model=model)
        case {"do": "add", "session": session, "id": identity, "message": message, "state": state}:
            store.add_message(session, identity, message_from_dict(message), state)
        case {"do": "chunk", "id": identity, "seq": seq, "chunk": [kind, part, text, extra]}:
            store.append_chunk(identity, seq, Chunk(kind, part, text, extra), durable=False)
        case {"do": "finish", "id": identity, "message": message, "state": state}:
            store.finish_message(identity, message_from_dict(message), state)
        case {"do": "hide", "session": session, "ids": ids}:
            store.hide_messages(session, ids)
        case {"do": "replace", "session": session, "hidden": hidden, "added": added}:
            store.replace_messages(session, hidden, [(identity, message_from_dict(message)) for identity, message in added])
        case {"do": "restore", "session": session, "shown": shown, "hidden": hidden}:
            store.restore_messages(session, shown, hidden)


class Journal:
    """The way of one session's writes into the store; the spool while the store does not work.

    Once a write was refused, those after it are spooled too, so that their order stays. `drain()` tries again.
    `news` collects what the person should be told.
    """

    def __init__(self, store: Store, directory: str) -> None:
        self.store = store
        self.news: list[str] = []
        self.directory = directory
        self._head: Write = {}
        self._waiting: list[Write] = []
        self._file: tuple[str, int] | None = None
        self._broken: list[str] = []    # spool files that took only a part of what waits

    @property
    def saved(self) -> bool:
        """Whether everything written so far is in the store."""
        return not self._waiting

    def create(self, session: str, title: str, model: str, created: float) -> None:
        self.known(session, title, model, created)
        if not self.saved:
            self._keep(self._head)
            return
        try:
            apply_write(self.store, self._head)
        except StoreError as error:
            self._refused(error)

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
        self._keep({"do": "chunk", "id": identity, "seq": seq, "chunk": [chunk.kind, chunk.part, chunk.text, chunk.extra]})

    def drain(self) -> bool:
        """Try again to save what waits; True when nothing waits any more."""
        if self.saved:
            return True
        try:
            for write in self._waiting:
                apply_write(self.store, write)
        except StoreError:
            return False
        self._waiting.clear()
        self._drop_file()
        self.news.append("Saved again: the session database took what it had refused.")
        return True

    def _refused(self, error: StoreError) -> None:
        self._waiting.append(self._head)
        where = self._open_file()
        kept = f"kept in {where}" if where else "kept in memory only, until this program ends"
        self.news.append(f"NOT SAVED: {error.message.rstrip('.')}; {kept}.")
        if where:
            self._append(self._head)

    def _keep(self, write: Write) -> None:
        self._waiting.append(write)
        if self._file is not None:
            self._append(write)

    def _open_file(self) -> str | None:
        path = os.path.join(self.directory, f"{self._head['session']}-{os.urandom(3).hex()}.jsonl")
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        except OSError:
            return None
        try_lock(descriptor)
        self._file = path, descriptor
        return path

    def _append(self, write: Write) -> None:
        if self._file is None:
            return
        path, descriptor = self._file
        data = (dump(write) + "\n").encode("utf-8", "surrogatepass")
        try:
            if os.write(descriptor, data) == len(data):
                return
            reason = "no room"
        except OSError as problem:
            reason = problem.strerror or "an error"
        self._file = None
        self._broken.append(path)
        os.close(descriptor)
        self.news.append(f"NOT SAVED: {path} cannot be written either ({reason}); kept in memory only, until this program ends.")

    def _drop_file(self) -> None:
        opened, self._file = self._file, None
        if opened is not None:
            self._broken.append(opened[0])
        for path in self._broken:
            try:
                os.unlink(path)
            except OSError:
                pass   # what is in it is saved; saving it again changes nothing
        self._broken.clear()
        if opened is not None:
            os.close(opened[1])

    def close(self) -> None:
        """Try one last time; what still waits stays in its file for the next start."""
        if not self.drain() and self._file is not None:
            os.close(self._file[1])
            self._file = None


def drain_spool(store: Store, directory: str) -> list[str]:
    """Save what earlier runs could not. Returns the files that still could not be saved; raises nothing."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".jsonl"))
    except OSError:
        return []
    return [path for name in names if not _drain_file(store, path := os.path.join(directory, name))]


def _drain_file(store: Store, path: str) -> bool:
    """True when nothing of this file waits any more, or another program that runs is writing it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not try_lock(descriptor):
            return True
        try:
            for write in _writes(file.read()):
                apply_write(store, write)
            os.unlink(path)
        except (StoreError, OSError):
            return False
    return True


def _writes(data: bytes) -> Iterator[Write]:
    """The whole lines; a line that a killed program did not finish is left out."""
    for line in data.decode("utf-8", "surrogatepass").split("\n"):
        try:
            write = json.loads(line)
        except ValueError:
            continue
        if isinstance(write, dict):
            yield write


def message_write(do: str, message: Any, **fields: Any) -> Write:
    """A write that carries a message."""
    return {"do": do, "message": message_to_dict(message), **fields}
