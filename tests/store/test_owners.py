"""Ownership of sessions in PostgreSQL: several members with separate roles, and a server that acts
for many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from core.errors import SessionGone, SessionNotFound, StoreError, StoreForbidden, UsageError
from core.messages import Message, Text, user_message
from core.setup.database_care import move, open_care
from core.store.address import parse_address
from core.store.identity import new_message_id
from core.store.postgres.roles import prepare
from core.store.postgres.store import PostgresStore
from core.store.query import parse_query
from core.store.rows import CallRow, Chunk
from db import Store, open_store
from tests import postgres

pytestmark = pytest.mark.processes
CALL = CallRow(1.0, "s", "demo", "m", "", None, 1.0, 1, 1, None, None, 0.5, 0, 0, "stop", None)


class Team:
    """A database that is prepared for ana, ben and cleo, and for the server `page`."""

    def __init__(self, url: str) -> None:
        self.url = postgres.new_database(url)
        prepare(parse_address(self.url), ["ana", "ben", "cleo"], ["page"])
        self._opened: list[Store] = []

    def url_of(self, role: str) -> str:
        return self.url.replace("//chat@", f"//{role}@")

    def open(self, role: str, user: str = "") -> PostgresStore:
        store = open_store(self.url_of(role), user=user)
        assert isinstance(store, PostgresStore)
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()


@pytest.fixture
def team(postgres_url: str) -> Iterator[Team]:
    made = Team(postgres_url)
    yield made
    made.close()


def say(store: Store, session: str, text: str, role: str = "user") -> int:
    identity = new_message_id()
    store.add_message(
        session,
        identity,
        Message("user" if role == "user" else "assistant", (Text(text),)),
        "complete",
    )
    return identity


def begin(store: Store, session: str, text: str) -> None:
    store.create_session(
        session, text, "demo/m", 1.0, (new_message_id(), user_message(text)), name=session
    )


def everything(store: Store) -> list[object]:
    """Everything that a member can see in any way."""
    query = parse_query("secret")
    found: list[object] = [
        store.sessions(),
        store.sessions(words="secret"),
        store.sessions(shelf="trash"),
        store.last_session(),
        store.find_messages(query, 10),
        store.find_messages(query, 0),
        store.find_titles(query, 10),
        store.unfinished(),
        store.unused_sessions(1e12),
        store.calls(),
        store.vectors("m", ["secret"]),
    ]
    return found


def test_others_sessions_do_not_exist(team: Team, tmp_path: object) -> None:
    ana, ben = team.open("ana"), team.open("ben")
    nothing = everything(ben)
    begin(ana, "s-ana", "the secret plan")
    reply = new_message_id()
    ana.add_message("s-ana", reply, Message("assistant", (), "demo/m"), "streaming")
    ana.append_chunk(reply, 0, Chunk("text", 0, "more secrets"))
    ana.add_calls([(new_message_id(), CALL)])
    ana.add_vectors("m", {"secret": b"123"}, 10)
    assert everything(ben) == nothing and everything(ana) != nothing
    assert (
        ben.load_messages("s-ana")
        == ben.some_messages([reply])
        == ben.some_sessions(["s-ana"])
        == []
    )
    assert (
        ben.open_reply("s-ana") is None
        and ben.session_settings("s-ana") == ""
        and ben.shares("s-ana") == []
    )
    with pytest.raises(SessionNotFound):
        ben.find_session("s-ana")
    with pytest.raises(SessionGone):
        say(ben, "s-ana", "put into it")
    with pytest.raises(SessionGone):
        ben.begin_turn("s-ana")
    with pytest.raises(SessionGone):
        ben.share_session("s-ana", "ben", write=True)
    with pytest.raises(SessionGone):
        ben.finish_message(reply, Message("assistant", (Text("x"),), "demo/m"), "complete")
    with pytest.raises(StoreError):
        ben.append_chunk(reply, 1, Chunk("text", 0, "put into it"))
    ben.delete_session("s-ana")
    ben.update_session("s-ana", title="taken")
    ben.shelve_session("s-ana", "trash")
    ben.hide_messages("s-ana", [reply])
    assert [row.title for row in ana.sessions()] == ["the secret plan"] and len(
        ana.load_messages("s-ana")
    ) == 2
    ben.copy_session(
        "s-ana", "s-copy", "t", "m", 1.0, [(ana.load_messages("s-ana")[0].id, new_message_id())]
    )
    assert ben.load_messages("s-copy") == []


def test_what_is_shared_for_reading_is_read_and_not_written(team: Team) -> None:
    ana, ben, cleo = team.open("ana"), team.open("ben"), team.open("cleo")
    begin(ana, "s-ana", "the secret plan")
    begin(ben, "s-ben", "mine")
    ana.share_session("s-ana", "ben", write=False)
    assert [(share.reader, share.write) for share in ana.shares("s-ana")] == [("ben", False)]
    assert {row.id: row.member for row in ben.sessions()} == {"s-ana": "ana", "s-ben": ""}
    assert [session for session, _ in ben.find_messages(parse_query("secret"), 5)] == ["s-ana"]
    say(ana, "s-ana", "used last")
    last = ben.last_session()
    assert last is not None and last.id == "s-ben"
    for act in (
        lambda: say(ben, "s-ana", "x"),
        lambda: ben.begin_turn("s-ana"),
        lambda: ben.delete_session("s-ana"),
        lambda: ben.update_session("s-ana", title="x"),
        lambda: ben.shelve_session("s-ana", "trash"),
        lambda: ben.share_session("s-ana", "cleo", write=False),
    ):
        with pytest.raises(StoreForbidden):
            act()
    assert cleo.sessions() == [] and [row.title for row in ana.sessions()] == ["the secret plan"]
    ben.copy_session(
        "s-ana",
        "s-copy",
        "t",
        "m",
        1.0,
        [(entry.id, new_message_id()) for entry in ben.load_messages("s-ana")],
    )
    assert [entry.message.text for entry in ben.load_messages("s-copy")] == [
        "the secret plan",
        "used last",
    ]
    ana.unshare_session("s-ana", "ben")
    assert "s-ana" not in {row.id for row in ben.sessions()}
    with pytest.raises(UsageError):
        ana.share_session("s-ana", "nobody", write=False)


def test_what_newer_messages_with_the_same_word_hide_is_found_after_all(team: Team) -> None:
    """The database gives the newest with a word; filters may leave out all of those."""
    ana = team.open("ana")
    begin(ana, "s-ana", "the question")
    old = [say(ana, "s-ana", f"apple {number}", "assistant") for number in range(2)]
    for _ in range(40):
        say(ana, "s-ana", "apple")
    found = ana.find_messages(parse_query("apple in:answer"), 2)
    assert [identity for _, identity in found] == old[::-1]


def test_what_is_shared_for_writing_is_written_and_stays_its_owners(team: Team) -> None:
    ana, ben = team.open("ana"), team.open("ben")
    begin(ana, "s-ana", "together")
    ana.share_session("s-ana", "ben", write=True)
    assert ben.begin_turn("s-ana")
    assert not ana.begin_turn("s-ana")
    reply = new_message_id()
    ben.add_message("s-ana", reply, Message("assistant", (), "demo/m"), "streaming")
    ben.append_chunk(reply, 0, Chunk("text", 0, "a word"))
    opened = ana.open_reply("s-ana")
    assert opened is not None and [chunk.text for chunk in opened.chunks] == ["a word"]
    ben.finish_message(reply, Message("assistant", (Text("a word"),), "demo/m"), "complete")
    ben.end_turn("s-ana")
    ben.update_session("s-ana", title="ours")
    assert [entry.message.text for entry in ana.load_messages("s-ana")] == ["together", "a word"]
    assert [row.title for row in ana.sessions()] == ["ours"]
    for act in (lambda: ben.delete_session("s-ana"), lambda: ben.shelve_session("s-ana", "trash")):
        with pytest.raises(StoreForbidden):
            act()
    ana.shelve_session("s-ana", "trash")
    assert ben.empty_trash(1e12) == 0 and ana.empty_trash(1e12) == 1


def test_the_database_itself_refuses(team: Team) -> None:
    """Statements that no version of this program sends."""
    import psycopg

    ana = team.open("ana")
    begin(ana, "s-ana", "the secret plan")
    begin(ana, "s-shared", "shared")
    ana.share_session("s-shared", "ben", write=True)
    with psycopg.connect(team.url_of("ben"), autocommit=True) as connection:
        connection.execute("SET search_path = stream_chat")
        seen = "SELECT count(*) FROM sessions WHERE id = 's-ana'"
        for setting in (
            "SET stream_chat.member = 'ana'",
            "SET row_security = off",
            "SET search_path = stream_chat",
        ):
            connection.execute(setting.encode())
            try:
                assert connection.execute(seen.encode()).fetchone() == (0,), setting
            except psycopg.errors.InsufficientPrivilege:
                pass  # row_security = off: an error instead of fewer rows
            connection.execute("RESET row_security")
        for statement in (
            "UPDATE sessions SET member = 'ben' WHERE id = 's-shared'",
            "SET ROLE ana",
            "SET ROLE page",
            "INSERT INTO servers VALUES ('ben')",
            "SELECT * FROM servers",
            "UPDATE meta SET value = '1'",
            "INSERT INTO shares VALUES ('s-ana', 'ben', 1)",
            "INSERT INTO deleted_sessions VALUES ('s-shared')",
            "DROP TABLE sessions",
            "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY",
            "UPDATE messages SET session_id = 's-shared'",
            "INSERT INTO accounts VALUES ('ben', '', 1)",
            "CREATE FUNCTION current_member() RETURNS text LANGUAGE sql AS $$ SELECT 'ana' $$",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement.encode())
        for table in (
            "sessions",
            "messages",
            "chunks",
            "model_calls",
            "embeddings",
            "deleted_sessions",
            "shares",
            "accounts",
        ):
            assert "secret" not in str(
                connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
            )
        assert connection.execute("DELETE FROM sessions").rowcount == 0
        assert connection.execute("UPDATE shares SET reader = 'cleo'").rowcount == 0


def test_a_leaking_function_sees_nothing_of_others(team: Team) -> None:
    """PostgreSQL checks the policies before a user's own function sees a row."""
    import psycopg

    begin(team.open("ana"), "s-ana", "the secret plan")
    seen: list[str] = []
    with psycopg.connect(team.url_of("ben"), autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: seen.append(str(notice.message_primary)))
        connection.execute(
            "CREATE FUNCTION pg_temp.tell(value text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE NOTICE '%', value; RETURN true; END $$"
        )
        connection.execute("SELECT count(*) FROM stream_chat.sessions WHERE pg_temp.tell(title)")
        connection.execute("SELECT count(*) FROM stream_chat.messages WHERE pg_temp.tell(parts)")
    assert seen == []


