"""Private words are sent as placeholders and restored, whatever the prompt and however the answer
is split.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import string
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from core.config import Settings
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Message, Text, Thinking, ToolCall, ToolResult, tool_message, user_message
from core.model_manager import Providers
from core.providers import Endpoint, ModelInfo, Options, Request, ToolSpec
from core.providers.masking import Mask, Masked, Restorer, masked

ROOT = Path(__file__).resolve().parent.parent.parent
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "0")) or random.randrange(1 << 30)
NAMES = ("Amélie Poulain", "Projekt Nordwind")


def luhn(luck: random.Random) -> str:
    digits = [luck.choice("3456"), *(luck.choice(string.digits) for _ in range(14))]
    total = sum(int(digit) if place % 2 else sum(divmod(int(digit) * 2, 10))
                for place, digit in enumerate(digits))
    return "".join(digits) + str(-total % 10)


def iban(luck: random.Random) -> str:
    body = "".join(luck.choice(string.digits) for _ in range(18))
    number = int("".join(str(int(char, 36)) for char in f"{body}DE00"))
    return f"DE{98 - number % 97:02}{body}"


def word(luck: random.Random, letters: str, least: int, most: int) -> str:
    return "".join(luck.choice(letters) for _ in range(luck.randint(least, most)))


def canary(luck: random.Random) -> str:
    """A private text, and the parts of it that must never be sent."""
    alnum = string.ascii_letters + string.digits
    match luck.randrange(9):
        case 0:
            return f"{word(luck, alnum + '.', 3, 12).strip('.') or 'x'}@{word(luck, string.ascii_lowercase, 3, 9)}.example"
        case 1:
            number = luhn(luck)
            return luck.choice((number, " ".join(number[at:at + 4] for at in range(0, 16, 4)),
                                "-".join(
                number[at:at + 4] for at in range(0, 16, 4))))
        case 2:
            number = iban(luck)
            return luck.choice(
                (number, " ".join(number[at:at + 4] for at in range(0, len(number), 4))))
        case 3:
            return (f"+{luck.randint(1, 99)} {luck.randint(100, 999)} "
                    f"{luck.randint(1000000, 9999999)}")
        case 4:
            return luck.choice(("sk-", "ghp_", "hf_")) + word(luck, alnum, 24, 40)
        case 5:
            return f"({luck.randint(200, 999)}) {luck.randint(200, 999)}-{luck.randint(1000, 9999)}"
        case 6:
            return luck.choice(NAMES)
        case 7:
            return f"eyJ{word(luck, alnum, 12, 30)}.eyJ{word(luck, alnum, 12, 30)}.{word(luck, alnum, 12, 30)}"
    return (f"-----BEGIN RSA PRIVATE KEY-----\n{word(luck, alnum, 40, 80)}\n-----END RSA PRIVATE "
            "KEY-----")


def filler(luck: random.Random) -> str:
    return luck.choice(("call ", "the account of ", "my key is ", "[[", "]]", "[[EMAIL_1]] ",
                        "see <", "> and ", "\n",
                        "{\"a\": \"", "\": ", "or (", ") ", "0x1f ", "caf\u00e9 ", "[x] ", "*", "`",
                        "KEY_7]]", " "))


def prompt(luck: random.Random) -> tuple[str, list[str]]:
    parts: list[str] = []
    hidden = [canary(luck) for _ in range(luck.randint(1, 4))]
    for each in hidden:
        parts += [filler(luck), " ", each, luck.choice((" ", ", ", "\n", ")", "\""))]
    return "".join([*parts, filler(luck)]), hidden


PARTS = 5
PROMPTS = int(os.environ.get("STREAM_CHAT_TEST_PROMPTS", "") or 1_000)
STRIDE = 1 if "STREAM_CHAT_TEST_PROMPTS" in os.environ else 4      # 1: every cut


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_private_leaves_and_everything_comes_back(part: int) -> None:
    """1,000 prompts in all, and cuts of the answers that repeat them: more, and every cut, in
    make prove ONLY=mask.
    """
    luck = random.Random(SEED + part)
    print("seed", SEED)
    hidden_count = cuts = 0
    for _ in range(PROMPTS // PARTS):
        text, hidden = prompt(luck)
        mask = Mask(NAMES)
        sent = mask.hide(text)
        for each in hidden:
            assert each not in sent, (text, sent)
        assert mask.show(sent) == text
        hidden_count += len(hidden)
        for cut in range(0, len(sent) + 1, luck.randint(1, STRIDE)):
            cuts += 1
            restorer = Restorer(mask)
            assert (restorer.feed(sent[:cut]) + restorer.feed(sent[cut:]) + restorer.finish()
                    == text), (text, cut)
        restorer = Restorer(mask)
        assert "".join(map(restorer.feed, sent)) + restorer.finish() == text
    print(f"\ncounted: {PROMPTS // PARTS} prompts\ncounted: {hidden_count} secrets\ncounted: "
          f"{cuts} cuts")


class Echo:
    """A provider that repeats what it was sent, a character at a time, and records it."""

    def __init__(self) -> None:
        self.endpoint = Endpoint("https://models.example/v1/")
        self.seen: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.seen.append(request)
        last = request.messages[-1]
        for char in last.text:
            yield ThinkingDelta(char)
        for char in last.text:
            yield TextDelta(char, 1)
        for char in json.dumps({"text": last.text}):
            yield ToolCallDelta(0, "i", "write", char)
        yield Finished("stop")

    async def count(self, request: Request) -> int:
        self.seen.append(request)
        return 1

    async def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        self.seen.append(Request(model, tuple(map(user_message, texts))))
        return [[0.0] for _ in texts]

    async def models(self) -> list[ModelInfo]:
        return []

    async def close(self) -> None:
        pass


def test_every_way_of_a_request_is_masked() -> None:
    luck = random.Random(SEED)
    print("seed", SEED)
    for _ in range(200):
        text, hidden = prompt(luck)
        echo = Echo()
        provider = Masked(echo, Mask(NAMES))
        request = Request("m", (
            Message("assistant",
                    (Thinking(text), Text(text), ToolCall("1", "t", {text: [text, {"a": text}]}))),
            tool_message((ToolResult("1", "t", text),)), user_message(text)), text,
            (ToolSpec("t", text, {"description": text}),), Options(stop=(text,), raw={"x": text}))

        async def ask() -> list[Delta]:
            await provider.count(request)      # type: ignore[attr-defined]
            await provider.embed("e", [text])  # type: ignore[attr-defined]
            return [delta async for delta in provider.stream(request)]
        deltas = asyncio.run(ask())
        seen = repr(echo.seen)
        for each in hidden:
            assert (each not in seen and repr(each)[1:-1] not in seen
                    and json.dumps(each)[1:-1] not in seen)
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == text
        assert "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta)) == text
        called = "".join(delta.arguments for delta in deltas if isinstance(delta, ToolCallDelta))
        assert json.loads(called) == {"text": text}
        assert isinstance(deltas[-1], Finished)


def test_the_same_words_get_the_same_stand_in_in_every_request() -> None:
    mask = Mask()
    first = masked(Request("m", (user_message("to a@b.example"),)), mask)
    second = masked(Request("m", (user_message("to a@b.example"), user_message("and c@d.example"))),
                    mask)
    assert second.messages[0] == first.messages[0]
    assert (first.messages[0].text == "to [[EMAIL_1]]"
            and second.messages[1].text == "and [[EMAIL_2]]")
    assert mask.news() == "Masked before it is sent: 2 e-mail addresses."
    assert mask.news() == ""


@pytest.mark.parametrize(("name", "text", "hidden"), [
    ("kara", "kara.weiss@mail.example", "[[EMAIL_1]]"), ("kara", "me@kara.example", "[[EMAIL_1]]"),
    ("mail.example Corporation", "at me@mail.example Corporation.", "at [[NAME_1]]."),
    ("kara", "kara, kara@mail.example", "[[NAME_1]], [[EMAIL_1]]")])
def test_what_overlaps_is_of_the_kind_of_the_longest(name: str, text: str, hidden: str) -> None:
    assert Mask([name]).hide(text) == hidden


def test_false_alarms_on_code_are_few() -> None:
    """This program's own code, which holds no private words: what is masked in it is a mistake."""
    lines = wrong = 0
    for path in sorted((ROOT / "core").rglob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            lines += 1
            wrong += Mask().hide(line) != line
    print(f"{wrong} of {lines} lines of code")
    assert wrong <= lines / 1000


def test_ordinary_numbers_stay() -> None:
    for text in ("2026-11-29 17:02:33", "192.168.100.200", "version 3.11.7", "1,234,567.89",
                 "0x7fff5fbff8c0",
                 "port 127.0.0.1:11434", "commit 6d95417e0f2a",
                 "ISBN 978-3-16-148410-0", "3.14159265358979", "id 20261129-0458-jzva",
                 "1 000 000"):
        assert Mask().hide(text) == text, text


def test_whatever_is_opened_elsewhere_is_masked() -> None:
    """Masking happens where adapters are opened, so it applies to every request."""
    settings = Settings({"mask": True, "provider": "openai", "mask_names": ("Nordwind",)},
                        environment={"OPENAI_API_KEY": "sk-test-0123456789abcdef"})
    providers = Providers(settings)
    assert isinstance(providers.open("openai"), Masked)
    assert (not isinstance(providers.open("demo"), Masked)
            and not isinstance(providers.open("ollama"), Masked))
    assert providers.mask is not None
    assert (providers.mask.hide("Nordwind and sk-test-0123456789abcdef")
            == "[[NAME_1]] and [[KEY_1]]")
