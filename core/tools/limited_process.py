"""Runs functions on hostile input in a child process with limited time and memory.

An operation in C can hold the interpreter's lock, so that no thread can stop it and Ctrl-C waits,
but a process can be killed. Both sides exchange JSON, so that a compromised child cannot run code
in the chat.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from core.dataclass import dataclass, field
from core.errors import ChatError, ContextError, ToolError

MOST_MEMORY = 160 << 20      # bytes of memory that the child may use for data
MOST_WRITTEN = 1 << 30       # bytes of a temporary file, such as SQLite sorts in
LARGEST_RESULT = 64 << 20
GRACE = 1.0  # seconds in which a child may cancel a server's query before it is killed
# seconds beyond the limit, which the function itself should observe and can explain better
SPARE = 2.0
START = ("import sys; sys.path.insert(0, sys.argv[1]); from core.tools.limited_process import "
         "serve; serve(sys.argv[2])")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RAISED: dict[str, type[ChatError]] = {"tool": ToolError, "context": ContextError}


class LimitReached(ToolError):
    """The child exceeded its memory or time limit, or crashed."""


@dataclass(slots=True)
class Job:
    """What a function in the child receives besides its arguments; `stop` is set when the call was
    abandoned.
    """

    data: bytes = b""
    stop: threading.Event = field(default_factory=threading.Event)


class LimitedProcess:
    """A child process that runs one function after another; started by the first call, and again
    after it was killed.

    Calls must come from one thread; close() may be called from another and ends a running call.
    """

    def __init__(self, memory: int = MOST_MEMORY) -> None:
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()

    def call(self, function: str, arguments: Mapping[str, Any], data: bytes = b"", *,
             seconds: float,
             stop: threading.Event | None = None) -> Any:
        """The result of `module:function`, called in the child with a Job and these arguments.

        Arguments and result are JSON values; `seconds` is the time limit. Raises LimitReached, and
        the function's ToolError or ContextError.
        """
        if stop is not None and stop.is_set():      # a fast machine might even finish it
            raise LimitReached("The call was stopped.")
        process = self._process = self._process or self._start()
        done = threading.Event()
        guard = _Watch(process, (self._closed, stop or threading.Event()), seconds + SPARE, done)
        guard.start()
        try:
            _send(process, {"function": function, "arguments": arguments, "data": len(data),
                            "seconds": seconds}, data)
            answer = _receive(process)
        except (OSError, ValueError, EOFError):
            answer = None
        finally:
            done.set()
            guard.join()
        if answer is None or "limit" in answer:
            self._end()
            raise LimitReached(guard.reason or f"it needs more than {self._memory >> 20} MB of "
                               "memory, or is broken")
        if "error" in answer:
            kind, message, hint = map(str, answer["error"])
            raise RAISED.get(kind, ToolError)(message, hint)
        return answer["value"]

    def _start(self) -> subprocess.Popen[bytes]:
        if self._closed.is_set():
            raise LimitReached("The call was stopped.")
        return subprocess.Popen([sys.executable, "-P", "-c", START, ROOT, str(self._memory)],
                                stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                start_new_session=True)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):   # unsent data cannot be flushed
                process.communicate()

    def close(self) -> None:
        """End the child and any running call. Later calls raise LimitReached."""
        self._closed.set()
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._end()


def run_limited(function: str, arguments: Mapping[str, Any], data: bytes = b"", *, seconds: float,
                stop: threading.Event | None = None) -> Any:
    """One call of LimitedProcess in a new child; see LimitedProcess.call()."""
    with LimitedProcess() as process:
        return process.call(function, arguments, data, seconds=seconds, stop=stop)


class _Watch(threading.Thread):
    """Ends the child when its time is up or one of the events is set, and records the reason."""

    def __init__(self, process: subprocess.Popen[bytes], stops: tuple[threading.Event, ...],
                 seconds: float,
                 done: threading.Event) -> None:
        super().__init__(name="limited-process", daemon=True)
        self.reason = ""
        self._process, self._stops, self._seconds, self._done = process, stops, seconds, done

    def run(self) -> None:
        end = time.monotonic() + self._seconds
        while not self._done.wait(0.05):
            if any(stop.is_set() for stop in self._stops):
                self.reason = "The call was stopped."
            elif time.monotonic() > end:
                self.reason = f"It took longer than {self._seconds:g} s and was stopped."
            else:
                continue
            self._process.terminate()
            if not self._done.wait(GRACE):
                self._process.kill()
            return


# ---- what both sides write

def _send(process: subprocess.Popen[bytes], header: Mapping[str, Any], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(header).encode() + b"\n")
    process.stdin.write(data)
    process.stdin.flush()


def _receive(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    assert process.stdout is not None
    size = int(process.stdout.readline(32))
    data = process.stdout.read(size) if size <= LARGEST_RESULT else b""
    answer = json.loads(data) if len(data) == size else None
    return answer if isinstance(answer, dict) else None


# ---- in the child

def serve(memory: str) -> None:
    """Answer calls from standard input until it ends; output of the functions is discarded."""
    _limit(int(memory))
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    stop = threading.Event()
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for header, data in _calls(sys.stdin.buffer):
        _limit_time(header["seconds"] + 2 * SPARE)
        answer = json.dumps(_answer(header, Job(data, stop))).encode()
        answers.write(b"%d\n" % len(answer) + answer)
        answers.flush()


def _calls(requests: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    while line := requests.readline():
        header = json.loads(line)
        yield header, requests.read(header["data"])


def _answer(header: Mapping[str, Any], job: Job) -> dict[str, Any]:
    module, _, name = header["function"].partition(":")
    try:
        return {"value": getattr(importlib.import_module(module), name)(job, **header["arguments"])}
    except MemoryError:
        return {"limit": "memory"}
    except ChatError as problem:
        return {"error": (problem.kind, problem.message, problem.hint)}
    except Exception as problem:
        return {"error": ("tool", f"{type(problem).__name__}: {problem}"[:500], "")}


def _limit_time(seconds: float) -> None:
    """Let the system end this process after `seconds`: the chat may have been killed."""
    try:
        import resource
    except ImportError:      # Windows
        return
    used = time.process_time()
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU,
                           (int(used + seconds) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit(memory: int) -> None:
    """Limit the memory and file sizes of this process as far as the system supports it."""
    try:
        import resource
    except ImportError:      # Windows
        return
    for limit, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, MOST_WRITTEN),
                        (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))
