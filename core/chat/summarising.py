"""Asks the model to summarise older turns, and asks again if its reply is not a summary."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.chat.turn import Respond, run_chat_turn
from core.dataclass import replace
from core.errors import UsageError
from core.events import Event, MessageAdded, Notice, TextDelta
from core.messages import Message, user_message
from core.providers import Request
from core.window.compaction import Plan
from core.window.summary_check import fault_of_summary

AGAIN = ("That is not a summary of the conversation above: it {fault}. Nobody asks you anything "
         "now. Write down what was said in it, with its names and numbers, in a few sentences.")


class Summary:
    """One summary; `message` is set when ask() has ended."""

    def __init__(self, respond: Respond, plan: Plan, before: Request, model: str) -> None:
        self._respond, self._plan, self._request, self._model = (respond, plan,
                                                                 plan.request(before), model)
        self.message: Message | None = None

    async def ask(self) -> AsyncGenerator[Event, None]:
        """Yield the events. Raises UsageError if the model does not give a summary in two attempts.
        """
        for last in (False, True):
            async with aclosing(self._once()) as events:
                async for event in events:
                    yield event
            assert self.message is not None, "a turn without an error ends with a message"
            fault = (fault_of_summary(self.message.text, self._plan.messages)
                     if self.message.finish == "stop" else "")
            if not fault:
                return
            if last:
                raise UsageError(f"The model's summary {fault}; the conversation is unchanged. "
                                 "If it does not fit the window, the oldest turns are not sent.",
                                 "Try /compact again with another model.")
            yield Notice(f"The model's summary {fault}; it is requested once more.")
            order = user_message(AGAIN.format(fault=fault))
            self._request = replace(self._request,
                                    messages=(*self._request.messages, self.message, order))

    async def _once(self) -> AsyncGenerator[Event, None]:
        length = 0
        async with aclosing(run_chat_turn(self._respond, self._request, model=self._model,
                                          rounds=0)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    length += len(event.text)
                    self._plan.check_length(length)
                if isinstance(event, MessageAdded):
                    self.message = event.message
                else:
                    yield event
