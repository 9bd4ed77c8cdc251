"""Starts the program in many ways, and records the modules loaded at its first word, at its prompt
and at its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
ANSWER = ("-m", "words-5")
STARTS = (("-h",), ("--help",), ("--help", "temperature"), ("--list-sessions",), ("--list-models",),
          (*ANSWER, "q"),
          (*ANSWER, "--no-save", "q"), (*ANSWER, "--tools", "calculate", "q"),
          (*ANSWER, "--context", "notes.txt", "q"),
          ("-p", "demo", "--demo-delay", "0", "q"), (*ANSWER, "a long question " * 300))
# Writes the names of the loaded modules: at the first word, at the end, and when
# it is asked by a signal.
WRAPPER = """
import atexit, os, signal, sys
program, place = sys.argv.pop(1), sys.argv.pop(1)
def tell(name):
    if not os.path.exists(place + name):
        with open(place + ".part", "w") as file:
            file.write(" ".join(name for name, module in [*sys.modules.items()]
                                if type(module).__name__ != "LateModule"))
        os.rename(place + ".part", place + name)
write = sys.stdout.write
def first(text):
    tell(".first")
    return write(text)
leave = os._exit
os._exit = lambda code: (sys.stdout.flush(), tell(".end"), leave(code))
atexit.register(tell, ".end")
sys.stdout.write = first
signal.signal(signal.SIGUSR1, lambda *_: tell(".prompt"))
signal.signal(signal.SIGUSR2, lambda *_: tell(".command"))
sys.path.insert(0, os.path.dirname(program))
exec(compile(open(program).read(), program, "exec"), {"__name__": "__main__", "__file__": program})
"""


def modules_of_starts(place: Path) -> dict[str, set[str]]:
    """The loaded modules by command line and moment. `place` is an empty folder."""
    (place / "notes.txt").write_text("The sky is blue.")
    with FakeOllama() as server:
        # spool files that others left in the usual place would be looked at
        empty = place / "empty"
        empty.mkdir()
        environment = {"HOME": str(place), "TMPDIR": str(empty), "PATH": os.environ["PATH"],
                       "TERM": "xterm-256color",
                       "LANG": "C.UTF-8", "OLLAMA_HOST": server.url}
        # the first one makes the database
        for number, words in enumerate([(*ANSWER, "q"), *STARTS]):
            _run(place / str(number), words, environment)
        _answer_in_terminal(place / "terminal", environment)
        _chat(place / "chat", environment)
    names = {str(number): " ".join(words)[:60] for number, words in enumerate(STARTS, 1)}
    return {f"{names.get(file.stem, file.stem)} ({file.suffix[1:]})": set(file.read_text().split())
            for file in place.iterdir() if file.suffix in (".first", ".prompt", ".command", ".end")
            and file.stem != "0"}


def _command(place: Path, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", WRAPPER, str(ROOT / "stream_chat.py"), str(place), *words]


def _run(place: Path, words: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(_command(place, words), env=dict(environment), cwd=place.parent,
                          stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr


def _answer_in_terminal(place: Path, environment: Mapping[str, str]) -> None:
    with Terminal(_command(place, [*ANSWER, "q"]), environment) as terminal:
        assert terminal.exit_status() == 0


def _chat(place: Path, environment: Mapping[str, str]) -> None:
    """A chat at its first prompt, and after its first command."""
    with Terminal(_command(place, ANSWER), environment) as terminal:
        terminal.wait_prompt()
        os.kill(terminal.child.pid, signal.SIGUSR1)
        assert wait_until(Path(f"{place}.prompt").exists)
        terminal.say("/help")
        terminal.wait_prompt()
        os.kill(terminal.child.pid, signal.SIGUSR2)
        assert wait_until(Path(f"{place}.command").exists)
