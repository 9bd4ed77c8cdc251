"""/sent shows what a server received, byte for byte, and its parts add up."""

from __future__ import annotations

import asyncio
import base64
import os
import random
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from core.chat.conversation import Chat
from core.commands import run_command
from core.config import Settings
from core.errors import ChatError, UsageError
from core.messages import Image, user_message
from core.model_manager import Providers, Target
from core.providers.sent import KEPT, MOST, Ledger
from core.providers.sent_parts import parts_of
from core.rendering.table import Table
from core.session_manager import Session
from core.tool_executor import Toolbox, get_tools
from tests.fake_server import Answer, FakeServer, Received, Reset, json_answer
from tests.faulty_proxy import DIALECTS, broken_answer, has_result, refused, whole_answer, wire

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
PICTURE = base64.b64encode(bytes(range(256)) * 4).decode()


def open_chat(provider: str, url: str) -> Chat:
    settings = Settings({"retry_initial_delay": 0.0, "retry_max_delay": 0.0},
                        providers={provider: {"base_url": url}})
    return Chat(settings, Session(None), Providers(settings), Target(provider, "m"),
                open_session=lambda name: Session(None))


async def say(chat: Chat, text: str, *pictures: Image) -> None:
    with suppress(ChatError):
        async with aclosing(chat.turn(user_message(text, pictures))) as events:
            async for _ in events:
                pass


class Moody:
    """A server that randomly answers, calls a tool, refuses, breaks off or resets."""

    def __init__(self, dialect: str, chance: random.Random) -> None:
        self.dialect, self.chance = dialect, chance

    def __call__(self, request: Received) -> Answer:
        if request.method == "GET":
            return json_answer({"models": [], "data": []})
        made = wire(self.dialect, "an answer " * 30, call=not has_result(request))
        match self.chance.randrange(6):
            case 0:
                return refused(self.chance.choice((400, 429, 500)))
            case 1:
                return broken_answer(self.dialect, made, "middle", "fin")
            case 2:
                return Answer([Reset()], framing="raw")
        return whole_answer(self.dialect, made)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_is_what_the_server_saw(dialect: str, tmp_path: Path) -> None:
    """Random conversations with tools, pictures, files and faults: every request, in order."""
    print(f"STREAM_CHAT_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    notes = tmp_path / "notes.md"
    notes.write_text("The tide comes in twice a day.\n" * 9)

    async def talk(url: str) -> Ledger:
        chat = open_chat(dialect, url)
        chat.toolbox = Toolbox(get_tools(["current_time"])) if chance.random() < 0.5 else None
        for number in range(4):
            if number == 1:
                await chat.attach(str(notes))
            pictures = [Image("image/png", PICTURE)] if chance.random() < 0.3 else []
            await say(chat, chance.choice(("wörds 🙂", "half \ud83d", "plain")) * 9, *pictures)
        await chat.close()
        return chat.providers.sent
    with FakeServer(Moody(dialect, chance)) as server:
        ledger = asyncio.run(talk(server.url))
    assert len(ledger.requests) == len(server.requests) > 3
    for said, seen in zip(ledger.requests, server.requests, strict=True):
        assert (said.method, said.body) == (seen.method, seen.body)
        assert said.url == f"{server.url}{seen.path}"
        assert sum(part.size for part in parts_of(seen.body)) == said.size == len(seen.body)
    texts = [part for sent in ledger.requests for part in parts_of(sent.body or b"")]
    assert any(part.name.startswith("file ") and "notes.md" in part.name for part in texts)
    print(f"\ncounted: {len(server.requests)} requests")


def test_the_parts_are_named_after_their_sources(tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("The tide comes in twice a day.\n")

    async def talk(url: str) -> None:
        chat = open_chat("openai", url)
        chat.set_system("Be brief.")
        await chat.attach(str(notes))
        await say(chat, "When?", Image("image/png", PICTURE))
        await say(chat, "And then?")
        requests = chat.providers.sent.requests
        first, second = (sent.number for sent in requests if sent.method == "POST")
        found = await run_command(chat, f"/sent {second}")
        assert isinstance(found, Table)
        names = [row[0] for row in found.rows]
        assert {"system prompt", "question 1", "answer 1", "question 2",
                f"file {notes}", "picture in question 1"} <= set(names), names
        listed = await run_command(chat, "/sent")
        assert isinstance(listed, Table) and len(listed.rows) == len(server.requests)
        assert listed.rows[0][3].endswith("(this computer)") and listed.rows[0][6] == "no"
        assert "Be brief." in str(await run_command(chat, f"/sent {first} -"))
        copy = tmp_path / "request.json"
        await run_command(chat, f"/sent {first} {copy}")
        assert copy.read_bytes() == server.requests[first - 1].body
        for wrong in ("/sent 99", "/sent x", f"/sent {first} {copy}"):
            with pytest.raises(UsageError):
                await run_command(chat, wrong)
        await chat.close()
    with FakeServer(whole_answer("openai", wire("openai", "At noon."))) as server:
        asyncio.run(talk(server.url))


def test_keys_are_not_in_it() -> None:
    async def talk(url: str) -> Ledger:
        entry = {"base_url": url, "api_key": "sk-canary-1234"}
        providers = Providers(Settings({}, providers={"openai": entry}))
        with suppress(ChatError):
            await providers.open("openai").models()
        await providers.close()
        return providers.sent
    with FakeServer(json_answer({"data": []})) as server:
        ledger = asyncio.run(talk(server.url))
    assert ledger.requests[0].with_key and "canary" not in repr(ledger.requests)


def test_old_requests_keep_their_figures_and_lose_their_bytes() -> None:
    ledger = Ledger()
    for _ in range(5):
        ledger.note("p", "POST", "http://h/", b"x" * (KEPT // 2), with_key=False)
    assert [sent.body is None for sent in ledger.requests] == [True, True, True, False, False]
    assert {sent.size for sent in ledger.requests} == {KEPT // 2}
    ledger.note("p", "POST", "http://h/", b"x" * (2 * KEPT), with_key=False)
    assert [sent.number for sent in ledger.requests if sent.body is not None] == [6]
    for _ in range(2 * MOST):
        ledger.note("p", "GET", "http://h/", None, with_key=False)
    assert len(ledger.requests) == MOST and ledger.requests[-1].number == 6 + 2 * MOST
