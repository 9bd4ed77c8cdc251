"""The engine's own process: computes with one model for every chat that asks for it, and ends
when the last one has gone.

A script, started by core/engine/process.py with `python -I keeper.py` (and once more by itself,
with the word `compute`); it imports nothing of this program. Its orders come as one JSON line on
standard input (the key must not stand on a command line, where `ps` shows it), its answer is one
JSON line on standard output: {"ready": address} or {"failed": kind, "detail": text}.

Who uses it is told by file locks, which the operating system gives back however a
process ends, kill -9 included:

    NAME.lease   each chat holds it shared; when the keeper gets it for itself alone, nobody is left
    NAME.json    address and key, held exclusively by the keeper as long as it lives; a free
                 lock means a dead engine
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

ORIGIN = "http://localhost"      # no web page is let in: none is served from there
TRIES = 3                        # a free port may be taken before llama-server binds it
LINUX_DEATH_SIGNAL = 1           # PR_SET_PDEATHSIG
STEP = 512  # tokens of a prompt read at once, after which the server says how far it is
KEPT: list[Any] = []             # the server ends when nothing refers to it


def main() -> int:
    keeper = Keeper(json.loads(sys.stdin.readline()))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: keeper.end())
    # libgomp reads this when it is loaded. Threads that spin while they wait cost 90 % of
    # the speed on busy cores.
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
    """`kind` is import (the wheel cannot be loaded), load (the model),
    crash (`detail` is the signal) or binary.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def say(answer: dict[str, str]) -> None:
    """Answer the chat that started us, which may be gone already, and let go of the pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")
    os.dup2(2, 1)


class Keeper:
    """`orders`: directory, name, model, alias, key, context, threads, slots, idle
    (seconds), binary (path or null), starting (a file whose lock is held, here too, until
    the engine is found by others).
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        self.orders = orders
        self.base = os.path.join(orders["directory"], orders["name"])
        self.registration: int | None = None
        self.child: subprocess.Popen[bytes] | None = None

    def serve(self) -> str:
        """Start the engine; its address, once it answers."""
        return self._serve_binary() if self.orders["binary"] else self._serve_wheel()

    def wait(self) -> None:
        """Until the engine ends by itself, which it should not."""
        assert self.child is not None
        self.child.wait()
        self.end(1)

    # ---- who uses it

    def watch_leases(self) -> None:
        """Block until nobody holds the lease, wait out the idle time,
        and end unless somebody came back meanwhile.
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
        """Write address and key into a file that is locked before it gets its name."""
        part = self.base + ".json.part"
        self.registration = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        fcntl.flock(self.registration, fcntl.LOCK_EX)
        shown = {name: self.orders[name]
                 for name in ("key", "model", "context", "threads", "idle", "binary")}
        os.write(self.registration,
                 json.dumps({"address": address, "pid": os.getpid(), **shown}).encode())
        os.replace(part, self.base + ".json")
        os.close(self.orders["starting"])     # whoever wants this engine too has waited for this

    def end(self, code: int = 0) -> None:
        """Leave at once: running requests have nobody left to read them."""
        if self.registration is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.base + ".json")
        if self.child is not None:
            self.child.kill()
        os._exit(code)

    # ---- the engine inside the wheel

    def _serve_wheel(self) -> str:
        """Compute in another process: while a model is loaded nothing else runs there,
        not even a thread that watches leases.
        """
        child = subprocess.Popen([sys.executable, "-I", __file__, "compute"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        assert child.stdin is not None and child.stdout is not None
        self.child = child
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(self.orders | {"keeper": os.getpid()}).encode() + b"\n")
            child.stdin.flush()  # it stays open: its end tells the engine that the keeper is gone
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
        raise Failure("binary", "it ended before it was ready")

    def _command(self, port: int) -> list[str]:
        orders = self.orders
        return [orders["binary"], "-m", orders["model"], "--host", "127.0.0.1", "--port", str(port),
                "-c", str(orders["context"]),
                "-np", str(orders["slots"]), "-t", str(orders["threads"]), "-a", orders["alias"],
                *(["--embeddings"] if orders["compares"] else ["--jinja", "-b", str(STEP)])]


def compute() -> NoReturn:
    """Be the engine of the wheel until the keeper is gone."""
    orders = json.loads(sys.stdin.buffer.readline())
    answer = os.dup(1)
    os.dup2(2, 1)       # what the engine prints is for the log
    die_with_parent()
    if os.getppid() != orders["keeper"]:
        os._exit(0)
    try:
        told = {"ready": start_wheel(orders)}
    except Failure as failure:
        told = {"failed": failure.kind, "detail": failure.detail}
    os.write(answer, json.dumps(told).encode() + b"\n")
    if "ready" in told:
        sys.stdin.buffer.read()     # nothing comes any more: it returns when the keeper has ended
    os._exit(0)  # at once: the server's destructor would wait for running requests


def how_it_ended(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def start_wheel(orders: dict[str, Any]) -> str:
    """Load the model and listen; the address."""
    try:
        import xllamacpp
    # a missing system library is an ImportError, a broken wheel may be anything
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
    settings.kv_unified = True        # each slot may use the whole window while the others rest
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = orders["threads"]
    settings.ui = settings.warmup = settings.fit_params = False
    # on by default where a template knows it
    settings.default_template_kwargs = {"enable_thinking": "false"}
    if orders["compares"]:
        settings.embedding = True
        settings.n_batch = settings.n_ubatch = orders["context"]     # a text is read in one piece
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

    /props wants the key: another program that was quicker to take the port does not pass for ours.
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
    """On Linux the kernel ends the engine when its keeper ends, however that happened."""
    if sys.platform == "linux":
        import ctypes
        ctypes.CDLL(None).prctl(LINUX_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(compute() if sys.argv[1:] == ["compute"] else main())
