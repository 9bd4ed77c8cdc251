"""What the model calls is checked, approved and run within limits;
a failure is the model's result.
"""

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
DECLINED = "you declined"
SAME_CALLS = 3            # runs of one call with the same arguments in a turn
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One question to the user.

    `text` is all that will run, made safe, never shortened; `host` is set for network tools.
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
    """What runs without asking: kinds of tools, tools by name, and hosts.

    A word of one says nothing about the others.
    """

    kinds: frozenset[str]
    tools: frozenset[str]
    hosts: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> Allowed:
        """Sort the words of --allow: `kind:`, `tool:` and `host:` before a word say what it is."""
        found: dict[str, set[str]] = {"kind": set(), "tool": set(), "host": set()}
        for word in words:
            space, name = namespace(word)
            found[space].add(name)
        return cls(*(frozenset(found[space]) for space in ("kind", "tool", "host")))


def namespace(word: str) -> tuple[str, str]:
    """(kind, tool or host, name): what a word of --allow is.

    A host without a dot needs `host:` before it.
    """
    before, colon, name = word.partition(":")
    if colon and before in ("kind", "tool", "host") and name and not name.isdecimal():
        return before, name.lower() if before == "host" else name
    if word in KINDS:
        return "kind", word
    return ("host", word.lower()) if "." in word or colon or word == "localhost" else ("tool", word)


class Declined(ToolError):
    """The user refused a call; the words are for the model."""

    def __init__(self) -> None:
        super().__init__("Not run: the user said no.",
                         "Do not try again unless the user asks for it.")


@dataclass(slots=True)
class _Trial:
    """What became of one call: whether the user was asked, whether it ran,
    and how long it took by itself.
    """

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
    """Programs that bring tools of their own (core/tools/mcp/connection.py).

    They are started when tools are first offered.
    """

    @property
    def tools(self) -> Sequence[Tool]: ...

    async def start(self) -> list[str]:
        """Start what is not started, within limits. Returns what the user should know."""
        ...

    async def close(self) -> None: ...


class Toolbox:
    """The tools of one conversation: what was granted, what was run in this turn, and
    whether private data is in it.

    `allow` holds kinds and tool names that run without asking, and hosts that may be talked to
    whatever is in the conversation (see Allowed). `grants` keeps "always" decisions (fingerprint ->
    what it allows); give a mapping that lasts. Without `approve`, what is not allowed is denied.
    True when there is something to offer.
    """

    def __init__(self, tools: Iterable[Tool], context: ToolContext | None = None,
                 approve: Approve | None = None, *,
                 allow: Iterable[str] = ("read",), grants: MutableMapping[str, str] | None = None,
                 private: bool = False,
                 servers: Servers | None = None, calls_per_turn: int = CALLS_PER_TURN,
                 same_calls: int = SAME_CALLS,
                 max_result: int = MAX_RESULT) -> None:
        self.tools: dict[str, Tool] = {made.name: made for made in tools}
        self.context = context or ToolContext()
        self.private = private
        self.allow = Allowed.of(allow)
        self.grants: MutableMapping[str, str] = {} if grants is None else grants
        self.approve = approve
        self.servers = servers
        self._served: set[str] = set()     # the names of tools that servers offered last
        # switched off by the user: a server that starts later does not bring them back
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
        """Start the servers that bring tools, and take their tools up.

        Returns what the user should know.
        """
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
        """Another conversation: what was granted for the one before does not count here.

        That private data was seen still counts: what is attached may go along into the new one.
        """
        self.context = replace(self.context, session=session)
        self.private = self.private or private
        self._session_grants.clear()

    def begin_turn(self) -> None:
        """Give the model a new budget; call it when the user has said something."""
        self._calls = 0
        self._seen: Counter[str] = Counter()
        self._asking = None   # a lock belongs to one event loop, and a turn to one loop

    def note_messages(self, messages: Iterable[Message]) -> None:
        """Take over a stored conversation: results of private tools in it count,
        and so do those of tools that are not known.
        """
        names = {result.name for message in messages for result in message.tool_results}
        known = REGISTERED | self.tools
        self.private = self.private or any(name not in known or known[name].private
                                           for name in names)

    async def execute_tool_call(self, call: ToolCall) -> ToolResult:
        """The result of one call; see run()."""
        return (await self.run(call)).result

    async def run(self, call: ToolCall) -> ToolFinished:
        """Run one call.

        Never raises, except when it is cancelled: what goes wrong is the
        result, marked as an error.
        """
        said, trial = "", _Trial()
        try:
            result = ToolResult(call.id, call.name, await self._run(call, trial))
        except ToolError as problem:
            said = DECLINED if isinstance(problem, Declined) else problem.message
            result = _failed(call, " ".join(filter(None, (problem.message, problem.hint))))
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
            raise ToolError(f"The arguments are no JSON object: {what_is_wrong(call.invalid)}.",
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
            raise ToolError(f"Not run: this same call was made {self._limits[1]} times in this "
                            "turn already.",
                            "Its result will not change; use it, or do something else.")

    # ---- approval

    async def _get_approval(self, made: Tool, arguments: Mapping[str, Any],
                            trial: _Trial) -> frozenset[str] | None:
        """Return when the call may run, with the hosts it is bound to (None: any);
        raise ToolError when it may not.
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
            async with self._asking:   # one question at a time; an answer may settle the next
                if not self._is_granted(made, arguments, host):
                    await self._ask(made, arguments, host, trial)
        return frozenset(hosts)

    async def _ask_for_secrets(self, made: Tool, arguments: Mapping[str, Any], hosts: Sequence[str],
                               paths: Sequence[str], trial: _Trial) -> None:
        """A tool from elsewhere is asked about each time it names a file of keys,
        whatever is allowed.
        """
        named = ", ".join(path[:200] for path in paths[:3])
        if self.approve is None:
            raise ToolError(f"Not run: {named} looks like a file of keys or passwords, and nobody "
                            "can be asked here.",
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
        """Whether it runs without asking, as things stand."""
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
        return (f"Not run: {made.name} ({made.kind}) needs the user's approval, and nobody can be "
                "asked here.")


async def execute_tool_call(call: ToolCall, toolbox: Toolbox) -> ToolResult:
    """The same as a function, for those who have a toolbox and a call."""
    return await toolbox.execute_tool_call(call)


def _failed(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call.id, call.name, text, is_error=True)


def __getattr__(name: str) -> Any:
    """`perform_web_search` and `read_json_file` under the names by which they are looked for;
    loaded only then.
    """
    if name == "perform_web_search":
        from core.tools.web_search import perform_web_search
        return perform_web_search
    if name == "read_json_file":
        from core.tools.json_file import read_json_file
        return read_json_file
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ApprovalRequest", "Approve", "Decision", "Servers", "Toolbox",
           "execute_tool_call", "get_tools"]
