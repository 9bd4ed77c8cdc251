"""Ollama's own API: chat over POST /api/chat, models over /api/tags, /api/show, /api/pull, /api/ps and /api/delete.

Facts (Ollama 0.3 to 0.33, recorded): one JSON object a line, the last has `done: true`; tool calls come whole, also in
the done line, with an object as arguments and often without an id; `done_reason` is `stop` for them too; an error is
`{"error": text}`, also inside a 200 stream, and the text may itself be JSON. Chat is spoken directly; the ollama package
shows, pulls and deletes models. It is not used for the list: it drops the context length and the capabilities.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from core.errors import (AuthFailed, BadRequest, BadResponse, ConnectFailed, ContextTooLong, ModelNotFound, Overloaded,
                         ProviderError, QuotaExhausted, RateLimited, StreamBroken, Unsupported)
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Finish, Image, Message, ToolCall, Usage
from core.providers import Endpoint, ModelInfo, Options, PullProgress, Request, dialect
from core.providers.embedding import checked_vectors
from core.providers.transport import (ErrorMapper, exchange, fetch_json, is_loopback, join_deltas, open_client, plausible_count,
                                      read_json_lines, retry_after)

if TYPE_CHECKING:
    import httpx2
    import ollama as ollama_package

DEFAULT_PORT = 11434
TOP_LEVEL = frozenset({"think", "format", "keep_alive", "truncate", "shift", "logprobs", "top_logprobs"})
START_HINT = "Start it with `ollama serve`, name its address with OLLAMA_HOST, or try --provider demo."
AWAY_HINT = "Check the address (OLLAMA_HOST or --base-url), or try --provider demo."


@dialect("ollama")
class Ollama:
    """A server that speaks Ollama's API; `endpoint.base_url` is its root, without /api."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client: httpx2.AsyncClient | None = None

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        reader = ReplyReader(request)
        refused = functools.partial(error_from, model=request.model)
        try:
            async with (
                exchange(self._open(), self.endpoint, "/api/chat", chat_body(request), refused) as response,
                contextlib.aclosing(read_json_lines(response, self.endpoint, counts=is_content)) as batches,
            ):
                async for objects in batches:
                    for delta in join_deltas(reader.read(objects)):
                        yield delta
                    if reader.done:
                        return
            raise StreamBroken("Ollama ended the answer without its last line.")
        except ProviderError as error:
            for delta in reader.rest():
                yield delta
            raise _with_hint(error, self.endpoint)

    async def models(self) -> list[ModelInfo]:
        answer = await self._fetch("/api/tags")
        return [model_info(entry) for entry in _entries(answer, "models")]

    async def check(self) -> str:
        answer = await self._fetch("/api/version")
        version = answer.get("version") if isinstance(answer, dict) else None
        return f"Ollama {version or '(version unknown)'} at {self.endpoint.base_url}"

    async def show(self, model: str) -> ModelInfo:
        async with self._package(model) as package:
            answer = await package.show(model)
        return shown_info(model, answer.model_dump())

    async def running(self) -> list[ModelInfo]:
        """The loaded models; their context window is the one they were loaded with."""
        answer = await self._fetch("/api/ps")
        return [model_info(entry) for entry in _entries(answer, "models")]

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """What is longer than the model's window is cut by the server (`truncate`)."""
        body = {"model": model, "input": list(texts), "truncate": True}
        answer = await self._fetch("/api/embed", body, functools.partial(error_from, model=model))
        return checked_vectors(answer.get("embeddings") if isinstance(answer, dict) else None, len(texts), model)

    async def delete(self, model: str) -> None:
        async with self._package(model) as package:
            await package.delete(model)

    async def create(self, model: str, base: str, files: Sequence[str], adapters: Sequence[str],
                     fields: Mapping[str, Any]) -> AsyncGenerator[PullProgress, None]:
        """Make a model of what a Modelfile says; weights and adapters are uploaded first."""
        status = ""
        async with self._package(model) as package:
            sent = {os.path.basename(path): await package.create_blob(path) for path in files}
            adapted = {os.path.basename(path): await package.create_blob(path) for path in adapters}
            lines = cast("AsyncGenerator[ollama_package.ProgressResponse, None]", await package.create(
                model, from_=base or None, files=sent or None, adapters=adapted or None, stream=True, **fields))
            async with contextlib.aclosing(lines):
                async for line in lines:
                    status = line.status or ""
                    yield PullProgress(status, line.completed or 0, line.total or 0)
        if status != "success":
            raise StreamBroken(f"Ollama stopped making {model} before it was done.")

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        """Fetch a model. An error inside the stream raises; so does an end without `success`."""
        status = ""
        try:
            async with self._package(model) as package:
                lines = cast("AsyncGenerator[ollama_package.ProgressResponse, None]", await package.pull(model, stream=True))
                async with contextlib.aclosing(lines):
                    async for line in lines:
                        status = line.status or ""
                        yield PullProgress(status, line.completed or 0, line.total or 0, line.digest or "")
        except ConnectFailed as problem:
            if not status:
                raise
            raise _unfinished(model) from problem
        if status != "success":
            raise _unfinished(model)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = open_client(self.endpoint, _authorization(self.endpoint))
        return self._client

    async def _fetch(self, path: str, body: Any = None, refused: ErrorMapper | None = None) -> Any:
        try:
            return await fetch_json(self._open(), self.endpoint, path, refused or error_from, body=body)
        except ProviderError as error:
            raise _with_hint(error, self.endpoint)

    @contextlib.asynccontextmanager
    async def _package(self, model: str = "") -> AsyncGenerator[ollama_package.AsyncClient, None]:
        """The ollama package's client, and its failures as ours. It would send OLLAMA_API_KEY to any host, so we set the key."""
        import httpx
        import ollama as package

        def sign(request: httpx.Request) -> httpx.Request:
            request.headers.pop("authorization", None)
            request.headers.update(_authorization(self.endpoint))
            return request

        client = package.AsyncClient(
            self.endpoint.base_url, auth=sign, follow_redirects=False, trust_env=not is_loopback(self.endpoint.base_url),
            timeout=httpx.Timeout(self.endpoint.idle_timeout, connect=self.endpoint.connect_timeout))
        where = self.endpoint.base_url
        try:
            yield client
        except package.ResponseError as problem:
            status = problem.status_code if problem.status_code > 0 else 200
            raise error_from(status, {}, str(problem.error).encode(), model=model) from problem
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as problem:
            raise ConnectFailed(f"No connection to {where}.", _hint(self.endpoint)) from problem
        except httpx.HTTPError as problem:
            raise ConnectFailed(f"The connection to {where} broke off: {problem or type(problem).__name__}.") from problem
        except (ValueError, TypeError, AttributeError, httpx.InvalidURL) as problem:
            raise _not_ollama(where) from problem
        finally:
            await client.close()  # type: ignore[no-untyped-call]  # the package does not annotate it


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    return {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


def _hint(endpoint: Endpoint) -> str:
    return START_HINT if is_loopback(endpoint.base_url) else AWAY_HINT


def _with_hint(error: ProviderError, endpoint: Endpoint) -> ProviderError:
    """Say how to start the server when nobody answers."""
    if isinstance(error, ConnectFailed) and not error.hint:
        error.hint = _hint(endpoint)
    return error


def _unfinished(model: str) -> StreamBroken:
    return StreamBroken(f"Ollama stopped fetching {model} before it was whole.", "Pull it again: it goes on where it stopped.")


# ---- where the server is

def ollama_base_url(text: str | None) -> str:
    """The base URL in OLLAMA_HOST, read as Ollama's envconfig.Host reads it, for a client.

    Beyond Ollama: 0.0.0.0 and :: (all addresses, for a server) become loopback, and a trailing /v1 or /api is dropped.
    """
    text = (text or "").strip().strip("\"'").strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("https", "ollama.com:443") if text == "ollama.com" else ("http", text)
    scheme = scheme.lower()
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    host, port = _split_host(authority, default)
    path = re.sub(r"/(v1|api)$", "", (slash + path).rstrip("/"))
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
    """0.0.0.0 and nothing mean this machine; IPv6 addresses get their brackets."""
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


# ---- ours -> theirs

def chat_body(request: Request) -> dict[str, Any]:
    """The body of POST /api/chat. `truncate: false` makes newer servers refuse a prompt that is too long instead of cutting it."""
    messages = [wire for message in request.messages for wire in chat_messages(message)]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True, "truncate": False}
    if request.tools:
        body["tools"] = [{"type": "function", "function": {"name": tool.name, "description": tool.description,
                                                           "parameters": dict(tool.parameters)}} for tool in request.tools]
    return body | chat_options(request.options)


