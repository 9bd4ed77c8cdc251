"""The interface of all providers: one request in, one stream of deltas out.

A provider is one file named after its wire dialect, with one class decorated with
`@dialect("name")`. It only translates: it does not print, sleep, retry, run tools or store the
conversation. It is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, runtime_checkable

from core.dataclass import dataclass, field
from core.errors import UsageError
from core.events import Delta, PullProgress
from core.messages import Message
from core.providers.hosts import hosts as known_hosts


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as described to the model; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """Options common to all providers; None uses the provider's default.

    `raw` is passed on untranslated.
    """

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    think: bool | str | None = None
    num_ctx: int | None = None
    keep_alive: str | None = None
    response_format: Any = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One model call. `messages` may contain system messages; `system` precedes all of them."""

    model: str
    messages: tuple[Message, ...]
    system: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    options: Options = Options()
    # fields added by the adapter that the server has refused
    without: frozenset[str] = frozenset()
    # addresses of the provider that just failed
    avoid: frozenset[str] = frozenset()
    kept: str = ""      # identifies an unfinished answer to this request that may be resumed


class Recorder(Protocol):
    """Records requests (core/providers/sent.py)."""

    def note(self, provider: str, method: str, url: str, body: bytes | None, *,
             with_key: bool) -> None: ...

    async def ready(self) -> None:
        """Wait until requests may be sent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a provider and how to access it.

    The key is only sent to the origin of `base_url`.
    """

    base_url: str
    key: str | None = None
    host: str = ""  # name of its row in hosts.py, also used in error messages
    connect_timeout: float = 10.0        # seconds
    idle_timeout: float = 300.0          # seconds without a byte or without content
    # seconds before the first content, for servers that load models; None: idle_timeout
    first_byte_timeout: float | None = None
    quirks: Mapping[str, Any] = field(default_factory=dict)
    longest: int = 8 << 20  # largest line, event or document in bytes
    sent: Recorder | None = field(default=None, compare=False)     # records every request
    # seconds to wait after the end of a reply: some servers keep the connection open
    linger: float = 2.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a provider reports about a model; None where it reports nothing.

    Limits are in tokens, `size` is in bytes.
    """

    name: str
    context_window: int | None = None
    output_limit: int | None = None
    size: int | None = None
    # such as tools, vision, thinking, completion, embedding
    capabilities: frozenset[str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    # capabilities known to be missing; others are unknown
    lacking: frozenset[str] = frozenset()


class Provider(Protocol):
    """The methods of every provider."""

    @property
    def endpoint(self) -> Endpoint: ...

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Send a request, and yield deltas in the order described in core/events.py.

        Raises a ProviderError on failure; StreamBroken if the stream ends without an end marker.
        Closing the generator closes the connection.
        """
        ...

    async def models(self) -> list[ModelInfo]:
        """List the available models. Raises like stream()."""
        ...

    async def close(self) -> None:
        """Close connections. Can be called twice."""
        ...


@runtime_checkable
class CanShow(Protocol):
    """Can describe one model in more detail than models()."""

    async def show(self, model: str) -> ModelInfo: ...


@runtime_checkable
class CanPull(Protocol):
    """Can download a model that it does not have."""

    def pull(self, model: str) -> AsyncGenerator[PullProgress, None]: ...


@runtime_checkable
class CanListRunning(Protocol):
    """Can list the models loaded in its server's memory, each with the context window it was loaded
    with.
    """

    async def running(self) -> list[ModelInfo]: ...


@runtime_checkable
class Loads(Protocol):
    """Loads models itself; `loading` is the model being loaded, or ""."""

    loading: str


@runtime_checkable
class CanTellWindow(Protocol):
    """Knows the context window that a request would get, before it is sent."""

    async def window(self, request: Request) -> int: ...


@runtime_checkable
class CanDelete(Protocol):
    """Can delete a model from its server."""

    async def delete(self, model: str) -> None: ...


@runtime_checkable
class CanCreate(Protocol):
    """Can create a model from another one, or from files with weights and adapters."""

    def create(self, model: str, base: str, files: Sequence[str], adapters: Sequence[str],
               fields: Mapping[str, Any]) -> AsyncGenerator[PullProgress, None]: ...


