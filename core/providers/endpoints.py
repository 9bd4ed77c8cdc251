"""Builds the endpoint of each provider: address, key, time limits and quirks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config import Settings
from core.errors import ConfigError
from core.providers import Endpoint, Recorder
from core.providers.access import KeyRing
from core.providers.addresses import Addresses
from core.providers.hosts import Host

FIRST_BYTE = 600.0  # seconds until an answer must begin, if a model may have to be loaded first
FIRST_BYTE_CLOUD = 300.0   # the same for cloud providers; reasoning models are silent for minutes


class Endpoints:
    """Makes endpoints. `primary` is the provider chosen for this run.

    `notes` say, by provider, why an existing key is not sent.
    """

    def __init__(self, settings: Settings, primary: str, addresses: Addresses,
                 sent: Recorder) -> None:
        self._settings, self._primary, self._addresses, self._sent = (settings, primary, addresses,
                                                                      sent)
        self._keys = KeyRing(settings, addresses)
        self.notes: dict[str, str] = {}

    def of(self, name: str, host: Host) -> Endpoint:
        """Return a provider's endpoint. Raises UsageError for an invalid address, ConfigError for a
        variable that is not set.
        """
        settings, entry = self._settings, self._addresses.entry(name)
        for key, problem in entry.get("missing", {}).items():
            if key != "api_key":
                raise ConfigError(problem, "Set it, or write ${NAME:-default}.")
        base_url = self._addresses.base_url(name, host)
        access = self._keys.access(name, host, base_url)
        self.notes[name] = access.note
        headers = {"headers": access.headers} if access.headers else {}
        return Endpoint(
            base_url=base_url,
            key=access.key,
            host=host.name,
            sent=self._sent,
            connect_timeout=float(entry.get("connect_timeout") or settings.connect_timeout),
            idle_timeout=float(entry.get("idle_timeout") or settings.idle_timeout),
            first_byte_timeout=self._first_byte_timeout(host, entry),
            quirks={**host.quirks, **self._quirks(name, host, entry), **headers},
        )

    def _first_byte_timeout(self, host: Host, entry: Mapping[str, Any]) -> float:
        """Return a long limit if models are loaded first; never shorter than the user's idle
        timeout.
        """
        given = entry.get("first_byte_timeout") or self._settings.first_byte_timeout
        if given is not None:
            return float(given)
        if "idle_timeout" in self._settings.given or entry.get("idle_timeout"):
            return float(entry.get("idle_timeout") or self._settings.idle_timeout)
        return FIRST_BYTE_CLOUD if host.kind == "cloud" else FIRST_BYTE

    def _quirks(self, name: str, host: Host, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the quirks of a provider from its row, its configuration entry and the settings.
        """
        own = {quirk: getattr(self._settings, setting)
               for quirk, setting in host.own_settings.items()}
        found = {**entry.get("options", {}), **entry.get("quirks", {}),
                 **{quirk: value for quirk, value in own.items() if value is not None}}
        version = ((self._settings.api_version if name == self._primary else None)
                   or entry.get("api_version"))
        return {**found, "api_version": version} if version else found
