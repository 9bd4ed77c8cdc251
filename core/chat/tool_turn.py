"""A turn in which the model may call tools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.chat.turn import Respond, run_chat_turn
from core.dataclass import replace
from core.events import Event, Notice, Waiting
from core.messages import Attached, Message
from core.providers import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.tool_executor import Toolbox


async def chat_with_tools(respond: Respond, request: Request, toolbox: Toolbox, *, model: str,
                          rounds: int = 16, resumes: int = 0,
                          continued: Message | None = None,
                          stop_repetition: bool = True) -> AsyncGenerator[Event, None]:
    """Run a turn in which the model may call the toolbox's tools; see run_chat_turn()."""
    toolbox.begin_turn()
    toolbox.note_messages(request.messages)
    toolbox.private = toolbox.private or any(isinstance(part, Attached) for message
                                             in request.messages for part in message.parts)
    preparing = asyncio.ensure_future(toolbox.prepare())
    try:
        started = time.monotonic()
        while not (await asyncio.wait({preparing}, timeout=1.0))[0]:
            yield Waiting(time.monotonic() - started, "waiting for the MCP servers")
        for text in preparing.result():
            yield Notice(text)
    finally:
        preparing.cancel()
    request = replace(request, tools=toolbox.specs)
    async with aclosing(run_chat_turn(respond, request, toolbox.run, model=model, rounds=rounds,
                                      resumes=resumes, continued=continued,
                                      stop_repetition=stop_repetition)) as events:
        async for event in events:
            yield event
