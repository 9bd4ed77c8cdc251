"""Data that must survive a power cut has reached the disk, as the program's system calls show."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fake_server import (FakeServer, Hold, Pause, Received, Answer, chat_line, done_line,
                               json_answer, json_line)

pytestmark = [pytest.mark.processes,
              pytest.mark.skipif(shutil.which("strace") is None,
                                 reason="strace is not installed: apt install strace")]
QUESTION, PIECES = "what-was-asked", 8
CALLS = "trace=pwrite64,write,writev,fsync,fdatasync,sendto,sendmsg,rename,renameat,renameat2,link,linkat"
SYNCED = r"(fsync|fdatasync)\(\d+<[^>]*{}[^>]*>\) *= 0"
WRITTEN = r"(pwrite64|write|writev)\(\d+<[^>]*{}[^>]*>"


def traced(command: Sequence[str], environment: dict[str, str], tmp_path: Path, *,
           stdin: str = "") -> list[str]:
    """The calls that the program made, in their order, with the paths of the files."""
    trace = tmp_path / "calls.txt"
    done = subprocess.run(["strace", "-f", "-y", "-qq", "-s", "5000", "-o", str(trace), "-e", CALLS,
                           *command],
                          env=environment, input=stdin, capture_output=True, text=True,
                          encoding="utf-8")
    if "ptrace" in done.stderr and not trace.read_text(errors="replace"):
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr[-800:]
    return list(whole_calls(trace.read_text(encoding="utf-8", errors="replace").splitlines()))


def whole_calls(lines: Sequence[str]) -> Iterator[str]:
    """A call that strace recorded in two parts, because of another thread, is one line where it
    ended.
    """
    begun: dict[str, str] = {}
    for line in lines:
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
        elif " resumed>" in line and thread in begun:
            yield begun.pop(thread) + line.split(" resumed>", 1)[1]
        else:
            yield line


def places(calls: Sequence[str], pattern: str) -> list[int]:
    return [place for place, line in enumerate(calls) if re.search(pattern, line)]


def slow_reply(request: Received) -> Answer:
    if request.path != "/api/chat":
        return json_answer({"models": []})
    steps: list[bytes | Pause | Hold] = []
    for number in range(PIECES):
        steps += [json_line(chat_line("m", f"piece {number} ")), Pause(0.15)]
    return Answer([*steps, json_line(done_line("m"))])


def test_a_question_is_on_the_disk_before_it_is_sent_and_a_reply_while_it_comes(
        program: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    with FakeServer(slow_reply) as server:
        calls = traced([*program, "-m", "m", "--base-url", server.url, QUESTION], environment,
                       tmp_path)
    log = r"\.db-wal"
    sent = places(calls, r"(sendto|sendmsg|write|writev)\(.*POST /api/chat")[0]
    synced = places(calls, SYNCED.format(log))
    question = places(calls, WRITTEN.format(log) + f".*{QUESTION}")[0]
    of_question = [f"{place}: {line[:150]}" for place, line in enumerate(calls[:sent + 1])
                   if "sync(" in line or QUESTION in line or place == sent]
    assert any(question < place < sent for place in synced), "\n".join(of_question)
    pieces = [places(calls, WRITTEN.format(log) + f".*piece {number}")[0]
              for number in range(PIECES)]
    assert (len([place for place in synced if pieces[0] < place < pieces[-1]])
            >= 2), "at most 250 ms are lost, and this takes 1.2 s"
    assert any(place > pieces[-1] for place in synced), "the end of the reply"


def test_nothing_waits_for_the_disk_before_an_answer_is_shown(
        program: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    """Only the request waits until the question is synced, which happens while connecting."""
    with FakeServer(slow_reply) as server:
        command = [*program, "-m", "m", "--base-url", server.url]
        subprocess.run([*command, "hello"], env=environment, check=True, capture_output=True)
        calls = traced([*command, QUESTION], environment, tmp_path)
    shown = places(calls, r"write\(1<.*piece 0")[0]
    painter = calls[shown].split(" ", 1)[0]
    waited = [line for line in calls[:shown] if line.startswith(f"{painter} ") and "sync(" in line]
    assert not waited


@pytest.mark.parametrize("kind", ["export", "key"])
def test_a_file_that_replaces_another_is_on_the_disk_before_it_does(
        kind: str, program: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    """Otherwise a power cut may leave an empty file in the place of the old one."""
    if kind == "export":
        with FakeServer(slow_reply) as server:
            subprocess.run([*program, "-m", "m", "--base-url", server.url, "hello"],
                           env=environment, check=True,
                           capture_output=True)
        calls = traced([*program, "--export-session", "last", "-o", str(tmp_path / "out.md")],
                       environment, tmp_path)
        target = "out.md"
    else:
        calls = traced([*program, "--set-key", "groq"], environment, tmp_path,
                       stdin="sk-of-a-test\n")
        target = "keys.json"
    written, synced = (places(calls, WRITTEN.format(re.escape(target))),
                       places(calls, SYNCED.format(re.escape(target))))
    moved = places(calls, rf"(rename|link)(at2?)?\(.*{re.escape(target)}")
    assert written and synced and moved and written[-1] < synced[-1] < moved[-1]
