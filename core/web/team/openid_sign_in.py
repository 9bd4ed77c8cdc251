"""The routes that send a browser to an OpenID provider and receive it back."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from core.errors import ChatError, UsageError
from core.store.accounts import Accounts
from core.web.team.openid import BACK, LIFETIME, OpenId
from core.web.team.sign_in import SignIn, again


class OpenIdSignIn:
    """The routes /signin/openid and /signin/back."""

    def __init__(
        self, openid: OpenId, accounts: Accounts, sign_in: SignIn, *, secure: bool
    ) -> None:
        self._openid, self._accounts, self._sign_in = openid, accounts, sign_in
        self._secure = secure
        self._cookie = "__Host-stream_chat_openid" if secure else "stream_chat_openid"

    def routes(self) -> list[Route]:
        return [
            Route("/signin/openid", self.begin, methods=["GET"]),
            Route(BACK, self.finish, methods=["GET"]),
        ]

    async def begin(self, request: Request) -> Response:
        try:
            address, kept = await asyncio.to_thread(self._openid.begin)
        except ChatError as error:
            return self._refused(error)
        response = RedirectResponse(address, 303)
        response.set_cookie(
            self._cookie,
            kept,
            max_age=LIFETIME,
            httponly=True,
            samesite="lax",  # the browser returns from another site
            secure=self._secure,
        )
        return response

    async def finish(self, request: Request) -> Response:
        brought = request.cookies.get(self._cookie, "")
        try:
            who = await asyncio.to_thread(self._openid.finish, dict(request.query_params), brought)
            new = self._openid.provider.new_users
            name = self._accounts.of_subject(who.subject, who.name, new=new)
            response = self._sign_in.enter(name, again("/"))
        except ChatError as error:
            response = self._refused(error)
        response.delete_cookie(self._cookie, httponly=True, samesite="lax", secure=self._secure)
        return response

    def _refused(self, error: ChatError) -> Response:
        status = 403 if isinstance(error, UsageError) else 502
        return self._sign_in.page(" ".join(filter(None, (error.message, error.hint))), "", status)
