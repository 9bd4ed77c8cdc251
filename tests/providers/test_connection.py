"""Reading from a connection after a rest and until a deadline, directly and through the loop."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from core.providers.http.connection import MAX_HELD, Connection, TooLate

Use = Callable[[Connection, socket.socket], Awaitable[None]]
both_ways = pytest.mark.parametrize("direct", [True, False], ids=["directly", "by the loop"])


def connected(use: Use, *, direct: bool) -> None:
    """Run `use` with a connection and the server's end of it."""
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
        with theirs:
            ours.setblocking(False)
            _, connection = await asyncio.get_running_loop().create_connection(
                partial(Connection, ours if direct else None), sock=ours)
            try:
                async with asyncio.timeout(60):
                    await use(connection, theirs)
            finally:
                connection.close()
    asyncio.run(run())


async def rested(connection: Connection) -> bytes:
    connection.rest(0.01)
    return await connection.read()


@both_ways
def test_what_comes_during_or_after_rests_is_read_in_order(direct: bool) -> None:
    async def use(connection: Connection, theirs: socket.socket) -> None:
        for number in range(5):
            theirs.sendall(b"%d" % number)
            assert await rested(connection) == b"%d" % number
        connection.rest(0.0)
        reading = asyncio.create_task(connection.read())
        await asyncio.sleep(0.03)       # the rest ends and nothing has come
        assert not reading.done()
        theirs.sendall(b"late")
        assert await reading == b"late"
        theirs.sendall(b"end")
        theirs.close()
        assert [await rested(connection), await rested(connection)] == [b"end", b""]
    connected(use, direct=direct)


@both_ways
def test_more_than_is_held_is_read_whole_between_rests(direct: bool) -> None:
    sent = bytes(range(256)) * (3 * MAX_HELD // 256)

    async def use(connection: Connection, theirs: socket.socket) -> None:
        sending = asyncio.create_task(asyncio.to_thread(theirs.sendall, sent))
        read = b""
        while len(read) < len(sent):
            read += await rested(connection) + await connection.read()
        await sending
        assert read == sent
    connected(use, direct=direct)


@both_ways
def test_a_reset_during_a_rest_is_an_error_and_not_the_end(direct: bool) -> None:
    async def use(connection: Connection, theirs: socket.socket) -> None:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.rest(0.05)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await connection.read()
    connected(use, direct=direct)


@both_ways
def test_a_read_ends_at_its_deadline_whatever_the_one_before_it_had(direct: bool) -> None:
    async def use(connection: Connection, theirs: socket.socket) -> None:
        now = connection.loop.time
        theirs.sendall(b"soon")
        assert await connection.read(now() + 600.0) == b"soon"
        begun = now()
        with pytest.raises(TooLate):
            await connection.read(begun + 0.05)
        assert now() >= begun + 0.05
        # the deadline of a read that is over does not end the next one
        theirs.sendall(b"first")
        assert await connection.read(now() + 0.05) == b"first"
        reading = asyncio.create_task(connection.read(now() + 600.0))
        await asyncio.sleep(0.1)
        assert not reading.done()
        theirs.sendall(b"second")
        assert await reading == b"second"
        with pytest.raises(TooLate):
            connection.rest(600.0)
            await connection.read(now() + 0.01)
        connection.release()
        theirs.sendall(b"third")
        assert await connection.read(math.inf) == b"third"
    connected(use, direct=direct)
