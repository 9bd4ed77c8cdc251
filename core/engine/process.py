"""Finds or starts the engine for a model, and holds a lease on it while a chat needs it.

core/engine/keeper.py, the process that this starts, explains what keeps an engine running.
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
VERSION = 1               # of the protocol with keepers; engines of other versions are not shared
SLOTS = 4                 # requests computed at once; others wait
PAUSE = 0.01              # seconds between attempts to get a lock
ENDING = 2.0              # seconds that an engine may take to end after it stopped answering
LOG_TAIL = 4096           # bytes at the end of the log that are searched for a reason
# the same as in requirements-local.txt, which is not part of an installation
WHEEL = "xllamacpp==2026.10.11549"


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """The model to run and how to run it.

    `directory` is for locks and logs; `binary` is a llama-server to use instead of the wheel.
    `idle` is how many seconds the engine runs after its last chat; `compares`: it is an embedding
    model.
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
        """The engine's name; chats with equal orders for the same file share one engine."""
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
        """Release the lease; the engine ends when no chat holds one. May be called twice."""
        if self.lease >= 0:
            os.close(self.lease)
            self.lease = -1
        if self._child is not None:
            self._child.poll()


def find_binary(chosen: str | None) -> str | None:
    """The llama-server to run, or None for the wheel. Raises ProviderError if there is neither."""
    machine.check_platform()
    if chosen:
        found = shutil.which(os.path.expanduser(chosen))
        if found is None:
            raise ProviderError(f"{chosen} is not a program that can be run as the engine.",
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
                            "Install llama.cpp's llama-server from the system's packages, so that "
                            "it is on the PATH.")
    raise ProviderError("The embedded engine is not installed.", install_hint())


def install_hint() -> str:
    """The command that adds the engine to this installation, however it was made."""
    return f"Install it with: {install_command(WHEEL)} (or put a llama-server on the PATH)."


def find_running(model: str, directory: str, context: int | None,
                 binary: str | None) -> EngineOrder | None:
    """The order of an engine that already runs this file, with any context unless one is given;
    None if there is none.
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
    """Attach to the engine for this order, starting it if necessary. Raises ProviderError."""
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
    """Start the engine under a lock, so that only one chat does; others wait and find it running.

    The child inherits the lock: if this chat is killed, other chats still wait for the engine.
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
    """The registration of an engine that accepts connections; None without one.

    An engine that is ending does not count, although it still holds its lock for a moment.
    """
    limit = time.monotonic() + ENDING
    while True:
        found = _read_registration(base + ".json")
        if (found is None or not _ends(found["pid"]) and _listens(found["address"])
            or time.monotonic() > limit):
            return found
        await asyncio.sleep(PAUSE)


def _ends(pid: int) -> bool:
    """On Linux, whether a process is ending: after a kill it holds its locks until its last thread
    has ended.
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
    """Wait for the lock without blocking the event loop; the operating system releases it when this
    process ends.
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
    """Address, key and process ID of a running engine, which holds the file's lock; else None."""
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
    """The error for the keeper's answer."""
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
        return ProviderError("The embedded engine does not support this processor (illegal "
                             "instruction).", machine.OTHER_WAYS)
    if kind == "crash" and detail == "SIGKILL":
        return ProviderError("The system ended the engine while it started, probably because of "
                             "too little memory.",
                             "Choose a smaller model or a smaller --num-ctx.")
    why = _reason(log)
    return ProviderError(
        f"The engine did not start ({_one_line(detail)}){': ' + why if why else ''}.", look)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200].rstrip(".")


def _reason(log: str) -> str:
    """The last line of the log with an error, or else the last line."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - LOG_TAIL))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()
                     if line.strip()]
    except OSError:
        return ""
    errors = [line for line in lines if " E " in line or "error" in line.lower()]
    return _one_line((errors or lines or [""])[-1].rpartition(" E ")[2])
