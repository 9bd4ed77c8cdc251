"""Accounts of a team's page: the keys that sign tickets, and users of an OpenID provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from core.errors import UsageError
from core.store.accounts import Accounts
from core.store.address import parse_address
from core.store.postgres.roles import prepare
from core.store.postgres.store import PostgresStore
from tests import postgres

pytestmark = pytest.mark.processes


@pytest.fixture
def accounts(postgres_url: str) -> Iterator[Accounts]:
    database = postgres.new_database(postgres_url)
    prepare(parse_address(database), [], ["page"])
    with closing(PostgresStore(parse_address(database.replace("//chat@", "//page@")))) as store:
        yield Accounts(store.postgres)


def test_a_key_changes_with_the_password_and_when_signed_out(accounts: Accounts) -> None:
    accounts.put("ana", "hash")
    accounts.put("ben", "hash")
    keys = [accounts.key_of("ana")]
    accounts.sign_out("ana")
    keys.append(accounts.key_of("ana"))
    accounts.put("ana", "another hash")
    keys.append(accounts.key_of("ana"))
    assert len(set(keys)) == 3 and all(keys) and accounts.key_of("ben") == "hash"
    accounts.remove("ana")
    assert accounts.key_of("ana") == accounts.hash_of("ana") == ""


def test_a_user_of_a_provider_stays_the_same_one(accounts: Accounts) -> None:
    accounts.put("ana", "")
    assert accounts.key_of("ana") == ""  # added, and never signed in: no ticket can be made
    assert accounts.of_subject("1", "ana", new=False) == "ana"
    key = accounts.key_of("ana")
    assert key and accounts.of_subject("1", "ana.new", new=False) == "ana"
    assert accounts.key_of("ana") == key and accounts.hash_of("ana") == ""
    with pytest.raises(UsageError):
        accounts.of_subject("2", "ana", new=True)  # another user, with her name


@pytest.mark.parametrize(
    "name, fits",
    [
        ("eve", True),
        ("eve@example.org", True),
        ("page", False),  # a role of the database would be the same member
        ("chat", False),
        ("postgres", False),
        ("", False),
        (" eve", False),
        ("eve\n", False),
        ("e" * 64, False),
    ],
)
def test_who_may_become_a_member(accounts: Accounts, name: str, fits: bool) -> None:
    with pytest.raises(UsageError):
        accounts.of_subject("1", name, new=False)
    if fits:
        assert accounts.of_subject("1", name, new=True) == name and accounts.names() == [name]
        return
    if name == "postgres" and not accounts.is_member(name):
        return  # this server has no such role
    with pytest.raises(UsageError):
        accounts.of_subject("1", name, new=True)
    assert accounts.names() == []
