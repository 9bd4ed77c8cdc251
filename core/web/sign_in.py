"""The pages on which a member of a team signs in and out."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from core.web.assets import Assets
from core.web.attempts import Attempts, Checker
from core.web.gate import COOKIE, Gate
from core.web.tickets import LIFETIME, make_ticket

MOST_FORM = 4096  # bytes of what is sent to sign in
WRONG = "Name or password is wrong."


class SignIn:
    """The routes /signin and /signout. `hash_of` gives the password hash of an account, "" for
    none."""

    def __init__(self, gate: Gate, hash_of: Callable[[str], str], assets: Assets) -> None:
        self._gate, self._hash_of, self._assets = gate, hash_of, assets
        self._attempts, self._checker = Attempts(), Checker()

    def routes(self) -> list[Route]:
        return [
            Route("/signin", self.show, methods=["GET"]),
            Route("/signin", self.sign_in, methods=["POST"]),
            Route("/signout", self.sign_out, methods=["GET", "POST"]),
        ]

    async def show(self, request: Request) -> Response:
        return self._page("")

    async def sign_in(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MOST_FORM:
            return PlainTextResponse("That is too long to be a password.\n", 413)
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        name, password = (fields.get(key, [""])[0] for key in ("name", "password"))
        keys = (f"name {name}", f"address {self._gate.from_address(request.scope)}")
        wait = self._attempts.wait(*keys)
        if wait > 0:
            return self._page(f"Too many tries. Wait {wait:.0f} seconds.", name, 429)
        self._attempts.failed(*keys)  # until it is known better: tries at the same time count too
        found = self._hash_of(name)
        if not await self._checker.check(found, password):
            return self._page(WRONG, name, 403)
        self._attempts.succeeded(*keys)
        self._gate.forget(name)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            make_ticket(name, found),
            max_age=LIFETIME,
            httponly=True,
            samesite="strict",
            secure=self._gate.address.scheme == "https",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        response = RedirectResponse("/signin", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    def _page(self, said: str, name: str = "", status: int = 200) -> Response:
        page = self._assets.signin.replace("[[said]]", escape(said))
        return HTMLResponse(page.replace("[[name]]", escape(name)), status)
