"""Parses the command line into Settings, and formats the table of settings for --help."""

from __future__ import annotations

import os
import sys

from core.config import BY_NAME, SETTINGS, Settings, rows_by_group
from core.config.setting import Setting
from core.config.sources import load_settings
from core.config.values import parse_value
from core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

STANDARD_INPUT = "-"    # an argument that stands for the text on standard input
DASH = "An argument - stands for the text on standard input.\n"
USAGE = """\
usage: stream-chat [options] [question ...]

With a question (or text on standard input) it prints one answer and exits;
otherwise it opens a chat.
""" + DASH
EXAMPLES = """\
examples:
  stream-chat                                  a chat in the terminal
  stream-chat "why is the sky blue?"           one answer
  cat log | stream-chat "what failed?"         with text from standard input
  stream-chat -m llama3 --experimental         let the model call tools
  stream-chat --continue                       resume the newest session
"""
# What -h shows: the most used options, grouped by purpose.
COMMON = (("Who answers", ("model", "provider", "system", "agent", "list_providers")),
          ("Sessions", ("continue_", "session", "list_sessions", "search", "export_session")),
          ("What the model knows and does", ("context", "tools", "experimental")),
          ("How it is shown", ("json", "web", "plain_screen")))
SHORT, ALL = "short", "all"     # the topics of -h and --help without an argument


