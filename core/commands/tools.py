"""Commands for tools: list and switch them, show the last result in full, manage MCP servers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Done, MoreCommands, Outcome, Say, command, more_commands
from core.config.directories import from_home
from core.context.items import Item
from core.errors import UsageError
from core.regex import regex
from core.rendering.table import Table
from core.tool_executor import Toolbox
from core.tools import Tool, all_tools, get_tools, load_entry_points
from core.tools.call_text import call_text
from core.tools.guards.secret_files import secret_arguments
from core.tools.schema import properties_of

_SENTENCE_ENDS = regex(r"(?<=\w\w\w)[.:](?=\s|$)")    # not the point of an abbreviation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.tools.mcp.connection import Connection
    from core.tools.mcp.group import ServerGroup


def _toolbox(chat: Chat) -> Toolbox:
    """The chat's toolbox. A chat that was started without tools gets one now, with nothing switched
    on.
    """
    if chat.toolbox is None:
        chat.toolbox = chat.make_toolbox() if chat.make_toolbox else Toolbox(())
    return chat.toolbox


def _known(box: Toolbox) -> dict[str, Tool]:
    """All tools, including those of connected servers."""
    with contextlib.suppress(UsageError):   # the list of tools reports a broken package
        load_entry_points()
    served = box.servers.tools if box.servers else ()
    return {made.name: made for made in (*all_tools(), *served, *box.tools.values())}


async def _switches(chat: Chat) -> Sequence[str]:
    names = sorted(_known(_toolbox(chat)))
    return ["all", "none", "forget",
            *(f"{word} {name}" for word in ("on", "off") for name in names), *names]


@command(usage="[NAME | on NAME | off NAME | all | none | forget]", complete=_switches)
async def tools(chat: Chat, argument: str) -> Outcome:
    """List the tools, describe one, switch one on or off, offer all or none of them, or forget
    permanent permissions.
    """
    box = _toolbox(chat)
    word, _, name = argument.partition(" ")
    match word:
        case "":
            return _list_tools(box)
        case "all" | "none":
            return _switch(box, list(_known(box)), on=word == "all")
        case "on" | "off" if name.strip():
            return _switch(box, name.replace(",", " ").split(), on=word == "on")
        case "forget":
            count = len(box.grants)
            box.grants.clear()
            return Done(f"Forgotten: {count} permissions. Every call is asked about again.")
    if argument in _known(box):
        return _describe(_known(box)[argument], box)
    raise UsageError(f"/tools cannot {argument!r}.",
                     "/tools NAME, /tools on NAME, /tools off NAME, /tools all, /tools none, "
                     "/tools forget")


def _switch(box: Toolbox, names: Sequence[str], *, on: bool) -> str:
    known = _known(box)
    missing = [name for name in names if name not in known]
    if missing:
        get_tools(missing)   # lists the names
    for name in names:
        box.switch(known[name], on=on)
    if not box.tools:
        return "The model is offered no tools."
    return Done(f"The model may call: {', '.join(sorted(box.tools))}.")


def _describe(made: Tool, box: Toolbox) -> str:
    """Describe a tool: what the user should know, and the description that the model gets."""
    taken = ", ".join(properties_of(made.parameters)) or "nothing"
    asks = "runs without a question" if box.is_free(made) else "asks before it runs"
    return (f"{made.name}: {'on' if made.name in box.tools else 'off'}, {made.kind}, {asks}, "
            f"{_place(made.source)}\nIt takes: {taken}\n\n{made.description}")


def _list_tools(box: Toolbox) -> Table:
    """Where all are built in, no column says so; /tools NAME has the whole description."""
    made = sorted(_known(box).values(), key=lambda made: made.name)
    foreign = any(one.source != "built in" for one in made)
    rows = [(one.name, "on" if one.name in box.tools else "off", one.kind,
             "no" if box.is_free(one) else "yes",
             *((_place(one.source),) if foreign else ()), _gist(one.description))
            for one in made]
    heads = ("tool", "is", "kind", "asks", *(("from",) if foreign else ()), "what it does")
    private = (" This conversation contains private data: network tools ask for each host."
               if box.private else "")
    allowed = (f" Always allowed: {', '.join(sorted(set(box.grants.values())))}." if box.grants
               else "")
    note = f"/tools on NAME, off NAME, or NAME for more.{private}{allowed}{_broken_packages()}"
    return Table(heads, tuple(rows), note)


def _gist(description: str) -> str:
    """The first sentence of a description, without what follows a colon in it."""
    return _SENTENCE_ENDS.split(description.split("\n")[0], maxsplit=1)[0].rstrip(".") + "."


def _broken_packages() -> str:
    try:
        load_entry_points()
    except UsageError as problem:
        return f" {problem.message}"
    return ""


def _place(source: str) -> str:
    """The origin of a tool; a file's path as short as possible."""
    if not os.path.isabs(source):
        return source
    near = os.path.relpath(source)
    return from_home(source) if near.startswith("..") else near


