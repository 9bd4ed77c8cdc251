"""POST /v1/responses: OpenAI's newer API, implemented over chat completions."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import ChatError, UsageError, unexpected
from core.events import Event
from core.web.api import body_of
from core.web.v1.openai_api import (REMEMBERED, SESSION_HEADER, OpenAiApi, answering, begun_events,
                                    joined_events)
from core.web.v1.responses_form import Row, Writer, as_chat, messages_of, output_messages


class ResponsesApi:
    """The route /v1/responses. The newest conversations are remembered for previous_response_id."""

    def __init__(self, calls: OpenAiApi) -> None:
        self._calls = calls
        self._said: OrderedDict[str, list[Row]] = OrderedDict()

    def routes(self) -> list[Route]:
        return [Route("/v1/responses", answering(self.respond), methods=["POST"])]

    async def respond(self, request: HttpRequest) -> Response:
        body = await body_of(request)
        earlier = self._earlier(body.get("previous_response_id"))
        call = self._calls.open_call(as_chat(body, earlier),
                                     request.headers.get(SESSION_HEADER, ""))
        headers = {SESSION_HEADER: call.session.id if call.session.store is not None else "off"}
        writer, events = Writer(body, str(call.target)), self._calls.ask(call)
        conversation = [*earlier, *messages_of(body)]
        if body.get("stream"):
            lines = self._streamed(writer, events, conversation)
            return await self._calls.kept.respond(request, lines, headers)
        async with aclosing(events):
            async for event in events:
                for _ in writer.events(event):
                    pass
        for _ in writer.end():
            pass
        self._remember(writer, conversation)
        return JSONResponse(writer.response, headers=headers)

    def _earlier(self, previous: Any) -> list[Row]:
        if not previous:
            return []
        if previous not in self._said:
            raise UsageError(f"The response {previous} is unknown.",
                             f"Only the newest {REMEMBERED:,} are kept until the server ends. Send "
                             "the complete conversation instead.")
        return self._said[previous]

    def _remember(self, writer: Writer, conversation: Sequence[Row]) -> None:
        self._said[writer.response["id"]] = [*conversation, *output_messages(writer.response)]
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)

    async def _streamed(self, writer: Writer, events: AsyncGenerator[Event, None],
                        conversation: Sequence[Row]) -> AsyncGenerator[bytes, None]:
        begun = await begun_events(events)
        for row in writer.begin():
            yield _line(row)
        try:
            async with aclosing(events):
                async for event in joined_events(begun, events):
                    for row in writer.events(event):
                        yield _line(row)
            last = list(writer.end())
            self._remember(writer, conversation)
        except ChatError as error:
            last = list(writer.fail(error))
        except Exception as problem:
            last = list(writer.fail(unexpected(problem)))
        for row in last:
            yield _line(row)


def _line(row: Mapping[str, Any]) -> bytes:
    return f"event: {row['type']}\ndata: {json.dumps(row, separators=(',', ':'))}\n\n".encode()
