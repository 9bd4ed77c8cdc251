"""The page's API for one conversation: messages, events, turns, versions and commands, as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.chat.comparison import Comparison
from core.commands import all_commands, find_command, names_to_complete
from core.commands.stages import in_stage
from core.errors import ChatError, SessionNotFound, StoreError, UsageError
from core.messages import Image, user_message
from core.models.switch import find_model
from core.regex import regex
from core.web.conversation.desk import Queued
from core.web.conversation.hub import Hub
from core.web.conversation.live import Live
from core.web.conversation.shown import Snapshot
from core.web.outcomes import act, offered
from core.web.team.member_limits import may_use
from core.web.uploads import Uploads

Handler = Callable[[Request], Awaitable[Response]]
MESSAGE = regex(r"[0-9a-f]{1,32}")    # length of a session's identity
MOST_TEXT = 4_000_000   # characters of one message


class Api:
    """The routes under /api/sessions/ID."""

    def __init__(self, hub: Hub, uploads: Uploads) -> None:
        self._hub, self._uploads = hub, uploads

    def routes(self) -> list[Route]:
        one = "/api/sessions/{session}"
        rows: list[tuple[str, str, Handler]] = [
            ("POST", "/api/sessions", self.new), ("GET", one, self.show),
            ("GET", f"{one}/events", self.events),
            ("POST", "/api/files", self.upload), ("POST", f"{one}/messages", self.post),
            ("POST", f"{one}/stop", self.stop),
            ("POST", f"{one}/edits", self.edit), ("POST", f"{one}/retry", self.retry),
            ("POST", f"{one}/continue", self.go_on),
            ("POST", f"{one}/answers", self.decide), ("PUT", f"{one}/queue", self.queue),
            ("POST", f"{one}/commands", self.command), ("GET", f"{one}/commands", self.commands),
            ("GET", f"{one}/commands/{{name}}", self.arguments),
            ("POST", f"{one}/versions", self.show_version),
            ("POST", f"{one}/compare", self.compare),
            ("POST", f"{one}/compare/{{side:int}}/{{act}}", self.choose),
        ]
        return [Route(path, guarded(handler), methods=[method]) for method, path, handler in rows]

    # ---- sessions

    async def new(self, request: Request) -> Response:
        return JSONResponse(_about(await self._hub.new()), 201)

    async def show(self, request: Request) -> Response:
        live = await self._live(request)
        with suppress(StoreError):      # show the last known state
            live.look()
        found, at = _asked_part(request, live)
        if found is None:
            return JSONResponse({**_about(live), "newest": True})
        return JSONResponse({**_about(live), "events": found.events, "place": found.place,
                             "first": found.first, "end": found.end, "newest": found.newest,
                             "at": at})

    # ---- events

    async def events(self, request: Request) -> Response:
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        return StreamingResponse(_stream(await self._live(request), after),
                                 media_type="text/event-stream",
                                 headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    # ---- turns

    async def post(self, request: Request) -> Response:
        body, live = await body_of(request), await self._live(request)
        return JSONResponse({"accepted": live.post(self._message(body)), **_about(live)}, 202)

    async def edit(self, request: Request) -> Response:
        body, live = await body_of(request), await self._live(request)
        place = body.get("place")
        if not isinstance(place, int) or isinstance(place, bool):
            raise UsageError("place must be the number of a message.")
        return JSONResponse({"accepted": live.edit(place, self._message(body)), **_about(live)},
                            202)

    async def upload(self, request: Request) -> Response:
        """Store the request's body as a file; a message refers to it by the `file` in the response.
        """
        name = request.query_params.get("name", "")
        return JSONResponse({"file": await self._uploads.keep(name, request.stream())}, 201)

    def _message(self, body: dict[str, Any]) -> Queued:
        files = body.get("files") or ()
        if not isinstance(files, (list, tuple)):
            raise UsageError("files must be a list.")
        return _message(body, tuple(self._uploads.path(str(file)) for file in files))

    async def stop(self, request: Request) -> Response:
        live = await self._live(request)
        await live.stop()
        return JSONResponse(_about(live))

    async def retry(self, request: Request) -> Response:
        body, live = await body_of(request), await self._live(request)
        model = text_of(body, "model")
        if model:
            await act(live, f"/model {model}")
        live.answer_again()
        return JSONResponse(_about(live), 202)

    async def go_on(self, request: Request) -> Response:
        live = await self._live(request)
        live.go_on()
        return JSONResponse(_about(live), 202)

    async def decide(self, request: Request) -> Response:
        body, live = await body_of(request), await self._live(request)
        if live.questions.decide(text_of(body, "ask"), text_of(body, "choice")):
            return JSONResponse({"decided": True})
        error = {"kind": "usage", "message": "This question is no longer open.",
                 "hint": "It was answered in another tab, or the process that asked it has ended. "
                         "Reload the page to see how the reply continues."}
        return JSONResponse({"decided": False, "error": error}, 409)

    async def queue(self, request: Request) -> Response:
        body, live = await body_of(request), await self._live(request)
        live.change_queue([str(key) for key in body.get("keys") or ()])
        if body.get("send"):
            live.send_queued()
        return JSONResponse(_about(live))

    async def command(self, request: Request) -> Response:
        body, live = await body_of(request), await self._live(request)
        return JSONResponse(await act(live, text_of(body, "line"),
                                      confirmed=body.get("confirmed") is True))

    async def commands(self, request: Request) -> Response:
        """Return all commands of this chat, including the prompts of its MCP servers."""
        live = await self._live(request)
        rows = [_command_row(name, help) for name, help in names_to_complete(live.chat)
                if offered(live.chat, name)]
        return JSONResponse({"commands": rows})

    async def arguments(self, request: Request) -> Response:
        """Return the possible arguments of a command, if they are a list."""
        live, found = await self._live(request), find_command(str(request.path_params["name"]))
        if found is None or live.chat.settings.team and not may_use(found.name):
            return JSONResponse({"values": []})
        names = await found.complete(live.chat) if found.complete is not None else ()
        return JSONResponse({"values": [name.strip() for name in in_stage("", names)]})

    async def show_version(self, request: Request) -> Response:
        """Show another version of a message, with the newest branch after it."""
        body, live = await body_of(request), await self._live(request)
        try:
            identity = int(text_of(body, "version"), 16)
        except ValueError as problem:
            raise UsageError("version must be the identity of a message.") from problem
        live.show_version(identity)
        return JSONResponse(_about(live))

    async def compare(self, request: Request) -> Response:
        """Send the same question to the session's model and another one."""
        body, live = await body_of(request), await self._live(request)
        message, chat = self._message(body), live.chat
        target, _ = await find_model(text_of(body, "model"), chat.target, chat.providers)
        if live.running:
            raise UsageError("A reply is running in this session.",
                             "Stop it first, or wait for its end.")
        for file in message.files:
            await chat.attach_file(file)
        images = tuple(Image(media, data, name) for media, data, name in message.images)
        question = user_message(message.text, images)
        live.compare(Comparison(chat, [chat.target, target], question, new=True))
        return JSONResponse(_about(live), 202)

    async def choose(self, request: Request) -> Response:
        """Stop one of two answers, or add it to the conversation."""
        live, side = await self._live(request), int(request.path_params["side"])
        comparison = live.compared()
        if side >= len(comparison.sides) or request.path_params["act"] not in ("stop", "keep"):
            raise UsageError("There is no such answer.")
        if request.path_params["act"] == "stop":
            comparison.sides[side].stop()
        else:
            live.keep(side)
        return JSONResponse(_about(live))

    async def _live(self, request: Request) -> Live:
        return await self._hub.get(str(request.path_params["session"]))


