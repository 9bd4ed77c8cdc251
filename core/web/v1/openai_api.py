"""The OpenAI-compatible API: other programs use our models with our fallbacks, and their chats are
saved.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.chat.conversation import RESUMES
from core.chat.turn import run_chat_turn
from core.dataclass import dataclass, field
from core.errors import ChatError, UsageError, unexpected
from core.events import (Event, MessageAdded, ModelChanged, Notice, TextDelta, ThinkingDelta,
                         ToolRequested, is_refusal)
from core.messages import Message
from core.model_manager import Target, build_model_list, fallbacks_of, find_target
from core.models.fallback import Chain, chain_of, respond_with_fallbacks
from core.models.health import list_models, set_up
from core.providers import CanEmbed, Request, load_dialect
from core.providers.from_settings import options_of
from core.providers.openai import OpenAI
from core.session_manager import Session
from core.stats.turn_numbers import TurnNumbers, measured
from core.web.api import body_of
from core.web.conversation.desk import Desks
from core.web.shared import Shared
from core.web.v1 import openai_form as form
from core.web.v1.kept_answers import KeptAnswers

# an ID or name of a session, "new", or "off" to save nothing
SESSION_HEADER = "x-stream-chat-session"
REMEMBERED = 1000  # conversations whose session is found again by their content
Handler = Callable[[HttpRequest], Awaitable[Response]]
OpenSession = Callable[[str | None], Session]


@dataclass(slots=True)
class Call:
    """One request of a program: the messages, the model and the session to save in."""

    chain: Chain
    target: Target
    request: Request
    session: Session
    identity: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")


class OpenAiApi:
    """The routes under /v1. `open_session` gives the session of a name, or a new one for None;
    `desks` say which process has an answer that is resumed.
    """

    def __init__(self, shared: Shared, open_session: OpenSession, desks: Desks) -> None:
        self._shared, self._open_session = shared, open_session
        shared.followers.append(self._drop_chains)
        # one per model, which remembers resting models
        self._chains: dict[Target, Chain] = {}
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self.kept = KeptAnswers(desks)

    def routes(self) -> list[Route]:
        rows: list[tuple[str, str, Handler]] = [
            ("GET", "/v1/models", self.models), ("GET", "/v1/models/{name:path}", self.model),
            ("POST", "/v1/chat/completions", self.chat),
            ("POST", "/v1/embeddings", self.embeddings),
            *((method, path, handler) for path in ("/v1/stream", "/v1/stream/{name}")
              for method, handler in (("GET", self.kept.resume), ("DELETE", self.kept.stop)))]
        return [Route(path, answering(handler), methods=[method]) for method, path, handler in rows]

    async def close(self) -> None:
        await self.kept.close()
        await self._drop_chains()

    async def _drop_chains(self) -> None:
        chains, self._chains = self._chains, {}
        for chain in chains.values():
            await chain.close()

    async def models(self, request: HttpRequest) -> Response:
        others = [name for name in set_up(self._shared.providers)
                  if not self._is_itself(name, request)]
        listed = await list_models(self._shared.providers, others)
        rows = [_model_row(Target(entry.provider, info.name)) for entry in listed
                for info in entry.models]
        return JSONResponse({"object": "list", "data": rows})

    def _is_itself(self, name: str, request: HttpRequest) -> bool:
        """Return whether this provider is this server itself, which would call itself endlessly."""
        try:
            address = self._shared.providers.asked(name).endpoint.base_url
        except ChatError:       # its errors show in its model list
            return False
        return urlsplit(address).netloc == request.url.netloc

    async def model(self, request: HttpRequest) -> Response:
        return JSONResponse(_model_row(self._target(str(request.path_params["name"]))))

    async def embeddings(self, request: HttpRequest) -> Response:
        body = await body_of(request)
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if (not isinstance(texts, list) or not texts
            or not all(isinstance(text, str) for text in texts)):
            raise UsageError("input must be text or a list of texts.")
        target = self._target(str(body.get("model") or ""))
        provider = self._shared.providers.open(target.provider)
        if not isinstance(provider, CanEmbed):
            raise UsageError(f"{target.provider} does not provide embeddings.")
        vectors = await provider.embed(target.model, texts)
        packed = body.get("encoding_format") == "base64"
        rows = [form.vector_row(place, vector, packed=packed)
                for place, vector in enumerate(vectors)]
        return JSONResponse({"object": "list", "data": rows, "model": str(target),
                             "usage": {"prompt_tokens": 0, "total_tokens": 0}})

    async def chat(self, request: HttpRequest) -> Response:
        body = await body_of(request)
        if body.get("n") not in (None, 1):
            raise UsageError("Only one reply per request is supported (n = 1).")
        call = self.open_call(body, request.headers.get(SESSION_HEADER, ""))
        headers = {SESSION_HEADER: call.session.id if call.session.store is not None else "off"}
        events = self.ask(call)
        if not body.get("stream"):
            return JSONResponse(await _whole(call, events), headers=headers)
        options = body.get("stream_options")
        counted = isinstance(options, dict) and bool(options.get("include_usage"))
        return await self.kept.respond(request, _streamed(call, events, counted=counted), headers)

    # ---- asking

    def _target(self, name: str) -> Target:
        first = build_model_list(self._shared.settings)[0]
        return (find_target(name, self._shared.settings, first.provider)
                if name and name != "default" else first)

    def open_call(self, body: dict[str, Any], named: str) -> Call:
        """Read a request; `named` is the header that names a session.

        Raises UsageError.
        """
        target = self._target(str(body.get("model") or ""))
        messages = form.messages_of(body)
        passed_on = _speaks_it(self._shared.providers.host(target.provider).dialect)
        options = form.options_of(body, options_of(self._shared.settings),
                                  passed_on=passed_on)
        request = Request(target.model, tuple(messages), None, form.tools_of(body), options)
        if target not in self._chains:
            others = fallbacks_of(target, self._shared.settings)
            self._chains[target] = chain_of(self._shared.settings, self._shared.providers, target,
                                            others)
        return Call(self._chains[target], target, request, self._session(messages, named))

    def _session(self, messages: Sequence[Message], named: str) -> Session:
        """Return the session to save in: the named one, the one with the same beginning, or a new
        one.

        Raises UsageError if the named one does not exist.
        """
        if named == "off" or not self._shared.settings.save:
            return Session(None)
        said = [message for message in messages if message.role != "system"]
        last = max((place for place, message in enumerate(said) if message.role == "assistant"),
                   default=-1)
        found = (named if named not in ("", "new")
                 else self._sessions.get(_key(said[:last + 1])) if not named else None)
        session = self._open_session(found)
        for message in said[last + 1:] if found else said:
            session.add_user(message) if message.role == "user" else session.add_reply(message)
        return session

    async def ask(self, call: Call) -> AsyncGenerator[Event, None]:
        """Yield the events of one reply, each saved before it is yielded."""
        try:
            async with aclosing(call.session.begin_turn()) as notices:
                async for notice in notices:
                    yield notice
            call.session.set_model(str(call.target))
            respond = partial(respond_with_fallbacks, call.chain)
            turn = run_chat_turn(respond, call.request, None, model=str(call.target), rounds=0,
                                 resumes=RESUMES if self._shared.settings.resume else 0)
            numbers = TurnNumbers(call.target, call.chain, self._shared.providers)
            async with aclosing(measured(call.session.record(turn, str(call.target)), numbers,
                                         call.session)) as events:
                async for event in events:
                    yield event
            self._remember(call)
        finally:
            call.session.close()

    def _remember(self, call: Call) -> None:
        if call.session.store is not None:
            added = call.session.messages[-1:]
            said = [message for message in call.request.messages if message.role != "system"]
            self._sessions[_key([*said, *added])] = call.session.id
            while len(self._sessions) > REMEMBERED:
                self._sessions.popitem(last=False)


def _speaks_it(dialect: str) -> bool:
    """Return whether a provider accepts this request format itself, and so may know fields that we
    do not.
    """
    factory = load_dialect(dialect)
    return isinstance(factory, type) and issubclass(factory, OpenAI)


def _key(messages: Sequence[Message]) -> str:
    """Return a key to find a conversation again: its texts and calls in order."""
    said = [(message.role, message.text, [call.id for call in message.tool_calls])
            for message in messages]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


# ---- replies

async def begun_events(events: AsyncGenerator[Event, None]) -> list[Event]:
    """Return the events up to the first content, so that an earlier error can still set the HTTP
    status.
    """
    begun: list[Event] = []
    async for event in events:
        begun.append(event)
        if isinstance(event, (TextDelta, ThinkingDelta, ToolRequested, MessageAdded)):
            break
    return begun


async def _whole(call: Call, events: AsyncGenerator[Event, None]) -> dict[str, Any]:
    """Return the reply as one object; parts of a continued reply are joined."""
    text, thinking, refusal = "", "", ""
    calls: list[dict[str, Any]] = []
    replies: list[Message] = []
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(text=more, extra=extra) if is_refusal(extra):
                    refusal += more
                case TextDelta(text=more):
                    text += more
                case ThinkingDelta(text=more):
                    thinking += more
                case ToolRequested(requested):
                    calls.append(form.call_row(requested))
                case MessageAdded(message):
                    replies.append(message)
    message_row: dict[str, Any] = {"role": "assistant", "content": text or None,
                                   "refusal": refusal or None}
    message_row |= (({"tool_calls": calls} if calls else {})
                    | ({"reasoning_content": thinking} if thinking else {}))
    choice = {"index": 0, "message": message_row, "logprobs": None,
              "finish_reason": form.reason_of(replies[-1].finish)}
    return {**form.head(call.identity, replies[-1].model or str(call.target), "chat.completion"),
            "choices": [choice],
            "usage": form.usage_row([reply.usage for reply in replies if reply.usage is not None])}


async def _streamed(call: Call, events: AsyncGenerator[Event, None], *,
                    counted: bool) -> AsyncGenerator[bytes, None]:
    """Yield the reply as server-sent events; an error in the middle becomes the last event.

    Raises an error that occurs before the first content.
    """
    model, replies, calls = str(call.target), list[Message](), 0
    begun = await begun_events(events)
    try:
        async with aclosing(events):
            yield _line(form.chunk(call.identity, model, {"role": "assistant", "content": ""}))
            async for event in joined_events(begun, events):
                match event:
                    case ModelChanged(new=new):
                        model = new
                    case Notice(text):
                        yield f": {' '.join(text.split())}\n\n".encode()
                    case MessageAdded(message):
                        replies.append(message)
                    case ToolRequested(requested):
                        row = {"index": calls, **form.call_row(requested)}
                        yield _line(form.chunk(call.identity, model, {"tool_calls": [row]}))
                        calls += 1
                    case TextDelta() | ThinkingDelta() if event.text:
                        yield _line(form.chunk(call.identity, model, {_field(event): event.text}))
    except ChatError as error:
        yield _line(form.error_row(error))
        return
    except Exception as problem:
        yield _line(form.error_row(unexpected(problem)))
        return
    yield _line(form.chunk(call.identity, model, {}, form.reason_of(replies[-1].finish)))
    if counted:
        usages = [reply.usage for reply in replies if reply.usage is not None]
        last = form.head(call.identity, model, "chat.completion.chunk")
        yield _line({**last, "choices": [], "usage": form.usage_row(usages)})
    yield b"data: [DONE]\n\n"


def _field(event: TextDelta | ThinkingDelta) -> str:
    if isinstance(event, ThinkingDelta):
        return "reasoning_content"
    return "refusal" if is_refusal(event.extra) else "content"


async def joined_events(begun: Sequence[Event],
                        events: AsyncGenerator[Event, None]) -> AsyncIterator[Event]:
    for event in begun:
        yield event
    async for event in events:
        yield event


def _line(row: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(row, separators=(',', ':'))}\n\n".encode()


def _model_row(target: Target) -> dict[str, Any]:
    return {"id": str(target), "object": "model", "created": 0, "owned_by": target.provider}


def answering(handler: Handler) -> Handler:
    """Return our errors in OpenAI's format, with the status that its clients expect."""
    async def answered(request: HttpRequest) -> Response:
        try:
            return await handler(request)
        except ChatError as error:
            wait = getattr(error, "retry_after", None)
            headers = {"retry-after": str(int(wait))} if wait else {}
            return JSONResponse(form.error_row(error), form.status_of(error), headers)
        except Exception as problem:
            return JSONResponse(form.error_row(unexpected(problem)), 500)
    return answered
