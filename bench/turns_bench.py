"""What one more question costs in a conversation with many turns, told as JSON: processor time in
seconds by stored turns.

    python -m bench.turns_bench http://127.0.0.1:11434 10 1000 4000
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from core.chat.conversation import Chat
from core.config import Settings
from core.messages import Message, Text, user_message
from core.model_manager import Providers, build_model_list
from core.session_manager import Session, open_session
from core.store.identity import new_message_id, new_session_id
from db import Store, open_store

ROUNDS = 5
ANSWER = ("A model writes its answer as tokens, and every token is shown when it comes, while the "
          "terminal keeps the rest. " * 3)


def stored_turns(count: int) -> Iterator[tuple[int, Message]]:
    for number in range(count):
        yield new_message_id(), user_message(f"Question {number}: what does a terminal keep of an "
                                             "answer that is long?")
        yield new_message_id(), Message("assistant", (Text(f"{ANSWER}({number})"),),
                                        "ollama/mixed-20", None, "stop")


async def seconds_a_turn(store: Store, base: str, turns: int) -> float:
    """The median of several rounds, without the first one, in which everything is loaded."""
    settings = Settings({"model": "ollama/mixed-20", "ollama_host": base, "num_ctx": 4_000_000,
                         "database_url": store.url})
    parent, name = Session(store), f"bench-{turns}"
    store.create_session(parent.id, "Bench", "ollama/mixed-20", time.time())
    store.create_branch(parent.id, new_session_id(), "Bench", "ollama/mixed-20", time.time(),
                        [*stored_turns(turns)], name=name)
    chat = Chat(settings, open_session(store, name=name), Providers(settings),
                build_model_list(settings)[0],
                open_session=lambda _: Session(store))
    spent = []
    for _ in range(ROUNDS + 1):
        before = time.process_time()
        async for _ in chat.turn(user_message("And now?")):
            pass
        spent.append(time.process_time() - before)
    await chat.close()
    return median(spent[1:])


def main(base: str, *counts: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        store = open_store(str(Path(place) / "turns.db"))
        print(json.dumps({count: asyncio.run(seconds_a_turn(store, base, int(count)))
                          for count in counts}))
        store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
