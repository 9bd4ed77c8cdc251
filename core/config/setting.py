"""One setting: how it is named in each place, which values it accepts and what it is for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


METAVARS = {int: "N", float: "X", list: "A,B", dict: "KEY=VALUE"}


class Setting:
    """One row of SETTINGS.

    * `group`: the heading in --help. `name`: the attribute of Settings and the key in the file.
    * `kind`: str, int, float, bool, list (repeatable; comma-separated unless `split` is False) or
      dict (KEY=VALUE, repeatable; a mapping in the file).
    * `flags`, `env`: names separated by spaces; the default flag is --NAME with hyphens.
    * `value_if_bare`: the value of the flag without an argument.
    * `low`, `high`: limits of a number, both inclusive. `tokens`: 32k is accepted for 32768.
    * `in_file`: whether the configuration file may set it.
    * `blank`: which blank texts are values: none (""), those of spaces ("spaces"), or the empty
      text as well ("empty").
    * `near`: other words for choices, used to suggest a choice.
    """

    __slots__ = ("name", "flags", "kind", "default", "help", "group", "metavar", "env", "choices",
                 "low", "high", "value_if_bare", "in_file", "split", "blank", "near", "tokens")

    def __init__(self, group: str, name: str, kind: type, default: Any, help: str, *,
                 flags: str = "", env: str = "", metavar: str = "", choices: Sequence[str] = (),
                 low: float | None = None, high: float | None = None, value_if_bare: Any = None,
                 in_file: bool = True, split: bool = True, blank: str = "",
                 near: Mapping[str, str] | None = None, tokens: bool = False) -> None:
        self.group, self.name, self.kind, self.default, self.help = group, name, kind, default, help
        self.flags = tuple(flags.split()) if flags else ("--" + name.replace("_", "-"),)
        self.env = tuple(env.split())
        self.metavar = metavar or METAVARS.get(kind, "TEXT")
        self.choices, self.low, self.high = tuple(choices), low, high
        self.value_if_bare, self.tokens = value_if_bare, tokens
        self.in_file, self.split, self.blank, self.near = in_file, split, blank, near or {}
