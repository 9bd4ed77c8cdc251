"""Makes the pictures of the documentation from the program itself: `make pictures`.

A fake model answers; the program runs in a pseudo-terminal, and what the
terminal shows becomes SVG.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

from docs.task_pictures import TASKS, Task, show_task
from tests.fake_server import (
    Answer, FakeServer, Pause, Received, chat_line, done_line, json_answer, json_line)
from tests.pseudo_terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 80
CELL, LINE, SIZE, EDGE = 8.4, 19, 14, 16  # pixels: a cell, a row, the font, around the screen
NO_BREAK = "\u00a0"  # a space that SVG does not fold with its neighbours
GROUND, TEXT = "#16181d", "#d8dbe0"
PACE = 0.04                                        # seconds between two pieces of an answer
LOOK = 0.07                                        # seconds between two frames of the recording
STILL = 1.2  # seconds for which a frame stands at most; the last one longer
THOUGHT = "The user wants both at a glance: a short table, then the smallest example. "
ANSWER = """Both run code side by side; they differ in what they share.

| | process | thread |
|---|---|---|
| memory | its own | shared |
| start | 30 ms | 0.1 ms |
| a crash | stays inside | ends all |

For work that waits, threads are enough:

```python
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor() as pool:
    pages = list(pool.map(fetch, addresses))
```

For work that computes, put `ProcessPoolExecutor` in its place.
"""
SUM = "17 boxes of 23 are **391**."


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring cells of a row that look alike."""

    column: int
    text: str
    color: str
    bold: bool


Row = tuple[Run, ...]
Frame = tuple[Row, ...]


# ---- the model

def pieces(text: str) -> Iterator[str]:
    yield from re.findall(r"\s*\S+\s?|\n+", text)


def script(request: Received) -> Answer:
    """An Ollama with one model, which thinks and answers; with tools, it calculates."""
    if request.path == "/api/show":
        facts = {"general.architecture": "qwen3", "qwen3.context_length": 32768}
        return json_answer({"model_info": facts,
                            "capabilities": ["completion", "tools", "thinking"]})
    if request.path == "/api/ps":
        return json_answer({"models": [{"name": "qwen3:8b", "context_length": 32768}]})
    if request.path != "/api/chat":
        return json_answer({"models": [{"name": "qwen3:8b", "model": "qwen3:8b"}]})
    body = request.json
    if body["messages"][-1]["role"] == "tool":
        return paced([chat_line("qwen3:8b", piece) for piece in pieces(SUM)], count=12)
    if body.get("tools"):
        call = {"function": {"name": "calculate", "arguments": {"expression": "17 * 23"}}}
        return paced([chat_line("qwen3:8b", tool_calls=[call])], count=9)
    thoughts = [chat_line("qwen3:8b", thinking=piece) for piece in pieces(THOUGHT)]
    return paced([*thoughts, *(chat_line("qwen3:8b", piece) for piece in pieces(ANSWER))],
                 count=180)


def paced(lines: Sequence[object], *, count: int) -> Answer:
    sends = [step for line in lines for step in (Pause(PACE), json_line(line))]
    return Answer([*sends, json_line(done_line("qwen3:8b", count=count, prompt_eval_count=4200))])


@contextmanager
def chat(*words: str, lines: int) -> Iterator[Terminal]:
    """The program in a terminal with an empty home."""
    with FakeServer(script) as server, tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "LANG": "C.UTF-8", "TERM": "xterm-256color",
                       "COLORTERM": "truecolor",
                       "STREAM_CHAT_THEME": "dark", "OLLAMA_HOST": server.url,
                       "PATH": "/usr/bin:/bin"}
        command = [sys.executable, str(ROOT / "stream_chat.py"), "-m", "qwen3:8b", *words]
        with Terminal(command, environment, columns=COLUMNS, lines=lines, cwd=home) as terminal:
            yield terminal


# ---- what the pictures show

def show_answer(take: Callable[[Terminal], None]) -> None:
    with chat(lines=33) as terminal:
        type_slowly(terminal, "When do I use processes, when threads?", take)
        watch(terminal, r"in its place\.[\s\S]*^\u203a\n", take)


