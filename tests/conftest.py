"""What all tests share: an empty home, no network beyond loopback, and no settings from outside."""

from __future__ import annotations

import gc
import itertools
import os
import re
import socket
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import postgres, quick
from tests.fake_server import FakeOllama
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent
# no user may listen there, so a connection is refused on every machine
NOTHING_LISTENS = "http://127.0.0.1:1"
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "CI", "PYTEST_XDIST_WORKER")


def _first_own_port() -> int:
    """The lowest ephemeral port; services of the machine use lower ones."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
                   .split()[0])
    except (OSError, ValueError):
        return 32_768


FIRST_OWN_PORT = _first_own_port()


class _Processes:
    """Records which tests start processes; `make quick` runs those that start none."""

    EVENTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec",
                        "os.system"})

    def __init__(self) -> None:
        self.started: list[str] = []
        sys.addaudithook(self.hook)   # cannot be removed again

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in self.EVENTS and not _finds_a_library():
            self.started.append(": ".join([event, *map(str, arguments[:1])]))


def _finds_a_library() -> bool:
    """Whether ctypes.util is looking for a library, for which it may run ldconfig or a compiler."""
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "ctypes.util":
        frame = frame.f_back  # type: ignore[assignment]  # None at the bottom
    return frame is not None


PROCESSES = _Processes()
# fixtures that start processes
STARTERS = {"program", "environment", "tiny", "real_model", "postgres_url"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only the files of tests/quick.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what `make quick` leaves out: importing alone takes too long."""
    if (not config.getoption("quick") or not collection_path.match("test_*.py")
            or not collection_path.is_relative_to(ROOT / "tests")):
        return None
    return collection_path.relative_to(ROOT / "tests").as_posix() not in quick.FILES or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end, so Python need not look through all of it for garbage
    again and again, now and in each test.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests whose fixtures start processes."""
    for item in items:
        if not STARTERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("processes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    PROCESSES.started.clear()


_OURS = ("core", "db", "stream_chat", "tests", "bench", "install")


def _needs(package: str | None) -> str:
    """Why a test that needs a missing package is skipped; "" if none is missing, or if none may be.
    """
    if not package or package.partition(".")[0] in _OURS or os.environ.get("CI"):
        return ""
    return f"needs the package {package}: pip install -r requirements-dev.txt"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport,
                                                                         pytest.CollectReport]:
    """Skip a file of tests whose packages are not installed, with the reason."""
    report = yield
    if report.outcome == "failed":
        missing = re.findall(r"ModuleNotFoundError: No module named '([\w.]+)'",
                             str(report.longrepr))
        reason = _needs(missing[-1] if missing else None)
        if reason:
            report.outcome, report.longrepr = ("skipped",
                                               (str(collector.path), 0, f"Skipped: {reason}"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that starts a process without the mark; skip one that lacks a package."""
    try:
        result = yield
    except ModuleNotFoundError as problem:
        reason = _needs(problem.name)
        if not reason:
            raise
        pytest.skip(reason)
    if PROCESSES.started and item.get_closest_marker("processes") is None:
        pytest.fail(f"mark the test with @pytest.mark.processes: it starts {PROCESSES.started[0]}",
                    pytrace=False)
    return result


HOMES = itertools.count()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def clean_environment(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the test from the user who runs it, and keep its files in tmp_path."""
    for name in list(os.environ):
        if name not in KEPT and not name.startswith(("PYTEST_", "COV", "STREAM_CHAT_TEST_")):
            monkeypatch.delenv(name)
    # not made: most tests need no directory
    monkeypatch.setenv("HOME", str(homes / str(next(HOMES))))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that connects to anything but its own servers, even if the program handles the
    error.
    """
    connect = socket.socket.connect
    strangers: list[object] = []

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and self.family in (socket.AF_INET, socket.AF_INET6):
            host, port = str(address[0]), int(address[1])
            if (not (host.startswith("127.") or host in ("::1", "localhost", "0.0.0.0"))
                or 1 < port < FIRST_OWN_PORT):
                strangers.append(address)
                raise ConnectionRefusedError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]
    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
    assert not strangers, (f"the test tried to reach {strangers}, which may be a service of this "
                           "machine")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment for child processes: an empty home, the same interpreter, and no local Ollama.
    """
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return inherited() | {"HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm-256color",
                          "PYTHONPATH": str(ROOT), "OLLAMA_HOST": NOTHING_LISTENS,
                          "STREAM_CHAT_STATUS": "off"}


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for all tests of this worker; `postgres.new_database` creates a database
    in it.
    """
    reason = postgres.why_not()
    if reason:
        pytest.skip(f"no PostgreSQL: {reason}")
    with postgres.running_server() as url:
        yield url


@pytest.fixture
def ollama(environment: dict[str, str]) -> Iterator[FakeOllama]:
    """A fake Ollama server that a started program finds; a module that needs other models has its
    own.
    """
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture
def program() -> list[str]:
    return [sys.executable, str(ROOT / "stream_chat.py")]
