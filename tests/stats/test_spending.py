"""A limit on cost is never exceeded, whatever fails, as the accounts of the providers show."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import CostLimit, StreamBroken
from core.events import Delta, Finished, TextDelta
from core.messages import Message, Text, Usage, user_message
from core.model_manager import Providers, Target
from core.models.facts import known_facts
from core.providers import Endpoint, ModelInfo, Options, Request
from core.providers.capped import Capped
from core.stats.spending import Ledger, Limits, Spending

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "0")) or random.randrange(1 << 30)
MODELS = ("anthropic/claude-haiku-4-5", "anthropic/claude-opus-4-5", "openai/o3-mini", "openai/o1")


class Meter:
    """A provider that charges for everything it reads and writes, even if a reply fails, and
    reports it only sometimes.
    """

    endpoint = Endpoint("https://models.example/")

    def __init__(self, luck: random.Random, target: Target, charge: list[float],
                 providers: Providers) -> None:
        self._luck, self._charge = luck, charge
        facts = known_facts(target, providers)
        self._in, self._out = (facts.input_price or 0) / 1e6, (facts.output_price or 0) / 1e6

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        luck = self._luck
        text = (request.system or "") + "".join(message.text for message in request.messages)
        given = int(len(text.encode()) * luck.uniform(0.1, 1.0)) + 8 * len(request.messages)
        self._charge[0] += given * self._in
        fault = luck.choice(("", "", "refused", "breaks", "silent", "left"))
        if fault == "refused":
            raise StreamBroken("the connection was closed")
        assert (request.options.max_tokens is not None), ("an answer without a limit could cost "
                                                          "anything")
        length = luck.randint(1, min(request.options.max_tokens, 400))
        for number in range(length):
            self._charge[0] += self._out
            if fault == "breaks" and luck.random() < 0.02:
                yield Usage(given, 1)
                raise StreamBroken("the connection was closed")
            yield TextDelta("abcd")
        if fault != "silent":
            yield Usage(given, length)
        yield Finished("length" if length == request.options.max_tokens else "stop")

    async def models(self) -> list[ModelInfo]:
        return []

    async def close(self) -> None:
        pass


async def converse(luck: random.Random, purse: Spending, charge: list[float],
                   providers: Providers) -> None:
    """Questions, retries and other models, until the limit stops them or the user ends."""
    messages: list[Message] = []
    for _ in range(luck.randint(1, 8)):
        messages.append(user_message("q" * luck.randint(1, 4000)))
        for _ in range(luck.randint(1, 4)):
            provider, _, model = luck.choice(MODELS).partition("/")
            capped = Capped(Meter(luck, Target(provider, model), charge, providers), provider,
                            purse)
            options = Options(max_tokens=luck.choice((None, 10, 500, 100_000)))
            said = ""
            try:
                async for delta in capped.stream(Request(model, tuple(messages), options=options)):
                    said += delta.text if isinstance(delta, TextDelta) else ""
                    if luck.random() < 0.001:
                        break
            except CostLimit:
                continue
            except StreamBroken:
                continue
            messages.append(Message("assistant", (Text(said),)))
            break


PARTS = 4
CONVERSATIONS = int(os.environ.get("STREAM_CHAT_TEST_CONVERSATIONS", "") or 1_000)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_conversation_spends_more_than_its_limit(part: int) -> None:
    """1,000 random conversations in all, with broken, refused, silent and abandoned answers: more
    in make prove ONLY=cost.
    """
    luck = random.Random(SEED + part)
    print("seed", SEED)
    providers = Providers(Settings({"save": False}))
    refused = 0
    for number in range(CONVERSATIONS // PARTS):
        cap, charge = luck.choice((0.001, 0.01, 0.05, 1.0)), [0.0]
        purse = Spending(providers, Limits(session=cap), Ledger(), lambda: "s")
        asyncio.run(converse(luck, purse, charge, providers))
        spent = purse.ledger.spent("s")["session"]
        assert charge[0] <= spent + 1e-9, (SEED, part, number)
        assert spent <= cap + 1e-9, (SEED, part, number)
        refused += spent > cap / 2
    assert refused > CONVERSATIONS // PARTS // 50, "limits were reached"
    print(f"\ncounted: {CONVERSATIONS // PARTS} conversations\ncounted: {refused} that came near "
          "the limit")


def test_an_unknown_price_is_a_question() -> None:
    providers = Providers(Settings({"save": False}))
    asked: list[str] = []

    async def agree(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1
    purse = Spending(providers, Limits(session=1.0), Ledger(), lambda: "s", agree)
    request = Request("model-nobody-knows", (user_message("q"),))
    with pytest.raises(CostLimit, match="price .* not known"):
        asyncio.run(purse.reserve("openai", request))
    assert asyncio.run(purse.reserve("openai", request)) is None
    assert asyncio.run(purse.reserve("openai", request)) is None
    assert len(asked) == 2
    with pytest.raises(CostLimit):
        asyncio.run(Spending(providers, Limits(day=1.0), Ledger(), lambda: "s")
                    .reserve("openai", request))


def test_a_model_of_this_computer_costs_nothing() -> None:
    providers = Providers(Settings({"save": False}))
    purse = Spending(providers, Limits(session=0.0), Ledger(), lambda: "s")
    assert asyncio.run(purse.reserve("ollama", Request("llama3.2", (user_message("q"),)))) is None


@pytest.mark.processes
def test_programs_at_once_share_the_limit_of_a_day(tmp_path: Path) -> None:
    """Ten programs that each need a little over a tenth: the reservations never exceed the limit.
    """
    code = ("import sys; from core.stats.spending import Ledger, Limits\n"
            "from core.errors import CostLimit\n"
            "def worst(left):\n"
            "    if left < 0.011: raise CostLimit('no')\n"
            "    return 0.011\n"
            "done = 0\n"
            "for _ in range(20):\n"
            "    try: Ledger(sys.argv[1]).take('s', worst, Limits(day=1.0)); done += 1\n"
            "    except CostLimit: pass\n"
            "print(done)\n")
    path = str(tmp_path / "data" / "spending.json")
    root = Path(__file__).resolve().parent.parent.parent
    running = [subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE,
                                text=True, cwd=root)
               for _ in range(10)]
    taken = sum(int(process.communicate(timeout=120)[0]) for process in running)
    assert taken == 90
    assert Ledger(path).spent("s")["day"] == pytest.approx(0.99)


@pytest.mark.parametrize("damage", ["", "[]", "{", "null", "\x00"])
def test_a_damaged_ledger_refuses_instead_of_beginning_at_zero(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "spending.json"
    path.write_text(damage)
    with pytest.raises(CostLimit):
        Ledger(str(path)).take("s", lambda left: 0.0, Limits(day=1.0))
