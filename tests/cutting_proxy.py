"""A proxy on this machine that loses connections in the middle of answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator


class CuttingProxy:
    """Forwards connections to a port; `cuts` of them are lost after some bytes of the response.

    `posts` counts the requests that ask for an answer.
    """

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port, self._chance = port, chance
        self.cuts, self.posts, self._own = 0, 0, 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self._own = server.sockets[0].getsockname()[1]
        async with server:
            yield f"http://127.0.0.1:{self._own}"

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.ensure_future(self._upwards(reader, far_writer))
        left = self._chance.randrange(300, 6_000) if self.cuts > 0 else 1 << 40
        self.cuts -= 1
        with contextlib.suppress(OSError):
            while left > 0 and (data := await far_reader.read(min(left, 4_096))):
                writer.write(data)
                await writer.drain()
                left -= len(data)
        up.cancel()
        for end in (far_writer, writer):
            end.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                self.posts += data.startswith(b"POST ")
                far.write(data.replace(b"127.0.0.1:%d" % self._own, b"127.0.0.1:%d" % self._port))
                await far.drain()
