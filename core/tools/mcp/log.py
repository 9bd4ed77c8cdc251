"""The last lines that an MCP server's program wrote to standard error, and whether it has ended."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TextIO

from core.safe_text import safe_line
from core.tools.mcp.keeper import TOO_LONG

KEPT = 4_096      # bytes that are kept
LINES = 3
END_SECONDS = 3.0    # seconds to wait for a program to end


class ServerLog:
    """Reads a pipe in a thread and keeps its last bytes; the pipe is closed when the program and
    all its children have ended.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._ended = threading.Event()

    def writer(self) -> TextIO:
        """The writing end of the pipe for the program; close it once the program has it."""
        source, sink = os.pipe()
        threading.Thread(target=self._read, args=(source,), name="mcp-log", daemon=True).start()
        return open(sink, "w", encoding="utf-8")

    def _read(self, source: int) -> None:
        with open(source, "rb", buffering=0) as pipe:
            while data := pipe.read(65_536):
                self._tail = (self._tail + data)[-KEPT:]
        self._ended.set()

    def ended(self) -> bool:
        """Whether all writers have closed the pipe."""
        return self._ended.is_set()

    async def wait_for_end(self) -> None:
        """Wait until all writers have closed the pipe, at most END_SECONDS."""
        for _ in range(int(END_SECONDS / 0.02)):
            if self.ended():
                return
            await asyncio.sleep(0.02)

    def too_long(self) -> str:
        """Why the keeper ended the program; "" if it did not."""
        return TOO_LONG if TOO_LONG.encode() in self._tail else ""

    def last_lines(self) -> str:
        """The last lines, joined and made safe; "" if nothing was written."""
        lines = [line.strip() for line in self._tail.decode("utf-8", "replace").splitlines()
                 if line.strip() and line.strip() != TOO_LONG]
        return " / ".join(safe_line(line, 160) for line in lines[-LINES:])
