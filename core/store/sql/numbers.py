"""The queries for call statistics and embeddings, written once for both databases."""

from __future__ import annotations

from core.errors import StoreConflict
from core.store.database import Database, Statement
from core.store.identity import new_message_ids
from core.store.rows import CallRow
from core.store.text import from_database, to_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.store.database import Run

MOST_MARKS = 500  # values in one query
_CALL = (
    "created, session_id, provider, model, host, first_seconds, seconds, input_tokens, "
    "output_tokens, cached_tokens, speed, cost, retries, fallbacks, finish, error"
)


class Calls:
    """The statistics of model calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, calls: Sequence[tuple[int, CallRow]]) -> None:
        self._database.write(
            [self._inserted(identity, call) for identity, call in calls], durable=False
        )

    def _inserted(self, identity: int, call: CallRow) -> Statement:
        key = self._database.key(identity)

        def unchanged(run: Run) -> None:
            if not run(
                "SELECT 1 FROM model_calls WHERE id = ? AND created = ? AND session_id = ?",
                (key, call.created, call.session),
            ):
                raise conflict("model call", f"{identity:x}")

        marks = ", ".join("?" * (len(CallRow._fields) + 1))
        return Statement(
            f"INSERT INTO model_calls (id, {_CALL}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING",
            (key, *(to_database(value) if isinstance(value, str) else value for value in call)),
            unchanged,
        )

    def since(self, since: float) -> list[CallRow]:
        rows = self._database.read(
            f"SELECT {_CALL} FROM model_calls WHERE created >= ? ORDER BY created, id", (since,)
        )
        return [
            CallRow._make(
                from_database(value) if isinstance(value, str) else value for value in row
            )
            for row in rows
        ]


class Vectors:
    """Embeddings by model and hash of their text."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
        name = to_database(model)
        self._database.write(
            [
                *(
                    Statement(
                        "INSERT INTO embeddings (id, model, hash, vector) VALUES (?, ?, ?, ?) "
                        f"ON CONFLICT ({self._database.vector_key}) DO UPDATE "
                        "SET id = excluded.id, vector = excluded.vector",
                        (self._database.key(identity), name, digest, vector),
                    )
                    for identity, (digest, vector) in zip(
                        new_message_ids(len(vectors)), vectors.items()
                    )
                ),
                Statement(
                    "DELETE FROM embeddings "
                    "WHERE id <= (SELECT id FROM embeddings ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (most,),
                ),
            ],
            durable=False,
        )

    def find(self, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(hashes), MOST_MARKS):
            some = hashes[start:start + MOST_MARKS]
            marks = ", ".join("?" * len(some))
            rows = self._database.read(
                f"SELECT hash, vector FROM embeddings WHERE model = ? AND hash IN ({marks})",
                (to_database(model), *some),
            )
            found.update((digest, bytes(vector)) for digest, vector in rows)
        return found


def conflict(what: str, identity: str) -> StoreConflict:
    return StoreConflict(
        f"Another {what} has the identity {identity} already; nothing was overwritten.",
        "The data may have been copied or damaged; please report it.",
    )