def test_a_server_acts_for_many_over_one_connection(team: Team) -> None:
    page = team.open("page")
    ana, ben = page.for_user("ana"), page.for_user("ben")
    begin(ana, "s-ana", "the secret plan")
    begin(ben, "s-ben", "mine")
    begin(page, "s-page", "the server's own")
    assert [[row.id for row in store.sessions()] for store in (ana, ben, page)] == [
        ["s-ana"],
        ["s-ben"],
        ["s-page"],
    ]
    assert [row.id for row in team.open("ana").sessions()] == ["s-ana"]
    with closing(open_store(ben.url)) as again:
        assert [row.id for row in again.sessions()] == ["s-ben"]
    assert ana.place != ben.place
    with pytest.raises(StoreForbidden) as caught:
        team.open("ben").for_user("ana")
    assert "--db-init --server ben" in caught.value.hint
    with pytest.raises(StoreForbidden):
        open_store(team.url_of("cleo"), user="ana")


def test_who_administrates_chats_as_a_member_and_cares_for_the_whole(
    team: Team, tmp_path: object
) -> None:
    ana = team.open("ana")
    begin(ana, "s-ana", "the secret plan")
    ana.share_session("s-ana", "ben", write=False)
    admin = team.open("chat")
    assert admin.sessions() == [] and admin.last_session() is None
    copy, own = f"{tmp_path}/copy.db", f"{tmp_path}/own.db"
    open_care(team.url).backup(copy)
    open_care(team.url_of("cleo")).backup(own)
    with closing(open_store(copy)) as whole, closing(open_store(own)) as nothing:
        assert [row.id for row in whole.sessions()] == ["s-ana"] and nothing.sessions() == []
    ana.close()
    assert "stream_chat_before" in open_care(team.url).restore(copy)
    assert [(row.id, row.member) for row in team.open("ben").sessions()] == [("s-ana", "ana")]
    assert [row.id for row in team.open("ana").sessions()] == ["s-ana"]
    for act in (
        lambda: open_care(team.url_of("ben")).restore(copy),
        lambda: open_care(team.url_of("ben")).shrink(),
    ):
        with pytest.raises(StoreError):
            act()
    assert open_care(team.url).check().problems == ()