def chat_messages(message: Message) -> list[dict[str, Any]]:
    """One of our messages as Ollama's: tool results become a message each."""
    if message.role == "tool":
        return [{"role": "tool", "content": result.content, "tool_name": result.name, "tool_call_id": result.id}
                for result in message.tool_results]
    wire: dict[str, Any] = {"role": message.role, "content": message.text}
    images = [part.data for part in message.parts if isinstance(part, Image)]
    if images:
        wire["images"] = images
    if message.role == "assistant":
        if message.thinking:
            wire["thinking"] = message.thinking
        if message.tool_calls:
            wire["tool_calls"] = [_wire_call(call) for call in message.tool_calls]
    return [wire]


def _wire_call(call: ToolCall) -> dict[str, Any]:
    """A string as arguments would be refused, so a call that was no JSON object goes back without any."""
    return {"id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}


def chat_options(options: Options) -> dict[str, Any]:
    """Sampling goes under `options`; what concerns the answer as a whole stands beside it. `raw` wins."""
    sampling = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed,
                "num_predict": options.max_tokens, "num_ctx": options.num_ctx, "stop": list(options.stop) or None}
    whole = {"think": _think(options.think), "keep_alive": _keep_alive(options.keep_alive),
             "format": _format(options.response_format)}
    raw = dict(options.raw)
    nested = raw.pop("options", None)
    raw.pop("stream", None)
    whole |= {name: raw.pop(name) for name in list(raw) if name in TOP_LEVEL}
    sampling |= dict(nested) if isinstance(nested, Mapping) else {}
    sampling |= raw
    body = {name: value for name, value in whole.items() if value is not None}
    kept = {name: value for name, value in sampling.items() if value is not None}
    return body | ({"options": kept} if kept else {})


