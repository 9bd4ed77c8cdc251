"""Decides which model answers: reads model names, opens providers and lists fallbacks."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Any, Protocol, TypeVar

from core.config import Settings
from core.config.directories import cache_directory
from core.config.keys import known_secrets, origin_of, without_credentials
from core.config.network import is_loopback
from core.dataclass import dataclass, replace
from core.errors import (AuthFailed, BadResponse, ChatError, ModelNotFound, ProviderError,
                         Unsupported, UsageError)
from core.events import PullProgress
from core.messages import has_image
from core.providers import (
    CanDelete, CanEmbed, CanListRunning, CanPull, HasMembers, ModelInfo, Options, Provider,
    Request, RunsFiles, installed_names, load_dialect)
from core.providers.addresses import Addresses
from core.providers.addresses import provider_name as provider_name   # also importable from here
from core.providers.endpoints import Endpoints
from core.providers.foreign import ODD_SHAPES
from core.providers.from_settings import retry_config_of
from core.providers.hosts import DEFAULT_PROVIDER, DEMO, Host, find_host, host_of_file
from core.providers.parameters import adapt_request, denied, left_out_notice, without
from core.providers.purpose import chats, only_embeds
from core.providers.sealed import with_sealers, without_sealed
from core.providers.sent import Ledger
from core.retry_handler import retry_call
from core.running_total import RunningTotal

POOL = "pool"              # used like a provider's name: pool/NAME
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
    """A model of a provider. An empty model means the provider's default."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def parse_target(text: str, default: str = DEFAULT_PROVIDER,
                 known: Mapping[str, Any] | None = None) -> Target:
    """Parse `model`, `provider/model` or `provider/`.

    A model's own name may contain slashes, so only the name of a known provider is split off.
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
    """Parse what a user calls a model: an alias, a pool, or what parse_target() accepts.

    The path or address of a model file means a model on this computer, whatever the default
    provider.
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
    """(members of a pool, what decides between them: load, speed or cost). Raises UsageError."""
    entry = settings.pools.get(name)
    if entry is None:
        known = ", ".join(sorted(map(str, settings.pools)))
        raise UsageError(f"There is no pool {name!r}.", f"The configuration has: {known}." if known
                         else "Define pools under `pools:` in the configuration file (--help "
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
    """The requested model (or its pool's members), then the fallbacks, without duplicates."""
    first = first_named(settings)
    named = (first, *fallbacks_of(first, settings))
    return list(dict.fromkeys(member for target in named for member in expanded(target, settings)))


def first_named(settings: Settings) -> Target:
    """The model that the settings ask for.

    With --provider, --model is the model's name alone. If the provider comes only from the
    configuration file, a --model on the command line may name another provider.
    """
    model = settings.model or ""
    default = provider_name(settings.provider) if settings.provider else DEFAULT_PROVIDER
    if not settings.provider or "model" in settings.flags and "provider" not in settings.flags:
        return find_target(model, settings, default)
    return Target(default, model.removeprefix(f"{default}/"))


def fallbacks_of(target: Target, settings: Settings) -> list[Target]:
    """The fallbacks of a model: its own under `fallbacks`, otherwise those for all models."""
    for name, others in settings.fallbacks.items():
        if find_target(name, settings) == target and "model_fallbacks" not in settings.flags:
            names = others if isinstance(others, (list, tuple)) else str(others).split(",")
            return [find_target(str(other).strip(), settings, target.provider) for other in names]
    default = first_named(settings).provider
    return [find_target(text, settings, default) for text in settings.model_fallbacks]


class Providers:
    """The adapters of one run: one per provider, created on first use and closed together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # features that models turned out not to support, so that they are not requested again
        self.lacks: dict[Target, set[str]] = {}
        self._sealed: RunningTotal[frozenset[str]] = RunningTotal(frozenset(), with_sealers)
        self._pictured = RunningTotal(
            False, lambda any_yet, messages: any_yet or any(map(has_image, messages)))
        self.redrawn: dict[Any, Any] = {}            # pictures made smaller (sent_pictures.py)
        self.learned: dict[Target, Any] = {}         # facts about models (core/models/facts.py)
        self.successors: dict[Target, Target] = {}   # replacements of defaults that were removed
        self.listed: dict[Target, ModelInfo] = {}    # how the server's list describes a model
        self.names: dict[str, list[str]] = {}        # models by provider, for completion
        self.purse: Purse | None = None              # limits the cost, with --max-cost
        self.mask: Mask | None = None                # hides words from cloud models, with --mask
        self.sent = Ledger()                         # what was sent to the providers
        self.past: Past | None = None                # earlier calls of the models, for forecasts
        self._open: dict[str, Provider] = {}
        self._primary = build_model_list(settings)[0].provider
        file_owner = first_named(Settings(settings.file, providers=settings.providers)).provider
        self._addresses = Addresses(settings, self._primary, file_owner)
        self._endpoints = Endpoints(settings, self._primary, self._addresses, self.sent)

    def open(self, name: str) -> Provider:
        """The adapter of a provider.

        Raises UsageError for an unknown provider and AuthFailed for a missing key.
        """
        if name not in self._open:
            host = self.host(name)
            opened = (self._balanced(name, host)
                      or load_dialect(host.dialect)(self._endpoints.of(name, host)))
            opened = self._masked(opened, host) if self.settings.mask else opened
            self._open[name] = self._capped(opened, name) if self.purse is not None else opened
        return self._open[name]

    def _capped(self, provider: Provider, name: str) -> Provider:
        """Wrap a provider so that no request is sent that might exceed the limit on cost."""
        from core.providers.capped import Capped
        assert self.purse is not None
        return Capped(provider, name, self.purse)

    def _masked(self, provider: Provider, host: Host) -> Provider:
        """Wrap a provider on another machine so that, with --mask, it sees only placeholders."""
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
        """The requests in progress at each host and model that share work."""
        from core.providers.loads import Loads
        cache = cache_directory(self.settings.environment) if self.settings.save else ""
        return Loads(os.path.join(cache, "loads.json") if cache else "")

    def _balanced(self, name: str, host: Host) -> Provider | None:
        """One provider for all of `base_urls`; None if there is only one address."""
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
        """The adapter that was used last; of several hosts, the one that answered."""
        provider = self.open(name)
        return provider.asked if isinstance(provider, HasMembers) else provider

    def trait(self, name: str, trait: str) -> bool:
        """Whether the class of the provider's dialect sets this attribute to True."""
        return bool(getattr(load_dialect(self.host(name).dialect), trait, False))

    def lists_running(self, name: str) -> bool:
        """Whether the provider can list the models in memory; False if it cannot be opened."""
        try:
            return isinstance(self.open(name), CanListRunning)
        except ChatError:
            return False

    def entry(self, name: str) -> Mapping[str, Any]:
        """The configuration file's entry for a provider; empty without one."""
        return self._addresses.entry(name)

    def host(self, name: str) -> Host:
        return self._addresses.host(name)

    def base_url(self, name: str, host: Host) -> str:
        """The provider's address in this run. Raises UsageError."""
        return self._addresses.base_url(name, host)

    def lacks_address(self, name: str) -> bool:
        """Whether the user must still give this provider's address."""
        return self._addresses.needs_address(self.host(name)) and not self._addresses.given(name)

    async def ask(self, name: str, answer: Awaitable[T]) -> T:
        """Await a request other than a chat, and hide the key in its errors.

        Raises ProviderError, and BadResponse for a response of an unexpected form.
        """
        try:
            return await answer
        except ProviderError as error:
            self.explain(name, error)
            raise
        except ODD_SHAPES as problem:
            raise BadResponse(f"{name} sent an unexpected response: {problem!r:.80}",
                              "Check --base-url and --provider.") from problem

    def explain(self, name: str, error: ProviderError) -> None:
        """Hide the key in an error; if a key exists but was not sent, say why in the hint."""
        if name in self._open:
            _hide_key(error, self._open[name].endpoint.key)
        if isinstance(error, AuthFailed) and self._endpoints.notes.get(name):
            error.hint = self._endpoints.notes[name]

    async def embed(self, target: Target, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text. Raises ProviderError; Unsupported if the provider has no
        embeddings.
        """
        provider = self.open(target.provider)
        if not isinstance(provider, CanEmbed):
            raise Unsupported(f"{target.provider} does not support embeddings.",
                              "Choose another model with --embedding-model.",
                              feature="embeddings")
        embed = provider.embed
        return await retry_call(lambda: self.ask(target.provider, embed(target.model, texts)),
                                retry_config_of(self.settings))

    async def default_model(self, name: str) -> str:
        """The model to use if none was named: the provider's own default, or the server's first."""
        chosen = self.host(name).default_model
        if chosen:
            return chosen
        listed = await self.ask(name, self.open(name).models())
        models = [info for info in listed if not only_embeds(info)]
        if not models:
            raise _no_model(name, self.open(name))
        return next(filter(chats, models), models[0]).name

    def prepared(self, target: Target, request: Request) -> Request:
        """The request with the provider's settings and without unsupported features."""
        request = self._with_own_data(target, request)
        entry = self.entry(target.provider)
        if not entry and target not in self.lacks and request.options == Options():
            return request
        return adapt_request(request, entry, self.settings, self.host(target.provider).dialect,
                             {*self.lacks.get(target, ()), *denied(entry, target.model)})

    def has_images(self, request: Request) -> bool:
        return self._pictured.of(request.messages)

    def _with_own_data(self, target: Target, request: Request) -> Request:
        """The request without sealed data of other origins, which this provider would refuse."""
        sealed = self._sealed.of(request.messages)
        others = {model for model in sealed if not model.startswith(f"{target.provider}/")}
        foreign = {model for model in others
                   if self._origin(model.partition("/")[0]) != self._origin(target.provider)}
        return without_sealed(request, foreign) if foreign else request

    def _origin(self, name: str) -> str:
        """Scheme, host and port of a provider; its name if it has no address."""
        try:
            return origin_of(self.base_url(name, self.host(name))) or name
        except UsageError:
            return name

    def without(self, target: Target, request: Request, feature: str) -> str:
        """Omit a feature or parameter from all further requests to the model.

        Returns a notice for the user; "" if the request does not use the feature.
        """
        request = replace(self.prepared(target, request), model=target.model)
        if without(request, feature) is request:
            return ""
        self.lacks.setdefault(target, set()).add(feature)
        return left_out_notice(request, feature)

    async def close(self) -> None:
        for provider in self._open.values():
            await provider.close()
        self._open.clear()


def _hide_key(error: ProviderError, key: str | None) -> None:
    """Remove keys from an error: servers may quote them."""
    error.message, error.hint = (without_credentials(error.message, key),
                                 without_credentials(error.hint, key))
    error.args = (error.message,)


def _no_model(name: str, provider: Provider) -> ModelNotFound:
    if isinstance(provider, RunsFiles):
        provider.engine_program()    # raises if the engine is missing too
    fetch = (f"Download one: --provider {name} --model {row.first_model}"
             if (row := find_host(name)) and row.first_model else "Load one there")
    return ModelNotFound(f"{provider.endpoint.base_url or name} has no model yet.",
                         f"{fetch}, or try --provider {DEMO}.")


async def resolve_target(target: Target, providers: Providers) -> Target:
    """The target with its model or, if that is empty, the provider's default. Raises ChatError."""
    return (target if target.model
            else Target(target.provider, await providers.default_model(target.provider)))


def can_fetch(target: Target, providers: Providers) -> bool:
    return bool(target.model) and isinstance(providers.open(target.provider), CanPull)


async def ensure_model_available(target: Target,
                                 providers: Providers) -> AsyncGenerator[PullProgress, None]:
    """Download a model that the server does not have, reporting progress.

    Raises ProviderError, and UsageError if the provider cannot download models.
    """
    provider = providers.open(target.provider)
    if not isinstance(provider, CanPull):
        raise UsageError(f"{target.provider} cannot download models.",
                         "See the provider's documentation for how to add models.")
    async with aclosing(provider.pull(target.model)) as progress:
        async for step in progress:
            yield step


async def delete_model(target: Target, providers: Providers) -> None:
    """Delete a model from its server. Raises UsageError if the provider cannot do that."""
    provider = providers.open(target.provider)
    if not isinstance(provider, CanDelete):
        raise UsageError(f"{target.provider} cannot delete models.")
    await providers.ask(target.provider, provider.delete(target.model))


def chosen(settings: Settings) -> bool:
    """Whether any setting says which model or server to use."""
    return bool(settings.given & {"model", "provider", "base_url", "ollama_host"})
