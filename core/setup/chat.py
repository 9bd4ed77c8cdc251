"""Opens a chat for any front end: its session, model, tools and attachments."""

from __future__ import annotations

import os
from collections.abc import Sequence

from core.chat.conversation import Chat
from core.chat.front import Front
from core.chat.kept import with_kept
from core.config import Settings
from core.config.directories import data_directory
from core.errors import ContextError, UsageError
from core.model_manager import Providers, Target, expanded
from core.models.of_session import lost_model, replaced_model, session_target
from core.providers.parameters import check_flags
from core.safe_text import safe_line
from core.session_manager import Session
from core.sessions.sharing import is_waiting
from core.setup.model import first_target
from core.setup.saved import store_place
from core.setup.store import OpenedStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.tool_executor import Toolbox

# without these flags a session keeps its model
NAMES_A_MODEL = frozenset({"model", "provider", "base_url"})
# some providers lack these
NOT_EVERYWHERE = frozenset({"num_ctx", "keep_alive", "seed", "stop", "api_version"})


async def open_chat(settings: Settings, opened: OpenedStore, session: Session, front: Front, *,
                    own_first: bool = False) -> Chat:
    """A chat that continues `session`. Notices for the user are in the chat's `news`.

    `own_first`: the session's own model and options take precedence over flags. Raises ChatError if
    the settings cannot be used.
    """
    started = settings
    flags = frozenset[str]() if own_first else settings.flags
    waiting: list[str] = []
    if is_waiting(session.settings) and not own_first:     # the page asks with the first message
        from core.chat.offered import settle_offered
        _, waiting = await settle_offered(session, front)
    settings, said = with_kept(started, session.settings, flags)
    providers = Providers(settings)
    if has_limits(settings):
        from core.setup.purse import open_purse
        providers.purse = open_purse(settings, providers, lambda: chat.session.id, front)
    target, notices = await choose_target(settings, session, providers, front, flags)
    if settings.flags & NOT_EVERYWHERE:
        for member in expanded(target, settings):
            check_flags(settings, member.provider, providers.host(member.provider).dialect)

    def make_toolbox() -> Toolbox:
        return open_toolbox(chat.settings, chat.session, opened, kept_tools(chat, started))

    chat = Chat(settings, session, providers, target, open_session=opened.open_session, front=front,
                make_toolbox=make_toolbox, started=started)
    if wants_tools(settings):
        chat.toolbox = make_toolbox()
        notices += lost_tools(kept_tools(chat, started))
    chat.news.extend([*notices, *waiting, *([] if own_first else said)])
    return chat


async def choose_target(settings: Settings, session: Session, providers: Providers,
                        front: Front, flags: frozenset[str]) -> tuple[Target, list[str]]:
    """(the model that is asked first, notices about it). Raises ChatError."""
    if settings.modelfile is not None:
        from core.models.making import make_model
        target = await make_model(settings.modelfile, settings, providers, front.progress)
        return target, [f"{target} was created from {settings.modelfile}."]
    lost = False
    if session.model and not flags & NAMES_A_MODEL:
        kept = session_target(session.model, settings)
        if kept is not None:
            return kept, []
        lost = True
        if front.choose_model is None:
            raise UsageError(lost_model(session.model), "Name a model with --model, or add it to "
                             "the configuration file (--help configuration).")
    target, notice = await first_target(settings, providers, front.choose_model, front.progress)
    for member in expanded(target, settings):
        providers.host(member.provider)    # refused now, and not when the question is saved already
    if lost:
        notice = replaced_model(session.model, target)
    return target, [notice] if notice else []


def has_limits(settings: Settings) -> bool:
    """Whether there is a limit on cost; without one, its modules are not loaded."""
    return (settings.max_cost, settings.max_cost_day, settings.max_cost_month) != (None, None, None)


def wants_tools(settings: Settings) -> bool:
    """Whether any setting asks for tools; without, their modules are not loaded."""
    servers = settings.mcp and (settings.mcp_servers or settings.mcp_config)
    return bool(settings.experimental or settings.experimental_websearch or settings.tools
                or settings.tools_file
                or servers)


def kept_tools(chat: Chat, started: Settings) -> list[str]:
    """The tools that only the continued session names."""
    return [name for name in chat.settings.tools if name not in started.tools]


def lost_tools(kept: Sequence[str]) -> list[str]:
    """A notice of the session's tools that are not available in this run."""
    from core.tools import is_tool
    lost = ", ".join(safe_line(name, 60) for name in kept if not is_tool(name))
    return [f"This session's tools that are not available here are left out: {lost}. "
            "--tools-file FILE loads tools of your own."] if lost else []


def open_toolbox(settings: Settings, session: Session, opened: OpenedStore,
                 kept: Sequence[str]) -> Toolbox:
    """The toolbox with the tools that this run offers to the model."""
    from core.setup.grants import SavedGrants
    from core.setup.tools import make_toolbox
    grants = (SavedGrants(os.path.join(data_directory(settings.environment), "grants.json"))
              if settings.save else None)
    return make_toolbox(settings, opened.store, session.id, place=store_place(settings),
                        grants=grants, kept=kept)


async def attach(settings: Settings, chat: Chat) -> None:
    """Attach the sources of --context and the files that the command line's question names as
    @path.

    Sources that cannot be attached are reported in the chat's news. If the user cannot be asked,
    ContextError is raised for a source that gave nothing, except with --context-optional.
    """
    await chat.bring_back()
    for value in settings.context:
        try:
            chat.news.extend(await chat.attach(value))
            _require_all(value, settings, chat)
        except ContextError as error:
            if not settings.context_optional:
                if "--context-optional" not in error.hint:
                    # a command keeps its line to itself: it can be copied
                    after = " " if error.hint.endswith((".", "?")) else "\n"
                    error.hint = f"{error.hint}{after}--context-optional asks without it.".lstrip()
                raise
            chat.news.append(error.message)
    chat.news.extend(await chat.attach_mentions(settings.prompt))


def _require_all(value: str, settings: Settings, chat: Chat) -> None:
    """Raise ContextError if a source gave nothing and the user cannot be asked."""
    if chat.front.agree is not None or settings.context_optional:
        return
    from core.context.sources import parse_context_arg
    absent = [source.name for source in parse_context_arg(value)
              if source.name not in chat.context.loaded]
    if absent:
        raise ContextError(f"Not sent: nothing could be attached from {', '.join(absent)}.",
                           "Correct that, or ask without it: --context-optional.")
