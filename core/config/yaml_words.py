"""A YAML loader with the numbers of YAML 1.2, dates as text, and yes, no, on and off as booleans.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import yaml

from core.regex import regex

_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2 and what today's files use of YAML 1.1; each kind with the characters
# that it may start with.
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("bool", r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$",
     "yYnNtTfFoO"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float",
     r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
     r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
     "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("merge", r"^<<$", "<"),
    ("timestamp", r"^\d{4}-\d\d-\d\d$", "0123456789"),
)


class _Loader(yaml.SafeLoader):
    """Replaces PyYAML's rules, which are YAML 1.1: there 0123 is 83, 1:30 is 90, 1_000 is 1000."""

    yaml_implicit_resolvers: dict[Any, Any] = {}


def _whole_number(loader: _Loader, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    return (int(text[2:], 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x")
            else int(text))


def _date_as_written(loader: _Loader, node: Any) -> str:
    """Raises ValueError for an invalid date."""
    text = str(loader.construct_scalar(node))
    date.fromisoformat(text)
    return text


for _name, _pattern, _first in _KINDS:
    _Loader.add_implicit_resolver(_TAG + _name, regex(_pattern),
                                  [*_first, *([""] if _name == "null" else [])])
_Loader.add_constructor(_TAG + "int", _whole_number)
_Loader.add_constructor(_TAG + "timestamp", _date_as_written)


def make_loader(text: str) -> Any:
    """A loader of this text; dispose of it after use."""
    return _Loader(text)
