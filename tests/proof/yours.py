"""The servers that a user lets the campaigns use: a model server, and an empty database.

PROVE_URL    the address of an OpenAI-compatible server, or of Ollama
PROVE_MODEL  the model to ask there; a key is given as to the program itself (OPENAI_API_KEY, ...)
PROVE_FLAGS  other flags of the program, such as "--provider anthropic", instead of PROVE_URL
DATABASE_URL a file, or postgresql://...
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from tests.surroundings import inherited

LONG = "Count from one to two thousand in English words, one number after another. This is test"
OPTIONS = "-c search_path=stream_chat,public -c default_transaction_read_only=off"


class NotEmpty(Exception):
    """The user's database contains sessions, which no campaign may touch."""


@dataclass(frozen=True, slots=True)
class Yours:
    """`url` and `database` are "" for what the campaign makes itself."""

    url: str
    flags: tuple[str, ...]
    database: str
    environment: dict[str, str]
    question: str

    @classmethod
    def named(cls) -> Self:
        """What the environment names. Raises NotEmpty."""
        url, model = os.environ.get("PROVE_URL", ""), os.environ.get("PROVE_MODEL", "")
        more = shlex.split(os.environ.get("PROVE_FLAGS", ""))
        database = os.environ.get("DATABASE_URL", "").removeprefix("sqlite:///")
        if database and (count := len(rows_of(database, "SELECT 1 FROM sessions"))):
            raise NotEmpty(f"DATABASE_URL names a database with {count} sessions; "
                           "make prove writes into it, so name an empty one.")
        flags = [*(["--base-url", url] if url else []), *(["--model", model] if model else []),
                 *more]
        environment = dict(os.environ) if flags else inherited()
        environment.pop("DATABASE_URL", None)
        if database:
            environment["DATABASE_URL"] = database
        return cls(url or shlex.join(more), tuple(flags), database, environment,
                   LONG if flags else "question")


def rows_of(database: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query; none if the database or its tables do not exist yet."""
    if database.startswith(("postgresql://", "postgres://")):
        return _rows_of_postgres(database, query)
    if not Path(database).exists():
        return []
    with closing(sqlite3.connect(database)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError as problem:
            if "no such table" in str(problem):
                return []
            raise


def _rows_of_postgres(url: str, query: str) -> list[tuple[Any, ...]]:
    import psycopg
    with psycopg.connect(url, autocommit=True, options=OPTIONS) as connection:
        try:
            return connection.execute(query.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            return []


def parts_of(stored: Any) -> list[dict[str, Any]]:
    """The parts of a message in its row: JSON, or already parsed."""
    return list(json.loads(stored) if isinstance(stored, str) else stored)
