"""An empty database of each kind, for tests of their common behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db import Store, open_store
from tests import postgres

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same, at first empty, database each time."""
    opened: list[Store] = []
    if request.param == "sqlite":
        url = str(tmp_path / "data" / "sessions.db")
    else:
        url = postgres.new_database(request.getfixturevalue("postgres_url"))

    def open_it() -> Store:
        opened.append(open_store(url))
        return opened[-1]
    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_one: Open) -> Store:
    return open_one()
