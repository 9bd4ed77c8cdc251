"""What the page shows of a provider without asking it: its name, kind, state and key."""

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

KINDS = ("cloud", "local")      # of a hybrid provider: at another computer's address, at this one's


@dataclass(frozen=True, slots=True)
class Looked:
    """What the last look at a provider found. `at` is on the monotonic clock."""

    state: str = "ok"
    why: str = ""
    said: str = ""
    seconds: float | None = None
    at: float = field(default_factory=time.monotonic)


class ProviderRows:
    """The providers as rows, with the state that was found last."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._looked: dict[str, Looked] = {}

    def names(self) -> list[str]:
        return all_names(self._shared.providers)

    def listed(self) -> list[str]:
        """Those that are set up, and those that the page offers to set up."""
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
        """What has to be given before this provider can be asked; empty when nothing has."""
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
        """Where a key of this provider is: a variable, the configuration file, `stored`, or ""."""
        providers = self._shared.providers
        environment = providers.settings.environment
        if providers.entry(name).get("api_key"):
            return "the configuration file"
        named = [variable for variable in host.key_variables if environment.get(variable)]
        return next(iter(named), "stored" if name in stored_names(environment) else "")

    def kind(self, name: str) -> str:
        """Under which heading a provider is listed: a hybrid one by its address."""
        host = self._host(name)
        if host is None:
            return "cloud"
        return host.kind if host.kind != "hybrid" else KINDS[self.runs_here(name)]

    def runs_here(self, name: str) -> bool:
        """Whether nothing leaves this computer, as far as the address shows."""
        host = self._host(name)
        if host is None or host.kind == "cloud":
            return False
        address = self._address(name)
        return is_loopback(address) if address else host.kind == "local"

    def _always_listed(self, name: str) -> bool:
        host = self._host(name)
        return host is not None and (host.offered or host.looked_for)

    def _removable(self, name: str) -> bool:
        """Whether it is listed only because it was set up on the page or with --set-key."""
        environment = self._shared.settings.environment
        own = added_providers(environment) | stored_names(environment)
        return name in own and not self._always_listed(name)

    # ---- what was found

    def note_error(self, name: str, error: ChatError | None) -> None:
        """Note how a request to this provider ended."""
        before = self._looked.get(name, Looked())
        if error is not None:
            why = sentences(error.message, error.hint)
            self._looked[name] = Looked(self._state_of(name, error), why)
        else:
            same = before if before.state == "ok" else Looked()
            self._looked[name] = replace(same, at=time.monotonic())

    def note(self, name: str, health: Health) -> None:
        """Note the result of a test."""
        if health.error is None:
            why, state = sentences(*health.advice), "ok"
        else:
            why = sentences(health.said, *health.advice)
            state = self._state_of(name, health.error)
        self._looked[name] = Looked(state, why, health.said, health.seconds)

    def _state_of(self, name: str, error: ChatError) -> str:
        """The state after an error; one who is refused without a key has none."""
        host = self._host(name)
        without = isinstance(error, AuthFailed) and host is not None and not self._key(name, host)
        return "no_key" if without else state_of(error)

    def forget(self, name: str) -> None:
        self._looked.pop(name, None)


def state_of(error: ChatError) -> str:
    """The state that an error shows a provider in."""
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
    """The parts as sentences, one after the other."""
    return " ".join(part if part[-1] in ".!?" else f"{part}." for part in parts if part)
