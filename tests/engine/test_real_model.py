"""The whole program with a real language model in the embedded engine.

Asserts structure: wording is the model's own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.context_answers import answered, table
from bench.corpora import Corpus, Question
from core.engine.models import SMALLEST
from tests.engine_support import engines_in, real_model
from tests.pseudo_terminal import CTRL_D, Terminal
from tests.surroundings import inherited
from tests.waiting import wait_until

__all__ = ["real_model"]
ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = [sys.executable, str(ROOT / "stream_chat.py")]
Event = dict[str, Any]


class Home:
    """A home with the model in its place, and runs of the program in it.

    One engine serves them all.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self.models = folder / ".cache" / "stream-chat" / "models"
        self.models.mkdir(parents=True)
        (self.models / SMALLEST.file).symlink_to(model)
        config = folder / ".config" / "stream-chat"
        config.mkdir(parents=True)
        settings = {"provider": "local", "model": SMALLEST.name, "engine_idle": 20, "num_ctx": 2048,
                    "seed": 7}
        (config / "config.json").write_text(json.dumps(settings))
        self.environment = {**inherited(), "HOME": str(folder), "LANG": "C.UTF-8",
                            "TERM": "xterm-256color"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*PROGRAM, "--json", *words], env=self.environment,
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ask(self, *words: str, code: int | None = 0) -> list[Event]:
        process = self.start(*words)
        out, err = process.communicate(timeout=100)
        assert code is None or process.returncode == code, out + err
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def home(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("home"), real_model)
    yield made
    for pid in engines_in(made.models / ".engines"):
        os.kill(pid, signal.SIGTERM)


def pieces(events: list[Event]) -> list[str]:
    return [event["text"] for event in events if event["event"] == "text"]


def tokens(events: list[Event]) -> int:
    return max(event["input_tokens"] for event in events if event["event"] == "usage")


def test_an_answer_streams_and_says_how_it_ended(home: Home) -> None:
    events = home.ask("--max-tokens", "60", "What is the capital of France?", code=None)
    last = events[-1]
    assert (last["event"] == "message" and last["model"] == f"local/{SMALLEST.name}"
            and last["finish"] in ("stop", "length"))
    assert len(pieces(events)) > 3 and "".join(pieces(events)) == last["text"]
    assert "aris" in last["text"] or re.search(r"[a-z]{3,} [a-z]{2,}",
                                               last["text"]), "these are not words"


def test_the_length_is_limited_and_said(home: Home) -> None:
    events = home.ask("--max-tokens", "8", "Tell me a long story about the sea.", code=3)
    assert events[-1]["finish"] == "length" and len(pieces(events)) <= 9


def test_a_seed_repeats_and_a_stop_word_ends(home: Home) -> None:
    question = ("--max-tokens", "40", "--temperature", "1", "Tell me about the sea.")
    first, second = (home.ask(*question, code=None)[-1]["text"] for _ in range(2))
    assert first == second and first != home.ask("--seed", "8", *question, code=None)[-1]["text"]
    word = next(word for word in re.findall(r"[a-z]{4,}", first) if first.index(word) > 10)
    stopped = home.ask("--stop", word, *question)[-1]
    assert (stopped["text"].rstrip() == first[:first.index(word)].rstrip()
            and stopped["finish"] == "stop")


def test_several_turns_reach_the_model(home: Home) -> None:
    sizes = [tokens(home.ask("--max-tokens", "20", "I have a cat. Say hello.", code=None))]
    for _ in range(2):
        sizes.append(
            tokens(home.ask("--continue", "--max-tokens", "20", "And what else?", code=None)))
    assert sizes[0] < sizes[1] < sizes[2]