def _think(value: bool | str | None) -> bool | str | None:
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _keep_alive(value: str | None) -> str | int | None:
    """A bare number is seconds, which Ollama takes only as a number ("-1" would lack a unit)."""
    return int(value) if value is not None and re.fullmatch(r"-?\d{1,12}", value) else value


def _format(value: Any) -> Any:
    """"json", a JSON Schema, or OpenAI's response_format around either."""
    match value:
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema
        case {"type": "text"} | "text":
            return None
    return value


# ---- theirs -> ours

def is_content(value: Any) -> bool:
    """False for a line that only shows that the server lives."""
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, dict) or value.get("done"):
        return bool(value)
    return bool(message.get("content") or message.get("thinking") or message.get("tool_calls"))


class ReplyReader:
    """The objects of one reply -> deltas. `done` is set by the last line; `rest()` gives what was held back for a tag."""

    def __init__(self, request: Request) -> None:
        self.done = False
        self._begun = False
        self._model = request.model
        self._used = {call.id for message in request.messages for call in message.tool_calls}
        self._calls = 0
        self._split: ThinkTags | None = ThinkTags()

    def read(self, objects: Iterable[Any]) -> Iterator[Delta]:
        for value in objects:
            if self.done:
                return
            if not isinstance(value, dict):
                raise _not_ollama("The server")
            if "error" in value:
                yield from self.rest()
                raise self._broken(value)
            try:
                yield from self._line(value)
            except (AttributeError, TypeError, ValueError) as problem:
                raise _not_ollama("The server") from problem

    def rest(self) -> list[Delta]:
        held = self._split.close() if self._split else []
        self._split = None
        return held

    def _line(self, value: Mapping[str, Any]) -> Iterator[Delta]:
        message = value.get("message") or {}
        thinking = _string(message.get("thinking"))
        if thinking:
            self._split, self._begun = None, True
            yield ThinkingDelta(thinking)
        content = _string(message.get("content"))
        if content:
            self._begun = True
            if self._split is None:
                yield TextDelta(content)
            else:
                yield from self._tagged(content)
        for call in message.get("tool_calls") or ():
            yield from self.rest()
            self._begun = True
            yield self._call(call)
        if value.get("done"):
            self.done = True
            yield from self.rest()
            yield usage_of(value)
            yield Finished(*_finish(value, calls=self._calls))

    def _tagged(self, content: str) -> Iterator[Delta]:
        assert self._split is not None
        yield from self._split.feed(content)
        if self._split.over:
            self._split = None

    def _call(self, call: Any) -> ToolCallDelta:
        function = call.get("function") or {}
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments is not None else ""
        index, self._calls = self._calls, self._calls + 1
        return ToolCallDelta(index, _string(call.get("id")) or self._new_id(), _string(function.get("name")), text)

    def _new_id(self) -> str:
        """Servers of 2025 give none; ours is new in the conversation."""
        number = len(self._used)
        while f"call_{number}" in self._used:
            number += 1
        self._used.add(f"call_{number}")
        return f"call_{number}"

    def _broken(self, value: Mapping[str, Any]) -> ProviderError:
        error = error_from(200, {}, json.dumps(value).encode(), model=self._model)
        return StreamBroken(error.message, error.hint, cause=error) if self._begun else error


