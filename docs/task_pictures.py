"""The scenes of docs/terminal.md that show ten tasks:
what is typed, and what the terminal shows then.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fake_server import (Answer, FakeServer, Received, chat_line, done_line, json_answer,
                               lines_answer)
from tests.pseudo_terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("qwen3:8b", "gemma3:4b")
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
TEMPLATE = ("---\ndescription: Translate a text\n---\nTranslate into {{language=German}}. Keep the "
            "tone.\n\n{{input}}\n")
CLIPBOARD = "#!/bin/sh\ncat > \"$HOME/clipboard\"\n"
ANSWERS = {         # by a word of the question
    "chart": "A bar chart: sales rise from 12 in March to 31 in June.",
    "Translate": "Bonjour \u00e0 tous.",
    "thread": "A thread runs inside a process and shares its memory with the other threads.",
    "largest": "`heapq` finds them without sorting all:\n\n```python\nimport heapq\n\n"
                    "heapq.nlargest(3, numbers)\n```\n",
}
Take = Callable[[Terminal], None]


@dataclass(frozen=True, slots=True)
class Task:
    """`earlier` are questions of sessions from before;
    `steps` are lines that are typed and what is seen then.
    """

    title: str
    steps: tuple[tuple[str, str], ...]
    earlier: tuple[str, ...] = ()
    lines: int = 16
    begun: tuple[str, str] = ("", "")  # what is typed last, without Enter, and what is seen then


TASKS = {
    "task-attach": Task("A picture goes with a question",
                        (("What does @chart.png show?", "31 in June"),)),
    "task-typo": Task("The last question is asked again without its typo",
                      (("Whta is a thraed?", "Hm"),
                       ("/edit What is a thread?", "shares its memory"))),
    "task-copy": Task("The code of an answer is copied",
                      (("The three largest numbers?", "nlargest"), ("/copy code", "Copied"))),
    "task-find": Task("An earlier chat is found by its words",
                      (("/search memory", "thread"), ("/search 1", "shares its memory")),
                      ("What is a thread?", "The three largest numbers?"), 22),
    "task-temperature": Task("The temperature is changed", (("/set temperature 0.2", "0.2"),)),
    "task-model": Task("Another model takes over", (("/model gem", "gemma3:4b"),)),
    "task-template": Task("A template is filled in",
                          (("/translate language=French Good morning, all.", "Bonjour"),)),
    "task-save": Task("An answer is saved",
                      (("What is a thread?", "shares its memory"),
                       ("/save thread.md", "thread.md"))),
    "task-fork": Task("A conversation is forked",
                      (("What is a thread?", "shares its memory"), ("/fork", "This is session"))),
    "task-resume": Task("A session is resumed", (("/resume", "1 of 2 sessions"),),
                        ("What is a thread?", "The three largest numbers?"),
                        begun=("thread", "1 of 1 session$")),
    "menu": Task("The menu under the prompt", (), begun=("/co", "1 of 7")),
}


def script(request: Received) -> Answer:
    """An Ollama with two models that see pictures."""
    if request.path == "/api/show":
        facts = {"general.architecture": "qwen3", "qwen3.context_length": 32768}
        return json_answer({"model_info": facts, "capabilities": ["completion", "tools", "vision"]})
    if request.path == "/api/ps":
        return json_answer({"models": [{"name": name, "context_length": 32768} for name in MODELS]})
    if request.path != "/api/chat":
        return json_answer({"models": [{"name": name, "model": name} for name in MODELS]})
    if not request.json["messages"]:         # it is to load the model
        return lines_answer([done_line(MODELS[0], count=0)])
    asked = str(request.json["messages"][-1]["content"])
    answer = next((text for word, text in ANSWERS.items() if word in asked),
                  "Hm. What is a thraed?")
    return lines_answer([chat_line("qwen3:8b", answer),
                         done_line("qwen3:8b", count=40, prompt_eval_count=4200)])


@contextmanager
def home() -> Iterator[tuple[FakeServer, Path, Mapping[str, str]]]:
    """A server, and a home with a picture, a template and a clipboard."""
    with FakeServer(script) as server, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for path, content in (("chart.png", PICTURE),
                              (".config/stream-chat/prompts/translate.md", TEMPLATE.encode()),
                              ("bin/wl-copy", CLIPBOARD.encode())):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        os.chmod(folder / "bin/wl-copy", 0o755)
        yield server, folder, {
            "HOME": place, "LANG": "C.UTF-8", "TERM": "xterm-256color", "COLORTERM": "truecolor",
            "STREAM_CHAT_THEME": "dark",
            "OLLAMA_HOST": server.url, "PATH": f"{place}/bin:/usr/bin:/bin",
            "WAYLAND_DISPLAY": "wayland-0"}


def show_task(task: Task, take: Take, columns: int) -> None:
    command = [sys.executable, str(ROOT / "stream_chat.py"), "-m", MODELS[0]]
    with home() as (server, folder, environment):
        for question in task.earlier:
            subprocess.run([*command, question], env=environment, cwd=folder,
                           stdin=subprocess.DEVNULL, check=True,
                           capture_output=True)
        with Terminal(command, environment, columns=columns, lines=task.lines,
                      cwd=folder) as terminal:
            for typed, seen in task.steps:
                terminal.say(typed)
                terminal.wait(seen)
            if task.begun[0]:
                if not task.steps:
                    terminal.wait_prompt()
                terminal.send(task.begun[0])
                terminal.wait(task.begun[1])
            else:
                terminal.wait_prompt()
                asked = any(request.json["messages"] for request in server.chats)
                status = r".* window .*" if asked else ".*"
                terminal.wait(rf"^\u203a\n  \S+ ?{status}\Z")
            take(terminal)
