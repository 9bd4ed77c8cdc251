"""Tools that the model can call: what one is, and which there are.

Each is one function in a module of this package.

Its name is the tool's, its docstring and annotations are what the model is told. A new module is
found without being named anywhere; importing this package loads none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Literal, TypeVar, overload

from core.dataclass import dataclass, field
from core.errors import ToolError, UsageError
from core.providers import ToolSpec
from core.tools.schema import describe_function

Kind = Literal["read", "network", "write", "run"]
ENTRY_POINTS = "stream_chat.tools"


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What tools may use, handed to those with a parameter of this type; the model
    never sees that parameter.

    `roots` are the files and directories that may be read, `protected` those that never are,
    even inside a root. `local_hosts` are host:port pairs with non-public addresses that the
    user allowed. `databases` are connection URLs by name. `hosts` are those that were
    approved for this call (None: any public one). `resolve` turns (host, port) into
    addresses, if not the system does. `seconds` is how long a query may take. `stop` is set
    when nobody waits for the call any more.
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
    seconds: float = 20.0
    stop: threading.Event = field(default_factory=threading.Event)

    def check_stop(self) -> None:
        """Leave a long loop when the call was given up."""
        if self.stop.is_set():
            raise ToolError("The call was stopped.")


# Which hosts a call with these arguments talks to.
Hosts = Callable[[Mapping[str, Any], ToolContext], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model can call.

    `private` results make later network calls ask; `safe` ones run under --experimental.

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


Function = TypeVar("Function", bound=Callable[..., Any])
REGISTERED: dict[str, Tool] = {}   # by name


# ---- the registry

@overload
def tool(function: Function) -> Function: ...


@overload
def tool(*, kind: Kind = "read", timeout: float = 30.0, private: bool = False, safe: bool = False,
         hosts: Hosts | None = None,
         name: str = "") -> Callable[[Function], Function]: ...


def tool(function: Function | None = None, **facts: Any) -> Any:
    """Register a plain or async function as a tool; its name, docstring and annotations
    are what the model is told.

    `@tool`, or `@tool(kind=, timeout=, private=, safe=, hosts=, name=)` with the fields of
    Tool. Returns the function unchanged. A failure is an exception; a result is text or
    anything that JSON can say.
    """
    def register(function: Function) -> Function:
        made = make_tool(function, **facts)
        other = REGISTERED.get(made.name)
        if other is not None and other.source != made.source:
            raise UsageError(f"There are two tools named {made.name}: {other.source} and "
                             f"{made.source}.", "Rename one of them.")
        REGISTERED[made.name] = made
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

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def load_tools_file(path: str) -> tuple[Tool, ...]:
    """Run a Python file of the user's and return the tools that it registered.

    Raises UsageError when it cannot be loaded.
    """
    import importlib.util
    before = dict(REGISTERED)
    spec = importlib.util.spec_from_file_location("stream_chat_tools_" + fingerprint(path)[:12],
                                                  path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file.",
                         "--tools-file takes a file that ends in .py.")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except UsageError:
        raise
    except Exception as problem:
        raise UsageError(f"The tools file {path} failed: {type(problem).__name__}: "
                         f"{problem}.") from problem
    return tuple(made for made in REGISTERED.values() if before.get(made.name) is not made)


def load_entry_points() -> None:
    """Load what installed packages offer under the group `stream_chat.tools`:
    functions, with or without @tool.

    Raises UsageError, after all others are loaded, when one cannot be.
    """
    from importlib.metadata import entry_points
    failed: list[str] = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            loaded = point.load()
        except Exception as problem:
            failed.append(f"{point.name} ({type(problem).__name__}: {first_line(problem)})")
            continue
        if callable(loaded) and not any(made.function is loaded for made in REGISTERED.values()):
            made = make_tool(loaded,
                             source=f"package {point.dist.name if point.dist else point.name}")
            REGISTERED.setdefault(made.name, made)
    if failed:
        raise UsageError(f"Tools of installed packages failed: {', '.join(failed)}.")


def all_tools() -> tuple[Tool, ...]:
    """Everything there is, by name."""
    load_built_in()
    return tuple(REGISTERED[name] for name in sorted(REGISTERED))


def get_tools(names: Iterable[str] | None = None) -> tuple[Tool, ...]:
    """The tools of these names in this order, or, with None,
    the built-in ones that are safe unasked. Raises UsageError.
    """
    known = {made.name: made for made in all_tools()}
    if names is None:
        return tuple(made for made in known.values() if made.safe and made.source == "built in")
    wanted = list(dict.fromkeys(names))
    if not set(wanted) <= set(known):
        # looking for packages costs time, so only when a name is not known otherwise
        load_entry_points()
        known = {made.name: made for made in all_tools()}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise UsageError(f"There is no tool named {', '.join(missing)}.",
                         f"There are: {', '.join(known)}.")
    return tuple(known[name] for name in wanted)


def real_roots(paths: Iterable[str]) -> tuple[str, ...]:
    """Resolve what the user gave, once, at the start:
    later changes of a link on the way to a root must not move it.
    """
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths))


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or ["no reason given"])[0][:300]
