"""The cost of a write to PostgreSQL, and what a power cut may lose of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from core.errors import StoreError
from core.messages import Message, Text, user_message
from core.store.identity import new_message_id, new_session_id
from core.store.postgres.store import PostgresStore
from core.store.rows import Chunk
from db import open_store
from tests import postgres
from tests.store.test_migrations import KillingProxy

pytestmark = pytest.mark.processes
SETTING = "SHOW synchronous_commit"


@pytest.fixture
def place(postgres_url: str) -> Iterator[tuple[PostgresStore, KillingProxy]]:
    """A store behind a proxy that counts what is sent to the server."""
    url = postgres.new_database(postgres_url)
    open_store(url).close()
    proxy = KillingProxy(url)
    database = url.rpartition("/")[2]
    through = f"postgresql://chat@127.0.0.1:{proxy.port}/{database}"
    store = open_store(f"{through}?sslmode=disable&gssencmode=disable")
    assert isinstance(store, PostgresStore)
    with closing(store):
        yield store, proxy


def begin(store: PostgresStore) -> int:
    """A reply that streams."""
    session, message = new_session_id(), new_message_id()
    store.create_session(session, "t", "m", 1.0, (new_message_id(), user_message("go")))
    store.add_message(session, message, Message("assistant", ()), "streaming")
    return message


def frame(number: int) -> Chunk:
    return Chunk("text", 0, f"piece {number} ")


@pytest.mark.parametrize("named", [False, True], ids=["own", "for another"])
def test_a_frame_is_one_message_to_the_server(
    place: tuple[PostgresStore, KillingProxy], named: bool
) -> None:
    """Also for a server that sets its user with each transaction."""
    store, proxy = place
    if named:
        store = store.for_user(str(store.postgres.read("SELECT session_user::text")[0][0]))
    message = begin(store)
    for number in range(10):  # until the statement is prepared
        store.append_chunk(message, number, frame(number))
    before = proxy.passed
    for number in range(10, 30):
        store.append_chunk(message, number, frame(number))
    assert proxy.passed - before == 20


ODD = (
    "it's 'quoted' \\ back\\'slash %s % {} ? $1 $$ -- /* ; DROP TABLE chunks; "
    "\n\t \x00 é 量 \ud800"
)


def test_what_is_said_is_never_a_part_of_the_statement(
    place: tuple[PostgresStore, KillingProxy],
) -> None:
    store, _ = place
    view = store.for_user(str(store.postgres.read("SELECT session_user::text")[0][0]))
    for each in (store, view):
        message = begin(each)
        each.append_chunk(message, 0, Chunk("text", 0, ODD, '{"a": "\'\\"}'))
        (session, *_) = each.sessions()
        found = each.open_reply(session.id)
        assert found is not None and found.id == message
        assert [(chunk.text, chunk.extra) for chunk in found.chunks] == [(ODD, '{"a": "\'\\"}')]


def test_what_has_to_reach_the_disk_is_waited_for(
    place: tuple[PostgresStore, KillingProxy],
) -> None:
    """Also if the write before it was not durable, and through another member's view."""
    store, _ = place
    message = begin(store)
    seen: list[str] = []

    def note(durable: bool) -> None:
        store.append_chunk(message, len(seen), frame(len(seen)), durable=durable)
        seen.append(store.postgres.read(SETTING)[0][0])

    for durable in (False, True, False, False, True):
        note(durable)
    assert seen == ["off", "on", "off", "off", "on"]
    note(False)
    store.finish_message(message, Message("assistant", (Text("done"),)), "complete")
    assert store.postgres.read(SETTING)[0][0] == "on"
    store.append_chunk(begin(store), 0, frame(0))
    view = store.for_user(str(store.postgres.read("SELECT session_user::text")[0][0]))
    begin(view)
    assert store.postgres.read(SETTING)[0][0] == "on"


def test_a_new_connection_waits_for_the_disk(postgres_url: str) -> None:
    store = open_store(postgres.new_database(postgres_url))
    assert isinstance(store, PostgresStore)
    with closing(store):
        message = begin(store)
        store.append_chunk(message, 0, frame(0))
        with pytest.raises(StoreError):
            store.postgres.maintain("SELECT pg_terminate_backend(pg_backend_pid())")
        store.append_chunk(message, 1, frame(1), durable=True)
        assert store.postgres.read(SETTING)[0][0] == "on"
        store.append_chunk(message, 2, frame(2))
        assert store.postgres.read(SETTING)[0][0] == "off"
        found = store.open_reply(store.sessions()[0].id)
        assert found is not None and found.id == message
        assert [chunk.text for chunk in found.chunks] == ["piece 0 ", "piece 1 ", "piece 2 "]
