"""Sign-in with an OpenID Connect provider: authorization code flow with PKCE, using Authlib."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from core.dataclass import dataclass, field
from core.errors import ChatError, UsageError

SECRET_VARIABLE = "STREAM_CHAT_OIDC_SECRET"
BACK = "/signin/back"  # the redirect path
LIFETIME = 600  # seconds to complete a sign-in
PATIENCE = 10.0  # timeout of each request to the provider, in seconds
FRESH_SECONDS = 3600.0  # seconds for which its addresses and keys are cached
LEEWAY = 60  # tolerated clock difference in seconds
# Signatures that only the provider can make: not "none", and not HS256, which could be forged with
# our secret or the provider's public key.
ALGORITHMS = tuple(f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)) + (
    "EdDSA",
)
log = logging.getLogger(__name__)


class OpenIdError(UsageError):
    """A failed sign-in; the message is shown on the page."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The configuration of the provider. `back` is the redirect address; `claim` is the claim with
    the member's name.
    """

    issuer: str
    client: str
    secret: str
    back: str
    claim: str = "email"
    domains: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    new_users: bool = False

    @property
    def claims(self) -> frozenset[str]:
        """The claims needed about a user."""
        return frozenset({self.claim, "email", *(("groups",) if self.groups else ())})

    @property
    def shown(self) -> str:
        return urlsplit(self.issuer).netloc


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in user: `subject` never changes, `name` is shown to users."""

    subject: str
    name: str


