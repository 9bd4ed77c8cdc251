"""Uses once what the first question uses, so that it is compiled when the question comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from core.events import Finished, MessageAdded, TextDelta
from core.messages import Usage, user_message
from core.model_manager import Target
from core.providers import Options, Request
from core.providers.http.connection import split_url
from core.providers.http.http1 import check_headers
from core.providers.http.parser import AnswerParser
from core.providers.sent import Ledger
from core.providers.written import Beginnings
from core.rendering.parser.blocks import Parser
from core.retry.policy import Candidate, State
from core.retry_handler import TurnLimits
from core.sessions.reply import Reply
from core.store.words import message_words

# What nearly every reply begins with.
SAMPLE = ("# A\n\n", "- **b** `c` [d](e)\n", "\n| f |\n|---|\n")


def uses() -> Iterator[Callable[[], object]]:
    """What a question and its reply use, in steps of a few milliseconds."""
    yield from (_question, _policy, _wire)
    yield from uses_of_reply()


def uses_of_reply() -> Iterator[Callable[[], object]]:
    yield from (_read, _reply)
    parser = Parser()
    for text in SAMPLE:
        yield partial(parser.feed, text)


def _question() -> object:
    asked = user_message("?")
    return (message_words(asked), Request("", (asked,)) == Request("", (asked,)),
            Target("", "") == Target("", ""), Options() == Options())


def _policy() -> object:
    candidate = Candidate("", "")
    return hash(candidate), State(candidate), TurnLimits()


def _wire() -> object:
    Beginnings().entries((), lambda *_: ())
    Ledger().note("", "POST", "", b"", with_key=False)
    check_headers(["accept: */*"])
    return split_url("http://localhost/")


def _read() -> object:
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n")
    return parser.read_head(), parser.read_body()


def _reply() -> MessageAdded:
    reply = Reply()
    for delta in (TextDelta("."), Usage(), Finished("stop")):
        reply.add(delta)
    return MessageAdded(reply.message(""))
