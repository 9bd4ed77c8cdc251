"""The window alarm: every message that a server drops is reported, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import FrameType

import pytest

from core.chat.conversation import Chat
from core.commands.window import read_tokens
from core.config import Settings
from core.errors import ChatError, ContextTooLong, UsageError
from core.events import MessageAdded, Notice, Waiting
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.model_manager import Providers, Target, parse_target
from core.models.window import Seen, WindowWatch, advice, kept_tokens, most_tokens, most_tokens_of
from core.providers import Request
from core.session_manager import Session
from tests.conftest import NOTHING_LISTENS
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]
ENGLISH = ("the model answers what it was asked and says so in plain words when it does not know "
           "what the person meant by that question of theirs, because nothing is worse than "
           "a guess").split()
CHINESE = "模型回答了它被问到的问题并且在不知道的时候直接说出来因为没有什么比猜测更糟糕"
RUSSIAN = ("модель отвечает на вопрос и прямо говорит когда не знает потому что нет ничего хуже "
           "догадки".split())
CODE = ("for (int i = 0; i < n; ++i) { sum += values[i] * 0x1F; } // {\"key\": [1, 2.5, "
        "null]}\n".split(" "))
KINDS: dict[str, Callable[[random.Random, int], str]] = {
    "english": lambda chance, size: " ".join(chance.choices(ENGLISH, k=size)),
    "chinese": lambda chance, size: "".join(chance.choices(CHINESE, k=size)),
    "russian": lambda chance, size: " ".join(chance.choices(RUSSIAN, k=size)),
    "code": lambda chance, size: " ".join(chance.choices(CODE, k=size)),
}


def by_words(text: str) -> int:
    """A large vocabulary: a short word with its space is one token, a long one two; a capital
    starts another one.
    """
    return sum(1 + len(piece) // 9 if piece.isascii() else -(-len(piece) * 7 // 10)
               for piece in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]{1,3}|[^\sA-Za-z0-9]+", text)) + 4


def by_bytes(text: str) -> int:
    return len(text.encode()) // 3 + 4


def by_characters(text: str) -> int:
    return -(-len(text) * 10 // (42 if text.isascii() else 17)) + 3


def small_vocabulary(text: str) -> int:
    return sum(-(-len(piece.encode()) // 3) for piece in re.findall(r"\w+|[^\w\s]", text)) + 6


TOKENISERS = (by_words, by_bytes, by_characters, small_vocabulary)


def open_chat(server: FakeOllama, model: str, **values: object) -> Chat:
    settings = Settings({"model": f"ollama/{model}", "ollama_host": server.url, **values})
    return Chat(settings, Session(None), Providers(settings), parse_target(settings.model),
                open_session=lambda name: Session(None))


async def ask(chat: Chat, text: str) -> tuple[Message | None, list[str]]:
    """The reply, and the notices with it."""
    reply, notices = None, []
    async for event in chat.turn(user_message(text)):
        if isinstance(event, Notice):
            notices.append(event.text)
        elif isinstance(event, MessageAdded):
            reply = event.message
    return reply, notices


# ---- the rule

@pytest.mark.parametrize(("seen", "kept"), [
    (Seen(3000, 4000, 4000, 4096), None),            # it fits
    (Seen(6000, 9000, 2050, 4096), 2050),            # it cannot fit
    (Seen(6000, 9000, None, 4096), 4096),            # nor here, and the count is missing
    (Seen(6000, 9000, 9100, 4096), None),  # the server counted more: the window is another one
    (Seen(3900, 6000, None, 4096), None),            # too rough to say
    (Seen(3900, 6000, 3500, 4096), None),
    (Seen(3500, 5000, 2050, 4096), 2050),            # half the window and two, to the token
    (Seen(2000, 3000, 2050, 4096), 2050),            # the same, however rough the estimate is
    (Seen(2000, 3000, 2053, 4096), None),            # nearly the same, by chance
    (Seen(1400, 2050, 2050, 4096), None),            # what the prompt has
    # the last message alone would have been cut to half the window
    (Seen(9000, 14000, 7900, 8192, 0, 8500), None),
    (Seen(9000, 14000, 7900, 8192, 0, 3000), 7900),  # earlier messages were dropped
    (Seen(3500, 5000, 4096, 4096), 4096),            # filled to the last token
    (Seen(3500, 4200, 4096, 4096), None),            # which a prompt of this size may be
    (Seen(4000, 4150, 3400, 4096, 3900), 3400),      # less than its own beginning had
    (Seen(2000, 2150, 1900, 4096, 2000), None),      # a template that leaves earlier thoughts out
])
def test_the_rule(seen: Seen, kept: int | None) -> None:
    assert kept_tokens(seen) == kept


@pytest.mark.parametrize("tokens", TOKENISERS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_false_alarm_and_no_missed_one(tokens: Callable[[str], int], kind: str) -> None:
    """Conversations that outgrow a window, turn by turn, with a server that drops the oldest
    messages.

    While everything fits, nothing may be reported; at twice the window, it must be.
    """
    seed = random.randrange(1 << 32)
    print("seed", seed)
    for round_number in range(6):
        chance = random.Random(seed + round_number)
        window = chance.choice((2048, 4096, 8192))
        watch = WindowWatch(Providers(Settings({})))
        target = Target("ollama", "m")
        watch._windows[watch._key(target, None)] = window
        asyncio.run(grow(watch, tokens, KINDS[kind], chance, window))


async def grow(watch: WindowWatch, tokens: Callable[[str], int],
               make: Callable[[random.Random, int], str],
               chance: random.Random, window: int) -> None:
    messages: tuple[Message, ...] = ()
    sizes: list[int] = []
    while sum(sizes) < window * 9 // 4:
        messages += (user_message(make(chance, chance.randrange(20, 500))),)
        sizes.append(tokens(messages[-1].text))
        whole = seen = sum(sizes)
        oldest = iter(sizes[:-1])
        while seen > window and (size := next(oldest, None)) is not None:
            seen -= size
        counted = seen if seen <= window else window // 2 + 2
        reply = Message("assistant", (Text(make(chance, 30)),), "ollama/m", Usage(counted, 5),
                        "stop")
        told = await watch.check(Request("m", messages), reply)
        if "did not see" in told:
            assert whole > window, f"{whole} of {window}: {told}"
        elif whole > window * 2:
            raise AssertionError(f"{whole} of {window}, and nothing was told")
        messages += (reply,)
        sizes.append(tokens(reply.text))


@pytest.mark.parametrize(("tokens", "kind", "seed"), (
    ("by_bytes", "russian", 1290776786), ("by_bytes", "chinese", 5019),
    ("small_vocabulary", "code", 5028)))
def test_what_begins_with_a_cut_prompt_is_cut(tokens: str, kind: str, seed: int) -> None:
    """Even after the count of a slightly cut prompt has distorted the estimates."""
    chance = random.Random(seed)
    window = chance.choice((2048, 4096, 8192))
    watch = WindowWatch(Providers(Settings({})))
    target = Target("ollama", "m")
    watch._windows[watch._key(target, None)] = window
    known = {each.__name__: each for each in TOKENISERS}
    asyncio.run(grow(watch, known[tokens], KINDS[kind], chance, window))


MIXED = KINDS | {
    "base64": lambda chance, size: base64.b64encode(chance.randbytes(size * 4)).decode(),
    "json": lambda chance,
    size: str([{chance.choice(ENGLISH): chance.random()} for _ in range(size // 4)]),
}


async def is_cut_reported(chance: random.Random, *, cut: bool) -> bool:
    """A few short turns of any kind, then a long message of another kind: cut as by old servers, or
    complete.
    """
    tokens, window = chance.choice(TOKENISERS), chance.choice((2048, 4096, 8192))
    watch = WindowWatch(Providers(Settings({})))
    watch._windows[watch._key(Target("ollama", "m"), None)] = window
    messages: tuple[Message, ...] = ()
    used = 0
    for _ in range(chance.randrange(4)):
        asked = user_message(MIXED[chance.choice(list(MIXED))](chance, chance.randrange(20, 120)))
        used += tokens(asked.text)
        if used > window // 2:
            break
        reply = Message("assistant", (Text("yes indeed"),), "ollama/m", Usage(used, 5), "stop")
        await watch.check(Request("m", (*messages, asked)), reply)
        messages, used = (*messages, asked, reply), used + tokens(reply.text)
    make, wanted, text = (MIXED[chance.choice(list(MIXED))],
                          window * chance.uniform(*((1.02, 1.6) if cut else (0.3, 0.99))), "")
    while used + tokens(text) < wanted:
        text += " " + make(chance, 16 + len(text) // 40)
    while not cut and used + tokens(text) > window:
        text = text[:len(text) * 19 // 20]
    # equals by chance what a cut leaves, so it cannot be detected
    if not cut and used + tokens(text) == window // 2 + 2:
        text += " and so on"
    counted = window // 2 + 2 if cut else used + tokens(text)
    last = Message("assistant", (Text("x"),), "ollama/m", Usage(counted, 5), "stop")
    return "did not see" in await watch.check(Request("m", (*messages, user_message(text))), last)


def test_nearly_every_cut_of_an_old_server_is_reported_and_nothing_else() -> None:
    """At least 19 of 20 cuts are detected, with no false alarm in 200 complete prompts; the kinds
    of text vary within a chat.
    """
    async def run() -> None:
        cuts = [await is_cut_reported(random.Random(seed), cut=True) for seed in range(100)]
        assert sum(cuts) >= 95, sum(cuts)
        assert not any([await is_cut_reported(random.Random(seed), cut=False)
                        for seed in range(200)])
    asyncio.run(run())


@pytest.mark.parametrize("seed", [1463, 2179, 2288])
def test_text_without_words_that_is_divided_into_few_tokens_is_not_cut(seed: int) -> None:
    """Random base64 may need half of the tokens that are estimated."""
    assert not asyncio.run(is_cut_reported(random.Random(seed), cut=False))


@pytest.mark.parametrize("tokens", TOKENISERS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_false_alarm_for_one_large_prompt(tokens: Callable[[str], int], kind: str) -> None:
    """There was no earlier count, and the prompt nearly fills the window."""
    chance = random.Random(1)
    text = KINDS[kind](chance, 2000)
    window = int(tokens(text) * 1.02)
    watch = WindowWatch(Providers(Settings({})))
    watch._windows[watch._key(Target("ollama", "m"), None)] = window
    reply = Message("assistant", (Text("yes"),), "ollama/m", Usage(tokens(text), 5), "stop")
    assert "did not see" not in asyncio.run(watch.check(Request("m", (user_message(text),)), reply))


def test_the_bound_is_above_every_tokenisation() -> None:
    most = partial(most_tokens, messages=lambda messages: sum(map(most_tokens_of, messages)))
    for kind, make in KINDS.items():
        text = make(random.Random(2), 300)
        assert all(most(Request("m", (user_message(text),))) >= tokens(text)
                   for tokens in TOKENISERS), kind
    parts = (Text("a"), Thinking("b" * 50), ToolCall("1", "n", {"x": "y" * 40}),
             Image("image/png", "AAAA"))
    request = Request("m", (Message("assistant", parts),
                            tool_message((ToolResult("1", "n", "z" * 70),))))
    assert most(request) > 4096 + 50 + 40 + 70


# ---- with a server

def test_a_server_is_not_sent_more_than_it_would_keep(ollama: FakeOllama) -> None:
    """The oldest turns are left out of the request, which is reported, so the server has nothing to
    drop.
    """
    async def run() -> None:
        chat = open_chat(ollama, "window-2048")
        for number in range(8):
            reply, notices = await ask(chat, f"{number} " + " ".join(ENGLISH * 8))
            messages = chat.session.messages[:-1]
            whole = sum(ollama.count_tokens(message.text) for message in messages)
            told = re.search(r"oldest (\d+) of (\d+) messages were not sent", " ".join(notices))
            assert (len(notices) == bool(told) and reply is not None
                    and (told is not None or whole <= 2048))
            assert reply.text.startswith(f"saw {len(messages) - int(told[1] if told else 0)} "
                                         "messages, ")
        chat.set_options(num_ctx=8192)
        assert await ask(chat, "and now?") == (chat.session.messages[-1], [])
        await chat.close()
    asyncio.run(run())


def test_one_message_that_is_too_long(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, "window-2048")
        _, notices = await ask(chat, " ".join(ENGLISH * 120))
        assert len(notices) == 1 and "the beginning of the last message" in notices[0]
        await chat.close()
    asyncio.run(run())


def test_a_server_that_refuses_gives_the_same_advice(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, "strict-2048")
        with pytest.raises(ContextTooLong) as caught:
            await ask(chat, " ".join(ENGLISH * 120))
        assert "/ctx 32k" in caught.value.hint and "/compact" in caught.value.hint
        assert ollama.chats[-1].json["truncate"] is False
        chat.set_options(num_ctx=32768)
        events = [event async for event in chat.answer()]
        assert not any(isinstance(event, Notice) for event in events) and isinstance(events[-1],
                                                                                     MessageAdded)
        await chat.close()
    asyncio.run(run())


def test_truncate_can_be_asked_for(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, "strict-2048", option={"truncate": True})
        _, notices = await ask(chat, " ".join(ENGLISH * 120))
        assert len(notices) == 1 and "did not see all" in notices[0]
        await chat.close()
    asyncio.run(run())


def test_an_answer_that_outgrows_the_window(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, "words-5")
        ollama.windows["words-5"] = 2048
        watch = chat.window
        request = Request("words-5", (user_message("q"),))
        reply = Message("assistant", (Text("x"),), "ollama/words-5", Usage(1000, 1048), "stop")
        assert await watch.check(request, reply) == ""
        told = await watch.check(request, replace(reply, usage=Usage(1000, 1049)))
        assert "outgrew the model's window of 2,048" in told
        await chat.close()
    asyncio.run(run())


def test_short_talk_asks_the_server_nothing(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, "words-5")
        events = [event async for event in chat.turn(user_message("hello"))]
        await chat.close()
        waited.extend(event for event in events if isinstance(event, Waiting))
    waited: list[Waiting] = []
    asyncio.run(run())
    by_the_way = {"/api/ps"} if waited else set()      # a long silence asks what is loaded
    assert ([request.path for request in ollama.requests if request.path not in by_the_way]
            == ["/api/chat"])


def test_another_provider_is_left_alone() -> None:
    watch = WindowWatch(Providers(Settings({"ollama_host": NOTHING_LISTENS})))
    request = Request("m", (user_message("x" * 1_000_000),))
    for model in ("groq/m", "nothing", None):
        assert asyncio.run(watch.check(request,
                                       Message("assistant", (Text("x"),), model, Usage(5, 5),
                                               "stop"))) == ""


def test_a_server_without_ps_is_left_alone(ollama: FakeOllama) -> None:
    ollama.models = ["other"]

    async def run() -> None:
        chat = open_chat(ollama, "echo", stop_repetition=False)
        _, notices = await ask(chat, "long " * 5000)
        assert notices == []
        ollama.close()
        assert await chat.window.window(Target("ollama", "echo"), None) is None
        await chat.close()
    asyncio.run(run())


# ---- the command

def test_sizes_are_read() -> None:
    assert [read_tokens(text) for text in ("32k", "8192", "8,192", "1K")] == [32768, 8192, 8192,
                                                                              1024]
    for text in ("", "k", "many", "100", "-5", "1.5k", "99999999999"):
        with pytest.raises(UsageError):
            read_tokens(text)


def test_the_advice_fits() -> None:
    assert ("/ctx 8k " in advice(3000) and "/ctx 16k " in advice(8000)
            and "--num-ctx 16384" in advice(8000))
    assert "/ctx 256k" in advice(10_000_000)


def test_ctx_in_a_chat(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "window-1024"], environment, columns=140) as chat:
        chat.ask("long " * 40, "saw 1 messages")
        shown = chat.ask("/ctx", "conversation takes about")
        assert "is 1,024 tokens (the server's own choice)" in shown
        chat.ask("/ctx 2k", "2,048 tokens from the next answer on")
        chat.ask("more", "saw 3 messages")
        chat.ask("/ctx", "asked for: 2,048")
        chat.ask("/ctx nonsense", "not a valid window size")
    bodies = [request.json for request in ollama.chats]
    assert "options" not in bodies[0] and bodies[1]["options"] == {"num_ctx": 2048}


def test_the_last_json_line_is_the_message(ollama: FakeOllama, program: list[str],
                                           environment: Environment) -> None:
    import json
    import subprocess
    done = subprocess.run([*program, "-m", "window-2048", "--json", " ".join(ENGLISH * 120)],
                          env=environment, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (events[-1]["event"] == "message" and events[-2]["event"] == "notice"
            and "did not see" in events[-2]["text"])


def test_errors_of_ps_are_no_errors_of_the_answer(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, "words-5", ollama_host="http://127.0.0.1:1")
        assert await chat.window.window(Target("ollama", "words-5"), None) is None
        with pytest.raises(ChatError):
            await ask(chat, "q")
        await chat.close()
    asyncio.run(run())


def test_near_the_window_only_what_is_new_is_summed() -> None:
    """In a conversation of 500 turns with thinking and pictures."""
    providers = Providers(Settings({"ollama_host": NOTHING_LISTENS}))
    watch = WindowWatch(providers)
    said = (user_message("why? " * 20, (Image("image/png", "AAAA", "a.png"),)),
            Message("assistant", (Thinking("hm"), Text("so. " * 40)), "ollama/m", Usage(9, 9)))
    request = Request("m", tuple(replace(message) for _ in range(500) for message in said))
    target, summed = Target("ollama", "m"), 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal summed
        summed += event == "call" and frame.f_code is most_tokens_of.__code__
    first = watch.estimate(request, target)
    longer = replace(request, messages=(*request.messages, *said))
    sys.setprofile(note)
    try:
        again, more = watch.estimate(request, target), watch.estimate(longer, target)
    finally:
        sys.setprofile(None)
    assert summed <= 10 and first == again
    assert more == WindowWatch(providers).estimate(longer, target)
