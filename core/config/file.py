"""Reads the configuration file: YAML or JSON, with ${NAME} replaced from the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.config import BY_NAME, SETTINGS
from core.config.document import DEEPEST, ConfigDocument, Keys
from core.config.migration import OLD_KEYS, migrate
from core.config.setting import Setting
from core.config.values import check_value, parse_value, read_own_text
from core.errors import ConfigError, UsageError
from core.regex import regex

_VARIABLE = regex(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_ENV_LINE = regex(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
Values = dict[str, Any]

# What an entry under `providers:` (or `llm:`) may contain besides the settings of a model.
ENTRY_KINDS: Mapping[str, type] = {
    "base_url": str, "base_urls": list, "dialect": str, "kind": str, "api_key": str,
    "key_variable": list, "model": str, "fallback": bool, "api_version": str, "headers": dict,
    "options": dict, "quirks": dict, "models": dict, "requires_key": bool,
}
ENTRY_SETTINGS = ("temperature", "top_p", "seed", "max_tokens", "stop", "think", "num_ctx",
                  "keep_alive", "response_format", "option", "connect_timeout",
                  "first_byte_timeout", "idle_timeout")
OLDER_NAMES: Mapping[str, str] = {
    "default_model": "model", "api_key_env": "key_variable", "key_variables": "key_variable",
    "endpoint": "base_url", "provider_options": "option", "context": "context_window",
    "timeout": "idle_timeout", "requires_api_key": "requires_key", "needs_key": "requires_key",
}
OLDER_SETTINGS: Mapping[str, str] = {"aliases": "alias", "system_prompt": "system",
                                     "provider_options": "option", "mcpServers": "mcp_servers"}
MODEL_KINDS: Mapping[str, type] = {
    "tools": bool, "vision": bool, "thinking": bool, "system": bool, "temperature": bool,
    "streaming": bool, "context_window": int, "output_limit": int, "input_price": float,
    "output_price": float, "cached_price": float,
}
KINDS = ("local", "cloud", "hybrid")
_NOUNS: Mapping[type, str] = {str: "text", bool: "yes or no", int: "a whole number",
                              float: "a number", dict: "a mapping",
                              list: "a name or a list of names"}


def read_config_file(path: str,
                     environment: Mapping[str, str]) -> tuple[Values, Values, Sequence[str]]:
    """Return (settings by name, providers by name, notices).

    Raises ConfigError naming file, line and key.
    """
    document = ConfigDocument(path)
    notices = migrate(document.path, document.mapping)
    values: Values = {}
    providers: Values = {}
    legacy: Values = {}
    for key, value in document.mapping.items():
        if key in ("providers", "llm"):
            providers |= _read_providers(value, document, key, environment)
            continue
        if key == "api_key" or key.endswith("_api_key"):
            legacy[key] = value
            continue
        name = OLDER_SETTINGS.get(key, key.replace("-", "_"))
        if name == "fallbacks" and not isinstance(value, dict):
            name = "model_fallbacks"
        row = BY_NAME.get(name)
        if row is None or not row.in_file:
            raise ConfigError(f"{document.place(key)}: there is no setting {key!r}.",
                              _did_you_mean(key, _setting_names()))
        if _is_text(row):
            value = document.written(value, key)
        values[row.name] = checked_value(row, _expand(value, environment, document.place(key)),
                                         document.place(key))
    _add_legacy_keys(legacy, providers, document, environment)
    _follow_order(values, providers, plan="llm" in document.mapping)
    return values, providers, notices


def _add_legacy_keys(legacy: Values, providers: Values, document: ConfigDocument,
                     environment: Mapping[str, str]) -> None:
    """Assign each `api_key` and `claude_api_key` at the top of an older file to its own provider,
    whichever provider is chosen.
    """
    for key, value in legacy.items():
        name = OLD_KEYS.get(key) or key.removesuffix("_api_key")
        _fill_entry(providers.setdefault(name, {}), "api_key",
                    _typed(str, value, document.place(key), key), environment,
                    document.place(key))


def _follow_order(values: Values, providers: Values, *, plan: bool) -> None:
    """If entries say `fallback`, or stand under `llm:` (`plan`): choose the first entry that is not
    a fallback as the provider, and the fallbacks' models as its fallbacks.
    """
    fallbacks = [name for name, entry in providers.items() if entry.get("fallback")]
    first = next((name for name in providers if name not in fallbacks), None)
    if first is not None and (plan or fallbacks) and "model" not in values:
        values.setdefault("provider", first)
    if fallbacks and "model_fallbacks" not in values:
        values["model_fallbacks"] = tuple(f"{name}/{providers[name].get('model', '')}"
                                          for name in fallbacks)


# ---- ${NAME}

def missing_variable(value: Any, environment: Mapping[str, str]) -> str:
    """The first variable in a value that is not set and has no default; "" if there is none."""
    for text in _strings(value, 0):
        for name, default in _VARIABLE.findall(text):
            if not environment.get(name) and not default and f"${{{name}:-" not in text:
                return str(name)
    return ""


def _strings(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < DEEPEST and isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item, depth + 1)


def _expand(value: Any, environment: Mapping[str, str], where: str) -> Any:
    """Replace ${NAME} and ${NAME:-default}, after parsing, so that a variable's value cannot change
    the document's structure. Raises ConfigError for a variable that is not set.
    """
    missing = missing_variable(value, environment)
    if missing:
        raise ConfigError(f"{where}: the environment variable {missing} is not set.",
                          f"Set it, or write ${{{missing}:-default}}.")
    return _filled(value, environment, 0)


def _filled(value: Any, environment: Mapping[str, str], depth: int) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: environment.get(match.group(1)) or match.group(2) or "",
                             value)
    if depth < DEEPEST and isinstance(value, list):
        return [_filled(item, environment, depth + 1) for item in value]
    if depth < DEEPEST and isinstance(value, dict):
        return {str(key): _filled(item, environment, depth + 1) for key, item in value.items()}
    return value


# ---- values

def _is_text(row: Setting) -> bool:
    """Whether the setting takes its value as the text written in the file, not as YAML's type."""
    return row.name not in ("think", "option", "mcp_servers")


