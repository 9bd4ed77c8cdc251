"""What a member lists and finds among other members' sessions in PostgreSQL: exactly what the
policies allow, in the right order, at a cost that does not grow with the others' sessions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from core.messages import Message, Text, ToolCall
from core.store.address import parse_address
from core.store.identity import new_message_id
from core.store.postgres.roles import prepare
from core.store.postgres.store import PostgresStore
from core.store.query import parse_query
from db import Store, open_store
from tests import postgres

pytestmark = pytest.mark.processes
MEMBERS = ("ana", "ben", "cleo")
SHELVES = ("open", "archived", "trash")
SEED = 20261130
QUERIES = ("apple", "apple pear", '"apple pear"', "apple -pear", 'apple -"pear plum"', "ap*",
           '"apple pe"*', "in:answer apple", "in:question apple", "in:tool apple",
           "in:branches apple", 'in:answer "apple pear"', "in:tool -pear apple", "tag:fruit apple",
           "model:small plum", "after:2001 apple", "before:2001 apple", "C++", "a/b")


@pytest.fixture
def url(postgres_url: str) -> str:
    made = postgres.new_database(postgres_url)
    prepare(parse_address(made), MEMBERS, [])
    return made


def open_as(url: str, member: str) -> PostgresStore:
    store = open_store(url.replace("//chat@", f"//{member}@"))
    assert isinstance(store, PostgresStore)
    return store


@pytest.fixture
def stores(url: str) -> Iterator[dict[str, PostgresStore]]:
    opened = {member: open_as(url, member) for member in MEMBERS}
    yield opened
    for store in opened.values():
        store.close()


class Made(NamedTuple):
    """A session as the test made it."""

    id: str
    member: str
    pinned: bool
    shelf: str
    readers: tuple[str, ...]


def make(stores: dict[str, PostgresStore], count: int, dice: random.Random) -> list[Made]:
    """Make sessions of all members, some of them shared, pinned or on another shelf; some are no
    longer shared.
    """
    made = []
    for number in range(count):
        member = dice.choice(MEMBERS)
        others = [other for other in MEMBERS if other != member]
        readers = dice.sample(others, dice.choice((0, 0, 1, 2)))
        session = Made(f"s-{number:04}", member, dice.random() < 0.2, dice.choice(SHELVES),
                       tuple(readers))
        store = stores[member]
        store.create_session(session.id, f"title {number}", "demo/m", 1.0, name=session.id)
        store.update_session(session.id, pinned=session.pinned)
        for reader in others if dice.random() < 0.3 else readers:
            store.share_session(session.id, reader, write=dice.random() < 0.5)
        for share in store.shares(session.id):
            if share.reader not in readers:
                store.unshare_session(session.id, share.reader)
        store.shelve_session(session.id, session.shelf)  # type: ignore[arg-type]
        made.append(session)
    return made


def test_a_list_has_own_and_shared_sessions_in_one_order(stores: dict[str, PostgresStore]) -> None:
    print("seed", SEED)
    made = make(stores, 60, random.Random(SEED))
    for member, store in stores.items():
        for shelf in SHELVES:
            seen = [each for each in reversed(made)
                    if each.shelf == shelf and member in (each.member, *each.readers)]
            seen.sort(key=lambda each: not each.pinned)
            for limit in (1, 3, 7, 0):
                listed = store.sessions(limit, shelf=shelf)  # type: ignore[arg-type]
                wanted = seen[:limit] if limit else seen
                assert [row.id for row in listed] == [each.id for each in wanted]
                assert [row.member for row in listed] == [
                    "" if each.member == member else each.member for each in wanted]
            assert store.count_sessions(shelf) == len(seen)  # type: ignore[arg-type]


def test_a_session_shared_with_oneself_is_listed_once(stores: dict[str, PostgresStore]) -> None:
    ana = stores["ana"]
    ana.create_session("s-own", "own", "demo/m", 1.0, name="s-own")
    ana.share_session("s-own", "ana", write=False)
    assert [row.id for row in ana.sessions(9)] == ["s-own"] and ana.count_sessions("open") == 1


def test_what_was_shared_before_the_update_is_listed(
    url: str, stores: dict[str, PostgresStore]
) -> None:
    """As the migration finds it: the share is there, the mark is not."""
    from core.store.member_index import MEMBERS_POSTGRES
    stores["ana"].create_session("s-ana", "hers", "demo/m", 1.0, name="s-ana")
    stores["ana"].share_session("s-ana", "ben", write=False)
    (fill,) = [sql for sql in MEMBERS_POSTGRES if sql.startswith("UPDATE sessions")]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = stream_chat; UPDATE sessions SET was_shared = 0")
        assert stores["ben"].sessions(9) == []
        connection.execute(fill.encode())
    assert [row.id for row in stores["ben"].sessions(9)] == ["s-ana"]


def test_a_list_does_not_read_other_members_sessions(
    url: str, stores: dict[str, PostgresStore]
) -> None:
    ana, ben = stores["ana"], stores["ben"]
    for name, store in (("s-old", ana), ("s-shared", ben), ("s-older", ana)):
        store.create_session(name, name, "demo/m", 1.0, name=name)
    ben.share_session("s-shared", "ana", write=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO stream_chat.sessions (id, name, title, model, created, updated, used,"
            " member) SELECT 's' || n, 's' || n, 'chat', 'm', 1, 1, 1000 + n, 'ben'"
            " FROM generate_series(1, 5000) AS n")
        connection.execute("ANALYZE stream_chat.sessions")
    database = ana.database
    for act in (lambda: ana.sessions(50), lambda: ana.sessions(0), ana.last_session,
                lambda: ana.count_sessions("open")):
        with database.snapshot():
            before = rows_read(ana)
            act()
            assert 0 < rows_read(ana) - before < 50
    assert [row.id for row in ana.sessions(50)] == ["s-older", "s-shared", "s-old"]


def rows_read(store: Store) -> int:
    """The rows and index entries of sessions that the current transaction has read."""
    found = store.database.read(  # type: ignore[attr-defined]
        "SELECT (SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
        "WHERE relname = 'sessions')")
    return int(found[0][0] or 0)


def say_much(store: Store, dice: random.Random, prefix: str) -> None:
    """The same sessions in any store: words, tools, hidden messages, tags, models, times."""
    for number in range(12):
        session = f"{prefix}-{number:02}"
        store.create_session(session, dice.choice(("apple pear", "plum")),
                             dice.choice(("demo/small", "demo/large")), 1.0, name=session)
        for _ in range(6):
            text = " ".join(dice.choice(("apple", "pear", "plum", "C++", "a/b", "and"))
                            for _ in range(dice.randrange(1, 6)))
            part = dice.choice((Text(text), ToolCall("c", "look", {"for": text})))
            role = "assistant" if isinstance(part, ToolCall) else dice.choice(("user", "assistant"))
            identity = new_message_id()
            store.add_message(session, identity, Message(role, (part,)),  # type: ignore[arg-type]
                              "complete")
            if dice.random() < 0.3:
                store.hide_messages(session, [identity])
        store.update_session(session, tags=dice.choice(("fruit", "")))
        store.shelve_session(session, dice.choice(SHELVES))  # type: ignore[arg-type]


def found(store: Store, query: str) -> tuple[object, ...]:
    """What a query finds in messages and lists, by session."""
    newest = {limit: [session for session, _ in store.find_messages(parse_query(query), limit)]
              for limit in (1, 4)}
    return (newest, sorted(session for session, _ in store.find_messages(parse_query(query), 0)),
            {(shelf, limit): [row.id for row in store.sessions(
                limit, query, shelf=shelf)]  # type: ignore[arg-type]
             for shelf, limit in (("open", 2), ("open", 0), ("trash", 0))})


def test_a_member_finds_what_a_user_of_sqlite_finds(
    stores: dict[str, PostgresStore], tmp_path: Path
) -> None:
    print("seed", SEED)
    say_much(stores["ana"], random.Random(SEED), "s")
    say_much(stores["ben"], random.Random(SEED + 1), "b")
    with closing(open_store(str(tmp_path / "sessions.db"))) as alone:
        say_much(alone, random.Random(SEED), "s")
        for query in QUERIES:
            assert found(stores["ana"], query) == found(alone, query), query


def test_matches_among_the_newest_messages_and_before_them_are_found(
    url: str, stores: dict[str, PostgresStore]
) -> None:
    """A search looks through the newest 5,000 messages or more, then asks the index."""
    stores["ana"].create_session("s-ana", "t", "demo/m", 1.0, name="s-ana")
    words = {"every": 1, "tenth": 10, "few": 200, "old": 30}    # each so manieth message has it
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO stream_chat.messages (id, session_id, position, role, state, created,"
            " parts, words) SELECT lpad(to_hex(n), 32, '0')::uuid, 's-ana', n, 'user', 'complete',"
            " 1, '[]', 'every' || CASE WHEN n % 10 = 0 THEN ' tenth' ELSE '' END"
            " || CASE WHEN n % 200 = 0 THEN ' few' ELSE '' END"
            " || CASE WHEN n % 30 = 0 AND n < 2000 THEN ' old' ELSE '' END"
            " FROM generate_series(1, 7000) AS n")
    whole = PostgresStore(parse_address(url), whole=True)
    with closing(whole):
        for store in (stores["ana"], whole):
            for word, step in words.items():
                newest = range(step, 2_000 if word == "old" else 7_001, step)[::-1]
                for limit in (1, 26, 50, 300, 0):
                    seen = [number for _, number in store.find_messages(parse_query(word), limit)]
                    assert (seen if limit else sorted(seen, reverse=True)) == [
                        *newest[:limit or len(newest)]], (word, limit)
            assert store.find_messages(parse_query('"tenth every"'), 50) == []
            assert len(store.find_messages(parse_query('"every tenth" -few'), 1_000)) == 665
