"""Tools as functions: registered by a decorator, checked, approved and run within limits; a failure is the model's result."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import inspect
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar, overload

from core.errors import ToolError, UsageError
from core.messages import Message, ToolCall, ToolResult
from core.providers import ToolSpec
from core.safe_text import safe_text
from core.tools.schema import check_arguments, describe_function

Kind = Literal["read", "network", "write", "run"]
Decision = Literal["once", "session", "always", "no"]

CALLS_PER_TURN = 64       # calls of all tools together
SAME_CALLS = 3            # runs of one call with the same arguments in a turn
MAX_RESULT = 50_000       # characters of a result that go to the model; what is left out is said
GRACE = 0.2               # seconds that a cancelled asynchronous tool gets to clean up
ENTRY_POINTS = "stream_chat.tools"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What tools may use, handed to those with a parameter of this type; the model never sees that parameter.

    `roots` are the files and directories that may be read, `protected` those that never are, even inside a root.
    `local_hosts` are host:port pairs with non-public addresses that the user allowed. `databases` are connection URLs
    by name. `hosts` are those that were approved for this call (None: any public one). `resolve` turns (host, port) into
    addresses, if not the system does. `stop` is set when nobody waits for the call any more.
    """

    roots: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    store: Any = None
    session: str | None = None
    databases: Mapping[str, str] = field(default_factory=dict)
    search_engines: tuple[str, ...] = ()
    searxng_url: str | None = None
    local_hosts: frozenset[str] = frozenset()
    cache: MutableMapping[str, Any] = field(default_factory=dict)
    hosts: frozenset[str] | None = None
    resolve: Callable[[str, int], list[str]] | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def check_stop(self) -> None:
        """Leave a long loop when the call was given up."""
        if self.stop.is_set():
            raise ToolError("The call was stopped.")


