"""One turn: ask the model, collect its reply, run the tools it calls, and
ask again until it is done.

Gets everything as arguments. Tools run at most once each, only from a whole and valid message;
every call gets a result, so that a conversation is always one that a provider accepts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from core.chat.characters import WholeCharacters
from core.chat.endless import Endless
from core.chat.joining import BROKEN, Joint, SecondReading, continuation, joined
from core.dataclass import replace
from core.errors import BadResponse, Paused, ProviderError, StreamBroken
from core.events import (
    Answering, Delta, Event, Finished, Kept, MessageAdded, ModelChanged, Notice, Resuming, Retrying,
    TakenUp, TextDelta,
    ThinkingDelta, ToolFinished, ToolRequested, Waiting)
from core.messages import Finish, Message, ToolCall, ToolResult, tool_message
from core.providers import Request
from core.retry_handler import BrokeOff, Item, Pieces, TurnLimits
from core.sessions.reply import Reply, in_call_order

# What answers a request: the loop of core/retry_handler.py, which looks into the reply's
# pieces to continue it.
Respond = Callable[[Request, Pieces], AsyncGenerator[Item, None]]
RunTool = Callable[[ToolCall], Awaitable[ToolFinished]]
PAUSES = ("pause_turn",)  # words with which a provider puts a reply aside that is to be sent back


async def run_chat_turn(respond: Respond, request: Request, run_tool: RunTool | None = None, *,
                        model: str, rounds: int = 16,
                        resumes: int = 0, continued: Message | None = None,
                        stop_repetition: bool = True) -> AsyncGenerator[Event, None]:
    """Yield what happens, ending with a MessageAdded.

    Raises a ChatError when no answer, or only a part of one, arrived.

    `model` is how the reply is signed (provider/model). `rounds` bounds how often tools are run;
    with 0, calls are reported and the turn ends with them. A reply that breaks off is continued up
    to `resumes` times. `continued` is a broken reply at the end of the conversation that this turn
    is to finish. With `stop_repetition`, a reply that repeats itself without end is ended, as
    incomplete and with the reason; so is one that is longer than any.
    """
    messages, goes_on = (to_finish(request.messages) if continued is not None
                         else (request.messages, False))
    endless = Endless(repetition=stop_repetition)
    request, limits = replace(request, messages=messages), TurnLimits()
    for round_number in range(rounds + 1):
        reply = _Pieces(request, model, resumes, limits, goes_on=goes_on, endless=endless)
        try:
            async with aclosing(respond(reply.asked(), reply)) as stream:
                async for item in stream:
                    for event in reply.take(item):
                        yield event
                    if endless.reason:
                        break
        except ProviderError as error:
            for event in reply.broken(error):
                yield event
            raise reply.error(error) from error
        for event in reply.close():
            yield event
        request, model, message, goes_on = (replace(request, messages=reply.messages), reply.model,
                                            reply.messages[-1], False)
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
    """One reply, in as many pieces as it takes.

    Each piece that holds anything is a message of its own.

    `goes_on` says that the conversation ends with a broken reply, which is to be finished.
    """

    def __init__(self, request: Request, model: str, resumes: int, limits: TurnLimits, *,
                 goes_on: bool,
                 endless: Endless) -> None:
        self.model, self.resumes, self.limits = model, resumes, limits
        self.messages = request.messages
        self._request, self._goes_on = request, goes_on
        # the model that answers, where the server names another than the one asked for
        self._named = ""
        self._pieces = 0              # messages of this reply
        self._reason = ""             # the last break that was reported
        self._word = ""               # the provider's own word for the end
        self._endless = endless
        self._begin()

    def _begin(self) -> None:
        self._reply = Reply()
        self._characters = WholeCharacters()
        self._endless.begin()
        self._joint: Joint | SecondReading = Joint(self._before.text)

    @property
    def _before(self) -> Message:
        """What is being finished."""
        return joined(self.messages)[-1] if self._goes_on else Message("assistant", ())

    @property
    def text(self) -> str:
        """The text so far, of all pieces; what is being finished counts."""
        return self._before.text + self._reply.text

    def asked(self) -> Request:
        """The conversation as it is sent; a broken reply at its end is to be continued."""
        messages = joined(self.messages)
        return replace(self._request, messages=(*messages, continuation(messages[-1]))
                       if self._goes_on else messages)

    onward = asked

    def fault(self) -> ProviderError | None:
        """Why the reply that has ended is not one: a call without a name, or a pause."""
        if self._word in PAUSES:
            return Paused("The model paused.")
        try:
            self._reply.message(self._named or self.model)
        except BadResponse as error:
            return error
        return None

    def take(self, item: Item) -> Iterator[Event]:
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
        """Close the piece. Where none of its text has arrived yet, the reply is asked for anew."""
        added = False
        if isinstance(error, Paused):
            yield from self._rest()
        for event in self.broken(error):
            added = True
            yield event
        piece = self.messages[-1]
        paused = isinstance(error, Paused)
        if added and (piece.text or paused):
            self._goes_on = not paused
        elif added:
            self.messages = self.messages[:-1]
        # an attempt that brought nothing new needs no new notice
        if error.message != self._reason or added:
            yield Resuming(error.message)
        self._reason, self._word = error.message, ""
        # from here on the text so far is what counts
        self._request = replace(self._request, kept="")
        self._begin()

    def broken(self, error: ProviderError) -> Iterator[Event]:
        """What arrived of the piece, as a message."""
        message = self._reply.broken(self._named or self.model, finish_of(error))
        if message.parts:
            self._pieces += 1
            self.messages = (*self.messages, message)
            yield MessageAdded(message)

    def error(self, error: ProviderError) -> ProviderError:
        """How the failure is reported: a reply of which something arrived has broken off;
        without, there is no answer.
        """
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
        """The reply is complete, or as complete as the provider made it."""
        yield from self._rest()
        message = (self._ended() if self._endless.reason
                   else self._reply.message(self._named or self.model))
        self.messages = (*self.messages, message)
        if message.usage is not None:
            yield message.usage
        for text in self._remarks(message):
            yield Notice(text)
        yield MessageAdded(message)

    def _ended(self) -> Message:
        return self._reply.broken(self._named or self.model, "incomplete")

    def _remarks(self, message: Message) -> Iterator[str]:
        """What the finish reason alone does not say."""
        if self._endless.reason:
            yield (f"Stopped: {message.model} {self._endless.reason}. What it wrote is saved. "
                   f"{self._endless.advice}").rstrip()
        elif message.finish == "incomplete":
            dropped = " The tools that it called were not run." if self._reply.calls else ""
            yield (f"{self.model} ended its answer with {self._word!r}: it may be "
                   f"incomplete.{dropped}")
        elif message.finish == "stop" and not message.text.strip() and not self._goes_on:
            yield f"{self.model} gave an empty answer."


def to_finish(messages: Sequence[Message]) -> tuple[tuple[Message, ...], bool]:
    """The conversation without pieces at its end that hold no text,
    and whether it then ends with a broken reply.
    """
    kept = list(messages)
    while kept and kept[-1].role == "assistant" and kept[-1].finish in BROKEN and not kept[-1].text:
        kept.pop()
    return tuple(kept), bool(kept) and kept[-1].role == "assistant"


def finish_of(error: ProviderError) -> Finish:
    """How a reply ended that this error cut: the provider said so itself,
    or the connection just stopped.
    """
    if isinstance(error, Paused):
        return "incomplete"
    return "truncated" if isinstance(error, StreamBroken) and error.cause is None else "error"


async def _run_tools(calls: Sequence[ToolCall],
                     run_tool: RunTool) -> AsyncGenerator[ToolFinished, None]:
    """Run all calls at once and yield each as it finishes.

    Closing the generator cancels what still runs.
    """
    tasks = [asyncio.ensure_future(run_tool(call)) for call in calls]
    try:
        for finished in asyncio.as_completed(tasks):
            yield await finished
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