def checked_value(row: Setting, value: Any, where: str) -> Any:
    """Convert a value of the file to the setting's type. Raises ConfigError naming `where`."""
    place = f"{where}: {row.name}"
    try:
        if row.kind is list:
            return (tuple(str(item) for item in value) if isinstance(value, list)
                    else parse_value(row, str(value), place))
        if row.kind is dict:
            if not isinstance(value, dict):
                raise UsageError(f"{place} takes a mapping.")
            return value
        if row.kind is bool and isinstance(value, bool) or value is None:
            return value
        if row.name == "think" and isinstance(value, bool):  # YAML reads a bare on/off as a boolean
            return "on" if value else "off"
        if isinstance(value, (dict, list)):
            raise UsageError(f"{place} takes one value, not a "
                             f"{'list' if isinstance(value, list) else 'mapping'}.")
        if row.kind is str:
            return check_value(row, str(value), place)
        return parse_value(row, str(value), place)
    except ConfigError:
        raise
    except UsageError as problem:
        raise ConfigError(problem.message, problem.hint) from problem


def _typed(kind: type, value: Any, where: str, key: str) -> Any:
    """Return a value of a provider's entry if it has this type. Raises ConfigError."""
    if kind is list and isinstance(value, str):
        return [value]
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    good = isinstance(value, kind) or kind is float and isinstance(value, int)
    if not good or kind in (int, float) and isinstance(value, bool):
        raise ConfigError(f"{where}: {key} takes {_NOUNS[kind]}.")
    return value


# ---- providers

def _read_providers(value: Any, document: ConfigDocument, key: str,
                    environment: Mapping[str, str]) -> Values:
    if not isinstance(value, dict):
        raise ConfigError(f"{document.place(key)}: {key} takes a mapping of provider names to "
                          "their settings.")
    found: Values = {}
    for name, entry in value.items():
        if not isinstance(entry, dict):
            raise ConfigError(f"{document.place(key, str(name))}: {name} takes a mapping, such as "
                              "`base_url: https://...`.")
        found[str(name)] = _read_entry(entry, document, (key, str(name)), environment)
    return found


