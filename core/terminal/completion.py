"""Completes text at the prompt: commands, their arguments, files after @, and lines for the shell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from core.chat.conversation import Chat
from core.commands import Command, all_commands, find_command, names_to_complete
from core.commands.stages import in_stage, stage_of
from core.dataclass import dataclass
from core.regex import regex
from core.safe_text import safe_line
from core.terminal.paths import path_matches, shell_matches

LONGEST = 100       # characters of a match's description
_COMMAND = regex(r"/([^\s/]*)")
_ARGUMENT = regex(r"/(\S+) +(.*)")
_SHELL = regex(r"!([^\s!].*)")


@dataclass(frozen=True, slots=True)
class Match:
    """`text` takes the place of the last `typed` characters; `told` describes it."""

    text: str
    typed: int
    told: str = ""


class Completions:
    """The matches for a text. Lists that must be requested are requested once per prompt."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._path = str(chat.settings.environment.get("PATH", ""))
        self._lists: dict[str, Sequence[str]] = {}

    def matches(self, before: str, *, asked: bool = False) -> list[Match]:
        """Matches for the text before the cursor, best first, from the lists known so far. `asked`:
        with Tab.
        """
        name, argument = _COMMAND.fullmatch(before), _ARGUMENT.fullmatch(before)
        if name is not None:
            return list(self._commands(name[1]))
        command = find_command(argument[1].lower()) if argument is not None else None
        if argument is not None and command is not None:
            return list(self._arguments(command, argument[2].lstrip()))
        shell = _SHELL.fullmatch(before)
        if shell is not None:
            typed, names = shell_matches(shell[1], self._path, asked=asked)
            return [Match(name, typed) for name in names]
        return [Match(path, len(before) - before.rindex("@")) for path in _mentions(before)]

    def unknown(self, before: str) -> Command | None:
        """The command whose list must be loaded to complete this text."""
        argument = _ARGUMENT.fullmatch(before)
        command = find_command(argument[1].lower()) if argument is not None else None
        known = command is None or command.complete is None or command.name in self._lists
        return None if known else command

    async def learn(self, command: Command) -> None:
        """Request what can follow a command. Errors of its completer are raised; then nothing can
        follow.
        """
        self._lists[command.name] = ()
        if command.complete is not None:
            self._lists[command.name] = await command.complete(self._chat)

    def _commands(self, typed: str) -> Iterator[Match]:
        """Commands that begin with it, then aliases that do."""
        for name, told in names_to_complete(self._chat):
            if name.startswith(typed):
                yield Match(f"/{name}", len(typed) + 1, short(told))
        for command in all_commands().values() if typed else ():
            for alias in command.aliases:
                if alias.startswith(typed) and len(alias) > 1:
                    yield Match(f"/{alias}", len(typed) + 1, short(command.help))

    def _arguments(self, command: Command, typed: str) -> Iterator[Match]:
        names = self._lists.get(command.name, ())
        stage = stage_of(typed, names)
        for name in fitting(typed, in_stage(stage, names)):
            told = safe_line(getattr(name, "told", ""), LONGEST)
            yield Match(name[len(stage):], len(typed) - len(stage), told)
        path = path_in(command, typed, names)
        if path is not None:
            for found in path_matches(path):
                yield Match(found, len(path))


def _mentions(text: str) -> list[str]:
    if "@" not in text:
        return []
    from core.context.sources import complete_mention
    return complete_mention(text)


def takes_more(before: str) -> bool:
    """Whether this is the complete name of a command that takes arguments."""
    name = _COMMAND.fullmatch(before)
    return name is not None and any(name[1] in (command.name, *command.aliases) and command.usage
                                    for command in all_commands().values())


def short(told: str) -> str:
    """The first clause of what a command does."""
    return safe_line(re.split(r"[:;(\n]|\. |\.$", told)[0].strip(), LONGEST)


def path_in(command: Command, typed: str, names: Sequence[str]) -> str | None:
    """The part of an argument that begins a path; None where no path is expected."""
    if re.search(r"\b(FILE|SOURCE)\b", command.usage) is None:
        return None
    stage = stage_of(typed, names)
    if stage:
        return typed[len(stage):]
    if re.match(r"\[?(\w+\] )?FILE", command.usage):
        return typed
    number = re.fullmatch(r"\d+ +(.*)", typed) if "[N [FILE" in command.usage else None
    return number[1] if number is not None else None


def fitting(typed: str, names: Iterable[str]) -> list[str]:
    """Names that begin with what was typed, then those that contain it, without duplicates."""
    wanted = typed.lower()
    known = list(dict.fromkeys(names))
    begun = [name for name in known if name.lower().startswith(wanted)]
    return begun + [name for name in known if wanted in name.lower() and name not in begun]
