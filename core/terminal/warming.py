"""Loads what the first question needs, and compiles what it uses, while the user types it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module

from core.chat.conversation import Chat
from core.errors import ChatError
from core.events import Finished, MessageAdded, TextDelta
from core.messages import Usage, user_message
from core.model_manager import Target
from core.providers import Options, Request
from core.providers.sent import Ledger
from core.retry.policy import Candidate, State
from core.retry_handler import TurnLimits
from core.sessions.reply import Reply

PAUSE = 0.02      # seconds between two steps, in which keys are handled
NEEDED = ("core.store.words", "core.store.sqlite.log_sync", "core.models.window",
          "core.models.facts")
# What nearly every reply begins with.
SAMPLE = ("# A\n\n", "- **b** `c` [d](e)\n", "\n| f |\n|---|\n")


def steps(chat: Chat) -> Iterator[Callable[[], object]]:
    """The work, in steps of a few milliseconds."""
    yield partial(chat.providers.open, chat.target.provider)
    for module in NEEDED:
        yield partial(import_module, module)
    yield _question
    yield _policy
    yield _wire
    yield _reply
    parser = import_module("core.rendering.parser.blocks").Parser()
    for text in SAMPLE:
        yield partial(parser.feed, text)


def _question() -> object:
    from core.store.words import message_words
    asked = user_message("?")
    return (message_words(asked), Request("", (asked,)) == Request("", (asked,)),
            Target("", "") == Target("", ""), Options() == Options())


def _policy() -> object:
    candidate = Candidate("", "")
    return hash(candidate), State(candidate), TurnLimits()


def _wire() -> object:
    from core.providers.http.connection import split_url
    from core.providers.http.http1 import check_headers
    from core.providers.http.parser import AnswerParser
    from core.providers.written import Beginnings
    Beginnings().entries((), lambda *_: ())
    Ledger().note("", "POST", "", b"", with_key=False)
    check_headers(["accept: */*"])
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    return split_url("http://localhost/"), parser.read_head(), parser.read_body()


def _reply() -> MessageAdded:
    reply = Reply()
    for delta in (TextDelta("."), Usage(), Finished("stop")):
        reply.add(delta)
    return MessageAdded(reply.message(""))


async def warm(chat: Chat) -> None:
    """Do all of the work. Failures are reported when the question is asked."""
    for step in steps(chat):
        await asyncio.sleep(PAUSE)
        with suppress(ChatError):
            step()
