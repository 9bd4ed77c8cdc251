"""Writes to a session are announced to other processes at once, and nothing is missed while the
connection is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import psycopg
import pytest

from core.messages import Message, Text, user_message
from core.store.address import parse_address
from core.store.identity import new_message_id
from core.store.postgres.news import Follower, News, channel_of
from core.store.postgres.store import PostgresStore
from core.store.rows import Chunk
from tests import postgres

pytestmark = pytest.mark.processes


@pytest.fixture
def database(postgres_url: str) -> str:
    return postgres.new_database(postgres_url)


@asynccontextmanager
async def listening(database: str) -> AsyncIterator[tuple[News, Follower]]:
    news = News(database)
    follower = news.follower("1")
    task = asyncio.create_task(news.run())
    async with asyncio.timeout(60):
        while not news.hears:
            await asyncio.sleep(0.01)
    try:
        yield news, follower
    finally:
        follower.close()
        task.cancel()
        await asyncio.wait([task])


async def heard(follower: Follower, *sessions: str) -> set[str]:
    """What changed at last."""
    async with asyncio.timeout(60):
        while not (found := await follower.changed(sessions)):
            pass
    return found


def test_every_kind_of_write_is_heard_for_its_session_alone(database: str) -> None:
    async def main() -> None:
        with closing(PostgresStore(parse_address(database))) as store:
            for name in ("one", "two"):
                store.create_session(name, name, "m", 1.0, (new_message_id(), user_message("x")))
            reply = new_message_id()
            begun, ended = Message("assistant", ()), Message("assistant", (Text("ab"),))
            acts = {
                "message": lambda: store.add_message("one", reply, begun, "streaming"),
                "frame": lambda: store.append_chunk(reply, 0, Chunk("text", 0, "a", None)),
                "second frame": lambda: store.append_chunk(reply, 1, Chunk("text", 0, "b", None)),
                "end": lambda: store.finish_message(reply, ended, "complete"),
                "title": lambda: store.update_session("one", title="another"),
                "turn": lambda: store.begin_turn("one"),
                "hidden": lambda: store.hide_messages("one", [reply]),
            }
            async with listening(database) as (_, follower):
                assert await heard(follower, "one", "two") == {"one", "two"}  # begins to follow
                for name, act in acts.items():
                    act()
                    assert await heard(follower, "one", "two") == {"one"}, name
                store.update_session("two", title="not followed any more")
                assert await follower.changed(["one"]) <= {"one"}
                store.update_session("one", title="last")
                assert await heard(follower, "one") == {"one"}

    asyncio.run(main())


def test_nothing_is_missed_while_the_connection_is_away(database: str) -> None:
    async def main() -> None:
        with closing(PostgresStore(parse_address(database))) as store:
            store.create_session("one", "one", "m", 1.0, (new_message_id(), user_message("x")))
            async with listening(database) as (news, follower):
                await heard(follower, "one")
                with psycopg.connect(database, autocommit=True) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                    )
                store.update_session("one", title="while nobody listens")
                assert await heard(follower, "one") == {"one"}
                async with asyncio.timeout(60):
                    while not news.hears:
                        assert await follower.changed(["one"]) <= {"one"}
                while await follower.changed(["one"]):
                    pass
                store.update_session("one", title="listened to again")
                assert await heard(follower, "one") == {"one"}

    asyncio.run(main())


def test_the_program_and_the_database_name_a_channel_alike(database: str) -> None:
    with closing(PostgresStore(parse_address(database))) as store:
        for name in ("one", "0" * 32, "ä'; --", "x" * 500):
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(f"LISTEN {channel_of(name)}")
                connection.execute("SELECT stream_chat.announce(%s)", (name,))
                assert [each.channel for each in connection.notifies(timeout=60, stop_after=1)]
    assert store is not None
