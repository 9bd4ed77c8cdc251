"""The rows of the providers page, without network requests: name, kind, state and key."""

from __future__ import annotations

import time
from typing import Any

from core.config.network import is_loopback
from core.config.provider_settings import added_providers
from core.dataclass import dataclass, field, replace
from core.errors import AuthFailed, ChatError, ConnectFailed, QuotaExhausted, RateLimited
from core.models.health import Health, all_names, set_up, stored_names
from core.providers.hosts import Host, title_of
from core.web.shared import Shared

KINDS = ("cloud", "local")      # titles of a hybrid provider elsewhere and on this computer


@dataclass(frozen=True, slots=True)
class Looked:
    """The result of the last check of a provider. `at` is a time of the monotonic clock."""

    state: str = "ok"
    why: str = ""
    said: str = ""
    seconds: float | None = None
    at: float = field(default_factory=time.monotonic)


class ProviderRows:
    """The providers as rows, with the last known state."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._looked: dict[str, Looked] = {}

    def names(self) -> list[str]:
        return all_names(self._shared.providers)

    def listed(self) -> list[str]:
        """Return the configured providers and those that the page offers."""
        mine = set_up(self._shared.providers)
        return list(dict.fromkeys([*mine, *filter(self._always_listed, self.names())]))

    def rows(self) -> list[dict[str, Any]]:
        listed = set(self.listed())
        return [{**self.row(name), "listed": name in listed} for name in self.names()]

    def row(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": name, "title": title_of(name), "kind": self.kind(name), "listed": True,
            "address": self._address(name), "removable": self._removable(name),
            "checked": None, "ms": None, "said": "", "why": "", "state": "unknown"}
        host = self._host(name)
        if host is not None:
            row |= {"takes_key": host.server, "key": self._key(name, host),
                    "addable": bool(host.base_url) or host.kind == "cloud" or not host.server}
        return {**row, **self._state(name)}

    def _state(self, name: str) -> dict[str, Any]:
        missing = self._missing(name)
        if missing:
            return missing
        looked = self._looked.get(name)
        if looked is None:
            return {}
        return {"state": looked.state, "why": looked.why, "said": looked.said,
                "checked": round(time.monotonic() - looked.at),
                "ms": None if looked.seconds is None else round(looked.seconds * 1000)}

    def _missing(self, name: str) -> dict[str, Any]:
        """Return what is missing before this provider can be used; empty if nothing is."""
        providers = self._shared.providers
        try:
            if providers.lacks_address(name):
                return {"state": "no_address"}
            providers.open(name)
        except AuthFailed as error:
            absent = not self._key(name, providers.host(name))
            return {"state": "no_key"} if absent else _failed(error)
        except ChatError as error:
            return {**_failed(error), "state": "not_ready"}
        return {}

    def _host(self, name: str) -> Host | None:
        try:
            return self._shared.providers.host(name)
        except ChatError:
            return None

    def _address(self, name: str) -> str:
        host = self._host(name)
        try:
            if host is not None and host.base_url:
                return self._shared.providers.base_url(name, host)
        except ChatError:
            pass
        return ""

    def _key(self, name: str, host: Host) -> str:
        """Return where this provider's key is: a variable, the configuration file, `stored`, or "".
        """
        providers = self._shared.providers
        environment = providers.settings.environment
        if providers.entry(name).get("api_key"):
            return "the configuration file"
        named = [variable for variable in host.key_variables if environment.get(variable)]
        return next(iter(named), "stored" if name in stored_names(environment) else "")

    def kind(self, name: str) -> str:
        """Return the heading for a provider; for a hybrid one it depends on the address."""
        host = self._host(name)
        if host is None:
            return "cloud"
        return host.kind if host.kind != "hybrid" else KINDS[self.runs_here(name)]

    def runs_here(self, name: str) -> bool:
        """Return whether the provider's address is on this computer."""
        host = self._host(name)
        if host is None or host.kind == "cloud":
            return False
        address = self._address(name)
        return is_loopback(address) if address else host.kind == "local"

    def _always_listed(self, name: str) -> bool:
        host = self._host(name)
        return host is not None and (host.offered or host.looked_for)

    def _removable(self, name: str) -> bool:
        """Return whether it is listed only because it was set up on the page or with --set-key."""
        environment = self._shared.settings.environment
        own = added_providers(environment) | stored_names(environment)
        return name in own and not self._always_listed(name)

    # ---- results of checks

    def note_error(self, name: str, error: ChatError | None) -> None:
        """Record how a request to this provider ended."""
        before = self._looked.get(name, Looked())
        if error is not None:
            why = sentences(error.message, error.hint)
            self._looked[name] = Looked(self._state_of(name, error), why)
        else:
            same = before if before.state == "ok" else Looked()
            self._looked[name] = replace(same, at=time.monotonic())

    def note(self, name: str, health: Health) -> None:
        """Record the result of a test."""
        if health.error is None:
            why, state = sentences(*health.advice), "ok"
        else:
            why = sentences(health.said, *health.advice)
            state = self._state_of(name, health.error)
        self._looked[name] = Looked(state, why, health.said, health.seconds)

    def _state_of(self, name: str, error: ChatError) -> str:
        """Return the state after an error; a refusal without a key means that the key is missing.
        """
        host = self._host(name)
        without = isinstance(error, AuthFailed) and host is not None and not self._key(name, host)
        return "no_key" if without else state_of(error)

    def forget(self, name: str) -> None:
        self._looked.pop(name, None)


def state_of(error: ChatError) -> str:
    """Return the state for an error."""
    match error:
        case ConnectFailed():
            return "unreachable"
        case AuthFailed():
            return "key_refused"
        case RateLimited() | QuotaExhausted():
            return "rate_limit"
    return "failed"


def _failed(error: ChatError) -> dict[str, Any]:
    return {"state": state_of(error), "why": sentences(error.message, error.hint)}


def sentences(*parts: str) -> str:
    """Join the parts as sentences."""
    return " ".join(part if part[-1] in ".!?" else f"{part}." for part in parts if part)