@command(usage="[N]")
async def last(chat: Chat, argument: str) -> Outcome:
    """Show the whole result of the last tool call, or of the Nth from the end."""
    if argument and not argument.isdigit():
        raise UsageError("/last takes a number: 1 is the last call, 2 the one before.")
    results = [result for message in chat.session.messages for result in message.tool_results]
    number = max(1, int(argument or 1))
    if number > len(results):
        raise UsageError("There is no such tool result in this conversation." if results
                         else "No tool was called yet.")
    result = results[-number]
    calls = [call for message in chat.session.messages
             for call in message.tool_calls if call.id == result.id]
    head = call_text(calls[-1].name, calls[-1].arguments) if calls else result.name
    return f"{head}\n{'failed: ' if result.is_error else ''}{result.content}"


# ---- MCP

def _servers(chat: Chat) -> ServerGroup:
    from core.tools.mcp.group import ServerGroup
    servers = _toolbox(chat).servers
    if not isinstance(servers, ServerGroup):
        raise UsageError("No MCP servers are set up.",
                         "Put mcpServers into the configuration file, or start with --mcp-server.")
    return servers


@command(usage="[restart NAME | read ADDRESS]")
async def mcp(chat: Chat, argument: str) -> Outcome:
    """List the MCP servers with their tools, prompts and resources, restart one,
    or attach a resource to what you ask.
    """
    servers = _servers(chat)
    word, _, rest = argument.partition(" ")
    news = await _toolbox(chat).prepare()
    match word:
        case "":
            rows = [row for entry in servers.connections for row in await _rows(entry)]
            return Table(("server", "has", "what"), tuple(rows), " ".join(news) or
                         "/SERVER__PROMPT starts a prompt, /mcp read ADDRESS attaches a resource.")
        case "restart" if rest:
            entry = await servers.restart(rest.strip())
            await _toolbox(chat).prepare()
            return (entry.problem and f"{rest} cannot be used: {entry.problem}."
                    or f"{rest} runs, with {len(entry.tools)} tools.")
        case "read" if rest:
            return await _read(chat, servers, rest.strip())
    raise UsageError(f"/mcp cannot {argument!r}.", "/mcp, /mcp restart NAME, /mcp read ADDRESS")


async def _rows(entry: Connection) -> list[tuple[str, str, str]]:
    name = entry.server.name
    if entry.problem or not entry.ready:
        return [(name, "problem", entry.problem or "it is not ready yet")]
    prompts = [(name, "prompt", f"/{name}__{prompt} {' '.join(f'{one}=...' for one in needs)}  "
                f"{told}")
               for prompt, told, needs in await entry.prompts()]
    resources = [(name, "resource", f"{uri}  {title}") for uri, title in await entry.resources()]
    # known when all lists have been read
    left_out = [(name, "left out", entry.left_out)] if entry.left_out else []
    return [(name, "tools", ", ".join(made.name for made in entry.tools) or "none"), *prompts,
            *resources, *left_out]


async def _read(chat: Chat, servers: ServerGroup, address: str) -> str:
    """Attach a resource in the same way as a file."""
    for entry in servers.connections:
        if address in [uri for uri, _ in await entry.resources()]:
            await _check_secret(chat, address)
            text = await entry.resource(address)
            _toolbox(chat).private = True
            chat.context.put(Item(address, "resource", address, len(text), text=text, named=True))
            return (f"Attached {address}: {len(text):,} characters. It goes along with your next "
                    "question; /context shows it.")
    raise UsageError(f"No MCP server offers {address}.", "/mcp lists them.")


async def _check_secret(chat: Chat, address: str) -> None:
    """Raise UsageError for a resource that looks like a file of keys unless the user agrees."""
    if secret_arguments({"address": address}):
        question = f"{address} looks like a file of keys or passwords. Send it to the model?"
        if chat.front.agree is None or not await chat.front.agree(question):
            raise UsageError(f"Not attached: {address} looks like a file of keys or passwords.")


def prompt_names(chat: Chat) -> list[tuple[str, str]]:
    """The prompts of MCP servers as slash commands: server__prompt."""
    if chat.toolbox is None or chat.toolbox.servers is None:
        return []
    return [(f"{entry.server.name}__{name}", told) for entry in _servers(chat).connections
            for name, told in entry.known_prompts]


async def run_prompt(chat: Chat, word: str, argument: str) -> Outcome | None:
    """/server__prompt key=value ..., or the words of its only argument."""
    if chat.toolbox is None or chat.toolbox.servers is None:
        return None
    await chat.toolbox.prepare()
    for entry in _servers(chat).connections:
        for name, _, needs in await entry.prompts():
            if f"{entry.server.name}__{name}".lower() == word.lower():
                return Say(await entry.prompt(name, _prompt_arguments(needs, argument)))
    return None


more_commands(MoreCommands("__", prompt_names, run_prompt))


def _prompt_arguments(needs: Sequence[str], argument: str) -> dict[str, str]:
    import shlex
    if len(needs) == 1 and not argument.startswith(f"{needs[0]}="):
        return {needs[0]: argument} if argument else {}
    try:
        words = shlex.split(argument)
    except ValueError as problem:
        raise UsageError(f"The arguments cannot be read: {problem}.",
                         "Write key=value or key='several words'.") from problem
    given = dict(word.split("=", 1) for word in words if "=" in word)
    unknown = [name for name in given if name not in needs]
    if unknown or len(given) < len(words):
        takes = " ".join(f"{name}=..." for name in needs) or "none"
        raise UsageError("The prompt does not have these arguments.", f"It takes: {takes}.")
    return given
