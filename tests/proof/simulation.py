"""Simulates conversations in one process: programs, models and faults in a random order, without
real time.

Programs (each with a store of its own, on one SQLite file) take turns at a session: they ask, are
stopped, are killed, take back, ask again otherwise. Models break off, refuse, pause and call tools,
and another one stands in; another program locks the database for a while. Waiting costs nothing,
since the clock jumps to the next event. The oracle is a list: what must be said in the session, as
somebody would note it on paper.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from core.chat.turn import run_chat_turn
from core.errors import AuthFailed, ChatError, Overloaded, RateLimited, StreamBroken
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta, ToolFinished
from core.messages import Message, ToolCall, ToolResult, user_message
from core.providers import Request
from core.retry.policy import RetryConfig
from core.retry_handler import stream_chat_with_retry
from core.session_manager import Session, open_session, recover
from core.store.sqlite.store import SqliteStore
from tests.one_model import Models
from tests.virtual_time import JumpingLoop

PROGRAMS = 3
IN_ONE_DATABASE = 200
LOCKED = (0.01,) * 8 + (0.5, 0.5, 4.0)    # seconds that another program writes
TARGETS = ("a/one", "b/two")
FAULTS = ("", "", "", "breaks", "breaks", "refuses", "busy", "silent", "tool", "tool")
PATIENT = RetryConfig(max_attempts=4, initial_delay=0.0, max_delay=0.0, jitter=0.0)


@dataclass(slots=True)
class Tally:
    conversations: int = 0
    turns: int = 0
    kills: int = 0
    stops: int = 0
    locks: int = 0              # turns during which the database was locked
    seconds: float = 0.0        # that would have passed
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Paper:
    """The expected conversation. The line of an interrupted answer is what was shown of it."""

    lines: list[tuple[str, str]] = field(default_factory=list)


class _Model:
    """Answers a question with words derived from it, with the planned faults."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.left = 0       # faults of this turn that are still to come

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        chance = self._chance
        fault = chance.choice(FAULTS) if self.left else ""
        self.left -= bool(fault)
        if fault == "refuses":
            raise AuthFailed("The key is not valid.")
        if fault == "busy":
            raise chance.choice((Overloaded, RateLimited))("Busy.")
        await asyncio.sleep(chance.choice((0.0, 0.1, 3.0)) if fault != "silent" else 15.0)
        called = any(message.tool_results for message in request.messages[-2:])
        if fault == "tool" and not called and request.messages[-1].role == "user":
            yield ToolCallDelta(0, f"call-{chance.random()}", "look", "{}")
            yield Finished("tool_calls")
            return
        if chance.random() < 0.2:
            yield ThinkingDelta("let me think ")
        words = whole_answer(request)[len(said_of_it(request)):]
        end = chance.randrange(len(words) + 1) if fault == "breaks" else len(words)
        at = 0
        while at < end:
            size = chance.choice((1, 30, 90))
            yield TextDelta(words[at:min(end, at + size)], 1)
            at += size
        if fault == "breaks":
            raise StreamBroken("The connection broke.")
        yield Finished("stop")


def question_of(request: Request) -> str:
    return next(message.text for message in reversed(request.messages)
                if message.text.startswith("question "))


def whole_answer(request: Request) -> str:
    question = question_of(request)
    return "".join(f"{question}, word {number}: {number * 7919 % 997}. " for number in range(8))


def said_of_it(request: Request) -> str:
    """The answer so far, if the model is asked to continue."""
    whole = whole_answer(request)
    replies = [message.text for message in request.messages if message.role == "assistant"]
    return replies[-1] if replies and whole.startswith(replies[-1]) else ""


class _Lock:
    """Another program that writes for a while, from one event of a turn on (-1: from before it)."""

    def __init__(self, place: str, after: int, seconds: float) -> None:
        self._base = sqlite3.connect(place, isolation_level=None, timeout=0.0)
        self._left, self._seconds = after + 1, seconds
        self.step()

    def step(self) -> None:
        """An event has passed."""
        if self._left == 0:
            with suppress(sqlite3.OperationalError):    # the program itself is writing
                self._base.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(self._seconds, self.release)
        self._left -= 1

    def release(self) -> None:
        self._base.close()
        self._left = -1


class _Programs:
    """The programs that have one database open, each with a store of its own."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._stores: dict[int, SqliteStore] = {}
        self.dead: list[object] = []    # turns of killed programs: Python would tidy them up

    def store(self, number: int) -> SqliteStore:
        """The store of this program, which is started if it does not run."""
        if number not in self._stores:
            self._stores[number] = SqliteStore(self.place, busy_seconds=0.001)
        return self._stores[number]

    def end(self, number: int) -> None:
        """Release the program's locks, as after kill -9, and clean up nothing else."""
        self._stores.pop(number).close()

    def end_if_running(self, number: int) -> None:
        if number in self._stores:
            self.end(number)

    def end_all(self) -> None:
        for number in list(self._stores):
            self.end(number)
        self.dead.clear()


