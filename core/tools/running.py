"""Runs a tool's function, which can be abandoned at any time, and converts its result to text."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from core.errors import ToolError
from core.tools import Tool, ToolContext

MAX_RESULT = 50_000       # characters of a result that are sent; a note says that it was cut
GRACE = 0.2               # seconds that a cancelled asynchronous tool gets to clean up
log = logging.getLogger(__name__)


async def call_function(made: Tool, arguments: Mapping[str, Any], context: ToolContext,
                        loop: ToolLoop) -> Any:
    """Run a tool until it is done, its time is up (ToolError), or the turn is cancelled; then it is
    abandoned.
    """
    given = dict(arguments) | ({made.context_parameter: context} if made.context_parameter else {})
    is_async = inspect.iscoroutinefunction(made.function)
    if made.in_loop:
        work = asyncio.ensure_future(_shielded(made.function(**given)))
    else:
        work = asyncio.ensure_future(loop.run(made.function(**given)) if is_async
                                     else run_in_thread(made.function, given))
    try:
        done, _ = await asyncio.wait({work}, timeout=made.timeout)
        if not done:
            raise ToolError(f"{made.name} took longer than {made.timeout:g} s and was abandoned.")
        return work.result()
    finally:
        context.stop.set()
        if not work.done():
            work.cancel()
            work.add_done_callback(_forget)
            if is_async:
                await asyncio.wait({work}, timeout=GRACE * 2)


class ToolLoop:
    """An event loop in a daemon thread for all asynchronous tools: a tool that never awaits blocks
    the others but not the chat.

    If the loop is blocked when a call is abandoned, the next call gets a new one.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine, run on the tools' loop. Cancelling abandons it."""
        ours, theirs = asyncio.get_running_loop(), self._open()
        done: asyncio.Future[None] = ours.create_future()

        async def watched() -> Any:
            try:
                return await _shielded(work)
            finally:
                with contextlib.suppress(RuntimeError):   # the chat's loop is closed: nobody waits
                    ours.call_soon_threadsafe(done.set_result, None)
        running = asyncio.run_coroutine_threadsafe(watched(), theirs)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({done}, timeout=GRACE)
            if not done.done() and self._loop is theirs:
                self._loop = None
            raise

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="async-tools", daemon=True).start()
        return self._loop


async def run_in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Run a synchronous function in a daemon thread, which can be abandoned.

    asyncio.to_thread cannot be used: the loop and the interpreter join its threads at their end, so
    a tool that hangs would keep the program from exiting.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    inherited = contextvars.copy_context()

    def settle(value: Any, problem: BaseException | None) -> None:
        if not future.done():
            future.set_result(value) if problem is None else future.set_exception(problem)

    def work() -> None:
        value, problem = None, None
        try:
            value = inherited.run(function, **arguments)
        except Exception as error:
            problem = error
        except BaseException as error:   # sys.exit() in a tool ends the tool, not the chat
            problem = ToolError(f"The tool ended itself ({type(error).__name__}).")
        try:
            loop.call_soon_threadsafe(settle, value, problem)
        except RuntimeError:
            log.debug("a tool finished after its chat had ended")

    threading.Thread(target=work, name=f"tool-{getattr(function, '__name__', '')}",
                     daemon=True).start()
    return await future


async def _shielded(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except SystemExit as problem:
        raise ToolError("The tool ended itself (SystemExit).") from problem


def _forget(work: asyncio.Future[Any]) -> None:
    """Retrieve the result of abandoned work, so that asyncio logs no error."""
    if not work.cancelled():
        work.exception()


def as_text(value: Any) -> str:
    """A tool's result as text for the model."""
    if isinstance(value, str):
        return value or "(empty)"
    if value is None:
        return "(done; no result)"
    return json.dumps(value, ensure_ascii=False, default=str)


def shorten(text: str, limit: int) -> str:
    """The text cut to `limit` characters, with a note."""
    if len(text) <= limit:
        return text
    said = (f"[Cut here: the first {limit:,} of {len(text):,} characters are shown. Ask for less "
            "or for another part.]")
    return f"{text[:limit]}\n{said}"
