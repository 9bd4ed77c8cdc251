"""Decides which model answers: names, addresses, keys, the adapters in use and what to ask when one cannot answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from core.config import Settings
from core.errors import ChatError, ConfigError, ConnectFailed, ModelNotFound, UsageError
from core.providers import CanPull, Endpoint, Options, Provider, PullProgress, load_dialect
from core.providers.hosts import Host, find_host
from core.retry_handler import RetryConfig

DEFAULT_PROVIDER = "ollama"


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider. An empty model stands for the provider's default."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def parse_target(text: str, default: str = DEFAULT_PROVIDER, known: Mapping[str, Any] | None = None) -> Target:
    """Read `model` or `provider/model`. A model's own name may hold slashes: only a known provider's name is split off."""
    head, slash, rest = text.partition("/")
    if slash and rest and default != head:
        host = find_host(head)
        if host is not None or head in (known or {}):
            return Target(host.name if host else head, rest)
    return Target(default, rest if slash and rest and head == default else text)


def build_model_list(settings: Settings) -> list[Target]:
    """The model that was asked for and then its fallbacks, each once. With --provider, --model is taken as it stands."""
    model = settings.model or ""
    if settings.provider:
        host = find_host(settings.provider)
        name = host.name if host else settings.provider
        first = Target(name, model.removeprefix(f"{name}/"))
    else:
        first = parse_target(model, DEFAULT_PROVIDER, settings.providers)
    targets = [first, *(parse_target(text, first.provider, settings.providers) for text in settings.model_fallbacks)]
    return list(dict.fromkeys(targets))


def retry_config_from_args(settings: Settings) -> RetryConfig:
    return RetryConfig(settings.retry_max_attempts, settings.retry_initial_delay, settings.retry_max_delay,
                       settings.retry_multiplier, settings.retry_jitter)


def options_from_args(settings: Settings) -> Options:
    """What the person asked of the model, in the form that every adapter translates."""
    think: bool | str | None = {"on": True, "off": False, None: None}.get(settings.think, settings.think)
    return Options(settings.temperature, settings.top_p, settings.seed, settings.max_tokens, tuple(settings.stop), think,
                   settings.num_ctx, settings.keep_alive, None, settings.option)


class Providers:
    """The adapters of one run: one per provider, made when first asked for, closed together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, Provider] = {}
        self._primary = build_model_list(settings)[0].provider

    def open(self, name: str) -> Provider:
        """Raises UsageError for an unknown provider."""
        if name not in self._open:
            host = self.host(name)
            self._open[name] = load_dialect(host.dialect)(self._endpoint(name, host))
        return self._open[name]

    def host(self, name: str) -> Host:
        """The provider's row; one that only the configuration knows speaks the OpenAI dialect unless it says otherwise."""
        entry = self._settings.providers.get(name, {})
        row = find_host(name)
        if row is not None:
            return row
        if entry.get("base_url"):
            return Host(name, str(entry.get("dialect", "openai")), "hybrid", str(entry["base_url"]))
        dialect = str(entry.get("dialect", name))
        load_dialect(dialect)
        return Host(name, dialect, "hybrid", "")

    def _endpoint(self, name: str, host: Host) -> Endpoint:
        entry: Mapping[str, Any] = self._settings.providers.get(name, {})
        return Endpoint(
            base_url=self._base_url(name, host, entry),
            key=self._key(host, entry),
            host=host.name,
            connect_timeout=self._settings.connect_timeout,
            idle_timeout=self._settings.idle_timeout,
            quirks={**host.quirks, **entry.get("options", {}), **self._demo_quirks(host)},
        )

    def _base_url(self, name: str, host: Host, entry: Mapping[str, Any]) -> str:
        given = self._settings.base_url if name == self._primary else None
        if host.dialect == "ollama":
            from core.providers.ollama import ollama_base_url
            return ollama_base_url(given or entry.get("base_url") or self._settings.ollama_host or "")
        url = str(given or entry.get("base_url") or host.base_url)
        if not url and host.dialect in ("openai", "openai-responses"):
            raise UsageError(f"The provider {name} has no address.", "Give it with --base-url.")
        if url and "://" not in url:
            url = f"http://{url}"
        return url.rstrip("/")

    def _key(self, host: Host, entry: Mapping[str, Any]) -> str | None:
        if entry.get("api_key"):
            return str(entry["api_key"])
        found = (self._settings.environment.get(variable) for variable in host.key_variables)
        return next((key.strip() for key in found if key and key.strip()), None)

    def _demo_quirks(self, host: Host) -> Mapping[str, Any]:
        delay = self._settings.demo_delay
        return {"delay": delay} if host.dialect == "demo" and delay is not None else {}

    async def default_model(self, name: str) -> str:
        """The model to use when none was named: the row's own, else the first that the server has."""
        host = self.host(name)
        entry = self._settings.providers.get(name, {})
        chosen = entry.get("model") or entry.get("default_model") or host.default_model
        if chosen:
            return str(chosen)
        models = await self.open(name).models()
        if not models:
            raise ModelNotFound(f"{self.open(name).endpoint.base_url} has no model yet.",
                                "Fetch one, e.g. `ollama pull llama3.2`, or try --provider demo.")
        return models[0].name

    async def close(self) -> None:
        for provider in self._open.values():
            await provider.close()
        self._open.clear()


async def resolve_target(target: Target, providers: Providers) -> Target:
    """The target with a model: its own, or the provider's default. Raises what asking the server raises."""
    return target if target.model else Target(target.provider, await providers.default_model(target.provider))


def can_fetch(target: Target, providers: Providers) -> bool:
    return bool(target.model) and isinstance(providers.open(target.provider), CanPull)


async def ensure_model_available(target: Target, providers: Providers) -> AsyncGenerator[PullProgress, None]:
    """Fetch the model that the server does not have, reporting progress. Raises ProviderError when it cannot be had."""
    provider = providers.open(target.provider)
    if not isinstance(provider, CanPull):
        raise UsageError(f"{target.provider} cannot fetch models.", "Its own documentation says how models get there.")
    async with aclosing(provider.pull(target.model)) as progress:
        async for step in progress:
            yield step


def chosen(settings: Settings) -> bool:
    """Did anybody say which model or server to use?"""
    return bool(settings.given & {"model", "provider", "base_url", "ollama_host"})


async def first_target(settings: Settings, providers: Providers, *, demo_allowed: bool) -> tuple[Target, str]:
    """The model to start with, and a notice when it is not what a person would expect.

    Raises ConnectFailed with all the ways out when nothing was chosen and no Ollama answers (unless the demo may stand in).
    """
    target = build_model_list(settings)[0]
    if target.model or chosen(settings):
        return await resolve_target(target, providers), ""
    try:
        return await resolve_target(target, providers), ""
    except ChatError as error:
        if isinstance(error, ConfigError) or not demo_allowed:
            raise
        reason = "No Ollama server answers" if isinstance(error, ConnectFailed) else error.message.rstrip(".")
    return Target("demo", "demo"), (f"{reason}, so this is the built-in demo: scripted replies, no model. "
                                    "To talk to a model, start Ollama (`ollama serve`) or name a --provider.")