class ThinkTags:
    """Older servers leave <think>...</think> in the content. At the very start it is reasoning; elsewhere it is text.

    White space around the tags belongs to them. `over` is set when all that follows is text.
    """

    OPEN, CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._read = self._before

    @property
    def over(self) -> bool:
        return self._read == self._text

    def feed(self, text: str) -> list[Delta]:
        held, self._held = self._held + text, ""
        return self._read(held)

    def close(self) -> list[Delta]:
        """What was held back as the possible start of a tag."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [TextDelta(held) if self._read == self._before else ThinkingDelta(held)]

    def _before(self, text: str) -> list[Delta]:
        start = text.lstrip()
        if start.startswith(self.OPEN):
            self._read = self._opened
            return self._read(start[len(self.OPEN):])
        if self.OPEN.startswith(start):
            self._held = text
            return []
        self._read = self._text
        return [TextDelta(text)]

    def _opened(self, text: str) -> list[Delta]:
        text = text.lstrip()
        if not text:
            return []
        self._read = self._inside
        return self._read(text)

    def _inside(self, text: str) -> list[Delta]:
        thought, closed, after = text.partition(self.CLOSE)
        if not closed:
            keep = _overlap(text, self.CLOSE)
            thought, self._held = text[:len(text) - keep], text[len(text) - keep:]
        deltas: list[Delta] = [ThinkingDelta(thought)] if thought else []
        if closed:
            self._read = self._after
            deltas += self._read(after)
        return deltas

    def _after(self, text: str) -> list[Delta]:
        text = text.lstrip()
        if not text:
            return []
        self._read = self._text
        return [TextDelta(text)]

    def _text(self, text: str) -> list[Delta]:
        return [TextDelta(text)] if text else []


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the start of `tag`."""
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:size])), 0)


