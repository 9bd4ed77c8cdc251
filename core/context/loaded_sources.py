"""Loads the sources of one conversation: those the user names, and those stored with its session.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from core.context.files import load_files
from core.context.items import Fault, Found, Item, Loaded
from core.context.opening import SECRET, Guard
from core.context.restoring import READ_AGAIN, KeptSource, sent_items
from core.context.sources import Source, parse_context_arg, unique
from core.context.walking import kind_of
from core.errors import ContextError
from core.events import Progress
from core.messages import Message
from db import Store

T = TypeVar("T")
STEP = 64                  # files of a folder that are listed between two looks at the time
MOST_FAULTS = 3            # faults that an error names
Ask = Callable[[str], Awaitable[bool]]            # asks the user a question; True for yes


class LoadedSources:
    """The sources of one conversation and their items; to be used from one thread.

    `root` is the directory of relative names. `store` contains earlier sessions; `session` is the
    current one. `ask` asks the user before a command runs or a secret file is read; without it,
    neither is done. `stdin` is the piped text, for the source "-". `protected` are files and
    directories that are never loaded.
    """

    def __init__(self, *, root: str = "", grep: Sequence[str] = (), store: Store | None = None,
                 session: str = "",
                 ask: Ask | None = None, stdin: str = "", progress: Progress | None = None,
                 protected: Sequence[str] = ()) -> None:
        self.root = os.path.abspath(root or os.getcwd())
        self.grep = tuple(grep)
        self.store, self.session, self.ask, self.stdin, self.progress = (store, session, ask, stdin,
                                                                         progress)
        self.sources: list[Source] = []
        self.loaded: dict[str, Loaded] = {}
        self.guard = Guard(protected)
        self.slice = 0.02     # seconds of work after which the event loop may run
        self._roots: dict[str, str] = {}  # the directory of a restored source's relative names
        self._dropped: dict[str, list[str]] = {}     # items that were removed from a source

    @property
    def items(self) -> list[Item]:
        """All loaded items; a file from two sources is listed once, under the first."""
        found: dict[str, Item] = {}
        for source in self.sources:
            for item in self.loaded[source.name].items:
                found.setdefault(item.name, item)
        return list(found.values())

    @property
    def faults(self) -> list[Fault]:
        return [fault for source in self.sources for fault in self.loaded[source.name].faults]

    async def add(self, text: str, root: str = "") -> list[Fault]:
        """Load the sources of one --context argument and return the faults. Relative names start at
        `root`, by default that of the set.

        Raises ContextError if nothing was loaded.
        """
        sources = [source for source in unique(parse_context_arg(text, root or self.root))
                   if source.name not in self.loaded]
        if root:
            self._roots.update((source.name, root) for source in sources)
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
        """Add an item that was read elsewhere, replacing one of the same name."""
        source = Source("resource", item.name, item.name)
        self.sources = [*(known for known in self.sources if known.name != item.name), source]
        self.loaded[item.name] = Loaded([item])

    def drop(self, name: str) -> int:
        """Remove a source or one item; return the number of items removed.

        Raises ContextError for an unknown name.
        """
        before = len(self.items)
        for source in self.sources:
            if source.name == name or source.target == name:
                self.sources.remove(source)
                del self.loaded[source.name]
                return before - len(self.items)
        for source_name, loaded in self.loaded.items():
            if any(item.name == name for item in loaded.items):
                loaded.items = [item for item in loaded.items if item.name != name]
                self._dropped.setdefault(source_name, []).append(name)
        if len(self.items) == before:
            raise ContextError(f"{name} is not in the context.", "/context list shows what is.")
        return before - len(self.items)

    def forget_empty(self) -> None:
        """Remove sources without items."""
        for source in [source for source in self.sources if not self.loaded[source.name].items]:
            self.sources.remove(source)
            del self.loaded[source.name]

    def holds(self, things: Collection[tuple[str, str]]) -> bool:
        """Whether each of these (source, name of the item) is still attached."""
        names = {source.name: {item.name for item in self.loaded[source.name].items}
                 for source in self.sources}
        return all(name in names.get(source, ()) for source, name in things)

    async def refresh(self) -> list[Fault]:
        """Load all sources again and return the faults.

        A source that gives nothing any more keeps its earlier items.
        """
        faults: list[Fault] = []
        for source in self.sources:
            loaded = await self._load(source)
            faults += loaded.faults
            if loaded.items:
                self.loaded[source.name] = loaded
            else:
                faults.append(Fault(source.name, "gives nothing now; its earlier text is kept"))
        return faults

    def kept(self) -> list[KeptSource]:
        """The sources in the form that is stored with the session."""
        return [KeptSource(source, self._roots.get(source.name, self.root),
                           tuple(self._dropped.get(source.name, ())))
                for source in self.sources]

    async def restore(self, kept: Sequence[KeptSource], messages: Sequence[Message]) -> list[str]:
        """Attach a session's sources again; of those that cannot be read, the sent text is kept.

        Returns notices.
        """
        asks, self.ask = self.ask, None       # what the user agreed to earlier is in the messages
        news: list[str] = []
        try:
            for entry in kept:
                if entry.source.name not in self.loaded:
                    news += await self._restore(entry, messages)
        finally:
            self.ask = asks
        return news

    async def _restore(self, kept: KeptSource, messages: Sequence[Message]) -> list[str]:
        source, loaded = kept.source, Loaded()
        self._roots[source.name], self._dropped[source.name] = kept.root, list(kept.without)
        if source.kind in READ_AGAIN:
            loaded = await self._load(source)
        loaded.items = [item for item in loaded.items if item.name not in kept.without]
        known = {*kept.without, *(item.name for item in loaded.items)}
        sent = [item for item in sent_items(messages, [source.name]) if item.name not in known]
        loaded.items += sent
        if not loaded.items:
            reasons = "; ".join(map(str, loaded.faults)) or f"{source.name}: nothing of it was sent"
            return [f"Not attached any more: {reasons}."]
        self.sources.append(source)
        self.loaded[source.name] = loaded
        again = (" /context refresh reads it again."
                 if source.kind not in READ_AGAIN and source.kind != "stdin" else "")
        return [f"{item.name} is attached as it was sent.{again}" for item in sent]

    async def _load(self, source: Source) -> Loaded:
        if source.kind == "resource":
            return self.loaded[source.name]      # only its owner, who called put(), can reload it
        loaded = Loaded()
        if source.kind == "command" and not await self._agrees("Run this, and attach what it "
                                                               f"prints?\n  {source.target}"):
            loaded.faults.append(Fault(source.name, "was not run: it needs your consent"))
            return loaded
        if source.kind in ("file", "directory") and not await self._may_show(source):
            loaded.faults.append(Fault(source.name, f"{SECRET}; {self._way_out(source)}"))
            return loaded
        if (source.kind in ("page", "command", "sql") or source.kind == "file"
            and kind_of(source.target) == "document"):
            await _in_thread(source, loaded, self._root_of(source), self.guard)
            return loaded
        await self._slices(self._find(source, loaded), f"reading {source.name}")
        return loaded

    async def _agrees(self, question: str) -> bool:
        return self.ask is not None and await self.ask(question)

    async def _may_show(self, source: Source) -> bool:
        """Whether a source may be sent: files with keys or passwords only if the user agrees."""
        path = os.path.join(self._root_of(source), source.target)
        if not self.guard.needs_consent(path):
            return True
        if not await self._agrees(f"{source.name} {SECRET}. Send it to the model?"):
            return False
        self.guard.agree(path)
        return True

    def _way_out(self, source: Source) -> str:
        return ("you declined" if self.ask
                else f"you cannot be asked here. Use --context - < {source.name} to send it anyway")

    def _find(self, source: Source, loaded: Loaded) -> Iterator[int]:
        """Load a source that is fast or can be interrupted between items."""
        for number, found in enumerate(self._found(source)):
            loaded.add(found)
            if source.kind != "directory" or not number % STEP:
                yield number

    def _found(self, source: Source) -> Iterator[Found]:
        match source.kind:
            case "stdin":
                return iter([Item("stdin", "stdin", "-", len(self.stdin), text=self.stdin,
                                  named=True)] if self.stdin
                            else [Fault("-", "nothing was piped in")])
            case "sessions" | "session":
                from core.context.sessions import load_sessions
                return load_sessions(source, self.store, self.session)
            case _:
                return load_files(source, self.grep, self._root_of(source), self.guard)

    def _root_of(self, source: Source) -> str:
        return self._roots.get(source.name, self.root)

    async def _slices(self, steps: Iterator[int], what: str) -> None:
        """Run the steps, letting the event loop run now and then so that Ctrl-C and progress work.
        """
        due = time.monotonic() + self.slice
        for number in steps:
            if time.monotonic() >= due:
                if self.progress is not None:
                    self.progress(what, number + 1)
                await asyncio.sleep(0)
                due = time.monotonic() + self.slice


async def in_own_thread(work: Callable[[], T]) -> T:
    """The result of `work`, run in a daemon thread: the program may end without waiting for it."""
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
        except BaseException as raised:   # raised again where the result is awaited
            problem = raised
        with suppress(RuntimeError):      # the loop is closed: the result is not needed
            loop.call_soon_threadsafe(tell, result, problem)
    threading.Thread(target=run, daemon=True).start()
    return await done


async def _in_thread(source: Source, loaded: Loaded, root: str, guard: Guard) -> None:
    """Load a source that waits for something, in a thread; cancelling stops the thread."""
    stop = threading.Event()
    try:
        for found in await in_own_thread(lambda: _load_waiting(source, root, stop, guard)):
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


def nothing_loaded(text: str, faults: Sequence[Fault],
                   results: Sequence[tuple[Source, Loaded]] = ()) -> ContextError:
    """The error for sources of which nothing was loaded, with the reason for each, or with the
    rules that left everything out.
    """
    reasons = [str(fault) for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        reasons.append(f"and {len(faults) - MOST_FAULTS} more")
    aside = sum((loaded.aside for _, loaded in results), start=Loaded().aside)
    if not reasons:
        left = ", ".join(f"{count} {reason}" for reason, count in sorted(aside.items()))
        reasons = [f"{text}: no file is left" + (f" ({left})" if left else ": it is empty")]
    hints = [fault.hint for fault in faults[:MOST_FAULTS]] if faults else _hints_of_rules(aside)
    return ContextError(f"No context could be loaded: {'; '.join(reasons).rstrip('.')}.",
                        " ".join(dict.fromkeys(filter(None, hints))))


def _hints_of_rules(aside: Collection[str]) -> list[str]:
    """What brings in the files that rules left out."""
    hints = []
    if "not asked for" in aside:
        hints.append("--context-grep lets none of them in.")
    if {"hidden", "ignored", "generated"} & set(aside):
        hints.append("A file that is named itself is attached whatever these rules say.")
    return hints


# ---- the plan's names, for one call without a set
