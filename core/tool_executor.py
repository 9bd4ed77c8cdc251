"""Checks, approves and runs the model's tool calls within limits; failures become results."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import (Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping,
                             Sequence)
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

from core.dataclass import dataclass, replace
from core.errors import ToolError
from core.events import ToolFinished
from core.messages import Message, ToolCall, ToolResult
from core.providers import ToolSpec
from core.safe_text import safe_text
from core.tools import REGISTERED, Kind, Tool, ToolContext, fingerprint, first_line, get_tools
from core.tools.call_text import call_text, grant_key, what_is_wrong
from core.tools.guards.secret_files import secret_arguments
from core.tools.running import MAX_RESULT, ToolLoop, as_text, call_function, shorten
from core.tools.schema import check_arguments

KINDS: tuple[str, ...] = get_args(Kind)
Decision = Literal["once", "session", "always", "no"]

CALLS_PER_TURN = 64       # calls of all tools together
SAME_CALLS = 3            # runs of one call with the same arguments in a turn
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A question to the user about one call.

    `text` is everything that will run, made safe and never shortened; `host` is set for network
    tools; `reason` says why the user is asked despite their permissions.
    """

    tool: Tool
    kind: Kind
    arguments: Mapping[str, Any]
    text: str
    host: str = ""
    reason: str = ""


