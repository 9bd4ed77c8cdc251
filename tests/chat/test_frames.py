"""The number of async generators between the socket and the front end."""

from __future__ import annotations

import asyncio
import inspect
import sys
from types import FrameType

from core.chat.conversation import Chat
from core.config import Settings
from core.messages import user_message
from core.model_manager import Providers, build_model_list
from core.session_manager import Session
from core.tool_executor import Toolbox
from tests.fake_server import Answer, FakeServer, Pause, Step
from tests.faulty_proxy import TEXT, content_type, wire

MOST = 12


def test_from_the_socket_to_the_front_end() -> None:
    deepest: list[str] = []

    def look(frame: FrameType, event: str, argument: object) -> None:
        names, place = list[str](), frame if event == "call" else None
        if place is None or place.f_code.co_name != "take":
            return
        while place is not None:
            if place.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
                names.append(place.f_code.co_name)
            place = place.f_back
        if len(names) > len(deepest):
            deepest[:] = names

    async def main(url: str) -> None:
        settings = Settings({"model": "ollama/m", "ollama_host": url, "save": False})
        session = Session(None)
        chat = Chat(settings, session, Providers(settings), build_model_list(settings)[0],
                    open_session=lambda name: Session(None), toolbox=Toolbox([]))
        sys.setprofile(look)
        try:
            async for _ in chat.turn(user_message("q")):
                pass
        finally:
            sys.setprofile(None)
        await chat.close()
    steps: list[Step] = []
    for event in wire("ollama", TEXT).events:
        # more than one read: the first one is awaited in a task of its own
        steps += [event, Pause(0.05)]
    with FakeServer(Answer(steps, content_type=content_type("ollama"))) as server:
        asyncio.run(main(server.url))
    print(deepest)
    assert "_answer" in deepest and len(deepest) <= MOST, deepest