def show_tools(take: Callable[[Terminal], None]) -> None:
    with chat("--tools", "calculate", lines=13) as terminal:
        type_slowly(terminal, "How many are 17 boxes of 23?", take)
        watch(terminal, r"are 391[\s\S]*^\u203a\n", take)


def show_command(take: Callable[[Terminal], None]) -> None:
    with chat(lines=19) as terminal:
        type_slowly(terminal, "!printf '2 tests failed\\ntest_login, test_logout\\n'", take)
        for question in (r"in your shell\? \[y/N\] *$", r"next message\? \[y/N\] *$"):
            terminal.wait(question)
            take(terminal)
            terminal.send("y\r")
        terminal.wait(r"^  ```$", 2)
        terminal.send("What do these two share?")
        terminal.wait(r"What do these two share\?")
        take(terminal)


def scene_of(task: Task) -> Callable[[Callable[[Terminal], None]], None]:
    return lambda take: show_task(task, take, COLUMNS)


SCENES: dict[str, Callable[[Callable[[Terminal], None]], None]] = {
    "answer": show_answer, "tools": show_tools, "command": show_command,
    **{name: scene_of(task) for name, task in TASKS.items()}}
RECORDED = "answer"


def type_slowly(terminal: Terminal, text: str, take: Callable[[Terminal], None]) -> None:
    terminal.wait_prompt()
    for end in range(1, len(text) + 1):
        terminal.send(text[end - 1])
        shown = text[:end].rstrip()
        terminal.wait_until(lambda: f"\u203a {shown}" in terminal.text(), "the echo")
        take(terminal)
    terminal.send("\r")


def watch(terminal: Terminal, pattern: str, take: Callable[[Terminal], None]) -> None:
    """Take frames until the pattern is there and the prompt has its status line."""
    found = re.compile(pattern, re.MULTILINE)
    while not (found.search(terminal.text()) and terminal.at_prompt()):
        terminal.read(LOOK)
        take(terminal)
    terminal.wait(r"^  qwen3:8b .* window ")
    take(terminal)


# ---- frames

def frame_of(terminal: Terminal) -> Frame:
    return tuple(tuple(runs_of(terminal, number)) for number in range(terminal.screen.lines))


def runs_of(terminal: Terminal, number: int) -> Iterator[Run]:
    cells = terminal.screen.buffer[number]
    begun: Run | None = None
    for column in range(terminal.screen.columns):
        cell = cells[column]
        color = TEXT if cell.fg == "default" else f"#{cell.fg}"
        if begun is not None and (begun.color, begun.bold) == (color, cell.bold):
            begun = Run(begun.column, begun.text + cell.data, color, cell.bold)
            continue
        if begun is not None and begun.text.strip():
            yield normal(begun)
        begun = Run(column, cell.data, color, cell.bold)
    if begun is not None and begun.text.strip():
        yield normal(begun)


