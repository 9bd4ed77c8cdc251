"""Reads the configuration file: YAML or JSON, with ${NAME} taken from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config import BY_NAME, SETTINGS, Setting, check_value, parse_value
from core.errors import ConfigError, UsageError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
Values = dict[str, Any]


def read_config_file(path: str, environment: Mapping[str, str]) -> tuple[Values, Values]:
    """Return (settings by name, providers by name). Raises ConfigError naming file, line and key."""
    document = _Document(path)
    values: Values = {}
    providers: Values = {}
    for key, value in document.mapping.items():
        expanded = _expand(value, environment, document.place(key))
        if key in ("providers", "llm"):
            providers = _check_providers(expanded, document, key)
            continue
        row = BY_NAME.get(key.replace("-", "_"))
        if row is None or not row.in_file:
            raise ConfigError(f"{document.place(key)}: there is no setting {key!r}.", _did_you_mean(key))
        values[row.name] = _check(row, expanded, document.place(key))
    return values, providers


class _Document:
    """The parsed file, remembering on which line each top-level key stands."""

    def __init__(self, path: str) -> None:
        import yaml
        self.path = path
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            loaded = yaml.safe_load(text)
        except OSError as problem:
            raise ConfigError(f"The configuration {path} cannot be read: {problem.strerror}.",
                              "Mend its permissions, or name another file with --config.") from problem
        except UnicodeDecodeError as problem:
            raise ConfigError(f"The configuration {path} is not UTF-8 text (byte {problem.start}).",
                              "Save it as UTF-8.") from problem
        except yaml.YAMLError as problem:
            mark = getattr(problem, "problem_mark", None)
            line = f" line {mark.line + 1}" if mark else ""
            what = getattr(problem, "problem", None) or "it is not YAML"
            raise ConfigError(f"The configuration {path}{line} cannot be understood: {what}.", "Mend that line.") from problem
        if loaded is None:
            loaded = {}
        if not isinstance(loaded, dict):
            raise ConfigError(f"The configuration {path} must hold `key: value` lines.")
        self.mapping: dict[str, Any] = {str(key): value for key, value in loaded.items()}
        self.lines: dict[str, int] = {}
        for key_node, _ in node.value if node is not None else ():
            if key_node.value in self.lines:
                raise ConfigError(f"{path} line {key_node.start_mark.line + 1}: {key_node.value!r} stands there a second time.",
                                  f"The first is on line {self.lines[key_node.value]}; keep one of them.")
            self.lines[key_node.value] = key_node.start_mark.line + 1

    def place(self, key: str) -> str:
        return f"{self.path} line {self.lines.get(key, 1)}"


def _expand(value: Any, environment: Mapping[str, str], where: str) -> Any:
    """Fill in ${NAME} and ${NAME:-default}, after parsing, so that a value can never change the document."""
    if isinstance(value, str):
        def fill(match: re.Match[str]) -> str:
            name, default = match.group(1), match.group(2)
            found = environment.get(name) or default
            if found is None:
                raise ConfigError(f"{where}: the environment variable {name} is not set.",
                                  f"Set it, or write ${{{name}:-default}}.")
            return found
        return _VARIABLE.sub(fill, value)
    if isinstance(value, list):
        return [_expand(item, environment, where) for item in value]
    if isinstance(value, dict):
        return {str(key): _expand(item, environment, where) for key, item in value.items()}
    return value


def _check(row: Setting, value: Any, where: str) -> Any:
    """The file's value as the setting's type."""
    place = f"{where}: {row.name}"
    try:
        if row.kind is list:
            return tuple(str(item) for item in value) if isinstance(value, list) else parse_value(row, str(value), place)
        if row.kind is dict:
            if not isinstance(value, dict):
                raise UsageError(f"{place} takes a mapping.")
            return value
        if row.kind is bool and isinstance(value, bool) or value is None:
            return value
        if row.name == "think" and isinstance(value, bool):   # YAML reads a bare on/off as a boolean
            return "on" if value else "off"
        if row.kind is str and not isinstance(value, (dict, list)):
            return check_value(row, str(value), place)
        return parse_value(row, str(value), place)
    except ConfigError:
        raise
    except UsageError as problem:
        raise ConfigError(problem.message, problem.hint) from problem


def _check_providers(value: Any, document: _Document, key: str) -> Values:
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        raise ConfigError(f"{document.place(key)}: {key} takes a mapping of provider names to their settings.")
    return {str(name): dict(entry) for name, entry in value.items()}


def _did_you_mean(key: str) -> str:
    from difflib import get_close_matches
    close = get_close_matches(key.replace("-", "_"), [row.name for row in SETTINGS if row.in_file], n=1)
    return f"Did you mean {close[0]}?" if close else "docs/settings.md lists the settings."
