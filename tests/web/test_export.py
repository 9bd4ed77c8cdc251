"""Streaming an export to a browser: whatever its size, the server has only a part in memory, and
answers others meanwhile.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.messages import user_message
from core.store.identity import new_message_id
from db import open_store
from tests.web.page_server import PATIENCE, PageServer

pytestmark = pytest.mark.processes
MESSAGES, SIZE = 400, 100_000


@pytest.fixture
def page(home: dict[str, str], tmp_path: Path) -> Iterator[PageServer]:
    """A server with a session of 40 MB."""
    place = str(tmp_path / "large.db")
    store = open_store(place)
    store.create_session("large", "Large", "demo/m", 1.0)
    for number in range(MESSAGES):
        store.add_message("large", new_message_id(),
                          user_message(f"{number} " + "x" * SIZE), "complete")
    store.close()
    with PageServer(home, "-m", "demo/demo", "--database-url", place) as server:
        yield server


def peak(page: PageServer) -> int:
    """The most memory that the server had, in bytes."""
    status = Path(f"/proc/{page.process.pid}/status").read_text("ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines()
                if line.startswith("VmHWM"))


def test_an_export_of_forty_megabytes_takes_a_few_and_others_are_answered_meanwhile(
        page: PageServer) -> None:
    page.get("/api/sessions")
    before, waits, over = peak(page), [], threading.Event()

    def ask_others() -> None:
        while not over.is_set():
            begun = time.monotonic()
            assert page.client.get(f"{page.url}/healthz", timeout=PATIENCE).ok
            waits.append(time.monotonic() - begun)
    others = threading.Thread(target=ask_others)
    others.start()
    size, numbers = 0, []
    try:
        with page.client.get(f"{page.url}/api/sessions/large/export?format=jsonl", stream=True,
                             timeout=PATIENCE) as answer:
            assert answer.headers["content-disposition"].endswith('.jsonl"')
            for line in answer.iter_lines(1 << 20):
                size += len(line)
                row = json.loads(line)
                numbers += [part["text"].split()[0] for part in row.get("parts", ())]
    finally:
        over.set()
        others.join()
    assert numbers == list(map(str, range(MESSAGES))) and size > MESSAGES * SIZE
    assert peak(page) - before < 20_000_000
    assert waits
