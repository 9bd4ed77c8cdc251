"""What the first question needs is loaded before it is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fake_server import FakeOllama

# Asks one question, and says what had to be loaded or compiled between it and the connection.
ASKS = """
import asyncio, sys
from core.late_modules import load_late
load_late()
from core.chat.conversation import Chat
from core.config import Settings
from core.messages import user_message
from core.model_manager import Providers, build_model_list
from core.session_manager import Session
from core.terminal.loop import run_chat
from core.terminal.painter import Painter
from core.terminal.warming import steps
from db import open_store

happened, asking = [], False

def note(event, given):
    if asking and event in ("import", "compile", "socket.connect"):
        happened.append(f"{event} {str(given)[:300]}")

async def ask(chat):
    global asking
    if sys.argv[3] == "warm":
        for step in steps(chat):
            step()
    asking = True
    async for _ in chat.turn(user_message("Why?")):
        pass

settings = Settings({"model": "ollama/words-5", "ollama_host": sys.argv[1],
                     "database_url": sys.argv[2]})
chat = Chat(settings, Session(open_store(sys.argv[2])), Providers(settings),
            build_model_list(settings)[0], open_session=None)
sys.addaudithook(note)
asyncio.run(ask(chat))
connected = next(place for place, event in enumerate(happened) if event.startswith("socket"))
print(*happened[:connected], sep="\\n", end="")
"""


def needed(server: FakeOllama, database: Path, how: str) -> list[str]:
    made = subprocess.run([sys.executable, "-c", ASKS, server.url, f"sqlite:///{database}", how],
                          capture_output=True, text=True, check=True, cwd=ROOT)
    return made.stdout.splitlines()


def test_a_question_finds_all_that_it_needs(ollama: FakeOllama, tmp_path: Path) -> None:
    assert needed(ollama, tmp_path / "cold.db", "cold"), "else this test sees nothing"
    assert needed(ollama, tmp_path / "warm.db", "warm") == []


# Waits for a reply as the painter does, and says what is loaded after `sys.argv[1]` looks.
AWAITS = """
import asyncio, sys
from core.terminal.warming import warm_for_reply

looks = []

def waits():
    looks.append(0)
    return len(looks) <= int(sys.argv[1])

asyncio.run(warm_for_reply(lambda: print("prepared"), waits, first=sys.argv[2] == "first"))
print(*(name for name in ("core.models.window", "core.terminal.first_use") if name in sys.modules))
"""


@pytest.mark.processes
@pytest.mark.parametrize("looks, which, loaded", [
    (99, "first", "core.models.window core.terminal.first_use"), (1, "first", "core.models.window"),
    (0, "first", ""), (99, "later", "")])
def test_while_a_first_reply_is_awaited_what_it_needs_is_loaded(looks: int, which: str,
                                                                loaded: str) -> None:
    made = subprocess.run([sys.executable, "-c", AWAITS, str(looks), which], capture_output=True,
                          text=True, check=True, cwd=ROOT)
    assert made.stdout.splitlines() == ["prepared", loaded]
