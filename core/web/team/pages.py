"""The page for a team: each member has their own page, over a shared database connection."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine, MutableMapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from core.config import Settings
from core.config.directories import cache_directory, temporary_directory
from core.dataclass import dataclass
from core.errors import ChatError, StoreError
from core.regex import regex
from core.sessions.recovery import recover_session
from core.setup.saved import store_place
from core.setup.store import OpenedStore
from core.store.accounts import Accounts
from core.store.postgres.news import News
from core.store.postgres.store import PostgresStore
from core.web.assets import Assets
from core.web.conversation.hub import Hub
from core.web.conversation.pace import Pace
from core.web.guard import Receive, Scope, Send, bounded, refuse, with_headers
from core.web.metrics import Metrics
from core.web.running import parts_of
from core.web.server import file_route, make_page
from core.web.team.gate import KNOWN_SECONDS, PAGES, Gate
from core.web.team.member_limits import settle
from core.web.team.neighbours import Neighbours, machine, user_of
from core.web.team.openid import OpenId
from core.web.team.openid_sign_in import OpenIdSignIn
from core.web.team.sign_in import SignIn, again
from core.web.team.stored_desks import StoredDesks, abandoned
from core.web.uploads import Uploads
from core.web.v1 import kept_answers

COMMON = ("/static/", "/signin", "/signout", "/healthz")
_OF_A_SESSION = regex(r"/api/sessions/([A-Za-z0-9_-]{1,64})(?:/.*)?")
LOOK_SECONDS = 1.0  # seconds between checks for processes that ended
IDLE_SECONDS = 3600.0  # seconds after which an inactive member's page is closed
POOLED = (
    "The database is behind a pool, which passes on no announcements: replies of other processes"
    " are read five times a second. --listen-url names PostgreSQL itself."
)
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Workspace:
    """A member's open conversations in this process."""

    page: Starlette
    hub: Hub
    desks: StoredDesks
    store: PostgresStore
    running: contextlib.AsyncExitStack
    used: float = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.hub.is_busy and self.used < time.monotonic() - IDLE_SECONDS

    async def take_over(self, session: str, program: str) -> None:
        """Finish a turn that an ended process left in a session. Raises ChatError."""
        left = self.desks.adopt(session, program)
        if not left.running and (left.held or not left.queue):
            return
        recover_session(self.store, session)
        await self.hub.take_over(session)


class Workspaces:
    """The workspaces of all recently active members."""

    def __init__(self, settings: Settings, store: PostgresStore) -> None:
        self._settings, self.store = settings, store
        self._open: dict[str, Workspace] = {}
        self._opening = asyncio.Lock()
        self._pace = Pace()     # one rate limit, since members share the processor
        folder = os.path.join(cache_directory(settings.environment), "page", machine())
        self.neighbours = Neighbours(folder, store.postgres.owner(),
                                     temporary_directory(settings.environment))
        self.news = News(settings.listen_url or store.postgres.server_url)

    async def of(self, member: str) -> Workspace:
        """Return a member's workspace, opening it if needed. Raises ChatError."""
        async with self._opening:
            workspace = self._open.get(member)
            if workspace is None:
                workspace = self._open[member] = await self._make(member)
        workspace.used = time.monotonic()
        return workspace

    async def _make(self, member: str) -> Workspace:
        settings = self._settings.replace(user=member)
        store = self.store.for_user(member)
        opened = OpenedStore(settings, store)
        folder = _folder_of(member)
        place = hashlib.sha256(store_place(settings).encode()).hexdigest()[:12]
        desks = StoredDesks(store.postgres, self.neighbours.reaches)
        uploads = Uploads(
            os.path.join(cache_directory(settings.environment), "uploads", place, folder)
        )
        follower = self.news.follower(store.postgres.owner())
        settling = partial(settle, uploads=uploads.folder)
        parts = parts_of(settings, opened, desks, settling, self._pace, follower)
        page = make_page(*parts, uploads)
        running = contextlib.AsyncExitStack()
        await running.enter_async_context(page.router.lifespan_context(page))
        return Workspace(page, parts[0], desks, store, running)

    def figures(self) -> dict[str, int]:
        """Return figures about what is running in this process."""
        hubs = [workspace.hub for workspace in self._open.values()]
        return {
            "members": len(hubs),
            "conversations": sum(hub.count for hub in hubs),
            "turns_running": sum(hub.running for hub in hubs),
            "listening": int(self.news.hears),
        }

    async def hear(self) -> None:
        """Follow what other processes write, as long as the server runs."""
        await self.news.run()
        print(POOLED, file=sys.stderr, flush=True)

    async def finish_left(self) -> None:
        """Finish turns left by ended processes, as long as the server runs."""
        while True:
            with contextlib.suppress(StoreError):  # tried again later
                for member, session, program in abandoned(self.store.postgres):
                    await self._take_over(member, session, program)
            await asyncio.sleep(LOOK_SECONDS)

    async def _take_over(self, member: str, session: str, program: str) -> None:
        try:
            workspace = await self.of(member)
            await workspace.take_over(session, program)
        except ChatError as error:
            log.info("session %s was not continued: %s", session, error.message)

    async def tend(self) -> None:
        """Close unused workspaces, as long as the server runs."""
        while True:
            await asyncio.sleep(60)
            for member, workspace in list(self._open.items()):
                if workspace.is_idle:
                    del self._open[member]
                    await workspace.running.aclose()

    async def close(self) -> None:
        opened, self._open = list(self._open.values()), {}
        await asyncio.gather(*(each.running.aclose() for each in opened), return_exceptions=True)


