"""The context of a conversation: attached sources, and what of them goes into each request."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence

from core.config.directories import from_home
from core.context.choosing import Chooser
from core.context.embedding import Embedder
from core.context.files import load_files
from core.context.filling import Choice
from core.context.form import Piece, write_block
from core.context.items import Aside, Fault, Item, Loaded
from core.context.loaded_sources import Ask, LoadedSources, in_own_thread, nothing_loaded
from core.context.prepared import NOTHING, Prepared
from core.context.shown import AlreadyShown, shown_of
from core.context.sources import (Mention, Source, complete_mention, find_mentions,
                                  parse_context_arg, parse_source)
from core.errors import ContextError
from core.events import Progress
from core.messages import Image, Shown
from core.rendering.picture_facts import picture_words
from core.tools.limited_process import LimitedProcess
from core.window.budget import Budget, budget_bars, plan_budget
from core.window.tokens import IMAGE_TOKENS, TokenEstimator
from db import Store


LARGE = 1 << 20   # bytes of an item from which work is done in a thread, to keep keys responsive
EXACT = 0.05      # relative error of a token count from which the error is shown


class ContextSet(LoadedSources):
    """The sources attached to one conversation, and the selection of what goes into a request.

    `embedder` compares texts by meaning; `last` is the result of the last prepare().
    """

    def __init__(self, *, root: str = "", grep: Sequence[str] = (), store: Store | None = None,
                 session: str = "", ask: Ask | None = None, stdin: str = "",
                 estimator: TokenEstimator | None = None,
                 progress: Progress | None = None, protected: Sequence[str] = ()) -> None:
        super().__init__(root=root, grep=grep, store=store, session=session, ask=ask, stdin=stdin,
                         progress=progress, protected=protected)
        self.estimator = estimator or TokenEstimator()
        self._chooser = Chooser(self.estimator, guard=self.guard)
        self.embedder: Embedder | None = None
        self.last = NOTHING

    def check(self, shown: AlreadyShown) -> list[str]:
        """Compare what was sent earlier with the sources now; return a notice for each change."""
        shown.check(self.items, self._chooser.reader.text)
        return [f"{name} has changed since it was sent" for name in shown.changed]

    async def _in_thread(self, steps: Iterator[int], what: str) -> None:
        """Run the steps in a thread, for those that convert documents or read megabytes.

        Cancelling stops after the current step and ends a conversion at once.
        """
        stop, loop = threading.Event(), asyncio.get_running_loop()
        self._chooser.reader.documents = documents = LimitedProcess()

        def work() -> None:
            for number in steps:
                if stop.is_set():
                    return
                if self.progress is not None:
                    loop.call_soon_threadsafe(self.progress, what, number + 1)
        try:
            await in_own_thread(work)
        finally:
            stop.set()
            documents.close()

    async def prepare(self, question: str, budget: Budget, *, model: str = "", vision: bool = True,
                      has_tools: bool = False, earlier: Sequence[str] = (),
                      shown: AlreadyShown | None = None, room: int | None = None) -> Prepared:
        """Choose what goes into the next request for this question, within `room` tokens (by
        default budget.for_context).

        `earlier` are the previous questions, oldest first. What the conversation has `shown`
        already (see check()) is not chosen again.
        """
        items, shown = self.items, shown or AlreadyShown()
        if not items:
            self.last = NOTHING
            return NOTHING
        self._chooser.model = model
        choice, room = Choice(), budget.for_context if room is None else room
        await self._choose(items, question, room, choice, vision=vision, earlier=earlier,
                           shown=shown)
        faulty = {fault.name for fault in choice.faults}
        left = [item.name for item in choice.left_out]
        unread = [str(fault) for fault in (*self.faults, *choice.faults)]
        named = self._chooser.named(left, room - choice.tokens + choice.names_room)
        block = write_block(choice.pieces, () if shown else left, named=named, has_tools=has_tools,
                            changed=tuple(shown.changed), unread=() if shown else unread)
        image_tokens = IMAGE_TOKENS * len(choice.images)
        tokens = (self.estimator.text(block, model) if block else 0) + image_tokens
        doubt = self.estimator.text_doubt(block, model) + image_tokens // 2
        line = (picture_line(choice.images[0], tokens) if len(items) == len(choice.images) == 1
                else context_line(items, choice, tokens + shown.tokens, budget.window, doubt))
        self.last = Prepared(
            block, tuple(choice.images), tokens, line,
            tuple(item.name for item in items if item.included and item.name not in faulty),
            tuple(left), (*map(str, choice.faults), *_notes(items, choice), *self._news()),
            tuple(item.name for item in items if item.included == "whole"),
            self._now_shown(items, choice, shown))
        return self.last

    def _now_shown(self, items: Sequence[Item], choice: Choice,
                   before: AlreadyShown) -> tuple[Shown, ...]:
        """A record of what the chosen pieces and pictures show, for the next questions."""
        pieces: dict[str, list[Piece]] = {}
        for piece in choice.pieces:
            pieces.setdefault(piece.name, []).append(piece)
        pictures = {image.name for image in choice.images}
        texts = [shown_of(pieces[item.name], item, self._chooser.reader.text(item))
                 for item in items if item.name in pieces]
        seen = [Shown(item.name, item.origin, "", item.stamp, 0, ())
                for item in items if item.name in pictures]
        return (*(entry for name, entry in before.changed.items() if name not in pieces), *texts,
                *seen)

    async def _choose(self, items: Sequence[Item], question: str, room: int, choice: Choice, *,
                      vision: bool, earlier: Sequence[str], shown: AlreadyShown) -> None:
        order: list[Item] = []
        ranking = self._chooser.rank(items, question, room, choice, order, vision=vision,
                                     earlier=earlier, shown=shown)
        await self._run(ranking, items)
        if order and self.embedder is not None:
            order = await self._by_meaning(self.embedder, order, question)
        await self._run(self._chooser.take(order, room, choice), items)

    async def _run(self, steps: Iterator[int], items: Sequence[Item]) -> None:
        if any(item.kind == "document" and item.text is None for item in items):
            await self._in_thread(steps, "converting documents")
        elif any(item.size > LARGE for item in items):
            await self._in_thread(steps, "choosing")
        else:
            await self._slices(steps, "choosing")

    async def _by_meaning(self, embedder: Embedder, order: list[Item], question: str) -> list[Item]:
        """The items ranked by meaning as well; unchanged if no embeddings are available."""
        pieces: list[Piece] = []
        await self._run(self._chooser.candidates(order, pieces, embedder.limits.compared), order)
        similar = await embedder.similarities(question, [piece.text for piece in pieces],
                                              self.progress)
        return self._chooser.reorder(order, similar) if similar else order

    def _news(self) -> tuple[str, ...]:
        news = self.embedder.take_news() if self.embedder is not None else ""
        return (news,) if news else ()


def _notes(items: Sequence[Item], choice: Choice) -> Iterator[str]:
    for item in items:
        if item.included and item.note and not item.kept:
            yield f"{item.name}: {item.note}"
    if choice.by_name and choice.searched:
        yield (f"{choice.searched:,} items were searched for the question's words, "
               f"{choice.by_name:,} were judged by their names")


def picture_line(picture: Image, tokens: int) -> str:
    """A line such as "Attached: chart.png (1,280 × 720, 212.0 kB, about 1,100 tokens)"."""
    name = from_home(picture.name)
    return f"Attached: {name} ({picture_words(picture)}, about {tokens:,} tokens)"


def context_line(items: Sequence[Item], choice: Choice, tokens: int, window: int,
                 doubt: int = 0) -> str:
    """A line such as "context: 12 of 14 files, ≈18,200 ±900 of 32,768 tokens; 2 left out: a, b".

    `doubt` is the possible error in tokens; it is shown if it exceeds 5 %.
    """
    noun = ("files" if all(item.kind in ("file", "document", "image") for item in items)
            else "sources")
    whole = sum(item.included == "whole" for item in items)
    parts = sum(item.included == "pieces" for item in items)
    in_part = f", {parts:,} in part" if parts else ""
    number = f"\u2248{tokens:,} \u00b1{doubt:,}" if doubt > tokens * EXACT else f"{tokens:,}"
    line = (f"context: {whole + parts:,} of {len(items):,} {noun}{in_part}, {number} of {window:,} "
            "tokens")
    if choice.left_out:
        names = [item.name for item in choice.left_out[:3]]
        line += (f"; {len(choice.left_out):,} left out: "
                 f"{', '.join(names)}{', ...' if len(choice.left_out) > 3 else ''}")
    if choice.faults:
        line += f"; {len(choice.faults):,} could not be read"
    return line


# ---- single calls that need no ContextSet

def load_context_files(paths: Sequence[str], grep: Sequence[str] = (), *, root: str = "") -> Loaded:
    """Find files, folders and globs; file contents are read when they are needed.

    Raises ContextError if nothing could be loaded.
    """
    loaded = Loaded()
    for path in paths:
        source = parse_source(path, root)
        if source.kind not in ("file", "directory", "glob"):
            raise ContextError(f"{path} is neither a file nor a folder.")
        for found in load_files(source, grep, root):
            loaded.add(found)
    if paths and not loaded.items:
        raise nothing_loaded(", ".join(paths), loaded.faults,
                             [(parse_source(paths[0], root), loaded)])
    return loaded


def load_context_from_database(target: str, store: Store | None = None, *, session: str = "",
                               root: str = "") -> Loaded:
    """Load earlier sessions (db, db:ID, db:"words") from the store, or rows by a database's URL.

    Raises ContextError if nothing could be loaded.
    """
    source = parse_source(target, root)
    loaded = Loaded()
    stop = threading.Event()
    if source.kind in ("sessions", "session"):
        from core.context.sessions import load_sessions
        found = load_sessions(source, store, session)
    elif source.kind == "sql":
        from core.context.sql import load_sql
        found = load_sql(source, root or os.getcwd(), stop)
    else:
        raise ContextError(f"{target} is not a database.",
                           'Write db, db:ID, db:"words" or sqlite:///FILE?table=NAME.')
    for entry in found:
        loaded.add(entry)
    stop.set()
    if not loaded.items:
        raise nothing_loaded(target, loaded.faults)
    return loaded


__all__ = ["Aside", "Budget", "ContextError", "ContextSet", "Fault", "Item", "Loaded", "Mention",
           "NOTHING", "Prepared", "Source", "budget_bars", "complete_mention", "context_line",
           "find_mentions", "load_context_files", "load_context_from_database",
           "parse_context_arg", "plan_budget"]
