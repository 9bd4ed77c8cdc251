"""A program to be killed: streams replies through Session.record() and prints what it yields, until
it is killed.

Usage: python -m tests.killed_child DATABASE SPOOL SEED. Paints "SESSION-ID
", then the text and
thinking of every frame.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator

from core.events import Event, MessageAdded, TextDelta, ThinkingDelta, ToolFinished, ToolRequested
from core.messages import Message, Text, ToolCall, ToolResult, tool_message, user_message
from core.session_manager import Session, recover
from core.sessions.reply import Reply
from db import open_store

PIECES = ("word ", "\n", "e\u0301", "\u4e2d\u6587", "\U0001f600", "\\ ' \"", "x" * 300)


async def turn(chance: random.Random) -> AsyncGenerator[Event, None]:
    reply = Reply()
    for _ in range(chance.randrange(1, 60)):
        kind = chance.choice((TextDelta, TextDelta, ThinkingDelta))
        delta = kind("".join(chance.choices(PIECES, k=chance.randrange(1, 6))))
        reply.add(delta)
        yield delta
        await asyncio.sleep(chance.choice((0, 0, 0.0005)))
    if chance.random() < 0.7:
        yield MessageAdded(Message("assistant", reply.broken("demo/x", "stop").parts, "demo/x",
                                   None, "stop"))
        return
    call = ToolCall("1", "clock", {})
    yield MessageAdded(Message("assistant", (*reply.broken("demo/x", "stop").parts, call), "demo/x",
                               None, "tool_calls"))
    yield ToolRequested(call)
    yield ToolFinished(ToolResult("1", "clock", "noon"), 0.1)
    yield MessageAdded(tool_message((ToolResult("1", "clock", "noon"),)))
    yield MessageAdded(Message("assistant", (Text(""),), "demo/x", None, "stop"))


async def chat(session: Session, chance: random.Random) -> None:
    for number in range(1000):
        session.add_user(user_message(f"question {number}"))
        if number == 0:
            os.write(1, session.id.encode() + b"\n")
        async for event in session.record(turn(chance)):
            if isinstance(event, (TextDelta, ThinkingDelta)):
                os.write(1, event.text.encode())


def main() -> None:
    database, spool, seed = sys.argv[1:]
    store = open_store(database)
    recover(store, spool)
    asyncio.run(chat(Session(store, spool, model="demo/x"), random.Random(int(seed))))


if __name__ == "__main__":
    main()
