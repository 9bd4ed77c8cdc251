"""Answers that are completed even without a reader, so that clients can resume them.

The protocol is that of llama.cpp's server (its tools/server/README-dev.md, "Resumable streaming"):
a request names its answer in the header X-Conversation-Id, GET /v1/stream?conv_id=NAME&from=BYTES
returns the rest of it, and DELETE stops it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from core.errors import StoreError, UsageError
from core.web.conversation.desk import ANSWERS, Desks
from core.web.guard import Scope

PATH = "/v1/stream"
HEADER = "x-conversation-id"
MOST_KEPT = 100         # most ended answers kept
KEPT_FOR = 300.0        # seconds to keep an answer after its end
EVENTS = "text/event-stream"
UNKNOWN = {"error": {"message": "This answer does not exist or has expired.",
                     "type": "invalid_request_error", "code": "not_found"}}
Lines = AsyncGenerator[bytes, None]
Key = tuple[str, str]   # (caller, name of the answer)


class Answer:
    """The bytes of one answer so far; `ended` is the time of its end."""

    def __init__(self, lines: Lines) -> None:
        self.ended: float | None = None
        self._data = bytearray()
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._write(lines))

    async def begun(self) -> None:
        """Wait for the first bytes. Raises an error that occurred before them."""
        while not self._data and self.ended is None:
            await self._news.wait()
        if self._failure is not None and not self._data:
            raise self._failure

    async def rest(self, start: int) -> AsyncIterator[bytes]:
        """Yield what follows the first `start` bytes, until the end."""
        while start < len(self._data) or self.ended is None:
            news = self._news
            if start < len(self._data):
                part = bytes(self._data[start:])
                start += len(part)
                yield part
            else:
                await news.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._end()

    async def _write(self, lines: Lines) -> None:
        try:
            async with aclosing(lines):
                async for line in lines:
                    self._data += line
                    self._tell()
        except Exception as problem:  # readers get it as their own error or as a broken stream
            self._failure = problem
        finally:
            self._end()

    def _end(self) -> None:
        self.ended = self.ended or time.monotonic()
        self._tell()

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()


class KeptAnswers:
    """The named answers, each available only to its caller.

    Other processes of the page learn from `desks` which are here.
    """

    def __init__(self, desks: Desks) -> None:
        self._answers: dict[Key, Answer] = {}
        self._desks = desks

    async def respond(self, request: Request, lines: Lines,
                      headers: Mapping[str, str]) -> Response:
        """Stream these lines. Raises errors that occur before the first line.

        Without a name, the answer ends with its reader.
        """
        name = request.headers.get(HEADER, "")
        if not name:
            first = await anext(lines, b"")
            return StreamingResponse(_with_first(first, lines), headers=headers, media_type=EVENTS)
        key = _key(request, name)
        if key in self._answers:
            await self._answers.pop(key).stop()
        answer = self._answers[key] = Answer(lines)
        self._hold(key, on=True)
        self._forget()
        await answer.begun()
        return StreamingResponse(answer.rest(0), headers=headers, media_type=EVENTS)

    async def resume(self, request: Request) -> Response:
        """Return the rest of an answer, from the byte offset `from`."""
        answer, start = self._answers.get(_asked(request)), request.query_params.get("from", "0")
        if not (start.isascii() and start.isdigit()):
            raise UsageError("from must be a number of bytes.")
        if answer is None:
            return JSONResponse(UNKNOWN, 404)
        await answer.begun()
        return StreamingResponse(answer.rest(int(start)), media_type=EVENTS)

    async def stop(self, request: Request) -> Response:
        """Stop an answer."""
        key = _asked(request)
        answer = self._answers.pop(key, None)
        if answer is None:
            return JSONResponse(UNKNOWN, 404)
        self._hold(key, on=False)
        await answer.stop()
        return Response(status_code=204)

    async def close(self) -> None:
        answers, self._answers = self._answers, {}
        for key in answers:
            self._hold(key, on=False)
        await asyncio.gather(*(answer.stop() for answer in answers.values()))

    def _forget(self) -> None:
        """Drop answers that ended long ago, and the oldest beyond the limit."""
        ended = sorted((answer.ended, key) for key, answer in self._answers.items()
                       if answer.ended is not None)
        late = time.monotonic() - KEPT_FOR
        for place, (when, key) in enumerate(ended):
            if when < late or place < len(ended) - MOST_KEPT:
                del self._answers[key]
                self._hold(key, on=False)

    def _hold(self, key: Key, *, on: bool) -> None:
        with suppress(StoreError):  # the answer is resumed at this process alone
            self._desks.hold(_row(key), on=on)


def row_of(scope: Scope) -> str:
    """Where desks say which process has the answer that a request asks for."""
    request = Request(scope)
    path = str(scope["path"]).removeprefix(PATH).strip("/")
    return _row(_key(request, path or request.query_params.get("conv_id", "")))


def _row(key: Key) -> str:
    return ANSWERS + hashlib.sha256("\n".join(key).encode("utf-8", "replace")).hexdigest()[:40]


def _key(request: Request, name: str) -> Key:
    headers = request.headers
    return headers.get("authorization") or headers.get("cookie", ""), name


def _asked(request: Request) -> Key:
    path, query = request.path_params.get("name"), request.query_params.get("conv_id", "")
    return _key(request, str(path) if path else query)


async def _with_first(first: bytes, lines: Lines) -> AsyncIterator[bytes]:
    async with aclosing(lines):
        yield first
        async for line in lines:
            yield line
