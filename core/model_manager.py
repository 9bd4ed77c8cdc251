"""Decides which model answers: names, addresses, keys, adapters, and who stands in for whom."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Any, Protocol, TypeVar

from core.config import Settings
from core.config.directories import cache_directory
from core.config.keys import known_secrets, origin_of
from core.config.network import is_loopback
from core.dataclass import dataclass, replace
from core.errors import (AuthFailed, BadResponse, ChatError, ModelNotFound, ProviderError,
                         Unsupported, UsageError)
from core.events import PullProgress
from core.providers.from_settings import retry_config_of
from core.providers import (
    CanDelete, CanEmbed, CanListRunning, CanPull, HasMembers, ModelInfo, Options, Provider,
    Request, installed_names, load_dialect)
from core.providers.addresses import Addresses
from core.providers.addresses import provider_name as provider_name   # also importable from here
from core.providers.endpoints import Endpoints
from core.providers.foreign import ODD_SHAPES
from core.providers.hosts import DEFAULT_PROVIDER, DEMO, Host, find_host, host_of_file
from core.providers.parameters import denied, fitted, told, without
from core.providers.purpose import chats, only_embeds
from core.providers.sealed import with_sealer, without_sealed
from core.providers.sent import Ledger
from core.retry_handler import retry_call
from core.running_total import RunningTotal

POOL = "pool"              # stands where a provider's name does, before the name of a pool
PREFERENCES = ("load", "speed", "cost")
TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.providers.capped import Purse
    from core.providers.loads import Loads
    from core.providers.masking import Mask
    from core.store.rows import CallRow

T = TypeVar("T")


class Past(Protocol):
    """Earlier calls of the models (core/stats/turn_numbers.py)."""

    def of(self, provider: str, model: str) -> list[CallRow]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider. An empty model stands for the provider's default."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def parse_target(text: str, default: str = DEFAULT_PROVIDER,
                 known: Mapping[str, Any] | None = None) -> Target:
    """Read `model`, `provider/model` or `provider/`.

    A model's own name may hold slashes: only a known provider's is split off.
    """
    head, slash, rest = text.partition("/")
    if head == POOL and rest:
        return Target(POOL, rest)
    if slash and head and default != head:
        host = find_host(head)
        if host is not None or head in (known or {}) or head in installed_names():
            return Target(host.name if host else head, rest)
    return Target(default, rest if slash and head == default else text)


def find_target(text: str, settings: Settings, default: str = DEFAULT_PROVIDER) -> Target:
    """Read what a user calls a model: one of their own names for it (`alias`), or
    what parse_target reads.

    The path or the address of a model file is one of this computer, whatever the default.
    """
    runs = (host_of_file(text) if default == DEFAULT_PROVIDER and text not in settings.alias
            else None)
    if runs is not None and ("://" in text or os.path.isfile(os.path.expanduser(text))):
        return Target(runs.name, text)
    text = str(settings.alias.get(text, text))
    if text in settings.pools:
        return Target(POOL, text)
    return parse_target(text, default, settings.providers)


def pool_entry(name: str, settings: Settings) -> tuple[tuple[Target, ...], str]:
    """The members of a pool, and what decides: load, speed or cost. Raises UsageError."""
    entry = settings.pools.get(name)
    if entry is None:
        known = ", ".join(sorted(map(str, settings.pools)))
        raise UsageError(f"There is no pool {name!r}.", f"The configuration has: {known}." if known
                         else "Pools stand under `pools:` in the configuration file (--help "
                         "configuration).")
    row = entry if isinstance(entry, Mapping) else {"members": entry}
    listed, prefer = row.get("members"), str(row.get("prefer", "load"))
    names = listed.split(",") if isinstance(listed, str) else listed
    known_words = prefer in PREFERENCES and not set(row) - {"members", "prefer"}
    if not isinstance(names, (list, tuple)) or not names or not known_words:
        raise UsageError(f"The pool {name} cannot be read.",
                         "Write `members: [groq/a, openai/b]` and `prefer:` load, speed or cost.")
    members = tuple(dict.fromkeys(find_target(str(each).strip(), settings) for each in names))
    if any(member.provider == POOL or not member.model for member in members):
        raise UsageError(f"The pool {name} cannot be read.",
                         "Its members are written provider/model.")
    return members, prefer


def expanded(target: Target, settings: Settings) -> tuple[Target, ...]:
    """The members of a pool, or the target itself."""
    return pool_entry(target.model, settings)[0] if target.provider == POOL else (target,)


def build_model_list(settings: Settings) -> list[Target]:
    """The model that was asked for, or its pool's members, and then the fallbacks, each once."""
    first = first_named(settings)
    named = (first, *fallbacks_of(first, settings))
    return list(dict.fromkeys(member for target in named for member in expanded(target, settings)))


