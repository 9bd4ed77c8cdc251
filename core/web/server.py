"""Serves the page: binds the address, prints the sign-in link, and runs until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.config import Settings
from core.config.directories import data_directory
from core.dataclass import dataclass
from core.errors import UsageError
from core.web.api import Api
from core.web.assets import Assets
from core.web.conversation.hub import Hub
from core.web.guard import App, Guard
from core.web.providers.api import ProviderApi
from core.web.providers.first_run import FirstRun
from core.web.session_api import SessionApi
from core.web.upkeep import tend
from core.web.uploads import Uploads
from core.web.v1.openai_api import OpenAiApi
from core.web.v1.responses_api import ResponsesApi
from db import Store

HOST = "127.0.0.1"
FOREVER = "public, max-age=31536000, immutable"
SIGNED_IN = ('<!doctype html><html lang="en"><meta charset="utf-8"><title>Stream Chat</title>'
             '<meta http-equiv="refresh" content="0;url=/"><p><a href="/">Stream '
             'Chat</a></p></html>')
USED = "This link has been used. Start the program again for a new one."


@dataclass(slots=True)
class Door:
    """The one-time sign-in link. `secret` is the value of the cookie that it sets."""

    cookie: str
    secret: str
    link: str

    def take(self, given: str) -> bool:
        """Return whether this is the link's token, and invalidate it."""
        known = bool(self.link) and secrets.compare_digest(given.encode(), self.link.encode())
        if known:
            self.link = ""
        return known


def make_page(hub: Hub, store: Store | None, providers: ProviderApi, programs: OpenAiApi,
              first: FirstRun, uploads: Uploads, *more: Route) -> Starlette:
    """Return the application behind the sign-in: everything one user sees, plus `more` routes."""
    assets, api, sessions = Assets(), Api(hub, uploads), SessionApi(hub, store)

    async def page(request: Request) -> Response:
        return HTMLResponse(assets.page)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tending = [asyncio.create_task(hub.tend()), asyncio.create_task(hub.watch()),
                   asyncio.create_task(tend(hub.desks, uploads, store))]
        await hub.resume()
        yield
        for task in tending:
            task.cancel()
        await hub.close()
        await programs.close()
        await providers.close()

    pages = [Route(path, page) for path in ("/", "/s/{session}", "/providers", "/numbers")]
    routes = [*pages, file_route(assets), Route("/healthz", health), *more, *api.routes(),
              *sessions.routes(), *providers.routes(), *programs.routes(),
              *ResponsesApi(programs).routes(), *first.routes()]
    return Starlette(routes=routes, lifespan=lifespan)


def file_route(assets: Assets) -> Route:
    """Return the route of the page's own files."""
    async def file(request: Request) -> Response:
        asset = assets.files.get(str(request.path_params["name"]))
        if asset is None:
            return PlainTextResponse("File not found.\n", 404)
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"cache-control": FOREVER, "vary": "accept-encoding"}
        if packed:
            headers["content-encoding"] = "gzip"
        return Response(asset.packed if packed else asset.body, headers=headers,
                        media_type=asset.media_type)
    return Route("/static/{name}", file)


def make_app(page: Callable[[Route], Starlette], door: Door, *, port: int, token: str) -> App:
    """Return the guarded page of one user on this computer.

    `page` builds it with the route of the sign-in link.
    """
    async def enter(request: Request) -> Response:
        if not door.take(request.query_params.get("token", "")):
            return PlainTextResponse(USED + "\n", 403)
        response = HTMLResponse(SIGNED_IN)
        response.set_cookie(door.cookie, door.secret, max_age=365 * 86_400, httponly=True,
                            samesite="strict")
        return response

    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    return Guard(page(Route("/open", enter)), hosts=hosts, cookie=door.cookie, secret=door.secret,
                 token=token)


def bind(port: int, host: str = HOST) -> socket.socket:
    """Return the listening socket. Raises UsageError if the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)  # listen now, so that an early request waits instead of failing
    except OSError as problem:
        listener.close()
        raise UsageError(f"Port {port} of {host} cannot be used: {problem.strerror}.",
                         "Is the page already running? --port N chooses another port.") from problem
    return listener


def kept_secret(folder: str) -> str:
    """Return the cookie's value, which survives restarts if it can be stored."""
    path = os.path.join(folder, "secret")
    try:
        with open(path, encoding="ascii") as file:
            found = file.read().strip()
        if len(found) >= 32:
            return found
    except (OSError, ValueError):
        pass
    made = secrets.token_urlsafe(32)
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(made)
    return made


class _Server(uvicorn.Server):
    """A server that on stopping accepts no new connections and waits while `is_busy`, at most
    `drain` seconds.
    """

    is_busy: Callable[[], bool] = staticmethod(lambda: False)
    drain = 0.0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in (*self.servers, *(sockets or ())):
            each.close()
        end = time.monotonic() + self.drain
        while self.is_busy() and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.1)
        await super().shutdown(sockets)


def serve(app: App, listener: socket.socket, tls: tuple[str, str] | None = None, *,
          is_busy: Callable[[], bool] = lambda: False, drain: float = 0.0) -> None:
    """Run until SIGINT or SIGTERM, then while `is_busy`, at most `drain` seconds.

    `tls` are the files of the certificate and its key.
    """
    certificate, key = tls or (None, None)
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on",
                            server_header=False,
                            timeout_graceful_shutdown=2, http="h11", ws="none", proxy_headers=False,
                            ssl_certfile=certificate, ssl_keyfile=key)
    server = _Server(config)
    server.is_busy, server.drain = is_busy, drain
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def web_folder(settings: Settings) -> str:
    return os.path.join(data_directory(settings.environment), "web")


def announce(port: int, link: str) -> None:
    print(f"Stream Chat is at http://{HOST}:{port}/open?token={link}", file=sys.stderr, flush=True)
