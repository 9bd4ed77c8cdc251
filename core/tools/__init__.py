"""Tools that the model can call: their type, and the registry.

Each built-in tool is one function in a module of this package. The model sees its name, docstring
and annotations. New modules are found automatically; importing this package loads none of them.
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
    """What tools may use: passed as the parameter of this type, which the model never sees.

    `roots` are files and directories that may be read; `protected` are never read, even inside a
    root. `local_hosts` are host:port pairs with non-public addresses that the user allowed.
    `databases` are connection URLs by name. `hosts` are those approved for this call (None: any
    public one). `resolve` maps (host, port) to addresses, instead of the system. `seconds` is the
    time limit of a query. `stop` is set when the call was abandoned.
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
        """Raise ToolError if the call was abandoned; to be called in long loops."""
        if self.stop.is_set():
            raise ToolError("The call was stopped.")


# Returns the hosts that a call with these arguments connects to.
Hosts = Callable[[Mapping[str, Any], ToolContext], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model can call.

    After a result of a `private` tool, network calls need approval. `safe` tools are offered by
    --experimental. `source` says where the tool comes from.
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
        """A fingerprint of the tool's definition: permissions end when it changes."""
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
    """Register a plain or async function as a tool; the model sees its name, docstring and
    annotations.

    Use `@tool`, or `@tool(kind=, timeout=, private=, safe=, hosts=, name=)` with fields of Tool.
    Returns the function unchanged. The function returns text or a JSON value, and raises for a
    failure.
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
    """A Tool for a function, not registered."""
    description, parameters, context_parameter = describe_function(function, ToolContext)
    built_in = function.__module__.startswith("core.tools.")
    source = "built in" if built_in else function.__code__.co_filename
    return Tool(name or function.__name__, description, parameters, function,
                context_parameter=context_parameter, **({"source": source} | facts))


def load_built_in() -> None:
    """Import all modules of core/tools, which register their tools."""
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def load_tools_file(path: str) -> tuple[Tool, ...]:
    """Run a Python file of the user and return the tools that it registers.

    Raises UsageError if it cannot be loaded.
    """
    import importlib.util
    before = dict(REGISTERED)
    spec = importlib.util.spec_from_file_location("stream_chat_tools_" + fingerprint(path)[:12],
                                                  path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file.",
                         "--tools-file takes a file that ends with .py.")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except UsageError:
        raise
    except Exception as problem:
        raise UsageError(f"The tools file {path} failed: {type(problem).__name__}: "
                         f"{problem}.") from problem
    return tuple(made for made in REGISTERED.values() if before.get(made.name) is not made)


def load_entry_points() -> None:
    """Load the functions, with or without @tool, that installed packages offer under the entry
    point group `stream_chat.tools`.

    Raises UsageError for those that cannot be loaded, after loading all others.
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
    """All tools, sorted by name."""
    load_built_in()
    return tuple(REGISTERED[name] for name in sorted(REGISTERED))


def get_tools(names: Iterable[str] | None = None) -> tuple[Tool, ...]:
    """The tools with these names in this order; with None, the built-in ones that are safe without
    approval. Raises UsageError.
    """
    known = {made.name: made for made in all_tools()}
    if names is None:
        return tuple(made for made in known.values() if made.safe and made.source == "built in")
    wanted = list(dict.fromkeys(names))
    if not set(wanted) <= set(known):
        # searching installed packages is slow, so it is done only for unknown names
        load_entry_points()
        known = {made.name: made for made in all_tools()}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise UsageError(f"There is no tool named {', '.join(missing)}.",
                         f"There are: {', '.join(known)}.")
    return tuple(known[name] for name in wanted)


def is_tool(name: str) -> bool:
    """Whether a tool of this name is available in this run."""
    try:
        return bool(get_tools([name]))
    except UsageError:
        return False


def real_roots(paths: Iterable[str]) -> tuple[str, ...]:
    """Resolve the user's paths once at the start: later changes of links must not move a root."""
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths))


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or ["no reason given"])[0][:300]