# Which hosts a call with these arguments talks to.
Hosts = Callable[[Mapping[str, Any], ToolContext], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model can call. `private` results make later network calls ask; `safe` ones run under --experimental.

    `source` is where the tool comes from.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any]
    kind: Kind = "read"
    timeout: float = 30.0
    private: bool = False
    safe: bool = False
    hosts: Hosts | None = None
    context_parameter: str = ""
    source: str = "built in"
    in_loop: bool = False   # asynchronous, and bound to the chat's own event loop

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, self.description, self.parameters)

    @property
    def definition(self) -> str:
        """A fingerprint of what the tool says it is: a grant ends when this changes."""
        return fingerprint([self.name, self.description, self.parameters, self.kind, self.source])


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One question to the person. `text` is all that will run, made safe, never shortened; `host` is set for network tools."""

    tool: Tool
    kind: Kind
    arguments: Mapping[str, Any]
    text: str
    host: str = ""
    reason: str = ""


Approve = Callable[[ApprovalRequest], Awaitable[Decision]]


class Servers(Protocol):
    """Programs that bring tools of their own (core/tools/mcp.py). They are started when tools are first offered."""

    @property
    def tools(self) -> Sequence[Tool]: ...

    async def start(self) -> list[str]:
        """Start what is not started, within limits. Returns what the person should know."""
        ...

    async def close(self) -> None: ...


Function = TypeVar("Function", bound=Callable[..., Any])
_TOOLS: dict[str, Tool] = {}


def real_roots(paths: Iterable[str]) -> tuple[str, ...]:
    """Resolve what the user gave, once, at the start: later changes of a link on the way to a root must not move it."""
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths))


# ---- the registry

@overload
def tool(function: Function) -> Function: ...


@overload
def tool(*, kind: Kind = "read", timeout: float = 30.0, private: bool = False, safe: bool = False, hosts: Hosts | None = None,
         name: str = "") -> Callable[[Function], Function]: ...


def tool(function: Function | None = None, **facts: Any) -> Any:
    """Register a plain or async function as a tool; its name, docstring and annotations are what the model is told.

    `@tool`, or `@tool(kind=, timeout=, private=, safe=, hosts=, name=)` with the fields of Tool. Returns the function
    unchanged. A failure is an exception; a result is text or anything that JSON can say.
    """
    def register(function: Function) -> Function:
        made = make_tool(function, **facts)
        other = _TOOLS.get(made.name)
        if other is not None and other.source != made.source:
            raise UsageError(f"There are two tools named {made.name}: {other.source} and {made.source}.", "Rename one of them.")
        _TOOLS[made.name] = made
        return function
    return register if function is None else register(function)


def make_tool(function: Callable[..., Any], *, name: str = "", **facts: Any) -> Tool:
    """A Tool out of a function, not registered."""
    description, parameters, context_parameter = describe_function(function, ToolContext)
    built_in = function.__module__.startswith("core.tools.")
    source = "built in" if built_in else function.__code__.co_filename
    return Tool(name or function.__name__, description, parameters, function,
                context_parameter=context_parameter, **({"source": source} | facts))


def load_built_in() -> None:
    """Import every file of core/tools: each registers its own tools."""
    import importlib
    import pkgutil

    import core.tools
    for module in pkgutil.iter_modules(core.tools.__path__):
        importlib.import_module(f"core.tools.{module.name}")


def load_tools_file(path: str) -> tuple[Tool, ...]:
    """Run a Python file of the user's and return the tools that it registered. Raises UsageError when it cannot be loaded."""
    import importlib.util
    before = dict(_TOOLS)
    spec = importlib.util.spec_from_file_location("stream_chat_tools_" + fingerprint(path)[:12], path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file.", "--tools-file takes a file that ends in .py.")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except UsageError:
        raise
    except Exception as problem:
        raise UsageError(f"The tools file {path} failed: {type(problem).__name__}: {problem}.") from problem
    return tuple(made for made in _TOOLS.values() if before.get(made.name) is not made)


def load_entry_points() -> None:
    """Load what installed packages offer under the group `stream_chat.tools`: functions, with or without @tool.

    Raises UsageError, after all others are loaded, when one cannot be.
    """
    from importlib.metadata import entry_points
    failed: list[str] = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            loaded = point.load()
        except Exception as problem:
            failed.append(f"{point.name} ({type(problem).__name__}: {_first_line(problem)})")
            continue
        if callable(loaded) and not any(made.function is loaded for made in _TOOLS.values()):
            made = make_tool(loaded, source=f"package {point.dist.name if point.dist else point.name}")
            _TOOLS.setdefault(made.name, made)
    if failed:
        raise UsageError(f"Tools of installed packages failed: {', '.join(failed)}.")


def all_tools() -> tuple[Tool, ...]:
    """Everything there is, by name."""
    load_built_in()
    return tuple(_TOOLS[name] for name in sorted(_TOOLS))


def get_tools(names: Iterable[str] | None = None) -> tuple[Tool, ...]:
    """The tools of these names in this order, or, with None, the built-in ones that are safe unasked. Raises UsageError."""
    known = {made.name: made for made in all_tools()}
    if names is None:
        return tuple(made for made in known.values() if made.safe and made.source == "built in")
    wanted = list(dict.fromkeys(names))
    if not set(wanted) <= set(known):
        load_entry_points()   # looking for packages costs time, so only when a name is not known otherwise
        known = {made.name: made for made in all_tools()}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise UsageError(f"There is no tool named {', '.join(missing)}.", f"There are: {', '.join(known)}.")
    return tuple(known[name] for name in wanted)


# ---- running

class Toolbox:
    """The tools of one conversation: what was granted, what was run in this turn, and whether private data is in it.

    `allow` holds kinds and tool names that run without asking, and hosts that may be talked to whatever is in the
    conversation. `grants` keeps "always" decisions (fingerprint -> what it allows); give a mapping that lasts. Without
    `approve`, what is not allowed is denied. True when there is something to offer.
    """

    def __init__(self, tools: Iterable[Tool], context: ToolContext | None = None, approve: Approve | None = None, *,
                 allow: Iterable[str] = ("read",), grants: MutableMapping[str, str] | None = None, private: bool = False,
                 servers: Servers | None = None, calls_per_turn: int = CALLS_PER_TURN, same_calls: int = SAME_CALLS,
                 max_result: int = MAX_RESULT) -> None:
        self.tools: dict[str, Tool] = {made.name: made for made in tools}
        self.context = context or ToolContext()
        self.private = private
        self.allow = frozenset(allow)
        self.grants: MutableMapping[str, str] = {} if grants is None else grants
        self.approve = approve
        self.servers = servers
        self.off: set[str] = set()   # switched off by the person: a server that starts later does not bring them back
        self._loop = ToolLoop()
        self._session_grants: set[str] = set()
        self._asking: asyncio.Lock | None = None
        self._limits = (calls_per_turn, same_calls, max_result)
        self.begin_turn()

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(made.spec for made in self.tools.values())

    def __bool__(self) -> bool:
        return bool(self.tools) or self.servers is not None

    async def prepare(self) -> list[str]:
        """Start the servers that bring tools, and take their tools up. Returns what the person should know."""
        if self.servers is None:
            return []
        news = await self.servers.start()
        for made in self.servers.tools:
            if made.name not in self.off:
                self.tools[made.name] = made
        return news

    def switch(self, made: Tool, *, on: bool) -> None:
        if on:
            self.tools[made.name] = made
            self.off.discard(made.name)
        else:
            self.tools.pop(made.name, None)
            self.off.add(made.name)

    async def close(self) -> None:
        if self.servers is not None:
            await self.servers.close()

    def begin_session(self, session: str, *, private: bool) -> None:
        """Another conversation: what was granted for the one before does not count here.

        That private data was seen still counts: what is attached may go along into the new one.
        """
        self.context = replace(self.context, session=session)
        self.private = self.private or private
        self._session_grants.clear()

    def begin_turn(self) -> None:
        """Give the model a new budget; call it when the person has said something."""
        self._calls = 0
        self._seen: Counter[str] = Counter()
        self._asking = None   # a lock belongs to one event loop, and a turn to one loop

    def note_messages(self, messages: Iterable[Message]) -> None:
        """Take over a stored conversation: results of private tools in it count, and so do those of tools that are not known."""
        names = {result.name for message in messages for result in message.tool_results}
        known = _TOOLS | self.tools
        self.private = self.private or any(name not in known or known[name].private for name in names)

    async def execute_tool_call(self, call: ToolCall) -> ToolResult:
        """Run one call. Never raises, except when it is cancelled: what goes wrong is the result, marked as an error."""
        try:
            return ToolResult(call.id, call.name, await self._run(call))
        except ToolError as problem:
            return _failed(call, " ".join(filter(None, (problem.message, problem.hint))))
        except Exception as problem:
            log.warning("tool %s failed", call.name, exc_info=True)
            return _failed(call, f"{call.name} failed: {type(problem).__name__}: {_first_line(problem)}")

    async def _run(self, call: ToolCall) -> str:
        self._count_call()
        made = self.tools.get(call.name)
        if made is None:
            raise ToolError(f"There is no tool named {call.name[:80]!r}.", f"There are: {', '.join(self.tools) or 'none'}.")
        if call.invalid is not None:
            raise ToolError(f"The arguments are no JSON object: {what_is_wrong(call.invalid)}.", "Nothing was run.")
        arguments = check_arguments(made.parameters, call.arguments)
        self._count_same(made, arguments)
        hosts = await self._get_approval(made, arguments)
        self.private = self.private or made.private
        context = replace(self.context, stop=threading.Event(), hosts=hosts)
        return shorten(as_text(await _call_function(made, arguments, context, self._loop)), self._limits[2])

    def _count_call(self) -> None:
        self._calls += 1
        if self._calls > self._limits[0]:
            raise ToolError(f"Not run: this turn has used its {self._limits[0]} tool calls.", "Answer with what you have.")

    def _count_same(self, made: Tool, arguments: Mapping[str, Any]) -> None:
        key = fingerprint([made.name, arguments])
        self._seen[key] += 1
        if self._seen[key] > self._limits[1]:
            raise ToolError(f"Not run: this same call was made {self._limits[1]} times in this turn already.",
                            "Its result will not change; use it, or do something else.")

    # ---- approval

    async def _get_approval(self, made: Tool, arguments: Mapping[str, Any]) -> frozenset[str] | None:
        """Return when the call may run, with the hosts it is bound to (None: any); raise ToolError when it may not."""
        if self.is_free(made):
            return None
        hosts = [host.lower() for host in made.hosts(arguments, self.context)] if made.hosts else []
        for host in hosts or [""]:
            if self._is_granted(made, arguments, host):
                continue
            if self.approve is None:
                raise ToolError(self._denial(made, host), "Tell the user; do not try again.")
            self._asking = self._asking or asyncio.Lock()
            async with self._asking:   # one question at a time; an answer may settle the next
                if not self._is_granted(made, arguments, host):
                    await self._ask(made, arguments, host)
        return frozenset(hosts)

    def is_free(self, made: Tool) -> bool:
        """Whether it runs without asking, as things stand."""
        asks_for_host = made.kind == "network" and self.private
        return not asks_for_host and (made.kind in self.allow or made.name in self.allow)

    def _is_granted(self, made: Tool, arguments: Mapping[str, Any], host: str) -> bool:
        if made.kind == "network" and host and host in self.allow:
            return True
        key = grant_key(made, arguments, host)
        return key in self._session_grants or key in self.grants

    async def _ask(self, made: Tool, arguments: Mapping[str, Any], host: str) -> None:
        assert self.approve is not None
        reason = "private data is in this conversation" if made.kind == "network" and self.private else ""
        request = ApprovalRequest(made, made.kind, dict(arguments), call_text(made.name, arguments), host, reason)
        decision = await self.approve(request)
        if decision not in ("once", "session", "always"):
            raise ToolError("Not run: the user said no.", "Do not try again unless the user asks for it.")
        key = grant_key(made, arguments, host)
        if decision == "session":
            self._session_grants.add(key)
        elif decision == "always":
            self.grants[key] = f"{made.name} {host}".strip()

    def _denial(self, made: Tool, host: str) -> str:
        if made.kind == "network" and self.private:
            return f"Not run: private data is in this conversation, and {host or made.name} was not approved."
        return f"Not run: {made.name} ({made.kind}) needs the user's approval, and nobody can be asked here."


async def _call_function(made: Tool, arguments: Mapping[str, Any], context: ToolContext, loop: ToolLoop) -> Any:
    """Run a tool until it is done, its time is up, or the turn is cancelled; then nobody waits for it any longer."""
    given = dict(arguments) | ({made.context_parameter: context} if made.context_parameter else {})
    is_async = inspect.iscoroutinefunction(made.function)
    if made.in_loop:
        work = asyncio.ensure_future(_shielded(made.function(**given)))
    else:
        work = asyncio.ensure_future(loop.run(made.function(**given)) if is_async else run_in_thread(made.function, given))
    try:
        done, _ = await asyncio.wait({work}, timeout=made.timeout)
        if not done:
            raise ToolError(f"{made.name} took longer than {made.timeout:g} s and was given up.")
        return work.result()
    finally:
        context.stop.set()
        if not work.done():
            work.cancel()
            work.add_done_callback(_forget)
            if is_async:
                await asyncio.wait({work}, timeout=GRACE * 2)


class ToolLoop:
    """One event loop in a daemon thread for all asynchronous tools: one that never awaits holds up the others, not the chat.

    A loop that is held up when a call is given up is left behind, and the next call gets a new one.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
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


async def execute_tool_call(call: ToolCall, toolbox: Toolbox) -> ToolResult:
    """The same as a function, for those who have a toolbox and a call."""
    return await toolbox.execute_tool_call(call)


async def run_in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Run a synchronous function so that nobody has to wait for it.

    A daemon thread of its own, not asyncio.to_thread: the loop and the interpreter join the pool's threads when they
    end, so one tool that hangs would keep the program from leaving.
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

    threading.Thread(target=work, name=f"tool-{getattr(function, '__name__', '')}", daemon=True).start()
    return await future


async def _shielded(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except SystemExit as problem:
        raise ToolError("The tool ended itself (SystemExit).") from problem


def _forget(work: asyncio.Future[Any]) -> None:
    """Look at the result of given-up work, so that asyncio does not complain on the terminal."""
    if not work.cancelled():
        work.exception()


def _failed(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call.id, call.name, text, is_error=True)


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or ["no reason given"])[0][:300]


# ---- text of calls and results

def as_text(value: Any) -> str:
    """A tool's result as the model reads it."""
    if isinstance(value, str):
        return value or "(empty)"
    if value is None:
        return "(done; no result)"
    return json.dumps(value, ensure_ascii=False, default=str)


def shorten(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    said = f"[Cut here: the first {limit:,} of {len(text):,} characters are shown. Ask for less or for another part.]"
    return f"{text[:limit]}\n{said}"


def what_is_wrong(text: str) -> str:
    """Why text is no JSON object, in few words."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        return f"{problem.msg} at character {problem.pos} of {len(text)}"
    except (ValueError, RecursionError) as problem:
        return _first_line(problem)
    return "a name stands twice in one object" if isinstance(value, dict) else f"it is {type(value).__name__}"


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A call in full and made safe, one argument a line."""
    lines = [f"  {key} = {json.dumps(value, ensure_ascii=False, default=str)}" for key, value in arguments.items()]
    return safe_text("\n".join([name, *lines]))


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def grant_key(made: Tool, arguments: Mapping[str, Any], host: str = "") -> str:
    """What a lasting "yes" covers: this definition of the tool with arguments of this shape and, on the network, this host.

    For a tool that runs things the arguments are the deed, so they are part of the grant as they are.
    """
    shape = arguments if made.kind == "run" else shape_of(arguments)
    return fingerprint([made.definition, shape, host])


def shape_of(value: Any) -> Any:
    """Keys and types without the values."""
    if isinstance(value, Mapping):
        return {str(key): shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({canonical(shape_of(item)) for item in value})
    return type(value).__name__


def __getattr__(name: str) -> Any:
    """`perform_web_search` and `read_json_file` under the names by which they are looked for; loaded only then."""
    if name == "perform_web_search":
        from core.tools.web_search import perform_web_search
        return perform_web_search
    if name == "read_json_file":
        from core.tools.json_file import read_json_file
        return read_json_file
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
