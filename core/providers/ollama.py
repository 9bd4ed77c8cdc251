"""Ollama's own API: chat over POST /api/chat, models over /api/tags, /api/show, /api/pull, /api/ps
and /api/delete.

Facts (Ollama 0.3 to 0.33, recorded): one JSON object per line, the last has `done: true`; tool
calls arrive complete, also in the done line, with an object as arguments and often without an id;
`done_reason` is `stop` for them too; an error is `{"error": text}`, also inside a 200 stream, and
the text may itself be JSON. Chat uses the API directly; the ollama package shows, creates and
deletes models. It is not used for the list, since it drops the context length and the capabilities,
nor for pulling, since it reads lines of any length.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from core.config.network import is_loopback, unix_socket
from core.errors import ConnectFailed, ProviderError, StreamBroken
from core.events import Delta, PullProgress
from core.providers import Endpoint, ModelInfo, Request, dialect
from core.providers.embedding import checked_vectors
from core.providers.foreign import read_each
from core.providers.http.decoder import join_deltas
from core.providers.http.http1 import Client
from core.providers.http.transport import (ErrorMapper, exchange, fetch_json, open_client,
                                           read_json_lines)
from core.providers.ollama_errors import error_from
from core.providers.ollama_models import entries_of, model_info, not_ollama, pull_step, shown_info
from core.providers.ollama_reply import ReplyReader, is_content
from core.providers.ollama_request import chat_body
from core.providers.written import Beginnings
from core.regex import regex

if TYPE_CHECKING:
    import ollama as ollama_package

DEFAULT_PORT = 11434
_V1 = regex(r"/(v1|api)$")
START_HINT = ("Start it with `ollama serve`, name its address with OLLAMA_HOST, or try "
              "--provider demo.")
AWAY_HINT = "Check the address (OLLAMA_HOST or --base-url), or try --provider demo."


@dialect("ollama")
class Ollama:
    """A server that speaks Ollama's API; `endpoint.base_url` is its root, without /api."""

    lacks: frozenset[str] = frozenset()
    takes_any_thoughts = True      # reasoning of any model is plain text here

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client: Client | None = None
        self._beginnings = Beginnings()

    @staticmethod
    def read_address(text: str) -> str:
        """Return the base URL of an address in any form that Ollama's own programs accept."""
        return ollama_base_url(text)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        reader = ReplyReader(request)
        refused = functools.partial(error_from, model=request.model)
        body = chat_body(request, self._beginnings)
        try:
            async with (
                exchange(self._open(), self.endpoint, "/api/chat", body, refused) as response,
                contextlib.aclosing(read_json_lines(response, self.endpoint,
                                                    counts=is_content)) as batches,
            ):
                async for objects in batches:
                    for delta in join_deltas(reader.read(objects)):
                        yield delta
                    if reader.done:
                        return
            raise StreamBroken("Ollama's answer ended without its last line.")
        except ProviderError as error:
            for delta in reader.rest():
                yield delta
            raise _with_hint(reader.reason(error), self.endpoint)

    async def models(self) -> list[ModelInfo]:
        answer = await self._fetch("/api/tags")
        return await read_each(entries_of(answer, "models"), model_info)

    async def check(self) -> str:
        answer = await self._fetch("/api/version")
        version = answer.get("version") if isinstance(answer, dict) else None
        return f"Ollama {version or '(version unknown)'} at {self.endpoint.base_url}"

    def advice(self, said: str, model: str, window: int | None) -> AsyncGenerator[str, None]:
        from core.providers.ollama_advice import when_up
        return when_up(self, said, model, window)

    def advice_when_down(self, wanted: str, usual: str) -> AsyncGenerator[str, None]:
        from core.providers.ollama_advice import when_down
        return when_down(self.endpoint.base_url, wanted,
                         Ollama(Endpoint(usual, connect_timeout=0.5)))

    async def show(self, model: str) -> ModelInfo:
        async with self._package(model) as package:
            answer = await package.show(model)
        return shown_info(model, answer.model_dump())

    async def running(self) -> list[ModelInfo]:
        """List the loaded models; their context window is the one they were loaded with."""
        answer = await self._fetch("/api/ps")
        return await read_each(entries_of(answer, "models"), model_info)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Compute embeddings. The server cuts texts longer than the model's window (`truncate`)."""
        body = {"model": model, "input": list(texts), "truncate": True}
        answer = await self._fetch("/api/embed", body, functools.partial(error_from, model=model))
        return checked_vectors(answer.get("embeddings") if isinstance(answer, dict) else None,
                               len(texts), model)

    async def delete(self, model: str) -> None:
        async with self._package(model) as package:
            await package.delete(model)

    async def create(self, model: str, base: str, files: Sequence[str], adapters: Sequence[str],
                     fields: Mapping[str, Any]) -> AsyncGenerator[PullProgress, None]:
        """Create a model from a Modelfile's fields; weights and adapters are uploaded first."""
        status = ""
        async with self._package(model) as package:
            sent = {os.path.basename(path): await package.create_blob(path) for path in files}
            adapted = {os.path.basename(path): await package.create_blob(path) for path in adapters}
            made = await package.create(model, from_=base or None, files=sent or None,
                                        adapters=adapted or None, stream=True, **fields)
            lines = cast("AsyncGenerator[ollama_package.ProgressResponse, None]", made)
            async with contextlib.aclosing(lines):
                async for line in lines:
                    status = line.status or ""
                    yield PullProgress(status, line.completed or 0, line.total or 0)
        if status != "success":
            raise StreamBroken(f"Ollama stopped creating {model} before it was complete.")

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        """Download a model. Raises for an error inside the stream and for an end without `success`.
        """
        status = ""
        refused = functools.partial(error_from, model=model)
        try:
            async with (
                exchange(self._open(), self.endpoint, "/api/pull", {"model": model, "stream": True},
                         refused) as response,
                contextlib.aclosing(read_json_lines(response, self.endpoint)) as batches,
            ):
                async for objects in batches:
                    for line in objects:
                        step = pull_step(line, self.endpoint.base_url, refused)
                        status = step.status
                        yield step
        except (ConnectFailed, StreamBroken) as problem:
            if not status:
                raise _with_hint(problem, self.endpoint)
            raise _unfinished(model) from problem
        if status != "success":
            raise _unfinished(model)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> Client:
        if self._client is None:
            self._client = open_client(self.endpoint, _authorization(self.endpoint))
        return self._client

    async def _fetch(self, path: str, body: Any = None, refused: ErrorMapper | None = None) -> Any:
        try:
            return await fetch_json(self._open(), self.endpoint, path, refused or error_from,
                                    body=body)
        except ProviderError as error:
            raise _with_hint(error, self.endpoint)

    @contextlib.asynccontextmanager
    async def _package(self, model: str = "") -> AsyncGenerator[ollama_package.AsyncClient, None]:
        """Yield the ollama package's client, and translate its exceptions.

        It would send OLLAMA_API_KEY to any host, so we set the key.
        """
        import httpx
        import ollama as package

        def sign(request: httpx.Request) -> httpx.Request:
            request.headers.pop("authorization", None)
            request.headers.update(_authorization(self.endpoint))
            if self.endpoint.sent is not None:
                body = None     # do not record a model file
                with contextlib.suppress(httpx.RequestNotRead):
                    body = request.content
                self.endpoint.sent.note(self.endpoint.host, request.method, str(request.url), body,
                                        with_key=self.endpoint.key is not None)
            return request

        named = unix_socket(self.endpoint.base_url)
        client = package.AsyncClient(
            f"http://localhost{named[1]}" if named else self.endpoint.base_url, auth=sign,
            transport=httpx.AsyncHTTPTransport(uds=named[0]) if named else None,
            follow_redirects=False, trust_env=not is_loopback(self.endpoint.base_url),
            timeout=httpx.Timeout(self.endpoint.idle_timeout,
                                  connect=self.endpoint.connect_timeout))
        where = self.endpoint.base_url
        try:
            yield client
        except package.ResponseError as problem:
            status = problem.status_code if problem.status_code > 0 else 200
            raise error_from(status, {}, str(problem.error).encode(), model=model) from problem
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as problem:
            raise ConnectFailed(f"No connection to {where}.", _hint(self.endpoint)) from problem
        except httpx.HTTPError as problem:
            raise ConnectFailed(f"The connection to {where} broke off: "
                                f"{problem or type(problem).__name__}.") from problem
        except (ValueError, TypeError, AttributeError, httpx.InvalidURL) as problem:
            raise not_ollama(where) from problem
        finally:
            # not annotated in the package
            await client.close()  # type: ignore[no-untyped-call]


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    return {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


def _hint(endpoint: Endpoint) -> str:
    return START_HINT if is_loopback(endpoint.base_url) else AWAY_HINT


def _with_hint(error: ProviderError, endpoint: Endpoint) -> ProviderError:
    """Add a hint how to start the server if it is not reachable."""
    if isinstance(error, ConnectFailed) and not error.hint:
        error.hint = _hint(endpoint)
    return error


def _unfinished(model: str) -> StreamBroken:
    return StreamBroken(f"Ollama stopped downloading {model} before it was complete.",
                        "Pull it again: the download resumes where it stopped.")


def ollama_base_url(text: str | None) -> str:
    """Return the base URL in OLLAMA_HOST, parsed like Ollama's envconfig.Host.

    In addition, 0.0.0.0 and :: (a server's "all addresses") become loopback, and a trailing /v1 or
    /api is dropped.
    """
    text = (text or "").strip().strip("\"'").strip()
    if text[:6].lower() == "unix:/":
        return _V1.sub("", text.rstrip("/"))
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("https", "ollama.com:443") if text == "ollama.com" else ("http", text)
    scheme = scheme.lower()
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    host, port = _split_host(authority, default)
    path = _V1.sub("", (slash + path).rstrip("/"))
    return f"{scheme}://{_client_host(host)}:{port}{path}"


def _split_host(authority: str, default: int) -> tuple[str, int]:
    bare = authority.strip("[]")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(bare)), default
    host, colon, port = authority.rpartition(":")
    if not colon:
        return authority, default
    host = host.strip("[]")
    return host, int(port) if port.isascii() and port.isdigit() and int(port) <= 65535 else default


def _client_host(host: str) -> str:
    """Return the host for a client: 0.0.0.0 and "" mean this machine; IPv6 addresses get brackets.
    """
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
