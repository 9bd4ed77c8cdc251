"""Reports the error that ends the program:
three lines on standard error at most, or an event for a program.
"""

from __future__ import annotations

import json
import logging
import sys

from core.argument_parser import setting_of, started_as
from core.config import BY_NAME, Settings
from core.config.setting import Setting
from core.config.values import parse_value
from core.console.screen import Screen
from core.errors import ChatError, UsageError, describe
from core.events import Failed, to_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOKS = ("plain_screen", "color", "theme")      # settings of the screen that an error is shown on


def report(error: ChatError, words: Sequence[str], environment: Mapping[str, str],
           settings: Settings | None) -> None:
    """As the last event on standard output, or in words that name the program as it was started.

    `words` is the command line; `settings` is None when it could not be read.
    """
    log = logging.getLogger(__name__)
    # without --debug, and before it is known, logging itself would print the error again
    if log.hasHandlers():
        log.error("%s", describe(error))
    if "--json" in words:
        print(json.dumps(to_dict(Failed(error))))
        return
    named = ChatError(_as_started(error.message), _as_started(error.hint))
    print_error(named, settings or _looks(words, environment))


def print_error(error: ChatError, settings: Settings) -> None:
    """On standard error: with its mark on a terminal, as `error: ...` elsewhere."""
    if not sys.stderr.isatty():
        print(describe(error), file=sys.stderr)
        return
    Screen(sys.stderr, settings).error(error)


def _as_started(text: str) -> str:
    return text.replace("stream-chat -", f"{started_as()} -").replace('stream-chat "',
                                                                      f'{started_as()} "')


def _looks(words: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """How the screen is to look, as far as a command line says it that is not valid."""
    values = {}
    for row in map(BY_NAME.__getitem__, LOOKS):
        given = _on_command_line(row, words)
        for value in filter(None, (given, *(environment.get(name, "") for name in row.env))):
            try:
                values[row.name] = parse_value(row, value, row.name)
                break
            except UsageError:
                continue        # perhaps the very error that is reported
    return Settings(values, environment=environment)


def _on_command_line(row: Setting, words: Sequence[str]) -> str:
    for word, following in zip(words, (*words[1:], "")):
        flag, equals, value = word.partition("=")
        if setting_of(flag) is row:
            if row.kind is bool:
                return "false" if flag.startswith("--no-") else "true"
            return value if equals else following
    return ""