@dataclass(slots=True)
class OpenId:
    """A client of one provider. Its methods block and are called in threads."""

    provider: Provider
    _metadata: dict[str, Any] = field(default_factory=dict)
    _keys: Any = None
    _at: float = -FRESH_SECONDS
    _used: dict[str, float] = field(default_factory=dict)  # states already used

    def begin(self) -> tuple[str, str]:
        """Return the address to send the browser to, and the cookie value to bring back. Raises
        OpenIdError.
        """
        kept = {key: secrets.token_urlsafe(32) for key in ("state", "nonce", "verifier")}
        with _plain_errors(), self._session() as session:
            url, _ = session.create_authorization_url(
                self._endpoint("authorization_endpoint"),
                state=kept["state"],
                code_verifier=kept["verifier"],
                nonce=kept["nonce"],
            )
        text = json.dumps(kept | {"until": time.time() + LIFETIME})
        return str(url), urlsafe_b64encode(text.encode()).decode()

    def finish(self, query: Mapping[str, str], brought: str) -> Identity:
        """Return the user who came back. Raises OpenIdError."""
        kept = _kept(brought)
        self._take_state(kept, query.get("state", ""))
        if query.get("iss", self.provider.issuer).rstrip("/") != self.provider.issuer.rstrip("/"):
            raise OpenIdError("The response is from another provider.")
        if "code" not in query:
            reason = query.get("error", "no code")[:80]
            raise OpenIdError(f"The provider did not sign you in ({reason}).")
        with _plain_errors():
            claims = self._claims(query["code"], kept)
        return self._identity(claims)

    def _take_state(self, kept: Mapping[str, Any], state: str) -> None:
        """Accept a state only once, and only in the browser that began with it."""
        now = time.time()
        self._used = {each: until for each, until in self._used.items() if until > now}
        wanted = str(kept.get("state", ""))
        if not wanted or not hmac.compare_digest(wanted.encode(), state.encode()):
            raise OpenIdError("This sign-in was not started here.", "Begin again.")
        if float(kept["until"]) < now or wanted in self._used:
            raise OpenIdError("This sign-in has expired or was already used.", "Begin again.")
        self._used[wanted] = float(kept["until"])

    # ---- requests to the provider

    def _session(self) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        provider = self.provider
        return OAuth2Session(
            provider.client,
            provider.secret or None,
            scope="openid email profile" + (" groups" if provider.groups else ""),
            redirect_uri=provider.back,
            code_challenge_method="S256",
            token_endpoint_auth_method=_auth_method(self._known(), provider.secret),
            default_timeout=PATIENCE,
            leeway=0,  # the access token is used at once or never
        )

    def _claims(self, code: str, kept: Mapping[str, Any]) -> dict[str, Any]:
        with self._session() as session:
            token = session.fetch_token(
                self._endpoint("token_endpoint"),
                grant_type="authorization_code",
                code=code,
                code_verifier=kept["verifier"],
            )
            claims = self._checked(token, kept["nonce"])
            if self.provider.claims - claims.keys() and "userinfo_endpoint" in self._known():
                claims = {**self._more_claims(session, claims["sub"]), **claims}
        return claims

    def _more_claims(self, session: Any, subject: str) -> dict[str, Any]:
        answer = session.get(self._endpoint("userinfo_endpoint"))
        answer.raise_for_status()
        more: dict[str, Any] = answer.json()
        if more.get("sub") != subject:
            raise OpenIdError("The provider named two different users.")
        return more

    def _checked(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token after verifying its signature, issuer, audience and
        nonce.
        """
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError

        allowed = self._known().get("id_token_signing_alg_values_supported") or ["RS256"]
        algorithms = [name for name in ALGORITHMS if name in allowed]
        try:
            found = jwt.decode(token["id_token"], self._keys, algorithms=algorithms)
        except InvalidKeyIdError:  # the provider may have changed its keys
            self._ask()
            found = jwt.decode(token["id_token"], self._keys, algorithms=algorithms)
        rules = {
            "iss": {"essential": True, "value": self._known()["issuer"]},
            "aud": {"essential": True, "value": self.provider.client},
        }
        about = {
            "nonce": nonce,
            "client_id": self.provider.client,
            "access_token": token.get("access_token"),
        }
        claims = CodeIDToken(found.claims, found.header, rules, about)
        claims.validate(leeway=LEEWAY)
        return dict(claims)

    def _known(self) -> dict[str, Any]:
        if time.monotonic() - self._at > FRESH_SECONDS:
            self._ask()
        return self._metadata

    def _ask(self) -> None:
        """Read the provider's addresses and keys."""
        import requests
        from joserfc.jwk import KeySet

        def read(url: str) -> Any:
            answer = requests.get(url, timeout=PATIENCE, allow_redirects=False)
            answer.raise_for_status()
            return answer.json()

        issuer = self.provider.issuer
        metadata = read(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if str(metadata["issuer"]).rstrip("/") != issuer.rstrip("/"):
            raise OpenIdError("The provider reports another issuer.")
        self._metadata = metadata
        self._keys = KeySet.import_key_set(read(self._address(metadata["jwks_uri"])))
        self._at = time.monotonic()

    def _endpoint(self, name: str) -> str:
        return self._address(self._known()[name])

    def _address(self, url: str) -> str:
        """Return an address of the provider, which must use TLS if the provider does."""
        if urlsplit(url).scheme != urlsplit(self.provider.issuer).scheme:
            raise OpenIdError("An address of the provider is not secure.")
        return url

    # ---- who may sign in

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        provider = self.provider
        email = str(claims.get("email", "")).strip().lower()
        verified = claims.get("email_verified") is True
        name = email if provider.claim == "email" else str(claims.get(provider.claim, "")).strip()
        if not name:
            raise OpenIdError(f"The provider did not send {provider.claim} for you.")
        if (provider.domains or provider.claim == "email") and not verified:
            raise OpenIdError("The provider has not verified your email address.")
        mailbox, _, domain = email.partition("@")  # two @ never match a domain
        if provider.domains and (not mailbox or domain not in provider.domains):
            raise OpenIdError("Your email domain is not allowed to sign in here.")
        groups = claims.get("groups")
        of_them = set(map(str, groups)) if isinstance(groups, list) else set()
        if provider.groups and of_them.isdisjoint(provider.groups):
            raise OpenIdError("You are not in a group that may sign in here.")
        return Identity(f"{self._known()['issuer']} {claims['sub']}", name)


def _auth_method(metadata: Mapping[str, Any], secret: str) -> str:
    offered = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if not secret:
        return "none"
    return "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"


def _kept(brought: str) -> dict[str, Any]:
    """Return the data in the browser's cookie; empty if it is not ours."""
    try:
        found = json.loads(urlsafe_b64decode(brought.encode()))
    except ValueError:
        return {}
    wanted = {"state", "until", "nonce", "verifier"}
    return found if isinstance(found, dict) and wanted <= found.keys() else {}


class _plain_errors:
    """Converts errors of the provider to OpenIdError, and logs the details."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if problem is None or isinstance(problem, ChatError) or not isinstance(problem, Exception):
            return
        log.warning("OpenID provider: %s: %s", type(problem).__name__, problem)
        raise OpenIdError("The provider's answer is not valid, or it did not answer.") from problem
