"""Listens to PostgreSQL's notifications about sessions that any program writes to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from contextlib import suppress

import psycopg
from psycopg.conninfo import make_conninfo

LOOK_SECONDS = 0.2  # seconds between checks while not connected
RETRY_SECONDS = 1.0  # seconds between connection attempts
SURE_SECONDS = 30.0  # seconds after which a session counts as changed anyway
_ALIVE: dict[str, int] = {  # detect a vanished server after 20 seconds
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}


def channel_of(session: str) -> str:
    """Return the channel that announces writes to a session (core/store/news.py). It is derived
    from the session's identity, so that only those who know that can listen.
    """
    return f"stream_chat_{hashlib.sha256(session.encode()).hexdigest()[:40]}"


class News:
    """One connection that listens for all pages of a process.

    While it is lost, every session counts as changed at each check, so that nothing is missed.
    `pooled` becomes true behind a pooler such as pgbouncer, which does not deliver notifications.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[object] | None = None
        self._followers: dict[str, set[Follower]] = {}  # by channel
        self._lost = asyncio.Event()
        self.pooled = False

    @property
    def hears(self) -> bool:
        return self._connection is not None

    def follower(self, program: str) -> Follower:
        """Return a follower. `program` is the name of this process, as Database.owner() returns it.
        """
        return Follower(self, channel_of(f"program {program}"))

    async def run(self) -> None:
        """Listen, reconnecting when the connection is lost, as long as the server runs."""
        try:
            while not self.pooled:
                with suppress(psycopg.Error):
                    await self._listen(await asyncio.to_thread(self._connect))
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._close()

    def _connect(self) -> psycopg.Connection[object] | None:
        connection: psycopg.Connection[object] = psycopg.connect(
            make_conninfo(self._url, connect_timeout=10, **_ALIVE),
            autocommit=True,
            prepare_threshold=None,
        )
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row == (connection.info.backend_pid,):
            return connection
        self.pooled = True
        connection.close()
        return None

    async def _listen(self, connection: psycopg.Connection[object] | None) -> None:
        """Listen until the connection is lost."""
        if connection is None:
            return
        self._lost.clear()
        connection.add_notify_handler(lambda notify: self._hear(notify.channel))
        loop = asyncio.get_running_loop()
        descriptor = connection.fileno()
        loop.add_reader(descriptor, self._read)
        self._connection = connection
        try:
            self._run("LISTEN", list(self._followers))
            for channel in self._followers:  # we were not notified of writes in the meantime
                self._hear(channel)
            await self._lost.wait()
        finally:
            loop.remove_reader(descriptor)
            self._close()

    def _read(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.pgconn.consume_input()
            while notify := self._connection.pgconn.notifies():
                self._hear(notify.relname.decode())
        except psycopg.Error:
            self._lost.set()

    def _hear(self, channel: str) -> None:
        for follower in self._followers.get(channel, ()):
            follower.hear(channel)

    def _run(self, act: str, channels: Collection[str]) -> None:
        if self._connection is None or not channels:
            return
        try:
            self._connection.execute("; ".join(f"{act} {each}" for each in channels).encode())
        except psycopg.Error:
            self._lost.set()

    def add(self, follower: Follower, channels: Collection[str]) -> None:
        new = [channel for channel in channels if channel not in self._followers]
        for channel in channels:
            self._followers.setdefault(channel, set()).add(follower)
        self._run("LISTEN", new)

    def remove(self, follower: Follower, channels: Collection[str]) -> None:
        for channel in channels:
            self._followers[channel].discard(follower)
        unused = [channel for channel in channels if not self._followers[channel]]
        for channel in unused:
            del self._followers[channel]
        self._run("UNLISTEN", unused)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Follower:
    """The sessions that one page server follows for a member. `asked`: another process may have
    sent this one a request.
    """

    def __init__(self, news: News, own: str) -> None:
        self._news, self._own = news, own
        self.asked = True
        self._sessions: dict[str, str] = {}  # by channel
        news.add(self, [own])
        self._heard: set[str] = set()  # channels
        self._woken = asyncio.Event()
        self._sure = 0.0

    def hear(self, channel: str) -> None:
        self._heard.add(channel)
        self._woken.set()

    async def changed(self, sessions: Collection[str]) -> set[str]:
        """Wait for a moment; return those of these sessions that may have changed since the last
        call. The next call sees every write after this one.
        """
        self._follow({channel_of(session): session for session in sessions})
        if not self._heard:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_SECONDS)
        now = asyncio.get_running_loop().time()
        if not self._news.hears or now - self._sure > SURE_SECONDS:
            self._sure = now
            self._heard.update((*self._sessions, self._own))
        heard, self._heard = self._heard, set()
        self.asked = self._own in heard
        self._woken.clear()
        return {self._sessions[channel] for channel in heard if channel in self._sessions}

    def _follow(self, wanted: dict[str, str]) -> None:
        old = self._sessions.keys() - wanted.keys()
        new = wanted.keys() - self._sessions.keys()
        self._sessions = wanted
        self._news.remove(self, old)
        self._news.add(self, new)
        for channel in new:  # it may have changed before we listened
            self.hear(channel)

    def close(self) -> None:
        self._follow({})
        self._news.remove(self, [self._own])
