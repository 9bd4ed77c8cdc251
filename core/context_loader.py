"""Context for a conversation: what the person named, loaded, kept within the model's window, and told of truly."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from core.context.choosing import Choice, Chooser
from core.context.embedding import Embedder
from core.context.files import kind_of, load_files
from core.context.form import Piece, attach, write_block
from core.context.items import Aside, Fault, Found, Item, Loaded
from core.context.opening import SECRET, Guard
from core.context.sources import Mention, Source, complete_mention, find_mentions, parse_context_arg, parse_source, unique
from core.errors import ContextError
from core.events import Progress
from core.messages import Image, Message
from core.providers import Request
from core.window.budget import Budget, budget_bar, plan_budget
from core.window.compaction import fixed_messages, shorten_results, trim_history
from core.window.tokens import IMAGE_TOKENS, TokenEstimator, tool_features
from db import Store

T = TypeVar("T")
SLICE = 0.02               # seconds of work between two looks at the event loop
MOST_FAULTS = 3            # that an error names
Ask = Callable[[str], Awaitable[bool]]            # asks the user this question; True for yes
Count = Callable[[Request], Awaitable[int]]       # asks the provider how many tokens a request has


@dataclass(frozen=True, slots=True)
class Prepared:
    """What goes into one request. `line` says it in one line; `notes` are faults and cuts, one line each.

    Of what is `included`, some is `whole`.
    """

    block: str
    images: tuple[Image, ...]
    tokens: int
    line: str
    included: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    whole: tuple[str, ...] = ()

    def attach(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages with the context before the person's first words."""
        return attach(messages, self.block, self.images)


NOTHING = Prepared("", (), 0, "", (), (), ())


