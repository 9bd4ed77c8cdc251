"""One turn: ask the model, collect its reply, run the tools it calls, and ask again until it is done.

Gets everything as arguments. Tools run at most once each, only from a whole and valid message; every call gets a
result, so that a conversation is always one that a provider accepts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from core.chat.joining import BROKEN, Joint, continuation, joined
from core.errors import ProviderError, QuotaExhausted, StreamBroken
from core.events import (
    Delta, Event, MessageAdded, ModelChanged, Notice, Resuming, Retrying, TextDelta, ThinkingDelta, ToolFinished, ToolRequested,
    Waiting, is_content)
from core.messages import Finish, Message, ToolCall, ToolResult, tool_message
from core.providers import Request
from core.sessions.reply import Reply, in_call_order

# What answers a request: one provider, or retries and fallbacks around several. It may say what it is doing.
Response = Delta | Waiting | Retrying | ModelChanged | Notice
Respond = Callable[[Request], AsyncGenerator[Response, None]]
RunTool = Callable[[ToolCall], Awaitable[ToolResult]]


async def run_chat_turn(respond: Respond, request: Request, run_tool: RunTool | None = None, *, model: str, rounds: int = 16,
                        resumes: int = 0, continued: Message | None = None) -> AsyncGenerator[Event, None]:
    """Yield what happens, ending with a MessageAdded. Raises a ChatError when no answer, or only a part of one, came.

    `model` is how the reply is signed (provider/model). `rounds` bounds how often tools are run; with 0, calls are
    reported and the turn ends with them. A reply that breaks off is asked to go on up to `resumes` times. `continued`
    is a broken reply at the end of the conversation that this turn is to finish.
    """
    messages, goes_on = to_finish(request.messages) if continued is not None else (request.messages, False)
    request = replace(request, messages=messages)
    for round_number in range(rounds + 1):
        reply: Message | None = None
        async with aclosing(_answer(respond, request, model, resumes, goes_on=goes_on)) as events:
            async for event in events:
                yield event
                match event:
                    case ModelChanged(new=new):
                        model = new
                    case MessageAdded(message):
                        reply = message
                        request = replace(request, messages=(*request.messages, message))
        goes_on = False
        if reply is None or reply.finish != "tool_calls":
            return
        for call in reply.tool_calls:
            yield ToolRequested(call)
        if run_tool is None or rounds == 0:
            return
        if round_number == rounds:
            yield MessageAdded(_not_run(reply.tool_calls))
            yield Notice(f"The model has called tools {rounds} times in this turn; it was stopped (--tool-rounds sets the limit).")
            return
        results: tuple[ToolResult, ...] = ()
        async with aclosing(_run_tools(reply.tool_calls, run_tool)) as finished:
            async for done in finished:
                yield done
                results += (done.result,)
        answered = tool_message(in_call_order(reply.tool_calls, results))
        yield MessageAdded(answered)
        request = replace(request, messages=(*request.messages, answered))


def _not_run(calls: Sequence[ToolCall]) -> Message:
    reason = "Not run: the limit of tool rounds is reached."
    return tool_message(tuple(ToolResult(call.id, call.name, reason, True) for call in calls))


class _BrokeOff(Exception):
    """An answer ended early after it had begun; `error` is how that is told."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error


async def _answer(respond: Respond, request: Request, model: str, resumes: int, *, goes_on: bool) -> AsyncGenerator[Event, None]:
    """One reply, in as many pieces as it takes. Where none of its text has come yet, it is asked for anew."""
    reason = ""
    for resume in range(resumes + 1):
        part: Message | None = None
        try:
            async with aclosing(_ask(respond, request, model, goes_on=goes_on)) as events:
                async for event in events:
                    model = event.new if isinstance(event, ModelChanged) else model
                    part = event.message if isinstance(event, MessageAdded) else part
                    yield event
            return
        except _BrokeOff as broke:
            if resume == resumes or not can_resume(broke.error):
                raise broke.error from broke.__cause__
            told = reason == broke.error.message and part is None    # an attempt that brought nothing new needs no new notice
            reason = broke.error.message
        except ProviderError as error:
            if resume == 0:
                raise
            if not error.retryable or resume == resumes:    # a part of the answer did come
                raise StreamBroken(error.message, error.hint, cause=error) from error
            continue
        if part is not None and part.text:
            request = replace(request, messages=(*request.messages, part))
            goes_on = True
        if not told:
            yield Resuming(reason)


def to_finish(messages: Sequence[Message]) -> tuple[tuple[Message, ...], bool]:
    """The conversation without pieces at its end that hold no text, and whether it then ends with a broken reply."""
    kept = list(messages)
    while kept and kept[-1].role == "assistant" and kept[-1].finish in BROKEN and not kept[-1].text:
        kept.pop()
    return tuple(kept), bool(kept) and kept[-1].role == "assistant"


def can_resume(error: ProviderError) -> bool:
    """Going on makes sense after a lost connection or a passing fault, not after a refusal. A quota that ran out in the
    middle is the next model's business."""
    cause = error.cause if isinstance(error, StreamBroken) and error.cause is not None else error
    return cause.retryable or isinstance(cause, QuotaExhausted)


async def _ask(respond: Respond, request: Request, model: str, *, goes_on: bool) -> AsyncGenerator[Event, None]:
    """One call of the model: its events, then MessageAdded. Raises _BrokeOff when the reply ended early after it had begun;
    it is added as far as it came. `goes_on` says that the conversation ends with a broken reply, which is to be finished."""
    reply = Reply()
    messages = joined(request.messages)
    joint = Joint(messages[-1].text if goes_on else "")
    asked = replace(request, messages=(*messages, continuation(messages[-1])) if goes_on else messages)
    begun = False
    try:
        async with aclosing(respond(asked)) as stream:
            async for item in stream:
                if isinstance(item, (Waiting, Retrying, ModelChanged, Notice)):
                    model = item.new if isinstance(item, ModelChanged) else model
                    yield item
                    continue
                begun = begun or is_content(item)
                for delta in joint.fit(item):
                    reply.add(delta)
                    if isinstance(delta, (TextDelta, ThinkingDelta)):
                        yield delta
        if reply.finish is None:
            raise StreamBroken("The answer ended without its end marker.")
        for delta in joint.rest():
            reply.add(delta)
            yield delta
        message = reply.message(model)
    except ProviderError as error:
        broken = reply.broken(model, finish_of(error))
        if broken.parts:
            yield MessageAdded(broken)
        if not begun:
            raise
        if broken.parts and not isinstance(error, StreamBroken):
            raise _BrokeOff(StreamBroken(error.message, error.hint, cause=error)) from error
        raise _BrokeOff(error) from error
    if message.usage is not None:
        yield message.usage
    yield MessageAdded(message)


def finish_of(error: ProviderError) -> Finish:
    """How a reply ended that this error cut: the provider said so itself, or the connection just stopped."""
    return "truncated" if isinstance(error, StreamBroken) and error.cause is None else "error"


async def _run_tools(calls: Sequence[ToolCall], run_tool: RunTool) -> AsyncGenerator[ToolFinished, None]:
    """Run all calls at once and yield each as it finishes. Closing the generator cancels what still runs."""
    async def timed(call: ToolCall) -> ToolFinished:
        started = time.monotonic()
        result = await run_tool(call)
        return ToolFinished(result, time.monotonic() - started)

    tasks = [asyncio.ensure_future(timed(call)) for call in calls]
    try:
        for finished in asyncio.as_completed(tasks):
            yield await finished
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