class Conversation:
    """One session, its programs, and the paper."""

    def __init__(self, programs: _Programs, chance: random.Random, tally: Tally,
                 number: int) -> None:
        self._programs, self._chance, self._tally, self._number = programs, chance, tally, number
        self._place = programs.place
        self._spool = f"{self._place}-{number}"
        self._paper = _Paper()
        self._name = ""
        self._ran: list[str] = []
        self._model = _Model(chance)
        self._running = 0       # the number of the program whose turn it is

    async def run(self) -> None:
        steps = self._chance.randint(2, 5)
        for step in range(steps):
            self._running = self._chance.randrange(PROGRAMS)
            store = self._programs.store(self._running)
            recover(store, self._spool)
            session = (open_session(store, self._spool, name=self._name) if self._name
                       else Session(store, self._spool))
            try:
                await self._step(session, f"question {self._number}.{step}")
            finally:
                session.close()
            self._name = self._name or session.id
            self._check()

    async def _step(self, session: Session, question: str) -> None:
        lines, chance = self._paper.lines, self._chance
        if lines and chance.random() < 0.2:
            while lines.pop()[0] != "user":
                pass
            session.undo()
            if not lines or chance.random() < 0.5:
                lines.append(("user", question))
                await self._turn(session, question)
            return
        lines.append(("user", question))
        await self._turn(session, question)

    async def _turn(self, session: Session, question: str) -> None:
        """Ask; sometimes stop or kill the program after some events."""
        chance, shown = self._chance, ""
        self._tally.turns += 1
        self._model.left = chance.randint(0, 3)
        ending, left = chance.choice(("", "", "", "stop", "kill")), chance.randrange(12)
        lock = (_Lock(self._place, chance.randrange(-1, 10), chance.choice(LOCKED))
                if ending != "kill" and chance.random() < 0.3 else None)
        self._tally.locks += lock is not None
        session.add_user(user_message(question))
        turn = run_chat_turn(self._respond(), Request("m", tuple(session.messages)), self._tool,
                             model=TARGETS[0], resumes=3)
        events = session.record(turn, TARGETS[0])
        try:
            async for event in events:
                shown += event.text if isinstance(event, TextDelta) else ""
                if lock is not None:
                    lock.step()
                left -= 1
                if ending and left < 0:
                    break
            else:
                ending = ""
        except ChatError:
            ending = ""
        if ending == "kill":
            self._tally.kills += 1
            self._programs.dead.append(events)
            self._programs.end(self._running)
        else:
            self._tally.stops += ending == "stop"
            await events.aclose()
        if lock is not None:
            lock.release()
        if shown:
            self._paper.lines.append(("assistant", shown))

    def _respond(self) -> partial[AsyncGenerator[Delta, None]]:
        models = Models(dict.fromkeys(TARGETS, self._model.answer), PATIENT)
        return partial(stream_chat_with_retry, models)  # type: ignore[arg-type, return-value]

    async def _tool(self, call: ToolCall) -> ToolFinished:
        self._ran.append(call.id)
        await asyncio.sleep(self._chance.choice((0.0, 100.0)))
        return ToolFinished(ToolResult(call.id, call.name, "found"), 0.0)

    def _check(self) -> None:
        """Let another program, often a new one, open the session."""
        if self._chance.random() < 0.2:
            self._programs.end_if_running(PROGRAMS)
        store = self._programs.store(PROGRAMS)
        recover(store, self._spool)
        messages = open_session(store, name=self._name).messages
        told = _told(messages)
        if told != self._paper.lines:
            self._fault(f"{told[-2:]} is saved for {self._paper.lines[-2:]}")
        if len(set(self._ran)) != len(self._ran):
            self._fault("a tool ran twice")
        calls = [call.id for message in messages for call in message.tool_calls]
        results = [result.id for message in messages for result in message.tool_results]
        last = messages[-1].tool_calls if messages else ()  # they get theirs with the next question
        if calls != results + [call.id for call in last]:
            self._fault(f"calls {calls} have the results {results}")

    def _fault(self, words: str) -> None:
        self._tally.faults.append(f"conversation {self._number}: {words}")


def _told(messages: list[Message]) -> list[tuple[str, str]]:
    """The texts of user and model; an answer in several pieces is one line, as it was shown."""
    lines: list[tuple[str, str]] = []
    for message in messages:
        if message.role not in ("user", "assistant") or not message.text:
            continue
        if message.role == "assistant" and lines and lines[-1][0] == "assistant":
            lines[-1] = ("assistant", lines[-1][1] + message.text)
        else:
            lines.append((message.role, message.text))
    return lines


def simulate(seed: int, count: int) -> Tally:
    """Run `count` conversations; the same seed gives the same ones."""
    tally, loop = Tally(), JumpingLoop()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for first in range(0, count, IN_ONE_DATABASE):
            programs = _Programs(str(Path(folder) / f"{first}.db"))
            for number in range(first, min(count, first + IN_ONE_DATABASE)):
                talk = Conversation(programs, random.Random(f"{seed} {number}"), tally, number)
                loop.run_until_complete(talk.run())
                tally.conversations += 1
            programs.end_all()
    tally.seconds = loop.time()
    return tally
