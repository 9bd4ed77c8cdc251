"""Makes the pictures of docs/web.md from the running page: `make pictures`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect

from core.messages import (Message, Text, Thinking, ToolCall, ToolResult, Usage, tool_message,
                           user_message)
from core.session_manager import Session
from core.store.identity import new_message_id
from core.store.rows import CallRow
from db import Store, open_store
from tests.fake_server import FakeOllama
from tests.surroundings import inherited
from tests.web.browser import Tab, running_chromium
from tests.web.page_server import PageServer

MODEL = "ollama/echo"
FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "pictures"
ANSWER = """## Look at the checkpoint first

The shape of the stall points at the **write-ahead log**, not at your query. Rows go in quickly until the log passes its limit; \
then one commit has to copy every page back into the database file, and it waits for the oldest reader.

1. **Find the reader.** The backup opens a read transaction at 02:10 and keeps it for four minutes.
2. **Measure the log.** If `import.db-wal` is over 300 MB when the stall begins, the checkpoint is the cause.

```python
with sqlite3.connect("import.db") as db:
    db.execute("pragma wal_checkpoint(truncate)")   # waits for readers
```

| setting | effect |
|---|--:|
| `wal_autocheckpoint` | 1,000 pages |
| `busy_timeout` | 5,000 ms |
"""
QUESTION = ("Our nightly import stalls for about 40 seconds near row 80,000, then carries on as if "
            "nothing happened. The log is attached. What would you check first?")
TITLES = ("Release checklist for 2.4", "Style rules for the handbook",
          "Letter to the landlord about the heating",
          "Compare three ways to page through a long list", "Cron or systemd timers?")
TAGS = {0: "imports", 1: "writing", 2: "home"}


def fill(path: str) -> str:
    """Create typical sessions; return the one that is shown."""
    store = open_store(path)
    for number, title in enumerate(TITLES):
        session = save(store, user_message(title), reply("Yes."))
        store.update_session(session, pinned=number < 2, tags=TAGS.get(number, ""))
    call = ToolCall("1", "read_file", {"path": "import-2026-11-28.log"})
    asking = Message("assistant", (Thinking("The stall has a fixed length."), call), MODEL,
                     Usage(9_655, 64), "tool_calls")
    result = tool_message((ToolResult("1", "read_file", "02:14:07 commit 80000 rows, 41.2 s"),))
    shown = save(store, user_message(QUESTION), asking, result, reply(ANSWER))
    calls = [call_row(day) for day in range(28) for _ in range(1 + day % 4)]
    # most failures are followed by an answer to the same question
    calls += [row._replace(error=None) for row in calls if row.error][1:]
    store.add_calls([(new_message_id(), row) for row in calls])
    store.update_session(shown, title="Why the nightly import stalls", tags="imports")
    store.close()
    return shown


def call_row(day: int) -> CallRow:
    """One call so many days ago, to one of three models."""
    provider, model, cost = (("ollama", "qwen3:14b", None),
                             ("anthropic", "claude-haiku-4-5", 0.0042),
                             ("openai", "gpt-6-luna", 0.0031))[day % 3]
    return CallRow(time.time() - day * 86_400, "", provider, model, "", 0.3 + day % 5 / 10, 4.0,
                   2_000 + 400 * (day % 7),
                   300 + 40 * (day % 5), 1_000, 40.0, cost, 0, 0, "stop",
                   "overloaded" if day % 13 == 12 else None)


def reply(text: str) -> Message:
    return Message("assistant", (Text(text),), MODEL, Usage(12_040, 182), "stop")


def save(store: Store, question: Message, *others: Message) -> str:
    session = Session(store, model=MODEL)
    session.add_user(question)
    for message in others:
        session.add_reply(message)
    session.close()
    return session.id


def conversation(tab: Tab, session: str) -> None:
    tab.go(f"/s/{session}")
    tab.reply()


def compare(tab: Tab, session: str) -> None:
    tab.page.get_by_role("button", name="Compare", exact=True).click()
    tab.page.locator('.models .model[data-model="ollama/words-50:latest"]').click()
    tab.send("Explain to a new colleague why a long reader can stall our import. Five sentences, "
             "no jargon.")
    expect(tab.page.locator(".answer").nth(1).locator(".state")).to_have_text("Done")


def providers(tab: Tab, session: str) -> None:
    tab.go("/providers")
    tab.page.locator("#provider-ollama").get_by_role("button", name="Test connection").click()
    tab.page.get_by_label("Settings of Ollama").click()
    expect(tab.page.locator("#provider-ollama td").first).to_be_visible()
    expect(tab.page.locator("#provider-ollama .state")).to_have_text("Connected")


def numbers(tab: Tab, session: str) -> None:
    tab.go("/numbers")
    expect(tab.page.locator(".bars").first).to_be_visible()


PICTURES: dict[str, tuple[Callable[[Tab, str], None], str, bool]] = {
    "conversation": (conversation, "desktop", False),
    "conversation-dark": (conversation, "desktop", True),
    "conversation-phone": (conversation, "phone", False), "compare": (compare, "desktop", False),
    "providers": (providers, "desktop", False), "numbers": (numbers, "desktop", True)}


def take(chromium: Browser, server: PageServer, session: str, name: str) -> None:
    act, size, dark = PICTURES[name]
    with Tab(chromium, server, size, dark=dark, reduced=True) as tab:
        tab.go()
        act(tab, session)
        tab.page.wait_for_timeout(400)      # until what moves has come to rest
        tab.page.screenshot(path=FOLDER / f"{name}.png")
        tab.fine()


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with (tempfile.TemporaryDirectory() as home, FakeOllama() as ollama,
          running_chromium() as chromium):
        environment = {"HOME": home, **inherited(), "LANG": "C.UTF-8",
                       "OLLAMA_HOST": ollama.url}
        session = fill(os.path.join(home, ".local", "share", "stream-chat", "sessions.db"))
        with PageServer(environment, "-m", "echo", "--num-ctx", "32768") as server:
            for name in sys.argv[1:] or PICTURES:
                take(chromium, server, session, name)
                print(FOLDER / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
