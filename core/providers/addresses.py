"""Finds the address of each provider, from its row, the configuration file and the given address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.config import Settings
from core.config.network import plain_unix_url
from core.dataclass import replace
from core.errors import UsageError
from core.providers import load_dialect
from core.providers.hosts import Host, find_host, row_of_dialect

COMPATIBLE = "openai"    # the default dialect
ADDRESS_MARKS = {"@": "a user name or a password", "?": "a query", "#": "a fragment"}
ADDRESS_VARIABLE = "STREAM_CHAT_BASE_URL"


def provider_name(name: str) -> str:
    """Return the canonical name of a provider (claude -> anthropic)."""
    host = find_host(name)
    return host.name if host else name


class Addresses:
    """Rows and addresses by provider name.

    `primary` is the provider chosen for this run, to which a given address applies; `file_owner` is
    the one that the configuration file chooses, to which an address at its top applies.
    """

    def __init__(self, settings: Settings, primary: str, file_owner: str) -> None:
        self.settings = settings
        self._primary = primary
        self._file_owner = file_owner
        self._entries: dict[str, Mapping[str, Any]] = {}
        # the file may use a provider's alias
        for name, entry in settings.providers.items():
            self._entries[provider_name(name)] = {**self._entries.get(provider_name(name), {}),
                                                  **entry}

    def entry(self, name: str) -> Mapping[str, Any]:
        """Return a provider's entry in the configuration file."""
        return self._entries.get(name, {})

    def host(self, name: str) -> Host:
        """Return a provider's row; one defined only in the configuration is OpenAI-compatible by
        default.
        """
        entry = self.entry(name)
        row = find_host(name)
        if row is None:
            addressed = entry.get("base_url") or entry.get("base_urls")
            dialect = str(entry.get("dialect") or (COMPATIBLE if addressed else name))
            load_dialect(dialect)
            row = Host(name, dialect, "hybrid", "")
        return _configured(row, entry) if entry else row

    def given(self, name: str) -> str:
        """Return the address given for this provider by flag, variable or at the top of the file,
        or "".
        """
        return next((url for url, _ in self._given(name)), "")

    def _given(self, name: str) -> Iterator[tuple[str, bool]]:
        """Yield (address, whether the user named it) in order of precedence."""
        url, settings = str(self.settings.base_url or ""), self.settings
        in_file = str(settings.file.get("base_url") or "")
        by_flag = "base_url" in settings.flags
        by_variable = bool(settings.environment.get(ADDRESS_VARIABLE)) and not by_flag
        if url and name == self._primary and (by_flag or by_variable or not in_file):
            yield url, not by_variable
        if in_file and name == self._file_owner:
            yield in_file, True

    def base_url(self, name: str, host: Host) -> str:
        """Return the provider's address. Raises UsageError for an invalid or missing one."""
        given, setting = self.given(name), self._setting_of(host)
        for address in (given, host.base_url, setting):
            check_address(name, address)
        read = getattr(load_dialect(host.dialect), "read_address", None)
        if read is not None:
            typed = given or own_url(host, name) or setting
            flag = (f"--{host.address_setting.replace('_', '-')}" if host.address_setting
                    else "base_url")
            return _checked(read(typed), typed, "--base-url" if given else flag)
        url = given or host.base_url
        if not url and self.needs_address(host):
            raise UsageError(f"The provider {name} has no address.", "Give it with --base-url.")
        if url and "://" not in url and not url.startswith("unix:/"):
            url = f"http://{url}"
        return _plain(url).rstrip("/")

    def needs_address(self, host: Host) -> bool:
        """Return whether the user must give this provider's address."""
        needed: bool = getattr(load_dialect(host.dialect), "needs_address", False)
        return needed and not host.base_url

    def _setting_of(self, host: Host) -> str:
        """Return the address in the variable of the provider's own programs, such as OLLAMA_HOST.
        """
        row = row_of_dialect(host.dialect)
        setting = host.address_setting or (row.address_setting if row else "")
        return str(getattr(self.settings, setting) or "") if setting else ""

    def named(self, name: str) -> list[str]:
        """Return the addresses that belong to this provider or that the user named for it.

        Addresses from the environment are excluded, since a project's settings can set it.
        """
        entry, row = self.entry(name), find_host(name)
        own = (row.base_url, *row.key_origins) if row else ()
        configured = (entry.get("base_url"), *entry.get("base_urls", ()))
        typed = [url for url, by_user in self._given(name) if by_user]
        host = self.host(name)
        setting = self._setting_of(host)
        if setting and host.address_setting in self.settings.flags:
            typed.append(setting)
        read = getattr(load_dialect(host.dialect), "read_address", str)
        return [read(str(url)) for url in (*own, *configured, *typed) if url]


def own_url(host: Host, name: str) -> str:
    """Return the configured address, otherwise the row's; "" if the row has only a default."""
    row = find_host(name)
    return ("" if row is not None and row.address_setting and host.base_url == row.base_url
            else host.base_url)


def check_address(name: str, url: str) -> None:
    """Raise UsageError for secrets in an address, which is shown and logged, and for queries, since
    paths are appended.
    """
    what = next((words for mark, words in ADDRESS_MARKS.items() if mark in url), "")
    if what:
        raise UsageError(
            f"The address of {name} contains {what}. Only scheme, host, port and path are allowed.",
            f"Store a key with --set-key {name}, put other secrets under `headers:`, a version in "
            "`api_version:`.")


def _configured(row: Host, entry: Mapping[str, Any]) -> Host:
    """Return the row updated from the configuration file.

    An address ending in /v1 selects the dialect that the server has there.
    """
    url = str(entry.get("base_url") or next(iter(entry.get("base_urls", ())), "") or row.base_url)
    spoken = row.v1_dialect if row.v1_dialect and url.rstrip("/").endswith("/v1") else row.dialect
    return replace(row, dialect=str(entry.get("dialect") or spoken), base_url=url,
                   kind=entry.get("kind") or row.kind,
                   key_variables=tuple(entry.get("key_variable") or row.key_variables),
                   default_model=str(entry.get("model") or row.default_model))


def require_address(name: str, url: str) -> None:
    """Raise UsageError for an invalid server address."""
    check_address(name, url)
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url} is not an address.", "An address starts with http:// or https://.")
    _checked(url, url, "the address")


def _plain(url: str) -> str:
    try:
        return plain_unix_url(url)
    except ValueError as problem:
        raise UsageError(f"{url!r} is not an address of a server: {problem}.") from problem


def _checked(url: str, typed: str, option: str) -> str:
    """Return the address if it is valid. Raises UsageError otherwise."""
    from urllib.parse import urlsplit
    url = _plain(url)
    if url.startswith("unix://"):
        return url
    try:
        parts = urlsplit(url)
        if parts.hostname and (parts.port is None or parts.port):
            return url
    except ValueError:
        pass
    raise UsageError(f"{typed!r} is not an address of a server.",
                     f"Check {option}; an address looks like 127.0.0.1:11434.")
