"""Where one session's writes go: the store, the spool while the store fails, or nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext

from core.errors import SessionGone, StoreError, StoreForbidden, StoreGone
from core.messages import Message
from core.sessions.ended_turn import EndedTurn
from core.sessions.no_journal import NoJournal
from core.sessions.spool import SpoolFile, remove
from core.sessions.spool_places import Places, places_of
from core.sessions.writes import Write, apply_write, chunk_write
from core.store.message_json import message_to_dict
from core.store.rows import Chunk
from db import Store


class Journal(NoJournal):
    """Writes to a store.

    Once a write fails, later ones are spooled too, which keeps their order. When another program
    deletes the session, nothing more is written.
    """

    def __init__(self, store: Store, spool: str | Places,
                 everything: Callable[[], list[Write]] = list) -> None:
        self._store = store
        self._news: list[str] = []
        self._places = places_of(spool)
        self.everything = everything    # the complete session, for a store that lost it
        self._head: list[Write] = []    # first entry of a spool file: makes it self-contained
        self._waiting: list[Write] = []
        self._file: SpoolFile | None = None     # the spool file with all pending writes
        self._broken: list[str] = []    # spool files with only a part of them
        self._unsettled: list[Write] = []    # written, but perhaps not yet on the disk
        self._ended = EndedTurn()
        self.deleted = False

    @property
    def store(self) -> Store | None:
        return self._store if self.saved else None

    @property
    def saved(self) -> bool:
        return not self._waiting and not self.deleted

    @property
    def lost(self) -> bool:
        return bool(self._waiting) and self._file is None

    @property
    def last_words(self) -> str:
        if self.deleted or not self._waiting:
            return ""
        if self._file is not None:
            return ("NOT SAVED: what the session database did not accept is in "
                    f"{self._file.path}; the "
                    "next start saves it. Do not delete it.")
        return ("NOT SAVED: neither the session database nor any other file could be written. "
                "This conversation will be lost when the program ends.")

    def take_news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    def begin(self, session: str, name: str, title: str, model: str, identity: int,
              message: Message) -> None:
        self.known(session, name, title, model, time.time())
        self.write({**self._head[-1], "first": [identity, message_to_dict(message)]})

    def known(self, session: str, name: str, title: str, model: str, created: float) -> None:
        self._head = [{"do": "for", "place": self._store.place},
                      {"do": "create", "session": session, "name": name, "title": title,
                       "model": model, "created": created}]

    def branch(self, parent: str, session: str, name: str, title: str, model: str,
               messages: Sequence[tuple[int, Message]]) -> None:
        created = time.time()
        self._store.create_branch(parent, session, title, model, created, messages, name=name)
        self.known(session, name, title, model, created)

    def write(self, write: Write) -> None:
        if not self._stored(write, soon=_is_end_of_reply(write)):
            self._keep(write)

    def begin_reply(self, begun: Write, first: Chunk | None) -> None:
        frame = chunk_write(begun["id"], 0, first) if first is not None else None
        if not self._stored({**begun, "first": frame and frame["chunk"]}, soon=True):
            self._keep(begun)
            if frame is not None:
                self._keep(frame)

    def _stored(self, write: Write, *, soon: bool) -> bool:
        """Write to the store; return whether that worked. It may reach the disk later: see
        settled().
        """
        if not self.saved:
            return False
        try:
            with self._store.overlapping(soon=soon):
                apply_write(self._store, write)
        except StoreError as error:
            self._refused(error)
            return False
        self._unsettled.append(write)
        return True

    def chunk(self, identity: int, seq: int, chunk: Chunk, *, durable: bool) -> None:
        if self.saved:
            try:
                with self._store.overlapping(soon=True):
                    self._store.append_chunk(identity, seq, chunk, durable=durable)
                return
            except StoreError as error:
                self._refused(error)
        self._keep(chunk_write(identity, seq, chunk))

    async def settled(self) -> None:
        if not self.saved:
            return
        waiting = len(self._unsettled)
        try:
            await self._store.settled()
        except StoreError as error:
            self._refused(error)
        del self._unsettled[:waiting]

    def _settle(self) -> None:
        """Like settled(), for the end, when no event loop runs any more."""
        if self._unsettled and self.saved:
            try:
                self._store.settle()
            except StoreError as error:
                self._refused(error)
        self._unsettled.clear()

    def begin_turn(self, session: str) -> bool:
        """Claim the turn. If the store fails, the turn runs anyway and is spooled. Raises
        StoreForbidden.
        """
        self._ended.clear()
        try:
            return not self.saved or self._store.begin_turn(session)
        except SessionGone:
            self._session_deleted()
        except StoreForbidden:
            raise
        except StoreError:
            pass
        return True

    def end_turn(self, session: str) -> float | None:
        """What the store cannot take back now, it takes when the session is looked at or closed."""
        self._ended.session = session
        return self._give_back()

    def _give_back(self) -> float | None:
        """Returns what changed() says; None while the turn cannot be given back."""
        if not self.saved:
            return None
        try:
            changed = self._updated(self._ended.session)
            self._store.end_turn(self._ended.session)
        except StoreError:
            return None
        self._ended.clear()
        return changed

    def changed(self, session: str) -> float | None:
        if self._ended.is_due():
            with self.hurried():
                if self._drain():    # what waits is saved first
                    self._give_back()
        if not self.saved:
            return None
        try:
            return self._updated(session)
        except StoreError:
            return None

    def _updated(self, session: str) -> float | None:
        rows = self._store.some_sessions([session])
        return rows[0].updated if rows else None

    def ready(self, *, durable: bool = True) -> AbstractAsyncContextManager[None]:
        try:
            return self._store.ready(durable=durable) if self.saved else nullcontext()
        except StoreError:      # of a store that could not be opened yet
            return nullcontext()

    def hurried(self) -> AbstractContextManager[None]:
        try:
            return self._store.hurried()
        except StoreError:      # of a store that could not be opened yet
            return nullcontext()

    def retry(self) -> None:
        if not self._drain() and not self._news:
            self._news.append(f"NOT SAVED still: {self._where()}.")

    def another(self) -> NoJournal:
        return Journal(self._store, self._places)

    def close(self) -> None:
        self._settle()
        if not self._drain() and self._file is not None:
            self._file.close()      # it still has the pending writes, so nothing is lost
        elif self._ended.session:
            self._give_back()

    def _drain(self) -> bool:
        """Save pending writes; return True when none are left."""
        if not self._waiting:
            return True
        try:
            self._apply_waiting()
        except SessionGone:
            self._session_deleted()
            return True
        except StoreError:
            if self._file is None:
                self._spool()
            return False
        self._waiting.clear()
        self._drop_file()
        self._news.append("Saved again: the session database accepted the pending messages.")
        return True

    def _apply_waiting(self) -> None:
        try:
            for write in self._waiting:
                apply_write(self._store, write)
        except SessionGone:
            raise
        except StoreGone:
            self._waiting = [*self._head, *self.everything()]
            self._give_up()     # the spool file alone is not complete any more
            for write in self._waiting:
                apply_write(self._store, write)

    def _refused(self, error: StoreError) -> None:
        if isinstance(error, SessionGone):
            self._session_deleted()
            return
        self._waiting.extend(self._head)
        if isinstance(error, StoreGone):
            self._waiting.extend(self.everything())
        else:
            self._waiting.extend(self._unsettled)     # a repeated write changes nothing
        self._unsettled.clear()
        self._spool()
        self._news.append(f"NOT SAVED: {error.message.rstrip('.')}; {self._where()}.")

    def _session_deleted(self) -> None:
        """Discard pending writes and their file, since the session was deleted."""
        self.deleted = True
        self._waiting.clear()
        self._drop_file()
        self._news.append("NOT SAVED from here on: this session was deleted by another program. "
                          "/keep saves the conversation as a new session.")

    def _keep(self, write: Write) -> None:
        if self.deleted:
            return
        self._waiting.append(write)
        if self._file is not None and not self._file.append([write]):
            path = self._file.path
            self._give_up()
            self._spool()
            self._news.append(f"NOT SAVED: {path} cannot be written either; {self._where()}.")

    def _where(self) -> str:
        return (f"kept in {self._file.path}" if self._file
                else "kept in memory only, until this program ends")

    def _spool(self) -> None:
        """Write all pending writes to a spool file in the first usable directory."""
        for prefix in self._places.prefixes():
            try:
                self._file = SpoolFile(prefix, str(self._head[-1]["session"]),
                                       self._places.directory)
            except OSError:
                continue
            if self._file.append(self._waiting):
                self._remove_broken()   # the new file has all of their content
                return
            self._give_up()

    def _give_up(self) -> None:
        """Stop using the spool file, which cannot be written any more.

        It stays until another file has its content: a part is better than nothing.
        """
        opened, self._file = self._file, None
        if opened is not None:
            self._broken.append(opened.path)
            opened.close()

    def _drop_file(self) -> None:
        """Delete the spool files, whose content is saved or discarded."""
        opened, self._file = self._file, None
        if opened is not None:
            remove(opened.path)
            opened.close()
        self._remove_broken()

    def _remove_broken(self) -> None:
        for path in self._broken:
            remove(path)
        self._broken.clear()


def _is_end_of_reply(write: Write) -> bool:
    """Return whether a write ends a reply. Nothing depends on it, so it may be synced as late as a
    frame.
    """
    return bool(write["do"] == "finish" and write["state"] != "streaming")
