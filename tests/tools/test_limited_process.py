"""Work on hostile input: in a child process with limited memory and time that can be stopped at any
moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import ChatError, ContextError, ToolError
from core.tools.limited_process import LimitedProcess, LimitReached, run_limited
from tests.waiting import wait_until

pytestmark = pytest.mark.processes
WORK = "tests.tools.hostile_work"
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("text", ["plain", "\ud800 lone \udfff", "\0\x1b[31m\u202e", "\n" * 5])
def test_text_and_data_reach_the_child_unchanged(text: str) -> None:
    assert run_limited(f"{WORK}:echo", {"text": text}, b"\n\0" * 1_000, seconds=60)[:2] == [text,
                                                                                            2_000]


def test_one_child_serves_many_calls() -> None:
    with LimitedProcess() as process:
        found = [process.call(f"{WORK}:echo", {"text": str(number)}, seconds=60)
                 for number in range(5)]
    assert ([text for text, _, _ in found] == list("01234")
            and len({pid for _, _, pid in found}) == 1)


@pytest.mark.parametrize(("kind", "error"),
                         [("tool", ToolError), ("context", ContextError), ("bug", ToolError)])
def test_an_error_is_raised_again(kind: str, error: type[ChatError]) -> None:
    with LimitedProcess() as process:
        with pytest.raises(error, match=f"why {kind}"):
            process.call(f"{WORK}:refuse", {"kind": kind}, seconds=60)
        assert process.call(f"{WORK}:echo", {"text": "next"}, seconds=60)[0] == "next"


@pytest.mark.parametrize("name", ["fill_memory", "fill_with_objects", "end"])
def test_a_child_that_breaks_costs_its_own_call_only(name: str) -> None:
    with LimitedProcess() as process:
        with pytest.raises(LimitReached, match="needs more than 160 MB of memory, or is broken"):
            process.call(f"{WORK}:{name}", {}, seconds=60)
        assert process.call(f"{WORK}:echo", {"text": "next"}, seconds=60)[0] == "next"


def test_files_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(ToolError):
        run_limited(f"{WORK}:write_without_end", {"folder": str(tmp_path)}, seconds=60)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 30


@pytest.mark.parametrize("name", ["hold_the_lock", "power"])
def test_a_child_that_holds_the_interpreter_is_stopped(name: str) -> None:
    """The chat's own interpreter is free meanwhile: this thread sets the event."""
    stop, ended = threading.Event(), threading.Event()
    problems: list[Exception] = []

    def call() -> None:
        try:
            run_limited(f"{WORK}:{name}", {}, seconds=600, stop=stop)
        except Exception as problem:
            problems.append(problem)
        ended.set()
    threading.Thread(target=call, daemon=True).start()
    assert not ended.wait(1.0)
    stop.set()
    assert ended.wait(60) and str(problems) == "[LimitReached('The call was stopped.')]"


def test_time_has_an_end() -> None:
    with pytest.raises(LimitReached, match="longer than"):
        run_limited(f"{WORK}:hold_the_lock", {}, seconds=0.1)


def test_a_closed_one_starts_nothing() -> None:
    process = LimitedProcess()
    process.close()
    with pytest.raises(LimitReached, match="stopped"):
        process.call(f"{WORK}:echo", {"text": ""}, seconds=60)


def test_a_child_ends_with_a_chat_that_is_killed() -> None:
    code = ("import sys, time\nfrom core.tools.limited_process import LimitedProcess\nprocess = "
            f"LimitedProcess()\nprint(process.call('{WORK}:echo', {{'text': ''}}, seconds=60)[2], "
            "flush=True)\ntime.sleep(600)\n")
    chat = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert chat.stdout is not None
    child = int(chat.stdout.readline())
    chat.send_signal(signal.SIGKILL)
    chat.communicate()
    assert wait_until(lambda: not _lives(child))


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not os.path.isdir("/proc/self")
