"""Puts the page together from the settings and serves it."""

from __future__ import annotations

import hashlib
import os
import secrets
import webbrowser

from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import Settings, cache_directory
from core.dataclass import replace
from core.setup.chat import open_chat
from core.setup.saved import store_place
from core.setup.store import OpenedStore
from core.web.desk import Desks
from core.web.first_run import FirstRun
from core.web.hub import Hub
from core.web.openai_api import OpenAiApi
from core.web.provider_api import ProviderApi
from core.web.server import HOST, Door, announce, bind, kept_secret, make_app, serve, web_folder
from core.web.shared import Shared
from core.web.uploads import Uploads

TOKEN_VARIABLE = "STREAM_CHAT_WEB_TOKEN"


def serve_page(settings: Settings) -> int:
    """Serve the page until it is told to end; returns the exit code. Raises UsageError and StoreError."""
    listener = bind(settings.port)
    opened = OpenedStore(settings)
    folder = web_folder(settings) if settings.save else ""

    shared = Shared(settings)
    first = FirstRun(shared)

    async def opening(name: str | None, front: Front) -> Chat:
        """What flags say is for new sessions: the server is started with the same ones every day."""
        asking = replace(front, choose_model=first.choose_model)
        return await open_chat(shared.settings, opened, opened.open_session(name), asking, own_first=name is not None)

    try:
        door = Door(f"stream_chat_{settings.port}", kept_secret(folder), secrets.token_urlsafe(24))
        kept = hashlib.sha256(store_place(settings).encode()).hexdigest()[:12]      # one folder for each database
        desks = Desks(os.path.join(folder, kept) if folder else "")
        hub = Hub(opening, desks)
        shared.followers.append(hub.renew)
        token = settings.environment.get(TOKEN_VARIABLE, "").strip()
        providers = ProviderApi(shared, opened.store)
        uploads = Uploads(os.path.join(cache_directory(settings.environment), "uploads", kept))
        programs = OpenAiApi(shared, opened.open_session)
        app = make_app(hub, opened.store, providers, programs, first, door, uploads=uploads, port=settings.port,
                       token=token)
        announce(settings.port, door.link)
        if settings.open:
            webbrowser.open(f"http://{HOST}:{settings.port}/open?token={door.link}")
        serve(app, listener)
    finally:
        listener.close()
        opened.close()
    return 0
