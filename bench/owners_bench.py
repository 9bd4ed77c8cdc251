"""What row-level security costs: what a member lists, opens and searches, beside the same queries
without policies.

    python -m bench.owners_bench [MESSAGES [ROUNDS]]     1,000,000 messages, 15 rounds

It makes a PostgreSQL of its own in a temporary directory. Nine tenths of the messages belong to
the member; the rest to another one, shared with nobody. The policies are switched off and on
again between the measurements, so that both take turns. Printed is the processor time of the
server for one operation, as the kernel counts it: other work of the machine matters little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from core.store.address import parse_address
from core.store.postgres.roles import prepare
from core.store.query import parse_query
from core.store.words import POSTGRES_WORDS
from db import Store, open_store
from tests.postgres import running_server

MESSAGES, ROUNDS = 1_000_000, 15
OF_A_SESSION = 10
REPEATED = 5            # operations of one measurement
MEMBER, SESSION = "ana", "s00000042"
# Helping processes, whose time is not counted, and compiled queries hide what policies cost.
PLAIN = {"max_parallel_workers_per_gather": "0", "jit": "off"}
FILL = """
    SET search_path = stream_chat; SET session_replication_role = replica;
    INSERT INTO sessions (id, name, title, words, model, created, updated, used, message_count,
                          member)
        SELECT 's' || lpad(n::text, 8, '0'), 's' || lpad(n::text, 8, '0'), 'chat ' || n,
               'chat ' || n, 'demo/demo', 1.7e9 + n, 1.7e9 + n, n, {size},
               CASE WHEN n % 10 = 7 THEN 'ben' ELSE 'ana' END
        FROM generate_series(0, {sessions} - 1) AS n;
    DROP INDEX messages_words;
    INSERT INTO messages (id, session_id, position, role, state, created, parts, words, parent,
                          member)
        SELECT lpad(to_hex(n + 1), 32, '0')::uuid, 's' || lpad((n / {size})::text, 8, '0'),
               n % {size}, CASE n % 2 WHEN 0 THEN 'user' ELSE 'assistant' END, 'complete',
               1.7e9 + n, '[{{"type": "text", "text": "' || said || '"}}]', said,
               lpad(to_hex(CASE n % {size} WHEN 0 THEN 0 ELSE n END), 32, '0')::uuid,
               CASE WHEN n / {size} % 10 = 7 THEN 'ben' ELSE 'ana' END
        FROM (SELECT n, 'word' || floor(20000 * power(random(), 3)) || ' word'
                     || floor(20000 * power(random(), 3)) || ' word' || n % 19997
                     || CASE WHEN n % 9973 = 1 THEN ' zebra crossing' ELSE '' END AS said
              FROM generate_series(0, {messages} - 1) AS n) AS made;
    CREATE INDEX messages_words ON messages USING gin ({words});
"""


def fill(url: str, messages: int) -> None:
    """Make the members' schema and so many messages, by the server itself."""
    import psycopg

    prepare(parse_address(url), ["ana", "ben"], [])
    made = FILL.format(size=OF_A_SESSION, messages=messages, words=POSTGRES_WORDS,
                       sessions=messages // OF_A_SESSION)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(made.encode())
        connection.execute("SET session_replication_role = origin")
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


class Server:
    """Switches the policies on and off, and knows the processor time that the server used."""

    def __init__(self, url: str) -> None:
        import psycopg
        self._connection = psycopg.connect(url, autocommit=True)
        self._tables = [table for table, in self._connection.execute(
            "SELECT relname FROM pg_class WHERE relrowsecurity").fetchall()]

    def guard(self, *, on: bool) -> None:
        act = "ENABLE" if on else "DISABLE"
        for table in self._tables:
            self._connection.execute(
                f"ALTER TABLE stream_chat.{table} {act} ROW LEVEL SECURITY".encode())

    def nanoseconds(self) -> int:
        """Of all processes that work for the member."""
        rows = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = %s", (MEMBER,)).fetchall()
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0])
                   for pid, in rows)

    def close(self) -> None:
        self._connection.close()


def measure(url: str, rounds: int) -> Iterator[tuple[str, float, float]]:
    """Each operation with its milliseconds with and without policies."""
    own = url.replace("//chat@", f"//{MEMBER}@")
    with closing(Server(url)) as server, closing(open_store(own)) as guarded:
        server.guard(on=False)
        with closing(open_store(own)) as free:      # it asks at its start whether it is guarded
            for name, act in operations().items():
                spent: dict[bool, list[float]] = {True: [], False: []}
                for _ in range(rounds):
                    for on, store in ((True, guarded), (False, free)):
                        server.guard(on=on)
                        act(store)              # plans anew
                        begun = server.nanoseconds()
                        for _ in range(REPEATED):
                            act(store)
                        spent[on].append((server.nanoseconds() - begun) / REPEATED / 1e6)
                yield name, median(spent[True]), median(spent[False])


def main() -> None:
    messages, rounds = [*map(int, sys.argv[1:]), *(MESSAGES, ROUNDS)[len(sys.argv) - 1:]]
    with running_server() as url:
        begun = time.monotonic()
        fill(url, messages)
        print(f"{messages:,} messages, made in {time.monotonic() - begun:.0f} s", flush=True)
        for name, guarded, free in measure(url, rounds):
            print(f"{name:24} {guarded:8.3f} ms with policies, {free:8.3f} without: "
                  f"{guarded / free - 1:+.0%}", flush=True)


if __name__ == "__main__":
    main()