class ContextSet:
    """The sources of one conversation and what they gave. All of it belongs to one thread.

    `root` is where relative names start; `store` holds earlier sessions, of which `session` is the one that is going on.
    `ask` asks the user before a command runs or a secret file is read; without it neither
    happens. `stdin` is what was piped in, for the source "-".
    `protected` are files and directories of which nothing is ever loaded. `embedder` tells how near texts are in meaning.
    """

    def __init__(self, *, root: str = "", grep: Sequence[str] = (), store: Store | None = None, session: str = "",
                 ask: Ask | None = None, stdin: str = "", estimator: TokenEstimator | None = None,
                 progress: Progress | None = None, protected: Sequence[str] = ()) -> None:
        self.root = os.path.abspath(root or os.getcwd())
        self.grep = tuple(grep)
        self.store, self.session, self.ask, self.stdin, self.progress = store, session, ask, stdin, progress
        self.estimator = estimator or TokenEstimator()
        self.sources: list[Source] = []
        self.loaded: dict[str, Loaded] = {}
        self.guard = Guard(protected)
        self._chooser = Chooser(self.estimator, guard=self.guard)
        self.embedder: Embedder | None = None
        self.last = NOTHING

    @property
    def items(self) -> list[Item]:
        """Everything that was loaded; the same file from two sources counts once, under the first."""
        found: dict[str, Item] = {}
        for source in self.sources:
            for item in self.loaded[source.name].items:
                found.setdefault(item.name, item)
        return list(found.values())

    @property
    def faults(self) -> list[Fault]:
        return [fault for source in self.sources for fault in self.loaded[source.name].faults]

    async def add(self, text: str) -> list[Fault]:
        """Load what one --context argument names. Returns the faults; raises ContextError when nothing at all was loaded."""
        sources = [source for source in unique(parse_context_arg(text, self.root)) if source.name not in self.loaded]
        results = [(source, await self._load(source)) for source in sources]
        faults = [fault for _, loaded in results for fault in loaded.faults]
        for source, loaded in results:
            if loaded.items:
                self.sources.append(source)
                self.loaded[source.name] = loaded
        if results and not any(loaded.items for _, loaded in results):
            raise nothing_loaded(text, faults, results)
        return faults

    def put(self, item: Item) -> None:
        """Add one thing that was read elsewhere, or put it in the place of what had its name."""
        source = Source("resource", item.name, item.name)
        self.sources = [*(known for known in self.sources if known.name != item.name), source]
        self.loaded[item.name] = Loaded([item])

    def drop(self, name: str) -> int:
        """Take a source, or one item of it, out; returns how many items went. Raises ContextError for an unknown name."""
        before = len(self.items)
        for source in self.sources:
            if source.name == name or source.target == name:
                self.sources.remove(source)
                del self.loaded[source.name]
                return before - len(self.items)
        for loaded in self.loaded.values():
            loaded.items = [item for item in loaded.items if item.name != name]
        if len(self.items) == before:
            raise ContextError(f"{name} is not in the context.", "/context list shows what is.")
        return before - len(self.items)

    def forget_empty(self) -> None:
        """Drop the sources of which nothing is left."""
        for source in [source for source in self.sources if not self.loaded[source.name].items]:
            self.sources.remove(source)
            del self.loaded[source.name]

    async def refresh(self) -> list[Fault]:
        """Load every source again. One that gives nothing any more keeps what it gave; its faults say so."""
        faults: list[Fault] = []
        for source in self.sources:
            loaded = await self._load(source)
            faults += loaded.faults
            if loaded.items:
                self.loaded[source.name] = loaded
            else:
                faults.append(Fault(source.name, "gives nothing now; what it gave before stays"))
        return faults

    async def _load(self, source: Source) -> Loaded:
        if source.kind == "resource":
            return self.loaded[source.name]      # who put it here can read it again
        loaded = Loaded()
        if source.kind == "command" and not await self._agrees(f"Run this, and attach what it prints?\n  {source.target}"):
            loaded.faults.append(Fault(source.name, "was not run: it needs your consent"))
            return loaded
        if source.kind in ("file", "directory") and not await self._may_show(source):
            loaded.faults.append(Fault(source.name, f"{SECRET}; {self._way_out(source)}"))
            return loaded
        if source.kind in ("page", "command", "sql") or source.kind == "file" and kind_of(source.target) == "document":
            await _in_thread(source, loaded, self.root, self.guard)
            return loaded
        await self._slices(self._find(source, loaded), f"reading {source.name}")
        return loaded

    async def _agrees(self, question: str) -> bool:
        return self.ask is not None and await self.ask(question)

    async def _may_show(self, source: Source) -> bool:
        """Whether a source may go to the model: what holds keys or passwords only when the user agrees."""
        path = os.path.join(self.root, source.target)
        if not self.guard.needs_consent(path):
            return True
        if not await self._agrees(f"{source.name} {SECRET}. Send it to the model?"):
            return False
        self.guard.agree(path)
        return True

    def _way_out(self, source: Source) -> str:
        return "you declined" if self.ask else f"nobody can be asked here. Use --context - < {source.name} to send it anyway"

    def _find(self, source: Source, loaded: Loaded) -> Iterator[int]:
        """Load a source that is quick or can be interrupted between its items."""
        for number, found in enumerate(self._found(source)):
            loaded.add(found)
            yield number

    def _found(self, source: Source) -> Iterator[Found]:
        match source.kind:
            case "stdin":
                return iter([Item("stdin", "stdin", "-", len(self.stdin), text=self.stdin, named=True)] if self.stdin
                            else [Fault("-", "nothing was piped in")])
            case "sessions" | "session":
                from core.context.sessions import load_sessions
                return load_sessions(source, self.store, self.session)
            case _:
                return load_files(source, self.grep, self.root, self.guard)

    async def _slices(self, steps: Iterator[int], what: str) -> None:
        """Run through the steps, giving way to the event loop now and then: so that Ctrl-C and progress work."""
        due = time.monotonic() + SLICE
        for number in steps:
            if time.monotonic() >= due:
                if self.progress is not None:
                    self.progress(what, number + 1)
                await asyncio.sleep(0)
                due = time.monotonic() + SLICE

    async def _beside(self, steps: Iterator[int], what: str) -> None:
        """The same in a thread, for steps that convert documents. When it is cancelled, so is the step."""
        from core.tools.limited_process import LimitedProcess
        stop, loop = threading.Event(), asyncio.get_running_loop()
        self._chooser.reader.documents = documents = LimitedProcess()

        def work() -> None:
            for number in steps:
                if stop.is_set():
                    return
                if self.progress is not None:
                    loop.call_soon_threadsafe(self.progress, what, number + 1)
        try:
            await _in_own_thread(work)
        finally:
            stop.set()
            documents.close()

    async def prepare(self, question: str, budget: Budget, *, model: str = "", vision: bool = True,
                      has_tools: bool = False, earlier: Sequence[str] = ()) -> Prepared:
        """Choose what goes into the next request for this question, within budget.for_context.

        `earlier` are the questions before it, the oldest first.
        """
        items = self.items
        if not items:
            self.last = NOTHING
            return NOTHING
        self._chooser.model = model
        choice = Choice()
        await self._choose(items, question, budget.for_context, choice, vision=vision, earlier=earlier)
        faulty = {fault.name for fault in choice.faults}
        left = [item.name for item in choice.left_out]
        block = write_block(choice.pieces, left, has_tools=has_tools) if choice.pieces or left else ""
        calibrated = self.estimator.is_calibrated(model)
        tokens = self.estimator.text(block, model) + IMAGE_TOKENS * len(choice.images)
        self.last = Prepared(
            block, tuple(choice.images), tokens,
            context_line(items, choice, tokens, budget.window, exact=calibrated),
            tuple(item.name for item in items if item.included and item.name not in faulty), tuple(left),
            (*map(str, choice.faults), *_notes(items, choice), *self._news()),
            tuple(item.name for item in items if item.included == "whole"))
        return self.last

    async def _choose(self, items: Sequence[Item], question: str, room: int, choice: Choice, *, vision: bool,
                      earlier: Sequence[str]) -> None:
        order: list[Item] = []
        ranking = self._chooser.rank(items, question, room, choice, order, vision=vision, earlier=earlier)
        await self._run(ranking, items)
        if order and self.embedder is not None:
            order = await self._by_meaning(self.embedder, order, question)
        await self._run(self._chooser.take(order, room, choice), items)

    async def _run(self, steps: Iterator[int], items: Sequence[Item]) -> None:
        if any(item.kind == "document" and item.text is None for item in items):
            await self._beside(steps, "converting documents")
        else:
            await self._slices(steps, "choosing")

    async def _by_meaning(self, embedder: Embedder, order: list[Item], question: str) -> list[Item]:
        """The items ranked by their meaning too; as they were, when that cannot be had."""
        pieces: list[Piece] = []
        await self._run(self._chooser.candidates(order, pieces), order)
        similar = await embedder.similarities(question, [piece.text for piece in pieces], self.progress)
        return self._chooser.reorder(order, similar) if similar else order

    def _news(self) -> tuple[str, ...]:
        news = self.embedder.take_news() if self.embedder is not None else ""
        return (news,) if news else ()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request that fits the model's window. `notices` tell the person what went in and what did not.

    `left_out` are the places of the messages that are not sent, `shortened` is how many characters of tool results are not,
    `context` the names of what of the context is in, is in whole, and is not.
    """

    request: Request
    budget: Budget
    notices: tuple[str, ...] = ()
    left_out: tuple[int, ...] = ()
    shortened: int = 0
    context: tuple[tuple[str, ...], ...] = ()


async def fit_request(request: Request, window: int | None, estimator: TokenEstimator, *, model: str = "",
                      context: ContextSet | None = None, vision: bool = True, pinned: Collection[int] = (),
                      count: Count | None = None) -> Fitted:
    """Put the context in and leave the oldest turns out where it is needed; with `window` None no turn is left out.

    `count` asks the provider for the exact number. It is asked once; when it says that the request is too large after all,
    the request is fitted anew with what was learned. Raises UsageError when system prompt and tools alone are too large.
    """
    name = model or request.model
    fitted = await _fit(request, window, estimator, name, context, vision=vision, pinned=pinned)
    if count is None:
        return fitted
    counted = await count(fitted.request)
    estimator.learn(fitted.request, counted, name)
    if window is None or counted + fitted.budget.reserve <= window:
        return fitted
    return await _fit(request, window, estimator, name, context, vision=vision, pinned=pinned)


async def _fit(request: Request, window: int | None, estimator: TokenEstimator, name: str, context: ContextSet | None, *,
               vision: bool, pinned: Collection[int]) -> Fitted:
    def tokens(messages: Sequence[Message]) -> int:
        return estimator.messages(messages, name)

    budget = plan_budget(window, max_tokens=request.options.max_tokens, system=estimator.text(request.system or "", name),
                         tools=estimator.tokens(tool_features(request.tools), name), history=tokens(request.messages),
                         fixed=tokens(fixed_messages(request.messages, pinned)))
    prepared = NOTHING
    if context is not None and context.sources:
        questions = [message.text for message in request.messages if message.role == "user"] or [""]
        prepared = await context.prepare(questions[-1], budget, model=name, vision=vision, has_tools=bool(request.tools),
                                         earlier=questions[:-1])
    budget = budget.with_context(prepared.tokens)
    trimmed = trim_history(request.messages, budget.for_history, tokens, pinned=pinned)
    kept = shorten_results(trimmed.messages, budget.for_history, tokens)
    notices = [text for text in (prepared.line, *prepared.notes, trimmed.notice, kept.notice) if text]
    return Fitted(replace(request, messages=prepared.attach(kept.messages)), replace(budget, history=tokens(kept.messages)),
                  tuple(notices), trimmed.left_out, kept.characters, (prepared.included, prepared.whole, prepared.left_out))


def _notes(items: Sequence[Item], choice: Choice) -> Iterator[str]:
    for item in items:
        if item.included and item.note:
            yield f"{item.name}: {item.note}"
    if choice.by_name:
        yield (f"{choice.searched:,} items were searched for the question's words, {choice.by_name:,} were judged by their names"
               if choice.searched else "")


def context_line(items: Sequence[Item], choice: Choice, tokens: int, window: int, *, exact: bool = False) -> str:
    """12 of 14 files, ≈18,200 of 32,768 tokens; 2 left out: a, b"""
    noun = "files" if all(item.kind in ("file", "document", "image") for item in items) else "sources"
    whole = sum(item.included == "whole" for item in items)
    parts = sum(item.included == "pieces" for item in items)
    in_part = f", {parts:,} in part" if parts else ""
    about = "" if exact else "\u2248"
    line = f"context: {whole + parts:,} of {len(items):,} {noun}{in_part}, {about}{tokens:,} of {window:,} tokens"
    if choice.left_out:
        names = [item.name for item in choice.left_out[:3]]
        line += f"; {len(choice.left_out):,} left out: {', '.join(names)}{', ...' if len(choice.left_out) > 3 else ''}"
    if choice.faults:
        line += f"; {len(choice.faults):,} could not be read"
    return line


async def _in_own_thread(work: Callable[[], T]) -> T:
    """The result of `work`, done beside the event loop in a thread that the end of the program does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, problem: BaseException | None) -> None:
        if done.done():
            return
        if problem is not None:
            done.set_exception(problem)
        else:
            done.set_result(cast(T, result))

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except BaseException as raised:   # told where it is waited for
            problem = raised
        with suppress(RuntimeError):      # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, result, problem)
    threading.Thread(target=run, daemon=True).start()
    return await done


