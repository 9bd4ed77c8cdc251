"""The slash commands: what one is, and which there are.

Each is one function in a module of this package:

its name is the command, its docstring is the help. A new module is found
without being named anywhere.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Literal

from core.chat.conversation import Chat
from core.dataclass import dataclass
from core.errors import UsageError
from core.messages import Image, Message
from core.model_manager import Target
from core.regex import regex
from core.rendering.bars import Bars
from core.rendering.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.aside import Aside
    from core.chat.comparison import Comparison
    from db import Store


class Done(str):
    """Text that says what the command did; other text is for information."""

    __match_args__ = ("text",)

    @property
    def text(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Again:
    """Let the model answer the conversation as it is, or (`go_on`) finish its last reply; `said` is
    shown first.
    """

    go_on: bool = False
    said: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """Show these messages again after `said`: all of them, or (`last`) the last exchange, in about
    a screen.
    """

    messages: tuple[Message, ...]
    said: str = ""
    last: bool = False


@dataclass(frozen=True, slots=True)
class ChooseSession:
    """Let the user choose a saved session, among those that contain `words`; what `take` returns
    for its ID is the outcome.
    """

    store: Store
    take: Callable[[str], Outcome]
    words: str = ""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask the user; after a yes, call `act` and show what it returns."""

    question: str
    act: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Say:
    """Send this to the model with these pictures. Files that it mentions are attached if the user
    `typed` it.
    """

    text: str
    images: tuple[Image, ...] = ()
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """Let the user edit this text; what `done` returns for the changed text is the outcome.

    `line` is the command that changes it without an editor, with the text.
    """

    text: str
    line: str
    done: Callable[[str], Outcome]


@dataclass(frozen=True, slots=True)
class Paste:
    """Take the clipboard's content: attach it, or begin the next message with it.
    """


@dataclass(frozen=True, slots=True)
class ToClipboard:
    """Put this text on the user's clipboard; then show `said`."""

    text: str
    said: str


@dataclass(frozen=True, slots=True)
class Page:
    """Show a page of Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class Leave:
    """End the chat."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download this model and show the progress."""

    target: Target


@dataclass(frozen=True, slots=True)
class Compare:
    """Ask two models the same and show their answers."""

    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Beside:
    """Ask this beside the conversation and show the answer."""

    aside: Aside


@dataclass(frozen=True, slots=True)
class Look:
    """Change how a terminal looks: its theme, its status line, or how it shows the model's
    thinking.
    """

    what: Literal["theme", "status", "thinking"]
    value: str


@dataclass(frozen=True, slots=True)
class Filling:
    """Show what fills the model's window: shares, attachments (a name and its description), and
    notes.
    """

    bars: Bars
    attached: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compact:
    """Summarise the oldest turns while the user watches."""


class Choice(str):
    """A word that can follow a command, and (`told`) its description."""

    told: str

    def __new__(cls, text: str, told: str = "") -> Choice:
        made = super().__new__(cls, text)
        made.told = told
        return made


# What a command gives back to the front end: text or a table to show, something to do, or nothing.
Outcome = (str | Table | History | Confirm | Again | Say | Fetch | Compact | Compare | Beside | Edit
           | Look | Page
           | Filling | ChooseSession | Paste | ToClipboard | Leave | None)
