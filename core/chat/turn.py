"""One turn: ask the model, collect its reply, run the tools that it calls, and ask again until it
is done.

Everything is passed as arguments. A tool call runs at most once, and only from a complete and valid
message; every call gets a result, so that providers accept the conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from core.chat.characters import WholeCharacters
from core.chat.endless import Endless
from core.chat.joining import BROKEN, Joint, SecondReading, continuation, joined
from core.chat.portions import portions
from core.dataclass import replace
from core.errors import BadResponse, Paused, ProviderError, StreamBroken
from core.events import (
    Answering, Delta, Event, Finished, Kept, MessageAdded, ModelChanged, Notice, Resuming, Retrying,
    TakenUp, TextDelta,
    ThinkingDelta, ToolFinished, ToolRequested, Waiting)
from core.messages import (NOTHING_MORE, Finish, Message, ToolCall, ToolResult, is_empty,
                           tool_message)
from core.providers import Request
from core.providers.finish import UNREAD
from core.retry_handler import BrokeOff, Item, Pieces, TurnLimits
from core.sessions.reply import Reply, in_call_order

# Requests a reply: the loop of core/retry_handler.py, which reads the pieces to continue a reply.
Respond = Callable[[Request, Pieces], AsyncGenerator[Item, None]]
RunTool = Callable[[ToolCall], Awaitable[ToolFinished]]
PAUSES = ("pause_turn",)  # finish reasons of a reply that continues when it is sent back


async def run_chat_turn(respond: Respond, request: Request, run_tool: RunTool | None = None, *,
                        model: str, rounds: int = 16,
                        resumes: int = 0, continued: Message | None = None,
                        stop_repetition: bool = True) -> AsyncGenerator[Event, None]:
    """Yield the turn's events, ending with a MessageAdded.

    `model` is recorded in the reply, as provider/model. `rounds` limits the rounds of tool calls;
    with 0, calls are reported and end the turn. A reply that breaks off is continued up to
    `resumes` times. `continued` is a broken reply at the end of the conversation that this turn
    completes. With `stop_repetition`, a reply that repeats itself endlessly is stopped as
    incomplete, with the reason; so is one of excessive length.

    Raises ChatError if no answer, or only a part of one, was received.
    """
    messages, unfinished = (to_finish(request.messages) if continued is not None
                            else (request.messages, False))
    endless = Endless(repetition=stop_repetition)
    request, limits = replace(request, messages=messages), TurnLimits()
    for round_number in range(rounds + 1):
        reply = _Pieces(request, model, resumes, limits, unfinished=unfinished, endless=endless)
        try:
            async with aclosing(respond(reply.next_request(), reply)) as stream:
                async for item in stream:
                    for event in reply.take(item):
                        for portion in portions(event):
                            yield portion
                            if portion is not event:
                                await asyncio.sleep(0)      # Ctrl-C is noticed here
                    if endless.reason:
                        break
        except ProviderError as error:
            for event in reply.broken(error):
                yield event
            raise reply.error(error) from error
        for event in reply.close():
            yield event
        request, model = replace(request, messages=reply.messages), reply.model
        message, unfinished = reply.messages[-1], False
        if message.finish != "tool_calls":
            return
        for call in message.tool_calls:
            yield ToolRequested(call)
        if run_tool is None or rounds == 0:
            return
        if round_number == rounds:
            yield MessageAdded(_not_run(message.tool_calls))
            yield Notice(f"The model has called tools {rounds} times in this turn; it was stopped "
                         "(--tool-rounds sets the limit).")
            return
        results: tuple[ToolResult, ...] = ()
        async with aclosing(_run_tools(message.tool_calls, run_tool)) as finished:
            async for done in finished:
                yield done
                results += (done.result,)
        answered = tool_message(in_call_order(message.tool_calls, results))
        yield MessageAdded(answered)
        request = replace(request, messages=(*request.messages, answered))


def _not_run(calls: Sequence[ToolCall]) -> Message:
    reason = "Not run: the limit of tool rounds is reached."
    return tool_message(tuple(ToolResult(call.id, call.name, reason, True) for call in calls))


class _Pieces:
    """One reply in one or more pieces; each piece with any content becomes a message.

    `unfinished`: the conversation ends with a broken reply, which is to be continued.
    """

    def __init__(self, request: Request, model: str, resumes: int, limits: TurnLimits, *,
                 unfinished: bool, endless: Endless) -> None:
        self.model, self.resumes, self.limits = model, resumes, limits
        self.messages = request.messages
        self._request, self._unfinished = request, unfinished
        # the model that answers, if the server names another than the requested one
        self._named = ""
        self._pieces = 0              # messages of this reply
        self._reason = ""             # the last interruption that was reported
        self._word = ""               # the provider's own word for the finish reason
        self._endless = endless
        self._begin()

    def _begin(self) -> None:
        self._reply = Reply()
        self._characters = WholeCharacters()
        self._endless.begin()
        self._joint: Joint | SecondReading = Joint(self._before.text)

    @property
    def _before(self) -> Message:
        """The unfinished reply that this one continues; empty without one."""
        return joined(self.messages)[-1] if self._unfinished else Message("assistant", ())

    @property
    def text(self) -> str:
        """The text so far, of all pieces, including the reply that is continued."""
        return self._before.text + self._reply.text

    def next_request(self) -> Request:
        """The conversation to send, with an instruction to continue an unfinished reply."""
        messages = joined(self.messages)
        if self._unfinished:
            messages = (*messages, continuation(messages[-1]))
        return replace(self._request, messages=messages)

    def fault(self) -> ProviderError | None:
        """Why the ended reply is not valid: a call without a name, or a pause; None if it is."""
        if self._word in PAUSES:
            return Paused("The model paused.")
        try:
            self._reply.message(self._named or self.model)
        except BadResponse as error:
            return error
        return None

    def take(self, item: Item) -> Iterator[Event]:
        """Process an item of the asking loop, and yield the events for it."""
        match item:
            case BrokeOff(error):
                yield from self._resume(error)
            case Waiting() | Retrying() | Notice():
                yield item
            case ModelChanged(new=new):
                self.model, self._named = new, ""
                yield item
            case Answering(name):
                self._named = name
            case Kept():
                yield item
            case TakenUp():
                self._joint = SecondReading(self._before)
            case _:
                yield from self._add(item)

    def _add(self, item: Delta) -> Iterator[Event]:
        if isinstance(item, Finished):
            self._word = item.detail
        for whole in self._characters.feed(item):
            for delta in self._joint.fit(whole):
                self._reply.add(delta)
                self._endless.take(delta)
                if isinstance(delta, (TextDelta, ThinkingDelta)):
                    yield delta

    def _resume(self, error: ProviderError) -> Iterator[Event]:
        """Close the piece. If none of its text has arrived, the reply is requested again."""
        added = False
        if isinstance(error, Paused):
            yield from self._rest()
        for event in self.broken(error):
            added = True
            yield event
        piece = self.messages[-1]
        paused = isinstance(error, Paused)
        if added and (piece.text or paused):
            self._unfinished = not paused
        elif added:
            self.messages = self.messages[:-1]
        # an attempt without any content is reported only if its reason is new
        if error.message != self._reason or added:
            yield Resuming(error.message)
        self._reason, self._word = error.message, ""
        # the server's stored answer cannot be used once the reply is continued by a new request
        self._request = replace(self._request, kept="")
        self._begin()

    def broken(self, error: ProviderError) -> Iterator[Event]:
        """Close the piece with what arrived of it, as a message."""
        message = self._reply.broken(self._named or self.model, finish_of(error))
        if message.parts:
            self._pieces += 1
            self.messages = (*self.messages, message)
            yield MessageAdded(message)

    def error(self, error: ProviderError) -> ProviderError:
        """The error to raise: StreamBroken if anything of the reply arrived, else the original."""
        if not self._pieces:
            error.exit_code = 1
            return error
        if isinstance(error, StreamBroken):
            return error
        return StreamBroken(error.message, error.hint, cause=error)

    def _rest(self) -> Iterator[Event]:
        yield from (delta for half in self._characters.rest() for delta in self._add(half))
        for delta in self._joint.rest():
            self._reply.add(delta)
            yield delta

    def close(self) -> Iterator[Event]:
        """Close the reply, which has ended."""
        yield from self._rest()
        message = (self._ended() if self._endless.reason
                   else self._reply.message(self._named or self.model))
        if self._unfinished and is_empty(message):
            message = replace(message, parts=(*message.parts, *NOTHING_MORE))
        self.messages = (*self.messages, message)
        if message.usage is not None:
            yield message.usage
        for text in self._remarks(message):
            yield Notice(text)
        yield MessageAdded(message)

    def _ended(self) -> Message:
        return self._reply.broken(self._named or self.model, "incomplete")

    def _remarks(self, message: Message) -> Iterator[str]:
        """Notices about the way the reply ended."""
        if self._endless.reason:
            yield (f"Stopped: {message.model} {self._endless.reason}. What it wrote is saved. "
                   f"{self._endless.advice}").rstrip()
        elif message.finish == "incomplete":
            dropped = " The tools that it called were not run." if self._reply.calls else ""
            why = ("sent a part of its answer in an unknown form" if self._word == UNREAD
                   else f"ended its answer with {self._word!r}")
            yield f"{self.model} {why}: it may be incomplete.{dropped}"
        elif message.finish == "stop" and not message.text.strip() and not self._unfinished:
            yield f"{self.model} gave an empty answer."


def to_finish(messages: Sequence[Message]) -> tuple[tuple[Message, ...], bool]:
    """(the conversation without broken pieces at its end that have no text, whether it then ends
    with a reply to be continued).
    """
    kept = list(messages)
    while kept and kept[-1].role == "assistant" and kept[-1].finish in BROKEN and not kept[-1].text:
        kept.pop()
    return tuple(kept), bool(kept) and kept[-1].role == "assistant"


def finish_of(error: ProviderError) -> Finish:
    """The finish reason of a reply that ended with this error."""
    if isinstance(error, Paused):
        return "incomplete"
    return "truncated" if isinstance(error, StreamBroken) and error.cause is None else "error"


async def _run_tools(calls: Sequence[ToolCall],
                     run_tool: RunTool) -> AsyncGenerator[ToolFinished, None]:
    """Run all calls at the same time and yield each as it finishes.

    Closing the generator cancels the remaining ones.
    """
    tasks = [asyncio.ensure_future(run_tool(call)) for call in calls]
    try:
        for finished in asyncio.as_completed(tasks):
            yield await finished
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
