"""No byte from outside the allowed places, however the path is written and whatever is swapped
during the access.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import ToolError
from core.tools import ToolContext, real_roots
from core.tools.database import query_database
from core.tools.files import list_files, read_file, search_files
from core.tools.guards.files import find_file, open_file
from core.tools.json_file import read_json_file
from core.tools.limited_process import LimitedProcess

SECRET = "the-planted-secret"


class World:
    """A root with links that lead outside, and a secret there."""

    def __init__(self, base: Path) -> None:
        self.base, self.root, self.outside = base, base / "root", base / "outside"
        for directory in (self.root / "sub" / "deep", self.outside / "sub", base / "root-too",
                          base / "data"):
            directory.mkdir(parents=True)
        (self.root / "plain.txt").write_text("plain words")
        (self.root / "sub" / "inner.txt").write_text("inner words")
        self.secret = self.outside / "secret.txt"
        for place in (self.secret, self.outside / "sub" / "secret.txt",
                      base / "root-too" / "secret.txt", base / "secret.txt",
                      base / "data" / "sessions.db", base / "data" / "sessions.db-wal"):
            place.write_text(SECRET)
        self.links()
        self.context = ToolContext(roots=(str(self.root),),
                                   protected=(str(base / "data"),
                                              str(self.root / "sub" / "own.db")))

    def links(self) -> None:
        root = self.root
        targets = {"link": self.secret, "dirlink": self.outside, "uplink": Path(".."),
                   "rellink": Path("../outside/secret.txt"),
                   "chain": root / "link", "sub/back": Path("../../outside"),
                   "sub/deep/far": Path("../../../secret.txt"),
                   "slash": Path("/"), "proc": Path("/proc/self"), "fd": Path("/dev/fd"),
                   "loop": root / "loop",
                   "env": Path("/proc/self/environ"), "data": self.base / "data",
                   "good": Path("sub/inner.txt")}
        for name, target in targets.items():
            os.symlink(target, root / name)
        os.mkfifo(root / "pipe")
        os.link(self.base / "data" / "sessions.db", root / "hard.txt")
        for name in (".env", ".env.local", "id_rsa", "server.key", "cert.pem", ".netrc",
                     "sub/own.db", "sub/own.db-wal",
                     "credentials"):
            (root / name).write_text(SECRET)
        (root / ".ssh").mkdir()
        (root / ".ssh" / "config").write_text(SECRET)

    def attacks(self) -> list[str]:
        ups = ["../" * n + tail for n in range(1, 9)
               for tail in ("secret.txt", "outside/secret.txt", "outside/sub/secret.txt")]
        insides = ["link", "dirlink/secret.txt", "dirlink/sub/secret.txt", "uplink/secret.txt",
                   "uplink/outside/secret.txt",
                   "rellink", "chain", "sub/back/secret.txt", "sub/deep/far", "loop", "pipe", "env",
                   "proc/environ",
                   "proc/root/etc/passwd", "fd/0", "data/sessions.db", "hard.txt", ".env",
                   ".env.local", "id_rsa",
                   "server.key", "cert.pem", ".netrc", "sub/own.db", "sub/own.db-wal",
                   "credentials", ".ssh/config",
                   "slash/etc/passwd", "ID_RSA", ".", "sub", ""]
        dressed = [form.format(path) for path in ups[:9] + insides[:13]
                   for form in ("./{}", "sub/../{}", ".//{}", "sub/deep/../../{}", "{}/.", "{}/")]
        absolute = [str(self.secret), str(self.base / "secret.txt"),
                    str(self.root / ".." / "outside" / "secret.txt"),
                    str(self.base / "root-too" / "secret.txt"), "/" + str(self.secret),
                    "//" + str(self.secret), "/etc/passwd",
                    "/etc/shadow", "/proc/self/environ", "/proc/self/cmdline", "/proc/1/environ",
                    "/dev/stdin", "/dev/null",
                    f"/proc/self/root{self.secret}", f"/proc/self/cwd/../{self.secret}",
                    f"file://{self.secret}",
                    str(self.root) + "-too/secret.txt", str(self.root) + "/../secret.txt"]
        odd = ["..\\outside\\secret.txt", "..%2foutside%2fsecret.txt", "%2e%2e/outside/secret.txt",
               "\uff0e\uff0e/outside/secret.txt", "plain.txt\0.jpg", "\0", "~/secret.txt",
               "~root/secret.txt",
               "$HOME/secret.txt", "a" * 5_000, "/" * 4_000, "..", "../", "../root-too/secret.txt",
               "....//outside/secret.txt",
               "..;/outside/secret.txt", "link\n", " ../outside/secret.txt"]
        return [*ups, *insides, *dressed, *absolute, *odd]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def outcome(function: Callable[..., str], *arguments: Any) -> str:
    try:
        return function(*arguments)
    except ToolError as problem:
        return f"refused: {problem.message}"


@pytest.mark.processes
def test_no_path_leads_outside(world: World) -> None:
    """Databases are read by one child process, as `query_database` starts one for each call."""
    attacks = world.attacks()
    assert len(attacks) >= 200
    environment = Path("/proc/self/environ").read_text().split("\0")[0]
    with LimitedProcess() as child:
        def read_database(context: ToolContext, path: str) -> str:
            return str(child.call("core.tools.database:read_sqlite", {
                "path": path, "roots": context.roots, "protected": context.protected, "sql": "",
                "most": 1, "seconds": context.seconds}, seconds=60))
        for path in attacks:
            for function in (read_file, read_json_file, read_database, list_files):
                refused_or_empty(outcome(function, world.context, path), environment)
            with pytest.raises(ToolError):
                open_file(world.context, path).close()
    for path in ("link", "dirlink/secret.txt", "hard.txt", str(world.secret), "../secret.txt"):
        refused_or_empty(outcome(query_database, world.context, path), environment)


def refused_or_empty(said: str, environment: str) -> None:
    assert SECRET not in said and "root:x:" not in said
    assert not environment or environment not in said


@pytest.mark.parametrize("path",
                         ["/proc/self/environ", "/proc/self/status", "/proc/version",
                          "/sys/kernel/mm", "/dev/null"])
def test_what_the_kernel_shows_of_itself_is_refused_whatever_the_roots_are(path: str) -> None:
    context = ToolContext(roots=("/",))
    assert "is never read by a tool" in outcome(read_file, context, path)
    assert outcome(read_file, ToolContext(roots=(path,)), path).startswith("refused")


def test_a_refusal_names_the_path_and_what_is_there(world: World) -> None:
    for path, said in (("pipe", "a pipe or a socket"), ("sub", "a directory"),
                       ("nothing", "nothing")):
        refused = outcome(read_file, world.context, path)
        assert refused.startswith("refused") and repr(path) in refused and said in refused
    with pytest.raises(ToolError, match="'sub'"):
        find_file(world.context, "sub")
    assert find_file(world.context, "sub/inner.txt") == str(world.root / "sub" / "inner.txt")


def test_a_path_may_be_as_long_as_the_system_allows(world: World) -> None:
    assert outcome(read_file, world.context, "a" * 4_097) == "refused: This is not a valid path."
    assert "valid" not in outcome(read_file, world.context, "a" * 4_096)
    assert outcome(list_files, world.context, "none") == "refused: There is no directory 'none'."
    assert outcome(read_file, world.context, "none") == "refused: There is no file 'none'."


def test_a_list_is_as_deep_as_it_was_asked_for(world: World) -> None:
    top = ["plain.txt  11", "sub/"]
    assert list_files(world.context, ".", "*", 1).split("\n") == top
    assert set(list_files(world.context, ".", "*", 2).split("\n")) == {*top, "sub/deep/",
                                                                       "sub/inner.txt  11"}


def test_what_is_inside_is_read(world: World) -> None:
    for path in ("plain.txt", "./sub/../plain.txt", str(world.root / "plain.txt"), "sub//inner.txt",
                 "good"):
        assert outcome(read_file, world.context, path).endswith(" words")


def test_what_is_refused_stays_open_nowhere(world: World) -> None:
    (world.root / "key.txt").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    before = os.listdir("/dev/fd")
    for path in ("key.txt", "link", "pipe", "hard.txt", "sub", "missing", "plain.txt"):
        outcome(read_file, world.context, path)
        assert os.listdir("/dev/fd") == before, path


def test_memory_is_a_place_for_files_and_devices_are_not() -> None:
    """A root in /dev/shm, as where TMPDIR lies there, is like any other."""
    if not os.path.isdir("/dev/shm"):
        pytest.skip("this system has no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        (Path(root) / "plain.txt").write_text("plain words")
        os.symlink("/dev/null", Path(root) / "device")
        context = ToolContext(roots=(root,))
        assert outcome(read_file, context, "plain.txt").endswith("plain words")
        assert "plain.txt" in list_files(context, ".", "*", 9)
        assert outcome(read_file, context, "device").startswith("refused")
    for path in ("/dev/null", "/dev/zero", "/dev/stdin", "/dev/fd/0", "/dev/shmoo", "/dev"):
        assert outcome(read_file, ToolContext(roots=("/",)), path).startswith("refused"), path


def test_listing_and_searching_stay_inside(world: World) -> None:
    listed = list_files(world.context, ".", "*", 9)
    assert set(listed.split("\n")) == {"plain.txt  11", "sub/", "sub/deep/", "sub/inner.txt  11"}
    assert "[0 matches in 2 files]" in search_files(world.context, SECRET)
    assert "sub/inner.txt:1: inner words" in search_files(world.context, "INNER")
    assert "outside the places that may be read" in outcome(list_files, world.context, "dirlink")


def test_a_single_file_may_be_a_root(world: World) -> None:
    context = ToolContext(roots=real_roots([str(world.root / "link")]))
    assert outcome(read_file, context, str(world.secret)).endswith(SECRET)
    assert outcome(read_file, context, "secret.txt").endswith(SECRET)
    assert outcome(read_file, context, str(world.root / "plain.txt")).startswith("refused")
    assert outcome(read_file, context, str(world.secret / "x")).startswith("refused")


def test_a_root_that_was_given_through_a_link_is_known_by_both_names(world: World) -> None:
    os.symlink(world.root, world.base / "alias")
    context = ToolContext(roots=real_roots([str(world.base / "alias")]))
    assert outcome(read_file, context,
                   str(world.base / "alias" / "plain.txt")).endswith("plain words")


class Swapper:
    """Swaps two names at the worst moment: when Python is about to open something for the nth time.
    """

    def __init__(self) -> None:
        self.countdown, self.names, self.done = 0, (Path(), Path()), False
        sys.addaudithook(self.hook)   # cannot be removed, so it is inactive between races

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.countdown and event in ("open", "sqlite3.connect", "os.listdir", "os.scandir"):
            self.countdown -= 1
            if self.countdown == 0:
                self.exchange()
                self.done = True

    def exchange(self) -> None:
        first, second = self.names
        between = first.parent / "between"
        os.rename(first, between)
        os.rename(second, first)
        os.rename(between, second)


@pytest.mark.processes
def test_swaps_while_a_path_is_walked(world: World) -> None:
    """A directory or a file becomes a link to the outside between any two steps of any tool:
    more than 100 races.
    """
    (world.root / "swap" / "sub").mkdir(parents=True)
    for directory, name in ((world.root / "swap", "secret.txt"),
                            (world.root / "swap" / "sub", "secret.txt")):
        (directory / name).write_text("harmless")
    for directory, content in ((world.outside, SECRET), (world.root / "swap", "harmless")):
        with sqlite3.connect(directory / "shop.db") as connection:
            connection.execute("CREATE TABLE t (a)")
            connection.execute("INSERT INTO t VALUES (?)", (content,))
        connection.close()
    pairs = {"swap": world.outside, "swap/secret.txt": world.secret,
             "swap/sub": world.outside / "sub",
             "swap/shop.db": world.outside / "shop.db"}
    swapper, races, said = Swapper(), 0, set()
    for name, target in pairs.items():
        os.symlink(target, world.root / "spare")
        swapper.names = (world.root / name, world.root / "spare")
        for function, arguments in ((read_file, ("swap/secret.txt",)),
                                    (read_file, ("swap/sub/secret.txt",)),
                                    (read_json_file, ("swap/secret.txt",)),
                                    (list_files, ("swap", "*", 3)),
                                    (search_files, (SECRET[:4], "swap")),
                                    (query_database, ("swap/shop.db", "SELECT a FROM t"))):
            for moment in range(1, 60):
                swapper.countdown, swapper.done = moment, False
                said.add(outcome(function, world.context, *arguments))
                swapper.countdown = 0
                if not swapper.done:
                    break
                races += 1
                swapper.exchange()
        os.unlink(world.root / "spare")
    print(races, sorted(said))
    assert races >= 100
    assert not any(SECRET in text for text in said)
    assert {"[1 lines]\nharmless", "a\nharmless\n[1 rows]"} <= said
