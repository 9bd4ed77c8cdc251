"""Compares texts with a question by meaning; each embedding is requested once and then stored."""

from __future__ import annotations

import array
import asyncio
import hashlib
import logging
import math
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import mul

from core.dataclass import dataclass
from core.errors import BadResponse, ChatError, StoreError
from core.events import Progress
from db import Store

MOST_KEPT = 20_000        # embeddings in the database; at 768 numbers 3 KB each
MOST_HELD = 4_000         # embeddings in memory
MOST_CHARACTERS = 8_000   # characters of one text that are sent
SLICE = 0.02              # seconds of work after which the event loop may run
Embed = Callable[[Sequence[str]], Coroutine[None, None, list[list[float]]]]
Vector = array.array      # float32 numbers, scaled to length 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What comparing by meaning may take."""

    compared: int = 2_000     # pieces per question
    batch: int = 32           # texts in one request
    patience: float = 60.0    # seconds for one request: a model may have to be loaded
    rest: float = 60.0        # seconds after a failure before the next request, or the next write
    step: float = 0.2         # seconds between two updates of the progress


class Embedder:
    """Compares texts by meaning for one conversation, within `limits`. With `store` None,
    embeddings are kept in memory only.

    A failure is reported once; until a later attempt succeeds, texts are not compared by meaning.
    """

    def __init__(self, model: str, embed: Embed, store: Store | None = None,
                 limits: Limits = Limits()) -> None:
        self.model, self.store, self.limits = model, store, limits
        self._embed = embed
        self._held: dict[str, Vector[float]] = {}
        self._rests_until = 0.0
        self._kept_from = 0.0       # the time from which the store is tried again
        self._told = False
        self._news = ""

    def take_news(self) -> str:
        """The notice for the user, returned once; "" without one."""
        news, self._news = self._news, ""
        return news

    async def similarities(self, question: str, texts: Sequence[str],
                           progress: Progress | None = None) -> dict[str, float]:
        """The cosine similarity of each text to the question, by digest_of(text); empty if it is
        not available.
        """
        if not question.strip() or not texts or time.monotonic() < self._rests_until:
            return {}
        wanted = {digest_of(text): text for text in (question, *texts)}
        try:
            vectors = await self._vectors(wanted, progress)
        except Exception as problem:    # never fatal: embeddings only improve the choice
            self._failed(problem)
            return {}
        return await _compared(vectors, digest_of(question))

    def _failed(self, problem: Exception) -> None:
        log.info("embeddings failed", exc_info=problem)
        self._rests_until = time.monotonic() + self.limits.rest
        if isinstance(problem, TimeoutError):
            reason = f"no answer within {self.limits.patience:g} s."
        else:
            reason = (problem.message if isinstance(problem, ChatError)
                      else f"{type(problem).__name__}: {problem}")
        if not self._told:
            self._news = ("The context is ranked by words alone, without the embeddings of "
                          f"{self.model}: {reason}")
        self._told = True

    async def _vectors(self, wanted: Mapping[str, str],
                       progress: Progress | None) -> dict[str, Vector[float]]:
        """The embeddings of all wanted texts.

        Stored ones with another length than the model's current ones are requested again.
        """
        found = self._known(list(wanted))
        if len({len(vector) for vector in found.values()}) > 1:
            found = {}
        missing, size = [digest for digest in wanted if digest not in found], 0
        while missing:
            batch = {digest: wanted[digest] for digest in missing[:self.limits.batch]}
            new = await self._asked(batch, len(wanted) - len(missing), progress)
            lengths = {len(vector) for vector in new.values()} | ({size} if size else set())
            if len(lengths) > 1:
                raise BadResponse("its embeddings differ in length.")
            size = lengths.pop()
            self._keep(new)
            found |= new
            missing = [digest for digest in wanted if len(found.get(digest, ())) != size]
        return found

    async def _asked(self, wanted: Mapping[str, str], done: int,
                     progress: Progress | None) -> dict[str, Vector[float]]:
        asking = asyncio.ensure_future(
            self._embed([text[:MOST_CHARACTERS] for text in wanted.values()]))
        try:
            async with asyncio.timeout(self.limits.patience):
                while not (await asyncio.wait({asking}, timeout=self.limits.step))[0]:
                    if progress is not None:
                        progress(f"embedding with {self.model}", done)
            answer = asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if len(answer) != len(wanted):
            raise BadResponse(f"{len(wanted)} embeddings were requested, {len(answer)} received.")
        return {digest: _unit(vector) for digest, vector in zip(wanted, answer, strict=True)}

    def _known(self, digests: Sequence[str]) -> dict[str, Vector[float]]:
        found = {digest: self._held[digest] for digest in digests if digest in self._held}
        left = [digest for digest in digests if digest not in found]
        if self.store is not None and left:
            try:
                stored = self.store.vectors(self.model, left)
            except StoreError:
                stored = {}     # requested again
            read = {digest: vector for digest, blob in stored.items() if (vector := unpacked(blob))}
            found |= read
            self._hold(read)
        return found

    def _keep(self, new: Mapping[str, Vector[float]]) -> None:
        self._hold(new)
        if self.store is None or time.monotonic() < self._kept_from:
            return
        try:
            self.store.add_vectors(self.model,
                                   {digest: packed(vector) for digest, vector in new.items()},
                                   MOST_KEPT)
        except StoreError as error:
            log.info("embeddings are not kept: %s", error.message)
            # waiting for a locked database would block everything else
            self._kept_from = time.monotonic() + self.limits.rest

    def _hold(self, new: Mapping[str, Vector[float]]) -> None:
        for digest, vector in new.items():
            self._held.pop(digest, None)
            self._held[digest] = vector
        for oldest in list(self._held)[:max(0, len(self._held) - MOST_HELD)]:
            del self._held[oldest]


def digest_of(text: str) -> str:
    return hashlib.sha256(text[:MOST_CHARACTERS].encode("utf-8", "surrogatepass")).hexdigest()


async def _compared(vectors: Mapping[str, Vector[float]], question: str) -> dict[str, float]:
    asked, found, due = vectors[question], dict[str, float](), time.monotonic() + SLICE
    for digest, vector in vectors.items():
        if digest != question:
            found[digest] = sum(map(mul, asked, vector))
        if time.monotonic() >= due:
            await asyncio.sleep(0)
            due = time.monotonic() + SLICE
    return found


def _unit(vector: Sequence[float]) -> Vector[float]:
    """The vector scaled to length 1; a zero vector is unchanged and similar to nothing."""
    length = math.hypot(*vector)
    if not vector or not math.isfinite(length):
        raise BadResponse("an embedding contains a value that is not a number.")
    return array.array("f", [number / length for number in vector] if length else vector)


def packed(vector: Vector[float]) -> bytes:
    """The vector as bytes: float32, little-endian on every machine."""
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return vector.tobytes()


def unpacked(blob: bytes) -> Vector[float] | None:
    """The vector in these bytes; None if they are not valid."""
    if not blob or len(blob) % 4:
        return None
    vector = array.array("f", blob)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector if math.isfinite(sum(vector)) else None