def normal(run: Run) -> Run:
    """Without what differs from run to run: names of sessions, times and speeds."""
    text = re.sub(r"\d{8}-\d{4}-[a-z0-9]{4}", "20261129-1417-csqa", run.text.rstrip())
    text = re.sub(r"\b(today|yesterday) \d\d:\d\d", "today 14:17", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d", "2026-11-29 14:17", text)
    text = re.sub(r"(This is session )[a-z2-9]{4}\b", r"\g<1>4dy2", text)
    text = re.sub(r"((?<!This is )[Ss]ession |today 14:17, |messages of )[a-z2-9]{4}(?=[,.:]|$)",
                  r"\g<1>csqa", text)
    text = re.sub(r"(for|,) \d+ ms\b", r"\1 2.1 s", text)
    text = re.sub(r"\b\d+(\.\d)? (s|tokens/s)(?![a-z])",
                  lambda found: f"{'2.1' if found[2] == 's' else '48'} {found[2]}", text)
    return Run(run.column, text, run.color, run.bold)


def text_of(frame: Frame) -> str:
    rows = []
    for row in frame:
        line = ""
        for run in row:
            line = line.ljust(run.column) + run.text
        rows.append(line.rstrip())
    return "\n".join(rows).strip("\n")


def still(name: str) -> Frame:
    """The last frame of a scene, without empty rows below it."""
    frames: list[Frame] = []

    def take(terminal: Terminal) -> None:
        frames[:] = [frame_of(terminal)]
    SCENES[name](take)
    return trimmed(frames[-1])


def trimmed(frame: Frame) -> Frame:
    last = max((number for number, row in enumerate(frame) if row), default=0)
    return frame[:last + 1]


def recording(name: str) -> list[tuple[float, Frame]]:
    """The frames of a scene and when they began, in seconds; no two neighbours are the same."""
    frames: list[tuple[float, Frame]] = []
    began = time.monotonic()
    now, before = 0.0, began

    def take(terminal: Terminal) -> None:
        nonlocal now, before
        moment = time.monotonic()
        now, before = now + min(moment - before, STILL), moment
        frame = frame_of(terminal)
        if not frames or frames[-1][1] != frame:
            frames.append((now, frame))
    SCENES[name](take)
    return frames


# ---- SVG

def svg(frame: Frame, title: str) -> str:
    """One picture; its text stands in <desc>, for those who do not see it and
    for the test of its age.
    """
    rows = "".join(f'<g transform="translate(0 {number * LINE})">{row_svg(row)}</g>\n'
                   for number, row in enumerate(frame) if row)
    return page(len(frame), title, text_of(frame), rows)


def animated(frames: Sequence[tuple[float, Frame]], title: str) -> str:
    """All frames, one after the other and again; each row that occurs is drawn once."""
    height = max(len(trimmed(frame)) for _, frame in frames)
    total = frames[-1][0] + 4.0
    known: dict[Row, str] = {}
    drawn, styles = [], []
    for number, (start, frame) in enumerate(frames):
        end = frames[number + 1][0] if number + 1 < len(frames) else total
        styles.append(
            f"@keyframes f{number}{{0%{{visibility:hidden}}{100 * start / total:.3f}%{{visibility:visible}}"
            f"{100 * end / total:.3f}%,100%{{visibility:{'visible' if end == total else 'hidden'}}}}}"
            f"#f{number}{{animation:f{number} {total:.2f}s step-end infinite}}")
        rows = "".join(f'<use href="#{known.setdefault(row, f"r{len(known)}")}" '
                       f'y="{place * LINE}"/>'
                       for place, row in enumerate(frame) if row)
        drawn.append(f'<g id="f{number}" visibility="hidden">{rows}</g>')
    symbols = "".join(f'<g id="{name}">{row_svg(row)}</g>\n' for row, name in known.items())
    body = f"<style>{''.join(styles)}</style><defs>{symbols}</defs>\n" + "\n".join(drawn)
    return page(height, title, text_of(trimmed(frames[-1][1])), body)


def row_svg(row: Row) -> str:
    return "".join(map(run_svg, row))


def run_svg(run: Run) -> str:
    weight = ' font-weight="bold"' if run.bold else ""
    text = escape(run.text.replace(" ", NO_BREAK))
    place = f'x="{run.column * CELL:.1f}" textLength="{len(run.text) * CELL:.1f}"'
    return f'<text {place} fill="{run.color}"{weight}>{text}</text>'


def page(rows: int, title: str, text: str, body: str) -> str:
    width, height = COLUMNS * CELL + 2 * EDGE, rows * LINE + 2 * EDGE
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
            f'width="{width:.0f}" role="img">\n'
            f"<title>{escape(title)}</title>\n<desc>{escape(text)}</desc>\n"
            f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n'
            f'<g transform="translate({EDGE} {EDGE + SIZE - 1})" font-size="{SIZE}" '
            'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', '
            'monospace">\n'
            f"{body}\n</g>\n</svg>\n")


TITLES = {"answer": "An answer with a table and code, streamed into the terminal",
          "tools": "A tool that the model calls",
          "command": "A command of the shell, whose output joins the next message",
          **{name: task.title for name, task in TASKS.items()}}


def main(names: Sequence[str] = ()) -> None:
    """All pictures, or only those that are named."""
    PICTURES.mkdir(exist_ok=True)
    for name, title in TITLES.items():
        if names and name not in names:
            continue
        (PICTURES / f"{name}.svg").write_text(svg(still(name), title), encoding="utf-8")
    if not names or RECORDED in names:
        (PICTURES / "chat.svg").write_text(animated(recording(RECORDED), TITLES[RECORDED]),
                                           encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
