"""A simulated network: a server's bytes arrive in given pieces at given times, without sockets or
waiting.

Only the two calls that would open a socket are replaced; above them everything is the program's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.virtual_time import JumpingLoop

Ending = Literal["closed", "reset", "silent"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Pieces of bytes, each after so many seconds, and how the connection ends."""

    pieces: Sequence[tuple[float, bytes]]
    ending: Ending = "closed"


class MadeUpNetwork(JumpingLoop):
    """Any connection to any address receives `arrival` after it has sent something."""

    arrival = Arrival(())

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connected, to nobody."""

    async def create_connection(self, protocol_factory: Callable[[], Any], *_: Any,
                                sock: socket.socket | None = None, **__: Any) -> tuple[Any, Any]:
        if sock is not None:
            sock.close()
        protocol = protocol_factory()
        transport = _Transport(self, protocol, self.arrival)
        protocol.connection_made(transport)
        return transport, protocol


class _Transport(asyncio.Transport):
    """One connection. While reading is paused, arriving data is buffered, as by a system."""

    def __init__(self, loop: MadeUpNetwork, protocol: asyncio.BufferedProtocol,
                 arrival: Arrival) -> None:
        super().__init__()
        self._loop, self._protocol, self._ending = loop, protocol, arrival.ending
        self._left = iter(arrival.pieces)
        self._waiting: list[bytes] = []
        self._paused = self._closed = self._begun = self._ended = False

    def write(self, data: Any) -> None:
        if not self._begun:
            self._begun = True
            self._next()

    def is_reading(self) -> bool:
        return not self._paused

    def is_closing(self) -> bool:
        return self._closed

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._hand_on)

    def abort(self) -> None:
        self._closed = True

    close = abort

    def _next(self) -> None:
        found = next(self._left, None)
        if found is None:
            self._loop.call_soon(self._end)
        elif found[0]:
            self._loop.call_later(found[0], self._arrive, found[1])
        else:
            self._loop.call_soon(self._arrive, found[1])

    def _arrive(self, piece: bytes) -> None:
        self._waiting.append(piece)
        self._hand_on()
        if not self._closed:
            self._next()

    def _end(self) -> None:
        self._ended = True
        self._hand_on()

    def _hand_on(self) -> None:
        if self._closed or self._paused:
            return
        come = b"".join(self._waiting)
        self._waiting.clear()
        while come and not self._paused:
            buffer = self._protocol.get_buffer(-1)
            size = min(len(come), len(buffer))
            buffer[:size], come = come[:size], come[size:]
            self._protocol.buffer_updated(size)
        if come:
            self._waiting.append(come)
            return
        if not self._ended or self._ending == "silent":
            return
        self._closed = True
        if self._ending == "reset":
            self._protocol.connection_lost(ConnectionResetError("reset"))
        else:
            self._protocol.eof_received()
            self._protocol.connection_lost(None)
