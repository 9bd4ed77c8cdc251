"""Puts the page together from the settings and serves it."""

from __future__ import annotations

import os
import webbrowser
import secrets

from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import Settings, cache_directory
from core.model_manager import Providers
from core.setup.chat import open_chat
from core.setup.store import OpenedStore
from core.web.desk import Desks
from core.web.hub import Hub
from core.web.openai_api import OpenAiApi
from core.web.provider_api import ProviderApi
from core.web.server import HOST, Door, announce, bind, kept_secret, make_app, serve, web_folder
from core.web.uploads import Uploads

TOKEN_VARIABLE = "STREAM_CHAT_WEB_TOKEN"


def serve_page(settings: Settings) -> int:
    """Serve the page until it is told to end; returns the exit code. Raises UsageError and StoreError."""
    listener = bind(settings.port)
    opened = OpenedStore(settings)
    folder = web_folder(settings) if settings.save else ""

    async def opening(name: str | None, front: Front) -> Chat:
        return await open_chat(settings, opened, opened.open_session(name), front)

    try:
        door = Door(f"stream_chat_{settings.port}", kept_secret(folder), secrets.token_urlsafe(24))
        hub = Hub(opening, Desks(os.path.join(folder, "desks") if folder else ""))
        token = settings.environment.get(TOKEN_VARIABLE, "").strip()
        providers = ProviderApi(settings, Providers(settings), opened.store)
        uploads = Uploads(os.path.join(cache_directory(settings.environment), "uploads"))
        programs = OpenAiApi(settings, Providers(settings), opened.open_session)
        app = make_app(hub, opened.store, providers, programs, door, uploads=uploads, port=settings.port, token=token)
        announce(settings.port, door.link)
        if settings.open:
            webbrowser.open(f"http://{HOST}:{settings.port}/open?token={door.link}")
        serve(app, listener)
    finally:
        listener.close()
        opened.close()
    return 0
