"""Starts a PostgreSQL server in a temporary directory, for tests that need a real one."""

from __future__ import annotations

import glob
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shlex import quote


def binaries() -> str | None:
    """The directory of initdb and pg_ctl, or None."""
    found = [os.path.dirname(path)
             for path in sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))]
    on_path = shutil.which("initdb")
    return found[-1] if found else os.path.dirname(on_path) if on_path else None


def why_not() -> str:
    """Why no server can be started here; empty if one can.

    Raises RuntimeError if one is required (.ci/run).
    """
    reason = _reason()
    if reason and os.environ.get("STREAM_CHAT_TEST_POSTGRES") == "required":
        raise RuntimeError(f"the tests of PostgreSQL cannot run: {reason}")
    return reason


def _reason() -> str:
    if binaries() is None:
        return "PostgreSQL's initdb is not installed"
    try:
        import psycopg
        psycopg.connect
    except ImportError:
        return "psycopg is not installed"
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "initdb does not run as root, and there is no user postgres"
        if shutil.which("runuser") is None:
            return "initdb does not run as root, and there is no runuser"
    return ""


def as_server(command: list[str]) -> None:
    """Run as a user who may start a server: PostgreSQL does not run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    done = subprocess.run(prefix + command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.STDOUT,
                          cwd="/", timeout=60)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reader_url(url: str) -> str:
    """The same database for a role that may only read."""
    import psycopg
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'").fetchone() is None:
            connection.execute("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
    return url.replace("//chat@", "//reader@")


_NUMBER = itertools.count()


def new_database(url: str) -> str:
    """The URL of a new, empty database in this server."""
    import psycopg
    name = f"test_{next(_NUMBER)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.removesuffix("postgres") + name


class Server:
    """A new, empty server, which can be stopped as if it had crashed and started again."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="stream-chat-pg-")
        self._where, self._port = binaries() or "", free_port()
        self._data = os.path.join(self._directory, "data")
        self.url = f"postgresql://chat@127.0.0.1:{self._port}/postgres"
        if os.getuid() == 0:
            shutil.chown(self._directory, "postgres")
        words = "-U chat -A trust -E UTF8 --locale=C --no-sync".split()
        as_server([os.path.join(self._where, "initdb"), "-D", self._data, *words])

    def start(self) -> None:
        # pg_ctl hands them to a shell
        options = (f"-p {self._port} -k {quote(self._directory)} -c listen_addresses=127.0.0.1"
                   " -c fsync=off")
        self._control("-l", os.path.join(self._directory, "log"), "-o", options, "start")

    def crash(self) -> None:
        self._control("-m", "immediate", "stop")

    def _control(self, *words: str) -> None:
        as_server([os.path.join(self._where, "pg_ctl"), "-D", self._data, "-w", *words])

    def remove(self) -> None:
        with suppress(RuntimeError):  # it never started, or was stopped already
            self.crash()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def running_server() -> Iterator[str]:
    """Yield the URL of a new, empty server."""
    server = Server()
    try:
        server.start()
        yield server.url
    finally:
        server.remove()