def test_a_member_moves_sessions_in_and_out(team: Team, tmp_path: object) -> None:
    begin(team.open("ana"), "s-ana", "the secret plan")
    file = f"{tmp_path}/mine.db"
    with closing(open_store(file)) as mine:
        begin(mine, "s-mine", "from a file")
    assert move(file, team.url_of("ben"))["sessions"] == 1
    assert [(row.id, row.member) for row in team.open("ben").sessions()] == [("s-mine", "")]
    assert [row.id for row in team.open("ana").sessions()] == ["s-ana"]
    assert move(team.url_of("ben"), f"{tmp_path}/out.db")["sessions"] == 1


def test_a_role_without_rights_gets_words_that_fit(team: Team) -> None:
    import psycopg

    with psycopg.connect(team.url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'stranger'").fetchone():
            connection.execute("CREATE ROLE stranger LOGIN")
    with pytest.raises(StoreForbidden) as caught:
        team.open("stranger")
    assert (
        "'stranger'" in caught.value.message and "--db-init --member stranger" in caught.value.hint
    )


def test_a_connection_that_died_is_made_again(team: Team) -> None:
    import psycopg

    ana = team.open("ana")
    begin(ana, "s-ana", "before")
    with psycopg.connect(team.url, autocommit=True) as connection:
        for _ in range(3):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ana'"
            )
            assert [row.id for row in ana.sessions()] == ["s-ana"]
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ana'"
            )
            say(ana, "s-ana", "after")
    assert len(ana.load_messages("s-ana")) == 4


def test_a_backup_is_restored_into_another_database_and_compared(
    team: Team, postgres_url: str, tmp_path: object
) -> None:
    """The restore test of docs/teams.md: owners, shares and accounts are included."""
    ana = team.open("ana")
    begin(ana, "s-ana", "the secret plan")
    ana.share_session("s-ana", "ben", write=True)
    begin(team.open("ben"), "s-ben", "mine")
    copy = f"{tmp_path}/copy.db"
    open_care(team.url).backup(copy)
    scratch = postgres.new_database(postgres_url)
    prepare(parse_address(scratch), ["ana", "ben"], [])
    assert move(copy, scratch)["sessions"] == 2
    for name, sees in (
        ("ana", {"s-ana": ""}),
        ("ben", {"s-ana": "ana", "s-ben": ""}),
        ("cleo", {}),
    ):
        if name == "cleo":
            prepare(parse_address(scratch), ["cleo"], [])
        with closing(open_store(scratch.replace("//chat@", f"//{name}@"))) as store:
            assert {row.id: row.member for row in store.sessions()} == sees
            if name == "ben":
                assert store.begin_turn("s-ana")
