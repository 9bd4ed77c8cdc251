"""The seam to every provider: one request in, one stream of deltas out.

A provider is one file named after its wire dialect, with one class under `@dialect("name")`. It
only translates: it does not print, sleep, retry, run tools or keep the conversation. It is
loaded when it is asked for.
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
    """A tool as the model is told of it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What every provider may be asked for; None leaves it to the provider.

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
    """One call of a model.

    `messages` may hold system messages; `system` comes before all of them.
    """

    model: str
    messages: tuple[Message, ...]
    system: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    options: Options = Options()
    # fields that an adapter adds by itself and the server has refused
    without: frozenset[str] = frozenset()
    # addresses that just failed, where the provider has several
    avoid: frozenset[str] = frozenset()
    kept: str = ""      # the handle of an answer to this that was begun and may still be had


class Recorder(Protocol):
    """Keeps what is sent (core/providers/sent.py)."""

    def note(self, provider: str, method: str, url: str, body: bytes | None, *,
             with_key: bool) -> None: ...

    async def ready(self) -> None:
        """Wait for what has to be done before anything is sent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how to get in.

    The key is only ever sent to the origin of `base_url`.
    """

    base_url: str
    key: str | None = None
    host: str = ""  # the row in hosts.py that this came from; also what errors call it
    connect_timeout: float = 10.0        # seconds
    idle_timeout: float = 300.0          # seconds without a byte, or without content
    # the same before the first content, where models load; None: idle_timeout
    first_byte_timeout: float | None = None
    quirks: Mapping[str, Any] = field(default_factory=dict)
    longest: int = 8 << 20  # bytes of one line, event or document; more is not a chat protocol
    sent: Recorder | None = field(default=None, compare=False)     # is told of every request
    # seconds for what follows the end of a reply: some servers leave the connection open
    linger: float = 2.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a provider says of a model; None where it says nothing.

    Sizes are tokens, `size` is bytes.
    """

    name: str
    context_window: int | None = None
    output_limit: int | None = None
    size: int | None = None
    # of: tools, vision, thinking, completion, embedding, ...
    capabilities: frozenset[str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    # capabilities that it certainly does not have; others are unknown
    lacking: frozenset[str] = frozenset()


class Provider(Protocol):
    """What the rest of the program knows of a provider."""

    @property
    def endpoint(self) -> Endpoint: ...

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Ask, and yield what comes, in the order of core/events.py.

        Raise a ProviderError when it fails.

        A stream that ends without an end marker raises StreamBroken. Closing the
        generator closes the connection.
        """
        ...

    async def models(self) -> list[ModelInfo]:
        """The models that can be asked. Raises like stream()."""
        ...

    async def close(self) -> None:
        """Give back connections. May be called twice."""
        ...


@runtime_checkable
class CanShow(Protocol):
    """Can say what one model is able to do, more exactly than models()."""

    async def show(self, model: str) -> ModelInfo: ...


@runtime_checkable
class CanPull(Protocol):
    """Can fetch a model that it does not have."""

    def pull(self, model: str) -> AsyncGenerator[PullProgress, None]: ...


@runtime_checkable
class CanListRunning(Protocol):
    """Can say which models its server holds in memory, each with the window it was loaded with."""

    async def running(self) -> list[ModelInfo]: ...


@runtime_checkable
class Loads(Protocol):
    """Loads models itself; `loading` is the one that it loads now, or "" while it loads none."""

    loading: str


@runtime_checkable
class CanTellWindow(Protocol):
    """Knows the window that a request would get, before it is sent."""

    async def window(self, request: Request) -> int: ...


@runtime_checkable
class CanDelete(Protocol):
    """Can delete a model from its server."""

    async def delete(self, model: str) -> None: ...


@runtime_checkable
class CanCreate(Protocol):
    """Can make a model out of another one, or of weights and adapters in files."""

    def create(self, model: str, base: str, files: Sequence[str], adapters: Sequence[str],
               fields: Mapping[str, Any]) -> AsyncGenerator[PullProgress, None]: ...


@runtime_checkable
class HasMembers(Protocol):
    """Is made of several providers; `asked` is the one that was asked last."""

    asked: Provider


@runtime_checkable
class CanCount(Protocol):
    """Can count the tokens of a request before it is sent."""

    async def count(self, request: Request) -> int: ...


@runtime_checkable
class Adapts(Protocol):
    """Asks for some things in another way than they were set,
    since the model or the API takes no other.
    """

    def adapted(self, request: Request) -> Sequence[str]:
        """What is asked for instead, each as a part of a sentence;
        nothing where all is sent as it was set.
        """
        ...


@runtime_checkable
class CanEmbed(Protocol):
    """Can turn texts into vectors whose directions say how near they are in meaning."""

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in their order;
        all are of one length, and of finite numbers.
        """
        ...


@runtime_checkable
class CanCheck(Protocol):
    """Can say in one call whether it is there and lets us in;
    returns a short description of itself.
    """

    async def check(self) -> str: ...


@runtime_checkable
class CanAdvise(Protocol):
    """Knows what the user may do about its server, each as a sentence."""

    def advice(self, said: str, model: str, window: int | None) -> AsyncGenerator[str, None]:
        """The server answered check() with `said`.

        `model` is to be asked, with a window of so many tokens.
        """
        ...

    def advice_when_down(self, wanted: str, usual: str) -> AsyncGenerator[str, None]:
        """Nothing answers.

        `wanted` is the address as the user wrote it, `usual` where such a server mostly is.
        """
        ...


@runtime_checkable
class RunsFiles(Protocol):
    """Runs files of models that are in a directory of this computer."""

    directory: str

    def engine_program(self) -> str | None:
        """The program that runs them; None for an installed package.

        Raises ProviderError when there is neither.
        """
        ...


Dialect = Callable[[Endpoint], Provider]
_DIALECTS: dict[str, Dialect] = {}
ENTRY_POINTS = "stream_chat.providers"


def dialect(name: str) -> Callable[[Dialect], Dialect]:
    """Register a class (or any callable) that makes a Provider out of an Endpoint."""
    def register(factory: Dialect) -> Dialect:
        _DIALECTS[name] = factory
        return factory
    return register


def load_dialect(name: str) -> Dialect:
    """Find a dialect by name: one of this package's files, else an installed entry point.

    Nothing else is imported.
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
        except Exception as problem:      # another package's own fault
            package = point.dist.name if point.dist is not None else point.value
            raise UsageError(f"The provider {name} of the package {package} cannot be loaded: "
                             f"{problem!r:.200}.",
                             "Update or remove that package.") from problem
        _DIALECTS.setdefault(name, loaded)


@cache
def installed_names() -> tuple[str, ...]:
    """The providers that other installed packages bring. Nothing of them is loaded."""
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
