"""The command that explains the others."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import (
    ELSEWHERE, Choice, Command, Outcome, Page, all_commands, command, find_command)
from core.config.pages import page_names, page_title, read_page
from core.config.templates import find_templates
from core.errors import UsageError
from core.regex import regex
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
ENDING = "/help NAME or /help WORD explains, /help keys, /help pages, /help all."
# what users do most, each with the commands for it; the other commands follow by group
OFTEN = (("Files", "@chart.png in a message attaches it; /paste the clipboard; !command"),
         ("Question", "/edit corrects your last, /retry asks again, /undo takes back"),
         ("Answer", "/copy code, /copy (all of it), /save FILE"),
         ("Model", "/model NAME switches, /set temperature 0.2, /options"),
         ("Earlier", "/resume [WORDS] opens a chat, /search WORDS, /fork copies this one"))
MOST_TEMPLATES = 6      # of the user's that the overview names
FILLERS = frozenset("a an and chat do for how i in is it my of on s the this to what with".split())
SAME = {"image": "picture", "photo": "picture", "screenshot": "picture"}


async def _topics(chat: Chat) -> list[str]:
    commands = (Choice(name, entry.help.splitlines()[0]) for name, entry in all_commands().items())
    return [*commands, *page_names(), "keys", "pages", "all"]


@command("?", "h", usage="[COMMAND | WORD | PAGE | keys | all]", complete=_topics)
async def help(chat: Chat, argument: str) -> Outcome:
    """List the commands, explain one, or show a page of the documentation."""
    word = argument.removeprefix("/").lower()
    if not word:
        return Table(("", ""), tuple(overview([*find_templates(chat.settings.environment)])),
                     ENDING)
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
    """The commands and keys that have the words in their help, or all commands of a group; those
    with most of the words where none has all.
    """
    words = [one for one in regex(r"[\s'\u2019]+").split(word) if one and one not in FILLERS]
    words = words or [word]
    commands = [(entry, _leading(words, entry)) for entry in all_commands().values()]
    said = [(row, sum(SAME.get(one, one) in " ".join(row).lower() for one in words))
            for row in KEYS]
    most = max(*(led for _, (led, _) in commands), *(led for _, led in said), 1)
    named = max((names for _, (led, names) in commands if led == most), default=0)
    entries = [entry for entry, (led, names) in commands
               if led == most and (names == named or len(words) == 1)]
    keys = [row for row, led in said if led == most]
    pages = [name for name in page_names() if all(one in page_title(name).lower() for one in words)]
    more = f" /help page {pages[0]} shows a page about it." if pages else ""
    if entries:
        return command_table(entries, f"/help NAME explains one.{more}", keys)
    if keys or pages:
        return Table(("key", "what it does"), tuple(keys), more.strip()) if keys else more.strip()
    raise UsageError(f"No command has anything to do with {argument}.",
                     "/help lists all commands, /help pages the documentation.")


def _leading(words: Sequence[str], entry: Command) -> tuple[int, int]:
    """How many of the words lead to a command, and how many of them name it or what other programs
    call it.
    """
    text = f"{entry.name} {entry.usage} {entry.help}".lower()
    named = [one in (entry.name, entry.group.lower())
             or ELSEWHERE.get(one, "").split(" ")[0] == entry.name for one in words]
    led = sum(name or one in text for one, name in zip(words, named, strict=True))
    return led, sum(named)


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


def overview(templates: Sequence[str]) -> list[tuple[str, str]]:
    """What users do most, the user's templates, the keys, and the other commands of each group."""
    most = [*OFTEN, ("Templates", _about_templates(templates))]
    often = {word.strip(",;") for _, said in most for word in said.split()}
    groups: dict[str, list[str]] = {}
    for entry in all_commands().values():
        if f"/{entry.name}" not in often:
            groups.setdefault(entry.group, []).append(f"/{entry.name}")
    return [*most, ("Keys", SHORT_KEYS),
            *((group, "  ".join(names)) for group, names in groups.items())]


def _about_templates(names: Sequence[str]) -> str:
    if not names:
        return "/prompts says how to make one, /NAME uses it"
    more = f" and {len(names) - MOST_TEMPLATES} more" if len(names) > MOST_TEMPLATES else ""
    return f"{', '.join(f'/{name}' for name in names[:MOST_TEMPLATES])}{more}; /prompts explains"
