"""The command that explains the others."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import (
    ELSEWHERE, Choice, Command, Outcome, Page, all_commands, command, find_command)
from core.config.pages import page_names, page_title, read_page
from core.errors import UsageError
from core.rendering.table import Table

GROUP = "Chat"
KEYS = (("Enter", "sends"), ("Alt-Enter, Ctrl-J", "start a new line"),
        ("Tab, Right", "take what the menu under the prompt offers first; Tab opens the menu"),
        ("Down, Up", "choose in the menu, then Enter takes it; Esc closes it"),
        ("Up, Ctrl-R", "find what you typed before"),
        ("Ctrl-C", "stops a reply, clears a line; twice on an empty line leaves"),
        ("Ctrl-D", "leaves, on an empty line"),
        ("Ctrl-X Ctrl-E", "opens the editor"), ("Ctrl-L, Ctrl-Z", "clear the screen, suspend"),
        ("Ctrl-O", "while the model thinks: keeps what it thinks on the screen"),
        ("!command", "runs it in your shell; its output can join your next message"),
        ("@file", "attaches a file, a folder or a picture"))

SHORT_KEYS = ("Enter sends, Alt-Enter starts a new line, Tab completes, "
              "Ctrl-R searches what you typed, Ctrl-C stops a reply, Ctrl-D leaves.")
ENDING = "/help NAME explains a command, /help WORD searches, /help keys, /help pages, /help all."


async def _topics(chat: Chat) -> list[str]:
    commands = (Choice(name, entry.help.splitlines()[0]) for name, entry in all_commands().items())
    return [*commands, *page_names(), "keys", "pages", "all"]


@command("?", "h", usage="[COMMAND | WORD | PAGE | keys | all]", complete=_topics)
async def help(chat: Chat, argument: str) -> Outcome:
    """List the commands, explain one, or show a page of the documentation."""
    word = argument.removeprefix("/").lower()
    if not word:
        return Table(("", ""), tuple(overview()), ENDING)
    if word == "keys":
        return Table(("key", "what it does"), KEYS)
    if word == "all":
        return command_table(list(all_commands().values()), "Ctrl-C stops a reply, Ctrl-D leaves.")
    if word == "pages":
        return Table(("page", "about"), tuple((name, page_title(name)) for name in page_names()),
                     "/help NAME shows a page; /help page NAME where a command has the same name.")
    page = word.removeprefix("page ").strip()
    if page in page_names() and (page != word or page not in all_commands()):
        return Page(read_page(page).replace("`--help ", "`/help "))
    return explained(word) if find_command(word) is not None else _searched(argument, word)


def explained(word: str) -> str:
    """A command: its names, what it takes and what it does.

    Raises UsageError for a word that is not a command.
    """
    found = find_command(word.removeprefix("/"))
    if found is None:
        raise UsageError(f"There is no command {word}.", "/help in a chat lists them all.")
    names = ", ".join(f"/{name}" for name in (found.name, *found.aliases))
    more = (f"\n/help page {found.name} shows the page about it." if found.name in page_names()
            else "")
    return f"{names} {found.usage}".strip() + f"\n{found.help}{more}"


def _searched(argument: str, word: str) -> Outcome:
    """The commands and keys that have the word in their help, or all commands of a group."""
    entries = [entry for entry in all_commands().values()
               if word == entry.group.lower() or entry.name == ELSEWHERE.get(word)
               or word in f"{entry.name} {entry.usage} {entry.help}".lower()]
    keys = [(key, told) for key, told in KEYS if word in f"{key} {told}".lower()]
    pages = [name for name in page_names() if word in page_title(name).lower()]
    more = f" /help page {pages[0]} shows a page about it." if pages else ""
    if entries:
        return command_table(entries, f"/help NAME explains one.{more}", keys)
    if keys or pages:
        return Table(("key", "what it does"), tuple(keys), more.strip()) if keys else more.strip()
    raise UsageError(f"No command has anything to do with {argument}.",
                     "/help lists all commands, /help pages the documentation.")


def command_table(entries: Sequence[Command], note: str,
                  keys: Sequence[tuple[str, str]] = ()) -> Table:
    """By group, with what each does; the keys last."""
    groups = list(dict.fromkeys(entry.group for entry in entries))
    entries = sorted(entries, key=lambda entry: groups.index(entry.group))
    headings = {[entry.group for entry in entries].index(group): group for group in groups}
    rows = [(f"/{entry.name} {entry.usage}".strip(), entry.help.splitlines()[0])
            for entry in entries]
    if keys:
        headings[len(rows)] = "Keys"
    return Table(("command", "what it does"), (*rows, *keys), note, headings=headings)


def overview() -> list[tuple[str, str]]:
    """Each group with its commands, and the keys."""
    groups: dict[str, list[str]] = {}
    for entry in all_commands().values():
        groups.setdefault(entry.group, []).append(f"/{entry.name}")
    return [*((group, "  ".join(names)) for group, names in groups.items()),
            ("Files", "@file  !command"), ("Keys", SHORT_KEYS)]
