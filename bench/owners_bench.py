"""Measures row-level security: a member's lists, sessions and searches, compared with the same
queries without policies.

    python -m bench.owners_bench [MESSAGES [ROUNDS]]     1,000,000 messages, 15 rounds

It makes a PostgreSQL of its own in a temporary directory. Nine tenths of the messages belong to
the member; the rest to another one, shared with nobody, and to one who had ten sessions long ago.
A page server that acts for the member asks the same, and so does a role that policies do not apply
to, which sees the sessions of all; they take turns, so that all meet the same load. A page server
also names the member in each transaction. Printed is the processor time of the server for one
operation, as the kernel counts it, in connections that have asked the same before; then that of the
first one in a new connection.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

from core.store.address import parse_address
from core.store.postgres.roles import prepare
from core.store.postgres.store import PostgresStore
from core.store.query import parse_query
from core.store.words import POSTGRES_WORDS
from db import Store
from tests.postgres import running_server

MESSAGES, ROUNDS = 1_000_000, 15
OF_A_SESSION = 10
REPEATED = 5            # operations of one measurement
WARM = 8                # operations before the first: the driver has prepared the statement
MEMBER, FEW, PAGE, FREE, SESSION = "ana", "cleo", "page", "free", "s00000042"
# Helping processes, whose time is not counted, and compiled queries hide what policies cost.
PLAIN = {"max_parallel_workers_per_gather": "0", "jit": "off"}
FILL = """
    SET search_path = stream_chat; SET session_replication_role = replica;
    INSERT INTO sessions (id, name, title, words, model, created, updated, used, message_count,
                          member)
        SELECT 's' || lpad(n::text, 8, '0'), 's' || lpad(n::text, 8, '0'), 'chat ' || n,
               'chat ' || n, 'demo/demo', 1.7e9 + n, 1.7e9 + n, n, {size},
               {member}
        FROM generate_series(0, {sessions} - 1) AS n;
    DROP INDEX messages_words;
    INSERT INTO messages (id, session_id, position, role, state, created, parts, words, parent,
                          member)
        SELECT lpad(to_hex(n + 1), 32, '0')::uuid, 's' || lpad((n / {size})::text, 8, '0'),
               n % {size}, CASE n % 2 WHEN 0 THEN 'user' ELSE 'assistant' END, 'complete',
               1.7e9 + n, '[{{"type": "text", "text": "' || said || '"}}]', said,
               lpad(to_hex(CASE n % {size} WHEN 0 THEN 0 ELSE n END), 32, '0')::uuid,
               {member_of_message}
        FROM (SELECT n, 'word' || floor(20000 * power(random(), 3)) || ' word'
                     || floor(20000 * power(random(), 3)) || ' word' || n % 19997
                     || CASE WHEN n % 9973 = 1 THEN ' zebra crossing' ELSE '' END AS said
              FROM generate_series(0, {messages} - 1) AS n) AS made;
    CREATE INDEX messages_words ON messages USING gin ({words});