def _message(body: dict[str, Any], files: tuple[str, ...]) -> Queued:
    """Read a message sent by a page. Raises UsageError if it is empty or too long."""
    text = text_of(body, "text")
    images = tuple((str(image["media"]), str(image["data"]), str(image.get("name", "")))
                   for image in rows_of(body, "images"))
    if not text.strip() and not images:
        raise UsageError("The message is empty.")
    if len(text) > MOST_TEXT:
        raise UsageError(f"A message can have at most {MOST_TEXT:,} characters.",
                         "Attach it as a file.")
    return Queued(text_of(body, "key") or "-", text, images, files)


async def _stream(live: Live, after: str) -> AsyncIterator[bytes]:
    """Yield server-sent events, one per batch, with the place of its last event as ID."""
    yield b": connected\n\n"
    async for batch in live.events(after):
        if not batch:
            yield b": alive\n\n"
            continue
        number = batch[-1][0]
        data = json.dumps([event for _, event in batch], separators=(",", ":"))
        yield f"id: {live.epoch}:{number}\ndata: {data}\n\n".encode()
    yield b"event: reset\ndata: {}\n\n"


def _place(request: Request, name: str) -> int | None:
    """Return the place of a message in the query; None if it is not a number."""
    value = request.query_params.get(name, "")
    return int(value[:9]) if value.isascii() and value.isdigit() else None


def _asked_part(request: Request, live: Live) -> tuple[Snapshot | None, int | None]:
    """Return the requested part of the conversation and the place of the message to show; None
    instead of the part if only the newest is left. Raises StoreError.
    """
    start, end = _place(request, "from"), _place(request, "before")
    if start is not None:
        return live.later(start), None
    if end is not None:
        return live.earlier(end), None
    around = _place(request, "around")
    if around is not None:
        return live.around(around), around
    written = request.query_params.get("at", "")
    if MESSAGE.fullmatch(written):
        at = live.place_of(int(written, 16))
        return live.around(at), at
    return live.snapshot(), None


def _about(live: Live) -> dict[str, Any]:
    return {**live.about(), "running": live.running}


def _command_row(name: str, help: str) -> dict[str, Any]:
    found = all_commands().get(name)
    return {"name": name, "help": help, "usage": found.usage if found is not None else "",
            "completes": found is not None and found.complete is not None, "prompt": found is None}


# ---- requests

def guarded(handler: Handler) -> Handler:
    """Return our errors as JSON with a suitable status: what happened, why, and what to do."""
    async def answering(request: Request) -> Response:
        try:
            return await handler(request)
        except ChatError as error:
            return error_response(error)
    return answering


def error_response(error: ChatError) -> Response:
    status = (404 if isinstance(error, SessionNotFound) else 400 if isinstance(error, UsageError)
              else 503 if isinstance(error, StoreError) else 502)
    return JSONResponse(
        {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}, status)


async def body_of(request: Request) -> dict[str, Any]:
    """Return the request's JSON object. Raises UsageError."""
    try:
        found = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"The request is not JSON: {problem}.") from problem
    if not isinstance(found, dict):
        raise UsageError("The request is not a JSON object.")
    return found


def text_of(body: dict[str, Any], name: str) -> str:
    """Return a text field; "" if it is missing. Raises UsageError for another type."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} must be text.")
    return value or ""


def rows_of(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects; empty if it is missing. Raises UsageError for another type."""
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UsageError(f"{name} must be a list of objects.")
    return value