@runtime_checkable
class HasMembers(Protocol):
    """Combines several providers; `asked` is the last used one."""

    asked: Provider


@runtime_checkable
class CanCount(Protocol):
    """Can count the tokens of a request before it is sent."""

    async def count(self, request: Request) -> int: ...


@runtime_checkable
class Adapts(Protocol):
    """Changes some settings because the model or API does not accept them as set."""

    def adapted(self, request: Request) -> Sequence[str]:
        """Return descriptions of changed settings, each part of a sentence; empty if all are sent
        as set.
        """
        ...


@runtime_checkable
class CanEmbed(Protocol):
    """Can compute embeddings: vectors whose directions show how similar texts are."""

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, in order, all of the same length and with finite numbers."""
        ...


@runtime_checkable
class CanCheck(Protocol):
    """Can check in one call that it is reachable and accepts the key; returns a short description
    of itself.
    """

    async def check(self) -> str: ...


@runtime_checkable
class CanAdvise(Protocol):
    """Can advise the user about its server, one sentence per advice."""

    def advice(self, said: str, model: str, window: int | None) -> AsyncGenerator[str, None]:
        """Yield advice about a server that answered check() with `said`.

        `model` is the model to use, `window` the wanted context window in tokens.
        """
        ...

    def advice_when_down(self, wanted: str, usual: str) -> AsyncGenerator[str, None]:
        """Yield advice about a server that does not answer.

        `wanted` is the address as the user wrote it, `usual` the default address.
        """
        ...


@runtime_checkable
class RunsFiles(Protocol):
    """Runs model files from a directory on this computer."""

    directory: str

    def engine_program(self) -> str | None:
        """Return the path of the program that runs them; None for an installed package.

        Raises ProviderError if neither is available.
        """
        ...


Dialect = Callable[[Endpoint], Provider]
_DIALECTS: dict[str, Dialect] = {}
ENTRY_POINTS = "stream_chat.providers"


def dialect(name: str) -> Callable[[Dialect], Dialect]:
    """Register a class (or any callable) that makes a Provider from an Endpoint."""
    def register(factory: Dialect) -> Dialect:
        _DIALECTS[name] = factory
        return factory
    return register


def load_dialect(name: str) -> Dialect:
    """Find a dialect by name: a module of this package, otherwise an installed entry point.

    Nothing else is imported. Raises UsageError for an unknown name.
    """
    module = name.replace("-", "_")
    if name not in _DIALECTS and module.isidentifier():
        try:
            importlib.import_module(f"core.providers.{module}")
        except ModuleNotFoundError as problem:
            if problem.name != f"core.providers.{module}":
                raise
            _load_entry_point(name)
    if name not in _DIALECTS:
        raise UsageError(f"There is no provider named {name!r}.", _suggestion(name))
    return _DIALECTS[name]


def _load_entry_point(name: str) -> None:
    from importlib.metadata import entry_points
    for point in entry_points(group=ENTRY_POINTS, name=name):
        try:
            loaded = point.load()
        except Exception as problem:      # a bug in another package
            package = point.dist.name if point.dist is not None else point.value
            raise UsageError(f"The provider {name} of the package {package} cannot be loaded: "
                             f"{problem!r:.200}.",
                             "Update or remove that package.") from problem
        _DIALECTS.setdefault(name, loaded)


@cache
def installed_names() -> tuple[str, ...]:
    """Return the names of providers in other installed packages, without loading them."""
    from importlib.metadata import entry_points
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINTS)}))


def similar_provider(name: str) -> str:
    """The provider that a misspelt name resembles; empty where it resembles none."""
    from difflib import get_close_matches
    known = [*installed_names(),
             *(word for host in known_hosts() for word in (host.name, *host.aliases))]
    return next(iter(get_close_matches(name.lower(), known, n=1, cutoff=0.7)), "")


def _suggestion(name: str) -> str:
    close = similar_provider(name)
    return ((f"Did you mean {close}? " if close else "") + "--list-providers (/providers in a "
            "chat) lists them.")