"""


WHOSE = ("CASE WHEN {0} % 10 = 7 THEN 'ben' WHEN {0} < 100 AND {0} % 10 = 3 THEN 'cleo' "
         "ELSE 'ana' END")


def fill(url: str, messages: int) -> None:
    """Create the members' schema and so many messages, in the server itself."""
    import psycopg

    prepare(parse_address(url), ["ana", "ben", FEW], [PAGE])
    made = FILL.format(size=OF_A_SESSION, messages=messages, words=POSTGRES_WORDS,
                       sessions=messages // OF_A_SESSION, member=WHOSE.format("n"),
                       member_of_message=WHOSE.format(f"(n / {OF_A_SESSION})"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(made.encode())
        connection.execute("SET session_replication_role = origin")
        connection.execute(
            f"CREATE ROLE {FREE} LOGIN BYPASSRLS IN ROLE stream_chat_postgres".encode())
        for name, value in PLAIN.items():
            connection.execute(f"ALTER DATABASE postgres SET {name} = {value}".encode())
        connection.execute("VACUUM ANALYZE")


def operations() -> dict[str, Callable[[Store], object]]:
    searches = {"a common word": "word0", "a rare word": "zebra", "a phrase": '"zebra crossing"',
                "three words": "word1 word2 word3", "a beginning": "word123*"}
    found: dict[str, Callable[[Store], object]] = {
        "list 50": lambda store: store.sessions(50),
        "list 50 by title": lambda store: store.sessions(50, "chat 4242"),
        "open": lambda store: store.load_messages(SESSION),
        "newest messages": lambda store: store.newest_messages(SESSION, 5),
    }
    for name, text in searches.items():
        found[f"search {name}"] = lambda store, text=text: search(store, text)
    return found


def search(store: Store, text: str) -> list[Any]:
    """The newest 50 messages with these words, of one's own."""
    return store.find_messages(parse_query(text), 50)


def open_as(url: str, role: str) -> PostgresStore:
    """Open the database as a member, as a server that acts for the member, or as the role that sees
    everything.
    """
    address = parse_address(url.replace("//chat@", f"//{role}@"))
    return PostgresStore(address, whole=role == FREE,
                         user=MEMBER if role == PAGE else "")


class Server:
    """Measures the processor time that the server uses for a connection."""

    def __init__(self, store: PostgresStore) -> None:
        ((self._process,),) = store.database.read("SELECT pg_backend_pid()")

    def milliseconds(self) -> float:
        spent = Path(f"/proc/{self._process}/schedstat").read_text("ascii").split()[0]
        return int(spent) / 1e6


def spent_on(store: PostgresStore, act: Callable[[Store], object], times: int) -> float:
    """Milliseconds of the server for one of so many operations."""
    server = Server(store)
    begun = server.milliseconds()
    for _ in range(times):
        act(store)
    return (server.milliseconds() - begun) / times


def measure(url: str, member: str, act: Callable[[Store], object], rounds: int) -> list[float]:
    """Milliseconds of an operation that was asked before: of the member, of a server that acts for
    the member, and without policies.
    """
    spent: dict[str, list[float]] = {member: [], PAGE: [], FREE: []}
    with ExitStack() as stack:
        stores = {role: stack.enter_context(closing(open_as(url, role))) for role in spent}
        for store in stores.values():
            for _ in range(WARM):
                act(store)
        for _ in range(rounds * REPEATED):
            for role, store in stores.items():
                spent[role].append(spent_on(store, act, REPEATED))
    return list(map(median, spent.values()))


def measure_first(url: str, member: str, act: Callable[[Store], object],
                  rounds: int) -> list[float]:
    """The same for the first operation of a connection."""
    spent: dict[str, list[float]] = {member: [], PAGE: [], FREE: []}
    for _ in range(rounds):
        for role, times in spent.items():
            with closing(open_as(url, role)) as store:
                times.append(spent_on(store, act, 1))
    return list(map(median, spent.values()))


def report(name: str, guarded: float, acting: float, free: float) -> None:
    print(f"{name:36} {guarded:8.3f} ms with policies, {acting:8.3f} through a page server, "
          f"{free:8.3f} without: {guarded / free - 1:+.0%}, {acting / free - 1:+.0%}", flush=True)


def main() -> None:
    messages, rounds = [*map(int, sys.argv[1:]), *(MESSAGES, ROUNDS)[len(sys.argv) - 1:]]
    with running_server() as url:
        begun = time.monotonic()
        fill(url, messages)
        print(f"{messages:,} messages, made in {time.monotonic() - begun:.0f} s", flush=True)
        for name, act in operations().items():
            report(name, *measure(url, MEMBER, act, rounds))
            report(f"{name}, first", *measure_first(url, MEMBER, act, rounds))
        few = operations()["list 50"]
        report("list 50, a member with ten sessions", *measure(url, FEW, few, rounds))


if __name__ == "__main__":
    main()
