"""Finds the engine that already runs for a model, or starts one, and holds a lease on it as
long as a chat needs it.

What keeps it alive and what ends it is told in core/engine/keeper.py, the process that this starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from core.config.installed import install_command
from core.dataclass import dataclass, field
from core.engine import machine
from core.errors import ProviderError

KEEPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
VERSION = 1  # of what keeper and chats agree on; engines of another version are not shared
SLOTS = 4                 # requests computed at once; more wait
PAUSE = 0.01              # seconds between looks at a lock
ENDING = 2.0              # seconds that an engine may take to end once it answers no more
LOG_TAIL = 4096           # bytes of the log that are looked at for a reason
# as in requirements-local.txt, which an installed program does not have
WHEEL = "xllamacpp==2026.10.11549"


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """What is to be computed with, and how.

    `directory` is for locks and logs; `binary` a llama-server instead of the wheel.

    `idle` is how many seconds the engine outlives its last chat; `compares` says that
    the model gives embeddings.
    """

    model: str
    directory: str
    context: int
    threads: int = 1
    idle: float = 0.0
    binary: str | None = None
    compares: bool = False

    @property
    def name(self) -> str:
        """Chats with equal orders for the same file share one engine."""
        state = os.stat(self.model)
        parts = (VERSION, os.path.realpath(self.model), state.st_size, state.st_mtime_ns,
                 self.context, self.threads, self.idle,
                 self.binary)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(slots=True)
class Engine:
    """A running engine and our lease on it."""

    address: str
    key: str
    pid: int
    log: str
    lease: int
    registration: str
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def alive(self) -> bool:
        return (self.lease >= 0 and (_read_registration(self.registration) or {}).get("key")
                == self.key)

    def release(self) -> None:
        """Give the lease back; the engine ends when no chat holds one. May be called twice."""
        if self.lease >= 0:
            os.close(self.lease)
            self.lease = -1
        if self._child is not None:
            self._child.poll()


def find_binary(chosen: str | None) -> str | None:
    """The llama-server to run, or None for the wheel.

    Raises a ProviderError when there is neither.
    """
    machine.check_platform()
    if chosen:
        found = shutil.which(os.path.expanduser(chosen))
        if found is None:
            raise ProviderError(f"There is no program {chosen} that could be run as the engine.",
                                "Check --engine.")
        return os.path.abspath(found)
    if importlib.util.find_spec("xllamacpp") is not None:
        machine.check_processor()
        return None
    found = shutil.which("llama-server")
    if found is not None:
        return os.path.abspath(found)
    if machine.is_musl():
        raise ProviderError("There is no ready-made engine for this system's C library (musl).",
                            "Install llama.cpp's llama-server from the system's packages; it is "
                            "found on the PATH.")
    raise ProviderError("The embedded engine is not installed.", install_hint())


def install_hint() -> str:
    """The command that adds the engine to this installation, however it was made."""
    return f"Install it with: {install_command(WHEEL)} (or put a llama-server on the PATH)."


def find_running(model: str, directory: str, context: int | None,
                 binary: str | None) -> EngineOrder | None:
    """The order of an engine that computes with this file already;
    any context will do unless one is asked for.
    """
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".json")]
    except OSError:
        return None
    for name in names:
        record = _read_registration(os.path.join(directory, name)) or {}
        if record.get("model") != os.path.abspath(model) or record.get("binary") != binary:
            continue
        order = EngineOrder(model, directory, record["context"], record["threads"], record["idle"],
                            binary)
        if context in (None, order.context) and name == order.name + ".json":
            return order
    return None


async def open_engine(order: EngineOrder) -> Engine:
    """Attach to the engine for this order, starting it where none runs.

    Raises a ProviderError that says why it cannot.
    """
    with _named_failures(order):
        os.makedirs(order.directory, mode=0o700, exist_ok=True)
        base = os.path.join(order.directory, order.name)
        lease = os.open(base + ".lease", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await _lock(lease, exclusive=False)
            os.utime(lease)
            found = await _running(base)
            return (_attached(base, lease, found) if found
                    else await _start_alone(order, base, lease))
        except BaseException:
            os.close(lease)
            raise


async def _start_alone(order: EngineOrder, base: str, lease: int) -> Engine:
    """Start it while no other chat does; the one that waited finds it running.

    The child holds the lock too: if this chat is killed meanwhile, the next one still waits for
    the engine that is coming.
    """
    starting = os.open(base + ".start", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _lock(starting, exclusive=True)
        found = await _running(base)
        if found:
            return _attached(base, lease, found)
        child = await _start(order, base, starting)
        return _attached(base, lease, _read_registration(base + ".json"), child)
    finally:
        os.close(starting)


async def _running(base: str) -> dict[str, Any] | None:
    """The registration of an engine that takes connections.

    One that is just ending holds its lock a moment longer.
    """
    limit = time.monotonic() + ENDING
    while True:
        found = _read_registration(base + ".json")
        if (found is None or not _ends(found["pid"]) and _listens(found["address"])
            or time.monotonic() > limit):
            return found
        await asyncio.sleep(PAUSE)


def _ends(pid: int) -> bool:
    """On Linux, whether a process is dead already:
    one that was killed holds its locks until its last thread has ended.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (OSError, IndexError):
        return False


