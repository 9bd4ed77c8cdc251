"""What each command may import: nothing heavy before it is needed, and imports have no effects."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fake_server import FakeOllama

Environment = dict[str, str]
HEAVY = {"rich", "prompt_toolkit", "sqlite_utils", "ollama", "requests", "yaml", "pygments",
         "pydantic", "click", "ddgs", "httpx",
         "wcwidth", "lxml", "ijson", "jmespath", "psycopg"}
# Tells, on leaving, what was loaded; `first` looks at the moment of the first word instead.
WRAPPER = """
import atexit, os, sys
def loaded():
    return {name for name, module in [*sys.modules.items()]
            if type(module).__name__ != "LateModule"}
before = loaded()
at_first = []
write = sys.stdout.write
def first(text):
    if not at_first:
        at_first.extend(loaded() - before)
    return write(text)
def tell(*_):
    sys.stdout.flush()
    open(place + ".all", "w").write(" ".join(loaded() - before))
    open(place + ".first", "w").write(" ".join(at_first))
leave = os._exit
os._exit = lambda code: (tell(), leave(code))
atexit.register(tell)
sys.stdout.write = first
program, place = sys.argv.pop(1), sys.argv.pop(1)
sys.path.insert(0, os.path.dirname(program))
exec(compile(open(program).read(), program, "exec"), {"__name__": "__main__", "__file__": program})
"""


def without_coverage(environment: Environment) -> Environment:
    """Child processes must not measure coverage, which loads modules that would be counted here."""
    return {name: value for name, value in environment.items() if not name.startswith("COV")}


def loaded(arguments: list[str], environment: Environment, tmp_path: Path,
           when: str = "all", output: int = subprocess.PIPE) -> set[str]:
    """The modules that a run of the program loaded, except those of the interpreter."""
    place = tmp_path / "loaded"
    environment = without_coverage(environment)
    done = subprocess.run([sys.executable, "-c", WRAPPER, str(ROOT / "stream_chat.py"), str(place),
                           *arguments],
                          env=environment, stdin=subprocess.DEVNULL, stdout=output,
                          stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(Path(f"{place}.{when}").read_text().split())


def heavy(modules: set[str]) -> set[str]:
    return {name for name in HEAVY if name in modules}


def test_the_version_loads_nothing(environment: Environment, tmp_path: Path) -> None:
    modules = loaded(["--version"], environment, tmp_path)
    assert {name for name in modules if name.startswith("core")} == {"core"}
    assert "db" not in modules and not modules & {"asyncio", "argparse", "sqlite3", "json", "re"}


def test_help_loads_little(environment: Environment, tmp_path: Path) -> None:
    modules = loaded(["--help"], environment, tmp_path)
    assert not modules & {"argparse", "sqlite3", "asyncio", "json", "dataclasses", "typing", "db"}
    assert not heavy(modules)


def test_a_list_of_sessions_loads_a_database_and_nothing_that_talks(
        ollama: FakeOllama, environment: Environment, tmp_path: Path) -> None:
    loaded(["-m", "words-5", "q"], environment, tmp_path)
    modules = loaded(["--list-sessions"], environment, tmp_path)
    assert "sqlite3" in modules
    assert not modules & {"asyncio", "core.providers.http.http1", "ssl", "core.chat.turn",
                          "core.session_manager",
                          "core.sessions.export", "core.store.schema"}
    assert not heavy(modules)


def test_a_list_in_a_terminal_loads_nothing_that_answers(
        ollama: FakeOllama, environment: Environment, tmp_path: Path) -> None:
    """With them it took 140 ms of processor time, without them 35."""
    loaded(["-m", "words-5", "q"], environment, tmp_path)
    terminal, inside = os.openpty()
    try:
        modules = loaded(["--list-sessions"], environment | {"TERM": "xterm"}, tmp_path,
                         output=inside)
        assert b"1 session" in os.read(terminal, 100_000)
    finally:
        os.close(terminal)
        os.close(inside)
    assert not modules & {"asyncio", "core.chat.turn", "core.commands", "core.rendering.markdown",
                          "core.rendering.rows", "core.providers", "logging", "re", "shutil",
                          "typing"}
    assert not heavy(modules)


@pytest.mark.parametrize("flags", [["q"], ["--json", "q"]])
def test_one_answer_loads_what_it_needs(ollama: FakeOllama, environment: Environment,
                                        tmp_path: Path, flags: list[str]) -> None:
    loaded(["-m", "words-5", "q"], environment, tmp_path)
    modules = loaded(["-m", "words-50@100", *flags], environment, tmp_path, "first")
    assert ("core.providers.http.http1" in modules and not modules & {"httpx2", "h11"}
            and "asyncio" in modules and "sqlite3" in modules)
    assert not heavy(modules) - {"wcwidth"}
    assert not modules & {"core.store.schema", "core.sessions.export", "core.web",
                          "core.tools.web_search"}
    dialects = {name for name in modules if name.startswith("core.providers.")}
    assert not dialects & {f"core.providers.{name}"
                           for name in ("anthropic", "cohere", "demo", "gemini", "local", "openai")}


def test_the_demo_loads_no_http(environment: Environment, tmp_path: Path) -> None:
    modules = loaded(["-p", "demo", "--demo-delay", "0", "--no-save", "q"], environment, tmp_path)
    assert "core.providers.http.http1" not in modules and not heavy(modules)


def test_importing_does_nothing(environment: Environment, tmp_path: Path) -> None:
    """Import every module of the program where it must not touch files, connections or variables.
    """
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "core").rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in files]
    code = """
import builtins, importlib, os, socket, sys
names = sys.argv[1:]
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[0], str) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR) and ".pyc" not in args[0]:
        opened.append(args[0])
    if event in ("socket.connect", "subprocess.Popen", "os.mkdir"):
        opened.append(event)
importlib.invalidate_caches()
sys.addaudithook(hook)
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name.startswith(("core", "db")):
            raise
own = [each for each in opened if "__pycache__" not in each and each != "os.mkdir" and each != "/dev/null"]
print(own)
"""
    done = subprocess.run([sys.executable, "-c", code, *sorted(names)],
                          env=without_coverage(environment), cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]" and not list(Path(environment["HOME"]).rglob("*"))


# Interrupts the program at these imports of its start (their numbers), in a child for each.
INTERRUPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell may have it ignored
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import stream_chat
places, words = map(int, sys.argv[2].split(",")), sys.argv[3:]
def interrupted_at(place):
    class Count:
        left = place
        def find_spec(self, name, path=None, target=None):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)
    sys.meta_path.insert(0, Count())
    sys.argv = ["stream-chat", *words]
    stream_chat.main()
for place in places:
    child = os.fork()
    if not child:
        interrupted_at(place)
        os._exit(99)
    print(place, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_ctrl_c_while_the_program_is_loaded_is_silent(environment: Environment) -> None:
    """It must work even before any code of ours can handle it."""
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    chance = random.Random(seed)
    places = [1, 2, *sorted(chance.sample(range(3, 60), 6))]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, str(ROOT / "stream_chat.py"),
         ",".join(map(str, places)), "-p", "demo", "--demo-delay", "0", "--no-save", "hi"],
        env=without_coverage(environment), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120)
    codes = dict(map(int, line.split()) for line in done.stdout.splitlines() if line[0].isdigit())
    assert set(codes) == set(places) and set(codes.values()) == {130}, (codes, done.stderr)
    assert "Traceback" not in done.stderr


def test_the_version_without_a_place_to_write_it(environment: Environment) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, str(ROOT / "stream_chat.py"), "--version"],
                              env=environment, stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
