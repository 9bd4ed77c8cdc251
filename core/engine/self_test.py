"""The self-test: runs the whole program against a real engine with a toy model, without network.

The program is started as a user starts it, with a temporary home directory; the user's files are
not touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from core.config.directories import cache_directory
from core.engine import machine
from core.engine.models import SMALLEST, installed_models
from core.engine.process import EngineOrder, find_binary, open_engine
from core.engine.tiny import write_tiny_model
from core.errors import ChatError, ProviderError

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                       "stream_chat.py")
# environment variables for the program's runs
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
PATIENCE = 60             # seconds for one run of the program
TOY = ("The toy model's answers are nonsense on purpose: it has one megabyte. What is tested is "
       "everything around it.")
NO_MODEL = ("No language model is on this computer yet; with one (--provider local --pull "
            f"{SMALLEST.name}) it is tested too.")

Write = Callable[[str], object]
Step = tuple[str, Callable[[], str]]


def run_self_test(write: Write, environment: Mapping[str, str] | None = None,
                  program: Sequence[str] | None = None,
                  engine: str | None = None) -> int:
    """Write a line for each step that passes; return 0, or 1 after the first failure.

    Variables of the program's runs are taken from `environment`; `engine` is a llama-server to use
    instead of the wheel.
    """
    with tempfile.TemporaryDirectory(prefix="stream-chat-self-test-",
                                     ignore_cleanup_errors=True) as home:
        trial = Trial(home, environment or {}, program or (sys.executable, PROGRAM), engine)
        real = f"{trial.real.name} and a toy model" if trial.real else "a toy model"
        write(f"Self-test: a real engine, {real}, no network.\n")
        for name, step in trial.steps():
            began = time.monotonic()
            try:
                detail = step()
            except ChatError as error:
                write(f"  FAILED  {name}\n{error.message}\n{error.hint}\n")
                return 1
            write(f"  passed  {name}: {detail} ({(time.monotonic() - began) * 1000:.0f} ms)\n")
        write(f"Everything passed. {TOY}\n" + ("" if trial.real else f"{NO_MODEL}\n"))
    return 0


class Trial:
    """The steps of one self-test, in `home`."""

    def __init__(self, home: str, environment: Mapping[str, str], program: Sequence[str],
                 engine: str | None) -> None:
        self.home = home
        self.model = os.path.join(home, "toy.gguf")
        self.program = tuple(program)
        self.chosen = engine
        fetched = installed_models(os.path.join(cache_directory(environment), "models"))
        self.real = fetched[0] if fetched else None
        places = {f"XDG_{kind}_HOME": os.path.join(home, kind.lower())
                  for kind in ("DATA", "CONFIG", "CACHE")}
        self.environment = {name: environment[name]
                            for name in KEPT if name in environment} | {"HOME": home, **places}

    def steps(self) -> Iterator[Step]:
        yield "toy model computed", self.compute
        yield "engine starts and ends", self.start
        yield "an answer streams", self.answer
        yield "the model thinks when asked to", self.think
        yield "the model calls a tool and answers with its result", self.call_tool
        yield "the session is continued", self.resume
        if self.real is not None:
            yield f"{self.real.name} answers", self.answer_for_real

    def compute(self) -> str:
        write_tiny_model(self.model)
        config = {"providers":
                  {"local": {"options": {"model_directory": self.home, "engine": self.chosen}}}}
        os.makedirs(os.path.join(self.home, "config", "stream-chat"))
        with open(os.path.join(self.home, "config", "stream-chat", "config.json"), "w",
                  encoding="utf-8") as file:
            json.dump(config, file)
        return machine.gigabytes(os.path.getsize(self.model))

    def start(self) -> str:
        import asyncio
        binary = find_binary(self.chosen)
        engine = asyncio.run(open_engine(
            EngineOrder(self.model, os.path.join(self.home, ".engines"), 4096, binary=binary)))
        engine.release()
        return binary or "llama.cpp from the xllamacpp wheel"

    def answer(self) -> str:
        events = self.ask("--seed", "1", "Say something.")
        pieces = of_kind(events, "text")
        expect(bool(pieces) and events[-1].get("finish") == "stop", "no complete answer", events)
        return f"{len(pieces)} pieces"

    def answer_for_real(self) -> str:
        """Ask the smallest language model on this computer."""
        assert self.real is not None
        events = self.ask("--seed", "1", "--max-tokens", "40", "What is the capital of France?",
                          model=self.real.path)
        pieces = of_kind(events, "text")
        expect(bool(pieces) and events[-1].get("finish") in ("stop", "length"), "no answer came",
               events)
        return f"{len(pieces)} pieces"

    def think(self) -> str:
        events = self.ask("--seed", "1", "--think", "on", "Think first.")
        expect({"thinking", "text"} <= {event["event"] for event in events},
               "thinking and answer were not separated", events)
        return f"{len(of_kind(events, 'thinking'))} pieces"

    def call_tool(self) -> str:
        events = self.ask("--seed", "1", "--tools", "current_time", "What time is it?")
        calls, results = of_kind(events, "tool_call"), of_kind(events, "tool_result")
        expect(len(calls) == len(results) == 1 and not results[0]["is_error"],
               "no tool was called and answered", events)
        expect(events[-1].get("finish") == "stop", "no answer after the tool's result", events)
        self.prompt_size = prompt_size(events)
        return str(calls[0]["name"])

    def resume(self) -> str:
        events = self.ask("--seed", "1", "--tools", "current_time", "--continue", "And now?")
        expect(prompt_size(events) > self.prompt_size,
               "the earlier messages were not sent to the model", events)
        return f"{prompt_size(events)} tokens remembered"

    def ask(self, *words: str, model: str = "") -> list[dict[str, Any]]:
        """Run the program once and return its events. Raises ProviderError."""
        command = [*self.program, "--provider", "local", "--model", model or self.model, "--json",
                   *words]
        try:
            done = subprocess.run(command, env=self.environment, cwd=self.home,
                                  stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise ProviderError(f"The program did not answer within {PATIENCE} s.") from None
        events = []
        for line in done.stdout.splitlines():
            with suppress(ValueError):
                events.append(json.loads(line))
        if not events or events[-1].get("event") != "message":
            told = events[-1] if events else {}
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ProviderError(str(told.get("message") or last[0]), str(told.get("hint", "")))
        return events


def of_kind(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == kind]


def prompt_size(events: Sequence[dict[str, Any]]) -> int:
    return max((int(event.get("input_tokens") or 0) for event in of_kind(events, "usage")),
               default=0)


def expect(true: bool, otherwise: str, events: Sequence[dict[str, Any]]) -> None:
    if not true:
        raise ProviderError(f"{otherwise[:1].upper()}{otherwise[1:]}.",
                            f"The last event was {json.dumps(events[-1])[:200]}")