def _read_entry(entry: Mapping[Any, Any], document: ConfigDocument, path: Keys,
                environment: Mapping[str, str]) -> Values:
    """Read one provider's entry.

    An environment variable that is not set is an error only when the provider is used, so it is
    recorded in the entry's `missing` with its place.
    """
    read: Values = {}
    for written, value in entry.items():
        place = document.place(*path, str(written))
        name = str(written).replace("-", "_")
        name = OLDER_NAMES.get(name, name)
        if name in ENTRY_SETTINGS:
            missing = missing_variable(value, environment)
            value = (document.written(value, *path, str(written)) if _is_text(BY_NAME[name])
                     else value)
            checked = value if missing else checked_value(BY_NAME[name],
                                                          _filled(value, environment, 0), place)
        elif name == "models":
            checked = _read_models(value, document, (*path, str(written)))
        elif name in ENTRY_KINDS:
            if ENTRY_KINDS[name] is str:
                value = document.written(value, *path, str(written))
            checked = _typed(ENTRY_KINDS[name], value, place, str(written))
        else:
            raise ConfigError(f"{place}: a provider has no setting {written!r}.",
                              _did_you_mean(str(written), (*ENTRY_KINDS, *ENTRY_SETTINGS),
                                            "configuration"))
        if name == "kind" and checked not in KINDS:
            raise ConfigError(f"{place}: kind cannot be {checked!r}.",
                              f"It is one of: {', '.join(KINDS)}.")
        _fill_entry(read, name, checked, environment, place)
    return read


def _fill_entry(entry: Values, name: str, value: Any, environment: Mapping[str, str],
                place: str) -> None:
    missing = missing_variable(value, environment)
    if missing:
        entry.setdefault("missing", {})[name] = (f"{place}: the environment variable {missing} is "
                                                 "not set.")
    else:
        entry[name] = _filled(value, environment, 0)


def _read_models(value: Any, document: ConfigDocument, path: Keys) -> Values:
    """Read the user's facts about single models: capabilities, limits (tokens) and prices (dollars
    for a million tokens).
    """
    found: Values = {}
    for model, facts in _typed(dict, value, document.place(*path), path[-1]).items():
        here = (*path, str(model))
        found[str(model)] = {}
        for written, fact in _typed(dict, facts, document.place(*here), str(model)).items():
            name = OLDER_NAMES.get(str(written), str(written))
            place = document.place(*here, str(written))
            if name not in MODEL_KINDS:
                raise ConfigError(f"{place}: a model has no setting {written!r}.",
                                  _did_you_mean(str(written), MODEL_KINDS, "configuration"))
            found[str(model)][name] = _typed(MODEL_KINDS[name], fact, place, str(written))
    return found


def _setting_names() -> list[str]:
    return [row.name for row in SETTINGS if row.in_file]


def _did_you_mean(key: str, names: Mapping[str, Any] | Sequence[str],
                  topic: str = "settings") -> str:
    from difflib import get_close_matches
    close = get_close_matches(key.replace("-", "_"), list(names), n=1)
    return f"Did you mean {close[0]}?" if close else f"stream-chat --help {topic} lists them."


# ---- .env

def read_env_file(path: str) -> dict[str, str]:
    """Read NAME=value lines; `export`, quotes and # comments work as in a shell.

    Nothing is expanded or run. Raises ConfigError.
    """
    try:
        lines = read_own_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {why}.") from problem
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(line)
        if match is None:
            raise ConfigError(f"{path} line {number} cannot be parsed.",
                              "Write lines as NAME=value.")
        found[match.group(1)] = _env_value(match.group(2))
    return found


def _env_value(text: str) -> str:
    if text[:1] in ("'", '"'):
        inside, closed, _ = text[1:].partition(text[0])
        return inside if closed else text
    return re.split(r"\s#", text, maxsplit=1)[0].strip()
