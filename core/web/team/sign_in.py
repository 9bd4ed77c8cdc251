"""The pages for signing in and out."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from core.store.accounts import Accounts
from core.web.assets import Assets
from core.web.team.attempts import Attempts, Checker
from core.web.team.gate import COOKIE, Gate
from core.web.team.tickets import LIFETIME, make_ticket

MOST_FORM = 4096  # bytes of a sign-in form
WRONG = "Name or password is wrong."
OTHERS = '<p class="or"><a class="button" href="/signin/openid">Sign in at {}</a></p>'
# Without a referrer at all, browsers send a form's origin as "null", which could be any page.
FORM_HEADERS = {"referrer-policy": "same-origin"}
AGAIN = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Stream Chat</title>'
    '<meta http-equiv="refresh" content="0;url={0}"><p><a href="{0}">Stream Chat</a></p></html>'
)


def again(path: str) -> HTMLResponse:
    """Return a page that redirects to another one. A request from another site's link carries no
    cookie of ours, but the redirected one does.
    """
    return HTMLResponse(AGAIN.format(escape(path)))


class SignIn:
    """The routes /signin and /signout. `provider` names an OpenID provider for signing in; "" for
    none.
    """

    def __init__(self, gate: Gate, accounts: Accounts, assets: Assets, provider: str = "") -> None:
        self._gate, self._accounts, self._assets = gate, accounts, assets
        self._attempts, self._checker = Attempts(), Checker()
        self._others = OTHERS.format(escape(provider)) if provider else ""

    def routes(self) -> list[Route]:
        return [
            Route("/signin", self.show, methods=["GET"]),
            Route("/signin", self.sign_in, methods=["POST"]),
            Route("/signout", self.show_sign_out, methods=["GET"]),
            Route("/signout", self.sign_out, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        return self.page("")

    async def sign_in(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MOST_FORM:
            return PlainTextResponse("The password is too long.\n", 413)
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        name, password = (fields.get(key, [""])[0] for key in ("name", "password"))
        keys = (f"name {name}", f"address {self._gate.from_address(request.scope)}")
        wait = self._attempts.wait(*keys)
        if wait > 0:
            return self.page(f"Too many attempts. Wait {wait:.0f} seconds.", name, 429)
        self._attempts.failed(*keys)  # before the check: concurrent attempts count too
        if not await self._checker.check(self._accounts.hash_of(name), password):
            return self.page(WRONG, name, 403)
        self._attempts.succeeded(*keys)
        return self.enter(name, RedirectResponse("/", 303))

    def enter(self, name: str, response: Response) -> Response:
        """Set the sign-in cookie in this response."""
        self._gate.forget(name)
        response.set_cookie(
            COOKIE,
            make_ticket(name, self._accounts.key_of(name)),
            max_age=LIFETIME,
            httponly=True,
            samesite="strict",
            secure=self._gate.address.scheme == "https",
        )
        return response

    async def show_sign_out(self, request: Request) -> Response:
        name = self._gate.user(request.scope)
        if not name:
            return RedirectResponse("/signin", 303)
        page = self._assets.signout.replace("[[name]]", escape(name))
        return HTMLResponse(page, headers=FORM_HEADERS)

    async def sign_out(self, request: Request) -> Response:
        """Sign out this browser; with `everywhere` in the form, all browsers."""
        body = await request.body()
        name = self._gate.user(request.scope)
        if name and b"everywhere" in body[:MOST_FORM]:
            self._accounts.sign_out(name)
            self._gate.forget(name)
        response = RedirectResponse("/signin", 303)
        response.delete_cookie(
            COOKIE,
            httponly=True,
            samesite="strict",
            secure=self._gate.address.scheme == "https",
        )
        return response

    def page(self, said: str, name: str = "", status: int = 200) -> Response:
        page = self._assets.signin.replace("[[said]]", escape(said))
        page = page.replace("[[others]]", self._others)
        return HTMLResponse(page.replace("[[name]]", escape(name)), status, FORM_HEADERS)