def _string(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value or ""


def usage_of(value: Mapping[str, Any]) -> Usage:
    """The done line's counts. A missing prompt_eval_count (a cached prompt) is unknown, not 0. Durations are nanoseconds."""
    details = {name: count for name, count in value.items()
               if name.endswith("_duration") and plausible_count(count) is not None}
    came, went, cached = (plausible_count(value.get(name))
                          for name in ("prompt_eval_count", "eval_count", "prompt_eval_cached_count"))
    return Usage(came, went, cached, details or None)


def _finish(value: Mapping[str, Any], *, calls: int) -> tuple[Finish, str]:
    reason = str(value.get("done_reason") or "")
    if reason == "length":
        return "length", reason
    return ("tool_calls" if calls else "stop"), reason


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """One model of /api/tags or /api/ps."""
    details = entry.get("details") or {}
    capabilities = entry.get("capabilities")
    return ModelInfo(
        name=entry.get("name") or entry.get("model") or "",
        context_window=entry.get("context_length") or details.get("context_length"),
        size=entry.get("size"),
        capabilities=None if capabilities is None else frozenset(capabilities),
        details={name: value for name, value in details.items() if value},
    )


def shown_info(model: str, answer: Mapping[str, Any]) -> ModelInfo:
    """/api/show: the window is <architecture>.context_length; num_ctx in the Modelfile's parameters is what gets loaded."""
    facts = answer.get("modelinfo") or answer.get("model_info") or {}
    capabilities = answer.get("capabilities")
    details = {name: value for name, value in (answer.get("details") or {}).items() if value}
    loaded = re.search(r"^num_ctx\s+(\d{1,12})\s*$", answer.get("parameters") or "", re.MULTILINE)
    if loaded:
        details["num_ctx"] = int(loaded[1])
    return ModelInfo(
        name=model,
        context_window=facts.get(f"{facts.get('general.architecture')}.context_length"),
        capabilities=None if capabilities is None else frozenset(capabilities),
        details=details,
    )


def _entries(answer: Any, name: str) -> Sequence[Mapping[str, Any]]:
    entries = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise _not_ollama("The server")
    return [entry for entry in entries if isinstance(entry, dict)]


# ---- their errors -> ours

def _not_ollama(who: str) -> BadResponse:
    return BadResponse(f"{who} did not answer as an Ollama server does.", "Check OLLAMA_HOST or --base-url.")


def error_from(status: int, headers: Mapping[str, str], content: bytes, *, model: str = "") -> ProviderError:
    """The error in an answer, or in a line of a 200 stream (`status` 200)."""
    text, facts = _error_text(content)
    known = _known_error(text, facts, status, model)
    if known is not None:
        return known
    said = f"Ollama refused the request: {text}" if text else f"Ollama refused the request (status {status})."
    wait = _delay(headers, text)
    match status:
        case 401:
            return AuthFailed(said, "Set OLLAMA_API_KEY, or use `ollama signin`.", status=status)
        case 403:
            return AuthFailed(said, "Ollama refuses host names that it does not know: use localhost or its address.",
                              status=status)
        case 429:
            if wait is None and re.search(r"\b(weekly|upgrade|quota)\b", text):
                return QuotaExhausted(said, status=status)
            return RateLimited(said, retry_after=wait, status=status)
        case _ if status >= 500 or status in (200, 408, 409, 425):   # the latter are a proxy's before it
            failed = f"Ollama failed: {text}" if text else f"Ollama failed (status {status})."
            return Overloaded(failed, "Its log (`ollama serve`) has the reason.", retry_after=wait, status=status)
        case 404:
            return ProviderError(f"{said}", "Is it an Ollama server? Check OLLAMA_HOST or --base-url.", status=status)
    return BadRequest(said, status=status)


def _delay(headers: Mapping[str, str], text: str) -> float | None:
    """Seconds until the next attempt, from the header or from the words."""
    from core.providers.errors_http import spoken_delay
    given = retry_after(headers)
    return spoken_delay(text) if given is None else given


def _error_text(content: bytes) -> tuple[str, Mapping[str, Any]]:
    """The words of an error, and the innermost object they stood in: {"error": "{\\"error\\": {...}}"} happens."""
    facts: Mapping[str, Any] = {}
    value: Any = content.decode("utf-8", "replace").strip()
    for _ in range(5):
        if isinstance(value, str) and value.startswith("{"):
            try:
                value = json.loads(value)
            except ValueError:
                break
        elif isinstance(value, dict):
            facts = value
            value = value.get("error", value.get("message", ""))
        else:
            break
    return (value if isinstance(value, str) else json.dumps(value))[:1000], facts


def _known_error(text: str, facts: Mapping[str, Any], status: int, model: str) -> ProviderError | None:
    """Errors that are known by their words: the status does not tell them apart."""
    if "n_ctx" in facts or re.search(r"exceed\w* (the|the available|max|maximum) context|prompt too long", text):
        return ContextTooLong(f"The prompt is too long for {model or 'the model'}: {text}",
                              "/ctx 32k (or --num-ctx 32768) widens the window, /compact summarises what is older.",
                              limit=facts.get("n_ctx"), needed=facts.get("n_prompt_tokens"), status=status)
    if status == 404 and "not found" in text and "page not found" not in text or "file does not exist" in text:
        return ModelNotFound(f"Ollama has no model '{model}'." if model else f"Ollama: {text}.",
                             f"Fetch it with `ollama pull {model}`, or see --list-models." if model else "", status=status)
    feature = _unsupported(text)
    if feature:
        return Unsupported(f"{model or 'The model'} does not support {feature}.", _WITHOUT.get(feature, ""), feature=feature,
                           status=status)
    if re.search(r"requires more system memory|out of memory", text):
        return ProviderError(f"Ollama cannot load {model or 'the model'}: {text}.",
                             "Take a smaller model or a smaller --num-ctx.", status=status)
    return None


_WITHOUT = {"tools": "Take a model with tools, or switch the tools off.", "thinking": "Take a model that thinks, or --think off.",
            "vision": "Take a model that sees images."}


def _unsupported(text: str) -> str:
    found = re.search(r"does not support ([a-z]+)", text)
    word = found[1] if found else ""
    if word.startswith("image") or word in ("vision", "multimodal") or "image input is not supported" in text:
        return "vision"
    if "think value" in text:
        return "thinking"
    return word