CommandFunction = Callable[[Chat, str], Awaitable[Outcome]]
Completer = Callable[[Chat], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    run: CommandFunction
    usage: str
    help: str
    aliases: tuple[str, ...]
    complete: Completer | None

    @property
    def group(self) -> str:
        """The GROUP of its module, or the module's name."""
        module = self.run.__module__
        return getattr(sys.modules[module], "GROUP", module.rpartition(".")[2].capitalize())


@dataclass(frozen=True, slots=True)
class MoreCommands:
    """Commands that only some chats have. Their names contain `mark`; `names` lists those known so
    far with descriptions; `run` takes a name and its argument, and returns None for another name.
    They come before
    beginnings of other commands.
    """

    mark: str
    names: Callable[[Chat], Sequence[tuple[str, str]]]
    run: Callable[[Chat, str, str], Awaitable[Outcome | None]]


_COMMANDS: dict[str, Command] = {}
_MORE: list[MoreCommands] = []
# words of other programs, and of users who look for a command -> the command that they mean, with
# what follows it
ELSEWHERE = {"clear": "new", "reset": "new", "load": "session", "open": "session",
             "chats": "sessions", "conversations": "sessions", "find": "search", "name": "rename",
             "template": "prompts", "templates": "prompts", "skill": "prompts", "skills": "prompts",
             "persona": "as", "personas": "as", "agent": "as", "agents": "as",
             "image": "paste", "picture": "paste", "photo": "paste", "screenshot": "paste",
             "attach": "context add", "upload": "context add", "file": "context add",
             "add": "context add", "typo": "edit", "correct": "edit", "fix": "edit",
             "rewind": "undo", "regenerate": "retry", "again": "retry", "write": "save",
             "config": "options", "settings": "options", "parameters": "options",
             "param": "options", "color": "theme", "colors": "theme", "colour": "theme",
             "colours": "theme", "reasoning": "think", "effort": "think", "bookmark": "pin-session",
             "star": "pin-session", "price": "cost", "tokens": "usage", "switch": "model",
             "week": "search", "yesterday": "search", "old": "search", "earlier": "search",
             "temp": "set temperature 0.2", "temperature": "set temperature 0.2",
             "top_p": "set top_p 0.9", "seed": "set seed 42", "max_tokens": "set max_tokens 2k",
             "num_ctx": "set num_ctx 16k", "clone": "fork", "duplicate": "fork"}
OF_FILES = frozenset(word for word, meant in ELSEWHERE.items() if meant in ("paste", "context add"))


def command(*aliases: str, usage: str = "",
            complete: Completer | None = None) -> Callable[[CommandFunction], CommandFunction]:
    """Register a function as a slash command. A trailing underscore in its name is dropped."""
    def register(function: CommandFunction) -> CommandFunction:
        name = function.__name__.rstrip("_").replace("_", "-")
        _COMMANDS[name] = Command(name, function, usage, _paragraphs(function), aliases, complete)
        return function
    return register


def _paragraphs(function: CommandFunction) -> str:
    """The docstring, each paragraph on one line: the front end wraps it."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def more_commands(more: MoreCommands) -> None:
    """Register where further commands are looked for."""
    _MORE.append(more)


def names_to_complete(chat: Chat) -> list[tuple[str, str]]:
    """All commands of this chat, with what they do."""
    names = [(entry.name, entry.help.splitlines()[0]) for entry in all_commands().values()]
    return names + [pair for more in _MORE for pair in more.names(chat)]


def all_commands() -> dict[str, Command]:
    """By name, those of the chat itself first."""
    _load_all()
    return _COMMANDS


@cache
def _load_all() -> None:
    names = sorted((module.name for module in pkgutil.iter_modules(__path__)),
                   key=lambda name: (name != "chat", name))
    places = {f"{__name__}.{name}": place for place, name in enumerate(names)}
    for module in places:
        importlib.import_module(module)
    # in this order, regardless of which module was imported first
    known = sorted(_COMMANDS.items(),
                   key=lambda entry: places.get(entry[1].run.__module__, len(places)))
    _COMMANDS.clear()
    _COMMANDS.update(known)


def find_command(word: str) -> Command | None:
    """By name, alias or unambiguous beginning."""
    commands = all_commands()
    if word in commands:
        return commands[word]
    named = [entry for entry in commands.values() if word in entry.aliases]
    begun = [entry for entry in commands.values() if entry.name.startswith(word)]
    found = named or begun
    return found[0] if word and len(found) == 1 else None


def _meant(chat: Chat, word: str, argument: str) -> str:
    """A suggestion for a word that is not a command."""
    if word in OF_FILES:
        return "@PATH in a message attaches a file or picture, /paste takes the clipboard."
    names = [name for name, _ in names_to_complete(chat)]
    begun = [f"/{name}" for name in names if name.startswith(word)]
    if word and begun:
        return f"It may be {' or '.join(begun[:6])}."
    if word not in ELSEWHERE:
        close = get_close_matches(word, names, n=1)
        return f"Did you mean /{close[0]}?" if close else "/help lists all commands."
    meant = ELSEWHERE[word]
    if argument and meant.startswith("set "):
        meant = f"{meant.rpartition(' ')[0]} {argument}"
    return f"Did you mean /{meant}?"


def _is_whole_name(word: str, entry: Command) -> bool:
    return word == entry.name or word in entry.aliases


_SHAPE = regex(r"/(\?|[A-Za-z][\w:.-]*)(\s|$)")


def command_in(line: str) -> str | None:
    """The command in a line, without space around it;
    None for a message, such as "/etc/hosts is what?".
    """
    stripped = line.strip()
    return stripped if _SHAPE.match(stripped) else None


def message_in(line: str) -> str:
    """The message in a line: // at its start stands for a slash that does not begin a command."""
    return (line.removeprefix("/") if line.startswith("//") and command_in(line[1:]) is not None
            else line)


def split_command(line: str) -> tuple[str, str]:
    """The word after the slash, and what follows it."""
    word, _, argument = re.sub(r"^(\S+)\s+", r"\1 ", line.strip()).removeprefix("/").partition(" ")
    return word, argument.strip()


async def run_command(chat: Chat, line: str) -> Outcome:
    """Run `/name argument`.

    Raises UsageError for an unknown name, and for words after a command that takes none.
    """
    word, argument = split_command(line)
    found = find_command(word.lower())
    if found is None or not _is_whole_name(word.lower(), found):
        for more in _MORE:
            outcome = await more.run(chat, word, argument) if more.mark in word else None
            if outcome is not None:
                return outcome
    if found is None:
        begun = [(more, name) for more in _MORE for name, _ in more.names(chat)
                 if word and name.lower().startswith(word.lower())]
        if len(begun) == 1 and not any(name.startswith(word.lower()) for name in all_commands()):
            outcome = await begun[0][0].run(chat, begun[0][1], argument)
            if outcome is not None:
                return outcome
        raise UsageError(f"There is no command /{word}.", f"{_meant(chat, word.lower(), argument)} "
                         "Begin with // to send it as a message.")
    if argument and not found.usage:
        raise UsageError(f"/{found.name} takes nothing after it.",
                         f"/{found.name} alone: {found.help.splitlines()[0]}")
    return await found.run(chat, argument)