async def _in_thread(source: Source, loaded: Loaded, root: str, guard: Guard) -> None:
    """Load what waits for something else, beside the event loop. When it is cancelled, the thread is told to stop."""
    stop = threading.Event()
    try:
        for found in await _in_own_thread(lambda: _load_waiting(source, root, stop, guard)):
            loaded.add(found)
    finally:
        stop.set()


def _load_waiting(source: Source, root: str, stop: threading.Event, guard: Guard) -> list[Found]:
    if source.kind == "sql":
        from core.context.sql import load_sql
        return list(load_sql(source, root, stop, guard))
    if source.kind == "file":
        return list(load_files(source, (), root, guard))
    if source.kind == "page":
        from core.context.pages import load_page
        return list(load_page(source, stop))
    from core.context.command_output import run_command
    return list(run_command(source, root, stop))


def nothing_loaded(text: str, faults: Sequence[Fault], results: Sequence[tuple[Source, Loaded]] = ()) -> ContextError:
    """The error for a request of which nothing came; says why for each part, or which rules left everything out."""
    reasons = [str(fault) for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        reasons.append(f"and {len(faults) - MOST_FAULTS} more")
    aside = sum((loaded.aside for _, loaded in results), start=Loaded().aside)
    if not reasons:
        left = ", ".join(f"{count} {reason}" for reason, count in sorted(aside.items()))
        reasons = [f"{text}: no file is left" + (f" ({left})" if left else ": it is empty")]
    return ContextError(f"No context could be loaded: {'; '.join(reasons).rstrip('.')}.", "Check its name, and --context-grep.")


# ---- the plan's names, for one call without a set

def load_context_files(paths: Sequence[str], grep: Sequence[str] = (), *, root: str = "") -> Loaded:
    """Find files, folders and globs. Files are read when they are needed. Raises ContextError when none could be loaded."""
    loaded = Loaded()
    for path in paths:
        source = parse_source(path, root)
        if source.kind not in ("file", "directory", "glob"):
            raise ContextError(f"{path} is neither a file nor a folder.")
        for found in load_files(source, grep, root):
            loaded.add(found)
    if paths and not loaded.items:
        raise nothing_loaded(", ".join(paths), loaded.faults, [(parse_source(paths[0], root), loaded)])
    return loaded


def load_context_from_database(target: str, store: Store | None = None, *, session: str = "", root: str = "") -> Loaded:
    """Load earlier sessions (db, db:ID, db:"words") from the store, or rows by a database's URL.

    Raises ContextError when nothing came.
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
        raise ContextError(f"{target} is no database.", 'Write db, db:ID, db:"words" or sqlite:///FILE?table=NAME.')
    for entry in found:
        loaded.add(entry)
    stop.set()
    if not loaded.items:
        raise nothing_loaded(target, loaded.faults)
    return loaded


__all__ = ["Aside", "Budget", "ContextError", "ContextSet", "Fault", "Fitted", "Item", "Loaded", "Mention", "NOTHING", "Prepared",
           "Source", "budget_bar", "complete_mention", "context_line", "find_mentions", "fit_request", "load_context_files",
           "load_context_from_database", "parse_context_arg", "plan_budget"]