def _listens(address: str) -> bool:
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), 1).close()
    except OSError:
        return False
    return True


def _attached(base: str, lease: int, record: dict[str, Any] | None,
              child: subprocess.Popen[bytes] | None = None) -> Engine:
    if record is None:
        raise _failed({"failed": "crash", "detail": "right after its start"}, base + ".log")
    return Engine(record["address"], record["key"], record["pid"], base + ".log", lease,
                  base + ".json", child)


async def _start(order: EngineOrder, base: str, starting: int) -> subprocess.Popen[bytes]:
    orders = {"directory": order.directory, "name": order.name,
              "model": os.path.abspath(order.model), "context": order.context,
              "alias": os.path.basename(order.model).removesuffix(".gguf"),
              "key": secrets.token_urlsafe(24),
              "threads": order.threads, "slots": SLOTS, "idle": order.idle, "binary": order.binary,
              "starting": starting, "compares": order.compares}
    with open(base + ".log", "wb") as log:
        child = subprocess.Popen([sys.executable, "-I", KEEPER], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=log,
                                 # Ctrl-C in the terminal is not for the engine
                                 start_new_session=True,
                                 cwd=order.directory, pass_fds=(starting,))
    try:
        answer = await asyncio.to_thread(_exchange, child, json.dumps(orders).encode() + b"\n")
    except BaseException:
        child.kill()
        raise
    if "ready" not in answer:
        child.wait()
        raise _failed(answer, base + ".log")
    return child


def _exchange(child: subprocess.Popen[bytes], orders: bytes) -> dict[str, str]:
    assert child.stdin is not None and child.stdout is not None
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(orders)
    with child.stdout as pipe:
        line = pipe.readline()
    if line:
        return dict(json.loads(line))
    return {"failed": "crash", "detail": f"status {child.wait()}"}


async def _lock(file: int, *, exclusive: bool) -> None:
    """Wait for the lock without blocking the loop;
    the operating system gives it back when we end, however that is.
    """
    import fcntl
    how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(PAUSE)


def _read_registration(path: str) -> dict[str, Any] | None:
    """Address, key and pid of an engine that is alive,
    which it shows by holding the file's lock.
    """
    import fcntl
    try:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.loads(file.read()))
    except (FileNotFoundError, ValueError):
        pass
    return None


@contextlib.contextmanager
def _named_failures(order: EngineOrder) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        where = problem.filename or order.directory
        raise ProviderError(f"The engine cannot be started: {problem.strerror or problem} "
                            f"({where}).") from problem


def _failed(answer: dict[str, str], log: str) -> ProviderError:
    """What the keeper said, in words for the user."""
    kind, detail = answer["failed"], answer["detail"]
    look = f"Its log: {log}"
    if kind == "import" and "libgomp" in detail:
        return ProviderError("The embedded engine needs the system library libgomp1, which is not "
                             "installed.",
                             "Install it: apt install libgomp1 (Debian, Ubuntu), dnf install "
                             "libgomp (Fedora).")
    if kind == "import":
        return ProviderError(f"The embedded engine cannot be loaded: {_one_line(detail)}.",
                             install_hint())
    if kind == "load":
        return ProviderError("The engine cannot load this model: "
                             f"{_reason(log) or _one_line(detail)}.",
                             "The file may be damaged or too new for this engine. " + look)
    if kind == "crash" and detail == "SIGILL":
        return ProviderError("The embedded engine does not know this processor (illegal "
                             "instruction).", machine.OTHER_WAYS)
    if kind == "crash" and detail == "SIGKILL":
        return ProviderError("The engine was ended by the system while it started, probably for "
                             "lack of memory.",
                             "Choose a smaller model or a smaller --num-ctx.")
    why = _reason(log)
    return ProviderError(
        f"The engine did not start ({_one_line(detail)}){': ' + why if why else ''}.", look)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200].rstrip(".")


def _reason(log: str) -> str:
    """The last line of the log that names an error, else the last line."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - LOG_TAIL))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()
                     if line.strip()]
    except OSError:
        return ""
    errors = [line for line in lines if " E " in line or "error" in line.lower()]
    return _one_line((errors or lines or [""])[-1].rpartition(" E ")[2])