def parse_arguments(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read flags, environment and configuration file. Raises UsageError."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    options, literal = words[:end], words[end + 1:]
    topic = _help_topic(options)
    if topic is not None:
        return Settings({"help": topic}, environment=environment)
    filled = _fill_bare_flags(options)
    parsed = _plain(filled)
    if parsed is None:
        parsed = vars(_parser().parse_intermixed_args(filled))
    words = parsed.pop("prompt")
    prompt = _as_text(" ".join([*(word for word in words if word != STANDARD_INPUT), *literal]))
    flags = {name: _joined(value) for name, value in parsed.items()}
    return load_settings(flags, environment, prompt=prompt if words or literal else None,
                         reads_stdin=STANDARD_INPUT in words)


def _help_topic(options: list[str]) -> str | None:
    """The topic of -h, --help, --help TOPIC or --help --OPTION; None without any of them."""
    for place, word in enumerate(options):
        flag, equals, value = word.partition("=")
        if flag in BY_NAME["help"].flags and equals:
            return str(parse_value(BY_NAME["help"], value, "--help"))
        if flag in BY_NAME["help"].flags:
            topic = next(iter(options[place + 1:]), "")
            if topic.strip() and (topic[0] != "-" or setting_of(topic) is not None):
                return topic
            return SHORT if flag == "-h" else ALL
    return None


def setting_of(option: str) -> Setting | None:
    """The setting of an option such as --model or --no-markdown; None if there is none."""
    flag = f"--{option[5:]}" if option.startswith("--no-") else option
    return next((row for row in SETTINGS if flag in row.flags or option in row.flags), None)


def started_as() -> str:
    """The command that started this program, for messages that suggest a command."""
    if os.path.basename(sys.argv[0]) != "stream_chat.py":
        return "stream-chat"
    return " ".join(os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
                    for path in (sys.executable, os.path.abspath(sys.argv[0])))


def _plain(words: list[str]) -> dict[str, Any] | None:
    """Parse options that are written in full and followed by their values, as argparse would.

    Returns None for anything else, which is left to argparse: with 165 options it takes 12 ms.
    """
    rows = {flag: row for row in SETTINGS for flag in row.flags}
    parsed: dict[str, Any] = {"prompt": []}
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        row = rows.get(flag)
        switched_off = rows.get(f"--{word[5:]}") if word[:5] == "--no-" else None
        if row is None and switched_off is not None and _negatable(switched_off):
            parsed[switched_off.name] = False
            continue
        if row is None and word != STANDARD_INPUT and word[:1] in ("-", ""):
            return None
        if row is None:
            parsed["prompt"].append(word)
        elif row.kind is bool:
            if equals:
                return None
            parsed[row.name] = True
        else:
            value = value if equals else next(waiting, "")
            if not value or not equals and value[0] == "-":
                return None
            _note(parsed, row, parse_value(row, value, row.flags[-1]))
    return parsed


def _negatable(row: Setting) -> bool:
    """Whether --no-NAME switches it off."""
    return row.kind is bool and row.in_file


def _note(parsed: dict[str, Any], row: Setting, value: Any) -> None:
    if row.kind in (list, dict):
        parsed.setdefault(row.name, []).append(value)
    else:
        parsed[row.name] = value


def _as_text(words: str) -> str:
    """Decode arguments that the locale could not decode (lone surrogates) as UTF-8; invalid bytes
    become U+FFFD.
    """
    return (words if words.isascii()
            else words.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _joined(value: Any) -> Any:
    """The value of a flag; the values of a repeated flag, given as a list, are joined."""
    if isinstance(value, list):
        if isinstance(value[0], dict):
            return {key: entry for each in value for key, entry in each.items()}
        return tuple(item for each in value for item in each)
    return value


def _fill_bare_flags(words: list[str]) -> list[str]:
    """Add the value to flags that may stand alone: in `--think "a question"` the question is the
    prompt, not the flag's value.
    """
    bare = {flag: row for row in SETTINGS if row.value_if_bare is not None for flag in row.flags}
    filled = []
    for word, following in zip(words, [*words[1:], ""]):
        row = bare.get(word)
        if row and following not in row.choices:
            _refuse_misspelt(word, following, row)
            word = f"{word}={row.value_if_bare}"
        filled.append(word)
    return filled


def _refuse_misspelt(flag: str, word: str, row: Setting) -> None:
    """Refuse a word that resembles a value of the flag: it was probably not meant as the question.

    Choices of two letters are not compared: they resemble too many words.
    """
    if 3 <= len(word) <= 1 + max(map(len, row.choices), default=0):
        from difflib import get_close_matches
        close = get_close_matches(word.lower(),
                                  [choice for choice in row.choices if len(choice) > 2], n=1,
                                  cutoff=0.7)
        if close:
            raise UsageError(f"{flag} cannot be {word!r}. Did you mean {flag} {close[0]}?",
                             f"To ask {word!r}, write: {flag}={row.value_if_bare} {word}")


def _unknown_option(word: str) -> UsageError:
    """An error that suggests the option with nearly the same letters, the one all of whose words
    were typed (--search for --search-sessions), or one that is similar or starts with the word.
    """
    from difflib import get_close_matches
    flags = [flag for row in SETTINGS for flag in row.flags if flag.startswith("--")]
    typed = set(word.strip("-").split("-"))
    within = [flag for flag in flags if typed.issuperset(flag[2:].split("-"))]
    close = (get_close_matches(word, flags, n=1, cutoff=0.9)
             or sorted(within, key=len)[-1:]
             or get_close_matches(word, flags, n=1, cutoff=0.7)
             or [flag for flag in flags if len(word) > 4 and flag.startswith(word)])
    hint = f"Did you mean {close[0]}?" if close else "stream-chat --help lists all options."
    return UsageError(f"Unknown option: {word}.", f"{hint} Words after -- are the question.")


def _parser() -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            unknown = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            if unknown.startswith("-"):
                raise _unknown_option(unknown)
            lacking, is_lacking, _ = message.removeprefix("argument ").partition(": expected one")
            if is_lacking:
                raise _without_value(lacking.rpartition("/")[2])
            raise UsageError(message[:1].upper() + message[1:] + ".",
                             "stream-chat --help lists all options.")

    # With our own usage text and all options in a group, argparse creates no formatter per option,
    # which would take 7 ms.
    parser = Parser(usage=USAGE, add_help=False, allow_abbrev=False,
                    argument_default=argparse.SUPPRESS)
    options = parser.add_argument_group()
    options.add_argument("prompt", nargs="*", default=[])
    for row in SETTINGS:
        _add(options, row)
    return parser


def _without_value(flag: str) -> UsageError:
    """An option that needs a value and has none."""
    row = next((row for row in SETTINGS if flag in row.flags), None)
    values = (f": {', '.join(row.choices)}" if row and row.choices
              else f": {row.metavar}" if row and row.metavar else "")
    return UsageError(f"{flag} needs a value{values}.", f"stream-chat --help {flag} explains it.")


def _add(options: argparse._ArgumentGroup, row: Setting) -> None:
    import argparse
    if row.kind is bool:
        negatable = (row.flags if not _negatable(row)
                     else (*row.flags,
                           *(f"--no-{flag[2:]}" for flag in row.flags if flag[:2] == "--")))
        options.add_argument(*row.flags, dest=row.name, action="store_const", const=True)
        for flag in negatable[len(row.flags):]:
            options.add_argument(flag, dest=row.name, action="store_const", const=False)
        return

    def read(text: str) -> Any:
        return parse_value(row, text, row.flags[-1])

    action = "append" if row.kind in (list, dict) else "store"
    options.add_argument(*row.flags, dest=row.name, action=action, type=read,
                         default=argparse.SUPPRESS)


def short_help(width: int = 100) -> str:
    """The text of -h: the most used options, on one screen."""
    lines = [USAGE.removesuffix(DASH)]
    for heading, names in COMMON:
        lines.append(f"{heading}:")
        lines.extend(line for name in names
                     for line in option_lines(BY_NAME[name], width, short=True))
    lines.append("\n".join(["", *EXAMPLES.splitlines()[:4], ""]))
    lines.extend(wrapped(f"--help lists all {len(SETTINGS)} options, --help TOPIC explains one "
                         "thing: --help first-steps, --help sessions, --help --model; --help "
                         "topics lists the topics.", width))
    return "\n".join(lines)


def help_text(width: int = 100) -> str:
    """The text of --help: all options, by group.

    Formatted here because argparse's formatter takes 15 ms.
    """
    lines = [USAGE]
    for group, rows in rows_by_group():
        lines.extend(group_lines(group, rows, width))
        lines.append("")
    lines.append(EXAMPLES)
    lines.extend(wrapped("Every option can also be set in the configuration file or, where one is "
                         "named, by an environment variable: --help settings lists them all, "
                         "--help topics what else is explained.", width))
    return "\n".join(lines)


def group_lines(group: str, rows: Sequence[Setting], width: int) -> list[str]:
    """The options of a group under its name."""
    return [f"{group}:", *(line for row in rows for line in option_lines(row, width))]


def option_lines(row: Setting, width: int, *, short: bool = False) -> list[str]:
    """An option and its help text in two columns; with `short`, only the text's first part."""
    flags = [f"--[no-]{flag[2:]}" if row.kind is bool and row.in_file and row.default is True
             else flag for flag in row.flags]
    value = ("" if row.kind is bool else f" [{row.metavar}]" if row.value_if_bare is not None
             else f" {row.metavar}")
    left = "  " + ", ".join(flags) + value
    text = row.help + (f" ({', '.join(row.choices)})" if row.choices and len(row.choices) < 9
                       else "") + _default_note(row)
    lines = wrapped(first_part(row.help) if short else text, width - 34)
    if len(left) > 32:
        return [left, *(" " * 34 + line for line in lines)]
    return [left.ljust(34) + lines[0], *(" " * 34 + line for line in lines[1:])]


def first_part(text: str) -> str:
    """The first part of a help text, for places with little room."""
    for mark in (";", ": ", ' ("'):
        text = text.partition(mark)[0]
    return text if text.count("(") == text.count(")") else text.rpartition(" (")[0]


def _default_note(row: Setting) -> str:
    return "" if row.kind is bool or row.default in (None, (), {}, "", 0) else f" [{row.default}]"


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` characters, broken between words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
