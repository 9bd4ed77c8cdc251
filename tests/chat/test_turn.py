"""One turn: the reply is assembled, tools run once and in order, and an incomplete message runs
none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from core.chat.turn import Respond, run_chat_turn
from core.errors import BadResponse, ChatError, Overloaded, StreamBroken
from core.events import (Event, Finished, MessageAdded, ModelChanged, Notice, Retrying, TextDelta,
                         ThinkingDelta, ToolCallDelta,
                         ToolFinished, ToolRequested)
from core.messages import (Message, Text, Thinking, ToolCall, ToolResult, Usage, tool_message,
                           user_message)
from core.providers import Request
from core.sessions.reply import Reply, in_call_order, missing_results
from tests.one_model import one_model
from core.retry_handler import Item

ASKED = Request("m", (user_message("question"),))


def scripted(*replies: Sequence[Item | Exception], seen: list[Request] | None = None) -> Respond:
    """A model that sends these replies, one per request; an exception in a reply is raised in its
    place.
    """
    left = iter(replies)

    async def respond(request: Request) -> AsyncGenerator[Item, None]:
        if seen is not None:
            seen.append(request)
        for item in next(left):
            if isinstance(item, Exception):
                raise item
            yield item
    return one_model(respond)


def run(respond: Respond, run_tool: object = None,
        rounds: int = 16) -> tuple[list[Event], ChatError | None]:
    """All events of a turn, and the error that ended it."""
    async def collect() -> tuple[list[Event], ChatError | None]:
        events: list[Event] = []
        try:
            async for event in run_chat_turn(respond, ASKED, run_tool, model="p/m", rounds=rounds):  # type: ignore[arg-type]
                events.append(event)
        except ChatError as error:
            return events, error
        return events, None
    return asyncio.run(collect())


def call(index: int, name: str = "look", arguments: str = "{}",
         identity: str = "") -> ToolCallDelta:
    return ToolCallDelta(index, identity or f"c{index}", name, arguments)


async def told(request: ToolCall) -> ToolFinished:
    return ToolFinished(ToolResult(request.id, request.name, f"told {request.id}"), 0.0)


def test_a_reply_is_one_message_of_what_was_streamed() -> None:
    events, error = run(scripted(
        [ThinkingDelta("so "), ThinkingDelta("be it"), TextDelta("a"), TextDelta("b"), Usage(3, 4),
         Finished("stop")]))
    message = Message("assistant", (Thinking("so be it"), Text("ab")), "p/m", Usage(3, 4), "stop")
    assert error is None
    assert events == [ThinkingDelta("so "), ThinkingDelta("be it"), TextDelta("a"), TextDelta("b"),
                      Usage(3, 4),
                      MessageAdded(message)]


def test_a_stream_without_its_end_is_kept_as_truncated() -> None:
    events, error = run(scripted([TextDelta("half")]))
    assert isinstance(error, StreamBroken) and error.exit_code == 3
    assert (events[-1]
            == MessageAdded(Message("assistant", (Text("half"),), "p/m", None, "truncated")))


def test_nothing_came_and_nothing_is_kept() -> None:
    events, error = run(scripted([]))
    assert isinstance(error, StreamBroken) and events == []


def test_an_error_that_the_provider_reported_is_kept_as_such() -> None:
    events, error = run(
        scripted([TextDelta("half"), StreamBroken("broke", cause=Overloaded("too much"))]))
    assert isinstance(error, StreamBroken)
    assert events[-1] == MessageAdded(Message("assistant", (Text("half"),), "p/m", None, "error"))


@pytest.mark.parametrize("end",
                         [[], [StreamBroken("cut")], [Finished("length")],
                          [Finished("content_filter")]])
def test_a_cut_message_runs_no_tool(end: list[Item | Exception]) -> None:
    """Its arguments may be incomplete."""
    ran: list[ToolCall] = []

    async def note(request: ToolCall) -> ToolFinished:
        ran.append(request)
        return await told(request)
    events, _ = run(scripted([TextDelta("I look"), call(0, arguments='{"path": "/tm'), *end]), note)
    assert ran == []
    last = events[-1]
    assert (isinstance(last, MessageAdded) and last.message.tool_calls == ()
            and last.message.text == "I look")


def test_tools_are_run_and_the_model_is_asked_again_with_their_results() -> None:
    seen: list[Request] = []
    respond = scripted([TextDelta("I look"), call(0), call(1), Finished("stop")],
                       [TextDelta("found"), Finished("stop")], seen=seen)
    events, error = run(respond, told)
    calls = (ToolCall("c0", "look", {}), ToolCall("c1", "look", {}))
    first = Message("assistant", (Text("I look"), *calls), "p/m", None, "tool_calls")
    results = tool_message((ToolResult("c0", "look", "told c0"),
                            ToolResult("c1", "look", "told c1")))
    assert error is None
    assert [event for event in events if not isinstance(event, ToolFinished)] == [
        TextDelta("I look"), MessageAdded(first), ToolRequested(calls[0]), ToolRequested(calls[1]),
        MessageAdded(results),
        TextDelta("found"),
        MessageAdded(Message("assistant", (Text("found"),), "p/m", None, "stop"))]
    assert seen[1].messages == (*ASKED.messages, first, results)


def test_tools_run_at_once_and_their_results_stand_in_the_order_of_the_calls() -> None:
    """The first call waits for the second, so running them one after the other would never end."""
    second_ran = asyncio.Event()

    async def crossed(request: ToolCall) -> ToolFinished:
        if request.id == "c0":
            await second_ran.wait()
        second_ran.set()
        return await told(request)
    events, _ = run(scripted([call(0), call(1), Finished("stop")], [Finished("stop")]), crossed)
    finished = [event.result.id for event in events if isinstance(event, ToolFinished)]
    answered = next(event.message for event in events
                    if isinstance(event, MessageAdded) and event.message.role == "tool")
    assert finished == ["c1", "c0"]
    assert [result.id for result in answered.tool_results] == ["c0", "c1"]


def test_calls_with_one_id_get_a_result_each() -> None:
    calls = (ToolCall("same", "a", {}), ToolCall("same", "b", {}))
    results = (ToolResult("same", "b", "2"), ToolResult("same", "a", "1"))
    assert sorted(result.content for result in in_call_order(calls, results)) == ["1", "2"]


def test_without_rounds_calls_are_reported_and_not_run() -> None:
    events, error = run(scripted([call(0), Finished("stop")]), told, rounds=0)
    assert error is None and events[-1] == ToolRequested(ToolCall("c0", "look", {}))
    message = next(event.message for event in events if isinstance(event, MessageAdded))
    assert message.finish == "tool_calls"


def test_the_rounds_are_bounded_and_every_call_has_a_result() -> None:
    again = [call(0), Finished("stop")]
    events, error = run(scripted(*[again] * 3), told, rounds=2)
    assert error is None
    assert len([event for event in events if isinstance(event, ToolFinished)]) == 2
    assert isinstance(events[-1], Notice) and "2 times" in events[-1].text
    last = events[-2]
    assert isinstance(last, MessageAdded) and last.message.tool_results[0].is_error


@pytest.mark.parametrize("arguments, invalid",
                         [("", None), ("null", None), ('{"a": ', '{"a": '), ("[1]", "[1]"),
                          ("7", "7")])
def test_arguments_that_are_no_object_are_kept_as_they_came(arguments: str,
                                                            invalid: str | None) -> None:
    events, _ = run(scripted([call(0, arguments=arguments), Finished("stop")]), told, rounds=0)
    assert events[-1] == ToolRequested(ToolCall("c0", "look", {}, invalid))


def test_a_call_in_pieces_is_put_together() -> None:
    pieces = [ToolCallDelta(0, "x", "lo"), ToolCallDelta(0, "", "ignored", '{"q":'),
              ToolCallDelta(0, arguments='"v"}')]
    events, _ = run(scripted([*pieces, Finished("tool_calls")]), told, rounds=0)
    assert events[-1] == ToolRequested(ToolCall("x", "lo", {"q": "v"}))


def test_a_call_without_a_name_is_an_error() -> None:
    _, error = run(scripted([ToolCallDelta(0, "x"), Finished("tool_calls")]), told)
    assert isinstance(error, BadResponse)


def test_the_model_that_took_over_signs() -> None:
    events, _ = run(scripted([Retrying(2, 0.1, "busy"), ModelChanged("p/m", "p/n", "gone"),
                              TextDelta("x"), Finished("stop")]))
    assert events[-1] == MessageAdded(Message("assistant", (Text("x"),), "p/n", None, "stop"))


def test_closing_the_turn_cancels_the_tools_that_run() -> None:
    started: list[str] = []
    cancelled: list[str] = []
    both = asyncio.Event()

    async def stuck(request: ToolCall) -> ToolFinished:
        started.append(request.id)
        if len(started) == 2:
            both.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(request.id)
            raise
        return await told(request)

    async def leave() -> None:
        async with aclosing(run_chat_turn(scripted([call(0), call(1), Finished("stop")]), ASKED,
                                          stuck, model="p/m")) as events:
            reader = asyncio.ensure_future(drain(events))
            await asyncio.wait_for(both.wait(), 60)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def drain(events: AsyncGenerator[Event, None]) -> None:
        async for _ in events:
            pass
    asyncio.run(leave())
    assert sorted(cancelled) == ["c0", "c1"]


def test_calls_that_were_interrupted_get_results() -> None:
    asked = Message("assistant", (ToolCall("a", "look", {}), ToolCall("b", "look", {})), "p/m",
                    None, "tool_calls")
    done = tool_message((ToolResult("a", "look", "told"),))
    assert missing_results([user_message("q")]) is None
    both = tool_message((ToolResult("a", "look", "1"), ToolResult("b", "look", "2")))
    assert missing_results([user_message("q"), asked, both]) is None
    left = missing_results([user_message("q"), asked, done])
    assert left is not None
    assert left.tool_results == (ToolResult("b", "look", "Interrupted before it finished.", True),)


def test_the_results_of_an_earlier_call_answer_no_later_one() -> None:
    """Models reuse call numbers: a result for the same call with the same number already exists."""
    asked = Message("assistant", (ToolCall("0", "look", {}),), "p/m", None, "tool_calls")
    done = tool_message((ToolResult("0", "look", "told"),))
    left = missing_results([user_message("q"), asked, done, asked])
    assert (left is not None and left.tool_results
            == (ToolResult("0", "look", "Interrupted before it finished.", True),))


def test_arguments_in_very_many_pieces() -> None:
    """A hundred thousand pieces: appending each to a growing text would take minutes."""
    reply = Reply()
    for piece in ['{"a": "', *("0123456789" for _ in range(100_000)), '"}']:
        reply.add(call(0, arguments=piece))
    reply.add(Finished("tool_calls"))
    (asked,) = reply.message("p/m").tool_calls
    assert asked.arguments == {"a": "0123456789" * 100_000} and asked.invalid is None