Approve = Callable[[ApprovalRequest], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What runs without approval: kinds of tools, tools by name, and hosts."""

    kinds: frozenset[str]
    tools: frozenset[str]
    hosts: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> Allowed:
        """Sort the words of --allow; a prefix `kind:`, `tool:` or `host:` says what a word is."""
        found: dict[str, set[str]] = {"kind": set(), "tool": set(), "host": set()}
        for word in words:
            space, name = namespace(word)
            found[space].add(name)
        return cls(*(frozenset(found[space]) for space in ("kind", "tool", "host")))


def namespace(word: str) -> tuple[str, str]:
    """("kind", "tool" or "host"; name) of a word of --allow.

    A host without a dot needs the prefix `host:`.
    """
    before, colon, name = word.partition(":")
    if colon and before in ("kind", "tool", "host") and name and not name.isdecimal():
        return before, name.lower() if before == "host" else name
    if word in KINDS:
        return "kind", word
    return ("host", word.lower()) if "." in word or colon or word == "localhost" else ("tool", word)


class Declined(ToolError):
    """The user refused a call; the message is for the model."""

    def __init__(self) -> None:
        super().__init__("Not run: the user declined.",
                         "Do not try again unless the user asks for it.")


@dataclass(slots=True)
class _Trial:
    """The record of one call: whether the user was asked, whether it ran, and its own seconds."""

    asked: bool = False
    ran: bool = False
    seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        self.ran, started = True, time.monotonic()
        try:
            yield
        finally:
            self.seconds = time.monotonic() - started


class Servers(Protocol):
    """External programs that provide tools (core/tools/mcp/connection.py).

    They are started when tools are first offered to a model.
    """

    @property
    def tools(self) -> Sequence[Tool]: ...

    async def start(self) -> list[str]:
        """Start servers that are not running, within a time limit. Returns notices."""
        ...

    async def close(self) -> None: ...


class Toolbox:
    """The tools of one conversation, with its permissions, the calls of this turn, and whether the
    conversation contains private data.

    `allow` lists kinds and names of tools that run without approval, and hosts that may be
    contacted even then (see Allowed). `grants` stores "always" decisions (fingerprint ->
    description); pass a persistent mapping. Without `approve`, calls that need approval are denied.
    A toolbox is true if it has tools to offer.
    """

    def __init__(self, tools: Iterable[Tool], context: ToolContext | None = None,
                 approve: Approve | None = None, *,
                 allow: Iterable[str] = ("read",), grants: MutableMapping[str, str] | None = None,
                 private: bool = False, servers: Servers | None = None,
                 calls_per_turn: int = CALLS_PER_TURN, same_calls: int = SAME_CALLS,
                 max_result: int = MAX_RESULT) -> None:
        self.tools: dict[str, Tool] = {made.name: made for made in tools}
        self.context = context or ToolContext()
        self.private = private
        self.allow = Allowed.of(allow)
        self.grants: MutableMapping[str, str] = {} if grants is None else grants
        self.approve = approve
        self.servers = servers
        self._served: set[str] = set()     # names of the tools that servers offered last
        # switched off by the user, and not switched on again by a server that starts later
        self.off: set[str] = set()
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
        """Start the servers and add their tools; remove those that are gone. Returns notices."""
        if self.servers is None:
            return []
        news = await self.servers.start()
        offered = {made.name for made in self.servers.tools}
        for gone in self._served - offered:
            self.tools.pop(gone, None)
        self._served = offered
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
        """Start another conversation, without the permissions of the previous one.

        Private data of the previous conversation still counts: attachments may be carried over.
        """
        self.context = replace(self.context, session=session)
        self.private = self.private or private
        self._session_grants.clear()

    def begin_turn(self) -> None:
        """Reset the limits on calls; call this for each message of the user."""
        self._calls = 0
        self._seen: Counter[str] = Counter()
        self._asking = None   # a lock belongs to one event loop, and a turn to one loop

    def note_messages(self, messages: Iterable[Message]) -> None:
        """Note whether a stored conversation contains private data: results of private tools and
        of unknown ones.
        """
        names = {result.name for message in messages for result in message.tool_results}
        known = REGISTERED | self.tools
        self.private = self.private or any(name not in known or known[name].private
                                           for name in names)

    async def execute_tool_call(self, call: ToolCall) -> ToolResult:
        """Run one call and return its result; see run()."""
        return (await self.run(call)).result

    async def run(self, call: ToolCall) -> ToolFinished:
        """Run one call. A failure becomes a result marked as an error; only cancelling raises."""
        said, trial = "", _Trial()
        try:
            result = ToolResult(call.id, call.name, await self._run(call, trial))
        except ToolError as problem:
            said = problem.message
            result = _failed(call, " ".join(filter(None, (problem.message, problem.hint))),
                             declined=isinstance(problem, Declined))
        except Exception as problem:
            log.warning("tool %s failed", call.name, exc_info=True)
            result = _failed(call, f"{call.name} failed: {type(problem).__name__}: "
                             f"{first_line(problem)}")
        return ToolFinished(result, trial.seconds, said, trial.ran, trial.asked)

    def _hosts(self, made: Tool, arguments: Mapping[str, Any]) -> list[str]:
        return [host.lower() for host in made.hosts(arguments, self.context)] if made.hosts else []

    async def _run(self, call: ToolCall, trial: _Trial) -> str:
        self._count_call()
        made = self.tools.get(call.name)
        if made is None:
            raise ToolError(f"There is no tool named {call.name[:80]!r}.",
                            f"There are: {', '.join(self.tools) or 'none'}.")
        if call.invalid is not None:
            raise ToolError(f"The arguments are not a JSON object: {what_is_wrong(call.invalid)}.",
                            "Nothing was run.")
        arguments = check_arguments(made.parameters, call.arguments)
        self._count_same(made, arguments)
        hosts = await self._get_approval(made, arguments, trial)
        self.private = self.private or made.private
        context = replace(self.context, stop=threading.Event(), hosts=hosts)
        with trial.timed():
            return shorten(as_text(await call_function(made, arguments, context, self._loop)),
                           self._limits[2])

    def _count_call(self) -> None:
        self._calls += 1
        if self._calls > self._limits[0]:
            raise ToolError(f"Not run: this turn has used its {self._limits[0]} tool calls.",
                            "Answer with what you have.")

    def _count_same(self, made: Tool, arguments: Mapping[str, Any]) -> None:
        key = fingerprint([made.name, arguments])
        self._seen[key] += 1
        if self._seen[key] > self._limits[1]:
            raise ToolError(f"Not run: this call was already made {self._limits[1]} times in this "
                            "turn.",
                            "Its result will not change; use it, or do something else.")

    # ---- approval

    async def _get_approval(self, made: Tool, arguments: Mapping[str, Any],
                            trial: _Trial) -> frozenset[str] | None:
        """Wait for permission to run a call; return the hosts it is restricted to (None: any).

        Raises ToolError if it must not run.
        """
        hosts = self._hosts(made, arguments)
        secrets = [] if made.source == "built in" else secret_arguments(arguments)
        if secrets:
            await self._ask_for_secrets(made, arguments, hosts, secrets, trial)
            return frozenset(hosts)
        if self.is_free(made):
            return None
        for host in hosts or [""]:
            if self._is_granted(made, arguments, host):
                continue
            if self.approve is None:
                raise ToolError(self._denial(made, host), "Tell the user; do not try again.")
            self._asking = self._asking or asyncio.Lock()
            async with self._asking:   # one question at a time: an answer may also grant the next
                if not self._is_granted(made, arguments, host):
                    await self._ask(made, arguments, host, trial)
        return frozenset(hosts)

    async def _ask_for_secrets(self, made: Tool, arguments: Mapping[str, Any], hosts: Sequence[str],
                               paths: Sequence[str], trial: _Trial) -> None:
        """Ask each time before an external tool gets the path of a key file, whatever is allowed.

        Raises ToolError if it must not run.
        """
        named = ", ".join(path[:200] for path in paths[:3])
        if self.approve is None:
            raise ToolError(f"Not run: {named} looks like a file of keys or passwords, which needs "
                            "the user's approval, and the user cannot be asked here.",
                            "Tell the user; do not try again.")
        self._asking = self._asking or asyncio.Lock()
        async with self._asking:
            request = ApprovalRequest(made, made.kind, dict(arguments),
                                      call_text(made.name, arguments),
                                      ", ".join(hosts), f"{safe_text(named)} looks like a file of "
                                      "keys or passwords")
            trial.asked = True
            if await self.approve(request) not in ("once", "session", "always"):
                raise Declined

    def is_free(self, made: Tool) -> bool:
        """Whether a tool currently runs without approval."""
        asks_for_host = made.kind == "network" and self.private
        return not asks_for_host and (made.kind in self.allow.kinds
                                      or made.name in self.allow.tools)

    def _is_granted(self, made: Tool, arguments: Mapping[str, Any], host: str) -> bool:
        if made.kind == "network" and host and host in self.allow.hosts:
            return True
        key = grant_key(made, arguments, host)
        return key in self._session_grants or key in self.grants

    async def _ask(self, made: Tool, arguments: Mapping[str, Any], host: str,
                   trial: _Trial) -> None:
        assert self.approve is not None
        reason = ("private data is in this conversation" if made.kind == "network" and self.private
                  else "")
        request = ApprovalRequest(made, made.kind, dict(arguments), call_text(made.name, arguments),
                                  host, reason)
        trial.asked = True
        decision = await self.approve(request)
        if decision not in ("once", "session", "always"):
            raise Declined
        key = grant_key(made, arguments, host)
        if decision == "session":
            self._session_grants.add(key)
        elif decision == "always":
            self.grants[key] = f"{made.name} {host}".strip()

    def _denial(self, made: Tool, host: str) -> str:
        if made.kind == "network" and self.private:
            return (f"Not run: private data is in this conversation, and {host or made.name} was "
                    "not approved.")
        return (f"Not run: {made.name} ({made.kind}) needs the user's approval, and the user "
                "cannot be asked here.")


async def execute_tool_call(call: ToolCall, toolbox: Toolbox) -> ToolResult:
    """Run a call with a toolbox; see Toolbox.run()."""
    return await toolbox.execute_tool_call(call)


def _failed(call: ToolCall, text: str, *, declined: bool = False) -> ToolResult:
    return ToolResult(call.id, call.name, text, is_error=True, declined=declined)


def __getattr__(name: str) -> Any:
    """Import `perform_web_search` and `read_json_file` from here on demand."""
    if name == "perform_web_search":
        from core.tools.web_search import perform_web_search
        return perform_web_search
    if name == "read_json_file":
        from core.tools.json_file import read_json_file
        return read_json_file
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ApprovalRequest", "Approve", "Decision", "Servers", "Toolbox",
           "execute_tool_call", "get_tools"]