def test_an_answer_has_the_form_of_a_json_schema(home: Home, tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["animal", "legs"], "additionalProperties": False,
              "properties": {"animal": {"type": "string", "enum": ["cat", "bird", "snake"]},
                             "legs": {"type": "integer", "minimum": 0, "maximum": 8}}}
    (tmp_path / "animal.json").write_text(json.dumps(schema))
    events = home.ask("--response-format", str(tmp_path / "animal.json"), "--max-tokens", "60",
                      "Describe a bird as JSON.")
    answer = json.loads(events[-1]["text"])
    assert (answer.keys() == {"animal", "legs"} and answer["animal"] in ("cat", "bird", "snake")
            and 0 <= answer["legs"] <= 8)


def test_tools_may_be_offered(home: Home) -> None:
    """So small a model may or may not call them; each call has its result, and the turn ends
    normally.
    """
    events = home.ask("--tools", "current_time", "--max-tokens", "60", "What time is it?",
                      code=None)
    calls, results = ([event for event in events if event["event"] == kind]
                      for kind in ("tool_call", "tool_result"))
    assert len(calls) == len(results) and events[-1]["event"] == "message", events[-1]


def test_the_line_that_answers_was_sent(home: Home, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make eval ARGS=answers` does with ten questions over this repository."""
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "tides.md").write_text("# Tides\nThe harbour gate opens at noon.\n")
    question = Question("when does the harbour gate open?", "tides.md", "opens at noon")
    corpus = Corpus("tides", str(tmp_path / "texts"), (question,))
    entry, = answered(corpus, str(tmp_path / "chats.db"), 2_048)
    assert entry.has_line and entry.line == 2 and entry.text
    assert "| `tides.md:2` | yes |" in table([entry])


def test_a_file_is_shown_to_the_model(home: Home, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("The meeting is on Friday at ten. Anna brings the "
                                       "projector.\n" * 5)
    question = ("--max-tokens", "20", "When is the meeting?")
    bare, shown = (tokens(home.ask(*words, *question, code=None))
                   for words in ((), ("--context", str(tmp_path / "notes.md"))))
    assert shown > bare + 40


def test_a_conversation_is_compacted_by_the_model_itself(home: Home) -> None:
    with Terminal([*PROGRAM, "--max-tokens", "50"], home.environment, columns=100,
                  lines=50) as chat:
        for number in range(3):
            chat.ask(f"Question {number}: tell me one thing about the sea.", r"^\S")
        chat.say("/compact")
        chat.wait(r"Summarised \d+ messages|The summary was cut off|did not write a summary"
                  r"|summary is longer", timeout=100)
        chat.wait_prompt()
        # so small a model may not find an end; then nothing is changed
        if "Summarised" in chat.text():
            chat.ask("And what else?", r"^\S")
            chat.say("/uncompact")
            chat.wait(r"Restored \d+ messages in place of their summary")
            chat.wait_prompt()
        chat.send(CTRL_D)
        assert chat.exit_status() == 0


def test_four_chats_at_once_share_one_engine(home: Home) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda number: home.ask("--max-tokens", "25",
                                             f"Write the number {number} as a word.", code=None),
                     range(4)))
    assert all(events[-1]["event"] == "message" and events[-1]["text"] for events in runs)
    assert len(list((home.models / ".engines").glob("*.json"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_engine_killed_in_mid_answer_costs_no_text(home: Home) -> None:
    process = home.start("--max-tokens", "200", "Tell me a long story about a ship.")
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline())]
    while sum(event["event"] == "text" for event in seen) < 5:
        seen.append(json.loads(process.stdout.readline()))
    for pid in engines_in(home.models / ".engines"):
        os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=100)
    events = seen + [json.loads(line) for line in out.splitlines()]
    assert process.returncode in (0, 3) and "Traceback" not in err, events[-1]
    exported = subprocess.run([*PROGRAM, "--export-session", "last", "--format", "json"],
                              env=home.environment,
                              capture_output=True, text=True, timeout=60)
    assert json.dumps("".join(pieces(seen)))[1:-1] in exported.stdout
    assert wait_until(lambda: home.ask("--max-tokens", "10", "Hello", code=None)[-1]["event"]
                      == "message", 60)