class TeamApp:
    """The complete application: handles signing in, and passes each request to its sender's page.
    """

    def __init__(
        self,
        gate: Gate,
        workspaces: Workspaces,
        metrics: Metrics,
        openid: OpenId | None = None,
    ) -> None:
        self._gate, self._workspaces, self._metrics = gate, workspaces, metrics
        self._answering = 0  # running requests except event streams
        assets = Assets()
        accounts = Accounts(workspaces.store.postgres)
        routes = [file_route(assets), Route("/healthz", _health)]
        sign_in = SignIn(gate, accounts, assets, openid.provider.shown if openid else "")
        routes += sign_in.routes()
        if openid is not None:
            secure = gate.address.scheme == "https"
            routes += OpenIdSignIn(openid, accounts, sign_in, secure=secure).routes()
        self._common = Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tending = [
            asyncio.create_task(self._workspaces.tend()),
            asyncio.create_task(self._workspaces.hear()),
            asyncio.create_task(self._workspaces.finish_left()),
            asyncio.create_task(self._workspaces.neighbours.listen(self._handed_over)),
        ]
        yield
        for task in tending:
            task.cancel()
        await asyncio.gather(*tending, return_exceptions=True)
        await self._workspaces.close()

    async def _handed_over(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Another process let its user in, and hands the request over."""
        if scope["type"] == "http":
            workspace = await self._workspaces.of(user_of(scope))
            await workspace.page(scope, receive, send)

    async def _page(self, user: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from here, or let the process answer in which something waits."""
        workspace = await self._workspaces.of(user)
        name = _held_name(scope)
        program = workspace.desks.holder(name) if name else ""
        pass_on = self._workspaces.neighbours.pass_on
        if not program or not await pass_on(program, user, scope, receive, send):
            await workspace.page(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._common(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        send = self._counted(send)
        if scope["path"] == "/metrics" and self._metrics.may_read(scope):
            figures = PlainTextResponse(self._metrics.text(self._workspaces.figures()))
            await figures(scope, receive, with_headers(send))
            return
        refusal = self._gate.foreign(scope)
        if refusal is not None:
            await refuse(send, *refusal)
            return
        await self._pass_on(scope, bounded(receive), with_headers(send))

    @property
    def is_busy(self) -> bool:
        """Whether a turn or a finite request is running."""
        return self._answering > 0 or self._workspaces.figures()["turns_running"] > 0

    async def _answer(
        self, user: str, scope: Scope, answering: Coroutine[None, None, None]
    ) -> None:
        if str(scope["path"]).endswith("/events"):
            await self._while_signed_in(user, scope, answering)
            return
        self._answering += 1
        try:
            await self._while_signed_in(user, scope, answering)
        finally:
            self._answering -= 1

    async def _while_signed_in(
        self, user: str, scope: Scope, answering: Coroutine[None, None, None]
    ) -> None:
        """Answer a request; an event stream ends when its user is signed out or removed."""
        task = asyncio.ensure_future(answering)
        try:
            while not (await asyncio.wait([task], timeout=KNOWN_SECONDS))[0]:
                with contextlib.suppress(StoreError):  # checked again later
                    if self._gate.user(scope) != user:
                        return
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        await task

    def _counted(self, send: Send) -> Send:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count(int(message["status"]))
            await send(message)

        return sending

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if self._gate.is_link(scope):
            await again(path)(scope, receive, send)
            return
        if path.startswith(COMMON):
            await self._common(scope, receive, send)
            return
        try:
            user = self._gate.user(scope)
            refusal = self._gate.refusal(scope, user) if user else None
            if not user:
                await _unknown(path)(scope, receive, send)
            elif refusal is not None:
                await refuse(send, *refusal)
            else:
                await self._answer(user, scope, self._page(user, scope, receive, send))
        except StoreError as error:
            await refuse(send, 503, error.message)
        except ChatError as error:
            await refuse(send, 500, error.message)


def _held_name(scope: Scope) -> str:
    """What a request is about that one process may have for itself; "" for nothing."""
    path = str(scope["path"])
    if path.startswith(kept_answers.PATH):
        return kept_answers.row_of(scope)
    found = _OF_A_SESSION.fullmatch(path)
    return found[1] if found else ""


def _unknown(path: str) -> Response:
    """Return the response for a sender who is not signed in."""
    if path in PAGES or path.startswith("/s/"):
        return RedirectResponse("/signin", 303)
    return PlainTextResponse("Sign in at /signin.\n", 401)


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _folder_of(member: str) -> str:
    return hashlib.sha256(member.encode()).hexdigest()[:24]
