"""The process of an engine: runs one model for all chats that use it, and ends with the last one.

This script is started by core/engine/process.py with `python -I keeper.py` (and once more by
itself, with the argument `compute`); it imports nothing of this program. It reads one JSON line of
orders from standard input (`ps` would show a key on the command line) and writes one JSON line to
standard output: {"ready": address} or {"failed": kind, "detail": text}.

File locks show who uses it, because the operating system releases them however a process ends,
including kill -9:

    NAME.lease   each chat holds a shared lock; if the keeper gets an exclusive one, no chat is left
    NAME.json    address and key; the keeper holds an exclusive lock as long as it runs, so a free
                 lock means that the engine has ended
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any, NoReturn

ORIGIN = "http://localhost"      # the only allowed origin; no page is served from it
TRIES = 3                        # a free port may be taken before llama-server binds it
LINUX_DEATH_SIGNAL = 1           # PR_SET_PDEATHSIG
STEP = 512  # tokens of a prompt processed at once, after which the server reports its progress
KEPT: list[Any] = []             # references to the server, which would otherwise be destroyed


def main() -> int:
    keeper = Keeper(json.loads(sys.stdin.readline()))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: keeper.end())
    # libgomp reads this when it is loaded. On busy cores, threads that spin while waiting reduce
    # the speed by 90 %.
    os.putenv("OMP_WAIT_POLICY", "passive")
    try:
        address = keeper.serve()
    except Failure as failure:
        say({"failed": failure.kind, "detail": failure.detail})
        return 1
    keeper.publish(address)
    say({"ready": address})
    keeper.wait()
    return 0


class Failure(Exception):
    """The engine could not start. `kind` is import (the wheel cannot be loaded), load (the model
    cannot be loaded), crash (`detail` is the signal) or binary (llama-server failed).
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def say(answer: dict[str, str]) -> None:
    """Send the answer to the chat that started us, which may have ended, and close the pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")
    os.dup2(2, 1)


class Keeper:
    """Starts an engine and ends it when no chat uses it.

    `orders`: directory, name, model, alias, key, context (tokens), threads, slots, idle (seconds),
    binary (path or null), starting (a file descriptor whose lock is held until other chats can find
    the engine).
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        self.orders = orders
        self.base = os.path.join(orders["directory"], orders["name"])
        self.registration: int | None = None
        self.child: subprocess.Popen[bytes] | None = None

    def serve(self) -> str:
        """Start the engine and return its address when it is ready. Raises Failure."""
        return self._serve_binary() if self.orders["binary"] else self._serve_wheel()

    def wait(self) -> None:
        """Wait until the engine ends by itself, which it should not."""
        assert self.child is not None
        self.child.wait()
        self.end(1)

    # ---- who uses it

    def watch_leases(self) -> None:
        """Wait until no chat holds the lease, wait for the idle time, and end unless a chat has
        taken the lease meanwhile.
        """
        lease = os.open(self.base + ".lease", os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            fcntl.flock(lease, fcntl.LOCK_EX)
            if self.orders["idle"] <= 0:
                self.end()
            taken = os.fstat(lease).st_mtime_ns
            fcntl.flock(lease, fcntl.LOCK_UN)
            time.sleep(self.orders["idle"])
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if os.fstat(lease).st_mtime_ns == taken:
                self.end()
            fcntl.flock(lease, fcntl.LOCK_UN)

    def publish(self, address: str) -> None:
        """Write address and key to a file, which is locked before it is renamed to its name."""
        part = self.base + ".json.part"
        self.registration = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        fcntl.flock(self.registration, fcntl.LOCK_EX)
        shown = {name: self.orders[name]
                 for name in ("key", "model", "context", "threads", "idle", "binary")}
        os.write(self.registration,
                 json.dumps({"address": address, "pid": os.getpid(), **shown}).encode())
        os.replace(part, self.base + ".json")
        os.close(self.orders["starting"])     # releases the lock that other chats wait for

    def end(self, code: int = 0) -> None:
        """Exit at once: no chat is left to read the results of running requests."""
        if self.registration is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.base + ".json")
        if self.child is not None:
            self.child.kill()
        os._exit(code)

    # ---- the engine inside the wheel

    def _serve_wheel(self) -> str:
        """Run the wheel in another process: loading a model blocks its whole process, including
        threads that watch leases.
        """
        child = subprocess.Popen([sys.executable, "-I", __file__, "compute"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        assert child.stdin is not None and child.stdout is not None
        self.child = child
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(self.orders | {"keeper": os.getpid()}).encode() + b"\n")
            child.stdin.flush()  # stays open: when it closes, the engine knows that we have ended
        self._start_watching()
        line = child.stdout.readline()
        if not line:
            raise Failure("crash", how_it_ended(child.wait()))
        told = json.loads(line)
        if "failed" in told:
            raise Failure(told["failed"], told["detail"])
        return str(told["ready"])

    def _start_watching(self) -> None:
        threading.Thread(target=self.watch_leases, daemon=True).start()

    # ---- any llama-server

    def _serve_binary(self) -> str:
        os.putenv("LLAMA_API_KEY", self.orders["key"])
        for number in range(TRIES):
            port = free_port()
            try:
                self.child = subprocess.Popen(self._command(port), stdin=subprocess.DEVNULL,
                                              stdout=2, preexec_fn=die_with_parent)
            except OSError as problem:
                raise Failure("binary", problem.strerror or str(problem)) from None
            if not number:
                self._start_watching()
            if answers(f"http://127.0.0.1:{port}", self.orders["key"], self.child):
                return f"http://127.0.0.1:{port}"
        raise Failure("binary", "it exited before it was ready")

    def _command(self, port: int) -> list[str]:
        orders = self.orders
        return [orders["binary"], "-m", orders["model"], "--host", "127.0.0.1", "--port", str(port),
                "-c", str(orders["context"]),
                "-np", str(orders["slots"]), "-t", str(orders["threads"]), "-a", orders["alias"],
                *(["--embeddings"] if orders["compares"] else ["--jinja", "-b", str(STEP)])]


def compute() -> NoReturn:
    """Run the wheel's engine until the keeper ends."""
    orders = json.loads(sys.stdin.buffer.readline())
    answer = os.dup(1)
    os.dup2(2, 1)       # the engine's output goes to the log
    die_with_parent()
    if os.getppid() != orders["keeper"]:
        os._exit(0)
    try:
        told = {"ready": start_wheel(orders)}
    except Failure as failure:
        told = {"failed": failure.kind, "detail": failure.detail}
    os.write(answer, json.dumps(told).encode() + b"\n")
    if "ready" in told:
        sys.stdin.buffer.read()     # returns when the keeper has ended
    os._exit(0)  # skips the server's destructor, which would wait for running requests


def how_it_ended(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def start_wheel(orders: dict[str, Any]) -> str:
    """Load the model, start the wheel's server and return its address. Raises Failure."""
    try:
        import xllamacpp
    # a missing system library raises ImportError; a broken wheel may raise anything
    except Exception as problem:
        raise Failure("import", str(problem)) from None
    settings = xllamacpp.CommonParams()
    settings.model.path = orders["model"]
    settings.model_alias = {orders["alias"]}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [orders["key"]]
    settings.cors_origins = ORIGIN
    settings.n_ctx = orders["context"]
    settings.n_parallel = orders["slots"]
    settings.kv_unified = True        # a slot may use the whole window while others are idle
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = orders["threads"]
    settings.ui = settings.warmup = settings.fit_params = False
    # templates that support thinking enable it by default
    settings.default_template_kwargs = {"enable_thinking": "false"}
    if orders["compares"]:
        settings.embedding = True
        settings.n_batch = settings.n_ubatch = orders["context"]     # a text is read in one batch
    else:
        settings.n_batch = STEP
    settings.verbosity = 2
    try:
        KEPT.append(xllamacpp.Server(settings))
    except Exception as problem:
        raise Failure("load", str(problem)) from None
    return str(KEPT[0].listening_address)


def answers(address: str, key: str, started: subprocess.Popen[bytes]) -> bool:
    """Wait until the server is ready (True) or has ended (False). It answers 503 while it loads.

    /props requires the key, so another program that took the port is not mistaken for ours.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    question = urllib.request.Request(address + "/props",
                                      headers={"Authorization": f"Bearer {key}"})
    while started.poll() is None:
        try:
            with opener.open(question, timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            time.sleep(0.02)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """On Linux, let the kernel end this process when its parent ends for any reason."""
    if sys.platform == "linux":
        import ctypes
        ctypes.CDLL(None).prctl(LINUX_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(compute() if sys.argv[1:] == ["compute"] else main())
