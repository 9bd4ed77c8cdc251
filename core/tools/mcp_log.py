"""The last lines that an MCP server's program wrote to standard error, and whether it has ended."""

from __future__ import annotations

import os
import threading
from typing import TextIO

from core.safe_text import safe_line

KEPT = 4_096      # bytes
LINES = 3


class ServerLog:
    """Reads a pipe in a thread of its own and keeps its end.

    All who could write have closed it when the program is gone.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._ended = threading.Event()

    def writer(self) -> TextIO:
        """The end of the pipe to hand to the program;
        close it once the program has it, or is over.
        """
        source, sink = os.pipe()
        threading.Thread(target=self._read, args=(source,), name="mcp-log", daemon=True).start()
        return open(sink, "w", encoding="utf-8")

    def _read(self, source: int) -> None:
        with open(source, "rb", buffering=0) as pipe:
            while data := pipe.read(65_536):
                self._tail = (self._tail + data)[-KEPT:]
        self._ended.set()

    def ended(self) -> bool:
        """Whether the pipe was closed by all."""
        return self._ended.is_set()

    def last_lines(self) -> str:
        """The last lines on one, made safe; empty when nothing was written."""
        lines = [line.strip() for line in self._tail.decode("utf-8", "replace").splitlines()
                 if line.strip()]
        return " / ".join(safe_line(line, 160) for line in lines[-LINES:])
