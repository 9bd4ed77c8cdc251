"""Opens a chat for any front end: session, model, tools and what is attached."""

from __future__ import annotations

import os

from core.chat.conversation import Chat
from core.chat.front import Front
from core.chat.kept import with_kept
from core.config import Settings
from core.config.directories import data_directory
from core.errors import ContextError
from core.model_manager import Providers, Target, expanded, parse_target
from core.providers.parameters import check_flags
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
    """A chat that continues `session`. What its user should know is in `news` of the chat.

    `own_first`: the session's own model and options go before flags. Raises ChatError when the
    settings cannot be used as they are.
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
        return open_toolbox(chat.settings, chat.session, opened)

    chat = Chat(settings, session, providers, target, open_session=opened.open_session, front=front,
                make_toolbox=make_toolbox, started=started)
    if wants_tools(settings):
        chat.toolbox = make_toolbox()
    chat.news.extend([*notices, *waiting, *([] if own_first else said)])
    return chat


async def choose_target(settings: Settings, session: Session, providers: Providers,
                        front: Front, flags: frozenset[str]) -> tuple[Target, list[str]]:
    """The model that answers first, and what to say about it."""
    if settings.modelfile is not None:
        from core.models.making import make_model
        target = await make_model(settings.modelfile, settings, providers, front.progress)
        return target, [f"{target} is made of {settings.modelfile}."]
    if session.model and not flags & NAMES_A_MODEL:
        return parse_target(session.model, known=settings.providers), []
    target, notice = await first_target(settings, providers, front.choose_model, front.progress)
    for member in expanded(target, settings):
        providers.host(member.provider)    # refused now, and not when the question is saved already
    return target, [notice] if notice else []


def has_limits(settings: Settings) -> bool:
    """Whether there is a limit on cost: without, nothing of it is loaded."""
    return (settings.max_cost, settings.max_cost_day, settings.max_cost_month) != (None, None, None)


def wants_tools(settings: Settings) -> bool:
    """Whether anything asks for tools: without, nothing of them is loaded."""
    servers = settings.mcp and (settings.mcp_servers or settings.mcp_config)
    return bool(settings.experimental or settings.experimental_websearch or settings.tools
                or settings.tools_file
                or servers)


def open_toolbox(settings: Settings, session: Session, opened: OpenedStore) -> Toolbox:
    """The tools that this run offers to the model."""
    from core.setup.grants import SavedGrants
    from core.setup.tools import make_toolbox
    grants = (SavedGrants(os.path.join(data_directory(settings.environment), "grants.json"))
              if settings.save else None)
    return make_toolbox(settings, opened.store, session.id, place=store_place(settings),
                        grants=grants)


async def attach(settings: Settings, chat: Chat) -> None:
    """Attach what --context names, and the files that the words on the command line name as @path.

    What could not be attached is added to the chat's news. Raises ContextError when a source
    gave nothing at all and nobody can be asked, unless --context-optional says that the question
    is to be asked all the same.
    """
    await chat.bring_back()
    for value in settings.context:
        try:
            chat.news.extend(await chat.attach(value))
            _require_all(value, settings, chat)
        except ContextError as error:
            if not settings.context_optional:
                error.hint = f"{error.hint} --context-optional asks without it.".lstrip()
                raise
            chat.news.append(error.message)
    chat.news.extend(await chat.attach_mentions(settings.prompt))


def _require_all(value: str, settings: Settings, chat: Chat) -> None:
    """Where nobody is asked, each source that was named must have given something."""
    if chat.front.agree is not None or settings.context_optional:
        return
    from core.context.sources import parse_context_arg
    absent = [source.name for source in parse_context_arg(value)
              if source.name not in chat.context.loaded]
    if absent:
        raise ContextError(f"Not asked: nothing could be attached of {', '.join(absent)}.",
                           "Correct that, or ask without it: --context-optional.")
