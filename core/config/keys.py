"""Stores and finds the providers' keys.

A key comes from the environment, the configuration file, the system's keyring or, without a
keyring, a file with mode 0600, which also records which keys are in the keyring and what they are
for. core/providers/access.py decides where each key may be sent.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from core.config.directories import config_directory
from core.config.network import unix_socket
from core.config.private_file import write_private
from core.errors import ConfigError, UsageError
from core.regex import regex

FILE = "keys.json"
SERVICE = "stream-chat"       # the service name of our keys in the system's keyring
SECURE = 1       # keyring's lowest priority of a recommended backend; `fail` and `null` are below
PATIENCE = 20.0  # seconds to wait for the keyring: the user may have to unlock it
SECRET_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
PORTS = {"http": 80, "https": 443}
T = TypeVar("T")
# As an HTTP header, and as the name-value pairs in which libraries log headers.
_COOKIE = regex(
    r"""(\b(?:set-)?cookie2?(?:['"]\s*[,:]\s*b?|:\s*))"""
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\r\n]*)""", re.IGNORECASE)

_KEYLIKE = regex(
    r"\b(?:sk|gsk|hf|xai|key|AIza|pk|rk)[-_][A-Za-z0-9_\-]{16,}|\bAIza[A-Za-z0-9_\-]{20,}")
# What follows the name of an HTTP authentication scheme, unless it can be a word of English.
_CREDENTIALS = regex(
    r"\b((?i:basic|bearer|digest|negotiate)[\s:]+)"
    r"(?=\S*\d|\S*[a-z][A-Z]|[\w+/=.~-]{24})[\w+/=.~-]{8,}")


def key_file(environment: Mapping[str, str]) -> str:
    return os.path.join(config_directory(environment), FILE)


def origin_of(url: str) -> str:
    """Scheme, host and port (or a socket's file) to which a key is bound; "" if not a URL."""
    try:
        named = unix_socket(url)
        if named is not None:
            return f"unix://{named[0]}"
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}".lower() if parts.hostname else ""


def stored_key(environment: Mapping[str, str], names: Sequence[str]) -> tuple[str, str] | None:
    """(key, origin) of the first of these providers with a stored key; None without one.

    The origin is "" if it was not recorded. Raises ConfigError.
    """
    held = read_key_file(environment)
    name = next((name for name in names if name in held), None)
    if name is None:
        key = next((key for key in map(_keyring_key, names) if key), None)
        return (key, "") if key else None
    key, origin = held[name]
    key = key or _keyring_key(name)
    if not key:
        raise ConfigError(f"The key of {name} cannot be read from the system's keyring.",
                          f"Unlock the keyring, or store the key again: --set-key {name}")
    return key, origin


def read_key_file(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """{provider: (key, origin)}; an empty key means that it is in the keyring.

    Raises ConfigError for a file that other users can read, or that is damaged.
    """
    path = key_file(environment)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise ConfigError(f"The keys in {path} cannot be read: {problem.strerror}.") from problem
    with open(descriptor, encoding="utf-8") as file:
        _check_mode(path, os.fstat(file.fileno()))
        try:
            loaded = json.load(file)
            return {str(name): (str(entry.get("key", "")), str(entry["origin"]))
                    for name, entry in loaded.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigError(f"{path} is not a valid key file.",
                              "Delete it and store the keys again with --set-key.") from None


def _check_mode(path: str, found: os.stat_result) -> None:
    """Refuse a file that others can read; on Windows the user's directory is protected anyway."""
    if os.name != "posix":
        return
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"Others can read the keys in {path} (mode "
                          f"{stat.S_IMODE(found.st_mode):o}), so they are not used.",
                          f"chmod 600 {path}\nIf others have an account here, replace the keys "
                          "as well.")
    if found.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"The keys in {path} belong to another user, so they are not used.")


def keep_key(environment: Mapping[str, str], name: str, key: str, origin: str) -> str:
    """Store a key in the system's keyring, or else in the file; return a description of the place.

    Raises UsageError for an invalid key and ConfigError.
    """
    key = valid_key(key)
    ring = _put_into_keyring(name, key)
    path = _write_entry(environment, name, "" if ring else key, origin)
    return ring or path


def store_key(environment: Mapping[str, str], name: str, key: str, origin: str) -> str:
    """Store a key in the file and return its path. Raises UsageError and ConfigError."""
    return _write_entry(environment, name, valid_key(key), origin)


def clean_key(text: str) -> str:
    """The key without quotes and "Bearer " that were copied with it."""
    before, text = "", text.strip()
    while text != before:
        before = text
        text = re.sub(r"^(?:authorization:\s*)?bearer\s+", "", text, flags=re.IGNORECASE).strip()
        for mark in ("\"\"", "''", "``", "\u201c\u201d", "\u2018\u2019"):
            if len(text) > 1 and text[0] == mark[0] and text[-1] == mark[1]:
                text = text[1:-1].strip()
    return text


def valid_key(key: str) -> str:
    """The cleaned key. Raises UsageError if it is not valid."""
    key = clean_key(key)
    if not key or any(character.isspace() or not character.isprintable() for character in key):
        raise UsageError("Not a valid key: it is empty or contains spaces or control characters.")
    return key


def remove_key(environment: Mapping[str, str], name: str) -> None:
    """Delete the stored key of a provider, if there is one. Raises ConfigError."""
    known = read_key_file(environment)
    if name not in known:
        return
    key, _ = known.pop(name)
    if not key and not _take_from_keyring(name):
        raise ConfigError(f"The key of {name} cannot be deleted from the system's keyring.",
                          "Unlock the keyring and try again.")
    _write_file(environment, known)


def _write_entry(environment: Mapping[str, str], name: str, key: str, origin: str) -> str:
    """Add or replace an entry of the file; return its path."""
    return _write_file(environment, {**read_key_file(environment), name: (key, origin)})


def _write_file(environment: Mapping[str, str], keys: Mapping[str, tuple[str, str]]) -> str:
    """Replace the file; return its path. Raises ConfigError."""
    entries = {name: {"key": value, "origin": place} if value else {"origin": place}
               for name, (value, place) in keys.items()}
    path = key_file(environment)
    try:
        write_private(path, json.dumps(entries, indent=2))
    except OSError as problem:
        raise ConfigError(f"The key cannot be stored in {path}: {problem.strerror}.") from problem
    return path


# ---- the system's keyring: an optional package whose backends may raise anything and may wait for
# the user

def _put_into_keyring(name: str, key: str) -> str:
    """Store the key and return the keyring's name; "" without a working, secure keyring."""
    def put() -> str:
        import keyring  # type: ignore[import-not-found,unused-ignore]  # optional
        ring = keyring.get_keyring()
        if ring.priority < SECURE:
            return ""
        keyring.set_password(SERVICE, name, key)
        return (f"the system's keyring ({ring.name})" if keyring.get_password(SERVICE, name) == key
                else "")
    return ask_keyring(put) or ""


def _take_from_keyring(name: str) -> bool:
    """Delete the provider's key from the keyring; False if that failed."""
    def take() -> bool:
        import keyring  # type: ignore[import-not-found,unused-ignore]  # optional
        if keyring.get_password(SERVICE, name) is not None:
            keyring.delete_password(SERVICE, name)
        return True
    return bool(ask_keyring(take))


def _keyring_key(name: str) -> str | None:
    """The provider's key in the keyring; None without one (headless systems have no keyring)."""
    def get() -> object:
        import keyring  # type: ignore[import-not-found,unused-ignore]  # optional
        return keyring.get_password(SERVICE, name)
    found = ask_keyring(get)
    return found.strip() or None if isinstance(found, str) else None


def ask_keyring(question: Callable[[], T], seconds: float = PATIENCE) -> T | None:
    """What `question` returns; None without a keyring, or if it fails or does not respond within
    that time.
    """
    from importlib.util import find_spec
    if find_spec("keyring") is None:
        return None
    answers: list[T] = []

    def ask() -> None:
        try:
            answers.append(question())
        # a failure means that no key is stored here; a backend's SystemExit must not end the chat
        except BaseException:
            return
    thread = threading.Thread(target=ask, name="keyring", daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


def known_secrets(environment: Mapping[str, str], providers: Mapping[str, Any]) -> list[str]:
    """Everything that looks like a secret in this run, longest first, to hide it in a log."""
    found = {value.strip() for name, value in environment.items()
             if name.upper().endswith(SECRET_ENDINGS)}
    for entry in providers.values():
        found |= {str(entry.get("api_key") or ""),
                  *(str(value) for value in dict(entry.get("headers") or {}).values())}
    try:
        found |= {key or _keyring_key(name) or ""
                  for name, (key, _) in read_key_file(environment).items()}
    except ConfigError:
        pass
    return sorted((value for value in found if len(value) > 5), key=len, reverse=True)


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text with these secrets and all cookies (which also grant access) replaced by ***."""
    if "cookie" in text.lower():
        text = _COOKIE.sub(r"\1***", text)
    for secret in secrets:
        text = text.replace(secret, "***")
    return without_credentials(text)


def without_credentials(text: str, key: str | None = None) -> str:
    """What a server said, without the key and whatever else looks like one: a careless server
    repeats what it was sent, a proxy its own password.
    """
    if key and len(key) > 3:
        text = text.replace(key, "***")
    return _CREDENTIALS.sub(r"\1***", _KEYLIKE.sub("***", text))
