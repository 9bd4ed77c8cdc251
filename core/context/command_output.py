"""Runs a command, if the user agrees, for its output as context, with limited time and output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import IO

from core.context.items import Fault, Found, Item
from core.context.sources import Source

MOST_SECONDS = 30.0
MOST_BYTES = 4 << 20      # bytes of output that are kept
MOST_READ = 64 << 20      # bytes of output after which the command is stopped


def run_command(source: Source, root: str, stop: threading.Event) -> Iterator[Found]:
    """Run a command line in a shell in `root`, without input; reads standard output and error."""
    try:
        process = subprocess.Popen(source.target, shell=True, cwd=root, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as problem:
        yield Fault(source.name, f"cannot be run: {problem.strerror}")
        return
    watched = threading.Thread(target=_watch, args=(process, stop), daemon=True)
    watched.start()
    assert process.stdout is not None
    data, left_out = _read(process.stdout)
    if left_out + MOST_BYTES >= MOST_READ:
        _end(process)
    yield _found(source, data, process.wait(), left_out)


def _read(stream: IO[bytes]) -> tuple[bytes, int]:
    """(output, number of bytes left out); long output is reduced to whole lines from its beginning
    and end.
    """
    half = MOST_BYTES // 2
    with stream:
        head, tail, size = stream.read(half), b"", 0
        while size < MOST_READ and (piece := stream.read(half)):
            size += len(piece)
            tail = (tail + piece)[-half:]
    if size <= half:
        return head + tail, 0
    head, tail = head[:head.rfind(b"\n") + 1] or head, tail[tail.find(b"\n") + 1:]
    left_out = half + size - len(head) - len(tail)
    return head + f"[{left_out:,} bytes are left out here]\n".encode() + tail, left_out


def _found(source: Source, data: bytes, code: int, left_out: int) -> Found:
    text = data.decode("utf-8", "replace")
    if code < 0 and not left_out:
        return Fault(source.name, f"was stopped after {MOST_SECONDS:g} s or less")
    if not text.strip():
        return Fault(source.name, "printed nothing" if code == 0
                     else f"printed nothing and ended with {code}")
    # if reading stopped early, we ended the command, whatever its exit code says
    endless = left_out + len(data) >= MOST_READ
    notes = ["was stopped" if code < 0 or endless else f"ended with {code}"] if code else []
    notes += ([f"only the first and last {MOST_BYTES >> 21} MB of its output were read"] if left_out
              else [])
    return Item(source.name, "command", source.name, len(data), text=text, named=True,
                note="; ".join(notes))


def _watch(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """End the command when its time is up or when `stop` is set."""
    end = time.monotonic() + MOST_SECONDS
    while process.poll() is None:
        if stop.wait(0.05) or time.monotonic() > end:
            _end(process)
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command with all that it started."""
    try:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass   # it has ended by itself