def first_named(settings: Settings) -> Target:
    """With --provider, --model is taken as it stands.

    A --model on the command line is read in full when the provider is only
    the configuration file's.
    """
    model = settings.model or ""
    default = provider_name(settings.provider) if settings.provider else DEFAULT_PROVIDER
    if not settings.provider or "model" in settings.flags and "provider" not in settings.flags:
        return find_target(model, settings, default)
    return Target(default, model.removeprefix(f"{default}/"))


def fallbacks_of(target: Target, settings: Settings) -> list[Target]:
    """Who stands in for a model: its row under `fallbacks`, else what stands in for all."""
    for name, others in settings.fallbacks.items():
        if find_target(name, settings) == target and "model_fallbacks" not in settings.flags:
            names = others if isinstance(others, (list, tuple)) else str(others).split(",")
            return [find_target(str(other).strip(), settings, target.provider) for other in names]
    default = first_named(settings).provider
    return [find_target(text, settings, default) for text in settings.model_fallbacks]


class Providers:
    """The adapters of one run: one per provider, made when first asked for, closed together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # what models turned out not to have, so that it is asked for once
        self.lacks: dict[Target, set[str]] = {}
        self._sealed: RunningTotal[frozenset[str]] = RunningTotal(frozenset(), with_sealer)
        # what is known of models (core/models/facts.py), once it was asked for
        self.learned: dict[Target, Any] = {}
        self.successors: dict[Target, Target] = {}   # what took the place of defaults that are gone
        self.listed: dict[Target, ModelInfo] = {}    # how the server's list describes a model
        self.names: dict[str, list[str]] = {}        # models by provider, for completion
        self.purse: Purse | None = None  # who decides what may be spent, with --max-cost
        self.mask: Mask | None = None  # what was hidden from providers elsewhere, with --mask
        self.sent = Ledger()                         # what has left for the providers
        self.past: Past | None = None                # earlier calls of the models, for forecasts
        self._open: dict[str, Provider] = {}
        self._primary = build_model_list(settings)[0].provider
        file_owner = first_named(Settings(settings.file, providers=settings.providers)).provider
        self._addresses = Addresses(settings, self._primary, file_owner)
        self._endpoints = Endpoints(settings, self._primary, self._addresses, self.sent)

    def open(self, name: str) -> Provider:
        """Raises UsageError for an unknown provider, AuthFailed for a key that is missing."""
        if name not in self._open:
            host = self.host(name)
            opened = (self._balanced(name, host)
                      or load_dialect(host.dialect)(self._endpoints.of(name, host)))
            opened = self._masked(opened, host) if self.settings.mask else opened
            self._open[name] = self._capped(opened, name) if self.purse is not None else opened
        return self._open[name]

    def _capped(self, provider: Provider, name: str) -> Provider:
        """With a limit on cost, whoever asks for whatever: no request leaves that might pass it."""
        from core.providers.capped import Capped
        assert self.purse is not None
        return Capped(provider, name, self.purse)

    def _masked(self, provider: Provider, host: Host) -> Provider:
        """With --mask, a provider elsewhere sees stand-ins only, whoever asks it for whatever."""
        if host.kind != "cloud" and (not provider.endpoint.base_url
                                     or is_loopback(provider.endpoint.base_url)):
            return provider
        from core.providers.masking import Mask, Masked
        if self.mask is None:
            secrets = known_secrets(self.settings.environment, self.settings.providers)
            self.mask = Mask(self.settings.mask_names, secrets)
        return Masked(provider, self.mask)

    @cached_property
    def loads(self) -> Loads:
        """What is under way where, for models and hosts that share work."""
        from core.providers.loads import Loads
        cache = cache_directory(self.settings.environment) if self.settings.save else ""
        return Loads(os.path.join(cache, "loads.json") if cache else "")

    def _balanced(self, name: str, host: Host) -> Provider | None:
        """One provider over all of `base_urls`, unless --base-url names a single address."""
        urls = [str(url) for url in self.entry(name).get("base_urls", ())]
        if len(urls) < 2 or self._addresses.given(name):
            return None
        from core.providers.balanced import CONNECT_TIMEOUT, Balanced
        make = load_dialect(host.dialect)
        endpoints = [self._endpoints.of(name, replace(host, base_url=f"{url.rstrip('/')}/"))
                     for url in urls]
        return Balanced(
            [make(replace(endpoint, connect_timeout=min(endpoint.connect_timeout, CONNECT_TIMEOUT)))
             for endpoint in endpoints], loads=self.loads)

    def asked(self, name: str) -> Provider:
        """The adapter that was asked last: of several hosts the one that answered."""
        provider = self.open(name)
        return provider.asked if isinstance(provider, HasMembers) else provider

    def trait(self, name: str, trait: str) -> bool:
        """Whether the class of the provider's dialect declares this of itself."""
        return bool(getattr(load_dialect(self.host(name).dialect), trait, False))

    def lists_running(self, name: str) -> bool:
        """Whether the provider says which models are in memory; False where it cannot."""
        try:
            return isinstance(self.open(name), CanListRunning)
        except ChatError:
            return False

    def entry(self, name: str) -> Mapping[str, Any]:
        """What the configuration file says about a provider."""
        return self._addresses.entry(name)

    def host(self, name: str) -> Host:
        return self._addresses.host(name)

    def base_url(self, name: str, host: Host) -> str:
        """Where the provider is in this run. Raises UsageError."""
        return self._addresses.base_url(name, host)

    def lacks_address(self, name: str) -> bool:
        """Whether the user still has to say where this provider is."""
        return self._addresses.needs_address(self.host(name)) and not self._addresses.given(name)

    async def ask(self, name: str, answer: Awaitable[T]) -> T:
        """What a provider answers to anything but a conversation; errors do not quote a key."""
        try:
            return await answer
        except ProviderError as error:
            self.explain(name, error)
            raise
        except ODD_SHAPES as problem:
            raise BadResponse(f"{name} did not answer as such a server does: {problem!r:.80}",
                              "Check --base-url and --provider.") from problem

    def explain(self, name: str, error: ProviderError) -> None:
        """Hide the key in an error, and say why one that exists was not sent."""
        if name in self._open:
            _hide_key(error, self._open[name].endpoint.key)
        if isinstance(error, AuthFailed) and self._endpoints.notes.get(name):
            error.hint = self._endpoints.notes[name]

    async def embed(self, target: Target, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text.

        Raises ProviderError; Unsupported where the provider gives none.
        """
        provider = self.open(target.provider)
        if not isinstance(provider, CanEmbed):
            raise Unsupported(f"{target.provider} gives no embeddings.",
                              "Name another model with --embedding-model.",
                              feature="embeddings")
        able = provider
        return await retry_call(lambda: self.ask(target.provider, able.embed(target.model, texts)),
                                retry_config_of(self.settings))

    async def default_model(self, name: str) -> str:
        """The model to use when none was named: the row's own, else the server's first."""
        chosen = self.host(name).default_model
        if chosen:
            return chosen
        listed = await self.ask(name, self.open(name).models())
        models = [info for info in listed if not only_embeds(info)]
        if not models:
            raise _no_model(name, self.open(name).endpoint.base_url)
        return next(filter(chats, models), models[0]).name

    def prepared(self, target: Target, request: Request) -> Request:
        """The request with the provider's own settings and without what the model is known to lack.
        """
        request = self._with_own_data(target, request)
        entry = self.entry(target.provider)
        if not entry and target not in self.lacks and request.options == Options():
            return request
        return fitted(request, entry, self.settings, self.host(target.provider).dialect,
                      {*self.lacks.get(target, ()), *denied(entry, target.model)})

    def _with_own_data(self, target: Target, request: Request) -> Request:
        """The request without sealed data of another origin, which this one would refuse."""
        sealed = self._sealed.of(request.messages)
        others = {model for model in sealed if not model.startswith(f"{target.provider}/")}
        foreign = {model for model in others
                   if self._origin(model.partition("/")[0]) != self._origin(target.provider)}
        return without_sealed(request, foreign) if foreign else request

    def _origin(self, name: str) -> str:
        """Scheme, host and port of a provider; its name where it has none."""
        try:
            return origin_of(self.base_url(name, self.host(name))) or name
        except UsageError:
            return name

    def without(self, target: Target, request: Request, feature: str) -> str:
        """Leave a feature or parameter out of all requests to the model; "" if it has none."""
        request = replace(self.prepared(target, request), model=target.model)
        if without(request, feature) is request:
            return ""
        self.lacks.setdefault(target, set()).add(feature)
        return told(request, feature)

    async def close(self) -> None:
        for provider in self._open.values():
            await provider.close()
        self._open.clear()


def _hide_key(error: ProviderError, key: str | None) -> None:
    """A server may quote the key that it was sent."""
    if key and len(key) > 3:
        error.message, error.hint = (error.message.replace(key, "***"),
                                     error.hint.replace(key, "***"))
        error.args = (error.message,)


def _no_model(name: str, address: str) -> ModelNotFound:
    row = find_host(name)
    fetch = (f"Fetch one: --provider {name} --model {row.first_model}" if row and row.first_model
             else "Load one there")
    return ModelNotFound(f"{address or name} has no model yet.",
                         f"{fetch}, or try --provider {DEMO}.")


async def resolve_target(target: Target, providers: Providers) -> Target:
    """The target with a model: its own, or the provider's default.

    Raises what asking the server raises.
    """
    return (target if target.model
            else Target(target.provider, await providers.default_model(target.provider)))


def can_fetch(target: Target, providers: Providers) -> bool:
    return bool(target.model) and isinstance(providers.open(target.provider), CanPull)


async def ensure_model_available(target: Target,
                                 providers: Providers) -> AsyncGenerator[PullProgress, None]:
    """Fetch the model that the server does not have, reporting progress.

    Raises ProviderError when it cannot be had.
    """
    provider = providers.open(target.provider)
    if not isinstance(provider, CanPull):
        raise UsageError(f"{target.provider} cannot fetch models.",
                         "Its own documentation says how models get there.")
    async with aclosing(provider.pull(target.model)) as progress:
        async for step in progress:
            yield step


async def delete_model(target: Target, providers: Providers) -> None:
    """Delete a model from its server. Raises UsageError where that cannot be done."""
    provider = providers.open(target.provider)
    if not isinstance(provider, CanDelete):
        raise UsageError(f"{target.provider} cannot delete models.")
    await providers.ask(target.provider, provider.delete(target.model))


def chosen(settings: Settings) -> bool:
    """Did anybody say which model or server to use?"""
    return bool(settings.given & {"model", "provider", "base_url", "ollama_host"})
