"""Sessions through pgbouncer, where each transaction may use another connection of the pool."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.messages import Message, Text, user_message
from core.store.address import parse_address
from core.store.identity import new_message_id
from core.store.postgres.roles import prepare
from core.store.postgres.store import PostgresStore
from core.store.query import parse_query
from core.store.rows import Chunk
from db import open_store
from tests import postgres

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not installed"),
]


@pytest.fixture
def pooled(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a prepared database through a pool of two connections a role, in transaction
    mode."""
    import psycopg

    direct = postgres.new_database(postgres_url)
    prepare(parse_address(direct), ["ana", "ben"], ["page"])
    server, port = urlsplit(direct), postgres.free_port()
    tmp_path.chmod(0o755)
    users, settings = tmp_path / "users.txt", tmp_path / "pgbouncer.ini"
    users.write_text("".join(f'"{name}" ""\n' for name in ("chat", "ana", "ben", "page")))
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr ="
        f" 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file ="
        f" {users}\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    as_other = ["runuser", "-u", "postgres", "--"] if Path("/proc/self").owner() == "root" else []
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    process = subprocess.Popen(
        [*as_other, "pgbouncer", str(settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = direct.replace(f":{server.port}/", f":{port}/")
    try:
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(url, connect_timeout=5).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def test_turns_and_users_keep_apart_in_a_pool(pooled: str) -> None:
    stores = [
        open_store(pooled.replace("//chat@", f"//{role}@"), user=user)
        for role, user in (
            ("ana", ""),
            ("ben", ""),
            ("page", "ana"),
            ("page", "ben"),
            ("page", "ana"),
        )
    ]
    try:
        for number, store in enumerate(stores):
            store.create_session(
                f"s{number}",
                f"secret {number}",
                "m",
                1.0,
                (new_message_id(), user_message("a secret")),
            )
        mine = {"ana": {"s0", "s2", "s4"}, "ben": {"s1", "s3"}}
        for _ in range(10):
            for store, owner in zip(stores, ("ana", "ben", "ana", "ben", "ana")):
                assert {row.id for row in store.sessions()} == mine[owner]
                assert {
                    session for session, _ in store.find_messages(parse_query("secret"), 20)
                } == mine[owner]
        ana, again = stores[0], stores[2]
        assert ana.begin_turn("s0") and ana.begin_turn("s0")
        assert not again.begin_turn("s0")
        reply = new_message_id()
        ana.add_message("s0", reply, Message("assistant", (Text(""),), "m"), "streaming")
        ana.append_chunk(reply, 0, Chunk("text", 0, "half"))
        assert again.unfinished() == []
        ana.close()  # its program ends: the lock in the pool ends with it
        end = time.monotonic() + 60
        while not again.unfinished():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert again.begin_turn("s0")
    finally:
        for store in stores[1:]:
            store.close()


def test_a_first_start_through_a_pool(pooled: str, postgres_url: str) -> None:
    empty = postgres.new_database(postgres_url)
    place = pooled.rpartition("/")[0] + "/" + empty.rpartition("/")[2]
    with closing(open_store(place)) as store:
        assert isinstance(store, PostgresStore)
        store.create_session("s", "t", "m", 1.0)
        assert [row.id for row in store.sessions()] == ["s"]


def test_a_pool_is_noticed_that_passes_on_no_news(pooled: str) -> None:
    import asyncio

    from core.store.postgres.news import News

    async def main() -> None:
        news = News(pooled)
        follower = news.follower("1")
        await asyncio.wait_for(news.run(), 60)
        assert news.pooled and not news.hears
        for _ in range(2):  # everything may have changed at each look
            assert await follower.changed(["one", "two"]) == {"one", "two"}

    asyncio.run(main())
