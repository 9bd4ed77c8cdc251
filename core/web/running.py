"""Builds the page from the settings and serves it."""

from __future__ import annotations

import hashlib
import os
import secrets
import webbrowser
from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route

from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import Settings
from core.config.directories import cache_directory
from core.dataclass import replace
from core.session_manager import Session
from core.setup.chat import open_chat
from core.setup.saved import store_place
from core.setup.store import OpenedStore
from core.web.conversation.desk import Desks
from core.web.conversation.hub import Hub
from core.web.conversation.pace import Pace
from core.web.conversation.watching import Polling, Watch
from core.web.providers.api import ProviderApi
from core.web.providers.first_run import FirstRun
from core.web.server import (HOST, Door, announce, bind, kept_secret, make_app, make_page, serve,
                             web_folder)
from core.web.shared import Shared
from core.web.uploads import Uploads
from core.web.v1.openai_api import OpenAiApi
from db import Store

TOKEN_VARIABLE = "STREAM_CHAT_WEB_TOKEN"


def serve_page(settings: Settings) -> int:
    """Serve the page until it is stopped; return the exit code.

    Raises UsageError and StoreError.
    """
    listener = bind(settings.port)
    opened = OpenedStore(settings)
    folder = web_folder(settings) if settings.save else ""
    try:
        door = Door(f"stream_chat_{settings.port}", kept_secret(folder), secrets.token_urlsafe(24))
        # one folder per database
        kept = hashlib.sha256(store_place(settings).encode()).hexdigest()[:12]
        desks = Desks(os.path.join(folder, kept) if folder else "")
        uploads = Uploads(os.path.join(cache_directory(settings.environment), "uploads", kept))
        token = settings.environment.get(TOKEN_VARIABLE, "").strip()
        app = make_app(partial(page_of, settings, opened, desks, uploads), door, port=settings.port,
                       token=token)
        announce(settings.port, door.link)
        if settings.open:
            webbrowser.open(f"http://{HOST}:{settings.port}/open?token={door.link}")
        serve(app, listener)
    finally:
        listener.close()
        opened.close()
    return 0


def page_of(settings: Settings, opened: OpenedStore, desks: Desks, uploads: Uploads,
            *more: Route) -> Starlette:
    """Return the page of one user, whose sessions are in `opened`."""
    return make_page(*parts_of(settings, opened, desks), uploads, *more)


def parts_of(settings: Settings, opened: OpenedStore, desks: Desks,
             settle: Callable[[Session], None] = lambda session: None,
             pace: Pace | None = None, watch: Watch | None = None,
             ) -> tuple[Hub, Store | None, ProviderApi, OpenAiApi, FirstRun]:
    """Return the components of a page.

    `settle` is called with each session before a chat is opened on it; `pace` is the process's rate
    limit, `watch` detects other programs' writes.
    """
    shared = Shared(settings)
    first = FirstRun(shared)

    async def opening(name: str | None, front: Front) -> Chat:
        """Open a chat. Command line flags apply only to new sessions, since the server is always
        started with the same ones.
        """
        asking = replace(front, choose_model=first.choose_model)
        session = opened.open_session(name)
        settle(session)
        # the browser's clipboard, not one where the server runs
        chosen = shared.settings if name is not None else await first.for_new_session()
        settings = chosen.replace(clipboard="osc52")
        return await open_chat(settings, opened, session, asking, own_first=name is not None)

    hub = Hub(opening, desks, pace or Pace(), watch or Polling(opened.store))
    shared.followers.append(hub.renew)
    return (hub, opened.store, ProviderApi(shared, opened.store),
            OpenAiApi(shared, opened.open_session, desks), first)
