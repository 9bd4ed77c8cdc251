"""An OpenID provider on loopback: discovery, keys, sign-in without questions, signed tokens. It can
be told to do one thing wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "stream-chat", "the page's secret"


class FakeProvider:
    """`user` is who signs in; `wrong` names what is wrong with the next token."""

    def __init__(self) -> None:
        self.user: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.wrong = ""
        self.asked: dict[str, str] = {}  # the last authorization request
        self._codes: dict[str, dict[str, str]] = {}
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def change_keys(self) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})

    def sign_in(self, url: str) -> str:
        """What the browser of `user` is sent to after an authorization request."""
        self.asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = secrets.token_urlsafe(8)
        self._codes[code] = self.asked
        back = {"code": code, "state": self.asked["state"]}
        if self.wrong == "another issuer in the answer":
            back["iss"] = "https://evil.example"
        return f"{self.asked['redirect_uri']}?{urlencode(back)}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """None for a request that is refused."""
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge:
            return None
        scheme, _, given = authorization.partition(" ")
        client, _, secret = base64.b64decode(given).decode().partition(":")
        if scheme != "Basic" or (client, unquote_plus(secret)) != (CLIENT, SECRET):
            return None
        return {
            "access_token": "access",
            "token_type": "Bearer",
            "expires_in": 60,
            "id_token": self._id_token(asked["nonce"]),
        }

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "sub": "1",
        } | self.user
        match self.wrong:
            case "audience":
                claims["aud"] = "another-page"
            case "two audiences":
                claims["aud"], claims["azp"] = [CLIENT, "other"], "other"
            case "issuer":
                claims["iss"] = "https://evil.example"
            case "expired":
                claims["exp"] = now - 3600
            case "from the future":
                claims["iat"] = claims["nbf"] = now + 3600
            case "nonce":
                claims["nonce"] = "of another sign-in"
            case "no nonce":
                del claims["nonce"]
            case "no subject":
                del claims["sub"]
            case "access token of another":
                claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA"
        header = {"alg": "RS256", "kid": self._key.kid}
        if self.wrong == "alg none":
            return ".".join((_packed({"alg": "none"}), _packed(claims), ""))
        if self.wrong == "signed with our secret":
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
        if self.wrong == "signed with the public key":
            public = OctKey.import_key(self._key.as_pem(private=False))
            return jwt.encode({"alg": "HS256", "kid": self._key.kid}, claims, public)
        if self.wrong == "signed by another":
            other = RSAKey.generate_key(2048, {"kid": self._key.kid})
            return jwt.encode(header, claims, other)
        token = jwt.encode(header, claims, self._key)
        if self.wrong == "changed":
            head, _, seal = token.split(".")
            return ".".join((head, _packed(claims | {"email": "eve@example.org"}), seal))
        return token

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": "https://evil.example" if self.wrong == "metadata" else self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [self._key.as_dict(private=False)]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path == "/authorize":
                    self.send_response(302)
                    self.send_header("location", provider.sign_in(self.path))
                    self.send_header("content-length", "0")
                    self.end_headers()
                elif path == "/.well-known/openid-configuration":
                    self.answer(provider.metadata())
                elif path == "/link":
                    self.page(f'<a href="{self.path.partition("=")[2]}">The chat</a>')
                elif path == "/keys":
                    self.answer(provider.keys())
                else:
                    self.answer({"sub": provider.user.get("sub", "1")} | provider.userinfo)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                found = provider.token(form, self.headers.get("authorization", ""))
                self.answer(found or {"error": "invalid_grant"}, 200 if found else 400)

            def answer(self, body: Any, status: int = 200) -> None:
                self.send(json.dumps(body), "application/json", status)

            def page(self, body: str) -> None:
                self.send(body, "text/html", 200)

            def send(self, body: str, media: str, status: int) -> None:
                data = body.encode()
                self.send_response(status)
                self.send_header("content-type", media)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        return Handler


def _packed(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
